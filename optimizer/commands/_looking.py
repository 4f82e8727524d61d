"""A study as lines of text: its history, one of its trials, one of its examples.

Tables, names and texts in one line are other commands' as well.
"""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from optimizer.commands._prompts import constraint_text, message_lines, sent_lines, template_lines
from optimizer.commands._tables import outcome_line
from optimizer.elision import padded, width
from optimizer.explanation import percent, score_text
from optimizer.language import ENGLISH

if TYPE_CHECKING:
    from optimizer.dataset import Example
    from optimizer.store import ScoreRow
    from optimizer.viewed import Viewed
    from optimizer.viewing import Exchange, View

# Characters of an input or an answer within a row.
_SHORT = 48

# Columns of a paragraph.
_WIDTH = 100

_SPLITS = ("train", "validation", "test", "")

_HEADS = {
    "trial": "trial",
    "stage": "stage",
    "state": "state",
    "instruction_id": "instruction",
    "demonstrations_id": "demos",
    "style": "style",
    "format": "format",
    "n": "n",
    "score": "score",
    "interval": "95 % interval",
    "valid": "valid",
    "cost_usd": "cost",
}
_RIGHT = ("trial", "n", "score", "valid", "cost")
_TABLED = {*_HEADS, "digest", "lower", "upper", "errors", "calls", "cached", "prompt_tokens"}
_TABLED |= {"completion_tokens", "parents", "fingerprint", "feasible", "outage"}


def best_first(entries: Sequence[Mapping[str, Any]], top: int) -> list[Mapping[str, Any]]:
    """Return the trials with the best scores, best first; of equal ones the earlier."""
    scored = [entry for entry in entries if entry["score"] is not None]
    return sorted(scored, key=lambda entry: (-entry["score"], entry["trial"]))[:top]


def history_lines(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table of trials, decoding parameters among its columns where there are any."""
    parameters = [name for name in (entries[0] if entries else ()) if name not in _TABLED]
    names = list(_HEADS)
    names[names.index("n") : names.index("n")] = parameters
    rows = [[_cell(entry, name) for name in names] for entry in entries]
    heads = [_HEADS.get(name, name) for name in names]
    yield from table_lines(heads, rows, right=_RIGHT)
    if any(entry.get("feasible") is False for entry in entries):
        yield "x: breaks a constraint of the study, and cannot win"
    yield from (
        f"trial {entry['trial']} has no score: {entry['errors']} of {entry['n']} examples have none"
        for entry in entries
        if entry["score"] is None
    )


def _cell(entry: Mapping[str, Any], name: str) -> str:
    if name == "interval":
        ends = entry.get("lower"), entry.get("upper")
        return "" if None in ends else f"{ends[0]:.3f} to {ends[1]:.3f}"
    value = entry.get(name)
    if value is None:
        return "-" if name in ("score", "valid", "cost_usd") else ""
    if name == "score":
        return f"{value:.3f}{'x' if entry.get('feasible') is False else ''}"
    if name == "valid":
        return percent(value)
    return ENGLISH.dollars(value, 4) if name == "cost_usd" else str(value)


def table_lines(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> Iterator[str]:
    """Yield a table whose columns are as wide as they must be."""
    widths = [max(map(width, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = (
            padded(cell, columns, right=head in right)
            for head, cell, columns in zip(heads, row, widths, strict=True)
        )
        yield "  ".join(cells).rstrip()


def trial_lines(
    view: "View", viewed: "Viewed", entry: Mapping[str, Any] | None, limit: int | None
) -> Iterator[str]:
    """Yield a prompt in full, its figures, and what became of its examples.

    Args:
        view: The study.
        viewed: The prompt.
        entry: The row of its trial; None where it had none.
        limit: Examples that are shown of each split; None shows every one.
    """
    yield f"{view.name}, {viewed.name}: style {viewed.style}, format {viewed.format}"
    if viewed.instruction is not None:
        parents = f", made of {', '.join(viewed.instruction.parents)}" if viewed.instruction.parents else ""
        yield f"instruction {viewed.instruction.id} ({viewed.instruction.origin}{parents})"
    yield from _shown_lines(viewed)
    if entry is not None:
        yield from history_lines([entry])
    yield from template_lines(viewed.template)
    yield ""
    yield from result_lines(view, viewed, entry, limit)


def _shown_lines(viewed: "Viewed") -> Iterator[str]:
    shown = viewed.demonstrations
    if shown is not None and shown.size:
        which = ", ".join(viewed.demonstration_ids)
        of = f"{shown.size} of them with each input" if shown.retrieved else "in this order"
        yield f"demonstrations {shown.id} ({shown.selector}), {of}: {which}"


def result_lines(
    view: "View", viewed: "Viewed", entry: Mapping[str, Any] | None, limit: int | None
) -> Iterator[str]:
    """Yield what became of the examples of a prompt, split by split; the arguments are those of `trial_lines`."""
    from optimizer.viewed import caution

    splits: dict[str, list[str]] = {}
    for name in viewed.results:
        splits.setdefault(viewed.splits.get(name, ""), []).append(name)
    for split in sorted(splits, key=_SPLITS.index):
        names = splits[split]
        results = [viewed.results[name] for name in names]
        yield f"{split or 'examples'}: {outcome_line(Counter(row.outcome for row in results))}{_mean_text(viewed, results)}"
        if split == "validation" and entry is not None and entry["n"] < len(names):
            yield from textwrap.wrap(_OTHER_ROUNDS.format(n=entry["n"]), width=_WIDTH)
        if split == "test" and (told := caution(split)):
            yield from textwrap.wrap(told, width=_WIDTH)
        heads = ("example", "score", "target", "answer", "read by", "input")
        rows = [_result_row(row, view.examples.get(row.example)) for row in results[:limit]]
        if rows:
            yield from table_lines(heads, rows, right=("score",))
        if len(rows) < len(names):
            left = f"{len(names) - len(rows)} more {split}".rstrip()
            yield f"and {left} examples; --all shows every one, --limit N so many of each split"
        yield ""


# What a prompt answered is kept once, whichever trial asked: a trial may be of fewer examples than there are answers.
_OTHER_ROUNDS = (
    "The row of the trial above is of {n} of these examples; the same prompt was asked about the others elsewhere in the "
    "study."
)


def _mean_text(viewed: "Viewed", results: "Sequence[ScoreRow]") -> str:
    """Return the mean score of the examples that have one, as the end of a line; "" where none has."""
    scores = [row.score for row in results if row.score is not None]
    if not scores:
        return ""
    return f"; {viewed.metric or 'score'} {score_text(fmean(scores))} on {len(scores)} example{'s' * (len(scores) != 1)}"


def _result_row(row: "ScoreRow", example: "Example | None") -> tuple[str, ...]:
    target = "" if example is None else short(example.target)
    return (row.example, score(row), target, answer(row), read_by(row), inputs(example))


def score(row: "ScoreRow") -> str:
    """Return a score as a row shows it."""
    return "-" if row.score is None else f"{row.score:.3g}"


def answer(row: "ScoreRow") -> str:
    """Return an answer as a row shows it: the outcome in brackets where there is none."""
    return f"({row.outcome})" if row.answer is None else short(row.answer)


def read_by(row: "ScoreRow") -> str:
    """Return what found an answer, and whether its form was not what was asked for."""
    return row.reader + ("" if row.strict or row.answer is None else ", other form")


def inputs(example: "Example | None") -> str:
    """Return the inputs of an example in one short line."""
    return "" if example is None else short(" · ".join(example.values.values()))


def short(text: str) -> str:
    """Return a text in one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else f"{line[: _SHORT - 1]}…"


def example_lines(
    name: str, example: "Example | None", split: str, answers: Sequence[tuple[str, "ScoreRow"]]
) -> Iterator[str]:
    """Yield one example, and what each prompt made of it.

    Args:
        name: Its id.
        example: Its inputs and target; None where the data are not found.
        split: Where it lies, "" where that is not known.
        answers: What each prompt is called, and what became of the example.
    """
    from optimizer.viewed import caution

    yield f"example {name}" + (f", {split}" if split else "")
    if example is not None:
        for column, value in example.values.items():
            yield from _named_lines(column, value)
        yield from _named_lines("target", example.target)
        yield from (f"  {column}: {value}" for column, value in example.slices)
    if (told := caution(split, one=True)) is not None:
        yield from textwrap.wrap(told, width=_WIDTH)
    yield ""
    rows = [(called, score(row), row.outcome, read_by(row), answer(row)) for called, row in answers]
    yield from table_lines(("prompt", "score", "outcome", "read by", "answer"), rows, right=("score",))


def _named_lines(name: str, text: str) -> Iterator[str]:
    first, *rest = text.splitlines() or [""]
    yield f"  {name}: {first}"
    yield from (f"  {'':<{len(name)}}  {line}" for line in rest)


def exchange_lines(called: str, exchanges: "Sequence[Exchange]", row: "ScoreRow") -> Iterator[str]:
    """Yield the exact messages that a prompt sent about an example, and what came back."""
    for number, each in enumerate(exchanges, start=1):
        yield ""
        yield f"{called}" + (f", call {number} of {len(exchanges)}" if len(exchanges) > 1 else "")
        if each.request is None:
            yield "  the messages cannot be rendered again: the inputs or an earlier answer are not here"
        else:
            for message in each.request.messages:
                yield from sent_lines(message)
            if each.request.constraint is not None:
                yield f"  {'answer is':<11}{constraint_text(each.request.constraint)}"
        if each.completion is None:
            yield "  the answer is no longer stored"
        else:
            yield from message_lines("said", each.completion.text)
            said = each.completion
            used = f"{said.prompt_tokens} tokens read, {said.completion_tokens} written"
            used = used if said.counted else "tokens not stated"
            yield f"  {'':<11}({each.completion.finish_reason}, {used})"
    told = f"read by {read_by(row)}" if row.reader else "nothing could be read"
    yield f"  {'read:':<11}{answer(row)} ({told}), score {score(row)}"
