"""Device types are read with ua-parser and never cost more than `unknown` (REQ-1)."""

from __future__ import annotations

import pytest

from holdfast.telemetry import device
from holdfast.telemetry.device import device_type, seems_mobile

CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0"
WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5"
GOOGLEBOT = "(compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
CASES = {
    "desktop": [
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36",
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Safari/605.1.15",
        "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME} Safari/537.36",
    ],
    "mobile": [
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {WEBKIT} Mobile/15E148 Safari/604.1",
        f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {CHROME} Mobile Safari/537.36",
        f"Mozilla/5.0 (Linux; Android 10; K) {CHROME} Mobile Safari/537.36",
        "Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0",
    ],
    "tablet": [
        f"Mozilla/5.0 (iPad; CPU OS 16_5 like Mac OS X) {WEBKIT} Mobile/15E148 Safari/604.1",
        f"Mozilla/5.0 (Linux; Android 13; SM-X700) {CHROME} Safari/537.36",
        "Mozilla/5.0 (Android 14; Tablet; rv:127.0) Gecko/127.0 Firefox/127.0",
        f"Mozilla/5.0 (Linux; Android 11; KFTRWI) {CHROME} Silk/110.1 like Chrome/110.0 Safari/537.36",
    ],
    "bot": [
        f"Mozilla/5.0 {GOOGLEBOT}",
        f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) {CHROME} Mobile Safari/537.36 {GOOGLEBOT}",
        "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        "curl/8.5.0",
        "python-requests/2.31",
    ],
    "unknown": ["", None, "xxxx", "\x00\ud800", "(" * 100_000],
}


@pytest.mark.parametrize(
    ("expected", "agent"), [(kind, agent) for kind, agents in CASES.items() for agent in agents]
)
def test_the_device_is_what_the_user_agent_tells_of(expected, agent):
    assert expected == device_type(agent)


def test_without_ua_parsers_rules_the_words_decide(monkeypatch: pytest.MonkeyPatch):
    import ua_parser

    def broken(text: str) -> None:
        raise ValueError(text)

    monkeypatch.setattr(ua_parser, "parse_device", broken)
    device._device_type.cache_clear()
    try:
        assert device_type("Mozilla/5.0 (Windows NT 10.0)") == "desktop"
    finally:
        device._device_type.cache_clear()


def test_the_hot_path_looks_for_one_word():
    assert seems_mobile(b"Mozilla/5.0 (iPhone) Mobile/15E148")
    assert not seems_mobile(b"Mozilla/5.0 (Windows NT 10.0)")
    assert not seems_mobile(b"")
