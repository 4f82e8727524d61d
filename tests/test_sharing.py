"""Shares of one budget: laws of the fair deal, and what studies get of it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import InputError
from optimizer.plan import StudyPlan, load_plan
from optimizer.sharing import Claim, Shared, claim_of, deal, shared_out

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 6, test: 6}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json, parameters: {max_tokens: 8}}
search:
  instructions: {given: [Which colour is it?, Say the colour.]}
  styles: [direct]
  formats: [plain, json, choice]
  screen: 4
  sampler: {name: tpe}
budget: {calls: 60}
"""
LEAST = 4 + 4 + 6 + 3 * 6  # baseline, a candidate, confirmation, test

bounds = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(
    lambda pair: Claim(least=min(pair), most=max(pair))
)
claims = st.dictionaries(st.text("abcdef", max_size=3), bounds, max_size=8)


@st.composite
def deals(draw: st.DrawFn) -> tuple[int, dict[str, Claim]]:
    """Draw claims and a total that holds what they need."""
    made = draw(claims)
    return sum(claim.least for claim in made.values()) + draw(st.integers(0, 120)), made


@given(deals())
def test_shares_lie_between_least_and_most_and_use_the_total_as_far_as_anybody_can(
    drawn: tuple[int, dict[str, Claim]],
) -> None:
    total, made = drawn
    shares = deal(total, made)
    assert all(claim.least <= shares[key] <= claim.most for key, claim in made.items())
    assert sum(shares.values()) == min(total, sum(claim.most for claim in made.values()))


@given(deals())
def test_no_share_can_grow_but_at_the_cost_of_one_that_is_no_larger(
    drawn: tuple[int, dict[str, Claim]],
) -> None:
    total, made = drawn
    shares = deal(total, made)
    if sum(shares.values()) < total:
        assert all(shares[key] == claim.most for key, claim in made.items())
    for poor, claim in made.items():
        if shares[poor] < claim.most:
            # Whoever has two more units than this one has them because they are the least it can do with.
            assert all(shares[key] <= shares[poor] + 1 or shares[key] == made[key].least for key in made)


@given(deals(), st.randoms(use_true_random=False))
def test_the_order_of_the_claims_does_not_matter(
    drawn: tuple[int, dict[str, Claim]],
    shuffler: Random,
) -> None:
    total, made = drawn
    keys = list(made)
    shuffler.shuffle(keys)
    assert deal(total, {key: made[key] for key in keys}) == deal(total, made)


@given(deals(), st.integers(0, 40))
def test_nobody_gets_less_of_more(drawn: tuple[int, dict[str, Claim]], more: int) -> None:
    total, made = drawn
    before, after = deal(total, made), deal(total + more, made)
    assert all(before[key] <= after[key] for key in made)


@given(deals(), st.data())
def test_who_takes_a_share_and_leaves_changes_nobody_elses(
    drawn: tuple[int, dict[str, Claim]], data: st.DataObject
) -> None:
    total, made = drawn
    shares = deal(total, made)
    gone = data.draw(st.sets(st.sampled_from(sorted(made)))) if made else set[str]()
    rest = {key: claim for key, claim in made.items() if key not in gone}
    left = deal(total - sum(shares[key] for key in gone), rest)
    assert left == {key: shares[key] for key in rest}


@given(claims)
def test_a_total_that_does_not_hold_what_all_need_is_refused(made: dict[str, Claim]) -> None:
    least = sum(claim.least for claim in made.values())
    with pytest.raises(ValueError, match=f"expected at least {least}, found {least - 1}"):
        deal(least - 1, made)


@pytest.fixture
def plans(write_study: Callable[..., Path]) -> Callable[..., list[StudyPlan]]:
    """Return a function that writes studies, each with its own changes, and reads them."""

    def make(**changes: tuple[tuple[str, str], ...]) -> list[StudyPlan]:
        return [
            load_plan(write_study(TASK, STUDY, *changed, items=18, folder=name))
            for name, changed in changes.items()
        ]

    return make


def calls(found: Mapping[str, StudyPlan] | tuple[StudyPlan, ...]) -> dict[str, int]:
    listed = found.values() if isinstance(found, Mapping) else found
    return {plan.name: plan.budget.calls for plan in listed}


SMALL = (("calls: 60", "calls: 40"),)


def test_each_study_gets_what_it_needs_and_none_more_than_its_own_budget(
    plans: Callable[..., list[StudyPlan]],
) -> None:
    made = plans(c=(), a=(), b=SMALL)
    for total, shares in (
        (3 * LEAST, {"a": 32, "b": 32, "c": 32}),
        (110, {"a": 37, "b": 37, "c": 36}),
        (131, {"a": 46, "b": 40, "c": 45}),
        (1000, {"a": 60, "b": 40, "c": 60}),
    ):
        shared = Shared(calls=total)
        assert calls(shared_out(made, shared, parallel=2)) == shares
        assert calls(shared_out(made[::-1], shared, parallel=1)) == shares
        assert [plan.name for plan in shared_out(made, shared, parallel=2)] == ["c", "a", "b"]


def test_no_study_gets_more_than_its_whole_space_can_use(plans: Callable[..., list[StudyPlan]]) -> None:
    (plan,) = plans(a=(("calls: 60", "calls: 9000"), ("[plain, json, choice]", "[plain]")))
    claim = claim_of(plan, "calls")
    assert claim is not None
    assert LEAST == claim.least < claim.most < 100
    assert calls(shared_out([plan], Shared(calls=8000), parallel=1)) == {"a": claim.most}


def test_a_budget_too_small_for_all_is_refused_with_what_each_needs(
    plans: Callable[..., list[StudyPlan]],
) -> None:
    made = plans(a=(), b=())
    with pytest.raises(InputError) as refused:
        shared_out(made, Shared(calls=2 * LEAST - 1, tokens=10), parallel=2)
    first, second = refused.value.problems
    assert str(first).startswith(
        "--calls: expected at least 64 calls, which is what the studies need to be tested at all "
        "(a 32, b 32), found 63"
    )
    assert str(second).startswith("--tokens: expected at least about")


def test_tokens_are_dealt_and_seconds_are_by_rounds(plans: Callable[..., list[StudyPlan]]) -> None:
    made = plans(a=(), b=(), c=(("calls: 60", "calls: 60, seconds: 5"),))
    found = shared_out(made, Shared(tokens=9001, seconds=40), parallel=2)
    assert [plan.budget.tokens for plan in found] == [3001, 3000, 3000]
    assert [plan.budget.seconds for plan in found] == [20, 20, 5]
    assert [plan.budget.calls for plan in found] == [60, 60, 60]


def test_money_is_dealt_to_those_who_pay_and_never_adds_up_to_more(
    plans: Callable[..., list[StudyPlan]],
) -> None:
    priced = (("calls: 60", "calls: 60, prices: {rules: {input: 100, output: 300}}"),)
    made = plans(a=priced, b=(), c=priced, d=priced)
    found = shared_out(made, Shared(usd=0.29), parallel=2)
    assert [plan.budget.usd for plan in found] == [0.096667, None, 0.096667, 0.096666]
    assert sum(round((plan.budget.usd or 0) * 1_000_000) for plan in found) == 290_000


def test_a_study_that_cannot_keep_to_a_share_is_refused(plans: Callable[..., list[StudyPlan]]) -> None:
    made = plans(a=((", parameters: {max_tokens: 8}", ""),))
    with pytest.raises(InputError, match="a budget in tokens or money needs max_tokens"):
        shared_out(made, Shared(tokens=90_000), parallel=1)


def test_without_a_limit_every_study_keeps_its_own_budget(plans: Callable[..., list[StudyPlan]]) -> None:
    made = plans(a=(), b=SMALL)
    assert shared_out(made, Shared(), parallel=1) == tuple(made)
    assert not Shared().is_set
    assert all(Shared(**{field.name: 1}).is_set for field in dataclasses.fields(Shared))
