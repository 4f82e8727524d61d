"""An event loop whose time is virtual: when nothing is ready, its clock jumps to the next timer.

    def test_a_minute_takes_no_time(run_virtual):
        async def main() -> float:
            await asyncio.sleep(60)
            return asyncio.get_running_loop().time()

        assert run_virtual(main()) == 60.0

Time begins at 0 and passes in no other way, so a run is as deterministic as what runs in it. `time.monotonic()` is
not part of it: code under test takes its time from the loop. Functions handed to an executor (`asyncio.to_thread`)
run at once, on the thread of the loop, and take no time. Sockets are refused.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Later than this the loop could no longer tell two moments apart that are a nanosecond from each other, which is
# how it decides that a timer is due. About 48 days.
LAST_SECOND = 2.0**22
# Turns of the loop at one moment, a few seconds of real time, after which something is taken to ask over and over
# without waiting.
MOST_TURNS = 1_000_000


class VirtualClockError(RuntimeError):
    """What runs on the loop needs more than virtual time, or would wait for ever."""


class RunVirtual(Protocol):
    """The type of the fixture `run_virtual`."""

    def __call__(self, main: Coroutine[Any, Any, T]) -> T: ...


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns on a fresh loop, whose time begins at 0.

    Tasks that are left over are cancelled and asynchronous generators closed, like with `asyncio.run`.

    Raises:
        VirtualClockError: When everything waits and no timer runs, and for sockets.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time."""

    def __init__(self) -> None:
        self._jumps = _JumpingSelector()
        super().__init__(self._jumps)
        self._jumps.open = False

    def time(self) -> float:
        return self._jumps.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  # an executor hands over whatever was raised
            future.set_exception(error)
        return future


class _JumpingSelector(selectors.BaseSelector):
    """Looks for what has happened, and where the loop would wait, moves the clock instead.

    Attributes:
        now: Virtual seconds.
        open: Whether files are taken; only the loop's own, for signals and calls from other threads, are.
    """

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self._turns = 0
        self.now = 0.0
        self.open = True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._turns = 0 if timeout else self._turns + 1
        if self._turns > MOST_TURNS:
            raise VirtualClockError(
                f"time stands still at {self.now} s: something asks over and over without waiting"
            )
        happened = self._real.select(0)
        if happened:
            return happened
        if timeout is None:
            raise VirtualClockError(
                f"at {self.now} s nothing is ready and no timer runs, so every task would wait for ever"
            )
        self.now += timeout
        if self.now > LAST_SECOND:
            raise VirtualClockError(f"virtual time ends at {LAST_SECOND} s, and the next timer is later")
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if not self.open:
            raise VirtualClockError("a loop on virtual time takes no sockets")
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()
