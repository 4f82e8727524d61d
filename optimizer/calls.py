"""The one way to a model: stored answers, budget, pace, retries, and stopping without loss.

All work goes through turns. A turn takes what has ended since the last one, chooses what is sent next, commits both
in one transaction, and only then hands out answers and sends. So a call is committed before it is sent and its answer
before it is used, and what a killed process loses is at most what was under way: sent, or answered in the open turn.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optimizer.budget import Budget, Spent
from optimizer.cache import storable
from optimizer.completion import Completion, Model, Request
from optimizer.digest import derived_seed, digest
from optimizer.errors import (
    BudgetError,
    EndpointError,
    InterruptedRunError,
    OutageError,
    TransientError,
    UnreachableError,
)
from optimizer.ledger import Charge, Ledger
from optimizer.meter import Meter
from optimizer.models import Connection
from optimizer.pacing import LOST_IN_A_ROW, Pacing
from optimizer.patience import DEADLINE_SECONDS, GATEWAY, Patience
from optimizer.pricing import Price
from optimizer.retry import backoff_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

# The account of calls that belong to no trial, such as those of the final test; any trial comes before it.
NO_TRIAL = 2**31 - 1

# Where many answers come in, a turn waits for more of them: one commit for at most so many, or so many seconds.
_GROUP = 50
_GROUP_SECONDS = 0.02
_GROUP_FROM = 32  # requests under way; below, waiting would cost time and save none

# How long a 429 holds all requests that does not say so itself. Without a pause, a server far below the limit answers
# more often with 429 than with a completion until the limit has come down to it.
_HOLD_SECONDS = 0.5


@dataclass(kw_only=True, slots=True, eq=False)
class _Call:
    """A call that was asked for and has no answer yet.

    Attributes:
        payer: The earliest trial that asked for it.
        most: What one attempt may be charged.
        attempts: How many this process has sent.
        first_sent: When the first of them was sent, in the event loop's seconds.
        last_sent: When the last of them was sent.
        first_failed: When the first of them was known to have failed.
        waiters: How many still wait for it; without any it is not sent.
    """

    key: str
    request: Request
    payer: int
    future: asyncio.Future[Completion]
    most: Charge = field(default_factory=Charge)
    attempts: int = 0
    first_sent: float | None = None
    last_sent: float = 0.0
    first_failed: float | None = None
    waiters: int = 0


class Caller:
    """Wraps a model; is what everything above calls.

    Args:
        connection: The model, and what tells its answers from another's.
        ledger: The study's account.
        pace: How many requests may be under way, and how often one may be sent.
        price: US dollars from tokens read and written, or None where no price is known.
        deadline_seconds: After how long no further attempt of a call is begun.
    """

    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        *,
        budget: Budget,
        pace: Pacing,
        price: Price | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._connection = connection
        self._model = digest(dict(connection.identity))
        self._ledger = ledger
        self._meter = Meter(ledger, budget, price)
        self._pace = pace
        self._patience = Patience(deadline_seconds)
        self._open: dict[str, _Call] = {}
        self._asked: list[_Call] = []
        self._queue: deque[_Call] = deque()
        self._waiting: dict[_Call, asyncio.TimerHandle] = {}
        self._under_way: dict[_Call, asyncio.Task[None]] = {}
        self._ended: list[tuple[_Call, Completion | Exception]] = []
        self._turn_at: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened_at = 0.0
        self._cached = 0
        self._over: Exception | None = None
        self._opens_at: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.on_call: Callable[[], None] = lambda: None
        pace.joined(self._wake)

    @property
    def spent(self) -> Spent:
        """Return what has been used, by this process and those before it."""
        return self._ledger.spent(cached=self._cached)

    def paid_by(self, payer: int) -> Model:
        """Return a model whose calls are on the account of one trial."""
        return _Account(self, payer)

    def expect_more(self) -> None:
        """Take for an outage what lasts on when all that waited was given up: new calls come for those, without end."""
        self._patience.expects_more = True

    def stop(self) -> None:
        """Send nothing more; requests under way are finished and committed."""
        self._end(InterruptedRunError("stopped"))

    async def close(self) -> None:
        """Abandon what is under way, and commit what was answered."""
        self.stop()
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._loop is not None:
            self._turn()
        for call in tuple(self._open.values()):
            self._resolve(call, self._over or InterruptedRunError("stopped"))
        self._rest()  # from here on the database may be closed
        if self._timer is not None:
            self._timer.cancel()
        self._pace.left(asyncio.get_running_loop().time())

    async def complete(self, request: Request, payer: int = NO_TRIAL) -> Completion:
        """Return the completion of a request, from the store if it is there.

        Raises:
            BudgetError: When the budget holds no further call or attempt.
            InterruptedRunError: After `stop`, for anything that would have to be sent.
            ModelError: When no attempt succeeded.
        """
        key = digest([self._model, self._connection.body(request), request.repeat])
        call = self._open.get(key)
        if call is None:
            future: asyncio.Future[Completion] = self._running().create_future()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait
            call = self._open[key] = _Call(key=key, request=request, payer=payer, future=future)
            self._asked.append(call)
            self._wake()
        call.payer = min(call.payer, payer)
        call.waiters += 1
        try:
            return await asyncio.shield(call.future)
        except asyncio.CancelledError:
            call.waiters -= 1
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._opened_at = self._loop.time()
            seconds = self._meter.seconds_left()
            if seconds is not None:
                over = BudgetError(f"the budget of {self._meter.budget.seconds:g} seconds is spent")
                self._timer = self._loop.call_later(seconds, self._end, over)
        return self._loop

    def _wake(self, *, later: bool = False) -> None:
        """Have a turn soon, or, where one can wait for more to come, a little later."""
        loop = self._running()
        soon = not later or len(self._ended) >= _GROUP or len(self._under_way) < _GROUP_FROM
        if self._turn_at is not None:
            if not soon or not isinstance(self._turn_at, asyncio.TimerHandle):
                return
            self._turn_at.cancel()
        self._turn_at = loop.call_soon(self._turn) if soon else loop.call_later(_GROUP_SECONDS, self._turn)

    def _rest(self) -> None:
        """Have no turn before something wakes the caller again."""
        for handle in (self._turn_at, self._opens_at):
            if handle is not None:
                handle.cancel()
        self._turn_at = self._opens_at = None

    def _turn(self) -> None:
        self._rest()
        news = False
        try:
            news = self._take_turn()
        except Exception as error:  # noqa: BLE001  # whoever waits for an answer must hear of it
            # A database that cannot be written, most likely: nothing was committed, so nothing is handed out.
            for call in tuple(self._open.values()):
                self._resolve(call, error)
            self._over = self._over or error
        self._pace.rested(self._running().time(), len(self._under_way), wanting=bool(self._queue))
        if news:
            with suppress(OSError):  # whoever watches may have closed the terminal
                self.on_call()

    def _take_turn(self) -> bool:
        """Return whether anything was answered or has failed."""
        now = self._running().time()
        self._ledger.clock(now - self._opened_at)
        answered = self._look_up()
        ended, self._ended = self._ended, []
        for call, outcome in ended:
            completion = self._settle(call, outcome, now)
            if completion is not None:
                answered.append((call, completion))
        starting = self._admitted(now)
        self._ledger.commit()
        for call, completion in answered:
            self._resolve(call, completion)
        for call in starting:
            self._under_way[call] = self._running().create_task(self._attempt(call))
        return bool(ended or answered)

    def _look_up(self) -> list[tuple[_Call, Completion]]:
        """Return the calls that are answered in the store, and queue the others."""
        asked, self._asked = self._asked, []
        found = self._ledger.completions([call.key for call in asked]) if asked else {}
        stored = []
        for call in asked:
            completion = found.get(call.key)
            if completion is None:
                call.most = self._meter.most(call.request)
                self._queue.append(call)
            else:
                self._cached += 1
                self._ledger.share(call.key, call.payer)
                elsewhere = not self._ledger.answered(call.key)
                stored.append((call, self._meter.priced(completion, key=call.key, cached=elsewhere)))
        return stored

    def _settle(self, call: _Call, outcome: Completion | Exception, now: float) -> Completion | None:
        """Free the place of an attempt that ended and charge it; return its completion or see to its failure."""
        del self._under_way[call]
        completion = outcome if isinstance(outcome, Completion) else None
        self._ledger.settle(call.key, self._meter.charge(outcome, call.most), completion)
        self._ledger.share(call.key, call.payer)
        if completion is not None:
            self._patience.served(call.last_sent)
            self._pace.succeeded(now)
            return self._meter.priced(completion, key=call.key, cached=False)
        if isinstance(outcome, TransientError):
            self._ledger.fail(call.key, outcome.reason, str(outcome))
            self._patience.failed(call.key, now, asked=outcome.retry_after_seconds)
            self._slow_down(outcome, now)
            self._retry(call, outcome, now)
        elif isinstance(outcome, Exception):
            self._resolve(call, outcome)
            if isinstance(outcome, EndpointError):
                self._end(outcome)
        return None

    def _slow_down(self, error: TransientError, now: float) -> None:
        unanswered = isinstance(error, UnreachableError) or error.reason in GATEWAY
        if error.reason == "429":
            asked = error.retry_after_seconds
            # A wait that no call can sit out is no reason to hold all of them: each finds out for itself.
            held = asked is not None and asked <= self._patience.deadline_seconds
            self._pace.overloaded(now, asked if held else _HOLD_SECONDS)
        if unanswered or self._patience.exhausted:
            self._pace.unreachable(now)
        elif error.reason != "429":
            self._pace.failed(now)

    def _retry(self, call: _Call, error: TransientError, now: float) -> None:
        """Have another attempt after a wait, or give the call up, or all of them where the endpoint is down."""
        assert call.first_sent is not None  # it was sent
        call.first_failed = now if call.first_failed is None else call.first_failed
        # Spread by key, so that requests that failed together do not come back together.
        spread = derived_seed(call.key, call.attempts) / 2**32
        wait = max(backoff_seconds(call.attempts - 1, spread=spread), error.retry_after_seconds or 0.0)
        silent = self._patience.silent_seconds(now)
        verdict = self._patience.verdict(
            error, wait=wait, first_sent=call.first_sent, first_failed=call.first_failed, now=now
        )
        if self._over is not None:
            self._resolve(call, self._over)
        elif verdict == "again":
            self._waiting[call] = self._running().call_later(wait, self._requeue, call)
        elif verdict == "outage":
            self._queue.append(call)
            asked = error.retry_after_seconds or 0.0
            told = f"nothing was answered for {silent:.0f} s"
            told = f"it asks to wait {asked:.0f} s" if asked > self._patience.deadline_seconds else told
            self._end(OutageError(f"{error} ({told})"))
        else:
            self._resolve(call, error)
        if verdict == "errors":
            self._recall()
            while self._queue:
                self._resolve(self._queue.popleft(), error)

    def _recall(self) -> None:
        """Let nothing wait for its next attempt any more."""
        for handle in self._waiting.values():
            handle.cancel()
        self._queue.extend(self._waiting)
        self._waiting.clear()

    def _requeue(self, call: _Call) -> None:
        del self._waiting[call]
        self._queue.appendleft(call)
        self._wake()

    def _end(self, reason: Exception) -> None:
        """Refuse all that would still have to be sent."""
        self._over = self._over or reason
        self._recall()
        if self._loop is not None and not self._loop.is_closed():
            self._wake()

    def _admitted(self, now: float) -> list[_Call]:
        """Return the calls to be sent in this turn, each reserved; refuse those that never can be."""
        starting: list[_Call] = []
        while self._queue:
            call, under_way = self._next(), len(self._under_way) + len(starting)
            abandoned = None if call.waiters else InterruptedRunError("nobody waits for it any more")
            refusal = self._over or abandoned or self._meter.refusal(call.key, call.request)
            if refusal is None:
                if self._pace.room(now, under_way) < 1:
                    opens_at = self._pace.opens_at(now, under_way)
                    if opens_at is not None:
                        self._opens_at = self._running().call_at(opens_at, self._wake)
                    break
                refusal = self._meter.shortage(each.most for each in (*self._under_way, *starting, call))
                if refusal is not None and under_way:
                    break  # what is under way may be charged less than it has reserved
            self._queue.remove(call)
            if refusal is not None:
                self._resolve(call, refusal)
                continue
            self._ledger.begin(call.key, call.payer, call.most)
            self._pace.sent(now)
            call.attempts += 1
            call.first_sent, call.last_sent = now if call.first_sent is None else call.first_sent, now
            starting.append(call)
        return starting

    def _next(self) -> _Call:
        """Return the call to be sent first; where all fail, the one tried least, lest a few that always do block the rest."""
        if self._over is not None or self._patience.n_failed < LOST_IN_A_ROW:
            return self._queue[0]
        return min(self._queue, key=lambda call: call.attempts)

    def _resolve(self, call: _Call, outcome: Completion | Exception) -> None:
        """Hand out an answer, or say why there is none."""
        self._open.pop(call.key, None)
        if isinstance(outcome, Completion) and not call.future.done():
            call.future.set_result(outcome)
        elif isinstance(outcome, Exception) and not call.future.done():
            call.future.set_exception(outcome)

    async def _attempt(self, call: _Call) -> None:
        outcome: Completion | Exception
        try:
            outcome = storable(await self._connection.model.complete(call.request))
        except asyncio.CancelledError:
            if self._under_way[call].cancelling():
                raise
            # Not by us: the client gave the request up, as when its connection is torn down.
            outcome = UnreachableError("the request was cancelled", reason="cancelled", billable=True)
        except Exception as error:  # noqa: BLE001  # whatever it is, whoever waits for the answer must hear of it
            outcome = error
        self._ended.append((call, outcome))
        self._wake(later=isinstance(outcome, Completion))


@dataclass(frozen=True, slots=True)
class _Account:
    """A caller on the account of one trial."""

    caller: Caller
    payer: int

    async def complete(self, request: Request) -> Completion:
        return await self.caller.complete(request, self.payer)
