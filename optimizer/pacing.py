"""How many requests may be under way, and when the next may go out.

| answer | what follows |
|---|---|
| completion | The limit doubles for every `limit` completions until the first 429, then grows by one for as many |
| 429 | The limit shrinks by a fifth, once in 15 seconds; a wait that the server asks for holds every request |
| 5xx, broken answer | The limit stays, and does not grow for 15 seconds |
| none | After three with no completion between, single requests probe until one has its completion |

Slow start and additive increase, multiplicative decrease, as in TCP (Jacobson 1988; Chiu and Jain 1989). Only what a
server really served is evidence: completions count when the limit was reached, and stored answers never come here.

Pure and deterministic: there is no clock, no randomness and nothing to await. Every `now` is in seconds of one
monotonic clock, any whose readings are below 10^9.
"""

import math
from collections.abc import Callable
from typing import Protocol

# A shrunken limit shows its effect only when what was under way before has come back; a burst of 429s is one event.
COOLDOWN_SECONDS = 15.0
# One or two lost connections are ordinary. Where one request in ten is lost by chance, three before the next
# completion happen once in a thousand; and such an error costs one probe.
LOST_IN_A_ROW = 3
# Waits before the first, second, third and every further probe. A refused connection fails in a millisecond, so
# single requests alone would not keep an outage from spending the attempts of a whole study. The last is how late,
# at most, the end of an outage is noticed.
PROBE_SECONDS = (1.0, 2.0, 4.0, 5.0)
# Added to the spacing of requests, so that rounding never lets one too many into a minute.
_ROUNDING_SECONDS = 1e-6


class Pacing(Protocol):
    """What one caller asks and tells, whether it has the pace to itself or shares it; see `Pace`."""

    def joined(self, wake: Callable[[], None]) -> None:
        """Take note of a caller, which is woken when there may be room by what another one did."""

    def room(self, now: float, under_way: int) -> int:
        """Return how many requests may be sent at this moment, 0 or more."""

    def opens_at(self, now: float, under_way: int) -> float | None:
        """Return when there is room by the passing of time alone; None when something else makes it."""

    def sent(self, now: float) -> None:
        """Take note that one request went out."""

    def succeeded(self, now: float) -> None:
        """Take note of a completion."""

    def overloaded(self, now: float, wait: float | None) -> None:
        """Take note of a 429."""

    def failed(self, now: float) -> None:
        """Take note of an answer without a completion."""

    def unreachable(self, now: float) -> None:
        """Take note that a request got no answer."""

    def rested(self, now: float, under_way: int, *, wanting: bool) -> None:
        """Take note of how a turn of the caller ended, and whether it has anything left to send."""

    def left(self, now: float) -> None:
        """Take note that the caller sends nothing more and has nothing under way."""


class Pace:
    """The limit of requests under way, and their spacing in time.

    Whoever sends asks `room` or `opens_at` after every event and before every request, and tells what became of
    each request by one of `succeeded`, `overloaded`, `failed` and `unreachable`; by the last as well where a 429 is one
    of many failures in a row. What says nothing about the
    server's load, such as a request that was refused for its content or cancelled, is not told.

    Args:
        start: The first limit.
        most: The limit is never greater. With `start` equal to it the limit never grows beyond what was asked for,
            and still shrinks on 429.
        requests_per_minute: Most requests sent in any half-open minute, or None. They go out 60 s / rate apart,
            never in a burst, and the first goes one spacing after the first question: a process that is started
            again keeps the rate together with the one before it. A fraction of a rate above 1 is dropped, since a
            minute with room for 2.5 requests has room for two.

    Raises:
        ValueError: When not 1 <= start <= most, or the rate is not greater than 0.
    """

    def __init__(self, *, start: int, most: int, requests_per_minute: float | None = None) -> None:
        if not 1 <= start <= most:
            raise ValueError(f"expected 1 <= start <= most, found start {start} and most {most}")
        self._limit = start
        self._most = most
        self._spacing = 0.0 if requests_per_minute is None else _spacing(requests_per_minute)
        self._next_request: float | None = None  # none before the first question
        self._held_until = -math.inf

        self._under_way = 0
        self._reached = False  # whether the limit was, since it last changed
        self._completions = 0  # of those that count towards growth
        self._doubling = True
        self._grows_from = -math.inf
        self._shrinks_from = -math.inf

        self._lost = 0  # requests without an answer, less completions of what was sent before
        self._probes = 0
        self._next_probe = -math.inf

    @property
    def limit(self) -> int:
        """Return how many requests may be under way now, at least 1; while probing, 1."""
        return 1 if self._probing else self._limit

    def joined(self, _wake: Callable[[], None]) -> None:
        """Take note of the caller; nobody beside it makes room."""

    def rested(self, _now: float, _under_way: int, *, wanting: bool) -> None:
        """Take note of how a turn of the caller ended; nobody waits for it."""

    def left(self, _now: float) -> None:
        """Take note that the caller is done; nobody waits for it."""

    def room(self, now: float, under_way: int) -> int:
        """Return how many requests may be sent at this moment, 0 or more."""
        self._observe(under_way)
        if self._opening(now) > now:
            return 0
        free = max(0, self.limit - under_way)
        return min(1, free) if self._spacing else free

    def opens_at(self, now: float, under_way: int) -> float | None:
        """Return when there is room by the passing of time alone, `now` or later.

        Returns:
            `now` when there is room already; None when only an answer can make room.
        """
        self._observe(under_way)
        return self._opening(now) if under_way < self.limit else None

    def sent(self, now: float) -> None:
        """Take note that one request went out."""
        self._observe(self._under_way + 1)
        self._next_request = now + self._spacing
        if self._probing:
            self._probes += 1

    def succeeded(self, now: float) -> None:
        """Take note of a completion that the server gave just now."""
        self._forgive()
        if now < self._grows_from or not self._reached:
            return
        self._completions += 1
        if self._completions >= self._limit:
            self._limit = min(self._most, self._limit * 2 if self._doubling else self._limit + 1)
            self._begin_window()

    def overloaded(self, now: float, wait: float | None) -> None:
        """Take note of a 429.

        Args:
            wait: Finite seconds that the server asked to wait, or None when it did not say; then nothing is held,
                since who retries waits by itself.
        """
        self._doubling = False
        if wait is not None:
            self._held_until = max(self._held_until, now + wait)
        if now >= self._shrinks_from:
            self._limit = max(1, self._limit * 4 // 5)
            self._shrinks_from = self._grows_from = now + COOLDOWN_SECONDS
            self._begin_window()
        self._put_off_probe(now)

    def failed(self, now: float) -> None:
        """Take note of an answer without a completion: 5xx, or one that is broken."""
        if now >= self._grows_from:
            self._grows_from = now + COOLDOWN_SECONDS
            self._begin_window()
        self._put_off_probe(now)

    def unreachable(self, now: float) -> None:
        """Take note that a request got no answer, or a gateway's in its place."""
        self._lost += 1
        if self._lost == LOST_IN_A_ROW:
            self._begin_window()
        self._put_off_probe(now)

    @property
    def _probing(self) -> bool:
        return self._lost >= LOST_IN_A_ROW

    def _forgive(self) -> None:
        """Let a completion make up for lost requests."""
        if self._probing and not self._probes:
            # It was sent before the outage. A server that shuts down refuses new requests and finishes old ones; were
            # each of these to bring the limit back, each would send a full load into the outage.
            self._lost -= 1
        else:
            self._lost = 0
        if not self._probing:
            self._probes = 0
            self._next_probe = -math.inf

    def _observe(self, under_way: int) -> None:
        self._under_way = under_way
        # The limit itself, not that of probing, which says nothing about load.
        self._reached = self._reached or under_way >= self._limit

    def _begin_window(self) -> None:
        self._completions = 0
        self._reached = False

    def _put_off_probe(self, now: float) -> None:
        if self._probing:
            self._next_probe = now + PROBE_SECONDS[min(self._probes, len(PROBE_SECONDS) - 1)]

    def _opening(self, now: float) -> float:
        """Return when time no longer stands in the way of a request, `now` or later."""
        if self._next_request is None:
            self._next_request = now + self._spacing
        return max(now, self._held_until, self._next_request, self._next_probe)


def _spacing(requests_per_minute: float) -> float:
    """Return the seconds between two requests; below a rate of 1 no minute holds more than one."""
    if not 0 < requests_per_minute < math.inf:
        raise ValueError(f"expected requests per minute greater than 0, found {requests_per_minute}")
    whole = math.floor(requests_per_minute) if requests_per_minute >= 1 else requests_per_minute
    return 60 / whole + _ROUNDING_SECONDS
