"""Whether the model behind a prompt is still the one that was recorded: the same requests again, paired.

Several figures of an answer may tell, each of them by a test that is exact, or holds its level, where nothing changed:

| sign | what is compared | test of "nothing changed" |
|---|---|---|
| score | score | exact McNemar for 0/1, else sign flips |
| answers | whether the text is the same, where the temperature is 0 | exact binomial against `_allowed` |
| outcomes | whether there is an answer that can be read | sign flips |
| format | whether it came in exactly the form that was asked for | sign flips |
| length | tokens written | sign flips |
| reading | tokens read, which the request and the model's own tokenizer and context decide | sign flips |

The paired tests need no more than that then and now may be exchanged, so they hold whether answers are sampled or not;
relatives among the examples are flipped together. The score has one half of the level, because it is what the prompt
is for; the others share the other half (Holm 1979). So all of them together give a false alarm in 5 % of cases at most.

Then and now may not be exchanged where the answers of then chose the prompt: the best of K is the luckiest, too, and
falls back when it is asked again. For each of the K the test holds, whichever of them was chosen, so

    P(p of the chosen <= a / K) <= sum over k of P(p_k <= a / K) <= a,

and K times its p value holds for the chosen one, by whatever rule and however much alike they are (Bonferroni). Among
prompts that are equally good little is lost by it: what is tested is then indeed close to the best of K luckiest draws.
Tokens that an endpoint does not state are not known, and what is not known is no change.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from optimizer.corrections import holm
from optimizer.recording import Row
from optimizer.resampling import sign_flip_test, units_of
from optimizer.significance import PairedComparison, binomial_tail, compare_paired

LEVEL = 0.05  # of a false alarm, all signs together

Sign = Literal["score", "answers", "outcomes", "format", "length", "reading"]

# A sign, the examples compared, those on which it changed, and the p value of "nothing changed".
_Found = tuple[Sign, int, int, float]

# How often a model that did not change writes another text at temperature 0: requests that are computed together
# with others, or after others, add up in another order, and the likeliest token changes where two are nearly tied.
# The chance grows with every token written, until most texts differ somewhere. `docs/design/verify.md` has figures.
_ALLOWED_ANSWER = 0.01
_ALLOWED_TOKEN = 0.003
_ALLOWED_MOST = 0.5

# What is no outcome of the model.
_NONE = ("error", "unscored")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What one sign says.

    Attributes:
        changed: On how many examples it is another one.
        p_value: Of "nothing changed", by itself.
        adjusted: The same, corrected for all signs that were looked at.
    """

    sign: Sign
    n: int
    changed: int
    p_value: float
    adjusted: float

    @property
    def tells(self) -> bool:
        """Return whether the sign tells of a change."""
        return self.adjusted < LEVEL


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """What came of asking again.

    Attributes:
        n: Examples that were paired.
        score: Now minus then, on the examples that have both scores; None where none has.
        signs: Those that were looked at.
    """

    n: int
    score: PairedComparison | None
    signs: tuple[Told, ...]

    @property
    def telling(self) -> tuple[Sign, ...]:
        """Return the signs that tell of a change."""
        return tuple(told.sign for told in self.signs if told.tells)

    @property
    def verdict(self) -> Literal["holds", "drifted"]:
        """Return whether anything tells of a change."""
        return "drifted" if self.telling else "holds"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """The same examples then and now, in one order.

    Attributes:
        clusters: What each example is counted with; None where they are counted alone.
    """

    then: tuple[Row, ...]
    now: tuple[Row, ...]
    clusters: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if [row.id for row in self.then] != [row.id for row in self.now]:
            raise ValueError("the rows of then and now must be of the same examples")

    def where(self, both: Callable[[Row, Row], bool]) -> "Pairs":
        """Return the pairs of which something is true."""
        kept = [k for k, pair in enumerate(zip(self.then, self.now, strict=True)) if both(*pair)]
        return Pairs(
            then=tuple(self.then[k] for k in kept),
            now=tuple(self.now[k] for k in kept),
            clusters=None if self.clusters is None else tuple(self.clusters[k] for k in kept),
        )

    def figures(self, of: Callable[[Row], float]) -> tuple[list[float], list[float]]:
        """Return a figure of each row, then and now."""
        return [of(row) for row in self.then], [of(row) for row in self.now]


def drift(  # noqa: PLR0913  # all but the pairs say what may be compared
    pairs: Pairs,
    *,
    same_requests: bool,
    deterministic: bool,
    same_metric: bool = True,
    chosen_among: int = 1,
    most_written: int | None = None,
    seed: int = 0,
) -> Drift:
    """Return what tells of a change between two rounds of answers.

    Args:
        pairs: At least one. An example that was answered and is refused by the endpoint now counts as one whose
            answer cannot be read.
        same_requests: Whether the requests are those of then; else another text, or another number of tokens read, is
            no news of the model.
        deterministic: Whether the temperature of all calls is 0; else another text is no news at all.
        same_metric: Whether one metric gave the scores of then and now; else they are not compared.
        chosen_among: Of how many prompts, from 1, the answers of then may have chosen this one; 1 where they chose
            none, or would be the same each time.
        most_written: Tokens that an answer has at most, from 0; None where nothing bounds it. It stands in for
            those of an answer that are not known.
        seed: Of the tests that draw.

    Raises:
        ValueError: No pairs, or chosen among none.
    """
    if not pairs.then:
        raise ValueError("at least one pair is needed, but got none")
    if chosen_among < 1:
        raise ValueError(f"a prompt is chosen among at least one, but got {chosen_among}")
    scored = pairs.where(lambda then, now: then.score is not None and now.score is not None)
    answered = pairs.where(lambda then, now: then.completion is not None and now.completion is not None)
    score = None
    if scored.then and same_metric:
        sides = scored.figures(lambda row: row.score or 0.0)
        score = compare_paired(*sides, seed=seed, clusters=scored.clusters)
    read = pairs.where(lambda then, now: then.outcome not in _NONE and now.outcome != "unscored")
    measured = answered.where(lambda then, now: then.measured and now.measured)
    found = [
        _paired("outcomes", read, lambda row: float(row.outcome == "ok"), seed),
        _paired("format", answered, lambda row: float(row.strict), seed),
        _paired("length", measured, lambda row: row.completion_tokens, seed),
    ]
    if same_requests:
        counted = answered.where(lambda then, now: then.counted and now.counted)
        found.append(_paired("reading", counted, lambda row: row.prompt_tokens, seed))
    of = [chosen_among] * len(found)
    if same_requests and deterministic:
        # Which prompt was chosen says nothing of how often its texts are others.
        found, of = [*found, _answers(answered, most_written)], [*of, 1]
    signs = _adjusted([pair for pair in zip(found, of, strict=True) if pair[0][1]])
    if score is not None:
        signs = (_of_score(score, chosen_among), *signs)
    return Drift(n=len(pairs.then), score=score, signs=signs)


def _of_score(score: PairedComparison, chosen_among: int) -> Told:
    """Return what the score says, at half of the level."""
    return Told(
        sign="score",
        n=score.n,
        changed=(score.wins or 0) + (score.losses or 0),
        p_value=score.p_value,
        adjusted=min(1.0, 2 * chosen_among * score.p_value),
    )


def _adjusted(found: Sequence[tuple[_Found, int]]) -> tuple[Told, ...]:
    """Return what the signs beside the score say, at half of the level; behind each, of how many it may be the luckiest."""
    doubled = [min(1.0, 2 * value) for value in holm([min(1.0, among * each[3]) for each, among in found])]
    return tuple(
        Told(sign=sign, n=n, changed=changed, p_value=p_value, adjusted=adjusted)
        for ((sign, n, changed, p_value), _), adjusted in zip(found, doubled, strict=True)
    )


def _paired(sign: Sign, pairs: Pairs, of: Callable[[Row], float], seed: int) -> _Found:
    """Return how many examples have another figure, and how likely so one-sided a change is by chance."""
    then, now = pairs.figures(of)
    differences = [after - before for before, after in zip(then, now, strict=True)]
    changed = sum(difference != 0 for difference in differences)
    if not changed:
        return sign, len(then), 0, 1.0
    totals = [total for total, _ in units_of(differences, pairs.clusters)]
    return sign, len(then), changed, sign_flip_test(totals, seed=seed).p_value


def _answers(pairs: Pairs, most: int | None) -> _Found:
    """Return how many texts are other ones, and how likely so many are of a model that did not change."""
    n = len(pairs.then)
    changed = sum(then.completion != now.completion for then, now in zip(pairs.then, pairs.now, strict=True))
    if not changed:
        return "answers", n, 0, 1.0
    # Chances that differ make a sum that spreads less than one of equal chances does (Hoeffding 1956).
    lengths = (_written(then, now, most) for then, now in zip(pairs.then, pairs.now, strict=True))
    allowed = math.fsum(map(_allowed, lengths)) / n
    return "answers", n, changed, binomial_tail(changed, n, allowed)


def _written(then: Row, now: Row, most: int | None) -> int | None:
    """Return how many tokens an answer has: those of then, else those of now, else as many as it may have."""
    known = (row.completion_tokens for row in (then, now) if row.measured)
    return next(known, most)


def _allowed(tokens: int | None) -> float:
    """Return how likely a text of so many tokens is another one although the model did not change, at most.

    Of a text whose length nothing tells it is as likely as of the longest.
    """
    if tokens is None:
        return _ALLOWED_MOST
    return min(_ALLOWED_MOST, _ALLOWED_ANSWER + _ALLOWED_TOKEN * tokens)
