"""What `compare` is asked for: prompts and models found sound, what it takes, and how far it is."""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from optimizer.commands import complain, say, say_json
from optimizer.commands._calling import concurrency_of
from optimizer.commands._judges import engaged, warn_of_own_judge
from optimizer.commands._results import prompt_path
from optimizer.commands._stopping import stoppable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from optimizer.comparing import Comparing, Progress, Scored, Terms
    from optimizer.errors import Problem
    from optimizer.frozen import FrozenPrompt
    from optimizer.ledger import CacheMode
    from optimizer.lineup import Seat
    from optimizer.metrics import Role
    from optimizer.models import ModelSpec

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is compared, found sound.

    Attributes:
        baseline: Position of the seat that the others are compared with.
        cautions: What to know of it.
    """

    seats: "tuple[Seat, ...]"
    terms: "Terms"
    split: str
    baseline: int
    cautions: tuple[str, ...]

    @property
    def calls(self) -> int:
        """Return how many calls there are at most, those of judges apart."""
        from optimizer.comparing import calls_of

        return calls_of(self.seats, self.terms.examples)

    @property
    def in_words(self) -> str:
        """Return what is asked, in a line."""
        prompts = len({seat.prompt for seat in self.seats})
        models, n = len({seat.rival.label for seat in self.seats}), len(self.terms.examples)
        judged = [
            f", and {len(self.seats) * asked.budget.calls:,} of the {role}"
            for role, asked in self.terms.asked.items()
        ]
        return (
            f"{self.terms.task.name}, {self.split}: {counted(prompts, 'prompt')} x {counted(models, 'model')} x "
            f"{counted(n, 'example')}, {self.calls:,} calls at most{''.join(judged)}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """What the command line names."""

    task: Path
    prompts: tuple[str, ...]
    models: tuple[str, ...]


def named(task: Path | None, prompts: "Sequence[str]", models: "Sequence[str]") -> Named:
    """Return what is named.

    Raises:
        InputError: When something is missing.
    """
    from optimizer.errors import InputError, Problem

    missing = {"--task": task, "--prompts": prompts, "--models": models}
    problems = [
        Problem(file="", field=name, message="missing") for name, value in missing.items() if not value
    ]
    if problems or task is None:
        raise InputError(problems)
    return Named(task=task, prompts=tuple(prompts), models=tuple(models))


def is_model(word: str) -> bool:
    """Return whether a word means a model, or a file of models, rather than a prompt."""
    from optimizer.document import load_yaml
    from optimizer.errors import InputError
    from optimizer.models import MODELS
    from optimizer.rivals import is_file_of_models

    if not is_file_of_models(word):
        provider, _, name = word.partition(":")
        return bool(name) and (provider in list(MODELS) or not Path(word).exists())
    try:
        value = load_yaml(Path(word)).value
    except InputError:  # is told where it is read
        return False
    return isinstance(value, dict) and "models" in value


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """How models are asked.

    Attributes:
        concurrency: As the option says it.
        judge: What metrics may ask.
        embeddings: Likewise.
    """

    cache: "CacheMode"
    concurrency: str | None
    judge: "ModelSpec | None"
    embeddings: "ModelSpec | None"


def entry_of(named: Named, split: str, asking: Asking, *, baseline: str | None, force: bool) -> Entry:
    """Return what is compared.

    Raises:
        InputError: With every reason not to.
    """
    from optimizer.comparing import Terms
    from optimizer.config import RunSpec
    from optimizer.errors import InputError, Problem
    from optimizer.lineup import entrants, findings, seats
    from optimizer.plan import load_examples
    from optimizer.rescoring import store_of
    from optimizer.rivals import rivals, siblings
    from optimizer.taskfile import SPLITS

    judges: dict[Role, ModelSpec | None] = {"judge": asking.judge, "embeddings": asking.embeddings}
    problems: list[Problem] = []
    if split not in SPLITS:
        message = f"expected {', '.join(SPLITS)}, found {split!r}"
        problems.append(Problem(file="", field="--split", message=message))
    loaded = _attempted(lambda: load_examples(named.task), problems)
    frozen = [_attempted(lambda name=name: _prompt(name), problems) for name in named.prompts]  # type: ignore[misc]  # a default argument binds the name
    found = _attempted(lambda: rivals(named.models), problems)
    if problems or loaded is None or found is None:
        raise InputError(problems)
    task, dataset = loaded
    prompts = entrants(each[0] for each in frozen if each is not None)
    places = seats(prompts, found, task)
    checked = findings(prompts, places, task, dataset, split)
    baseline_at = _attempted(lambda: position([seat.name for seat in places], baseline), problems)
    problems += [*checked.problems, *(() if force else checked.unfair)]
    examples = getattr(dataset, split)
    asked = _attempted(lambda: engaged(task, judges, answers=len(examples)), problems)
    if problems or baseline_at is None or asked is None:
        raise InputError(problems)
    for rival in found:
        warn_of_own_judge(asked, rival.spec)
    terms = Terms(
        task=task,
        examples=examples,
        run=RunSpec(concurrency=concurrency_of(asking.concurrency) or "auto"),
        cache=asking.cache,
        database=store_of(named.task),
        asked=asked,
        apart=siblings(found),
    )
    forced = [str(problem) for problem in checked.unfair]
    cautions = (*dataset.warnings, *forced, *checked.cautions)
    return Entry(seats=places, terms=terms, split=split, baseline=baseline_at, cautions=cautions)


def _attempted(make: "Callable[[], T]", problems: "list[Problem]") -> "T | None":
    """Return what was made, or None after the mistakes that kept it from being made are noted."""
    from optimizer.errors import InputError

    try:
        return make()
    except InputError as error:
        problems += error.problems
        return None


def _prompt(name: str) -> "tuple[FrozenPrompt | None]":
    from optimizer.frozen import FrozenPrompt
    from optimizer.lineup import OWN

    return (None if name == OWN else FrozenPrompt.load(prompt_path(Path(name))),)


def position(names: "Sequence[str]", wanted: str | None) -> int:
    """Return which of some cells is the baseline.

    Raises:
        InputError: When none is called so.
    """
    from optimizer.errors import InputError, Problem
    from optimizer.registry import did_you_mean

    if wanted is None:
        return 0
    if wanted not in names:
        hint = did_you_mean(wanted, names) or f"; there are {', '.join(names)}"
        message = f"expected one of the cells, PROMPT@MODEL, found {wanted!r}{hint}"
        raise InputError([Problem(file="", field="--baseline", message=message)])
    return names.index(wanted)


def rehearse(entry: Entry, *, as_json: bool) -> None:
    from optimizer.comparing import calls_of

    cells = {seat.name: calls_of([seat], entry.terms.examples) for seat in entry.seats}
    if as_json:
        asked = {role: len(entry.seats) * engaged.budget.calls for role, engaged in entry.terms.asked.items()}
        say_json({"calls": entry.calls, "cells": cells, "asked": asked, "cautions": list(entry.cautions)})
        return
    say(entry.in_words)
    for name, calls in cells.items():
        say(f"  {calls:>7,} calls  {name}")
    for caution in entry.cautions:
        say(f"  Caution: {caution}")


@contextmanager
def shown_cells(*, quiet: bool) -> "Iterator[Callable[[Progress], None]]":
    """Return a watcher that shows progress: a live line on a terminal, a line a cell off it."""
    if quiet:
        yield lambda _progress: None
    elif sys.stderr.isatty():
        yield from _live()
    else:
        yield _plain()


def _live() -> "Iterator[Callable[[Progress], None]]":
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[standing]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compare", total=None, standing="")
        yield lambda progress: bar.update(
            task, total=progress.of, completed=progress.calls, standing=_standing(progress)
        )


def _plain() -> "Callable[[Progress], None]":
    told: list[str] = []

    def watch(progress: "Progress") -> None:
        if told[-1:] != [progress.cell]:
            told.append(progress.cell)
            complain(_standing(progress))

    return watch


def _standing(progress: "Progress") -> str:
    return f"{progress.calls:,} of {progress.of:,} calls, {progress.cell}"


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


async def asked_cells(comparing: "Comparing") -> "tuple[Scored, ...]":
    """Return what became of every cell; Ctrl-C once ends it in good order, twice at once."""
    async with stoppable() as signals:
        with signals.stopping(comparing.stop):
            return await comparing.run()
