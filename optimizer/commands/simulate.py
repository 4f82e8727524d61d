"""`simulate TABLE`: a search replayed on recorded scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.commands import AsJson, command, say, say_json

if TYPE_CHECKING:
    from optimizer.simulation import Simulation


@command
def simulate(
    table: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="Scores by prompt_id and example_id: .csv, .jsonl, also .gz."),
    ],
    calls: Annotated[int, typer.Option(metavar="N", min=1, help="Cells that may be revealed.")],
    seed: Annotated[int, typer.Option(metavar="S", help="Decides all that is drawn.")] = 0,
    sampler: Annotated[
        str | None, typer.Option(metavar="NAME", help="A sampler; that of `run` without it.")
    ] = None,
    pruner: Annotated[
        str | None, typer.Option(metavar="NAME", help="A pruner, or none; that of `run` without it.")
    ] = None,
    no_factors: Annotated[
        bool, typer.Option("--no-factors", help="Tell prompts apart by their ids alone.")
    ] = False,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column that is no factor of the prompt.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a search on recorded scores: what a budget would have bought.

    Runs the sampler, pruner, confirmation and choice of `run`; a race has all the calls, and confirms with what it leaves.
    Each cell of the table is a call; a missing cell cannot be asked for. The first prompt of the file is the baseline;
    columns other than prompt_id, example_id, score, prompt_text and test_score are factors of the prompt. test_score is
    shown of the chosen prompt, and has no part in the choice.
    """
    from optimizer.config import PRUNER, SAMPLER
    from optimizer.recorded import read_recorded
    from optimizer.simulation import simulate as replay

    recorded = read_recorded(table, ignore=ignore or ())
    found = replay(
        recorded,
        calls=calls,
        seed=seed,
        sampler=sampler or SAMPLER,
        pruner=PRUNER if pruner is None else None if pruner == "none" else pruner,
        use_factors=not no_factors,
    )
    test = recorded.test_scores.get(found.chosen)
    if as_json:
        history = [{"calls": n, "chosen": arm} for n, arm in found.history]
        say_json(
            {
                "chosen": found.chosen,
                "calls": found.calls,
                "validation": found.validation,
                "test": test,
                "history": history,
            }
        )
        return
    say(
        f"{table.name}: {found.tried} of {len(recorded.scores)} prompts tried, {found.calls} of {calls} calls"
    )
    _say_found(found, test)


def _say_found(found: "Simulation", test: float | None) -> None:
    from optimizer.explanation import score_text, signed_points

    tested = "" if test is None else f", on test {score_text(test)}"
    gain = signed_points(found.validation - found.baseline)
    say(f"chosen      {found.chosen}")
    say(
        f"expected    {score_text(found.validation)} on all examples, {gain} points over the baseline{tested}"
    )
    changes = [
        (n, arm) for k, (n, arm) in enumerate(found.history) if k == 0 or found.history[k - 1][1] != arm
    ]
    for n, arm in changes:
        say(f"  after {n:>6} calls  {arm}")
