"""The loop on virtual time that other tests stand on."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.virtual_clock import RunVirtual


def now() -> float:
    """Return the virtual seconds since the beginning."""
    return asyncio.get_running_loop().time()


def test_a_sleep_takes_virtual_time_and_no_real_time(run_virtual: "RunVirtual") -> None:
    async def main() -> tuple[float, float]:
        before = now()
        await asyncio.sleep(60)
        return before, now()

    started = time.perf_counter()
    assert run_virtual(main()) == (0.0, 60.0)
    assert time.perf_counter() - started < 5


def test_every_run_begins_at_zero(run_virtual: "RunVirtual") -> None:
    assert [run_virtual(asyncio.sleep(5, result=n)) for n in range(3)] == [0, 1, 2]

    async def main() -> float:
        return now()

    assert run_virtual(main()) == 0.0


def test_time_stands_still_while_something_is_ready(run_virtual: "RunVirtual") -> None:
    async def main() -> float:
        alarm = asyncio.get_running_loop().call_later(1, lambda: None)
        for _ in range(1000):
            await asyncio.sleep(0)
        alarm.cancel()
        return now()

    assert run_virtual(main()) == 0.0


def test_timers_ring_in_order_each_at_its_time(run_virtual: "RunVirtual") -> None:
    rung: list[tuple[float, str]] = []

    async def ring(seconds: float, name: str) -> None:
        await asyncio.sleep(seconds)
        rung.append((now(), name))

    async def main() -> None:
        await asyncio.gather(ring(3, "c"), ring(0.1, "a"), ring(86_400 * 3, "d"), ring(1, "b"))

    run_virtual(main())
    assert rung == [(0.1, "a"), (1.0, "b"), (3.0, "c"), (259_200.0, "d")]


def test_call_later_and_call_at_ring_on_time_unless_cancelled(run_virtual: "RunVirtual") -> None:
    rung: list[tuple[float, str]] = []

    def ring(name: str) -> None:
        rung.append((now(), name))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(2.5, ring, "later")
        loop.call_later(1.5, ring, "sooner")
        loop.call_later(2.0, ring, "cancelled").cancel()
        loop.call_at(2.25, ring, "at")
        await asyncio.sleep(10)

    run_virtual(main())
    assert rung == [(1.5, "sooner"), (2.25, "at"), (2.5, "later")]


def test_a_timeout_ends_what_takes_longer(run_virtual: "RunVirtual") -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        async with asyncio.timeout(30):
            await asyncio.sleep(29)
        return now()

    assert run_virtual(main()) == 59.0


def test_an_exception_passes_through(run_virtual: "RunVirtual") -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        run_virtual(main())


def test_tasks_left_over_are_cancelled_and_generators_closed(run_virtual: "RunVirtual") -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)  # cleaning up may take its time
            ended.append("task")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.append("generator")

    async def main() -> int:
        task = asyncio.create_task(forever())
        await asyncio.sleep(1)
        assert not task.done()
        return await anext(numbers_left_open)

    numbers_left_open = numbers()
    assert run_virtual(main()) == 1
    assert ended == ["task", "generator"]


def test_waiting_for_ever_is_an_error_and_still_cleaned_up(
    run_virtual: "RunVirtual", virtual_clock: ModuleType
) -> None:
    ended: list[str] = []

    async def main() -> None:
        await asyncio.sleep(3)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("main")

    with pytest.raises(virtual_clock.VirtualClockError) as caught:
        run_virtual(main())
    assert (
        str(caught.value) == "at 3.0 s nothing is ready and no timer runs, so every task would wait for ever"
    )
    assert ended == ["main"]


def test_asking_over_and_over_is_an_error(
    run_virtual: "RunVirtual", virtual_clock: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtual_clock, "MOST_TURNS", 1000)

    async def main() -> None:
        while now() < 1:  # noqa: ASYNC110  # the mistake that is looked for
            await asyncio.sleep(0)

    with pytest.raises(virtual_clock.VirtualClockError, match="time stands still"):
        run_virtual(main())


def test_time_ends_where_a_clock_would_lose_its_precision(
    run_virtual: "RunVirtual", virtual_clock: ModuleType
) -> None:
    run_virtual(asyncio.sleep(virtual_clock.LAST_SECOND))
    with pytest.raises(virtual_clock.VirtualClockError, match="virtual time ends"):
        run_virtual(asyncio.sleep(virtual_clock.LAST_SECOND + 1))


@pytest.mark.parametrize("seconds", [0.1, 1e-9, 1 / 3, 7.7])
def test_timers_ring_late_in_virtual_time_as_well(
    run_virtual: "RunVirtual", virtual_clock: ModuleType, seconds: float
) -> None:
    async def main() -> float:
        await asyncio.sleep(virtual_clock.LAST_SECOND - 1000)
        before = now()
        for _ in range(100):
            await asyncio.sleep(seconds)
        return now() - before

    assert run_virtual(main()) == pytest.approx(100 * seconds, abs=1e-6)


def test_a_function_for_an_executor_runs_at_once_on_the_same_thread(run_virtual: "RunVirtual") -> None:
    async def main() -> tuple[int, float]:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)
        return await asyncio.to_thread(threading.get_ident), now()

    assert run_virtual(main()) == (threading.get_ident(), 0.0)


def test_sockets_are_refused(run_virtual: "RunVirtual", virtual_clock: ModuleType) -> None:
    async def main() -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    with pytest.raises(virtual_clock.VirtualClockError, match="no sockets"):
        run_virtual(main())


def test_the_same_run_gives_the_same_order(run_virtual: "RunVirtual") -> None:
    async def main() -> list[tuple[float, int]]:
        done: list[tuple[float, int]] = []
        slots = asyncio.Semaphore(3)

        async def work(n: int) -> None:
            async with slots:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await asyncio.sleep(n * 0.7 % 1)
            done.append((now(), n))

        await asyncio.gather(*map(work, range(50)))
        return done

    assert run_virtual(main()) == run_virtual(main())
