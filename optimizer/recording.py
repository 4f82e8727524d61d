"""What was asked and answered when a prompt was judged, example by example: what a later look compares with.

The prompt carries it as columns, one list for each field of `Row`, in the order of the ids. Texts are kept as the
first 16 hex digits of their digests: equal texts are told from different ones, and a prompt that is handed over hands
over no data. Durations are left out, as everywhere in a prompt.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimizer.answer import OUTCOMES
from optimizer.dataset import Example
from optimizer.digest import digest
from optimizer.errors import InputError, Problem
from optimizer.evaluation import Evaluation, Result
from optimizer.prompt import PromptTemplate

# 64 bits: of a million texts two share a digest with a probability of 3 in 100 million.
_DIGITS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One example, and what came of it.

    Attributes:
        input: Digest of the inputs that the prompt takes.
        target: Digest of the target.
        request: Digest of the request of the first call.
        completion: Digest of the text of the last call; None where that was not answered.
        score: In [0, 1], by the metric that `Records` names; None where there is none.
        outcome: One of `OUTCOMES`.
        strict: Whether the answer came in exactly the form that was asked for.
        prompt_tokens: Tokens read, all calls together; 0 where there was no answer, or one did not state them.
        completion_tokens: Tokens written, likewise; 0 also where all texts are empty.
    """

    id: str
    input: str
    target: str
    request: str
    completion: str | None
    score: float | None
    outcome: str
    strict: bool
    prompt_tokens: int
    completion_tokens: int

    @property
    def counted(self) -> bool:
        """Return whether the tokens read are known, or there were none: no request that is answered has 0 of them."""
        return self.prompt_tokens > 0 or self.completion is None

    @property
    def measured(self) -> bool:
        """Return whether the tokens written are known, or there were none: no text but the empty one has 0 of them."""
        return self.completion_tokens > 0 or self.completion in (None, _EMPTY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """The rows of a prompt.

    Attributes:
        split: The split that judged it: test, or validation where there was none.
        metric: What the scores are of: the objective, or for a metric of the whole corpus what stands in for it.
        rows: By id, sorted.
    """

    split: str
    metric: str
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the records as `prompt.json` holds them: a list for each field."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in _TYPES}
        return {"split": self.split, "metric": self.metric, **columns}


# The types of each column, None where a value may be missing.
_TYPES: dict[str, tuple[type | None, ...]] = {
    "id": (str,),
    "input": (str,),
    "target": (str,),
    "request": (str,),
    "completion": (str, None),
    "score": (float, int, None),
    "outcome": (str,),
    "strict": (bool,),
    "prompt_tokens": (int,),
    "completion_tokens": (int,),
}


def records_of(template: PromptTemplate, evaluation: Evaluation, split: str) -> Records:
    """Return what is recorded of an evaluation."""
    rows = sorted((row_of(template, result) for result in evaluation.results), key=lambda row: row.id)
    return Records(split=split, metric=evaluation.scorer.per_example.name, rows=tuple(rows))


def row_of(template: PromptTemplate, result: Result) -> Row:
    """Return what is recorded of one example."""
    last = result.completions[-1] if len(result.completions) == len(template.calls) else None
    return Row(
        **digests_of(template, result.example),
        completion=None if last is None else short(last.text),
        score=result.score,
        outcome=result.answer.outcome,
        strict=result.answer.strict,
        prompt_tokens=_total(each.prompt_tokens for each in result.completions),
        completion_tokens=_total(
            each.completion_tokens for each in result.completions if each.text or each.completion_tokens
        ),
    )


def _total(counts: Iterable[int]) -> int:
    """Return the sum over the calls; 0 where one of them stated nothing, since a part is no total."""
    stated = list(counts)
    return sum(stated) if all(stated) else 0


def digests_of(template: PromptTemplate, example: Example) -> dict[str, str]:
    """Return an example's id, and the digests of its inputs, its target and its first request."""
    values = {name: example.values[name] for name in template.inputs}
    return {
        "id": example.id,
        "input": short(values),
        "target": short(example.target),
        "request": short(template.request(values).to_dict()),
    }


def short(value: object) -> str:
    """Return the first hex digits of a digest."""
    return digest(value)[:_DIGITS]


_EMPTY = short("")


def read_records(stated: Mapping[str, object] | None, *, file: str = "") -> Records | None:
    """Return the records that a prompt carries, or None where it carries none.

    Raises:
        InputError: When they are no records, with every mistake.
    """
    if stated is None:
        return None
    problems = list(_mistakes(stated))
    if problems:
        raise InputError([Problem(file=file, field="records", message=message) for message in problems])
    columns: dict[str, Any] = {name: stated[name] for name in _TYPES}
    rows = (Row(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True))
    return Records(split=str(stated["split"]), metric=str(stated["metric"]), rows=tuple(rows))


def _mistakes(stated: Mapping[str, object]) -> Sequence[str]:
    texts = [
        f"{name}: expected text" for name in ("split", "metric") if not isinstance(stated.get(name), str)
    ]
    lists = {name: stated.get(name) for name in _TYPES}
    shapes = [
        f"{name}: expected a list of {_noun(name)}"
        for name, column in lists.items()
        if not isinstance(column, list) or not all(_is(value, _TYPES[name]) for value in column)
    ]
    if texts or shapes:
        return [*texts, *shapes]
    return _contradictions({name: column for name, column in lists.items() if isinstance(column, list)})


def _contradictions(columns: Mapping[str, list[Any]]) -> list[str]:
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        return [f"expected lists of one length, found {', '.join(map(str, sorted(lengths)))}"]
    found = []
    ids = columns["id"]
    if ids != sorted(set(ids)):
        found.append("id: expected ids in order, each once")
    if not all(score is None or 0 <= score <= 1 for score in columns["score"]):
        found.append("score: expected numbers in [0, 1]")
    if unknown := sorted(set(columns["outcome"]) - set(OUTCOMES)):
        found.append(f"outcome: expected one of {', '.join(OUTCOMES)}, found {unknown[0]!r}")
    if any(n < 0 for name in ("prompt_tokens", "completion_tokens") for n in columns[name]):
        found.append("tokens: expected whole numbers from 0")
    return found


def _is(value: object, types: tuple[type | None, ...]) -> bool:
    # A truth value is a number to Python, and none here.
    return type(value) in types if value is not None else None in types


def _noun(name: str) -> str:
    nouns = {str: "texts", float: "numbers", bool: "truth values", int: "whole numbers"}
    first = _TYPES[name][0]
    assert first is not None  # what may be missing is written last
    return nouns[first]


# The columns are the fields of a row, in their order.
assert tuple(_TYPES) == tuple(field.name for field in dataclasses.fields(Row))
