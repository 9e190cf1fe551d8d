"""One request and its answer, however many attempts it takes.

The application's answer passes through untouched, except that its start is kept back

- while the attempt's ledger bears an unresolved transient failure and the answer is an error, also
  one in the way of GraphQL (`graphql.py`): it may be run again, and then nobody shall see it;
- while a transaction of the attempt has written and not ended, or one of its sessions has something
  to save: an answer may acknowledge only what is committed;
- while it is a 500: if the application then lets the exception out, ours is the better answer.

What is kept back is bounded in bytes and, for a transaction that stays open, in time. What acknowledges
a write, and was kept back until that was refused, is no answer: the client gets the error instead.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING

from holdfast.asgi.body import Body
from holdfast.asgi.graphql import is_json, tells_errors
from holdfast.asgi.recorder import Recorder
from holdfast.asgi.types import Message, Scope, Send
from holdfast.context import Ledger, Request
from holdfast.policy.replay import Commit

if TYPE_CHECKING:
    from holdfast.asgi.door import Turn
    from holdfast.asgi.keys import Claim
    from holdfast.asgi.replay import Replay

KEPT_BYTES = 65536
OPEN_S, WHOLE_S = 1.0, 10.0  # a stream goes on; an answer that is all there waits as anyone may
_LOOK_S = 0.1


class Exchange:
    """What one attempt after the other reads from and writes to."""

    __slots__ = (
        "_failures_before",
        "_flushing",
        "_in_question",
        "_kept_at",
        "_kept_bytes",
        "_send",
        "body",
        "claim",
        "context",
        "ended",
        "expired",
        "kept",
        "recorder",
        "replay",
        "replays",
        "request",
        "scope",
        "status",
        "task",
        "turns",
    )

    def __init__(self, replay: Replay, scope: Scope, body: Body, send: Send, request: Request) -> None:
        self.replay = replay
        self.scope = scope
        self.body = body
        self.request = request
        self.task: asyncio.Task[object] | None = None  # that runs the attempt, for the deadline
        self.kept: list[Message] | None = None
        self.status = 0
        self.ended = False  # the answer is complete, or not ours to give any more
        self.expired = False  # past the deadline
        self.replays = 0
        self.turns: list[Turn] = []  # that have not been given back
        self.claim: Claim | None = None  # on its key
        self.recorder: Recorder | None = None  # of the answer, where it is kept under the key
        self.context = copy_context()  # as it was before the first attempt
        self._in_question = False
        self._kept_bytes = 0
        self._kept_at = 0.0
        self._failures_before: tuple[BaseException | None, ...] = ()
        self._flushing: asyncio.TimerHandle | None = None
        self._send = send

    async def send(self, message: Message) -> None:
        """What the application sends."""
        if self.ended:
            return
        if self.kept is not None:
            await self._keep(message)
            return
        request = self.request
        if message["type"] == "http.response.start" and not request.started:
            self.status = message["status"]
            if self._may_be_discarded() or self._may_tell_errors(message):
                self.kept = [message]
                self._kept_bytes = 0
                self._kept_at = asyncio.get_running_loop().time()
                self._failures_before = _failures(request.ledger)
                return
            self._begin(message)
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.ended = True
        await self._send(message)

    def _may_be_discarded(self) -> bool:
        """Whether the answer that starts may turn out to be none."""
        ledger = self.request.ledger
        if ledger.open_writes > 0 or self.status >= 500:
            return True
        if ledger.unsaved and self.status < 400 and not self.request.safe and ledger.writing:
            return True
        return ledger.fault is not None and (self.status >= 400 or self.request.lost_its_writes)

    def _may_tell_errors(self, start: Message) -> bool:
        """Whether an answer of success after a failure may be GraphQL's way to tell of it."""
        ledger = self.request.ledger
        failed = ledger.fault is not None and not ledger.overcome
        self._in_question = failed and is_json(start.get("headers", ()))
        return self._in_question

    def voided_by(self, error: BaseException | None) -> BaseException | None:
        """The error that makes the answer kept back none, if there is one: it acknowledges a write, and all
        that was written was refused or undone after it had been made. *error*: the application let it out."""
        ledger = self.request.ledger
        if self.kept is None or self.status >= 400 or self.request.safe:
            return None
        if ledger.commit not in (Commit.NONE, Commit.ROLLED_BACK):
            return None
        if error is not None:
            return error
        for latest, before in zip(_failures(ledger), self._failures_before, strict=True):
            if latest is not before:
                return latest
        return ledger.error if self.request.lost_its_writes else None

    def record(self, bound: int) -> None:
        """Note the answer as it leaves, up to *bound* bytes."""
        self.recorder = Recorder(self._send, bound)
        self._send = self.recorder.send

    def discard(self) -> None:
        """The answer of this attempt is not to be seen."""
        self.kept = None
        self.status = 0
        self._settle_timer()

    async def flush(self) -> None:
        """What was kept back leaves now."""
        kept, self.kept = self.kept, None
        self._settle_timer()
        for message in kept or ():
            if message["type"] == "http.response.start":
                self._begin(message)
                await self._send(message)
            else:
                await self.send(message)

    async def answer(self, start: Message, body: Message) -> None:
        """Ours, in place of the application's; nothing, if an answer has begun meanwhile.

        Whoever answers has decided to a few turns of the loop ago: at the deadline two may have.
        """
        request = self.request
        if self.ended or request.started:
            return
        self.ended = request.started = True  # in the turn that asked
        self.kept = None
        self._settle_timer()
        self.status = start["status"]
        self.replay.metrics.served(request.method, self.status)
        if request.withheld:
            self.replay.records.release(request)
        await self._send(start)
        await self._send(body)

    def kept_body(self) -> bytes:
        """The body of the answer that is kept back."""
        return b"".join(message.get("body", b"") for message in self.kept or ())

    def _begin(self, message: Message) -> None:
        """The answer starts: it carries the request's id, unless the application has given it one."""
        request = self.request
        request.started = True
        self.replay.metrics.served(request.method, message["status"])
        if self.turns or request.held_for or self.replays or request.withheld:
            self.replay.answered(self)
        headers = message.get("headers", ())
        for name, _ in headers:
            if name == b"x-request-id":
                return
        message["headers"] = [*headers, (b"x-request-id", request.id.encode())]

    async def _keep(self, message: Message) -> None:
        kept = self.kept
        assert kept is not None
        kept.append(message)
        self._kept_bytes += len(message.get("body", b""))
        if self._kept_bytes > KEPT_BYTES or message["type"] != "http.response.body":
            await self.flush()
        elif self._in_question:
            self._in_question = False
            if message.get("more_body", False) or not tells_errors(self.kept_body()):
                await self.flush()
        elif self.status < 400:
            await self._keep_while_writing()

    async def _keep_while_writing(self) -> None:
        """An answer that acknowledges leaves with its transaction's end, or after a while."""
        ledger = self.request.ledger
        if not ledger.writing and ledger.fault is None and self.voided_by(None) is None:
            await self.flush()
        elif self._flushing is None:
            self._look_again()

    def _look_again(self) -> None:
        self._flushing = asyncio.get_running_loop().call_later(_LOOK_S, self._flush_late)

    def _flush_late(self) -> None:
        self._flushing = None
        ledger = self.request.ledger
        if self.kept is None or ledger.fault is not None or self.voided_by(None) is not None:
            return  # it is judged when the application returns
        kept_for = asyncio.get_running_loop().time() - self._kept_at
        last = self.kept[-1]
        whole = last["type"] == "http.response.body" and not last.get("more_body", False)
        if ledger.pending or ledger.ending:  # nobody knows yet what this answer acknowledges
            self._look_again()
        elif not ledger.writing:
            self.replay.background(self.flush())
        elif kept_for < (WHOLE_S if whole else OPEN_S if ledger.open_writes > 0 else _LOOK_S):
            self._look_again()
        else:
            if whole or ledger.open_writes > 0:  # else it is a stream, and saves at its end what it was about
                self.replay.tell.answered_early(self.request, self.status, kept_for)
            self.replay.background(self.flush())

    def _settle_timer(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None


def _failures(ledger: Ledger) -> tuple[BaseException | None, ...]:
    """What has been refused so far, and what has failed and was not overcome."""
    return ledger.refused, None if ledger.overcome else ledger.error
