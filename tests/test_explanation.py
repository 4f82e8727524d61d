"""The evidence in words: what is said, and with which numbers."""

import re
from typing import Any

import pytest

from optimizer.explanation import (
    in_words,
    named_apart,
    p_text,
    percent,
    points,
    provable_in_words,
    score_text,
    shortened,
    signed_points,
)
from optimizer.language import ENGLISH, Language


def evidence(**changes: Any) -> dict[str, Any]:
    """Return the evidence of a winner that is better, with some of it changed."""
    difference = {
        "value": 0.12,
        "lower": 0.041,
        "upper": 0.2,
        "level": 0.95,
        "p_value": 0.0031,
        "n": 200,
        "wins": 34,
        "ties": 156,
        "losses": 10,
        "smallest_provable": 0.0931,
    }
    return {
        "protocol": "test",
        "decision": "improved",
        "frozen": "winner",
        "reason": "better",
        "candidates": 14,
        "margin": 0.02,
        "difference": {**difference, **changes.pop("difference", {})},
        "test": {"winner": {"score": 0.72}, "baseline": {"score": 0.6}},
        "validation": {"winner": {"score": 0.8, "n": 60, "estimate": 0.7411}},
        "test_opened": 1,
        "leaks": [],
        "saving": None,
        "guess": None,
        "difference_over_guess": None,
        **changes,
    }


def said(**changes: Any) -> str:
    return " ".join(in_words(evidence(**changes)))


def test_an_improvement_is_told_with_what_was_tested_and_how_sure_we_are() -> None:
    assert in_words(evidence()) == [
        (
            "The best of 14 prompts was compared with the baseline on 200 test examples that the search had never seen: "
            "0.720 against 0.600, a difference of +12.0 points."
        ),
        "The new prompt was better on 34 examples, worse on 10 and equal on 156.",
        (
            "With 95 % confidence the true difference lies between +4.1 and +20.0 points (p = 0.0031: how often chance "
            "alone would bring a difference as large as this)."
        ),
        "We are confident that the new prompt is better; it is frozen.",
        (
            "On validation the new prompt scored 0.800 on 60 examples; allowing for the luck of being the best of 14, "
            "0.741 was expected of it."
        ),
    ]


def test_what_cannot_be_told_apart_is_not_called_equal_and_what_would_make_us_surer_is_said() -> None:
    text = said(
        decision="not distinguishable",
        frozen="baseline",
        reason="no evidence",
        difference={"value": 0.04, "smallest_provable": 0.0818, "wins": 20, "losses": 12, "ties": 168},
    )
    assert "That does not say they are equal; the baseline is kept" in text
    assert "a true gain of 8.2 points would have been noticed in 80 % of all cases" in text
    needed = re.search(
        r"the 4\.0 points that were seen, about ([\d,]+) examples like these would show it", text
    )
    assert needed is not None
    assert 700 < int(needed[1].replace(",", "")) < 900  # (1.96 + 0.84)² × 0.16 / 0.04²


def test_a_loss_is_told_as_a_loss() -> None:
    text = said(decision="worse", frozen="baseline", reason="worse", difference={"value": -0.12})
    assert "a difference of -12.0 points" in text
    assert "The new prompt is worse than the baseline; the baseline is kept." in text


def test_a_gain_over_unreadable_answers_says_what_is_left_beside_guessing() -> None:
    text = said(difference_over_guess={"value": 0.136, "lower": 0.04, "upper": 0.243})
    assert "the gain would still be +13.6 points (+4.0 to +24.3). We are confident" in text


PARTED = {
    "test": {"winner": {"score": 0.31}, "wording": {"score": 0.214}, "baseline": {"score": 0.012}},
    "difference_over_format": {
        "value": 0.095,
        "lower": -0.046,
        "upper": 0.233,
        "p_value": 0.243,
        "level": 0.95,
    },
    "baseline_fingerprint": "b",
    "winner_fingerprint": "w",
}


def test_what_the_format_alone_brings_is_told_apart_from_the_rest() -> None:
    text = said(**PARTED, wording_fingerprint="o")
    assert (
        "the baseline's wording scores 0.214, a difference of +20.2 points to the baseline. All else that is new makes a "
        "difference of +9.5 points to that (-4.6 to +23.3, p = 0.2430), which the data cannot tell from none."
    ) in text
    assert in_words(evidence(**PARTED), Language.of("fr")) != in_words(evidence(**PARTED))


@pytest.mark.parametrize(
    ("value", "lower", "upper", "p_value", "what"),
    [
        (0.095, 0.02, 0.2, 0.011, "more than chance explains"),
        (-0.095, -0.2, -0.02, 0.011, "a loss beyond chance"),
        # Test and interval must agree, as for the decision.
        (0.095, 0.02, 0.2, 0.06, "which the data cannot tell from none"),
        (0.095, 0.0, 0.2, 0.04, "which the data cannot tell from none"),
    ],
)
def test_whether_the_rest_is_shown_goes_by_the_rule_of_the_decision(
    value: float, lower: float, upper: float, p_value: float, what: str
) -> None:
    over = {"value": value, "lower": lower, "upper": upper, "p_value": p_value, "level": 0.95}
    assert f", {what}." in said(**{**PARTED, "difference_over_format": over})


def test_where_the_format_is_all_or_none_of_it_that_is_said() -> None:
    assert "all of the difference comes from that" in said(**PARTED, wording_fingerprint="w")
    assert "none of the difference comes from that" in said(**PARTED, wording_fingerprint="b")
    assert "answer format" not in said(**{**PARTED, "difference_over_format": None})
    assert "answer format" not in said(**PARTED, reason="same prompt")


def test_without_a_test_the_choice_is_compared_with_the_wording_in_the_format() -> None:
    held_out = {"protocol": "cross-validation", "cross_validation": {"folds": 5, "repeats": 10}}
    over = {key: PARTED[key] for key in ("difference_over_format", "winner_fingerprint")}
    text = said(**held_out, **over)
    assert "the choice makes a difference of +9.5 points (-4.6 to +23.3, p = 0.2430), which the data" in text


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        (
            {"ok": 1, "truncated": 83},
            "83 of 84, 83 of them cut off at the most tokens that it may write (max_tokens).",
        ),
        ({"ok": 10, "invalid": 9, "refused": 2, "error": 5}, "could not be read: 11 of 21. Its score"),
        ({"ok": 10, "invalid": 10}, None),
        ({"ok": 200}, None),
    ],
)
def test_a_baseline_that_could_mostly_not_be_read_is_called_so(
    outcomes: dict[str, int], told: str | None
) -> None:
    tested = said(test={"winner": {"score": 0.72}, "baseline": {"score": 0.6, "outcomes": outcomes}})
    held_out = {"folds": 5, "repeats": 10, "outcomes": {"baseline": outcomes}}
    validated = said(protocol="cross-validation", cross_validation=held_out, test={})
    for text in (tested, validated):
        assert told is None or told in text
        assert (told is None) == ("Most answers of the baseline" not in text)


def test_a_gain_that_guessing_would_bring_is_named_so() -> None:
    text = said(
        decision="not distinguishable",
        frozen="baseline",
        reason="no better than guessing",
        guess={"answer": "billing", "score": 0.1639},
        difference_over_guess={"value": 0.012, "lower": -0.03, "upper": 0.05},
    )
    assert "replaced by the one answer 'billing', which is right at a rate of 0.164" in text
    assert "the gain would be +1.2 points (-3.0 to +5.0), which the data cannot tell from none" in text


@pytest.mark.parametrize(
    ("unit", "amounts"),
    [
        ("tokens", "81.5 tokens instead of 240.0 tokens"),
        ("usd", "81.500000 US dollars instead of 240.000000 US"),
    ],
)
def test_a_cheaper_prompt_is_frozen_by_a_stated_margin(unit: str, amounts: str) -> None:
    saving = {"unit": unit, "winner": 81.5, "baseline": 240.0}
    text = said(decision="not distinguishable", reason="cheaper", saving=saving)
    assert "worse by less than the stated margin of 2.0 points" in text
    assert amounts in text


def test_where_nothing_beat_the_baseline_that_is_all() -> None:
    text = said(
        decision="not distinguishable",
        frozen="baseline",
        reason="same prompt",
        difference={"value": 0.0, "wins": 0, "losses": 0, "ties": 200},
    )
    assert text.startswith(
        "Of 14 prompts none is expected to do better than the baseline, allowing for few examples"
    )
    assert "confidence" not in text


def test_a_space_in_which_no_other_prompt_may_win_is_told() -> None:
    text = said(
        decision="not distinguishable",
        frozen="baseline",
        reason="same prompt",
        candidates=0,
        difference={"value": 0.0, "wins": 0, "losses": 0, "ties": 200},
    )
    assert text.startswith("The search space holds no other prompt that may win")


def test_cross_validation_is_told_as_what_it_is() -> None:
    text = said(protocol="cross-validation", cross_validation={"folds": 5, "repeats": 10})
    assert "There is no test split. The choice among 14 prompts was repeated 50 times" in text
    assert "it gained +12.0 points on average" in text


def test_further_openings_of_the_test_and_leaks_are_told() -> None:
    text = said(
        test_opened=3, difference={"level": 1 - 0.05 / 3}, leaks=["2 test examples are near duplicates"]
    )
    assert "The test was opened 3 times." in text
    assert "was raised to 98.3 %" in text
    assert "Caution: 2 test examples are near duplicates" in text


def test_an_opening_that_compared_nothing_raises_no_confidence_and_is_not_said_to() -> None:
    text = said(test_opened=2)
    assert "The test was opened 2 times, of which no other compared one prompt with another." in text
    assert "was raised" not in text


def test_a_baseline_compared_with_itself_is_not_said_to_lack_examples() -> None:
    nothing = {"value": 0.0, "lower": 0.0, "upper": 0.0, "wins": None, "smallest_provable": None}
    text = said(decision="not distinguishable", frozen="baseline", reason="same prompt", difference=nothing)
    assert "So few examples" not in text


def test_before_a_run_the_smallest_gain_is_said_and_advice_where_it_is_too_large() -> None:
    small, advice = provable_in_words(0.1192, 84, groups=None, test=True)
    assert small == (
        "The 84 test examples can prove a gain of 11.9 points or more, in 80 % of all cases, if the two prompts score "
        "differently on 15 % of the examples."
    )
    assert "122 test examples can prove 10.0 points, 498 can prove 5.0" in advice
    assert len(provable_in_words(0.05, 500, groups=None, test=True)) == 1


def test_groups_and_missing_tests_are_named_before_a_run() -> None:
    said, advice, why = provable_in_words(0.3, 42, groups=12, test=False)
    assert said == (
        "Cross-validation on 42 examples in 12 groups can prove a gain of 30.0 points or more, in 80 % of all cases, "
        "if the new prompt is nowhere worse, even if the examples of a group stand or fall together."
    )
    assert "122 groups" in advice
    assert "by repeated cross-validation, which is less certain than a test" in why


def test_examples_that_can_prove_nothing_are_called_so() -> None:
    (said,) = provable_in_words(1.0, 5, groups=None, test=True)
    assert said == "The 5 test examples can prove no gain, however large. 122 can prove 10.0 points."
    text = said_of_six()
    assert "So few examples can prove no gain with this confidence, however large it is." in text
    assert "100.0" not in text


def said_of_six() -> str:
    return said(
        decision="not distinguishable",
        frozen="baseline",
        reason="no evidence",
        difference={"n": 6, "wins": 6, "losses": 0, "ties": 0, "smallest_provable": None, "lower": 0.1},
    )


def test_an_interval_that_speaks_for_a_gain_where_the_test_does_not_is_explained() -> None:
    assert "That alone would speak for a difference, but the test, which is exact" in said_of_six()


def test_numbers_are_rounded_in_one_way() -> None:
    assert (score_text(0.30952), points(0.11923), signed_points(-0.0004), signed_points(0.298)) == (
        "0.310",
        "11.9",
        "+0.0",
        "+29.8",
    )
    assert (p_text(0.00004), p_text(0.24301), percent(0.95), percent(0.975)) == (
        "p < 0.0001",
        "p = 0.2430",
        "95 %",
        "97.5 %",
    )


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0.0000014, "0.00000140"),
        (0.00012, "0.000120"),
        (0.0, "0.000000"),
        (0.5, "0.500000"),
        (-0.0000014, "-0.00000140"),
    ],
)
def test_dollars_that_six_decimals_would_hide_are_told(amount: float, shown: str) -> None:
    assert ENGLISH.amount(amount, "usd") == f"{shown} US dollars"


def test_no_more_examples_are_asked_for_than_there_were_and_did_not_do() -> None:
    figures = {"value": 0.4, "lower": -0.1, "upper": 0.9, "smallest_provable": 0.2, "p_value": 0.06}
    told = said(decision="not distinguishable", frozen="baseline", reason="no evidence", difference=figures)
    assert "would have been noticed" in told
    assert "examples like these" not in told


def test_scores_of_other_examples_than_the_difference_are_said_to_be() -> None:
    test = {"winner": {"score": 0.918, "n": 98}, "baseline": {"score": 0.898, "n": 97}}
    told = said(test=test, difference={"n": 96})
    assert (
        "of the 98 and 97 examples that each prompt has a score for, the difference of the 96 that both"
        in told
    )
    assert "has a score for" not in said(test={arm: {**each, "n": 200} for arm, each in test.items()})


def test_examples_without_a_score_are_not_said_to_be_scored() -> None:
    row = {"score": 0.8, "n": 60, "errors": 3, "estimate": 0.7411}
    assert "On validation the new prompt scored 0.800 on 57 examples" in said(validation={"winner": row})


def test_one_example_is_one_example() -> None:
    text = said(difference={"wins": 1, "losses": 0, "ties": 1})
    assert "The new prompt was better on 1 example, worse on 0 and equal on 1." in text


def test_a_long_name_keeps_its_end_and_names_beside_each_other_are_told_apart() -> None:
    names = [
        f"customer support, second level, billing: refund of {what}" for what in ("an invoice", "a parcel")
    ]
    assert shortened(names[0]).endswith("an invoice”")
    assert len(shortened(names[0])) == 42
    assert len(set(named_apart([f"{'x' * 30}{k}{'y' * 30}" for k in range(3)]).values())) == 3


def test_a_loss_by_the_stand_in_of_a_corpus_metric_is_said_to_be_one() -> None:
    loss = {"worse": True, "value": -0.2, "n": 30, "adjusted": 0.02}
    column = {"column": "kind", "gaps": {}, "values": [{"value": "x", "difference": loss}]}
    text = said(slices=[column], metric="macro_f1", stand_in="accuracy")
    assert "is “x”: -20.0 points of accuracy on 30 examples" in text
