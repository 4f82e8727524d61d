"""The job of predicting: which rows, through which prompt, to which file, within which limits."""

import asyncio
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from optimizer.budget import Budget, Spent, attempts_for
from optimizer.config import PriceSpec, RunSpec
from optimizer.digest import digest, sha256_of
from optimizer.errors import InputError, InterruptedRunError, Problem
from optimizer.frozen import FrozenPrompt
from optimizer.intake import Intake
from optimizer.length import Reach
from optimizer.models import MODELS, ModelSpec, fingerprint
from optimizer.parquet import MISSING, can_write_parquet
from optimizer.predictions import FORMS, RESERVED
from optimizer.pricing import Price, common_tier, price_of
from optimizer.store import StudyStore

# Rows that are committed together.
BLOCK = 10_000

_T = TypeVar("_T")

_UNBOUNDED = 10**15

# Options of a model that change no answer: whoever waits longer goes on with what was begun.
_TIMING = ("timeout_seconds", "read_seconds")

_FIGURES = ("calls", "attempts", "cached", "prompt_tokens", "completion_tokens", "usd", "damaged")
_LOST = ("lost_in_flight", "lost_tokens", "lost_usd")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is asked for.

    Attributes:
        output: The file to write.
        raw: Whether completions are written beside the answers.
        price: What a million tokens cost, in place of the published price.
        max_calls: Calls that may be made, over all runs of the command; None sets no bound.
        max_usd: US dollars that may be spent, likewise.
        fresh: Whether to start anew where something was done already; completions are reused.
        block: Rows that are committed together.
    """

    frozen: FrozenPrompt
    spec: ModelSpec
    intake: Intake
    output: Path
    run: RunSpec = field(default_factory=RunSpec)
    raw: bool = False
    price: PriceSpec | None = None
    max_calls: int | None = None
    max_usd: float | None = None
    fresh: bool = False
    block: int = BLOCK

    @property
    def database(self) -> Path:
        """Return where completions are kept until every row has its answer."""
        return self.output.with_name(f"{self.output.name}.predict.db")

    def cost(self) -> Price | None:
        """Return what calls cost, None where no price is known."""
        return price_of(
            self.spec.name,
            base_url=self.spec.base_url,
            free=MODELS[self.spec.provider].free,
            overrides={} if self.price is None else {self.spec.name: self.price},
            service_tier=common_tier(dict(call.parameters) for call in self.frozen.template.calls),
        )

    def left(self, spent: Mapping[str, Any]) -> Budget:
        """Return what may still be used where so much is spent."""
        most, usd = self.max_calls, self.max_usd
        return Budget(
            calls=_UNBOUNDED if most is None else max(0, most - spent.get("calls", 0)),
            # Counted anew by each run: what an outage used up would keep the same command from ever going on.
            attempts=_UNBOUNDED if most is None else attempts_for(most),
            usd=None if usd is None else max(0.0, usd - spent.get("usd", 0.0)),
        )

    def identity(self, go_on: Callable[[], None] = lambda: None) -> dict[str, str]:
        """Return what tells this job from another; the file of rows is read for it.

        Args:
            go_on: Called now and then; what it raises ends the reading.
        """
        options = {name: value for name, value in self.spec.options.items() if name not in _TIMING}
        stated = None if self.price is None else dataclasses.asdict(self.price)
        return {
            "prompt": self.frozen.fingerprint,
            "model": fingerprint(dataclasses.replace(self.spec, options=options)),
            "rows": sha256_of(_chunks(self.intake, go_on)),
            "columns": self.intake.digest,
            "options": digest([self.output.suffix.lower(), self.raw, self.block, stated]),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """What a job is, known before its first call.

    Attributes:
        rows: Rows of the file.
        columns: Its columns.
        calls: Calls at most.
        usd: US dollars at most; None where no price is known or nothing bounds the answers.
        bounded: Whether something bounds the answers.
    """

    rows: int
    columns: tuple[str, ...]
    calls: int
    usd: float | None
    bounded: bool


def sum_of(before: Mapping[str, Any], spent: Spent) -> dict[str, Any]:
    """Return what was used, with what a block did."""
    figures = {name: before.get(name, 0) + getattr(spent, name) for name in (*_FIGURES, *_LOST)}
    failures = Counter(before.get("failures", {})) + Counter(spent.failures)
    return {**figures, "failures": dict(sorted(failures.items()))}


def check_job(job: Job) -> None:
    """Refuse what can be told before the rows are read.

    Raises:
        InputError: With every mistake: in the model, what it cannot do, a limit that is none, and where the file cannot
            be written.
    """
    provider = MODELS[job.spec.provider]
    problems = [Problem(file="", field="--model", message=message) for message in provider.problems(job.spec)]
    missing = sorted(set(job.frozen.capabilities) - provider.capabilities(job.spec).can)
    if missing:
        # The option stands for all that the model can do, so what it has already is named with what is missing.
        every = sorted(set(job.frozen.capabilities) | provider.capabilities(job.spec).can)
        named = " ".join(f"--capability {name}" for name in every)
        message = f"the prompt needs {', '.join(missing)}; if the model has that, say so with {named}"
        problems.append(Problem(file="", field="--model", message=message))
    if job.max_usd is not None and not 0 < job.max_usd < math.inf:
        message = f"expected a number above 0, found {job.max_usd}"
        problems.append(Problem(file="", field="--max-usd", message=message))
    problems += [Problem(file="", field="--output", message=message) for message in _output_mistakes(job)]
    if problems:
        raise InputError(problems)


def _output_mistakes(job: Job) -> Iterator[str]:
    suffix = job.output.suffix.lower()
    if suffix not in FORMS:
        found = repr(job.output.suffix) if suffix else "a name without suffix"
        yield f"expected a {', '.join(FORMS[:-1])} or {FORMS[-1]} file, found {found}"
    if suffix == ".parquet" and not can_write_parquet():
        yield MISSING
    if not job.output.parent.is_dir():
        yield f"there is no folder {job.output.parent}"
    if job.output.resolve() == job.intake.path.resolve():
        yield "expected another file than that of the rows"
    elif job.output.is_dir():
        yield f"expected a file, and {job.output} is a folder"
    elif not job.database.exists():
        yield from output_there(job)


def output_there(job: Job) -> Iterator[str]:
    """Yield why a job of which nothing is kept is not begun: its file is there, and is not to be made anew."""
    if job.output.exists() and not job.fresh:
        yield f"{job.output} is there already; --fresh makes it anew"


def bound_of(job: Job, go_on: Callable[[], None] = lambda: None) -> Bound:
    """Return what a job is.

    Args:
        go_on: Called at every row; what it raises ends the reading.

    Raises:
        InputError: With every mistake in its rows.
    """
    reach, price = Reach(job.frozen.template), job.cost()
    total = 0.0

    def watch(inputs: Mapping[str, str]) -> None:
        nonlocal total
        go_on()
        if price is not None and reach.bounded:
            total += sum(price(read, written) for read, written in reach.of(inputs))

    checked = job.intake.check(watch)
    kept = job.intake.kept
    copied = [name for name in checked.columns if name != "id"] if kept is None else kept
    problems = [
        Problem(
            file=job.intake.file,
            field=name,
            message="cannot be kept: the file of answers has a column of this name itself",
        )
        for name in copied
        if name in RESERVED
    ]
    if problems:
        raise InputError(problems)
    return Bound(
        rows=checked.n,
        columns=checked.columns,
        calls=checked.n * len(job.frozen.template.calls),
        usd=None if price is None or not reach.bounded else total,
        bounded=reach.bounded,
    )


async def aside(work: Callable[[Callable[[], None]], _T]) -> _T:
    """Return what a pass over the rows comes to. It is made in a thread, so that Ctrl-C is heard meanwhile.

    Args:
        work: Calls now and then what it is handed, which ends it when nobody waits for it any more.
    """
    over = False

    def go_on() -> None:
        if over:
            raise InterruptedRunError("stopped")

    try:
        return await asyncio.to_thread(work, go_on)
    finally:
        over = True


async def recorded_bound(job: Job, study: StudyStore, found: Bound | None) -> Bound:
    """Return what a job is, as it was recorded when it was begun, else as it was found or is found now.

    Raises:
        InputError: With every mistake in its rows.
    """
    known = study.records("bound").get(0)
    if known is not None:
        return Bound(**{**known, "columns": tuple(known["columns"])})
    if found is None:
        seen = state_of(job.intake)
        found = await aside(partial(bound_of, job))
        check_unchanged(job.intake, seen)
    study.record("bound", 0, dataclasses.asdict(found))
    return found


def check_limits(job: Job, bound: Bound) -> None:
    """Refuse a limit that cannot be held.

    Raises:
        InputError: With every reason.
    """
    if job.max_usd is None:
        return
    problems = []
    if job.cost() is None:
        problems.append("no price is known for this model; state it with --price")
    if not bound.bounded:
        problems.append("the prompt has no max_tokens, which would bound an answer")
    if problems:
        raise InputError([Problem(file="", field="--max-usd", message=message) for message in problems])


def _chunks(intake: Intake, go_on: Callable[[], None]) -> Iterator[bytes]:
    try:
        with intake.path.open("rb") as stream:
            while chunk := stream.read(2**20):
                go_on()
                yield chunk
    except OSError as error:
        raise InputError([Problem(file=intake.file, message=f"cannot be read: {error.strerror}")]) from error


def state_of(intake: Intake) -> tuple[int, int] | None:
    """Return what changes when the file does; None where it is gone."""
    try:
        found = intake.path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def check_unchanged(intake: Intake, seen: tuple[int, int] | None) -> None:
    """Refuse to go on with a file that is not as it was seen.

    Raises:
        InputError: When it is not.
    """
    if state_of(intake) != seen:
        raise InputError([Problem(file=intake.file, message="has changed while it was read")])
