"""What each of several studies may use of one budget: max-min fair, and decided before the first call.

Every study gets what it must have at least. What is left raises the smallest shares first, all alike, and none above
what its study can use (progressive filling, Bertsekas and Gallager 1992, section 6.5.2). The shares follow from the
files and the limits alone: neither the order of the studies nor what was spent before moves them.
"""

import bisect
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from optimizer.bounds import Bounds
from optimizer.budget import Amount
from optimizer.checks import config_problems
from optimizer.choice import MOST_CONFIRMED
from optimizer.config import BudgetSpec
from optimizer.digest import digest
from optimizer.errors import InputError, Problem
from optimizer.models import MODELS
from optimizer.plan import StudyPlan

Unit = Literal["calls", "tokens", "usd"]

# Money is dealt in whole millionths of a dollar, so that no rounding adds up to more than there is.
_DEALT: Mapping[Unit, int] = {"calls": 1, "tokens": 1, "usd": 1_000_000}

# 0.29 dollars are 289999.99999999994 millionths.
_ROUNDING = 1e-6

_WORDS: Mapping[Unit, str] = {"calls": "calls", "tokens": "tokens", "usd": "US dollars"}

# Tokens and money are bounded with a margin for what was not measured yet; the same as `Bounds.holds` takes, and more.
_MARGIN = 1.5


class _Sortable(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...  # noqa: ANN401  # as a protocol of the standard library has it


Key = TypeVar("Key", bound=_Sortable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """Limits over several studies together; None sets none.

    Attributes:
        calls: Logical calls of all of them.
        tokens: Tokens read and written.
        usd: US dollars.
        seconds: Time that the whole takes, over all runs of the same command.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None

    @property
    def is_set(self) -> bool:
        """Return whether there is any limit."""
        return any(value is not None for value in dataclasses.asdict(self).values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What one study must have at least and can use at most, in whole units; 0 <= least <= most."""

    least: int
    most: int


def deal(total: int, claims: Mapping[Key, Claim]) -> dict[Key, int]:
    """Return max-min fair shares: nobody's could be larger without making one smaller that is no larger.

    Units that are left over when all have reached one level go to the first of those that can use another one, in the
    order of the keys.

    Raises:
        ValueError: When the total does not hold what all must have at least.
    """
    least = sum(claim.least for claim in claims.values())
    if least > total:
        raise ValueError(f"expected at least {least}, found {total}")
    highest = max((claim.most for claim in claims.values()), default=0)
    level = (
        bisect.bisect_right(range(highest + 1), total, key=lambda level: sum(_filled(level, claims).values()))
        - 1
    )
    shares = _filled(level, claims)
    rest = total - sum(shares.values())
    growing = [key for key in sorted(claims) if claims[key].least <= level < claims[key].most]
    return shares | {key: shares[key] + 1 for key in growing[:rest]}


def _filled(level: int, claims: Mapping[Key, Claim]) -> dict[Key, int]:
    return {key: min(max(level, claim.least), claim.most) for key, claim in claims.items()}


def shared_out(plans: Sequence[StudyPlan], shared: Shared, *, parallel: int) -> tuple[StudyPlan, ...]:
    """Return the studies with their shares as their budgets, in the same order.

    No share is above the study's own budget. Of the seconds, `parallel` studies at once, each may run as long as the
    rounds that takes allow.

    Raises:
        InputError: When a limit does not hold what the studies must have at least, with what each of them needs; or
            when a study cannot keep to one, such as one in dollars where the price is not known.
        ValueError: When two studies are one.
    """
    keys = [(plan.name, digest(plan.identity), str(plan.folder)) for plan in plans]
    by_key, problems = dict(zip(keys, plans, strict=True)), list[Problem]()
    if len(by_key) < len(plans):
        raise ValueError("expected a folder for each study, found two studies in one")
    budgets = {key: plan.file.budget for key, plan in by_key.items()}
    for unit in _DEALT:
        limit = getattr(shared, unit)
        if limit is None:
            continue
        claims = {key: claim for key, plan in by_key.items() if (claim := claim_of(plan, unit)) is not None}
        try:
            shares = deal(math.floor(limit * _DEALT[unit] + _ROUNDING), claims)
        except ValueError:
            problems.append(_shortage(unit, limit, claims))
        else:
            budgets |= {key: _lowered(budgets[key], unit, share) for key, share in shares.items()}
    if shared.seconds is not None:
        each = shared.seconds / math.ceil(len(plans) / parallel)
        budgets = {key: _timed(budget, each) for key, budget in budgets.items()}
    found = tuple(with_budget(plan, budgets[key]) for key, plan in by_key.items())
    if not problems and shared.is_set:
        problems = [problem for plan in found for problem in _problems(plan)]
    if problems:
        raise InputError(problems)
    return found


def _lowered(budget: BudgetSpec, unit: Unit, share: int) -> BudgetSpec:
    """Return a budget with a share of a unit in place of its own limit; a share is in what is dealt out."""
    if unit == "usd":
        return dataclasses.replace(budget, usd=share / _DEALT[unit])
    if unit == "tokens":
        return dataclasses.replace(budget, tokens=share)
    return dataclasses.replace(budget, calls=share)


def _timed(budget: BudgetSpec, seconds: float) -> BudgetSpec:
    own = budget.seconds
    return dataclasses.replace(budget, seconds=seconds if own is None else min(seconds, own))


def claim_of(plan: StudyPlan, unit: Unit) -> Claim | None:
    """Return what a study may claim of a unit; None where it uses none of it, as a free model uses no money."""
    bounds, own, scale = plan.bounds, getattr(plan.file.budget, unit), _DEALT[unit]
    if unit == "usd" and own is None and MODELS[plan.model.provider].free and not plan.file.budget.prices:
        return None
    least = bounds.least.calls if unit == "calls" else getattr(bounds.least, f"least_{unit}")
    whole = _whole(plan, bounds)
    most = [] if own is None else [own]
    if whole is not None:
        most.append(whole.calls if unit == "calls" else getattr(whole, unit) * _MARGIN)
    wanted = math.ceil(least * scale)
    # Without a bound of its own and with a space that grows, a study can use any amount.
    return Claim(least=wanted, most=max(wanted, math.floor(min(most, default=2**53 / scale) * scale)))


def with_budget(plan: StudyPlan, budget: BudgetSpec) -> StudyPlan:
    """Return a study with another budget."""
    if budget == plan.file.budget:
        return plan
    return dataclasses.replace(plan, file=dataclasses.replace(plan.file, budget=budget))


def _whole(plan: StudyPlan, bounds: Bounds) -> Amount | None:
    """Return what trying every candidate takes at most; None where the search makes new ones as it goes."""
    search = plan.file.search
    if (plan.races or search.pruner is not None) and max(search.demos.sizes, default=0) > 0:
        return None
    each = Amount(
        calls=max(bounds.candidate.calls, bounds.confirmation.calls),
        tokens=max(bounds.candidate.tokens, bounds.confirmation.tokens),
        usd=max(bounds.candidate.usd, bounds.confirmation.usd),
    )
    # The baseline and the best are confirmed with calls that were set aside, whatever the search has paid for.
    return (
        bounds.scouting
        + bounds.baseline
        + each * bounds.space
        + bounds.confirmation * (MOST_CONFIRMED + 1)
        + bounds.test
        + bounds.robustness
        + bounds.call
    )


def _shortage(unit: Unit, limit: float, claims: Mapping[tuple[str, str, str], Claim]) -> Problem:
    scale, word = _DEALT[unit], _WORDS[unit]
    listed = ", ".join(f"{key[0]} {_amount(claims[key].least / scale)}" for key in sorted(claims))
    least = _amount(sum(claim.least for claim in claims.values()) / scale)
    about = "" if unit == "calls" else "about "
    message = (
        f"expected at least {about}{least} {word}, which is what the studies need to be tested at all "
        f"({listed}), found {_amount(limit)}; name fewer studies or allow more"
    )
    return Problem(file="", field=f"--{unit}", message=message)


def _amount(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:.4f}"


def _problems(plan: StudyPlan) -> list[Problem]:
    """Return why a study cannot keep to its share."""
    found = config_problems(plan.file, plan.source)
    return found or [
        plan.source.problem(("budget", unit), f"of its share: {message}")
        for unit, message in plan.bounds.shortages()
    ]
