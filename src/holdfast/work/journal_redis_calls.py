"""The thread that carries the calls of a journal to Redis, all that wait in one pipeline.

A call is a generator: it yields steps (scripts and their arguments) and is sent what Redis said. All
live calls advance side by side. When the connection is lost, whatever was not answered is sent again,
marked as such, until the call's patience has run out. The thread owns the connection and the calls.
Of the journal only this file and the greeting import redis-py.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import redis
from redis import exceptions as errors
from redis.backoff import NoBackoff
from redis.retry import Retry

from holdfast.clock import Clock
from holdfast.faults.redact import redact_text
from holdfast.policy.backoff import Backoff
from holdfast.work.journal import JournalError, JournalFullError, JournalUnusableError
from holdfast.work.journal_redis_scripts import SCRIPTS, STRANGE

T = TypeVar("T")

BATCH: Final = 1000  # calls in one pipeline
BATCH_BYTES: Final = 4_000_000
CLOSE_S: Final = 15.0
_AGAIN = Backoff(first=0.05, cap=1.0)
_REFUSED = (errors.AuthenticationError, errors.AuthorizationError, errors.NoPermissionError)
_LOST = (errors.ConnectionError, errors.TimeoutError, OSError)
_ANEW = (errors.NoScriptError,)  # another server stands there, or the same one after a restart
_BRIEF = (errors.ReadOnlyError, errors.MasterDownError, errors.ClusterDownError, errors.TryAgainError)
_PASSES = (*_LOST, *_BRIEF)
# Before Redis 7 an error inside a script is an error of the script's, and bears its name in its text.
_PASSES_TOLD = re.compile(r"\b(READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS)\b")
_NO_ROOM_TOLD = re.compile(r"\bOOM command|used memory >|No space left")

Value: TypeAlias = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class Step:
    """A script to run, with its arguments. `durable`: its answer counts once it is synced."""

    script: str
    arguments: tuple[Value, ...] = ()
    durable: bool = False

    @property
    def size(self) -> int:
        """Bytes of what is large among its arguments."""
        return sum(len(one) for one in self.arguments if isinstance(one, bytes))


Steps: TypeAlias = Generator[Step, Any, T]


class Greet(Protocol):
    """What has to be known of a server before anything is asked of it."""

    def __call__(self, client: redis.Redis) -> bool:
        """Whether WAITAOF has to be awaited. Raises JournalUnusableError, or what redis-py does."""
        ...


class _Call(Generic[T]):
    """One call on its way."""

    def __init__(self, steps: Steps[T], give_up_at: float, undo: Callable[[T], None] | None) -> None:
        self.future: Future[T] = Future()
        self.again = False  # its step may have been taken already, and the answer lost
        self.give_up_at = give_up_at
        self._steps = steps
        self._undo = undo
        self.step = next(steps)

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for it, or it may have done what has to be undone."""
        return not self.future.cancelled() or (self.again and self._undo is not None)

    def advance(self, reply: Any) -> bool:
        """Take Redis' *reply*; whether there is another step."""
        try:
            self.step = self._steps.send(reply)
        except StopIteration as end:
            self._settle(end.value)
            return False
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            self.fail(error)
            return False
        self.again = False
        return True

    def fail(self, error: Exception) -> None:
        """Tell whoever asked, if anybody still waits."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def _settle(self, result: T) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)
        elif self._undo is not None:
            self._undo(result)


class Calls:
    """Carries calls to the Redis at *url*. Any thread may put some in, until `close`."""

    def __init__(
        self,
        url: str,
        place: str,
        keys: tuple[str, ...],
        greet: Greet,
        tell_failing: Callable[[str], None],
        *,
        clock: Clock,
        patience_s: float,
        silence_s: float,
    ) -> None:
        self._place = place
        self._keys = keys
        self._greet = greet
        self._tell_failing = tell_failing
        self._clock = clock
        self._patience_s = patience_s
        self._silence_s = silence_s
        self._client = _client(url, silence_s)
        self._home: dict[str, Any] = dict(self._client.connection_pool.connection_kwargs)
        self._digests: dict[str, str] = {}
        self._greeted = False
        self._awaits_sync = False
        self._failed = 0  # exchanges in a row
        self._dice = random.Random()
        self._waiting: deque[_Call[Any]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="holdfast-journal", daemon=True)
        self._thread.start()

    def put(self, steps: Steps[T], undo: Callable[[T], None] | None = None) -> Future[T]:
        """Have *steps* taken. *undo* gets a result that nobody waits for any more."""
        call = _Call(steps, self._clock.monotonic() + self._patience_s, undo)
        with self._changed:
            closed = self._closing
            if not closed:
                self._waiting.append(call)
                self._changed.notify()
        if closed:
            call.fail(JournalError(f"the journal {self._place} is closed"))
        return call.future

    def close(self) -> None:
        """Finish what was asked. Raises JournalError when that takes over `CLOSE_S` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            raise JournalError(f"the journal {self._place} could not be closed within {CLOSE_S:g} s")

    # ---- the thread -----------------------------------------------------------------------------

    def _serve(self) -> None:
        live: list[_Call[Any]] = []
        try:
            while self._take(live):
                live = self._round(live)
        finally:
            self._client.close()

    def _take(self, live: list[_Call[Any]]) -> bool:
        """Add to *live* what may go along; False when there is nothing to do any more."""
        if live and self._failed:
            time.sleep(_AGAIN.delay(self._failed, self._dice))
        with self._changed:
            while not live and not self._waiting and not self._closing:
                self._changed.wait()
            size = sum(call.step.size for call in live)
            while self._waiting and len(live) < BATCH and size < BATCH_BYTES:
                live.append(self._waiting.popleft())
                size += live[-1].step.size
        return bool(live)

    def _round(self, live: list[_Call[Any]]) -> list[_Call[Any]]:
        """One exchange; the calls that go on."""
        live = [call for call in live if call.wanted]
        if not live:
            return []
        try:
            if not self._greeted:
                self._meet()
            replies = self._exchange(live)
        except _REFUSED as error:
            return self._fail(live, JournalUnusableError(f"{self._place} refuses us: {_told(error)}"))
        except JournalError as error:
            return self._fail(live, error)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            if _is_passing(error):
                return self._lose(live, error)
            self._let_go()  # half an answer may be left in the connection
            return self._fail(live, JournalError(f"{self._place} failed: {_told(error)}"))
        return self._sort(live, replies)

    def _meet(self) -> None:
        """Learn what the server is, and bring it the scripts."""
        self._awaits_sync = self._greet(self._client)
        for name, text in SCRIPTS.items():
            self._digests[name] = str(self._client.script_load(text))
        self._greeted = True

    def _exchange(self, live: list[_Call[Any]]) -> list[Any]:
        """All steps in one pipeline, and what each came to."""
        awaits_sync = self._awaits_sync and any(call.step.durable for call in live)
        with self._client.pipeline(transaction=False) as pipeline:
            for call in live:
                step = call.step
                digest = self._digests[step.script]
                head = ("EVALSHA", digest, len(self._keys), *self._keys, int(call.again))
                pipeline.execute_command(*head, *step.arguments)  # type: ignore[no-untyped-call]
            if awaits_sync:
                within_ms = int(self._silence_s * 900)
                pipeline.execute_command("WAITAOF", 1, 0, within_ms)  # type: ignore[no-untyped-call]
            replies = pipeline.execute(raise_on_error=False)
        if awaits_sync:
            synced = replies.pop()
            if isinstance(synced, Exception):
                raise JournalError(f"{self._place} did not sync what was written: {_told(synced)}")
            if int(synced[0]) < 1:
                raise errors.TimeoutError(f"nothing was synced within {within_ms} ms")
        return replies

    def _sort(self, live: list[_Call[Any]], replies: list[Any]) -> list[_Call[Any]]:
        on: list[_Call[Any]] = []
        passing: list[_Call[Any]] = []
        error: Exception | None = None
        for call, reply in zip(live, replies, strict=True):
            if not isinstance(reply, Exception):
                if call.advance(reply):
                    on.append(call)
            elif _is_passing(reply):
                passing.append(call)
                error = reply
            else:
                call.fail(self._verdict(reply))
        if error is not None:
            return on + self._lose(passing, error)
        self._failed = 0
        return on

    def _verdict(self, error: Exception) -> JournalError:
        told = _told(error)
        if _NO_ROOM_TOLD.search(str(error)):
            return JournalFullError(f"{self._place} has no room: {told}; give Redis more memory or disk")
        if "WRONGTYPE" in str(error):
            return JournalUnusableError(f"{self._place} holds something else under our names: {told}")
        return JournalError(f"{self._place} could not do it: {told}")

    def _lose(self, live: list[_Call[Any]], error: Exception) -> list[_Call[Any]]:
        """The server is away, or is not what it was; those whose patience has run out are told."""
        self._let_go()
        self._turn_to(error)
        self._failed += 1
        if self._failed == 1 and not _is_anew(error) and _moved_to(error) is None:
            self._tell_failing(_told(error))
        now = self._clock.monotonic()
        over = [call for call in live if call.give_up_at <= now]
        what = f"{self._place} gave no answer within {self._patience_s:g} s: {_told(error)}"
        self._fail(over, JournalError(what))
        on = [call for call in live if call.give_up_at > now]
        for call in on:
            call.again = True
        return on

    def _turn_to(self, error: Exception) -> None:
        """Where to ask next: all our names are in one slot of a cluster, and one node serves it."""
        place: dict[str, Any] = {part: self._home[part] for part in ("host", "port") if part in self._home}
        place = _moved_to(error) or place
        self._client.connection_pool.connection_kwargs.update(place)
        self._client.connection_pool.reset()  # connections that are kept keep their address

    def _let_go(self) -> None:
        self._greeted = False
        self._client.connection_pool.disconnect()

    def _fail(self, calls: list[_Call[Any]], error: JournalError) -> list[_Call[Any]]:
        for call in calls:
            call.fail(type(error)(*error.args))  # each its own: a raised exception grows a traceback
        return []


def _client(url: str, silence_s: float) -> redis.Redis:
    """A client that leaves retrying to us. Raises JournalUnusableError for what is no URL of Redis."""
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=silence_s,
            socket_connect_timeout=silence_s,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=False,
        )
    except ValueError as error:
        raise JournalUnusableError(f"HOLDFAST_JOURNAL_URL is not a URL of Redis: {_told(error)}") from None


def _is_passing(error: Exception) -> bool:
    told = _PASSES_TOLD.search(str(error)) is not None
    return told or isinstance(error, _PASSES) or _is_anew(error) or _moved_to(error) is not None


def _moved_to(error: Exception) -> dict[str, Any] | None:
    """The address in `MOVED 7896 127.0.0.1:6379`; older versions of redis-py leave the word in."""
    if not isinstance(error, errors.MovedError) and not str(error).startswith("MOVED "):
        return None
    host, _, port = str(error).split()[-1].rpartition(":")
    return {"host": host, "port": int(port)}


def _is_anew(error: Exception) -> bool:
    return isinstance(error, _ANEW) or STRANGE in str(error)


def _told(error: Exception) -> str:
    return redact_text(f"{type(error).__name__}: {error}")
