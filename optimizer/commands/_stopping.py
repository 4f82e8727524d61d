"""How a command that asks models is stopped: by Ctrl-C or SIGTERM, once in good order, twice at once."""

from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from optimizer.commands import complain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class Signals:
    """Ctrl-C and SIGTERM, as far as they came.

    Attributes:
        came: Whether one did.
    """

    def __init__(self) -> None:
        self.came = False
        self._stop: Callable[[], None] = lambda: None

    @contextmanager
    def stopping(self, stop: "Callable[[], None]") -> "Iterator[None]":
        """Have the first of them stop what asks models inside: at once, where it came already."""
        self._stop = stop
        try:
            if self.came:
                stop()
            yield
        finally:
            self._stop = lambda: None

    def come(self) -> None:
        """Stop what asks models now."""
        self.came = True
        self._stop()
        say_stopping()


def say_stopping() -> None:
    """Say what the first signal does, to whoever still reads: it has done it already."""
    with suppress(OSError):  # the terminal may be closed, or the pipe that shows what is said
        complain("stopping: calls under way are finished and saved; once more stops at once")


def heard(once: "Callable[[], None]", twice: "Callable[[], object]") -> None:
    """Have the first Ctrl-C or SIGTERM do one thing and the second another; further ones do nothing more.

    They are counted here, because several that came while the loop was busy are all handed to the same handler.
    """
    import asyncio
    import signal

    loop, count = asyncio.get_running_loop(), 0

    def come() -> None:
        nonlocal count
        count += 1
        if count == 1:
            once()
        elif count == 2:  # another cancellation would keep what was answered from being committed
            twice()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, come)


@asynccontextmanager
async def stoppable() -> "AsyncIterator[Signals]":
    """Have Ctrl-C or SIGTERM end what is inside: once in good order, twice at once.

    Raises:
        InterruptedRunError: After the second one.
    """
    import asyncio

    from optimizer.errors import InterruptedRunError

    work, signals = asyncio.current_task(), Signals()
    assert work is not None  # we are inside it
    try:
        heard(signals.come, work.cancel)
        yield signals
    except asyncio.CancelledError:
        raise InterruptedRunError("stopped at once; what was answered before is saved") from None
