"""Which examples flip between two prompts, and why: what a gain is made of.

An example improves or regresses where its score changes. Why is told by what became of its answer: it became readable
or unreadable, or both could be read and it is another one. The gains and losses of these reasons add up to the whole
difference, exactly.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from optimizer.dataset import Example, clusters_of
from optimizer.errors import InputError, Problem
from optimizer.resampling import DIGITS
from optimizer.significance import PairedComparison, compare_paired
from optimizer.slices import columns_of, slices_of
from optimizer.store import ScoreRow
from optimizer.viewed import Viewed, judging_split, shared
from optimizer.viewing import View

Change = Literal["improved", "regressed", "both right", "both wrong", "equal"]
Reason = Literal[
    "became readable", "became unreadable", "another answer", "the same answer", "never readable"
]

CHANGES: tuple[Change, ...] = get_args(Change)
REASONS: tuple[Reason, ...] = get_args(Reason)

_SEED = 0  # of all that is resampled

# What the evidence tells of a comparison; an older version may tell less.
_TOLD = {"n", "value", "lower", "upper", "level", "p_value", "method"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """One example, and what two prompts made of it; it need not have flipped.

    Attributes:
        example: Its inputs and target; None where the data are not found.
    """

    id: str
    before: ScoreRow
    after: ScoreRow
    example: Example | None

    @property
    def gain(self) -> float:
        """Return the second score minus the first."""
        return round((self.after.score or 0.0) - (self.before.score or 0.0), DIGITS)

    @property
    def change(self) -> Change:
        """Return which way it went; an equal score between wrong and right is neither."""
        if self.gain:
            return "improved" if self.gain > 0 else "regressed"
        found: dict[float, Change] = {0.0: "both wrong", 1.0: "both right"}
        return found.get(self.before.score or 0.0, "equal")

    @property
    def reason(self) -> Reason:
        """Return what became of its answer."""
        before, after = self.before.outcome == "ok", self.after.outcome == "ok"
        if before and after:
            return "the same answer" if self._alike else "another answer"
        if before or after:
            return "became readable" if after else "became unreadable"
        return "never readable"

    @property
    def _alike(self) -> bool:
        # A frozen prompt records no answers; what it was given another score for was another answer.
        known = self.before.answer is not None and self.after.answer is not None
        return self.before.answer == self.after.answer if known else not self.gain


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Two prompts on the examples that both have a score for.

    Attributes:
        split: Where these come from, "" where that is not known.
        comparison: After minus before, in scores by example.
        alone: Whether each example was counted by itself for want of the data, though some may be of one group.
        rows: Every example, in the order of their ids.
    """

    before: Viewed
    after: Viewed
    split: str
    comparison: PairedComparison
    alone: bool
    rows: tuple[Flip, ...]

    @property
    def flipped(self) -> tuple[Flip, ...]:
        """Return those whose score changed: what broke first, then what was mended."""
        return (*self.of("regressed"), *self.of("improved"))

    def of(self, change: Change) -> tuple[Flip, ...]:
        """Return those that went one way."""
        return tuple(row for row in self.rows if row.change == change)

    @property
    def counts(self) -> dict[Change, int]:
        """Return how many went each way."""
        return {change: len(self.of(change)) for change in CHANGES}

    @property
    def scores(self) -> tuple[float, float]:
        """Return both mean scores."""
        sums = [sum(getattr(row, side).score or 0.0 for row in self.rows) for side in ("before", "after")]
        return sums[0] / len(self.rows), sums[1] / len(self.rows)

    @property
    def parts(self) -> dict[Reason, float]:
        """Return what each reason adds to the difference; together they are the whole of it."""
        found: dict[Reason, float] = dict.fromkeys(REASONS, 0.0)
        for row in self.rows:
            found[row.reason] += row.gain
        return {reason: total / len(self.rows) for reason, total in found.items()}


def flips_of(before: Viewed, after: Viewed, view: View, *, split: str | None = None) -> Flips:
    """Return what two prompts made of the examples that judge them: those of the test if both were asked about it.

    Args:
        before: One prompt.
        after: The other one.
        view: The study they are of.
        split: The split to look at in place of that.

    Raises:
        InputError: When there is no such example that both have a score for.
    """
    found = shared(before, after)
    wanted = judging_split(found) if split is None else split
    if wanted is None or wanted not in found:
        on = "no example" if split is None else f"no {split} example"
        others = ", ".join(f"{len(names)} of {name or 'an unknown split'}" for name, names in found.items())
        message = f"there is {on} that {before.name} and {after.name} both have a score for"
        raise InputError(
            [Problem(file=str(view.path), message=message + (f"; there are {others}" if others else ""))]
        )
    return flips_between(before, after, view, wanted, found[wanted])


def flips_between(before: Viewed, after: Viewed, view: View, split: str, names: Sequence[str]) -> Flips:
    """Return what two prompts made of some examples, which both have a score for.

    Raises:
        ValueError: There are no examples.
    """
    examples = [view.examples.get(name) for name in names]
    rows = tuple(
        Flip(id=name, before=before.results[name], after=after.results[name], example=example)
        for name, example in zip(names, examples, strict=True)
    )
    known = [example for example in examples if example is not None]
    alone = len(known) < len(rows) and not _without_groups(view, split)
    comparison = compare_paired(
        [row.before.score or 0.0 for row in rows],
        [row.after.score or 0.0 for row in rows],
        seed=_SEED,
        clusters=clusters_of(known) if len(known) == len(rows) else None,
    )
    if (frozen := _in_evidence(view, before, after, split, comparison)) is not None:
        comparison, alone = frozen, False
    if alone:
        comparison = replace(comparison, method=f"{comparison.method}, each example counted by itself")
    return Flips(before=before, after=after, split=split, comparison=comparison, alone=alone, rows=rows)


def _in_evidence(
    view: View, before: Viewed, after: Viewed, split: str, found: PairedComparison
) -> PairedComparison | None:
    """Return a comparison with the interval and p value by which the study decided; None where it decided on another one.

    Drawn anew with another seed, an interval would end elsewhere and might contradict the decision. A later opening of
    the test asks for more confidence, too.
    """
    evidence = {} if view.frozen is None else view.frozen.evidence
    decided = evidence.get("difference")
    pair = tuple(str(evidence.get(f"{arm}_fingerprint")) for arm in ("baseline", "winner"))
    mine = before.template.fingerprint, after.template.fingerprint
    same = (evidence.get("protocol"), evidence.get("metric"), split) == ("test", after.metric, "test")
    if not same or not isinstance(decided, Mapping) or not set(decided) >= _TOLD:
        return None
    if {mine, mine[::-1]}.isdisjoint({pair}):
        return None
    sign = 1 if mine == pair else -1
    if decided["n"] != found.n or not math.isclose(sign * decided["value"], found.difference, abs_tol=1e-9):
        return None  # some of the answers are no longer stored
    lower, upper = sorted((sign * decided["lower"], sign * decided["upper"]))
    return replace(
        found,
        interval=replace(found.interval, lower=lower, upper=upper, level=decided["level"]),
        p_value=decided["p_value"],
        method=decided["method"],
    )


def _without_groups(view: View, split: str) -> bool:
    """Return whether the evidence says that no two examples of a split are of one group; it knows those that judge."""
    evidence = {} if view.frozen is None else view.frozen.evidence
    judging = "test" if evidence.get("protocol") == "test" else "validation"
    return split == judging and evidence.get("groups", "unknown") is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """A group of examples, and how many of it went which way.

    Attributes:
        name: What they have in common.
        gain: What they add to the difference of all examples.
    """

    name: tuple[str, ...]
    n: int
    improved: int
    regressed: int
    gain: float


def by_outcome(flips: Flips) -> tuple[Tally, ...]:
    """Return the examples by the outcomes before and after, most of them first."""
    return _tallied(flips, [(row.before.outcome, row.after.outcome) for row in flips.rows])


def by_confusion(flips: Flips) -> tuple[Tally, ...]:
    """Return the flipped examples by target and both answers, most of them first; none where targets are not known.

    An answer that could not be read is its outcome, in brackets.
    """
    known = [(row, row.example.target) for row in flips.flipped if row.example is not None]
    names = [(target, answer_text(row.before), answer_text(row.after)) for row, target in known]
    return _tallied(flips, names, [row for row, _ in known])


def by_slice(flips: Flips) -> dict[str, tuple[Tally, ...]]:
    """Return, for each column of slices, the examples by their value, largest slice first."""
    known = [row for row in flips.rows if row.example is not None]
    values = [row.example.slices for row in known if row.example is not None]
    found: dict[str, tuple[Tally, ...]] = {}
    for column in columns_of(values):
        found[column] = tuple(
            _tally((value,), [known[k] for k in places], len(flips.rows))
            for value, places in slices_of(values, column).items()
        )
    return found


def answer_text(row: ScoreRow) -> str:
    """Return an answer as it is shown: the outcome in brackets where none was read, and where none was kept."""
    return f"({row.outcome})" if row.answer is None else row.answer


def _tallied(
    flips: Flips, names: Sequence[tuple[str, ...]], rows: Sequence[Flip] | None = None
) -> tuple[Tally, ...]:
    rows = flips.rows if rows is None else rows
    groups: dict[tuple[str, ...], list[Flip]] = {}
    for name, row in zip(names, rows, strict=True):
        groups.setdefault(name, []).append(row)
    ordered = sorted(groups, key=lambda name: (-len(groups[name]), name))
    return tuple(_tally(name, groups[name], len(flips.rows)) for name in ordered)


def _tally(name: tuple[str, ...], rows: Sequence[Flip], n: int) -> Tally:
    counts = Counter(row.change for row in rows)
    return Tally(
        name=name,
        n=len(rows),
        improved=counts["improved"],
        regressed=counts["regressed"],
        gain=sum(row.gain for row in rows) / n,
    )


def result_figures(row: ScoreRow) -> dict[str, object]:
    """Return what became of an example as plain data."""
    return {
        "outcome": row.outcome,
        "answer": row.answer,
        "score": row.score,
        "strict": row.strict,
        "reader": row.reader,
    }
