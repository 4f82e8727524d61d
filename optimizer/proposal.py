"""Proposals: a task for people who have a table and none yet, and how much of the table a budget pays for.

What the columns are for, what an answer is and how it is asked for is said by `columns`, `kinds` and `wording`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from optimizer.columns import Column, Wanted, columns_of, inputs_of, left_out, targets_of
from optimizer.dataset import MAX_PROBLEMS, MIN_CROSS_VALIDATION
from optimizer.document import clipped
from optimizer.errors import InputError, Problem
from optimizer.kinds import (
    Kind,
    kind_of_answer,
    metric_of,
    nothing_to_tell,
    python_lists,
    rare,
    twins,
    unlabelled,
    written_as_floats,
)
from optimizer.splits import usual_splits
from optimizer.table import Table
from optimizer.taskfile import InputSpec, Splits
from optimizer.wording import Asked, language_of, wordings

# What a study of unknown data searches: four batches of candidates. Where they are screened, the first tries every pair
# of style and format.
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
        inputs: What each column that is read holds.
        answer: What an answer is.
        instruction: The wording to start from.
        alternative: Another wording to try.
        longest_answer: Bytes of the longest target in UTF-8.
    """

    n: int
    targets: tuple[str, ...]
    inputs: Mapping[str, InputSpec]
    group: str | None
    answer: Kind
    metric: str
    metrics: tuple[str, ...]
    language: str
    instruction: str
    alternative: str
    longest_answer: int
    choices: tuple[Choice, ...]


def propose(table: Table, wanted: Wanted) -> Proposal:
    """Return what a table is taken for, with a reason for each choice.

    Raises:
        InputError: With every mistake of the table, of the columns that are asked for, and of the labels.
    """
    wanted = replace(
        wanted,
        targets=_parted(wanted.targets, table.columns),
        inputs=_parted(wanted.inputs, table.columns),
    )
    _raise(_table_problems(table, wanted))
    columns = columns_of(table)
    targets, why_targets = targets_of(columns, wanted)
    names = tuple(column.name for column in targets)
    inputs, why_inputs = inputs_of(columns, names, wanted)
    answer = kind_of_answer(targets, inputs)
    _raise([problem for column in targets for problem in _target_problems(table, column, answer, targets)])
    metric, metrics, why_metric = metric_of(targets, answer)
    language = language_of(cell for column in inputs for cell in column.counts)
    asked = Asked(
        inputs=tuple(column.name for column in inputs),
        target=names[0] if len(names) == 1 else "answer",
        output=answer.type,
        labels=answer.labels,
        keys=answer.keys,
    )
    instruction, alternative = (
        wording + _items_wording(answer, language) for wording in wordings(asked, language)
    )
    proposal = Proposal(
        n=len(table.records),
        targets=names,
        inputs={column.name: _spec(column, inputs) for column in inputs},
        group=wanted.group,
        answer=answer,
        metric=metric,
        metrics=metrics,
        language=language,
        instruction=instruction,
        alternative=alternative,
        longest_answer=sum(max(len(cell.encode("utf-8")) for cell in column.counts) for column in targets),
        choices=(),
    )
    told = [
        Choice(field="target", value=", ".join(column.shown for column in targets), why=why_targets),
        *_input_choices(inputs, why_inputs),
        *(
            Choice(field="left out", value=name, why=why)
            for name, why in left_out(columns, {*names, *proposal.inputs}, wanted)
        ),
        *_answer_choices(table, targets, proposal, why_metric),
    ]
    return replace(proposal, choices=tuple(told))


def _items_wording(answer: Kind, language: str) -> str:
    """Return what to add to a wording where the answer is a list of objects."""
    keys = ", ".join(answer.item_keys)
    if not keys:
        return ""
    return (
        f" C’est une liste d’objets avec les clés {keys}."
        if language == "fr"
        else f" It is a list of objects with the keys {keys}."
    )


def _spec(column: Column, inputs: Sequence[Column]) -> InputSpec:
    """Return what an input is; the only one there is cannot be empty."""
    return InputSpec(
        type="text" if column.lists is None else "list", optional=column.optional and len(inputs) > 1
    )


def _input_choices(inputs: Sequence[Column], why: str) -> Iterator[Choice]:
    yield Choice(field="inputs", value=", ".join(column.shown for column in inputs), why=why)
    for column in inputs:
        if column.optional and len(inputs) > 1:
            empty = len(column.cells) - column.filled
            rows = f"empty in {empty} of {len(column.cells)} rows"
            yield Choice(
                field="optional", value=column.shown, why=f"{rows}, where it is left out of the prompt"
            )


def _answer_choices(
    table: Table, targets: Sequence[Column], proposal: Proposal, why_metric: str
) -> Iterator[Choice]:
    if proposal.group is not None:
        yield Choice(field="group", value=clipped(proposal.group), why="as asked; never divided by a split")
    answer = proposal.answer
    yield Choice(field="output", value=answer.type, why=answer.why)
    for label, why in rare(table, targets[0], answer.labels if answer.type == "label" else ()):
        yield Choice(field="caution", value=label, why=why)
    for label, why in written_as_floats(answer.labels):
        yield Choice(field="caution", value=label, why=why)
    yield Choice(field="metric", value=proposal.metric, why=why_metric)
    if proposal.language != "en":
        why = "by the frequent words of the inputs; wordings and styles are in it"
        yield Choice(field="language", value=proposal.language, why=why)
    wording = "".join(c if c.isprintable() else "?" for c in proposal.instruction)
    why = "made of the columns' names; put what you use today in its place, or name its file with --baseline"
    yield Choice(field="instruction", value=wording, why=why)


def _target_problems(
    table: Table, column: Column, answer: Kind, targets: Sequence[Column]
) -> Iterator[Problem]:
    labels = dict(answer.fields)[column.name].labels if answer.fields else answer.labels
    alike = list(twins(table, column, labels))
    if alike and answer.type == "label":
        alike += unlabelled(table, column)  # else loading the data tells them, with all that is wrong there
    yield from sorted(alike, key=lambda problem: problem.line or 0)
    yield from python_lists(table, column)
    if len(targets) == 1:
        yield from nothing_to_tell(table, column)
    elif not column.counts:
        yield Problem(file=table.file, field=column.shown, message="expected answers, found none")


def _parted(names: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns, those between commas apart where no column has the whole for its name."""
    parts = ([name] if name in columns or "," not in name else name.split(",") for name in names)
    return tuple(part.strip() if part not in columns else part for some in parts for part in some)


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
    asked = [name for name in (*wanted.targets, *wanted.inputs, wanted.group) if name is not None]
    problems += [table.missing(name) for name in dict.fromkeys(asked) if name not in table.columns]
    for target in wanted.targets:
        if target in wanted.inputs:
            message = f"the target '{clipped(target)}' is also an input: the model would see the answer"
            problems.append(Problem(file="", field="--inputs", message=message))
    if len(set(wanted.inputs)) < len(wanted.inputs):
        problems.append(
            Problem(file="", field="--inputs", message="expected each column once, found one twice")
        )
    if len(set(wanted.targets)) < len(wanted.targets):
        problems.append(
            Problem(file="", field="--target", message="expected each column once, found one twice")
        )
    if wanted.group is not None and wanted.group in wanted.targets:
        problems.append(Problem(file="", field="--group", message="expected a column besides the target"))
    if len(table.records) < MIN_CROSS_VALIDATION and not problems:
        message = f"expected at least {MIN_CROSS_VALIDATION} examples, found {len(table.records)}"
        problems.append(Problem(file=table.file, message=message))
    return problems


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
