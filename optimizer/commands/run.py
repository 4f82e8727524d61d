"""`run STUDY...`: searches, confirms, tests and freezes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimizer.commands import EXIT_ORDER, AsJson, Quiet, command, complain, report_error, say, say_json
from optimizer.commands._calling import (
    Concurrency,
    NoCache,
    Refresh,
    cache_mode,
    spent_figures,
    with_concurrency,
)
from optimizer.commands._gates import MinGain, MinScore, check_gates, gate_figures, study_gates
from optimizer.commands._judges import judge_lines
from optimizer.commands._tables import spent_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from optimizer.conclusion import Selection
    from optimizer.ledger import CacheMode
    from optimizer.plan import StudyPlan
    from optimizer.study import Progress, Study


@command
def run(  # the options of a command line
    studies: Annotated[
        list[Path], typer.Argument(metavar="STUDY...", help="Study files, run one after the other.")
    ],
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
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run studies: search, confirm the best, open the test once, freeze.

    The same command again resumes, and continues where the budget has grown. Ctrl-C finishes the calls under way,
    saves and exits with 130; a second one stops at once. Answers that the study got itself are never asked for
    again, whatever the options.
    """
    from optimizer.errors import InterruptedRunError, OptimizerError

    check_gates(min_score=min_score, min_gain=min_gain)
    mode = cache_mode(no_cache=no_cache, refresh=refresh)
    plans = [with_concurrency(plan, concurrency) for plan in _plans(studies, seed, output)]
    if dry_run:
        _say_all_bounds(plans, as_json=as_json)
        return
    codes, done = list[int](), dict[str, dict[str, Any]]()
    for plan in plans:
        figures: dict[str, object] = {}
        try:
            done[plan.source.file] = _run_one(
                plan, figures, fresh=fresh, cache=mode, quiet=quiet, as_json=as_json
            )
            gates = list(study_gates(min_score, min_gain, done[plan.source.file]["evidence"]))
            done[plan.source.file]["gates"] = gate_figures(gates)
            codes += [1 for gate in gates if not gate.passed]
            for gate in gates:
                if not gate.passed:
                    complain(f"gate: {plan.name}: {gate.message}")
        except OptimizerError as error:
            codes.append(report_error(error))
            # What came from the store is no news of a run that failed.
            for line in (*spent_lines({**figures, "cached": 0}), *judge_lines(figures)) if figures else ():
                complain(line)
            done[plan.source.file] = {**figures, "error": str(error), "exit_code": error.exit_code}
            if isinstance(error, InterruptedRunError):
                break
    if as_json:
        say_json({"studies": done})
    raise typer.Exit(next((code for code in EXIT_ORDER if code in codes), 0))


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


def _run_one(
    plan: "StudyPlan",
    figures: dict[str, object],
    *,
    fresh: bool,
    cache: "CacheMode",
    quiet: bool,
    as_json: bool,
) -> dict[str, object]:
    import asyncio
    import time

    from optimizer.commands._progress import shown
    from optimizer.roles import role_cautions

    started = time.monotonic()
    for exclusion in plan.space.left_out:
        complain(f"left out: {exclusion}")
    imported = () if plan.space.imported is None else plan.space.imported.cautions
    for warning in (
        *plan.dataset.warnings,
        *plan.leaks,
        *role_cautions(plan.file, plan.task),
        *imported,
    ):
        complain(f"warning: {warning}")
    with shown(plan.name, quiet=quiet) as watch:
        selection = asyncio.run(_optimize(plan, figures, fresh=fresh, cache=cache, watch=watch))
    files = _write(plan, selection)
    summary = {**figures, "files": files, "seconds": round(time.monotonic() - started, 1)}
    if not as_json:
        _say_selection(plan, selection, summary)
    return {
        **summary,
        "evidence": dict(selection.frozen.evidence),
        "fingerprint": selection.frozen.fingerprint,
    }


async def _optimize(
    plan: "StudyPlan",
    figures: dict[str, object],
    *,
    fresh: bool,
    cache: "CacheMode",
    watch: "Callable[[Progress], None]",
) -> "Selection":
    """Return what the study found, and put what it used into `figures`, however it ends."""
    import asyncio
    import signal
    from contextlib import suppress

    from optimizer.errors import InterruptedRunError
    from optimizer.selection import optimize
    from optimizer.study import open_study

    loop, work = asyncio.get_running_loop(), asyncio.current_task()
    assert work is not None  # we are inside it
    try:
        async with open_study(plan, fresh=fresh, cache=cache, watch=watch) as study:

            def stop() -> None:
                complain("stopping: calls under way are finished and saved; once more stops at once")
                study.stop()
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, work.cancel)

            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop)
            try:
                return await optimize(study)
            finally:
                with suppress(Exception):  # what ended the run is told, not that it could not be counted
                    figures |= _figures(plan, study)
    except asyncio.CancelledError:
        raise InterruptedRunError("stopped at once; what was answered before is saved") from None


def _figures(plan: "StudyPlan", study: "Study") -> dict[str, object]:
    return {
        "trials": len(study.trials),
        "budget": plan.budget.calls,
        "failed_trials": sum(row.state == "failed" and row.outage for row in study.trials),
        **spent_figures(study.caller.spent, study.ledger),
        **study.bench.figures(),
    }


def _write(plan: "StudyPlan", selection: "Selection") -> list[str]:
    """Write the results, each whole or not at all, and return the paths.

    Raises:
        StorageError: When one cannot be written.
    """
    from optimizer.conclusion import artifacts
    from optimizer.document import write_atomically
    from optimizer.errors import StorageError
    from optimizer.report import page

    files = []
    texts = {**artifacts(plan, selection), "report.html": page(selection.frozen)}
    for name, text in texts.items():
        try:
            write_atomically(plan.folder / name, text)
        except OSError as error:
            message = f"{plan.folder / name} cannot be written ({error.strerror}); the same command writes it"
            raise StorageError(message) from error
        files.append(str(plan.folder / name))
    return files


def _say_all_bounds(plans: "list[StudyPlan]", *, as_json: bool) -> None:
    if as_json:
        say_json({plan.source.file: _bounds(plan) for plan in plans})
        return
    for plan in plans:
        _say_bounds(plan)


def _bounds(plan: "StudyPlan") -> dict[str, object]:
    import dataclasses

    from optimizer.plan import plan_in_words

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
    from optimizer.plan import plan_in_words

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
    parts += [] if usd is None else [f"{usd:.4f} US dollars"]
    return ", ".join(parts)


def _say_selection(plan: "StudyPlan", selection: "Selection", summary: dict[str, object]) -> None:
    from optimizer.commands._tables import selection_lines

    for line in selection_lines(plan, selection, summary):
        say(line)
    for line in judge_lines(summary):
        say(line)
