"""`explain STUDY [A B]`: which examples flipped between baseline and winner, or any two trials, and why."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.commands import AsJson, command, complain, say, say_json
from optimizer.commands._looking import answer, read_by, score, short, table_lines
from optimizer.elision import told_apart

if TYPE_CHECKING:
    from optimizer.flips import Flip, Flips, Tally
    from optimizer.store import ScoreRow
    from optimizer.viewing import View

# Flipped examples that are shown in full, unless more are asked for.
_SHOWN = 10

# Rows of a table of confusions.
_MOST_ROWS = 10

_SHORT = 48  # characters of a name within a row

_WIDTH = 100


@command
def explain(
    study: Annotated[
        Path,
        typer.Argument(metavar="STUDY", help="A study, its folder, its database, or a frozen prompt."),
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A B",
            help="Two of its prompts: trials by number, or `baseline`, `winner`, `wording`. Baseline and winner "
            "unless named.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The examples to look at: test, validation or train. Those of the test, if both were asked about it.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, metavar="N", help="Show at most so many flipped examples.")
    ] = _SHOWN,
    every: Annotated[
        bool, typer.Option("--all", help="Show every example, those that did not flip too.")
    ] = False,
    task: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The task, where no study.yaml lies beside the results."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain a difference: which examples flipped, what became of their answers, and what the gain is made of.

    Nothing is asked, and nothing is changed; a study may be running meanwhile.
    """
    pair = _pair(names or [], split)
    from optimizer.viewing import open_view

    with open_view(study, task=task) as view:
        if view.archive is None:
            _tell_evidence(view, pair, as_json=as_json)
            return
        from optimizer.flips import flips_of
        from optimizer.fliptext import figures

        flips = flips_of(view.prompt(pair[0]), view.prompt(pair[1]), view, split=split)
        judged = pair == ("baseline", "winner") and flips.split == "test"
        over = _evidence_lines(view, flips) if judged else ()
        if as_json:
            evidence = _evidence_words(view) if judged else []
            say_json({**figures(flips), "evidence": evidence, "missing": list(view.missing)})
            return
        for line in _lines(flips, over):
            say(line)
        for line in _example_lines(flips, flips.rows if every else flips.flipped[:limit], every=every):
            say(line)
        for sentence in view.missing:
            complain(f"note: {sentence}")


def _pair(names: Sequence[str], split: str | None) -> tuple[str, str]:
    """Return the names of the two prompts.

    Raises:
        InputError: When one is named alone, or more than two, or a split that there is not.
    """
    from optimizer.errors import InputError, Problem
    from optimizer.taskfile import SPLITS

    problems = []
    if len(names) not in (0, 2):
        problems.append(
            Problem(file="", field="A B", message=f"expected two prompts or none, found {len(names)}")
        )
    if split is not None and split not in SPLITS:
        message = f"expected {', '.join(SPLITS)}, found {split!r}"
        problems.append(Problem(file="", field="--split", message=message))
    if problems:
        raise InputError(problems)
    return (names[0], names[1]) if names else ("baseline", "winner")


def _evidence_words(view: "View") -> list[str]:
    """Return what the evidence says of the two prompts of the test, as far as there is any."""
    words = () if view.frozen is None else view.frozen.evidence.get("in_words", ())
    return [str(sentence) for sentence in words] if isinstance(words, list | tuple) else []


def _tell_evidence(view: "View", pair: tuple[str, str], *, as_json: bool) -> None:
    """Tell what the evidence of a frozen prompt holds of its gain, and what is missing.

    Raises:
        InputError: When other prompts than baseline and winner are named, of which it knows nothing.
    """
    from optimizer.errors import InputError, Problem

    if pair != ("baseline", "winner"):
        message = (
            "there is no study.db beside it, so only baseline and winner can be explained, by the evidence"
        )
        raise InputError([Problem(file=str(view.path), message=message)])
    assert view.frozen is not None  # there is nothing else without a database
    missing = [
        *view.missing,
        "Which examples flipped is not known: the answers of the baseline are in study.db alone.",
        "Explain the folder of the study, where it still lies.",
    ]
    if as_json:
        say_json(
            {"evidence": _evidence_words(view), "figures": dict(view.frozen.evidence), "missing": missing}
        )
        return
    from optimizer.commands._tables import evidence_lines

    for line in evidence_lines(view.frozen.evidence):
        say(line)
    for sentence in missing:
        for line in textwrap.wrap(sentence, width=_WIDTH):
            say(line)


def _lines(flips: "Flips", over: Iterable[str]) -> Iterator[str]:
    from optimizer.flips import by_confusion, by_outcome, by_slice
    from optimizer.fliptext import in_words

    for sentence in (*in_words(flips), *over):
        yield from textwrap.wrap(sentence, width=_WIDTH)
    yield ""
    yield from _parts_lines(flips)
    yield from _tally_lines(("before", "after"), by_outcome(flips))
    if any(tally.n > 1 for tally in by_confusion(flips)):
        yield from _tally_lines(("target", "before", "after"), by_confusion(flips), most=_MOST_ROWS)
    for column, tallies in by_slice(flips).items():
        yield from _tally_lines((short(column),), tallies)


def _evidence_lines(view: "View", flips: "Flips") -> Iterator[str]:
    """Yield what the evidence has tested beside it: what is left of a gain from reading alone, and the decision.

    Of a loss nothing is left, and a metric of the whole corpus is not what the flips add up to.
    """
    from optimizer.explanation import signed_points
    from optimizer.exporters import frozen_side

    evidence = {} if view.frozen is None else view.frozen.evidence
    over = evidence.get("difference_over_guess")
    gained = flips.comparison.difference > 0 and evidence.get("metric") == flips.after.metric
    if isinstance(over, dict) and gained and evidence.get("reason") != "same prompt":
        value, lower, upper = (signed_points(over[name]) for name in ("value", "lower", "upper"))
        yield (
            "Had the best constant answer stood in place of every answer of the baseline that could not be read, "
            f"{value} points ({lower} to {upper}) would be left of the gain."
        )
    if view.frozen is not None and "decision" in evidence:
        side = frozen_side(view.frozen)  # no older evidence names it
        yield f"The study decided: {evidence['decision']}{f'; the {side} was frozen' if side else ''}."


def _parts_lines(flips: "Flips") -> Iterator[str]:
    from optimizer.explanation import signed_points

    heads = ("why", "examples", "improved", "regressed", "points")
    rows = []
    for reason, gain in flips.parts.items():
        members = [row for row in flips.rows if row.reason == reason]
        went = [sum(row.change == change for row in members) for change in ("improved", "regressed")]
        if members:
            rows.append((reason, str(len(members)), *map(str, went), signed_points(gain)))
    went = [len(flips.of("improved")), len(flips.of("regressed"))]
    whole = signed_points(flips.comparison.difference)
    rows.append(("all", str(len(flips.rows)), *map(str, went), whole))
    yield from table_lines(heads, rows, right=heads[1:])
    yield ""


def _tally_lines(
    names: Sequence[str], tallies: "Sequence[Tally]", *, most: int | None = None
) -> Iterator[str]:
    """Yield a table of groups of examples; what it leaves out is summed up below it."""
    from optimizer.explanation import signed_points

    counts = ("examples", "improved", "regressed", "points")
    shown = [told_apart((tally.name[k] for tally in tallies[:most]), _SHORT) for k in range(len(names))]
    rows = [
        (
            *(shown[k][name] for k, name in enumerate(tally.name)),
            str(tally.n),
            str(tally.improved),
            str(tally.regressed),
            signed_points(tally.gain),
        )
        for tally in tallies[:most]
    ]
    if rows:
        yield from table_lines((*names, *counts), rows, right=counts)
        if left := tallies[len(rows) :]:
            n, improved, regressed = (
                sum(getattr(t, name) for t in left) for name in ("n", "improved", "regressed")
            )
            yield (
                f"and {len(left)} more, together {n} examples, {improved} improved, {regressed} regressed, "
                f"{signed_points(sum(tally.gain for tally in left))} points; --json has them all"
            )
        yield ""


def _example_lines(flips: "Flips", rows: "Sequence[Flip]", *, every: bool) -> Iterator[str]:
    for row in rows:
        slices = () if row.example is None else row.example.slices
        yield f"{row.id}: {row.change}, {row.reason}" + "".join(f", {name} {value}" for name, value in slices)
        if row.example is not None:
            for column, value in row.example.values.items():
                yield f"  {column + ':':<10}{_cut(value)}"
            yield f"  {'target:':<10}{_cut(row.example.target)}"
        yield f"  {'before:':<10}{_told(row.before)}"
        yield f"  {'after:':<10}{_told(row.after)}"
        yield ""
    left = 0 if every else len(flips.flipped) - len(rows)
    if left:
        yield f"and {left} more flipped examples; --all shows every example, --limit N so many of the flipped"


def _told(row: "ScoreRow") -> str:
    reader = f", read by {read_by(row)}" if row.reader else ""
    return f"{answer(row)}, score {score(row)}{reader}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH - 14 else f"{line[: _WIDTH - 15]}…"
