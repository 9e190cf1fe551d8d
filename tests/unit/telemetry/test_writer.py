"""The queue is bounded, callers never wait and never see an error of the stream (LOG-3)."""

from __future__ import annotations

import io
import os
import threading

import pytest

from holdfast.telemetry.writer import Writer, write


def make(stream: object, **options: object) -> Writer[str]:
    return Writer(lambda line: line + "\n", lambda count: f"{count} dropped", lambda: stream, **options)  # type: ignore[arg-type,return-value]


class Gate(io.StringIO):
    """A stream that stands still until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.entered = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        assert self.open.wait(10)
        return super().write(text)


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_lines_are_written_in_order_by_another_thread():
    names: list[str] = []
    stream = io.StringIO()

    def render(line: str) -> str:
        names.append(threading.current_thread().name)
        return line + "\n"

    writer = Writer(render, str, lambda: stream)
    for number in range(1200):
        writer.put(str(number))
    assert writer.flush(5)

    assert [str(number) for number in range(1200)] == stream.getvalue().split()
    assert {"holdfast-log"} == set(names)
    assert writer.close()


def test_a_full_queue_drops_counts_and_reports():
    """LOG-3: drops are counted and reported."""
    stream = Gate()
    writer = make(stream, limit=10)
    writer.put("first")
    assert stream.entered.wait(5)
    for number in range(25):
        writer.put(str(number))

    assert writer.dropped == 15

    stream.open.set()
    assert writer.close(5)

    lines = stream.getvalue().splitlines()
    assert ["first", *map(str, range(10))] == [line for line in lines if "dropped" not in line]
    assert sum(int(line.split()[0]) for line in lines if "dropped" in line) == 15


def test_flush_gives_up_on_a_stream_that_stands_still():
    stream = Gate()
    writer = make(stream)
    writer.put("one")

    assert not writer.flush(0.01)

    stream.open.set()
    assert writer.close(5)
    assert stream.getvalue() == "one\n"


def test_a_broken_stream_costs_lines_and_raises_nothing():
    writer = make(Broken())
    writer.put("one")
    writer.put("two")

    assert writer.flush(5)
    assert writer.lost == 2
    assert writer.close()


def test_without_any_stream_lines_are_lost_and_counted():
    writer = make(None)
    writer.put("one")
    writer.close(5)

    assert writer.lost == 1


def test_a_line_that_cannot_be_rendered_is_named_and_the_rest_is_written():
    stream = io.StringIO()

    def render(line: str) -> str:
        if line == "bad":
            raise LookupError(line)
        return line + "\n"

    writer = Writer(render, str, lambda: stream)
    writer.put("bad")
    writer.put("good")
    writer.close(5)

    assert stream.getvalue() == "holdfast: a log line could not be rendered: LookupError\ngood\n"


def test_after_close_a_line_is_written_by_its_own_thread():
    stream = io.StringIO()
    writer = make(stream)
    writer.close()
    writer.put("late")

    assert stream.getvalue() == "late\n"


def test_closing_twice_and_flushing_nothing_is_harmless():
    writer = make(io.StringIO())

    assert writer.flush()
    assert writer.close()
    assert writer.close()


def test_the_interpreter_that_cannot_start_threads_still_writes(monkeypatch: pytest.MonkeyPatch):
    stream = io.StringIO()
    writer = make(stream)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    writer.put("one")

    assert stream.getvalue() == "one\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_writes_its_own_lines_and_not_its_parents(tmp_path):
    path = tmp_path / "log"
    with path.open("w") as stream:
        writer = make(stream)
        writer.put("parent")
        child = os.fork()
        if child == 0:  # pragma: no cover - runs in the child
            writer.put("child")
            os._exit(0 if writer.flush(5) else 1)
        _, status = os.waitpid(child, 0)
        assert writer.close(5)

    assert status == 0
    assert sorted(path.read_text().split()) == ["child", "parent"]


def test_a_pipe_without_reader_and_a_full_pipe_cost_lines_only():
    reader, end = os.pipe()
    os.close(reader)
    with os.fdopen(end, "w") as stream:
        assert not write("text\n", stream)

    reader, end = os.pipe()
    os.set_blocking(end, False)
    with os.fdopen(end, "w") as stream, os.fdopen(reader, "rb") as other:
        assert write("x" * 1000, stream)
        assert other.read(1000) == b"x" * 1000


def test_a_stream_that_takes_ascii_only_gets_escapes():
    binary = io.BytesIO()

    class Ascii(io.TextIOWrapper):
        def fileno(self) -> int:
            raise OSError

    stream = Ascii(binary, encoding="ascii")

    assert write("grün\n", stream)
    assert binary.getvalue() == b"gr\\xfcn\n"


def test_a_closed_stream_takes_nothing():
    stream = io.StringIO()
    stream.close()

    assert not write("text", stream)
