"""The verdict, rule by rule."""

import pytest

from optimizer.significance import Interval, PairedComparison
from optimizer.verdict import settle


def found(value: float, lower: float, upper: float, p_value: float) -> PairedComparison:
    interval = Interval(lower=lower, upper=upper, level=0.95)
    return PairedComparison(n=1000, difference=value, interval=interval, p_value=p_value, method="")


BETTER, WORSE = found(0.2, 0.1, 0.3, 0.001), found(-0.2, -0.3, -0.1, 0.001)
OPEN, CLOSE = found(0.02, -0.05, 0.09, 0.6), found(0.0, -0.01, 0.01, 1.0)
CHEAPER, AS_DEAR = found(-50.0, -60.0, -40.0, 0.001), found(-5.0, -15.0, 5.0, 0.3)


@pytest.mark.parametrize(
    ("difference", "over_guess", "saving", "expected"),
    [
        (BETTER, None, AS_DEAR, ("improved", "winner", "better")),
        (BETTER, BETTER, None, ("improved", "winner", "better")),
        (BETTER, OPEN, CHEAPER, ("not distinguishable", "baseline", "no better than guessing")),
        (BETTER, WORSE, None, ("not distinguishable", "baseline", "no better than guessing")),
        (WORSE, None, CHEAPER, ("worse", "baseline", "worse")),
        (OPEN, None, None, ("not distinguishable", "baseline", "no evidence")),
        (OPEN, None, CHEAPER, ("not distinguishable", "baseline", "no evidence")),
        (CLOSE, None, CHEAPER, ("not distinguishable", "winner", "cheaper")),
        (CLOSE, None, AS_DEAR, ("not distinguishable", "baseline", "no evidence")),
        (CLOSE, None, None, ("not distinguishable", "baseline", "no evidence")),
    ],
)
def test_what_is_said_and_frozen_follows_from_the_evidence(
    difference: PairedComparison,
    over_guess: PairedComparison | None,
    saving: PairedComparison | None,
    expected: tuple[str, str, str],
) -> None:
    verdict = settle(difference, over_guess=over_guess, saving=saving, margin=0.02)
    assert (verdict.decision, verdict.frozen, verdict.reason) == expected


def test_without_a_margin_nothing_is_frozen_for_being_cheaper() -> None:
    assert settle(CLOSE, over_guess=None, saving=CHEAPER, margin=0.0).frozen == "baseline"


def test_what_guessing_would_lose_is_not_as_good() -> None:
    nearly = found(0.0, -0.01, 0.01, 1.0)
    assert settle(nearly, over_guess=WORSE, saving=CHEAPER, margin=0.02).frozen == "baseline"
    assert settle(nearly, over_guess=CLOSE, saving=CHEAPER, margin=0.02).frozen == "winner"


def test_prompts_that_answer_alike_on_few_examples_are_not_shown_to_be_equal() -> None:
    alike = PairedComparison(
        n=20, difference=0.0, interval=Interval(lower=0.0, upper=0.0, level=0.95), p_value=1.0, method=""
    )
    assert settle(alike, over_guess=None, saving=CHEAPER, margin=0.02).frozen == "baseline"
    assert settle(alike, over_guess=None, saving=CHEAPER, margin=0.17).frozen == "winner"


def test_many_examples_in_few_clusters_are_few() -> None:
    interval = Interval(lower=0.0, upper=0.0, level=0.95)
    alike = PairedComparison(n=200, difference=0.0, interval=interval, p_value=1.0, method="", clusters=4)
    assert settle(alike, over_guess=None, saving=CHEAPER, margin=0.02).frozen == "baseline"
    assert settle(alike, over_guess=None, saving=CHEAPER, margin=0.5).frozen == "winner"


def test_a_saving_is_one_where_its_test_agrees_with_its_interval() -> None:
    narrow = found(-1.0, -1.0, -1.0, 0.125)
    assert settle(CLOSE, over_guess=None, saving=narrow, margin=0.02).reason == "no evidence"


def test_a_loss_of_just_the_margin_is_not_excluded() -> None:
    edge = found(0.0, -0.02, 0.02, 1.0)
    assert settle(edge, over_guess=None, saving=CHEAPER, margin=0.02).frozen == "baseline"
    assert settle(edge, over_guess=None, saving=CHEAPER, margin=0.021).frozen == "winner"
