"""Several callers on one pace: nobody waits for ever, and no more go at once than the pace allows."""

import asyncio
import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.lanes import Lane, Road
from optimizer.pacing import Pace

if TYPE_CHECKING:
    from tests.virtual_clock import RunVirtual


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What one caller has to send.

    Attributes:
        seconds: How long each of its requests takes.
        refused: Which of them get a 429, and are sent again.
        gives_up_after: Requests after which it wants no more.
    """

    seconds: tuple[float, ...]
    refused: frozenset[int]
    gives_up_after: int


works = st.builds(
    Work,
    seconds=st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), max_size=12).map(tuple),
    refused=st.frozensets(st.integers(0, 11), max_size=3),
    gives_up_after=st.integers(0, 14),
)


class Driver:
    """A caller as `Caller` is one, without a ledger: it takes a turn when it is woken or answered."""

    def __init__(self, road: Road, work: Work, log: list[tuple[float, int]]) -> None:
        self.lane = Lane(road)
        self.lane.wake = self.wake
        self.sent: list[float] = []
        self._road = road
        self._work = work
        self._log = log
        self._queue = list(range(len(work.seconds)))
        self._refused = set(work.refused)
        self._under_way = 0
        self._turn_at: asyncio.Handle | None = None
        self.done = asyncio.Event()

    def wake(self) -> None:
        if self._turn_at is None:
            self._turn_at = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_at, loop = None, asyncio.get_running_loop()
        now = loop.time()
        if len(self.sent) >= self._work.gives_up_after:
            self._queue.clear()
        while self._queue:
            if self.lane.room(now, self._under_way) < 1:
                assert self.lane.opens_at(now, self._under_way) is None
                break
            number = self._queue.pop(0)
            self.lane.sent(now)
            self.sent.append(now)
            self._under_way += 1
            self._log.append((now, self._road.under_way))
            loop.call_later(self._work.seconds[number], self._answered, number)
        self.lane.rested(now, self._under_way, wanting=bool(self._queue))
        if not self._queue and not self._under_way:
            self.done.set()

    def _answered(self, number: int) -> None:
        now = asyncio.get_running_loop().time()
        self._under_way -= 1
        if number in self._refused:
            self._refused.remove(number)
            self.lane.overloaded(now, 2.0)
            self._queue.append(number)
        else:
            self.lane.succeeded(now)
        self.wake()


@settings(max_examples=60, deadline=None)
@given(
    work=st.lists(works, min_size=1, max_size=5),
    limit=st.integers(1, 4),
    rate=st.sampled_from([None, 120.0]),
    in_turn=st.booleans(),
)
def test_every_caller_gets_through_within_the_limit_and_the_rate(
    run_virtual: "RunVirtual", work: Sequence[Work], limit: int, rate: float | None, in_turn: bool
) -> None:
    log: list[tuple[float, int]] = []

    async def main() -> None:
        road = Road(Pace(start=limit, most=limit, requests_per_minute=rate), in_turn=in_turn)
        drivers = [Driver(road, each, log) for each in work]
        for driver in drivers:
            driver.wake()
        for driver in drivers:  # on virtual time, a wait that nothing ends is an error
            await driver.done.wait()
            driver.lane.left(asyncio.get_running_loop().time())

    run_virtual(main())
    assert all(under_way <= limit for _, under_way in log)
    if rate is not None:
        moments = [at for at, _ in log]
        assert all(later - before >= 60 / rate for before, later in pairwise(moments))
    wanted = sum(min(len(each.seconds), each.gives_up_after) for each in work)
    assert len(log) >= wanted


def test_who_leaves_with_requests_under_way_makes_room(run_virtual: "RunVirtual") -> None:
    async def main() -> None:
        road = Road(Pace(start=1, most=1), in_turn=True)
        log: list[tuple[float, int]] = []
        stuck, other = (
            Driver(road, Work(seconds=(seconds,), refused=frozenset(), gives_up_after=9), log)
            for seconds in (1e6, 1.0)
        )
        stuck.wake()
        await asyncio.sleep(1)
        other.wake()
        await asyncio.sleep(1)
        assert (len(stuck.sent), len(other.sent)) == (1, 0)
        stuck.lane.left(asyncio.get_running_loop().time())
        await other.done.wait()
        assert asyncio.get_running_loop().time() == 3.0

    run_virtual(main())
