"""`predict PROMPT ROWS --output PATH`: a file of rows through a frozen prompt."""

import dataclasses
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimizer.commands import AsJson, Quiet, command, complain, say, say_json
from optimizer.commands._calling import ApiKeyEnv, BaseUrl, Concurrency, concurrency_of
from optimizer.commands._model import CapabilityNames, Model, ModelPath, Stated, TimeoutSeconds
from optimizer.commands._results import PromptPath, prompt_path
from optimizer.commands._stopping import stoppable
from optimizer.commands._tables import outcome_line, spent_lines
from optimizer.language import ENGLISH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from optimizer.config import PriceSpec, RunSpec
    from optimizer.frozen import FrozenPrompt
    from optimizer.job import Bound, Job
    from optimizer.models import ModelSpec
    from optimizer.predicting import Predicted, Prediction, Progress

Rows = Annotated[
    Path, typer.Argument(metavar="ROWS", help="What to answer: .csv, .tsv, .jsonl, also .gz, or .parquet.")
]
Output = Annotated[Path, typer.Option(metavar="PATH", help="The file to write: .csv, .jsonl or .parquet.")]
Keep = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN", help="A column of the rows to copy; may be repeated.")
]
KeepAll = Annotated[bool, typer.Option("--keep-all", help="Copy all columns of the rows.")]
Lists = Annotated[
    list[str] | None,
    typer.Option(
        "--list",
        metavar="INPUT",
        help="An input whose cells are JSON arrays of texts; those that the task has as lists are.",
    ),
]
Raw = Annotated[bool, typer.Option("--raw", help="Write completions beside the answers.")]
RequestsPerMinute = Annotated[
    float | None, typer.Option(metavar="N", help="Most requests sent in any minute.")
]
MaxCalls = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Calls that may be made, over all runs.")
]
MaxUsd = Annotated[
    float | None, typer.Option(metavar="X", help="US dollars that may be spent, over all runs.")
]
StatedPrice = Annotated[
    str | None,
    typer.Option(
        metavar="IN,OUT",
        help="US dollars for a million tokens read and written, in place of the published price.",
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start anew; completions that are still kept are reused.")
]


@command
def predict(  # the options of a command line
    path: PromptPath,
    rows: Rows,
    output: Output,
    keep: Keep = None,
    keep_all: KeepAll = False,
    lists: Lists = None,
    raw: Raw = False,
    model: Model = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    model_path: ModelPath = None,
    capabilities: CapabilityNames = None,
    timeout_seconds: TimeoutSeconds = None,
    concurrency: Concurrency = None,
    requests_per_minute: RequestsPerMinute = None,
    max_calls: MaxCalls = None,
    max_usd: MaxUsd = None,
    price: StatedPrice = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Answer the rows of a file with a frozen prompt, and write the answers in the order of the rows.

    All rows are checked before the first call. The same command again resumes, and asks rows anew that have no answer
    because of errors. Ctrl-C finishes the calls under way, saves and exits with 130; a second one stops at once.
    """
    import asyncio

    from optimizer.frozen import FrozenPrompt
    from optimizer.intake import intake_of
    from optimizer.job import Job

    frozen = FrozenPrompt.load(path := prompt_path(path))
    stated = Stated(
        name=model,
        base_url=base_url,
        api_key_env=api_key_env,
        path=model_path,
        capabilities=capabilities,
        timeout_seconds=timeout_seconds,
    )
    spec, usual = _asked(frozen, path, stated)
    named = _listed(frozen, path, lists or ())
    job = Job(
        frozen=frozen,
        spec=spec,
        intake=intake_of(frozen.template, rows, lists=named, kept=None if keep_all else keep or ()),
        output=output,
        run=_run(concurrency, requests_per_minute),
        raw=raw,
        price=_price(price) or usual,
        max_calls=max_calls,
        max_usd=max_usd,
        fresh=fresh,
    )
    found = asyncio.run(_predict(job, quiet=quiet))
    _say(found, output, as_json=as_json)
    _check(found)


def _asked(frozen: "FrozenPrompt", path: Path, stated: Stated) -> "tuple[ModelSpec, PriceSpec | None]":
    """Return the model that is asked, and its price where the study beside the prompt states one."""
    from optimizer.rescoring import own_model, study_beside

    # A study says how its own model is asked and what that costs, and nothing of another.
    if stated.name is not None:
        return stated.over(None), None
    beside = study_beside(path)
    spec = stated.over(own_model(frozen, beside))
    return spec, None if beside is None else beside[0].budget.prices.get(spec.name)


def _listed(frozen: "FrozenPrompt", path: Path, named: "Sequence[str]") -> list[str]:
    """Return the inputs whose cells are lists: those that are named, and those of the task, whichever model is asked.

    A row is then shown as the examples were that the prompt was scored on. Where the study beside the prompt has its
    task elsewhere that is told: of a cell in a table nothing else says that it is a list.
    """
    from optimizer.errors import InputError
    from optimizer.origin import listed_inputs

    try:
        return [*named, *listed_inputs(frozen, path)]
    except InputError as error:
        why = f": {error.problems[0]}" if error.problems else ""
        complain(
            f"Caution: whether the task has inputs that are lists is not known; name them with --list{why}"
        )
        return list(named)


def _run(concurrency: str | None, requests_per_minute: float | None) -> "RunSpec":
    from optimizer.config import RunSpec
    from optimizer.errors import InputError, Problem

    if requests_per_minute is not None and not 0 < requests_per_minute < float("inf"):
        message = f"expected more than 0, found {requests_per_minute}"
        raise InputError([Problem(file="", field="--requests-per-minute", message=message)])
    return RunSpec(concurrency=concurrency_of(concurrency) or "auto", requests_per_minute=requests_per_minute)


def _price(text: str | None) -> "PriceSpec | None":
    from optimizer.config import PriceSpec
    from optimizer.errors import InputError, Problem

    if text is None:
        return None
    try:
        read, written = map(float, text.split(","))
    except ValueError:
        read = written = -1.0
    if not (0 <= read < float("inf") and 0 <= written < float("inf")):
        message = f"expected two numbers such as 0.25,2, found {text!r}"
        raise InputError([Problem(file="", field="--price", message=message)])
    return PriceSpec(input=read, output=written)


async def _predict(job: "Job", *, quiet: bool) -> "Predicted":
    from optimizer.predicting import open_prediction

    async with stoppable() as signals:
        with _shown(job.output.name, quiet=quiet) as watch:
            async with open_prediction(job, watch) as prediction:
                if not quiet:
                    _announce(job, prediction)
                with signals.stopping(prediction.stop), _told(prediction):
                    return await prediction.run()


@contextmanager
def _told(prediction: "Prediction") -> "Iterator[None]":
    """Tell what a run took that does not come to its end."""
    import asyncio

    from optimizer.errors import OptimizerError

    try:
        yield
    except (OptimizerError, asyncio.CancelledError):
        # What came from the store is no news of a run that failed.
        for line in _spent({**prediction.spent, "cached": 0}):
            complain(line)
        raise


def _announce(job: "Job", prediction: "Prediction") -> None:
    bound = prediction.bound
    calls = bound.calls if job.max_calls is None else min(bound.calls, job.max_calls)
    complain(f"{job.intake.file}: {bound.rows:,} rows, {calls:,} calls at most, {_cost(bound, job.max_usd)}")
    if prediction.done:
        complain(f"{prediction.done:,} rows are in the file already")


def _cost(bound: "Bound", most: float | None) -> str:
    if bound.usd is not None:
        usd = bound.usd if most is None else min(bound.usd, most)
        return f"{ENGLISH.dollars(usd, 4)} US dollars at most" if usd else "free of charge"
    return "price not known" if bound.bounded else "no bound of cost, as the prompt has no max_tokens"


@contextmanager
def _shown(name: str, *, quiet: bool) -> "Iterator[Callable[[Progress], None]]":
    """Return a watcher that shows progress: a live line on a terminal, a line a block off it."""
    if quiet:
        yield lambda _progress: None
    elif sys.stderr.isatty():
        yield from _live(name)
    else:
        yield _plain(name)


def _live(name: str) -> "Iterator[Callable[[Progress], None]]":
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[standing]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, standing="")
        yield lambda progress: bar.update(
            task, total=progress.of, completed=progress.rows, standing=_standing(progress)
        )


def _plain(name: str) -> "Callable[[Progress], None]":
    told = 0

    def watch(progress: "Progress") -> None:
        nonlocal told
        # Twenty lines a file: of the largest as of one that is but a block.
        if (progress.rows * 20) // progress.of > told:
            told = (progress.rows * 20) // progress.of
            complain(f"{name}: {_standing(progress)}")

    return watch


def _standing(progress: "Progress") -> str:
    errors = f", {progress.errors:,} errors" if progress.errors else ""
    return f"{progress.rows:,} of {progress.of:,} rows{errors}"


def _say(found: "Predicted", output: Path, *, as_json: bool) -> None:
    if as_json:
        say_json({**dataclasses.asdict(found), "errors": found.errors, "output": str(output)})
        return
    for line in _lines(found, output):
        say(line)


def _check(found: "Predicted") -> None:
    from optimizer.errors import IncompleteError

    if found.errors:
        message = f"{found.errors:,} of {found.rows:,} rows have no answer because of errors"
        raise IncompleteError(f"{message}; the same command asks them again")


def _lines(found: "Predicted", output: Path) -> "Iterator[str]":
    yield f"wrote {output}: {found.rows:,} rows, {outcome_line(dict(found.outcomes))}"
    if found.prompt_tokens is None or found.completion_tokens is None:
        # Without them no price says what the answers cost.
        yield f"{'answers':<16}tokens not known, as the endpoint does not state those of every answer"
    else:
        usd = found.cost_usd
        cost = "price not known" if usd is None else f"{ENGLISH.dollars(usd, 4)} US dollars"
        yield f"{'answers':<16}{found.prompt_tokens:,} tokens read, {found.completion_tokens:,} written, {cost}"
    yield from _spent(found.spent)


def _spent(spent: "Mapping[str, Any]") -> "Iterator[str]":
    """Yield what was used over all runs of the command: beside the answers, what failed and may be billed."""
    figures = {"usd": 0.0, "cached": 0, "lost_in_flight": 0, "lost_tokens": 0, "damaged": 0, **spent}
    tokens = figures.get("prompt_tokens", 0) + figures.get("completion_tokens", 0)
    reasons = figures.get("failures", {})
    yield f"{'calls':<16}{figures.get('calls', 0):,}"
    if figures["usd"] is None and tokens:
        yield f"{'cost':<16}price not known, {tokens:,} tokens"
    retried = {"total": sum(reasons.values()), "reasons": reasons}
    yield from spent_lines({**figures, "tokens": tokens, "retried": retried, "failed_trials": 0})
