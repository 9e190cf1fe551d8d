"""A process of its own that uses a journal and tells what it did, a line each: run by `test_journal_file`."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from pathlib import Path

from holdfast.work.entry import Answer, New, Outcome, State
from holdfast.work.holder import holder_of_this_process
from holdfast.work.journal import JournalError, JournalFullError
from holdfast.work.journal_sqlite import SqliteJournal, open_sqlite

NOW = 1_000_000.0


def request(name: str, order: str = "", size: int = 2000) -> New:
    """A request whose content follows from its name."""
    headers = ((b"content-type", b"text/plain"),)
    return New(
        name, f"k-{name}", order or name, "POST", "/orders", headers, (name.encode() * size)[:size], None, NOW
    )


def tell(*words: object) -> None:
    """One line, in one write: several threads tell."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def accept_for_ever(journal: SqliteJournal) -> None:
    """Eight at once, until we are killed."""

    def go_on(who: int) -> None:
        count = 0
        while True:
            name = f"{os.getpid()}-{who}-{count}"
            tell(journal.accept(request(name, f"order{who}")).result(), name)
            count += 1

    for who in range(8):
        threading.Thread(target=go_on, args=(who,)).start()


def accept_and_run(journal: SqliteJournal) -> None:
    """Accept a hundred and run whatever is there, beside another process that does the same."""
    holder = holder_of_this_process()
    accepted = [
        journal.accept(request(f"{os.getpid()}-{count}", f"order{count % 3}")) for count in range(100)
    ]
    while not all(one.done() for one in accepted) or journal.backlog().result().entries:
        for entry in journal.lease(2, holder, NOW + 100, NOW).result():
            tell("began", entry.number, entry.new.order, time.monotonic())
            over_at = time.monotonic()
            held = journal.finish(entry.number, holder, Outcome(State.DONE, Answer(200)), NOW).result()
            tell("ended", entry.number, held, over_at)
    for one in accepted:
        tell("accepted", one.result())


def lease_and_wait(journal: SqliteJournal) -> None:
    """Hold what there is, until we are killed."""
    for entry in journal.lease(10, holder_of_this_process(), NOW + 1000, NOW).result():
        tell(entry.number)
    tell("holding")
    threading.Event().wait()


def fill(journal: SqliteJournal) -> None:
    """Accept until there is no room, be given some, and go on."""
    told = _until_full(journal, "before")
    tell("full", told)
    sys.stdin.readline()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for count in range(5):
        tell(journal.accept(request(f"after-{count}")).result(), f"after-{count}")


def _until_full(journal: SqliteJournal, name: str) -> str:
    for count in range(100_000):
        try:
            tell(journal.accept(request(f"{name}-{count}")).result(), f"{name}-{count}")
        except JournalFullError as error:
            return str(error)
    raise RuntimeError("it was never full")


def become_nobody() -> None:
    """Root may write anywhere: this process is about those who may not."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65_534)
        os.setuid(65_534)


def main() -> None:
    """`journal_child.py DOING FOLDER [BYTES OF THE LARGEST FILE]`."""
    doing, folder, *limits = sys.argv[1:]
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    if doing == "open as nobody":
        become_nobody()
    try:
        journal = open_sqlite(Path(folder), max_bytes=2**30)
    except JournalError as error:
        tell(type(error).__name__, error)
        return
    doings = {
        "accept": accept_for_ever, "share": accept_and_run, "hold": lease_and_wait, "fill": fill,
        "open as nobody": lambda _: tell("opened"),
    }  # fmt: skip
    doings[doing](journal)
    if doing != "accept":
        journal.close()


if __name__ == "__main__":
    main()
