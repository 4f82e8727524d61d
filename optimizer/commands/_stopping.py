"""How a command that asks models is stopped: by Ctrl-C or SIGTERM, once in good order, twice at once."""

from contextlib import asynccontextmanager, contextmanager
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
        complain("stopping: calls under way are finished and saved; once more stops at once")
        self.came = True
        self._stop()


@asynccontextmanager
async def stoppable() -> "AsyncIterator[Signals]":
    """Have Ctrl-C or SIGTERM end what is inside: once in good order, twice at once.

    Raises:
        InterruptedRunError: After the second one.
    """
    import asyncio
    import signal

    from optimizer.errors import InterruptedRunError

    loop, work, signals = asyncio.get_running_loop(), asyncio.current_task(), Signals()
    assert work is not None  # we are inside it

    def handled(by: "Callable[[], object]") -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, by)

    def first() -> None:
        handled(work.cancel)
        signals.come()

    try:
        handled(first)
        yield signals
    except asyncio.CancelledError:
        raise InterruptedRunError("stopped at once; what was answered before is saved") from None
