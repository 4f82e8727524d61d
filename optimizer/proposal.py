"""Proposals: a task for people who have a table and none yet, and how much of the table a budget pays for.

| values of the target | the output is |
|---|---|
| 2 to 20 short texts that come back, a third as many as the rows at most | a label |
| numbers, unless they are whole and of 10 values at most that come back | a number |
| all others | text |
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from optimizer.answer import find_number
from optimizer.columns import Column, Wanted, columns_of, inputs_of, left_out, target_of
from optimizer.dataset import MAX_PROBLEMS, MIN_CROSS_VALIDATION
from optimizer.document import clipped
from optimizer.errors import InputError, Problem
from optimizer.explanation import percent
from optimizer.schema import meant
from optimizer.splits import usual_splits
from optimizer.table import Table
from optimizer.task import OutputType, Splits

# Names of a target that say nothing of what is asked.
_GENERIC = frozenset(
    {"label", "labels", "target", "answer", "expected", "gold", "truth", "class", "tag", "output", "y"}
)

_MOST_NUMBERS = 10  # a scale or a code; whole numbers of more values are amounts
_MOST_FREQUENT = 0.7  # share of one label above which always saying it looks like a good prompt
_LONG_ANSWER_WORDS = 5  # on average; an answer of more can hardly be met character by character
_LONGEST_NAME = 60  # characters of a column's name in a wording

# A cell that is one number and means to everybody what `find_number` reads: `012` is a code, `12,5` is read as 125.
_NUMBER = re.compile(
    r"[$€£]?\s?[-+]?(?:(?:0|[1-9]\d*|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?\s?[%€]?"
)
_WHOLE = re.compile(r"[-+]?\d+")
_COMMA = re.compile(r"[-+]?\d+,\d+")

# What a study of unknown data searches: four batches of candidates. The first tries every pair of style and format.
_CANDIDATES = 32
FEWEST_CANDIDATES = 8  # one batch, where a small budget has to do

# Arms that a test takes: baseline, winner, and the baseline's wording in the winner's format.
_TESTED = 3
# Arms that are confirmed on all of validation where it costs little, and those that should be where it costs more; a
# run spends one in four of the calls before the test on that.
_MOST_CONFIRMED, _CONFIRMED, _ONE_IN = 4, 3, 4
# Of a given budget: half for the test, and a tenth for confirming one arm, which leaves most of the rest to search.
_TEST_ONE_IN, _VALIDATION_ONE_IN = 2 * _TESTED, 10
_LEAST_TEST = (
    24  # fewer test examples show no gain below 31 points: cross-validation on all of them shows more
)
_MOST_CROSS_VALIDATED = 100  # each candidate is scored on all of them


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One thing that was chosen, and why; both fit on one line."""

    field: str
    value: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What a table is taken for.

    Attributes:
        n: Its rows.
        labels: The most frequent first, then by alphabet; empty unless the output is a label.
        instruction: The wording to start from.
        alternative: Another wording to try.
        longest_answer: Bytes of the longest target in UTF-8.
    """

    n: int
    target: str
    inputs: tuple[str, ...]
    group: str | None
    output: OutputType
    labels: tuple[str, ...]
    metric: str
    metrics: tuple[str, ...]
    instruction: str
    alternative: str
    longest_answer: int
    choices: tuple[Choice, ...]


class _Output(NamedTuple):
    type: OutputType
    labels: tuple[str, ...]
    why: str


def propose(table: Table, wanted: Wanted) -> Proposal:
    """Return what a table is taken for, with a reason for each choice.

    Raises:
        InputError: With every mistake of the table, of the columns that are asked for, and of the labels.
    """
    _raise(_table_problems(table, wanted))
    columns = columns_of(table)
    target, why_target = target_of(columns, wanted)
    inputs, why_inputs = inputs_of(columns, target, wanted)
    found = _output(target)
    _raise([*_twins(table, target, found.labels), *_nothing_to_tell(table, target)])
    metric, metrics, why_metric = _metric(target, found)
    names = [column.name for column in inputs]
    instruction, alternative = _wordings(target.name, names, found)
    group = (
        []
        if wanted.group is None
        else [("group", clipped(wanted.group), "as asked; never divided by a split")]
    )
    aside = [("left out", name, why) for name, why in left_out(columns, {target.name, *names}, wanted)]
    choices = (
        ("target", target.shown, why_target),
        ("inputs", ", ".join(column.shown for column in inputs), why_inputs),
        *aside,
        *group,
        ("output", found.type, found.why),
        *(("caution", label, why) for label, why in _rare(table, target, found.labels)),
        ("metric", metric, why_metric),
        (
            "instruction",
            "".join(c if c.isprintable() else "?" for c in instruction),
            "made of the columns' names; put what you use today in its place",
        ),
    )
    return Proposal(
        n=len(table.records),
        target=target.name,
        inputs=tuple(names),
        group=wanted.group,
        output=found.type,
        labels=found.labels,
        metric=metric,
        metrics=metrics,
        instruction=instruction,
        alternative=alternative,
        longest_answer=max(len(cell.encode("utf-8")) for cell in target.counts),
        choices=tuple(Choice(field=field, value=value, why=why) for field, value, why in choices),
    )


def _raise(problems: Sequence[Problem]) -> None:
    more = len(problems) - MAX_PROBLEMS
    if more > 0:
        rest = Problem(file="", message=f"and {more} more mistake{'s' * (more > 1)}")
        raise InputError([*problems[:MAX_PROBLEMS], rest])
    if problems:
        raise InputError(problems)


def _table_problems(table: Table, wanted: Wanted) -> list[Problem]:
    problems = list(table.problems)
    if not table.records:
        return problems or [Problem(file=table.file, message="expected at least one example, found none")]
    asked = [name for name in (wanted.target, *wanted.inputs, wanted.group) if name is not None]
    problems += [table.missing(name) for name in dict.fromkeys(asked) if name not in table.columns]
    if wanted.target in wanted.inputs:
        message = (
            f"the target '{clipped(wanted.target or '')}' is also an input: the model would see the answer"
        )
        problems.append(Problem(file="", field="--inputs", message=message))
    if len(set(wanted.inputs)) < len(wanted.inputs):
        problems.append(
            Problem(file="", field="--inputs", message="expected each column once, found one twice")
        )
    if wanted.group is not None and wanted.group == wanted.target:
        problems.append(Problem(file="", field="--group", message="expected a column besides the target"))
    if len(table.records) < MIN_CROSS_VALIDATION and not problems:
        message = f"expected at least {MIN_CROSS_VALIDATION} examples, found {len(table.records)}"
        problems.append(Problem(file=table.file, message=message))
    return problems


def _output(column: Column) -> _Output:
    counts = column.counts
    said = f"{len(counts)} different values in {counts.total()} rows"
    labels = tuple(sorted(counts, key=lambda value: (-counts[value], value)))
    values = [value.strip() for value in counts]
    numbers = all(_NUMBER.fullmatch(value) and find_number(value) for value in values)
    if column.holds_labels and not numbers:
        return _Output(
            "label", labels, f"{said}, so they are labels; `text` and `number` are the alternatives"
        )
    if column.holds_labels and len(counts) <= _MOST_NUMBERS and all(map(_WHOLE.fullmatch, values)):
        return _Output(
            "label", labels, f"{said}, whole numbers taken for labels, not for amounts; else `number`"
        )
    if numbers:
        return _Output("number", (), f"{said}, all of them numbers; `text` is the alternative")
    if all(_NUMBER.fullmatch(value) or _COMMA.fullmatch(value) for value in values):
        return _Output(
            "text", (), "numbers with a decimal comma, which are misread as numbers; write 12.5 for 12,5"
        )
    return _Output("text", (), f"{said}, too many or too long for labels, and not all of them numbers")


def _twins(table: Table, target: Column, labels: Sequence[str]) -> Iterator[Problem]:
    """Yield the labels that differ from a more frequent one in case or spaces."""
    folded: dict[str, str] = {}
    for label in labels:
        twin = folded.setdefault(label.strip().casefold(), label)
        if twin != label:
            line = table.records[target.cells.index(label)].line
            message = (
                f"expected '{clipped(twin)}', found '{clipped(label)}', which differs only in case or spaces"
            )
            yield Problem(file=table.file, line=line, field=target.shown, message=message)


def _nothing_to_tell(table: Table, target: Column) -> Iterator[Problem]:
    if len(target.counts) < 2:
        found = f"'{clipped(next(iter(target.counts)))}' in every row" if target.counts else "none"
        yield Problem(
            file=table.file, field=target.shown, message=f"expected different answers, found {found}"
        )


def _rare(table: Table, target: Column, labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the labels that come once, and what that means."""
    for label in labels:
        if target.counts[label] == 1:
            line = table.records[target.cells.index(label)].line
            hint = meant(clipped(label), [clipped(other) for other in labels if other != label]) or "."
            yield clipped(label), f"comes once, on line {line}{hint} It cannot be both learned and tested"


def _metric(target: Column, found: _Output) -> tuple[str, tuple[str, ...], str]:
    if found.type != "label":
        why = "an answer is right or wrong, spaces around it aside"
        if found.type == "text" and target.words > _LONG_ANSWER_WORDS:
            why += f"; answers of {target.words:.0f} words are hardly ever met so, shorter ones can be"
        return "exact_match", ("valid",), why
    top = found.labels[0]
    share = target.counts[top] / target.counts.total()
    why = "the share of right answers; macro_f1 is reported beside it"
    if share > _MOST_FREQUENT:
        why += (
            f". Always answering '{clipped(top)}' scores {percent(share)}, so a prompt must beat that; where the "
            f"other labels matter as much, `metric: macro_f1` weighs all alike"
        )
    return "accuracy", ("macro_f1", "valid"), why


def _wordings(target: str, inputs: Sequence[str], found: _Output) -> tuple[str, str]:
    """Return two wordings in English, made of the names of the columns as people write them."""
    names = [_spoken(name) or "text" for name in inputs]
    what = " and the ".join(filter(None, (", the ".join(names[:-1]), names[-1])))
    noun = _spoken(target)
    generic = not noun or noun.casefold() in _GENERIC
    if found.type == "label":
        question = "." if generic else f": which {noun}?"
        first = f"Classify the {what}{question} Answer with one of {', '.join(found.labels)}."
        return first, f"Which {'label' if generic else noun} fits the {what} best?"
    if generic:
        noun = "right answer"
    as_number = ", as a number" if found.type == "number" else ""
    return f"Read the {what} and give the {noun}{as_number}.", f"What is the {noun} for the {what}?"


def _spoken(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name))[:_LONGEST_NAME].strip()


def affordable_splits(n: int, calls: int | None) -> Splits:
    """Return the usual splits of `n` examples, made smaller where a budget cannot pay for them."""
    usual = usual_splits(n)
    test, validation = int(usual.test), int(usual.validation)
    if calls is not None:
        test, validation = min(test, calls // _TEST_ONE_IN), min(validation, calls // _VALIDATION_ONE_IN)
    if test < _LEAST_TEST:
        return without_test(n, calls)
    return Splits(train=usual.train, validation=validation, test=test)


def without_test(n: int, calls: int | None) -> Splits:
    """Return splits for cross-validation, as many examples in validation as a budget can pay for."""
    train = max(0, min(int(usual_splits(n).train), n - MIN_CROSS_VALIDATION))
    most = _MOST_CROSS_VALIDATED if calls is None else calls // (1 + FEWEST_CANDIDATES)
    return Splits(train=train, validation=min(n - train, most), test=0)


def calls_needed(validation: int, test: int, *, screen: int) -> int:
    """Return the calls that a sensible study of so many examples takes, in tens."""
    if not test:
        calls = validation * (1 + _CANDIDATES)
    else:
        search = screen * (1 + _CANDIDATES) + _MOST_CONFIRMED * validation
        calls = max(search, _ONE_IN * _CONFIRMED * validation) + _TESTED * test
    return -(-calls // 10) * 10
