"""What a client runs on, read from its User-Agent: for logs and statistics, never for decisions.

`seems_mobile` is the cheap question of the hot path (deadlines); `device_type` asks ua-parser,
whose rules take some 100 ms to load and under 1 ms a new text, so it is for the writers' threads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from ua_parser import Device

DeviceType: TypeAlias = Literal["mobile", "tablet", "desktop", "bot", "unknown"]

LONGEST: Final = 512  # characters looked at: the text comes from the client

_TABLETS: Final = ("ipad", "tablet", "kindle", "playbook", "silk/", "nexus 7", "nexus 9", "nexus 10")
_PHONES: Final = ("mobi", "iphone", "ipod", "phone", "opera mini")
_DESKTOPS: Final = ("windows nt", "macintosh", "x11;", "cros ", "linux x86_64", "linux i686")
_BOTS: Final = (
    "bot/",
    "bot;",
    "crawler",
    "spider",
    "curl/",
    "wget/",
    "python-",
    "aiohttp/",
    "go-http-client",
)


def device_type(user_agent: str | None) -> DeviceType:
    """The kind of device *user_agent* tells of. Never raises; without an answer `unknown`."""
    if not user_agent or not isinstance(user_agent, str):
        return "unknown"
    return _device_type(user_agent[:LONGEST])


def seems_mobile(user_agent: bytes) -> bool:
    """Whether a browser calls itself mobile, at the price of a search for five bytes.

    All mobile browsers say so (MDN: "look for Mobi anywhere in the user agent"); tablets do not.
    """
    return b"Mobi" in user_agent


@lru_cache(maxsize=2048)
def _device_type(user_agent: str) -> DeviceType:
    text = user_agent.lower()
    try:
        from ua_parser import parse_device

        device = parse_device(user_agent)
    except Exception:  # noqa: BLE001 - an odd text or a broken table of rules must not cost a log line
        device = None
    return _kind(device, text)


def _kind(device: Device | None, text: str) -> DeviceType:
    if _is_bot(device, text):
        return "bot"
    if _is_tablet(device, text):
        return "tablet"
    if any(word in text for word in _PHONES):
        return "mobile"
    if any(word in text for word in _DESKTOPS):
        return "desktop"
    return "unknown"


def _is_bot(device: Device | None, text: str) -> bool:
    return (device is not None and device.family == "Spider") or any(word in text for word in _BOTS)


def _is_tablet(device: Device | None, text: str) -> bool:
    if device is not None and (device.brand == "Generic_Android_Tablet" or device.family == "iPad"):
        return True
    if any(word in text for word in _TABLETS):
        return True
    return "android" in text and "mobi" not in text
