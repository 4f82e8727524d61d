"""How many requests may be under way, and when: tables, laws, and simulations against a server of known capacity."""

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count, pairwise
from random import Random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.pacing import COOLDOWN_SECONDS, LOST_IN_A_ROW, PROBE_SECONDS, Pace

Outcome = Literal["completion", "429", "5xx", "lost"]


@dataclass(kw_only=True)
class Line:
    """Sends by a pace on a fake clock, and as much as it may unless told otherwise."""

    pace: Pace
    now: float = 1000.0
    under_way: int = 0
    sends: list[float] = field(default_factory=list)

    def send(self, most: int = 10**6) -> int:
        """Send what there is room for, at most so many; return how many that were."""
        n = 0
        while n < most and self.pace.room(self.now, self.under_way) > 0:
            self.pace.sent(self.now)
            self.sends.append(self.now)
            self.under_way += 1
            n += 1
        return n

    def hear(self, outcome: Outcome, *, wait: float | None = None) -> None:
        """Hear of one request that is under way, without sending another."""
        assert self.under_way > 0
        self.under_way -= 1
        match outcome:
            case "completion":
                self.pace.succeeded(self.now)
            case "429":
                self.pace.overloaded(self.now, wait)
            case "5xx":
                self.pace.failed(self.now)
            case "lost":
                self.pace.unreachable(self.now)

    def busy(self, outcome: Outcome, times: int = 1) -> None:
        """Under full load, hear of so many requests."""
        for _ in range(times):
            self.send()
            self.hear(outcome)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def wait(self) -> None:
        """Let the time pass after which there is room."""
        opens = self.pace.opens_at(self.now, self.under_way)
        assert opens is not None
        self.now = opens


# ---- The limit ------------------------------------------------------------------------------------------------------

Step = tuple[Outcome, int] | float  # so many of one outcome under full load, or seconds that pass


def limit_after(steps: Sequence[Step], *, start: int, most: int) -> int:
    line = Line(pace=Pace(start=start, most=most))
    for step in steps:
        if isinstance(step, tuple):
            line.busy(*step)
        else:
            line.pass_time(step)
    return line.pace.limit


@pytest.mark.parametrize(
    ("completions", "limit"),
    [(0, 4), (3, 4), (4, 8), (11, 8), (12, 16), (28, 32), (59, 32), (60, 50), (999, 50)],
)
def test_the_limit_doubles_per_window_until_the_first_429(completions: int, limit: int) -> None:
    assert limit_after([("completion", completions)], start=4, most=50) == limit


@pytest.mark.parametrize(
    ("steps", "limit"),
    [
        pytest.param([("429", 1)], 8, id="a 429 takes a fifth"),
        pytest.param([("429", 7)], 8, id="a burst counts once"),
        pytest.param([("429", 1), 14.9, ("429", 1)], 8, id="within 15 s it is a burst"),
        pytest.param([("429", 1), 15.0, ("429", 1)], 6, id="after 15 s it is another"),
        pytest.param([("429", 1), 15.0, ("429", 3), 15.0, ("429", 3)], 4, id="and another"),
        pytest.param([("429", 1), 14.9, ("completion", 99)], 8, id="no growth within 15 s"),
        pytest.param([("429", 1), 15.0, ("completion", 7)], 8, id="then not before a window of completions"),
        pytest.param([("429", 1), 15.0, ("completion", 8)], 9, id="then by one"),
        pytest.param([("429", 1), 15.0, ("completion", 17)], 10, id="for every window"),
        pytest.param(
            [("completion", 9), ("429", 1), 15.0, ("completion", 8)], 9, id="older ones do not count"
        ),
        pytest.param(
            [("429", 1), 15.0, ("completion", 7), ("429", 1), 15.0, ("completion", 6)], 7, id="nor these"
        ),
        pytest.param([("5xx", 9)], 10, id="a 5xx takes nothing"),
        pytest.param([("5xx", 1), 14.9, ("completion", 99)], 10, id="but the growth of 15 s"),
        pytest.param([("5xx", 1), 15.0, ("completion", 10)], 20, id="after which it still doubles"),
        pytest.param([("5xx", 1), 14.0, ("5xx", 1), 1.0, ("completion", 10)], 20, id="a burst pauses once"),
        pytest.param(
            [("completion", 9), ("5xx", 1), 15.0, ("completion", 9)], 10, id="and its window starts anew"
        ),
        pytest.param([("5xx", 1), ("429", 1)], 8, id="a 429 in the pause of a 5xx counts"),
        pytest.param(
            [("5xx", 1), 10.0, ("429", 1), 10.0, ("completion", 8)], 8, id="with a pause of its own"
        ),
        pytest.param([("lost", 2), ("completion", 10)], 20, id="two lost requests change nothing"),
    ],
)
def test_events_set_the_limit(steps: list[Step], limit: int) -> None:
    assert limit_after(steps, start=10, most=40) == limit


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (3, 2), (5, 4), (9, 7), (35, 28), (200, 160)])
def test_a_429_leaves_four_fifths_and_never_less_than_one(before: int, after: int) -> None:
    assert limit_after([("429", 1)], start=before, most=before) == after


def test_a_fixed_limit_shrinks_on_429_and_comes_back_but_never_grows_beyond() -> None:
    steps: list[Step] = [("completion", 100), ("429", 1), 15.0]
    assert limit_after(steps, start=8, most=8) == 6
    assert limit_after([*steps, ("completion", 500)], start=8, most=8) == 8


@pytest.mark.parametrize("load", [1, 7, 15])
def test_a_limit_that_is_not_reached_again_does_not_grow_again(load: int) -> None:
    line = Line(pace=Pace(start=8, most=64))
    line.busy("completion", 8)
    assert line.pace.limit == 16
    while line.under_way >= load:
        line.hear("completion")
    for _ in range(1000):
        line.send(load - line.under_way)
        line.hear("completion")
    assert line.pace.limit == 16
    line.send()
    for _ in range(15):
        line.hear("completion")
    assert line.pace.limit == 16
    line.hear("completion")
    assert line.pace.limit == 32


def test_the_limit_counts_as_reached_however_the_sender_asks() -> None:
    # This one asks once, sends all it was told, and asks again only when an answer has come.
    pace = Pace(start=4, most=8)
    for _ in range(pace.room(0.0, 0)):
        pace.sent(0.0)
    for n in range(4):
        pace.succeeded(1.0)
        assert pace.room(1.0, 3 - n) == 1 + n + 4 * (n == 3)
    assert pace.limit == 8


def test_nothing_goes_out_while_more_is_under_way_than_the_limit() -> None:
    line = Line(pace=Pace(start=10, most=10))
    line.send()
    line.hear("429")
    assert (line.pace.limit, line.under_way) == (8, 9)
    assert line.pace.room(line.now, 9) == 0
    assert line.pace.opens_at(line.now, 9) is None
    assert line.pace.room(line.now, 6) == 2


@pytest.mark.parametrize(
    ("start", "most", "rate"),
    [(0, 5, None), (6, 5, None), (1, 1, 0), (1, 1, -1), (1, 1, math.nan), (1, 1, math.inf)],
)
def test_impossible_bounds_are_refused(start: int, most: int, rate: float | None) -> None:
    with pytest.raises(ValueError, match="expected"):
        Pace(start=start, most=most, requests_per_minute=rate)


# ---- A wait that the server asks for --------------------------------------------------------------------------------


def test_a_wait_holds_every_request_until_it_is_over() -> None:
    line = Line(pace=Pace(start=10, most=10))
    line.send(2)
    line.hear("429", wait=20.0)
    assert line.send() == 0
    assert line.pace.opens_at(line.now, 1) == line.now + 20
    line.hear("completion")
    line.pass_time(19.9)
    assert line.send() == 0
    line.pass_time(0.1)
    assert line.send() == 8


def test_the_longest_wait_counts() -> None:
    line = Line(pace=Pace(start=10, most=10))
    line.send()
    for wait in (5.0, 30.0, 1.0, None):
        line.hear("429", wait=wait)
    assert line.pace.opens_at(line.now, 0) == line.now + 30


@pytest.mark.parametrize("wait", [None, 0.0, -3.0, math.nan])
def test_a_429_without_a_wait_holds_nothing(wait: float | None) -> None:
    line = Line(pace=Pace(start=10, most=10))
    line.send(3)
    line.hear("429", wait=wait)
    assert line.send() == 6


# ---- An outage ------------------------------------------------------------------------------------------------------


def outage(*, start: int = 10) -> Line:
    """Return a line whose requests have all been lost just now."""
    line = Line(pace=Pace(start=start, most=64))
    line.send()
    while line.under_way:
        line.hear("lost")
    return line


def test_after_some_lost_requests_single_ones_probe_and_a_completion_brings_the_limit_back() -> None:
    line = outage()
    assert line.pace.limit == 1
    line.pass_time(PROBE_SECONDS[0])
    assert line.send() == 1
    assert line.pace.opens_at(line.now, 1) is None
    line.hear("completion")
    assert line.pace.limit == 10
    assert line.send() == 10


def test_a_completion_among_the_lost_ones_keeps_the_line_open() -> None:
    line = Line(pace=Pace(start=10, most=10))
    for _ in range(20):
        line.busy("lost", LOST_IN_A_ROW - 1)
        line.busy("completion")
    assert line.pace.limit == 10


def test_a_completion_of_what_was_sent_before_makes_up_for_one_lost_request() -> None:
    line = Line(pace=Pace(start=10, most=10))
    line.send()
    for _ in range(LOST_IN_A_ROW + 1):
        line.hear("lost")
    line.hear("completion")
    assert line.pace.limit == 1
    assert line.pace.room(line.now + 60, line.under_way) == 0
    line.hear("completion")
    assert line.pace.limit == 10
    assert line.send() == 6


def test_probes_are_spaced_so_that_refused_connections_spend_few_attempts() -> None:
    line = outage()
    end, line.sends = line.now + 60, []
    while line.now < end:
        line.send()
        if line.under_way:
            line.pass_time(0.001)
            line.hear("lost")
        line.wait()
    gaps = [round(after - before, 2) for before, after in pairwise(line.sends)]
    assert gaps == [2.0, 4.0, *[5.0] * 10]


def test_an_outage_begins_a_new_window_and_probes_do_not_count_in_it() -> None:
    line = Line(pace=Pace(start=10, most=64))
    line.busy("completion", 9)
    while line.under_way:
        line.hear("lost")
    line.pass_time(PROBE_SECONDS[0])
    line.busy("completion", 1 + 9)
    assert line.pace.limit == 10
    line.busy("completion")
    assert line.pace.limit == 20


@pytest.mark.parametrize("outcome", ["429", "5xx"])
def test_an_answer_without_a_completion_does_not_end_an_outage(outcome: Outcome) -> None:
    line = outage()
    line.pass_time(PROBE_SECONDS[0])
    line.send()
    line.hear(outcome)
    assert line.pace.limit == 1
    assert line.pace.opens_at(line.now, 0) == line.now + PROBE_SECONDS[1]
    line.pass_time(PROBE_SECONDS[1])
    line.busy("completion")
    assert line.pace.limit == (8 if outcome == "429" else 10)


def test_the_next_outage_is_probed_from_the_start() -> None:
    line = outage()
    for wait in PROBE_SECONDS:
        line.pass_time(wait)
        line.busy("lost")
    line.pass_time(PROBE_SECONDS[-1])
    line.busy("completion")
    line.busy("lost", LOST_IN_A_ROW)
    while line.under_way:
        line.hear("lost")
    assert line.pace.opens_at(line.now, 0) == line.now + PROBE_SECONDS[0]


# ---- A rate ---------------------------------------------------------------------------------------------------------


def test_requests_are_spaced_and_the_first_waits_one_spacing() -> None:
    line = Line(pace=Pace(start=10, most=10, requests_per_minute=30))
    assert line.send() == 0
    first = line.now
    for n in range(1, 6):
        line.wait()
        assert line.now == pytest.approx(first + 2 * n, abs=1e-4)
        assert line.send() == 1


def test_time_without_requests_is_not_made_up_for() -> None:
    line = Line(pace=Pace(start=10, most=10, requests_per_minute=60))
    line.send()
    line.pass_time(600)
    assert line.pace.room(line.now, line.under_way) == 1
    assert line.send() == 1


@pytest.mark.parametrize(("rate", "in_an_hour"), [(1, 60), (2.5, 120), (0.5, 30), (7, 420), (600, 36_000)])
def test_a_rate_is_used_in_full(rate: float, in_an_hour: int) -> None:
    line = Line(pace=Pace(start=10, most=10, requests_per_minute=rate))
    began = line.now
    while line.now < began + 3600 + 0.1:
        if line.send():
            line.hear("completion")
        line.wait()
    assert len(line.sends) == in_an_hour


# ---- Laws -----------------------------------------------------------------------------------------------------------

# What may happen next: seconds pass, so many requests are sent if there is room, or one under way ends.
outcomes = st.sampled_from(["completion", "completion", "completion", "429", "5xx", "lost"])
waits = st.none() | st.floats(0, 120)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("time"), st.floats(0, 40)),
        st.tuples(st.just("send"), st.integers(1, 100)),
        st.tuples(outcomes, waits),
        st.tuples(st.just("next"), st.none()),
    ),
    max_size=150,
)
clocks = st.floats(0, 1e8)
rates = st.none() | st.floats(0.1, 10_000) | st.integers(1, 600)


@st.composite
def paces(draw: st.DrawFn) -> tuple[Pace, int]:
    """A fresh pace and its `most`."""
    most = draw(st.integers(1, 64))
    return Pace(start=draw(st.integers(1, most)), most=most, requests_per_minute=draw(rates)), most


def happen(line: Line, what: str, how: float | None) -> None:
    match what:
        case "time":
            line.now += how or 0
        case "send":
            line.send(int(how or 0))
        case "next":
            opens = line.pace.opens_at(line.now, line.under_way)
            line.now = line.now if opens is None else opens
            line.send(1)
        case "completion" | "429" | "5xx" | "lost" if line.under_way:
            line.hear(what, wait=how)


@settings(max_examples=300, deadline=None)
@given(paces(), happenings, clocks)
def test_limit_and_room_stay_within_their_bounds(
    made: tuple[Pace, int], events: list[tuple[str, float | None]], now: float
) -> None:
    line, most = Line(pace=made[0], now=now), made[1]
    for what, how in events:
        happen(line, what, how)
        assert 1 <= line.pace.limit <= most
        for under_way in {0, 1, line.under_way, most, most + 5}:
            room = deepcopy(line.pace).room(line.now, under_way)
            assert 0 <= room <= max(0, line.pace.limit - under_way)


@settings(max_examples=300, deadline=None)
@given(paces(), happenings, clocks)
def test_room_opens_exactly_when_it_was_said_to(
    made: tuple[Pace, int], events: list[tuple[str, float | None]], now: float
) -> None:
    line = Line(pace=made[0], now=now)
    for what, how in events:
        happen(line, what, how)
        for under_way in range(line.pace.limit + 2):
            pace = deepcopy(line.pace)
            opens = pace.opens_at(line.now, under_way)
            # Only requests under way stand in the way of room that no time brings.
            assert (opens is None) == (under_way >= pace.limit)
            if opens is None:
                assert pace.room(line.now + 1e6, under_way) == 0
                continue
            assert opens >= line.now
            assert (pace.room(line.now, under_way) > 0) == (opens == line.now)
            assert opens == line.now or pace.room(math.nextafter(opens, 0), under_way) == 0
            assert pace.room(opens, under_way) > 0


@settings(max_examples=300, deadline=None)
@given(happenings, clocks, st.floats(0.1, 10_000) | st.integers(1, 60), st.integers(1, 64))
def test_no_minute_ever_holds_more_requests_than_the_rate(
    events: list[tuple[str, float | None]], now: float, rate: float, most: int
) -> None:
    line = Line(pace=Pace(start=most, most=most, requests_per_minute=rate), now=now)
    for what, how in events:
        happen(line, what, how)
    assert most_in_a_minute(line.sends) <= max(1, rate)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 700), clocks, st.lists(st.floats(0, 90), max_size=5))
def test_sending_as_fast_as_allowed_keeps_the_rate_across_restarts(
    rate: int, now: float, lives: list[float]
) -> None:
    sends: list[float] = []
    for life in [*lives, 150.0]:
        line = Line(pace=Pace(start=5, most=5, requests_per_minute=rate), now=now)
        while line.now < now + life:
            if line.send():
                line.hear("completion")
            line.wait()
        sends += line.sends
        now += life
    assert sends == sorted(sends)
    assert rate - 1 <= most_in_a_minute(sends) <= rate


@settings(max_examples=200, deadline=None)
@given(paces(), happenings, clocks, st.floats(0, 120))
def test_nothing_goes_out_before_the_wait_of_a_429_is_over_and_then_something_does(
    made: tuple[Pace, int], events: list[tuple[str, float | None]], now: float, wait: float
) -> None:
    line = Line(pace=made[0], now=now)
    for what, how in events:
        happen(line, what, how)
    line.pace.overloaded(line.now, wait)
    held_until = line.now + wait
    for part in (0.0, 0.3, 0.9):
        then = line.now + part * wait
        assert then >= held_until or line.pace.room(then, 0) == 0
    opens = line.pace.opens_at(line.now, 0)
    assert opens is not None
    assert opens >= held_until
    assert line.pace.room(opens, 0) > 0


def most_in_a_minute(sends: Sequence[float]) -> int:
    """Return the most requests in any half-open minute; one that holds the most begins with a request."""
    most, end = 0, 0
    for begin, sent in enumerate(sends):
        while end < len(sends) and sends[end] < sent + 60:
            end += 1
        most = max(most, end - begin)
    return most


# ---- Simulations ----------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class World:
    """A server of known capacity, and calls that are retried with capped exponential backoff and full jitter.

    It answers 429 at once beyond `capacity(time)` requests in flight, loses everything where that is None, and takes
    half to one and a half of `latency` for a completion. There are always `calls` calls to be made.
    """

    pace: Pace
    capacity: Callable[[float], int | None]
    latency: float = 1.0
    calls: int = 160
    retry_after: float | None = None
    seed: int = 0

    limits: list[tuple[float, int]] = field(default_factory=list)  # (time, limit) after every event
    ends: list[tuple[float, Outcome]] = field(default_factory=list)  # (time, how an attempt ended)

    def run(self, seconds: float) -> None:
        random, number = Random(self.seed), count()
        ready = deque([0] * self.calls)  # attempts so far, of calls that wait for room
        events: list[
            tuple[float, int, Outcome | None, int]
        ] = []  # (time, -, how it ends or back to ready, attempts)
        now, under_way, in_flight = 0.0, 0, 0
        while now < seconds:
            while ready and self.pace.room(now, under_way):
                outcome, takes = self._serve(now, in_flight, random)
                in_flight += outcome == "completion"
                under_way += 1
                self.pace.sent(now)
                heapq.heappush(events, (now + takes, next(number), outcome, ready.popleft() + 1))
            opens = self.pace.opens_at(now, under_way) if ready else None
            if opens is not None and (not events or opens < events[0][0]):
                now = opens
                continue
            now, _, ended, attempts = heapq.heappop(events)
            if ended is None:
                ready.append(attempts)
                continue
            under_way -= 1
            in_flight -= ended == "completion"
            self._tell(ended, now)
            if ended == "completion":
                ready.append(0)
            else:
                backoff = random.uniform(0, min(30.0, 0.5 * 2**attempts))
                heapq.heappush(events, (now + backoff, next(number), None, attempts))

    def _serve(self, now: float, in_flight: int, random: Random) -> tuple[Outcome, float]:
        capacity = self.capacity(now)
        if capacity is None:
            return "lost", 0.002
        if in_flight >= capacity:
            return "429", 0.005
        return "completion", self.latency * random.uniform(0.5, 1.5)

    def _tell(self, outcome: Outcome, now: float) -> None:
        if outcome == "completion":
            self.pace.succeeded(now)
        elif outcome == "429":
            self.pace.overloaded(now, self.retry_after)
        else:
            self.pace.unreachable(now)
        self.limits.append((now, self.pace.limit))
        self.ends.append((now, outcome))

    def limits_within(self, begin: float, end: float) -> set[int]:
        return {limit for time, limit in self.limits if begin <= time < end}

    def counts(self, begin: float, end: float) -> Counter[Outcome]:
        return Counter(outcome for time, outcome in self.ends if begin <= time < end)

    def throughput(self, capacity: int, begin: float, end: float) -> float:
        """Return the completions, as a share of what a server of that capacity can give."""
        return self.counts(begin, end)["completion"] / (capacity / self.latency * (end - begin))


def settled(capacity: int) -> tuple[int, int]:
    """Return the least and the greatest limit of the sawtooth below a capacity.

    One above the capacity there is a 429, which takes a fifth. That is never less than 0.8 of the capacity, whatever
    the rounding, and so is the throughput.
    """
    return max(1, (capacity + 1) * 4 // 5), capacity + 1


@pytest.mark.parametrize("latency", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 8, 13, 20, 33, 50, 64, 100])
def test_the_limit_settles_below_the_capacity_and_most_of_it_is_used(capacity: int, latency: float) -> None:
    world = World(pace=Pace(start=8, most=128), capacity=lambda _: capacity, latency=latency)
    world.run(450)
    least, greatest = settled(capacity)
    limits = world.limits_within(150, 450)
    assert (min(limits), max(limits)) == (least, greatest)
    assert world.throughput(capacity, 0, 450) >= 0.8
    counts = world.counts(150, 450)
    assert (
        counts["429"] <= 2 + 300 / COOLDOWN_SECONDS * 3
    )  # of each turn of the sawtooth, the first and its retries


@pytest.mark.parametrize("capacity", [64, 100])
def test_a_limit_below_the_capacity_is_used_in_full_without_a_429(capacity: int) -> None:
    world = World(pace=Pace(start=8, most=64), capacity=lambda _: capacity)
    world.run(300)
    assert world.counts(0, 300)["429"] == 0
    assert world.throughput(64, 0, 300) >= 0.98


@pytest.mark.parametrize(("before", "after"), [(32, 8), (8, 32), (64, 1), (1, 20)])
def test_the_limit_follows_a_capacity_that_changes(before: int, after: int) -> None:
    world = World(
        pace=Pace(start=8, most=64), capacity=lambda now: before if now < 200 else after, latency=0.5
    )
    world.run(700)
    for capacity, begin, end in ((before, 150, 200), (after, 450, 700)):
        limits = world.limits_within(begin, end)
        least, greatest = settled(capacity)
        assert least <= min(limits)
        assert max(limits) <= greatest
        assert world.throughput(capacity, begin, end) >= 0.8


def test_a_server_that_says_how_long_to_wait_sees_few_more_requests_than_it_serves() -> None:
    silent, telling = (
        World(pace=Pace(start=8, most=64), capacity=lambda _: 3, retry_after=wait) for wait in (None, 0.5)
    )
    for world in (silent, telling):
        world.run(300)
        assert world.throughput(3, 0, 300) >= 0.95
    assert telling.counts(0, 300)["429"] < silent.counts(0, 300)["429"] / 4


@pytest.mark.parametrize("latency", [0.05, 1.0, 5.0])
def test_an_outage_costs_few_requests_and_its_end_is_noticed_soon(latency: float) -> None:
    def capacity(now: float) -> int | None:
        return None if 100 <= now < 160 else 32

    world = World(pace=Pace(start=8, most=32), capacity=capacity, latency=latency)
    world.run(300)
    # At most twice the limit while the last completions still arrive, and then the probes.
    assert world.counts(0, 300)["lost"] <= 2 * 32 + 3 + 60 / PROBE_SECONDS[-1]
    back = min(time for time, outcome in world.ends if time > 160 and outcome == "completion")
    assert back <= 160 + PROBE_SECONDS[-1] + 1.5 * latency
    assert world.limits_within(back, 300) == {32}
    assert world.throughput(32, back + 2 * latency, 300) >= 0.95


def test_the_same_events_give_the_same_limits() -> None:
    worlds = [World(pace=Pace(start=8, most=64), capacity=lambda _: 10) for _ in range(2)]
    for world in worlds:
        world.run(100)
    assert worlds[0].limits == worlds[1].limits
