"""`run STUDY...`: searches, confirms, tests and freezes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimizer.commands import EXIT_ORDER, AsJson, Quiet, command, complain, report_error, say, say_json
from optimizer.commands._batch import (
    Calls,
    Dollars,
    JUnit,
    Parallel,
    Seconds,
    Tokens,
    Told,
    batch_junit,
    batch_lines,
    carried_out,
    end_of,
    total_figures,
    watched,
)
from optimizer.commands._calling import Concurrency, NoCache, Refresh, cache_mode, with_concurrency
from optimizer.commands._gates import MinGain, MinScore, check_gates, gate_figures, study_gates
from optimizer.commands._judges import judge_lines
from optimizer.commands._tables import spent_lines
from optimizer.commands._writing import write_results
from optimizer.language import ENGLISH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optimizer.conclusion import Selection
    from optimizer.plan import StudyPlan
    from optimizer.runs import Batch, Outcome


@command
def run(  # the options of a command line
    studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Study files.")],
    calls: Calls = None,
    tokens: Tokens = None,
    usd: Dollars = None,
    seconds: Seconds = None,
    parallel: Parallel = None,
    seed: Annotated[int | None, typer.Option(help="Replaces the study's own seed.", metavar="N")] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for results and storage, instead of the study's own.", metavar="DIR"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the bounds and make no call.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; what was paid for is reused.")] = False,
    concurrency: Concurrency = None,
    no_cache: NoCache = False,
    refresh: Refresh = False,
    min_score: MinScore = None,
    min_gain: MinGain = None,
    junit: JUnit = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run studies: search, confirm the best, open the test once, freeze.

    The same command again resumes, and continues where the budget has grown. Ctrl-C finishes the calls under way,
    saves and exits with 130; a second one stops at once. Answers that the study got itself are never asked for
    again, whatever the options. Several studies share --calls, --tokens, --usd and --seconds fairly; one that fails
    stops no other.
    """
    import asyncio

    from optimizer.runs import Batch, usual_parallel
    from optimizer.sharing import Shared, shared_out

    check_gates(min_score=min_score, min_gain=min_gain)
    _check_amounts(usd=usd, seconds=seconds)
    mode = cache_mode(no_cache=no_cache, refresh=refresh)
    plans = [with_concurrency(plan, concurrency) for plan in _plans(studies, seed, output)]
    shared = Shared(calls=calls, tokens=tokens, usd=usd, seconds=seconds)
    at_once = parallel or usual_parallel(plans)
    if dry_run:
        _say_all_bounds(shared_out(plans, shared, parallel=at_once), as_json=as_json)
        return
    batch, files = Batch(plans, shared, parallel=at_once, fresh=fresh, cache=mode), dict[Path, list[str]]()
    batch.keep = lambda plan, selection: files.update({plan.folder: write_results(plan, selection)})
    _warn(batch)
    with watched(batch.plans, quiet=quiet) as watcher:
        batch.watch, batch.ended = watcher, watcher.ended
        outcomes = asyncio.run(carried_out(batch))
    told = [_told(outcome, files, min_score=min_score, min_gain=min_gain) for outcome in outcomes]
    if junit is not None:
        _write_junit(junit, told)
    _say(outcomes, told, as_json=as_json)
    raise typer.Exit(end_of(told, EXIT_ORDER))


def _check_amounts(**amounts: float | None) -> None:
    """Refuse an amount that is no limit.

    Raises:
        InputError: When one is not a finite number above 0.
    """
    import math

    from optimizer.errors import InputError, Problem

    problems = [
        Problem(file="", field=f"--{name}", message=f"expected a number above 0, found {amount}")
        for name, amount in amounts.items()
        if amount is not None and not 0 < amount < math.inf
    ]
    if problems:
        raise InputError(problems)


def _plans(studies: list[Path], seed: int | None, output: Path | None) -> "list[StudyPlan]":
    from optimizer.errors import InputError, Problem
    from optimizer.plan import load_plan

    plans, problems = [], list[Problem]()
    for path in studies:
        folder = output if output is None or len(studies) == 1 else output / path.resolve().parent.name
        try:
            plans.append(load_plan(path, seed=seed, output=folder))
        except InputError as error:
            problems += error.problems
    folders = [plan.folder.resolve() for plan in plans]
    if len(set(folders)) < len(folders):
        problems.append(
            Problem(file="", message="expected a folder for each study, found two studies in one")
        )
    if problems:
        raise InputError(problems)
    return plans


def _warn(batch: "Batch") -> None:
    """Say what each study leaves out, and what would deceive it."""
    from optimizer.roles import role_cautions

    for plan in batch.plans:
        name = f"{plan.name}: " if len(batch.plans) > 1 else ""
        for exclusion in plan.space.left_out:
            complain(f"{name}left out: {exclusion}")
        imported = () if plan.space.imported is None else plan.space.imported.cautions
        for caution in (
            *plan.dataset.warnings,
            *plan.leaks,
            *role_cautions(plan.file, plan.task),
            *imported,
        ):
            complain(f"{name}Caution: {caution}")


def _told(
    outcome: "Outcome", files: dict[Path, list[str]], *, min_score: float | None, min_gain: float | None
) -> Told:
    """Return what is told of a study, held to the gates that are set."""
    plan, figures, selection = outcome.plan, outcome.figures, outcome.selection
    if selection is None:
        return Told(plan=plan, error=outcome.error, summary=figures)
    evidence = dict(selection.frozen.evidence)
    gates = tuple(study_gates(min_score, min_gain, evidence))
    summary = {
        **figures,
        "files": files.get(plan.folder, []),
        "evidence": evidence,
        "fingerprint": selection.frozen.fingerprint,
        "gates": gate_figures(list(gates)),
    }
    return Told(plan=plan, error=None, summary=summary, gates=gates)


def _say(outcomes: "tuple[Outcome, ...]", told: list[Told], *, as_json: bool) -> None:
    """Print what the studies came to: one in full, several in a table; errors and missed gates on stderr.

    Raises:
        Exception: What ended a study that should not have, once all else is told.
    """
    from optimizer.runs import UnexpectedError

    alone = len(told) == 1
    for outcome, row in zip(outcomes, told, strict=True):
        if row.error is not None:
            _complain_of(row, alone=alone)
        elif alone and not as_json and outcome.selection is not None:
            _say_selection(row.plan, outcome.selection, dict(row.summary))
        for message in row.missed:
            complain(f"gate: {row.plan.name}: {message}")
    if as_json:
        say_json(
            {"studies": {row.plan.source.file: _shown(row) for row in told}, "total": total_figures(told)}
        )
    elif not alone:
        for line in batch_lines(told):
            say(line)
    for row in told:
        if isinstance(row.error, UnexpectedError) and row.error.__cause__ is not None:
            raise row.error.__cause__


def _complain_of(told: Told, *, alone: bool) -> None:
    from optimizer.errors import OptimizerError
    from optimizer.runs import UnexpectedError

    if isinstance(told.error, UnexpectedError):
        complain(f"{told.plan.name}: {told.error}")
    elif isinstance(told.error, OptimizerError):
        if not alone:
            complain(f"{told.plan.name}:")
        report_error(told.error)
    # What came from the store is no news of a run that failed.
    figures = {**told.summary, "cached": 0}
    for line in (*spent_lines(figures), *judge_lines(figures)) if "calls" in figures else ():
        complain(line)


def _shown(told: Told) -> dict[str, Any]:
    """Return a study as `--json` shows it."""
    if told.error is None:
        return dict(told.summary)
    code = getattr(told.error, "exit_code", 70)
    return {**told.summary, "error": str(told.error), "exit_code": code}


def _write_junit(path: Path, told: list[Told]) -> None:
    from optimizer.document import write_atomically
    from optimizer.errors import StorageError

    try:
        write_atomically(path, batch_junit(told))
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror})") from error


def _say_all_bounds(plans: "Sequence[StudyPlan]", *, as_json: bool) -> None:
    if as_json:
        say_json({plan.source.file: _bounds(plan) for plan in plans})
        return
    for plan in plans:
        _say_bounds(plan)


def _bounds(plan: "StudyPlan") -> dict[str, object]:
    import dataclasses

    from optimizer.plantext import plan_in_words

    excluded = list(plan.space.left_out)
    bounds = plan.bounds
    return {
        **dataclasses.asdict(bounds),
        "candidates": bounds.candidates,
        "least": dataclasses.asdict(bounds.least),
        "left_out": excluded,
        "in_words": list(plan_in_words(plan)),
        "splits": {name: len(getattr(plan.dataset, name)) for name in ("train", "validation", "test")},
    }


def _say_bounds(plan: "StudyPlan") -> None:
    from optimizer.plantext import plan_in_words

    bounds, dataset = plan.bounds, plan.dataset
    say(f"{plan.name}: {plan.task.name} with {plan.file.model.provider}:{plan.file.model.name}")
    say(
        f"  examples     train {len(dataset.train)}, validation {len(dataset.validation)}, test {len(dataset.test)}"
    )
    say(f"  space        {bounds.space} candidates")
    for exclusion in plan.space.left_out:
        say(f"  left out     {exclusion}")
    say(
        f"  budget       {_amount(bounds.budget.calls, bounds.budget.tokens, bounds.budget.usd)} at most, of which"
    )
    for name, amount in (
        *([("scouting", bounds.scouting)] if bounds.scouting.calls else []),
        ("baseline", bounds.baseline),
        ("confirmation", bounds.confirmation * bounds.confirmed),
        ("test", bounds.test),
        *([("robustness", bounds.robustness)] if bounds.robustness.calls else []),
        ("a candidate", bounds.candidate),
    ):
        say(f"    {name:<13}{_amount(amount.calls, amount.tokens, amount.usd or None)}")
    exact = bounds.budget.tokens is None and bounds.budget.usd is None and bounds.budget.seconds is None
    say(
        f"    which leaves {bounds.candidates} candidates or more{'' if exact else ', as far as can be told before'}"
    )
    if bounds.budget.seconds is not None:
        say(f"  time         {bounds.budget.seconds:g} s, over all runs of the study")
    for sentence in plan_in_words(plan):
        say(f"  {sentence}")


def _amount(calls: int, tokens: float | None, usd: float | None) -> str:
    parts = [f"{calls} calls"]
    parts += [] if tokens is None else [f"{tokens:,.0f} tokens"]
    parts += [] if usd is None else [f"{ENGLISH.dollars(usd, 4)} US dollars"]
    return ", ".join(parts)


def _say_selection(plan: "StudyPlan", selection: "Selection", summary: dict[str, object]) -> None:
    from optimizer.commands._tables import selection_lines

    for line in selection_lines(plan, selection, summary):
        say(line)
    for line in judge_lines(summary):
        say(line)
