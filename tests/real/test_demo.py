"""The demo does what its page shows: requests wait for a stopped database, and nothing is left behind.

It is started as a user starts it, and driven through the same two servers as by a browser.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from holdfast.drill.afterlife import Afterlife

pytestmark = [pytest.mark.real, pytest.mark.slow]

_OPENS_WITHIN = 60.0  # the first start on a machine runs initdb
_ENDS_WITHIN = 3.0
_ANSWERS_WITHIN = 60.0


@dataclass(slots=True)
class Demo:
    """A running demo."""

    process: subprocess.Popen[bytes]
    folder: Path
    log: Path
    before: frozenset[str]  # what was in the folder before the demo
    url: str = ""
    control: str = ""
    token: str = ""

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def await_open(self) -> None:
        """Return when the shop's address is printed and its page names the control server."""
        give_up_at = time.monotonic() + _OPENS_WITHIN
        while not (found := re.search(r"open:\s+(http://\S+)/", self.output)):
            assert self.process.poll() is None, self.output
            assert time.monotonic() < give_up_at, self.output
            time.sleep(0.02)
        self.url = found[1]
        page = _get(self.url + "/").decode()
        named = re.search(r'name="control" content="([^"]+)"', page)
        assert named is not None
        parts = urlsplit(named[1])
        self.control, self.token = f"http://{parts.netloc}", parse_qs(parts.query)["token"][0]

    def press(self, path: str, content: object = None) -> Any:
        """What the page's buttons do."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        return _post(self.control + path, content or {}, headers)

    def state(self) -> Any:
        return json.loads(_get(f"{self.control}/state?token={self.token}"))

    def order(self, reference: str) -> Any:
        """Place an order as the page does."""
        headers = {"content-type": "application/json", "idempotency-key": reference}
        return _post(self.url + "/api/orders", {"reference": reference, "item_id": 1}, headers)

    def await_state(self, wanted: Any, within: float = 20.0) -> Any:
        """The first state for which *wanted* holds."""
        give_up_at = time.monotonic() + within
        while not wanted(state := self.state()):
            assert time.monotonic() < give_up_at, state
            time.sleep(0.02)
        return state

    def await_operation(self, where: str, within: float = 20.0) -> Any:
        """What became of a journaled order, once it is neither pending nor running."""
        give_up_at = time.monotonic() + within
        while (operation := json.loads(_get(self.url + where)))["status"] in ("pending", "running"):
            assert time.monotonic() < give_up_at, operation
            time.sleep(0.02)
        return operation

    def family(self) -> list[psutil.Process]:
        """The demo's process and all that it has started."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def left_behind(self) -> list[str]:
        """Files and folders in the demo's temporary folder, but for what is kept for the next start."""
        kept = re.compile(r"holdfast-\d+")  # `holdfast-<uid>` holds the cluster that initdb made
        now = {one.name for one in self.folder.iterdir()} - self.before
        return sorted(name for name in now if not kept.fullmatch(name))


@contextmanager
def demo(folder: Path, log: Path, *options: str, **popen: Any) -> Iterator[Demo]:
    """`holdfast demo` with *folder* as its temporary folder; killed at the end unless it has ended."""
    before = frozenset(one.name for one in folder.iterdir())
    misleading = {"HOLDFAST_MAX_WAIT_MS": "nonsense, and not the demo's"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", "demo", *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), **misleading},
            start_new_session=True,
            **popen,
        )
    afterlife = Afterlife('kill -s KILL -- "-$1"', str(process.pid))
    try:
        yield Demo(process, folder, log, before)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        afterlife.farewell()


@contextmanager
def public_folder() -> Iterator[Path]:
    """A temporary folder that every user may enter: as root PostgreSQL runs as somebody else."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-demo-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """The demos' temporary folder: one for all, so that `initdb` runs once."""
    with public_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def lasting(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """An open demo that the tests share which do not end it."""
    with demo(temporary, tmp_path_factory.mktemp("lasting") / "output") as one:
        one.await_open()
        yield one


@pytest.fixture
def shown(temporary: Path, tmp_path: Path) -> Iterator[Demo]:
    """An open demo of this test's own."""
    with demo(temporary, tmp_path / "output") as one:
        one.await_open()
        yield one


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_ANSWERS_WITHIN) as answer:
        return answer.read()


def _post(url: str, content: object, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(url, json.dumps(content).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=_ANSWERS_WITHIN) as answer:
        return json.loads(answer.read())


def _alive(processes: list[psutil.Process], within: float = 1.0) -> list[psutil.Process]:
    """Those of *processes* that still live a moment later; what nobody has buried yet does not."""
    left = psutil.wait_procs(processes, timeout=within)[1]
    return [one for one in left if _state(one) not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)]


def _state(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return psutil.STATUS_DEAD


# ── what it shows ────────────────────────────────────────────────────────────────────────────


def test_orders_sent_while_the_database_is_stopped_wait_and_succeed(lasting: Demo) -> None:
    """PRM-1, REQ-3: and the figures on the page tell so."""
    lasting.order("before")  # the route has shown that it needs the database
    before = lasting.state()
    lasting.press("/database/stop")

    with ThreadPoolExecutor(12) as customers:
        orders: list[Future[Any]] = [customers.submit(lasting.order, f"during-{n}") for n in range(12)]
        waiting = lasting.await_state(lambda state: state["shop"]["waiting"] == 12)
        lasting.press("/database/start")
        confirmed = [order.result() for order in orders]
    after = lasting.await_state(lambda state: state["shop"]["up"] and not state["shop"]["waiting"])

    assert waiting["database"]["state"] == "stopped"
    assert sorted(order["reference"] for order in confirmed) == sorted(f"during-{n}" for n in range(12))
    assert after["database"]["state"] == "running"
    assert after["shop"]["held"] - before["shop"]["held"] >= 12
    assert after["shop"]["failed"] == before["shop"]["failed"]


def test_a_journaled_order_is_confirmed_once_the_database_is_back(lasting: Demo) -> None:
    """JRN-1, JRN-2: its customer does not wait, and the page asks what became of it."""
    lasting.order("before the unhurried one")
    lasting.press("/database/stop")
    headers = {"content-type": "application/json", "idempotency-key": "unhurried-1"}
    content = {"reference": "unhurried-1", "item_id": 1}

    told = _post(lasting.url + "/api/orders/unhurried", content, headers)
    waiting = json.loads(_get(lasting.url + told["operation"]))
    lasting.press("/database/start")
    operation = lasting.await_operation(told["operation"])
    orders = json.loads(_get(lasting.url + "/api/orders"))

    assert (told["status"], waiting["status"]) == ("pending", "pending")
    assert operation["status"] == "done"
    assert operation["response"]["status"] == 201
    assert [one["reference"] for one in orders].count("unhurried-1") == 1
    assert operation["response"]["body"] in orders


def test_a_stream_of_visitors_survives_an_outage_and_every_confirmed_order_is_found(lasting: Demo) -> None:
    """PRM-1: the log says so, too."""
    heard: list[str] = []
    before = lasting.state()
    with _listening(lasting, heard):
        lasting.press("/visitors", {"rate": 20})
        lasting.await_state(lambda state: state["visitors"]["confirmed"] > 5)
        lasting.press("/database/stop")
        lasting.await_state(lambda state: state["shop"]["waiting"] > 10)
        earlier = len(heard)
        lasting.press("/database/start")
        lasting.await_state(lambda state: not state["shop"]["waiting"])
        lasting.press("/visitors", {"rate": 0})
        state = lasting.await_state(lambda _: any("Orders checked" in text for text in heard[earlier:]))

    assert state["visitors"]["longest"] > 0.4
    checked = [text for text in heard if "Orders checked" in text]
    assert all("each once" in text for text in checked), heard
    # A COMMIT whose answer was lost is refused, honestly; nothing else may fail.
    doubted = sum(int(n) for text in heard for n in re.findall(r"(\d+) × commit_outcome_unknown", text))
    assert state["shop"]["failed"] - before["shop"]["failed"] == doubted, heard


@contextmanager
def _listening(lasting: Demo, heard: list[str]) -> Iterator[None]:
    """Collect the log's lines from the event stream, as the page does."""
    over = threading.Event()

    def listen() -> None:
        name = ""
        with urllib.request.urlopen(f"{lasting.control}/events?token={lasting.token}", timeout=30) as stream:
            for raw in stream:  # something comes every fifth of a second
                field, _, content = raw.decode().strip().partition(": ")
                name = content if field == "event" else name
                if field == "data" and name == "log":
                    heard.extend(one["text"] for one in json.loads(content))
                if over.is_set():
                    return

    with ThreadPoolExecutor(1) as ears:
        listener = ears.submit(listen)
        try:
            yield
        finally:
            over.set()
            listener.result(30)


def test_a_database_that_ends_by_itself_is_noticed_and_can_be_started(lasting: Demo) -> None:
    postmaster = next(one for one in lasting.family() if one.name() == "postgres" and "-D" in one.cmdline())

    postmaster.send_signal(signal.SIGQUIT)
    lasting.await_state(lambda state: state["database"]["state"] == "stopped")
    lasting.press("/database/start")

    assert lasting.state()["database"]["state"] == "running"
    assert lasting.order("after")["reference"] == "after"


@pytest.mark.parametrize("token", ["", "wrong"])
def test_the_buttons_refuse_whoever_has_no_token(lasting: Demo, token: str) -> None:
    stranger = replace(lasting, token=token)

    with pytest.raises(urllib.error.HTTPError) as refused:
        stranger.press("/database/stop")

    refused.value.close()
    assert refused.value.code == 401


def test_a_rate_that_cannot_be_chosen_is_refused(lasting: Demo) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        lasting.press("/visitors", {"rate": 100_000})

    with refused.value:
        assert refused.value.code == 422
        assert "0, 5, 20" in json.loads(refused.value.read())["error"]


def test_the_page_needs_nothing_from_elsewhere(lasting: Demo) -> None:
    paths = ("/", "/page/page.css", "/page/page.js", "/page/orders.js", "/page/strip.js")
    parts = [_get(lasting.url + path).decode() for path in paths]

    addresses = {address for part in parts for address in re.findall(r"(?:https?:)?//[\w.]+\w", part)}

    assert {one for one in addresses if "127.0.0.1" not in one} <= {"http://www.w3.org"}  # SVG's namespace


# ── how it ends ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_three_seconds_and_leaves_nothing(shown: Demo, number: signal.Signals) -> None:
    """Though visitors wait for a stopped database at that moment."""
    shown.order("before")
    shown.press("/visitors", {"rate": 20})
    shown.press("/database/stop")
    shown.await_state(lambda state: state["shop"]["waiting"] > 3)
    family = shown.family()
    asked_at = time.monotonic()

    shown.process.send_signal(number)
    status = shown.process.wait(20)

    assert time.monotonic() - asked_at < _ENDS_WITHIN, shown.output
    assert status == 0, shown.output
    assert _alive(family) == []
    assert shown.left_behind() == []
    assert "Traceback" not in shown.output


def test_ctrl_c_in_a_terminal_reaches_the_whole_group_and_ends_it_in_order(shown: Demo) -> None:
    family = shown.family()
    asked_at = time.monotonic()

    os.killpg(shown.process.pid, signal.SIGINT)
    status = shown.process.wait(20)

    assert time.monotonic() - asked_at < _ENDS_WITHIN, shown.output
    assert status == 0, shown.output
    assert _alive(family) == []
    assert shown.left_behind() == []
    assert "second" not in shown.output  # the shop was told once


def test_it_ends_while_it_is_still_starting(temporary: Path, tmp_path: Path) -> None:
    with demo(temporary, tmp_path / "output") as one:
        while "Starting" not in one.output:
            assert one.process.poll() is None, one.output
            time.sleep(0.01)
        family = one.family()

        one.process.send_signal(signal.SIGINT)
        status = one.process.wait(_OPENS_WITHIN)

        assert status == 0, one.output
        assert _alive(family) == []
        assert one.left_behind() == []


def test_a_shop_that_dies_by_itself_ends_the_demo_and_says_so(shown: Demo) -> None:
    family = shown.family()
    shop = next(one for one in family if "holdfast.demo.shop:app" in one.cmdline())

    shop.kill()
    status = shown.process.wait(20)

    assert status != 0
    assert "The shop ended by itself" in shown.output
    assert _alive(family) == []
    assert shown.left_behind() == []


def test_a_demo_that_is_killed_leaves_no_shop_no_database_and_no_file(shown: Demo) -> None:
    family = shown.family()

    shown.process.kill()
    shown.process.wait(20)

    assert _alive(family, within=10.0) == []
    give_up_at = time.monotonic() + 10
    while shown.left_behind():
        assert time.monotonic() < give_up_at, shown.left_behind()
        time.sleep(0.02)


def test_a_port_that_is_taken_is_told_and_nothing_is_left(shown: Demo, tmp_path: Path) -> None:
    port = urlsplit(shown.url).port

    with demo(shown.folder, tmp_path / "second", "--port", str(port)) as second:
        status = second.process.wait(_OPENS_WITHIN)

        assert status != 0
        assert str(port) in second.output
        assert second.left_behind() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests have shown it: this is not root")
def test_it_works_as_another_user_than_root(tmp_path: Path) -> None:
    """PostgreSQL refuses root and runs as nobody then; for everybody else it runs as themselves."""
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    trying = [sys.executable, "-c", "import holdfast.demo.stage"]
    try:
        subprocess.run(trying, cwd="/", check=True, capture_output=True, **account)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"another user cannot run this Python: {error}")
    with public_folder() as folder:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        with demo(folder, tmp_path / "output", **account) as one:
            one.await_open()
            family = one.family()

            assert one.order("first")["reference"] == "first"

            one.process.send_signal(signal.SIGINT)
            assert one.process.wait(20) == 0
            assert _alive(family) == []
            assert one.left_behind() == []
