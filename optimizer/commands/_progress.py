"""Progress on stderr: a live line on a terminal, plain lines off it."""

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from optimizer.commands import complain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from optimizer.study import Progress


@contextmanager
def shown(name: str, *, quiet: bool) -> "Iterator[Callable[[Progress], None]]":
    """Return a watcher that shows each progress it is given."""
    if quiet:
        yield lambda _progress: None
    elif sys.stderr.isatty():
        yield from _live(name)
    else:
        yield _plain(name)


def _live(name: str) -> "Iterator[Callable[[Progress], None]]":
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    # Narrow enough for 80 columns: a count that is cut off is no count.
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[standing]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, standing="")

        def watch(progress: "Progress") -> None:
            bar.update(
                task,
                description=f"{name} · {progress.stage}",
                total=progress.budget,
                completed=progress.spent.calls,
                standing=f"{progress.spent.calls} of {progress.budget} calls{_against(progress)}",
            )

        yield watch


def _plain(name: str) -> "Callable[[Progress], None]":
    told: list[tuple[str, int]] = []

    def watch(progress: "Progress") -> None:
        now = (progress.stage, progress.trials)
        if told[-1:] != [now]:
            told.append(now)
            spent = f"{progress.spent.calls} of {progress.budget} calls"
            complain(
                f"{name}: {progress.stage}, {progress.trials} trials, {spent}{_standing(progress, lead=', ')}"
            )

    return watch


def _standing(progress: "Progress", lead: str = "") -> str:
    if progress.best is None or progress.baseline is None:
        return ""
    return f"{lead}best {progress.best:.3f} (baseline {progress.baseline:.3f})"


def _against(progress: "Progress") -> str:
    if progress.best is None or progress.baseline is None:
        return ""
    return f", best {progress.best:.3f} vs {progress.baseline:.3f}"
