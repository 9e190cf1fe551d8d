"""The journal of several machines: in Redis, where every step is one atomic script.

What is acknowledged is as durable as Redis is set up to be (`JournalNotDurable` says what is missing).
Calls are retried for `PATIENCE_S` seconds while Redis is away, and done once: a step that is repeated
because its answer was lost is known by its name or its ticket.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.events import BUS, Bus
from holdfast.faults.redact import redact_url
from holdfast.work.entry import Backlog, Entry, Holder, New, Outcome, State, given_back
from holdfast.work.events import JournalFailing
from holdfast.work.journal import JournalError, JournalFullError, JournalUnusableError, no_room_told
from holdfast.work.journal_redis_calls import Calls, Step, Steps
from holdfast.work.journal_redis_greeting import Greeting, JournalNotDurable
from holdfast.work.journal_redis_rows import DamagedEntryError, Rows
from holdfast.work.journal_redis_scripts import keys_of
from holdfast.work.journal_sqlite_holders import is_gone
from holdfast.work.journal_sqlite_rows import holder_of, text_of, weight
from holdfast.work.sealing import Seal

__all__ = ["JournalNotDurable", "RedisJournal", "open_redis"]

PATIENCE_S: Final = 10.0  # for Redis to come back, before a call is given up
SILENCE_S: Final = 2.0  # without a byte: the connection is taken for lost
OPENING_S: Final = 3.0  # that a start is held up by a Redis that is away
PRUNED_AT_ONCE: Final = 200
_STATES = (State.PENDING, State.RUNNING, State.DONE, State.FAILED, State.DEAD)  # as `backlog` counts them


def open_redis(
    url: str,
    *,
    max_bytes: int,
    seal: Seal | None = None,
    bus: Bus = BUS,
    journal: str = "journal",
    patience_s: float = PATIENCE_S,
    silence_s: float = SILENCE_S,
    clock: Clock = SYSTEM_CLOCK,
) -> RedisJournal:
    """The journal named *journal* in the Redis at *url*; who opens the same one shares it.

    A Redis that is away is told as `JournalFailing`, and awaited by each call: it holds up a start
    for `OPENING_S` seconds at the most. Raises JournalUnusableError: no right to enter or to write, a newer
    journal or none at all under its names, another key, too old a server.
    """
    opened = RedisJournal(
        url,
        max_bytes=max_bytes,
        seal=seal,
        bus=bus,
        journal=journal,
        patience_s=patience_s,
        silence_s=silence_s,
        clock=clock,
    )
    try:
        opened.backlog().result(OPENING_S)
    except JournalUnusableError:
        opened.close()
        raise
    except TimeoutError:
        pass  # the thread has told it, and goes on
    except JournalError as error:
        bus.publish(JournalFailing(place=opened.place, cause=str(error)))
    return opened


class RedisJournal:
    """A `Journal` in Redis; at most *max_bytes* of requests and answers."""

    def __init__(
        self,
        url: str,
        *,
        max_bytes: int,
        seal: Seal | None,
        bus: Bus,
        journal: str,
        patience_s: float,
        silence_s: float,
        clock: Clock,
    ) -> None:
        self.place = redact_url(url)
        self._max_bytes = max_bytes
        self._rows = Rows(seal)
        self._bus = bus
        keys = keys_of(journal)
        self._calls = Calls(
            url,
            self.place,
            keys,
            Greeting(self.place, keys, self._rows, bus),
            lambda cause: bus.publish(JournalFailing(place=self.place, cause=cause)),
            clock=clock,
            patience_s=patience_s,
            silence_s=silence_s,
        )

    # ---- what is asked, from any thread ---------------------------------------------------------

    def accept(self, new: New) -> Future[int]:
        """As `Journal.accept`."""
        return self._calls.put(self._accept(new))

    def lease(self, most: int, holder: Holder, until: float, now: float) -> Future[list[Entry]]:
        """As `Journal.lease`. What was leased for somebody who no longer waits is given back."""

        def give_back(entries: list[Entry]) -> None:
            for entry in entries:
                self.finish(entry.number, holder, given_back(entry), now)

        return self._calls.put(self._lease(most, holder, until, now), undo=give_back)

    def renew(self, numbers: Sequence[int], holder: Holder, until: float) -> Future[list[int]]:
        """As `Journal.renew`. A lease that ran out is renewed too, as long as nobody else was given it."""
        return self._calls.put(self._renew(numbers, holder, until))

    def finish(self, number: int, holder: Holder, outcome: Outcome, now: float) -> Future[bool]:
        """As `Journal.finish`. A lease that ran out at *now* is held no more."""
        return self._calls.put(self._finish(number, holder, outcome, now))

    def find(self, name: str) -> Future[Entry | None]:
        """As `Journal.find`."""
        return self._calls.put(self._one(Step("find", (name,))))

    def backlog(self) -> Future[Backlog]:
        """As `Journal.backlog`; `by_state` has all states."""
        return self._calls.put(self._backlog())

    def listed(self, state: State | None, most: int, after: int = 0) -> Future[list[Entry]]:
        """As `Journal.listed`; one that is damaged is left out."""
        return self._calls.put(self._listed(state, most, after))

    def entry(self, number: int) -> Future[Entry | None]:
        """As `Journal.entry`."""
        return self._calls.put(self._one(Step("entry", (number,))))

    def retry(self, number: int) -> Future[bool]:
        """As `Journal.retry`. It takes its old place in its order, once what runs of that is over."""
        return self._calls.put(_said(Step("retry", (number, _ticket()))))

    def drop(self, number: int) -> Future[bool]:
        """As `Journal.drop`."""
        return self._calls.put(_said(Step("drop", (number,))))

    def prune(self, before: float) -> Future[int]:
        """As `Journal.prune`; in several steps, so that nobody waits long behind it."""
        return self._calls.put(_prune(before))

    def close(self) -> None:
        """Finish what was asked and let go. Raises JournalError when that takes too long."""
        self._calls.close()

    # ---- each as steps --------------------------------------------------------------------------

    def _accept(self, new: New) -> Steps[int]:
        # The order may be made from credentials: Redis is told its hash.
        order = hashlib.sha256(new.order.encode(errors="surrogatepass")).hexdigest()[:32]
        arguments = (new.name, order, new.size, self._max_bytes, new.journaled_at, self._rows.request(new))
        reply: bytes = yield Step("accept", arguments, durable=True)
        if reply.startswith(b"full"):
            taken = int(reply.split()[1])
            raise JournalFullError(no_room_told(self.place, taken, self._max_bytes, new.size))
        return int(reply)

    def _lease(self, most: int, holder: Holder, until: float, now: float) -> Steps[list[Entry]]:
        holders: list[bytes] = yield Step("holders")
        gone = [text for text in holders if is_gone(holder_of(text.decode()), holder)]
        given: list[Entry] = []
        while len(given) < most:
            whom = (_ticket(), most - len(given), text_of(holder), until, now)
            rows: list[Any] = yield Step("lease", (*whom, *gone))
            damaged = 0
            for row in rows:
                try:
                    given.append(self._rows.entry(row))
                except DamagedEntryError as error:  # it can never run, and must not stop those behind it
                    damaged += 1
                    dead = Outcome(State.DEAD, cause=f"damaged in the journal: {error}")
                    yield from self._finish(int(row[0]), holder, dead, now)
            if not damaged:
                break
        return given

    def _renew(self, numbers: Sequence[int], holder: Holder, until: float) -> Steps[list[int]]:
        ours: list[bytes] = yield Step("renew", (text_of(holder), until, *numbers))
        return [int(number) for number in ours]

    def _finish(self, number: int, holder: Holder, outcome: Outcome, now: float) -> Steps[bool]:
        arguments: tuple[Any, ...] = (
            number,
            text_of(holder),
            _ticket(),
            outcome.state.value,
            outcome.attempts,
            outcome.interruptions,
            outcome.cause.encode(errors="backslashreplace"),
            now + outcome.delay_s,
            now,
            weight(outcome.answer),
        )
        if outcome.answer is not None:
            arguments = (*arguments, self._rows.answer(number, outcome.answer))
        reply: int = yield Step("finish", arguments)
        return reply == 1

    def _one(self, step: Step) -> Steps[Entry | None]:
        row: Any = yield step
        return None if row is None else self._rows.entry(row)

    def _listed(self, state: State | None, most: int, after: int) -> Steps[list[Entry]]:
        rows: list[Any] = yield Step("listed", ("" if state is None else state.value, most, after))
        entries = []
        for row in rows:
            with suppress(DamagedEntryError):  # `entry` says what is wrong with it
                entries.append(self._rows.entry(row))
        return entries

    def _backlog(self) -> Steps[Backlog]:
        stored, oldest_at, *counts = yield Step("backlog")
        by_state = {state.value: int(count) for state, count in zip(_STATES, counts, strict=True)}
        return Backlog(
            entries=by_state["pending"] + by_state["running"],
            stored_bytes=int(stored),
            oldest_at=float(oldest_at) if oldest_at else None,
            by_state=by_state,
        )


def _said(step: Step) -> Steps[bool]:
    reply: int = yield step
    return reply == 1


def _prune(before: float) -> Steps[int]:
    pruned = 0
    while True:
        part: int = yield Step("prune", (before, PRUNED_AT_ONCE))
        pruned += part
        if part < PRUNED_AT_ONCE:
            return pruned


def _ticket() -> str:
    """Tells a step that is repeated from one that is new."""
    return secrets.token_hex(8)
