"""Several studies of one command: how they get on, live or line by line, and what they came to, in one table."""

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimizer.commands import complain
from optimizer.commands._junit import JUnitCase, junit_xml
from optimizer.commands._progress import shown
from optimizer.commands._stopping import heard, say_stopping
from optimizer.elision import told_apart
from optimizer.explanation import score_text, signed_points
from optimizer.language import ENGLISH

if TYPE_CHECKING:
    from collections.abc import Callable

    from optimizer.commands._gates import Gate
    from optimizer.plan import StudyPlan
    from optimizer.runs import Batch, Outcome
    from optimizer.study import Progress

Calls = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Calls that all studies together may make: one budget.")
]
Tokens = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Tokens that all of them may read and write.")
]
Dollars = Annotated[float | None, typer.Option(metavar="X", help="US dollars that all of them may cost.")]
Seconds = Annotated[float | None, typer.Option(metavar="S", help="Seconds that the whole may take.")]
Parallel = Annotated[
    int | None,
    typer.Option(min=1, metavar="K", help="Studies at once; 8 unless given, 1 where all models are local."),
]
JUnit = Annotated[Path | None, typer.Option(metavar="PATH", help="Also write the results as JUnit XML.")]

# How far back the calls are counted that tell how fast they go.
_RATE_SECONDS = 30.0

# Of a name and of a place, what a line of 120 columns has room for; more where they differ in nothing else.
_NAME, _PLACE = 22, 24


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is told of one study.

    Attributes:
        summary: Its figures; with `evidence` where it was finished.
        gates: What it was held to.
    """

    plan: "StudyPlan"
    error: Exception | None
    summary: Mapping[str, Any]
    gates: tuple["Gate", ...] = ()

    @property
    def missed(self) -> list[str]:
        """Return what it fell short of, in words."""
        return [gate.message for gate in self.gates if not gate.passed]


async def carried_out(batch: "Batch") -> tuple["Outcome", ...]:
    """Return what became of each study; Ctrl-C once ends all of them in good order, twice at once."""

    def stop() -> None:
        batch.stop()
        say_stopping()

    heard(stop, batch.stop_at_once)
    return await batch.run()


@dataclass(frozen=True, kw_only=True, slots=True)
class Watcher:
    """Shows how studies get on, each known by its folder; is called as `Batch.watch` is.

    Attributes:
        ended: Shows how a study ended, as `Batch.ended`.
    """

    told: "Callable[[str, Progress], None]"
    ended: "Callable[[Outcome], None]"

    def __call__(self, folder: str, progress: "Progress") -> None:
        """Show how a study gets on."""
        self.told(folder, progress)


@contextmanager
def watched(plans: "Sequence[StudyPlan]", *, quiet: bool) -> Iterator[Watcher]:
    """Return what shows how studies get on.

    On a terminal several of them have a live view; off it, and alone, each says a line now and then.
    """
    if len(plans) > 1 and not quiet and sys.stderr.isatty():
        with _live(plans) as view:
            yield Watcher(
                told=lambda folder, progress: view.tell(folder, progress, time.monotonic()), ended=view.end
            )
        return
    with ExitStack() as stack:
        watchers = {str(plan.folder): stack.enter_context(shown(plan.name, quiet=quiet)) for plan in plans}

        def ended(outcome: "Outcome") -> None:
            if len(plans) > 1 and not quiet:
                complain(f"{outcome.plan.name}: {_end(outcome)}")

        yield Watcher(told=lambda folder, progress: watchers[folder](progress), ended=ended)


def _end(outcome: "Outcome") -> str:
    return "finished" if outcome.error is None else _ended(outcome.error)


@dataclass(kw_only=True)
class View:
    """Where all studies of a command stand, as text.

    Attributes:
        names: Of the studies, by folder, in the order in which they were given.
        budgets: Calls that each may make.
        at: What was last told of each.
        over: How each ended that is over.
    """

    names: Mapping[str, str]
    budgets: Mapping[str, int]
    at: dict[str, "Progress"] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)
    counted: deque[tuple[float, int]] = field(default_factory=deque)

    def tell(self, folder: str, progress: "Progress", now: float) -> None:
        """Take note of how a study gets on.

        Args:
            now: Seconds of any clock that does not go back.
        """
        self.at[folder] = progress
        self.counted.append((now, self._calls()))
        while len(self.counted) > 2 and self.counted[0][0] < now - _RATE_SECONDS:
            self.counted.popleft()

    def end(self, outcome: "Outcome") -> None:
        """Take note of how a study ended."""
        self.over[str(outcome.plan.folder)] = _end(outcome)

    def lines(self, *, most: int | None = None) -> Iterator[str]:
        """Yield a line for each study, and one for all of them.

        Args:
            most: Lines that there is room for; those that are over are left out first, then those that have not begun.
        """
        shown = told_apart(self.names.values(), _NAME)
        wide = max([_NAME, *map(len, shown.values())])
        yield f"{'study':<{wide}}  {'stage':<16}{'trials':>7}{'calls':>14}{'best':>8}{'baseline':>10}"
        room = len(self.names) if most is None else max(1, most - 3)
        listed = sorted(self.names, key=lambda folder: (folder in self.over, folder not in self.at))[:room]
        for folder in (folder for folder in self.names if folder in listed):
            yield f"{shown[self.names[folder]]:<{wide}}  {self._at(folder)}"
        if len(listed) < len(self.names):
            yield f"and {len(self.names) - len(listed)} more"
        yield self._total()

    def _at(self, folder: str) -> str:
        """Return where a study stands, as its line has it after its name."""
        progress = self.at.get(folder)
        stage = self.over.get(folder, "waiting" if progress is None else progress.stage)
        if progress is None:
            return f"{stage:<16}{'':>7}{f'0/{self.budgets[folder]}':>14}"
        calls = f"{progress.spent.calls}/{progress.budget}"
        best, baseline = (
            "-" if score is None else score_text(score) for score in (progress.best, progress.baseline)
        )
        return f"{stage:<16}{progress.trials:>7}{calls:>14}{best:>8}{baseline:>10}"

    def _total(self) -> str:
        calls, budget = self._calls(), sum(self.budgets.values())
        parts = [f"{len(self.over)} of {len(self.names)} studies over", f"{calls} of {budget} calls"]
        (first, before), (last, after) = (
            (self.counted[0], self.counted[-1]) if self.counted else ((0.0, 0), (0.0, 0))
        )
        if last > first and after > before:
            rate = (after - before) / (last - first)
            to_come = sum(self.budgets[folder] for folder in self.names if folder not in self.over)
            to_come -= sum(at.spent.calls for folder, at in self.at.items() if folder not in self.over)
            parts += [f"{rate:.1f} calls/s", f"at most {_span(to_come / rate)} left"]
        usd = sum(progress.spent.usd for progress in self.at.values())
        return " · ".join([*parts, *([f"{ENGLISH.dollars(usd, 4)} US dollars"] if usd else [])])

    def _calls(self) -> int:
        return sum(progress.spent.calls for progress in self.at.values())


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def _live(plans: "Sequence[StudyPlan]") -> Iterator[View]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    view = View(
        names={str(plan.folder): plan.name for plan in plans},
        budgets={str(plan.folder): plan.budget.calls for plan in plans},
    )
    console = Console(stderr=True)

    def text() -> Text:
        return Text("\n".join(view.lines(most=console.height)), no_wrap=True, overflow="ellipsis")

    with Live(console=console, get_renderable=text, refresh_per_second=4, transient=True):
        yield view


def batch_lines(told: Iterable[Told]) -> Iterator[str]:
    """Yield what several studies came to, a row each as they were given, and what all of them used."""
    rows = list(told)
    names = told_apart((row.plan.name for row in rows), _NAME)
    places = told_apart((str(row.plan.folder) for row in rows), _PLACE)
    wide = max([_NAME, *map(len, names.values())])
    yield ""
    yield (
        f"{'study':<{wide}}  {'decision':<20}{'baseline':>8}{'winner':>8}  {'gain in points':<24}"
        f"{'calls':>7}{'US dollars':>11}{'seconds':>9}  where"
    )
    for row in rows:
        yield f"{names[row.plan.name]:<{wide}}  {_row(row)}  {places[str(row.plan.folder)]}"
        yield from (f"{'':<{wide}}  {line}" for line in _reasons(row))
    total = total_figures(rows)
    dollars = _dollars(total["usd"])
    finished = f"{total['finished']} of {total['studies']} finished"
    yield (f"{finished:<{wide}}  {'':<62}{total['calls']:>7}{dollars:>11}{total['seconds']:>9.1f}")


def _row(told: Told) -> str:
    """Return what one study came to, as its row has it between its name and its place."""
    summary = told.summary
    before = after = gain = ""
    decision = _ended(told.error) if told.error is not None else ""
    if told.error is None:
        evidence = summary["evidence"]
        before, after = (score_text(score) for score in _scores(evidence))
        difference = evidence["difference"]
        value, lower, upper = (signed_points(difference[key]) for key in ("value", "lower", "upper"))
        decision, gain = evidence["decision"], f"{value} ({lower} to {upper})"
    dollars = _dollars(None if told.plan.price is None else summary.get("usd"))
    return (
        f"{decision:<20}{before:>8}{after:>8}  {gain:<24}"
        f"{summary.get('calls', 0):>7}{dollars:>11}{summary.get('seconds', 0.0):>9.1f}"
    )


def _dollars(usd: float | None) -> str:
    return "-" if usd is None else ENGLISH.dollars(usd, 4)


def _scores(evidence: Mapping[str, Any]) -> tuple[float, float]:
    if evidence["protocol"] == "test":
        return evidence["test"]["baseline"]["score"], evidence["test"]["winner"]["score"]
    return evidence["cross_validation"]["baseline"], evidence["cross_validation"]["chosen"]


def _ended(error: Exception) -> str:
    return {130: "interrupted", 4: "budget ended", 3: "incomplete"}.get(
        getattr(error, "exit_code", 70), "failed"
    )


def _reasons(told: Told) -> Iterator[str]:
    if told.error is not None:
        yield from str(told.error).splitlines()
    elif told.summary.get("complete"):
        yield "complete before; it was not asked again"
    yield from (f"gate: {message}" for message in told.missed)


def total_figures(told: Iterable[Told]) -> dict[str, Any]:
    """Return what all studies used together, as `--json` shows it; dollars are null where no price is known."""
    rows = list(told)
    priced = [row.summary.get("usd", 0.0) for row in rows if row.plan.price is not None]
    return {
        "studies": len(rows),
        "finished": sum(row.error is None for row in rows),
        "complete": sum(bool(row.summary.get("complete")) for row in rows),
        "budget": sum(row.plan.budget.calls for row in rows),
        "calls": sum(row.summary.get("calls", 0) for row in rows),
        "tokens": sum(row.summary.get("tokens", 0) for row in rows),
        "usd": sum(priced) if priced else None,
        "seconds": round(sum(row.summary.get("seconds", 0.0) for row in rows), 1),
    }


def end_of(told: Iterable[Told], order: Sequence[int]) -> int:
    """Return the exit code of a command: the first in an order that any study gave, else 0."""
    codes = set[int]()
    for row in told:
        codes |= {getattr(row.error, "exit_code", 70)} if row.error is not None else set()
        codes |= {1} if row.missed else set()
    return next((code for code in order if code in codes), 0)


def batch_junit(told: Iterable[Told]) -> str:
    """Return JUnit XML, a case for each study: failed at a gate, an error where it was not finished."""
    return junit_xml("optimizer run", (_case(row) for row in told))


def _case(told: Told) -> JUnitCase:
    if told.error is not None:
        return JUnitCase(name=told.plan.source.file, state="error", lines=tuple(str(told.error).splitlines()))
    evidence = told.summary["evidence"]
    before, after = (score_text(score) for score in _scores(evidence))
    found = (f"{evidence['decision']}: baseline {before}, winner {after}",)
    missed = tuple(told.missed)
    return JUnitCase(
        name=told.plan.source.file, state="failed" if missed else "passed", lines=(*missed, *found)
    )
