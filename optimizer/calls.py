"""The one way to a model: cache, budget, retry, counting, concurrency, and stopping without loss.

A call is finished when its completion is committed, and it is committed before it is used. A call is reserved in
the store before it is sent, so that a budget holds whatever happens in between; sending it again after a crash, or
after a failed attempt, belongs to the same call.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from optimizer.completion import Completion, Model, Request
from optimizer.digest import derived_seed, digest
from optimizer.errors import (
    BudgetError,
    EndpointError,
    InterruptedRunError,
    OverloadedError,
    UnreachableError,
)
from optimizer.store import StudyStore

# Waits before the second, third and fourth attempt. Together they outlast a restart of a server, and a refused
# connection is reported in a few seconds.
RETRY_SECONDS = (0.5, 1.0, 2.0)

# The account of calls that belong to no trial, such as those of the final test; any trial comes before it.
NO_TRIAL = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Hard limits of one study.

    Attributes:
        calls: Logical calls.
        attempts: Requests on the wire, retries and re-sent calls included.
    """

    calls: int
    attempts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What a study has used so far."""

    calls: int
    attempts: int
    cached: int


class Caller:
    """Wraps a model; is what everything above calls.

    Args:
        model: The model itself.
        identity: What tells this model's answers from another's; part of every cache key.
        concurrency: How many requests may be under way at once.
        sleep: Waits between attempts; seconds to awaitable.
    """

    def __init__(
        self,
        model: Model,
        identity: Mapping[str, object],
        *,
        study: StudyStore,
        budget: Budget,
        concurrency: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._model = model
        self._identity = dict(identity)
        self._study = study
        self._budget = budget
        self._slots = asyncio.Semaphore(concurrency)
        self._sleep = sleep
        self._under_way: dict[str, asyncio.Task[Completion]] = {}
        self._calls, self._attempts = study.calls()
        self._cached = 0
        self._stopping = False
        self._refused: EndpointError | None = None
        self.on_call: Callable[[], None] = lambda: None

    @property
    def spent(self) -> Spent:
        """Return what has been used, by this process and those before it."""
        return Spent(calls=self._calls, attempts=self._attempts, cached=self._cached)

    @property
    def remaining(self) -> int:
        """Return how many logical calls the budget still holds."""
        return self._budget.calls - self._calls

    def stop(self) -> None:
        """Send nothing more; requests under way are finished and committed."""
        self._stopping = True

    def paid_by(self, payer: int) -> Model:
        """Return a model whose calls are on the account of one trial."""
        return _Account(self, payer)

    async def complete(self, request: Request, payer: int = NO_TRIAL) -> Completion:
        """Return the completion of a request, from the store if it is there.

        Raises:
            BudgetError: When the budget holds no further call or attempt.
            InterruptedRunError: After `stop`, for anything that would have to be sent.
            ModelError: When no attempt succeeded.
        """
        key = digest([self._identity, request.to_dict()])
        stored = self._study.whole.completion(key)
        if stored is not None:
            self._cached += 1
            self._study.share(key, payer)
            return stored
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._send(key, request, payer))
            self._under_way[key] = task
            task.add_done_callback(lambda _task: self._under_way.pop(key, None))
        completion = await asyncio.shield(task)
        self._study.share(key, payer)
        return completion

    async def _send(self, key: str, request: Request, payer: int) -> Completion:
        async with self._slots:
            completion = _storable(await self._attempt_until_done(key, request, payer))
            self._study.whole.keep_completion(key, completion)
        self.on_call()
        return completion

    async def _attempt_until_done(self, key: str, request: Request, payer: int) -> Completion:
        for n, wait in enumerate((*RETRY_SECONDS, None)):
            self._reserve(key, payer)
            try:
                return await self._model.complete(request)
            except EndpointError as error:
                self._refused = error
                raise
            except (UnreachableError, OverloadedError):
                if wait is None:
                    raise
                # Spread by key, so that requests that failed together do not come back together.
                await self._sleep(wait * (0.5 + derived_seed(key, n) / 2**32))
        raise AssertionError  # the last attempt returned or raised

    def _reserve(self, key: str, payer: int) -> None:
        if self._refused is not None:
            raise EndpointError(str(self._refused))
        if self._stopping:
            raise InterruptedRunError("stopped")
        new = not self._study.knows(key)
        if new and self._calls >= self._budget.calls:
            raise BudgetError(f"the budget of {self._budget.calls} calls is spent")
        if self._attempts >= self._budget.attempts:
            raise BudgetError(f"the budget of {self._budget.attempts} attempts is spent")
        self._study.attempt(key, payer)
        self._calls += new
        self._attempts += 1


def _storable(completion: Completion) -> Completion:
    """Return the completion with a replacement character for each half of a surrogate pair.

    JSON can carry halves, and a text that ended in the middle of a character may have one; a database takes none.
    """
    whole = completion.text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return dataclasses.replace(completion, text=whole)


class _Account:
    """A caller on the account of one trial."""

    def __init__(self, caller: Caller, payer: int) -> None:
        self._caller = caller
        self._payer = payer

    async def complete(self, request: Request) -> Completion:
        return await self._caller.complete(request, self._payer)
