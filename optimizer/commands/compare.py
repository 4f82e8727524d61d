"""`compare --task TASK --prompts P... --models M...`: which model, with which prompt, at which price."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimizer.commands import EXIT_ORDER, AsJson, Quiet, command, complain, report_error, say, say_json
from optimizer.commands._calling import Concurrency, NoCache, Refresh, cache_mode
from optimizer.commands._gates import MinScore, check_gates, gate_figures, score_gate
from optimizer.commands._judges import (
    Embeddings,
    EmbeddingsApiKeyEnv,
    EmbeddingsBaseUrl,
    Judge,
    JudgeApiKeyEnv,
    JudgeBaseUrl,
    model_spec,
)
from optimizer.commands._lineup import (
    Asking,
    Entry,
    asked_cells,
    counted,
    entry_of,
    is_model,
    named,
    position,
    rehearse,
    shown_cells,
)
from optimizer.commands._matrix import matrix_lines, scores_csv, sentences
from optimizer.commands._tune import Tuning, carry_out, rehearsed, transfer_lines, tuning_of
from optimizer.language import ENGLISH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optimizer.comparing import Comparing, Scored
    from optimizer.comparison import Comparison

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT|MODEL",
        help="Further prompts and models, told apart by what they are: as many as you like after the first one.",
    ),
]
TaskPath = Annotated[Path | None, typer.Option("--task", metavar="TASK", help="A task file.")]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        "--prompts",
        metavar="PROMPT...",
        help="Frozen prompts, or the studies or folders in which they lie; the word baseline is the task's own.",
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--models", metavar="MODEL...", help="PROVIDER:NAME, or a YAML file with a list of models."),
]
Split = Annotated[str, typer.Option(metavar="NAME", help="train, validation or test.")]
Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="PROMPT@MODEL",
        help="What the others are compared with; the first prompt on the first model without it.",
    ),
]
Recorded = Annotated[
    Path | None,
    typer.Option(
        metavar="TABLE",
        help="Compare recorded scores and call no model: prompt_id, example_id, score, and model if there is one."
        " .csv, .jsonl, also .gz.",
    ),
]
Tune = Annotated[
    Path | None,
    typer.Option(
        metavar="STUDY", help="Run this study for each model first, then ask each prompt of every model."
    ),
]
Calls = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="With --tune: calls that all of it may make; one budget."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Write the JSON here, and the scores by example beside it as CSV; with --tune a folder for all results.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Compare prompts that were made for other data or another metric.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the calls and make none.")]


@command
def compare(  # the options of a command line
    words: Words = None,
    task_path: TaskPath = None,
    prompts: Prompts = None,
    models: Models = None,
    split: Split = "test",
    baseline: Baseline = None,
    recorded: Recorded = None,
    tune: Tune = None,
    calls: Calls = None,
    output: Output = None,
    concurrency: Concurrency = None,
    no_cache: NoCache = False,
    refresh: Refresh = False,
    force: Force = False,
    dry_run: DryRun = False,
    min_score: MinScore = None,
    judge: Judge = None,
    judge_base_url: JudgeBaseUrl = None,
    judge_api_key_env: JudgeApiKeyEnv = None,
    embeddings: Embeddings = None,
    embeddings_base_url: EmbeddingsBaseUrl = None,
    embeddings_api_key_env: EmbeddingsApiKeyEnv = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare models and prompts on the same examples of a task, paired.

    One table tells the score of each prompt on each model with its interval, what ties with the best, and what it takes
    in tokens, seconds and money. The same command again resumes; what was answered is never asked for again.
    """
    check_gates(min_score=min_score)
    asking = Asking(
        cache=cache_mode(no_cache=no_cache, refresh=refresh),
        concurrency=concurrency,
        judge=model_spec(judge, judge_base_url, judge_api_key_env),
        embeddings=model_spec(embeddings, embeddings_base_url, embeddings_api_key_env),
    )
    told = Telling(output=output, min_score=min_score, as_json=as_json, quiet=quiet)
    models = [*(models or ()), *filter(is_model, words or ())]
    prompts = [*(prompts or ()), *(word for word in words or () if not is_model(word))]
    beside: dict[str, object] = {"task": task_path, "prompts": prompts, "split": split != "test"}
    beside |= {"force": force, "judge": judge, "embeddings": embeddings}
    if recorded is not None:
        _refuse_beside("--recorded", **beside, models=models, tune=tune, calls=calls, dry_run=dry_run)
        _of_table(recorded, baseline, told)
    elif tune is not None:
        _refuse_beside("--tune", **beside, baseline=baseline, min_score=min_score)
        _tune(
            tuning_of(tune, models, output, calls=calls, concurrency=concurrency),
            asking,
            told,
            dry_run=dry_run,
        )
    else:
        _refuse_beside("--task", calls=calls)
        asked = named(task_path, prompts, models)
        _play(entry_of(asked, split, asking, baseline=baseline, force=force), told, dry_run=dry_run)


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """How a comparison is told.

    Attributes:
        output: Where it is written, too.
    """

    output: Path | None
    min_score: float | None
    as_json: bool
    quiet: bool


def _refuse_beside(what: str, **others: object) -> None:
    from optimizer.errors import InputError, Problem

    given = [f"--{name.replace('_', '-')}" for name, value in others.items() if value]
    if given:
        message = f"not used together with {', '.join(given)}"
        raise InputError([Problem(file="", field=what, message=message)])


def _of_table(table: Path, baseline: str | None, told: Telling) -> None:
    """Compare recorded scores.

    Raises:
        Exit: With 1 when a gate failed.
    """
    from optimizer.comparison import compare_recorded
    from optimizer.gradebook import read_gradebook

    book = read_gradebook(table)
    names = [f"{prompt}@{model}" if model else prompt for prompt, model in book.scores]
    comparison = compare_recorded(book, baseline=position(names, baseline))
    if not _finish(comparison, {"recorded": str(table)}, told):
        raise typer.Exit(1)


def _play(entry: Entry, told: Telling, *, dry_run: bool) -> None:
    """Ask every cell, and tell what came of it.

    Raises:
        IncompleteError: When something has no score.
        Exit: With 1 when a gate failed.
    """
    from optimizer.comparing import open_comparing

    if dry_run:
        rehearse(entry, as_json=told.as_json)
        return
    for caution in entry.cautions:
        complain(f"Caution: {caution}")
    if not told.quiet:
        complain(entry.in_words)
    with open_comparing(entry.seats, entry.terms) as comparing:
        _play_out(comparing, entry, told)


def _play_out(comparing: "Comparing", entry: Entry, told: Telling) -> None:
    """Do so while the store is held, and record that it is over where nothing is missing.

    Raises:
        IncompleteError: When something has no score.
        Exit: With 1 when a gate failed.
    """
    import asyncio

    from optimizer.errors import IncompleteError

    with shown_cells(quiet=told.quiet) as comparing.watch:
        found = asyncio.run(asked_cells(comparing))
    missing = [
        f"{each.seat.name}: {each.error or each.evaluation.failure}"  # type: ignore[union-attr]  # one of both is there
        for each in found
        if each.evaluation is None or each.evaluation.n_errors
    ]
    comparison = _compared(entry, found)
    if comparison is None:
        for each in found:
            if each.error is not None:
                report_error(each.error)
        raise IncompleteError(
            "; ".join(["there is nothing to compare: no example has a score in every cell", *missing])
        )
    passed = _finish(comparison, _figures(entry, found), told)
    if not any(each.is_interrupted for each in found):
        comparing.finish(found)
    if missing:
        raise IncompleteError("; ".join([*missing, "the same command asks for what is missing"]))
    if not passed:
        raise typer.Exit(1)


def _tune(tuning: "Tuning", asking: "Asking", told: Telling, *, dry_run: bool) -> None:
    """Tune for every model, and tell how the prompts travel.

    Raises:
        Exit: With the code of what is missing.
    """
    if dry_run:
        shares = rehearsed(tuning, asking.cache)
        if told.as_json:
            say_json(shares)
        else:
            say(shares["in_words"])
            for name, calls in (*shares["studies"].items(), ("on each other's models", shares["reserved"])):
                say(f"  {calls:>7,} calls  {name}")
        return
    found = carry_out(tuning, cache=asking.cache, quiet=told.quiet)
    if found.comparison is not None:
        if not told.as_json:
            for line in transfer_lines(found.transfers, found.figures["barred"]):
                say(line)
            say()
        file = dataclasses.replace(told, output=tuning.folder / "comparison.json")
        _finish(found.comparison, dict(found.figures), file)
    elif told.as_json:
        say_json(found.figures)
    raise typer.Exit(next((code for code in EXIT_ORDER if code in found.codes), 0))


def _compared(entry: Entry, found: "Sequence[Scored]") -> "Comparison | None":
    """Return the comparison of the cells that have a score; None without any, or without an example they share."""
    from optimizer.comparison import compare_evaluations

    scorer = next((each.evaluation.scorer for each in found if each.evaluation is not None), None)
    if scorer is None:
        return None
    rows = [
        (
            each.seat.prompt,
            each.seat.rival.label,
            str(each.error) if each.evaluation is None else each.evaluation,
        )
        for each in found
    ]
    return compare_evaluations(rows, entry.terms.examples, scorer, baseline=entry.baseline)


def _figures(entry: Entry, found: "Sequence[Scored]") -> dict[str, Any]:
    """Return what `--json` shows beside the comparison: what each cell is, and what it used."""
    asked = {
        each.seat.name: {
            "fingerprint": each.seat.frozen.fingerprint,
            "provider": each.seat.rival.spec.provider,
            "model_name": each.seat.rival.spec.name,
            "parameters_changed": dict(each.seat.changed),
            "spent": each.used,
            "asked": dict(each.bench),
            "error": None if each.error is None else str(each.error),
        }
        for each in found
    }
    return {
        "task": entry.terms.task.name,
        "split": entry.split,
        "calls": entry.calls,
        "cautions": list(entry.cautions),
        "asked": asked,
    }


def _finish(comparison: "Comparison", beside: dict[str, Any], told: Telling) -> bool:
    """Tell what was found, write it where that is wanted, and return whether every gate is passed."""
    gates = list(score_gate(told.min_score, comparison.cells[comparison.best].contender.score))
    said = sentences(comparison)
    document = {**beside, **comparison.figures, "in_words": said, "gates": gate_figures(gates)}
    if told.output is not None:
        document["files"] = _write(told.output, document, scores_csv(comparison))
    if told.as_json:
        say_json(document)
    else:
        _say(comparison, said, document)
    failed = [gate for gate in gates if not gate.passed]
    for gate in failed:
        complain(f"gate: {gate.message}")
    return not failed


def _say(comparison: "Comparison", said: "Sequence[str]", document: "Mapping[str, Any]") -> None:
    import textwrap

    of = f"{document['task']}, {document['split']}: " if "task" in document else ""
    say(f"{of}{comparison.metric} on the same {counted(len(comparison.examples), 'example')}")
    for line in matrix_lines(comparison):
        say(line)
    say()
    for sentence in said:
        for line in textwrap.wrap(sentence, width=100):
            say(line)
    spent = [cell["spent"] for cell in document.get("asked", {}).values()]
    if spent:
        calls, cached = (sum(each[name] for each in spent) for name in ("calls", "cached"))
        say(f"used {calls:,} calls{_paid(spent)}; {counted(cached, 'answer')} from the store")
    for path in document.get("files", ()):
        say(f"wrote {path}")


def _paid(spent: "Sequence[Mapping[str, Any]]") -> str:
    """Return what some cells cost, to go behind their calls; what has no known price is told, and is not free."""
    usd = sum(each["usd"] or 0 for each in spent)
    unknown = sum(each["usd"] is None and each["prompt_tokens"] > 0 for each in spent)
    if not unknown:
        return f", {ENGLISH.dollars(usd, 4)} US dollars" if usd else ""
    least = f", at least {ENGLISH.dollars(usd, 4)} US dollars" if usd else ""
    return f"{least}, the price of {counted(unknown, 'cell')} not known"


def _write(path: Path, document: "Mapping[str, Any]", scores: str) -> list[str]:
    """Write the JSON and, beside it, the scores; return both paths.

    Raises:
        InputError: When one cannot be written.
    """
    import json

    from optimizer.document import write_atomically
    from optimizer.errors import InputError, Problem

    beside = path.with_name(f"{path.stem}.scores.csv")
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, indent=2, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, f"{text}\n")
        write_atomically(beside, scores)
    except OSError as error:
        raise InputError([Problem(file=str(path), message=f"cannot be written: {error.strerror}")]) from error
    return [str(path), str(beside)]
