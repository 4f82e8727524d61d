"""What the phases of a study take at most, in calls, tokens and money, known before the first call."""

import bisect
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from optimizer.budget import Amount, Budget, Spent
from optimizer.candidate import Candidate, DemonstrationSet
from optimizer.choice import confirmations
from optimizer.dataset import Dataset, Example, group_sizes
from optimizer.length import MOST_TOKEN_BYTES, blank_tokens, shot_bytes, utf8_length
from optimizer.power import smallest_provable_difference
from optimizer.pricing import Price
from optimizer.prompt import Hole, PromptTemplate
from optimizer.racing import CALLS_PER_ARM, KINDRED_ARMS, TURNS, width
from optimizer.robustness import Probes
from optimizer.scouting import Scouting
from optimizer.space import SearchSpace
from optimizer.styles import STYLES

# Tokens for a unit of the upper bound (bytes of the prompt, tokens of the longest answer) before any was measured:
# common tokenizers make one token of about four bytes of English, and of two or three of most other languages.
USUAL_RATIO = 0.5

# How far the next phase may lie above what was measured in the phases before.
_MARGIN = 1.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Screen:
    """How many examples are asked for at first.

    Attributes:
        baseline: Of the baseline.
        first: Of each candidate.
        races: Whether the candidates race; more examples of the better ones follow then.
    """

    baseline: int
    first: int
    races: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """What is asked beside the candidates' scores: before the search, and after the test."""

    scouting: Scouting | None = None
    probes: Probes = field(default_factory=Probes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Upper bounds, known before the first call.

    Attributes:
        budget: All that may be used.
        baseline: Screening the baseline.
        candidate: Screening one candidate; of a race the first examples of one.
        confirmation: Scoring one candidate on all of validation; nothing where every candidate is screened on it.
        test: The final test; nothing where there is no test split.
        call: One example, in all the calls of its style.
        space: Points that can be run.
        candidates: How many of them the search can try, by what is usual before anything is measured.
        smallest_provable: The smallest gain that is shown in four cases of five, in score units: by the test, or by
            cross-validation where there is no test split.
        judged: Examples that the gain is judged on.
        confirmed: How many arms are confirmed: one, else the baseline and two or three more.
        scouting: Finding out, before the search, what some demonstrations are chosen by.
        robustness: Asking baseline and winner again with perturbed inputs, and the winner several times.
    """

    budget: Budget
    baseline: Amount
    candidate: Amount
    confirmation: Amount
    test: Amount
    call: Amount
    space: int
    smallest_provable: float
    candidates: int = 0
    judged: int = 0
    confirmed: int = 1
    scouting: Amount = field(default_factory=Amount)
    robustness: Amount = field(default_factory=Amount)
    races: bool = False

    @property
    def reserved(self) -> Amount:
        """Return what the search may not touch."""
        return self.confirmation * self.confirmed + self.test + self.robustness

    @property
    def one_more(self) -> Amount:
        """Return what confirming one more candidate, and what comes after it, take."""
        return self.confirmation + self.test + self.robustness

    @property
    def least(self) -> Amount:
        """Return the smallest budget that holds scouting, baseline, one candidate, confirmation and test."""
        return self.scouting + self.baseline + self.candidate + self.one_more

    def race(self, spent: Spent, *, ratio: float, kindred: bool = False) -> int:
        """Return how many calls the rest of the budget holds for a race, beside confirmation and test.

        Where arms take no turns all are asked the first examples, which may be far longer than most: half of what the
        rest holds in tokens or money is for them at most.

        Args:
            kindred: Whether arms have factors in common, and take turns if the race is wide.
        """
        rest = max(0, self.budget.calls - spent.calls)
        calls = self.affordable(spent, ratio=ratio, most=rest, of=self.one_call)
        turns = kindred and calls // CALLS_PER_ARM >= KINDRED_ARMS and self.candidate.calls < TURNS
        if turns or (self.budget.tokens is None and self.budget.usd is None):
            return calls
        arms = self.affordable(spent, ratio=ratio, most=rest, of=self.candidate * 2)
        return min(calls, arms * max(CALLS_PER_ARM, 2 * self.candidate.calls))

    @property
    def one_call(self) -> Amount:
        """Return what one call of the dearest candidate takes, on average over all of validation."""
        # Without a confirmation every candidate is screened on it.
        whole = self.confirmation if self.confirmation.calls else self.candidate
        n = max(1, whole.calls)
        return Amount(calls=1, tokens=whole.tokens / n, usd=whole.usd / n)

    def affordable(self, spent: Spent, *, ratio: float, most: int, of: Amount | None = None) -> int:
        """Return how many candidates, up to `most`, the rest of the budget holds beside confirmation and test.

        Args:
            of: Something else than a candidate, to be counted in its place.
        """
        counts, each = range(1, most + 1), self.candidate if of is None else of
        return bisect.bisect_left(
            counts, True, key=lambda n: not self.holds(spent, self.reserved + each * n, ratio=ratio)
        )

    def holds(self, spent: Spent, amount: Amount, *, ratio: float) -> bool:
        """Return whether the rest of the budget holds some work, with a margin for all but calls, which are exact.

        Args:
            ratio: Tokens charged for a unit of their upper bound; money follows them.
        """
        budget, scale = self.budget, ratio * _MARGIN
        if spent.calls + amount.calls > budget.calls:
            return False
        # A call is sent only if the budget holds its own upper bound, the last one too.
        if (
            budget.tokens is not None
            and spent.tokens + scale * amount.tokens + self.call.tokens > budget.tokens
        ):
            return False
        if budget.usd is not None and spent.usd + scale * amount.usd + self.call.usd > budget.usd:
            return False
        if budget.seconds is None or not spent.calls:
            return True
        return spent.seconds * (1 + _MARGIN * amount.calls / spent.calls) <= budget.seconds

    def shortages(self) -> Iterator[tuple[str, str]]:
        """Yield each part of the budget that cannot hold the least study, with what would."""
        least, budget = self.least, self.budget
        parts = {
            **({"scouting": self.scouting} if self.scouting.calls else {}),
            "baseline": self.baseline,
            "one candidate": self.candidate,
            "confirmation": self.confirmation,
            "test": self.test,
            **({"robustness": self.robustness} if self.robustness.calls else {}),
        }
        if budget.calls < least.calls:
            listed = ", ".join(f"{name} {amount.calls}" for name, amount in parts.items())
            yield "calls", f"expected at least {least.calls} calls ({listed}), found {budget.calls}"
        if budget.tokens is not None and budget.tokens < least.least_tokens:
            needed = f"{least.least_tokens:,.0f} tokens"
            yield "tokens", f"expected at least about {needed}, found {budget.tokens:,}"
        if budget.usd is not None and budget.usd < least.least_usd:
            needed = f"{least.least_usd:.4f} US dollars"
            yield "usd", f"expected at least about {needed}, found {budget.usd:g}"


def bounds_of(
    space: SearchSpace,
    dataset: Dataset,
    *,
    screen: "int | Screen",
    budget: Budget,
    price: Price | None,
    beside: Beside = Beside(),
) -> Bounds:
    """Return the bounds of a study.

    Args:
        screen: How many validation examples a candidate is screened on; or how those of a race are.
        beside: What is found out before the search, after which the space has more demonstration sets, and after the
            test.
        price: US dollars from tokens read and written, or None where no price is known; money is 0 then.
    """
    price = (
        None if price is None else functools.lru_cache(maxsize=None)(price)
    )  # a published one takes a while
    screen = Screen(baseline=screen, first=screen) if isinstance(screen, int) else screen
    scouting, probes = beside.scouting, beside.probes
    screened, validation, test = dataset.validation[: screen.baseline], dataset.validation, dataset.test
    # Demonstrations are chosen on what scouting finds out, or made of others while candidates race.
    scouted = scouting is not None and bool(scouting.needs)
    to_come = scouting.longest if scouting is not None and (scouted or screen.races) else ()
    dearest = list(_dearest(space, to_come))
    baseline = space.render(space.baseline)
    templates = [template for template in (baseline, *dearest) if template is not None]

    most = functools.partial(_most, price=price)
    first = templates[:1] if baseline is not None else []
    longest = max((*validation, *test), key=_bytes)
    # What was imported may take more than any candidate, and has no wording of its own.
    imported = space.imported is not None
    confirmation = most(validation if test else (), templates if imported else dearest)
    # Baseline, winner, and the baseline's wording in the winner's format.
    final = most(test, first) + most(test, dearest) * (1 if imported else 2)
    robustness = _robustness(probes, templates, first, dearest, most)
    judged = test or validation
    changed = [example for probe in probes.probes for example in probe.examples]
    call = most([max([longest, *changed], key=_bytes)], templates)
    n_sets = len(space.demonstration_sets) + (scouting.n_sets if scouting is not None and scouted else 0)
    bounds = Bounds(
        budget=budget,
        baseline=most(screened, first),
        candidate=most(validation[: screen.first], dearest),
        confirmation=confirmation,
        test=final,
        call=call,
        space=space.size_with(n_sets),
        smallest_provable=smallest_provable_difference(len(judged), clusters=group_sizes(judged)),
        judged=len(judged),
        confirmed=_confirmed(budget, confirmation, final + robustness) if test else 0,
        scouting=_scouting_amount(scouting, call),
        robustness=robustness,
        races=screen.races,
    )
    return dataclasses.replace(bounds, candidates=_candidates(bounds, screen, space, n_sets))


def mean_calls(space: SearchSpace) -> float:
    """Return how many calls an example takes, on average over all pairs of style and format."""
    return fmean([STYLES[style].n_calls for style, _ in space.pairs] or [1])


def _candidates(bounds: Bounds, screen: Screen, space: SearchSpace, n_sets: int) -> int:
    """Return how many candidates a search can try, by what is usual before anything is measured."""
    before = Spent(calls=bounds.scouting.calls + bounds.baseline.calls)
    if not screen.races:
        return bounds.affordable(before, ratio=USUAL_RATIO, most=bounds.space)
    levels = {name: len(values) for name, values in space.choices.items()} | {"demonstrations": n_sets}
    kindred = sum(n > 1 for n in levels.values()) > 1
    calls = bounds.race(before, ratio=USUAL_RATIO, kindred=kindred)
    if calls < bounds.candidate.calls:
        return 0
    # One of the places is the baseline's. Kin may become more once the first examples are answered.
    return min(bounds.space, width(calls, screen.first, kindred=False, cost=mean_calls(space)) - 1)


def _robustness(
    probes: Probes,
    templates: Sequence[PromptTemplate],
    first: Sequence[PromptTemplate],
    dearest: Sequence[PromptTemplate],
    most: Callable[[Sequence[Example], Sequence[PromptTemplate]], Amount],
) -> Amount:
    """Return what the calls after the test take at most.

    Baseline and winner are asked with each perturbation; the winner, whichever it is, once more for each repeat.
    """
    amount = most(probes.repeated, templates) * probes.repeats
    for probe in probes.probes:
        amount += most(probe.examples, first) + most(probe.examples, dearest)
    return amount


def _most(examples: Sequence[Example], of: Sequence[PromptTemplate], *, price: Price | None) -> Amount:
    """Return what one of some templates takes on some examples at most."""
    amounts = [amount_of(template, examples, price) for template in of]
    return Amount(
        calls=max((amount.calls for amount in amounts), default=0),
        tokens=max((amount.tokens for amount in amounts), default=0.0),
        usd=max((amount.usd for amount in amounts), default=0.0),
        # Of one candidate: which of them is tried is not known, and the cheapest may be.
        least_tokens=min((amount.least_tokens for amount in amounts), default=0.0),
        least_usd=min((amount.least_usd for amount in amounts), default=0.0),
    )


def _bytes(example: Example) -> int:
    return sum(map(utf8_length, example.values.values()))


def _confirmed(budget: Budget, confirmation: Amount, final: Amount) -> int:
    """Return how many arms are confirmed: as many as every unit of the budget holds beside what comes after.

    How long a call takes is not known before, so a budget in seconds holds one.
    """
    counts = [confirmations(budget.calls - final.calls, confirmation.calls)]
    if budget.tokens is not None:
        counts.append(
            confirmations(budget.tokens - USUAL_RATIO * final.tokens, USUAL_RATIO * confirmation.tokens)
        )
    if budget.usd is not None:
        counts.append(confirmations(budget.usd - USUAL_RATIO * final.usd, USUAL_RATIO * confirmation.usd))
    if budget.seconds is not None:
        counts.append(1)
    return min(counts)


def _scouting_amount(scouting: Scouting | None, call: Amount) -> Amount:
    """Return what scouting takes at most: none of its answers takes more than the longest one of the study.

    Args:
        call: What one example takes, in all the calls of its style.
    """
    if scouting is None:
        return Amount()
    most = call * scouting.most_answers
    # How much a budget must hold at least is told by the other phases; these calls may be far shorter.
    return dataclasses.replace(most, calls=scouting.most_calls, least_tokens=0.0, least_usd=0.0)


def _dearest(space: SearchSpace, to_come: Sequence[DemonstrationSet]) -> Iterator[PromptTemplate]:
    """Yield, for each pair of style and format, the candidate that reads the most.

    Args:
        to_come: Sets as long as those that the space will have later.
    """
    wording = max(space.instructions, key=lambda instruction: utf8_length(instruction.text))
    parameters = {
        name: max(values) if all(isinstance(value, int | float) for value in values) else values[0]
        for name, values in space.parameters.items()
    }
    for style, layout in space.pairs:
        candidates = (
            Candidate(
                instruction=wording,
                demonstrations=shown,
                style=style,
                format=layout,
                parameters=tuple(sorted(parameters.items())),
            )
            for shown in (*space.demonstration_sets, *to_come)
        )
        templates = [template for each in candidates if (template := space.render(each)) is not None]
        if templates:
            yield max(templates, key=_literal)


def _literal(template: PromptTemplate) -> int:
    """Return how much a prompt reads beside inputs and answers."""
    return sum(blank_tokens(call)[0] + shot_bytes(call, template) for call in template.calls)


def amount_of(template: PromptTemplate, examples: Sequence[Example], price: Price | None) -> Amount:
    """Return what one template takes on some examples at most."""
    total = Amount()
    answers: list[int] = []  # the longest answer of each call, in tokens
    for call in template.calls:
        literal, written = blank_tokens(call)
        retrieved = shot_bytes(call, template)
        answers.append(written)
        holes = [part for message in call.messages for part in message.parts if isinstance(part, Hole)]
        shown = [int(h.name.partition(":")[2]) for h in holes if h.name.startswith("completion:")]
        for example in examples:
            sure = literal + sum(_input(hole, example) for hole in holes)
            read = sure + retrieved + sum(MOST_TOKEN_BYTES * answers[k] for k in shown)
            least = sure // MOST_TOKEN_BYTES  # a budget that is too small even so is refused
            total += Amount(
                calls=1,
                tokens=float(read + written),
                usd=0.0 if price is None else price(read, written),
                least_tokens=least + 1.0,
                least_usd=0.0 if price is None else price(least, 1),
            )
    return total


def _input(hole: Hole, example: Example) -> int:
    """Return how many bytes an example puts into a hole."""
    return utf8_length(hole.fill(example.values, ())) if hole.name.startswith("input:") else 0
