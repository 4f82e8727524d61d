"""What several studies of one process have in common where they ask one endpoint: its connection and its pace.

A pace counts the requests of all who keep to it. Each caller has a lane, which is asked and told as a pace is; a road
holds the lanes of one endpoint, and wakes whoever is to go when there is room again. Who goes first changes when an
answer comes, never what it says.
"""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from optimizer.config import RunSpec
from optimizer.digest import digest
from optimizer.models import MODELS, Connection, ModelSpec
from optimizer.pacing import Pace

# As many requests as one event loop keeps under way with a core to itself.
MOST_CONCURRENT = 64


class Road:
    """The callers of one endpoint, on one pace.

    Args:
        pace: What all of them keep to.
        in_turn: Whether room goes to whoever has the fewest requests under way. Otherwise whoever went last goes on
            while it has something to send: a model on this machine keeps the state of the prompt it has just read.
    """

    def __init__(self, pace: Pace, *, in_turn: bool) -> None:
        self.pace = pace
        self._in_turn = in_turn
        self._under_way: dict[Lane, int] = {}
        self._waiting: dict[Lane, None] = {}  # in the order in which they found no room
        self._last: Lane | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def under_way(self) -> int:
        """Return how many requests of all callers are under way."""
        return sum(self._under_way.values())

    def admits(self, lane: "Lane", now: float, under_way: int) -> bool:
        """Return whether a caller may send a request now; if not, it is woken when it may."""
        self._under_way[lane] = under_way
        if self.pace.room(now, self.under_way) < 1 or self._first(lane) is not lane:
            self._waiting.setdefault(lane)
            return False
        self._waiting.pop(lane, None)
        return True

    def sent(self, lane: "Lane", now: float) -> None:
        """Take note that a caller sent a request."""
        self._under_way[lane] = self._under_way.get(lane, 0) + 1
        self._last = lane
        self.pace.sent(now)

    def rested(self, lane: "Lane", now: float, under_way: int, *, wanting: bool) -> None:
        """Take note of how a turn of a caller ended, and wake who goes next.

        Args:
            wanting: Whether the caller has anything left to send.
        """
        self._under_way[lane] = under_way
        if not wanting:
            self._waiting.pop(lane, None)
        self._pass_on(now)

    def leave(self, lane: "Lane", now: float) -> None:
        """Forget a caller, whose requests are over."""
        self._under_way.pop(lane, None)
        self._waiting.pop(lane, None)
        self._last = None if self._last is lane else self._last
        self._pass_on(now)

    def _first(self, asking: "Lane | None" = None) -> "Lane | None":
        """Return who goes next of those who wait and, after them, the one that asks; None where nobody does."""
        lanes = [*self._waiting]
        if asking is not None and asking not in self._waiting:
            lanes.append(asking)
        if not self._in_turn and self._last in lanes:
            return self._last
        return min(lanes, key=lambda lane: self._under_way[lane], default=None)

    def _pass_on(self, now: float) -> None:
        """Wake who goes next, at once or when time makes room; where only an answer does, it will come by here."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        first = self._first()
        opens_at = None if first is None else self.pace.opens_at(now, self.under_way)
        if first is None or opens_at is None:
            return
        if opens_at <= now:
            first.wake()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(opens_at, lambda: self._pass_on(max(opens_at, loop.time())))


class Lane:
    """A pace as one caller sees it that keeps to it together with others.

    Attributes:
        wake: Called when there may be room again.
    """

    def __init__(self, road: Road) -> None:
        self._road = road
        self.wake: Callable[[], None] = lambda: None

    def joined(self, wake: Callable[[], None]) -> None:
        """Take note of the caller that is to be woken."""
        self.wake = wake

    def room(self, now: float, under_way: int) -> int:
        """Return whether this caller may send one request at this moment, 0 or 1."""
        return int(self._road.admits(self, now, under_way))

    def opens_at(self, _now: float, _under_way: int) -> float | None:
        """Return None: whoever waits is woken."""
        return None

    def sent(self, now: float) -> None:
        """Take note that one request went out."""
        self._road.sent(self, now)

    def succeeded(self, now: float) -> None:
        """Take note of a completion."""
        self._road.pace.succeeded(now)

    def overloaded(self, now: float, wait: float | None) -> None:
        """Take note of a 429."""
        self._road.pace.overloaded(now, wait)

    def failed(self, now: float) -> None:
        """Take note of an answer without a completion."""
        self._road.pace.failed(now)

    def unreachable(self, now: float) -> None:
        """Take note that a request got no answer."""
        self._road.pace.unreachable(now)

    def rested(self, now: float, under_way: int, *, wanting: bool) -> None:
        """Take note of how a turn of this caller ended."""
        self._road.rested(self, now, under_way, wanting=wanting)

    def left(self, now: float) -> None:
        """Take note that this caller sends nothing more and has nothing under way."""
        self._road.leave(self, now)


@dataclass(kw_only=True, slots=True, eq=False)
class _Kept:
    """A connection that is open, or about to be, with the task that opens and closes it."""

    ready: asyncio.Future[Connection]
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    users: int = 0


class Lanes:
    """The connections and paces of the studies of one process; all are closed when it is left.

    Where studies ask one endpoint and do not agree on how fast, the strictest of them counts for all.

    Args:
        uses: Each model that a study will connect to, with how that study wants it asked. A connection is kept until
            all of them have had theirs.
        pace: From a study's wishes, a model's slots, and whether it runs on this machine, to a pace.
    """

    def __init__(
        self, uses: Iterable[tuple[ModelSpec, RunSpec]], pace: Callable[[RunSpec, int, bool], Pace]
    ) -> None:
        self._pace = pace
        self._to_come: Counter[str] = Counter()
        self._wishes: dict[str, RunSpec] = {}
        for spec, run in uses:
            self._to_come[_model_key(spec)] += 1
            self._wishes[endpoint_key(spec)] = strictest(self._wishes.get(endpoint_key(spec)), run)
        self._kept: dict[str, _Kept] = {}
        self._roads: dict[str, Road] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for key in tuple(self._kept):
            await self._close(key)

    @asynccontextmanager
    async def connect(self, spec: ModelSpec) -> AsyncIterator[Connection]:
        """Open a model, or take part in a connection that is open.

        Raises:
            ModelError: When it cannot be started or reached.
        """
        key = _model_key(spec)
        kept = self._kept.get(key)
        if kept is None:
            # One task opens and closes it, since not every client bears to be closed by another one.
            kept = self._kept[key] = _Kept(ready=asyncio.get_running_loop().create_future())
            kept.ready.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait
            kept.task = asyncio.create_task(self._keep(key, spec, kept))
        kept.users += 1
        try:
            yield await asyncio.shield(kept.ready)
        finally:
            kept.users -= 1
            self._to_come[key] -= 1
            if not kept.users and self._to_come[key] <= 0 and self._kept.get(key) is kept:
                await self._close(key)

    def lane(self, spec: ModelSpec, *, slots: int) -> Lane:
        """Return a way to the endpoint of a model.

        Args:
            spec: One of those that were named as uses.
            slots: How many requests the model serves at once with good use of the machine.
        """
        key, free = endpoint_key(spec), MODELS[spec.provider].free
        if key not in self._roads:
            pace = self._pace(self._wishes[key], slots, free)
            self._roads[key] = Road(pace, in_turn=not free)
        return Lane(self._roads[key])

    async def _keep(self, key: str, spec: ModelSpec, kept: _Kept) -> None:
        try:
            async with MODELS[spec.provider].connect(spec) as connection:
                kept.ready.set_result(connection)
                await kept.closing.wait()
        except Exception as error:
            if kept.ready.done():
                raise
            if self._kept.get(key) is kept:  # closing may have taken it out
                del self._kept[key]  # the next one may have more luck
            kept.ready.set_exception(error)

    async def _close(self, key: str) -> None:
        kept = self._kept.pop(key)
        kept.closing.set()
        if kept.task is not None:
            await kept.task


def endpoint_key(spec: ModelSpec) -> str:
    """Return what two models have in common that are asked at one place: an address and a key, or the very model."""
    if spec.base_url is not None:
        return digest([spec.provider, spec.base_url.rstrip("/"), spec.api_key_env])
    return digest([spec.provider, spec.name, spec.path, dict(spec.options)])


def strictest(one: RunSpec | None, other: RunSpec) -> RunSpec:
    """Return the wishes of which each is the stricter of two: fewer requests at once, fewer in a minute."""
    if one is None:
        return other
    at_once = [run.concurrency for run in (one, other) if run.concurrency != "auto"]
    rates = [run.requests_per_minute for run in (one, other) if run.requests_per_minute is not None]
    return dataclasses.replace(
        one, concurrency=min(at_once, default="auto"), requests_per_minute=min(rates, default=None)
    )


def _model_key(spec: ModelSpec) -> str:
    return digest(dataclasses.asdict(spec))


def pace_of(run: RunSpec, *, slots: int, fixed: bool) -> Pace:
    """Return how many requests may be under way and how often one may be sent.

    Args:
        slots: How many requests the model serves at once with good use of the machine.
        fixed: Whether more than the slots never pay, because the model runs on this machine.
    """
    start, most = slots, (slots if fixed else max(slots, MOST_CONCURRENT))
    if run.concurrency != "auto":
        start = most = run.concurrency
    return Pace(start=start, most=most, requests_per_minute=run.requests_per_minute)
