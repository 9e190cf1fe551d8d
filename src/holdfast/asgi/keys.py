"""Requests with an `Idempotency-Key`: run once, and given the first answer ever after.

claim      at once: is the header right, and does nobody here run the same key?
look       once the database answers: what is kept under it decides (`policy/keys.py`); one that has no
           time to say is asked again, once for all who wait, for as long as any of them may
settle     when the attempt found that another one had its effect before
release    at the end: the answer that left is kept, beside its marker, many in one statement

The owner of all of it is the server's loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic

from holdfast.asgi.body import Body, BodyTooLongError
from holdfast.asgi.key_questions import DatabaseBusyError, Questions, apart, passes, pause_after
from holdfast.asgi.recorder import Recorder
from holdfast.context import Marker, Request
from holdfast.databases.adopt import Registry
from holdfast.databases.database import Database, MarkerStore
from holdfast.databases.markers import Kept, Row, Written
from holdfast.events import BUS, Bus
from holdfast.faults.classify import classify
from holdfast.faults.said import said
from holdfast.policy.keys import Ruling, fingerprint_of, is_final, name_of, rule
from holdfast.policy.routes import Routes
from holdfast.work.events import AnswersNotKept

_LOOK_AGAIN_S = 0.1
_MOST_UNWRITTEN = 10_000
_AT_ONCE = 200  # answers in one statement
_GATHER_S = 0.002  # for others to go along: they have left, and this process knows them meanwhile
_TRIES = 3  # at a statement that a busy database had no time for


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What keys are held to."""

    active: bool = True
    required: Routes = Routes()  # noqa: RUF009 - it never changes
    body_bytes: int = 65536  # of a request, for its fingerprint
    answer_bytes: int = 65536
    wait_s: float = 1.0  # for an answer that another process is about to give


@dataclass(slots=True)
class Claim:
    """One request's hold on its key."""

    name: str
    fingerprint: str
    database: Database | None = None  # where it was looked for
    recorder: Recorder | None = None  # of the answer, once it is run

    def answered(self) -> Kept | None:
        """The answer, where it has left for good, though the request may have something left to do."""
        answer = None if self.recorder is None else self.recorder.answer()
        return answer if answer is not None and is_final(answer.status) else None


class DatabaseLostError(Exception):
    """The database was lost while it was asked."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.name)
        self.database = database


class _NotToldError(Exception):
    """The database did not say what is kept, though it is there."""


class Keys:
    """The keys of one server loop."""

    def __init__(self, registry: Registry, rules: KeyRules, bus: Bus = BUS) -> None:
        self.rules = rules
        self._registry = registry
        self._bus = bus
        self._running: dict[str, Claim] = {}
        self._unwritten: dict[str, tuple[Database, Written]] = {}
        self._asking: dict[Database, Questions] = {}
        self._writing: asyncio.Task[None] | None = None
        self._forgotten = 0  # answers for which there was no room while the database was away

    def flaw(self, request: Request) -> str | None:
        """The code of its refusal when its key is no key, or is missing where one is required."""
        if request.key is not None:
            return None
        if request.key_flaw:
            return "idempotency_key_invalid"
        required = self.rules.required
        missing = bool(required) and (request.method, request.path) in required
        return "idempotency_key_missing" if missing else None

    async def claim(self, request: Request, query: bytes, body: Body) -> Claim | Kept | str | None:
        """A hold on the key of *request*; the answer it has had or the code of its refusal; None when it
        has no key to hold."""
        if request.key is None:
            return self.flaw(request)
        if not self.rules.active:
            return None
        whole = True
        try:
            sent = await body.whole(self.rules.body_bytes)
        except BodyTooLongError:
            sent, whole = body.beginning()[: self.rules.body_bytes], False
        fingerprint = fingerprint_of(request.method, request.path, query, sent, request.headers, whole=whole)
        claim = Claim(name_of(request.key, request.method, request.path), fingerprint)
        held = self._running.setdefault(claim.name, claim)
        if held is claim:
            return claim
        if held.fingerprint != fingerprint:
            return "idempotency_mismatch"
        return held.answered() or "idempotency_in_progress"

    async def look(
        self, claim: Claim, request: Request, names: frozenset[str], *, patient: bool = False
    ) -> Kept | str | None:
        """The first answer, if there is one; the code of a refusal; None: it is to be run, and is marked.

        A database without time is asked until it has some if *patient*: until then whoever awaits it
        has to watch the client and the clock.

        Raises DatabaseLostError, and unless *patient* DatabaseBusyError.
        """
        give_up_at = monotonic() + self.rules.wait_s
        while True:
            try:
                row = await self._row(claim, names, patient=patient)
            except _NotToldError:  # nothing is guessed: it may have been done before
                return "database_unavailable"
            kept = None if row is None else (row.fingerprint, row.age_s, row.answer is not None)
            match rule(kept, claim.fingerprint):
                case Ruling.RUN:
                    self.mark(claim, request)
                    return None
                case Ruling.REPLAY:
                    assert row is not None
                    return row.answer
                case Ruling.MISMATCH:
                    return "idempotency_mismatch"
                case Ruling.LOST:
                    return "applied_but_interrupted"
                case Ruling.WAIT if monotonic() >= give_up_at:
                    return "idempotency_in_progress"
            await asyncio.sleep(_LOOK_AGAIN_S)

    def within_reach(self) -> bool:
        """Whether everything that may be kept could be looked up now, without waiting."""
        return all(one.settled for one in self._registry if one.markers is not None and not one.markers.off)

    def mark(self, claim: Claim, request: Request) -> None:
        """Have the transactions of *request* marked: whoever comes second cannot commit."""
        request.marker = Marker(claim.name, claim.fingerprint)

    def release(self, claim: Claim, request: Request, answer: Kept | None) -> None:
        """The request is over; *answer* is what left and is to be kept."""
        if self._running.get(claim.name) is claim:
            del self._running[claim.name]
        # What still runs for it, beside, must not be taken for a second attempt: the row is there now.
        marker, request.marker = request.marker, None
        marked = None if marker is None or marker.database is None else self._registry.get(marker.database)
        database = marked or claim.database
        if answer is None or database is None:
            return
        while len(self._unwritten) >= _MOST_UNWRITTEN:
            del self._unwritten[next(iter(self._unwritten))]
            self._forgotten += 1
        self._unwritten[claim.name] = (database, Written(claim.name, claim.fingerprint, answer))
        if self._writing is None or self._writing.done():
            self._writing = apart(self._write())

    async def close(self) -> None:
        """Write down what has not been, while the databases answer, and let go of them."""
        if self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing], timeout=1.0)
            self._writing.cancel()
        for asking in self._asking.values():
            await asking.store.close()

    # ---- looking --------------------------------------------------------------------------------

    async def _row(self, claim: Claim, names: frozenset[str], *, patient: bool) -> Row | None:
        """What is kept under the key, in this process or in the databases it may have been for."""
        known = self._unwritten.get(claim.name)
        if known is not None:
            claim.database = known[0]
            return Row(known[1].fingerprint, 0.0, known[1].answer)
        for database in self._registry:
            store = database.markers
            if store is None or store.off or (names and database.name not in names):
                continue
            if not database.settled:
                raise DatabaseLostError(database)
            row = await self._asked(database, store, claim.name, patient=patient)
            if not store.usable:
                continue
            claim.database = claim.database or database
            if row is not None:
                claim.database = database
                return row
        return None

    async def _asked(self, database: Database, store: MarkerStore, key: str, *, patient: bool) -> Row | None:
        try:
            return await self._ask(database, store).about(key, patient=patient)
        except DatabaseBusyError:
            raise
        except Exception as error:
            if classify(error, database=True).lost:
                database.broken(said(error))
                raise DatabaseLostError(database) from error
            if not store.spoilt_by(error):
                raise _NotToldError from error
            store.turn_off(said(error))
            return None

    def ask_afresh(self, names: frozenset[str]) -> None:
        """What is asked next of those databases is asked on fresh connections."""
        for database in self._registry:
            if database.markers is not None and database.name in names:
                database.markers.ask_afresh()

    async def _prepared(self, store: MarkerStore) -> bool:
        watch = self._registry.watch
        if watch is None:
            return False
        return bool(await asyncio.wrap_future(watch.ask(store.prepare())))

    def _ask(self, database: Database, store: MarkerStore) -> Questions:
        asking = self._asking.get(database)
        if asking is None or asking.store is not store:
            asking = self._asking[database] = Questions(database, store, self._prepared)
        return asking

    # ---- writing --------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write down answers until none is left; a database that is away is waited for."""
        while self._unwritten:
            await asyncio.sleep(_GATHER_S)
            database = next(iter(self._unwritten.values()))[0]
            batch = [one for where, one in self._unwritten.values() if where is database][:_AT_ONCE]
            store = database.markers
            if store is not None and not store.off:
                await self._keep(database, store, batch)
            for one in batch:
                self._unwritten.pop(one.key, None)
            if self._forgotten:
                cause = f"more than {_MOST_UNWRITTEN} were waiting for the database"
                forgotten, self._forgotten = self._forgotten, 0
                self._bus.publish(AnswersNotKept(database=database.name, answers=forgotten, cause=cause))

    async def _keep(self, database: Database, store: MarkerStore, batch: list[Written]) -> None:
        """Write *batch* down, or tell why it was not."""
        tries = passed = 0
        while True:
            if not database.settled:
                await database.until_settled(None)
            try:
                await store.keep(batch)
            except Exception as error:  # noqa: BLE001 - judged: what passes is tried again, else told
                cause, pause = said(error), _LOOK_AGAIN_S
                fault = classify(error, database=True)
                if fault.lost:
                    database.broken(cause)
                    again = not database.dismissed
                elif passes(fault):  # a first answer that is not kept is not given again
                    passed += 1
                    pause = pause_after(passed)
                    again = not database.dismissed
                else:
                    tries += 1
                    again = tries < _TRIES and not store.spoilt_by(error)
                if again:
                    await asyncio.sleep(pause)
                    continue
                self._bus.publish(AnswersNotKept(database=database.name, answers=len(batch), cause=cause))
            return
