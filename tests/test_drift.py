"""Signs of a change, one by one: which tells, which is not looked at, and what they are worth together."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from optimizer.answer import OUTCOMES
from optimizer.commands._drift import rescored_lines
from optimizer.drift import Pairs, _allowed, drift
from optimizer.evidence import comparison_figures
from optimizer.recording import Row, short
from optimizer.significance import binomial_tail

BASE = Row(
    id="",
    input="i",
    target="t",
    request="r",
    completion="a",
    score=1.0,
    outcome="ok",
    strict=True,
    prompt_tokens=10,
    completion_tokens=2,
)


def rows(n: int) -> tuple[Row, ...]:
    return tuple(replace(BASE, id=f"{k:03d}") for k in range(n))


def changed(n: int, of: int, **change: object) -> Pairs:
    then = rows(of)
    now = tuple(replace(row, **change) if k < n else row for k, row in enumerate(then))  # type: ignore[arg-type]  # of a row
    return Pairs(then=then, now=now)


def told(pairs: Pairs, *, same_requests: bool = True, deterministic: bool = True) -> tuple[str, ...]:
    return drift(pairs, same_requests=same_requests, deterministic=deterministic).telling


def test_equal_rounds_hold_and_every_p_value_is_1() -> None:
    found = drift(changed(0, 30), same_requests=True, deterministic=True)
    assert found.verdict == "holds"
    assert {sign.p_value for sign in found.signs} == {1.0}
    assert [sign.sign for sign in found.signs] == [
        "score",
        "outcomes",
        "format",
        "length",
        "reading",
        "answers",
    ]


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"score": 0.0}, "score"),
        ({"score": 0.5}, "score"),
        ({"completion": "b"}, "answers"),
        ({"outcome": "invalid"}, "outcomes"),
        ({"outcome": "error"}, "outcomes"),
        ({"strict": False}, "format"),
        ({"completion_tokens": 9}, "length"),
        ({"prompt_tokens": 9}, "reading"),
    ],
)
def test_each_sign_tells_of_its_own_change_alone(change: dict[str, object], sign: str) -> None:
    assert told(changed(12, 40, **change)) == (sign,)
    assert told(changed(2, 40, **change)) == ()


def test_the_score_has_half_of_the_level() -> None:
    found = drift(changed(7, 40, score=0.0, strict=False), same_requests=True, deterministic=True)
    by_name = {sign.sign: sign for sign in found.signs}
    assert by_name["score"].p_value == 2 / 2**7
    assert by_name["score"].adjusted == 4 / 2**7
    assert by_name["format"].adjusted == 2 * 5 * 2 / 2**7  # one of five others, and half of the level
    assert found.telling == ("score",)


def test_scores_of_two_metrics_are_no_sign() -> None:
    pairs = changed(40, 40, score=0.0)
    assert told(pairs) == ("score",)
    found = drift(pairs, same_requests=True, deterministic=True, same_metric=False)
    assert (found.score, found.verdict) == (None, "holds")
    assert "score" not in [sign.sign for sign in found.signs]


def test_other_requests_make_no_news_of_texts_and_of_tokens_read() -> None:
    pairs = changed(40, 40, completion="b", prompt_tokens=99)
    assert told(pairs, same_requests=False) == ()
    assert told(pairs, deterministic=False) == ("reading",)


def test_what_is_no_answer_of_the_model_takes_no_part() -> None:
    lost = drift(changed(12, 40, outcome="unscored", score=None), same_requests=True, deterministic=True)
    assert lost.telling == ()
    assert (lost.n, lost.score and lost.score.n) == (40, 28)
    refused = drift(
        changed(40, 40, outcome="error", score=None, completion=None), same_requests=True, deterministic=True
    )
    assert refused.score is None
    assert refused.telling == ("outcomes",)


def test_relatives_are_counted_together() -> None:
    alone = changed(12, 40, score=0.0)
    kin = Pairs(then=alone.then, now=alone.now, clusters=tuple(str(k // 12) for k in range(40)))
    assert told(alone) == ("score",)
    assert told(kin) == ()  # one family that turned says little


def test_rows_of_other_examples_or_none_are_refused() -> None:
    with pytest.raises(ValueError, match="must be of the same examples"):
        Pairs(then=rows(2), now=rows(3))
    with pytest.raises(ValueError, match="at least one pair"):
        drift(Pairs(then=(), now=()), same_requests=True, deterministic=True)


def test_the_longer_a_text_the_more_often_it_may_be_another_one() -> None:
    allowed = [round(_allowed(tokens), 3) for tokens in (0, 10, 100, 170, 10_000)]
    assert allowed == [0.01, 0.04, 0.31, 0.5, 0.5]
    short, long = (changed(12, 60, completion="b") for _ in range(2))
    long = Pairs(
        then=tuple(replace(row, completion_tokens=100) for row in long.then),
        now=tuple(replace(row, completion_tokens=100) for row in long.now),
    )
    assert told(short) == ("answers",)
    assert told(long) == ()


UNKNOWN: dict[str, object] = {"prompt_tokens": 0, "completion_tokens": 0}


def test_tokens_that_were_not_stated_are_no_change_and_nothing_is_known_of_the_length_of_their_texts() -> (
    None
):
    def signs(pairs: Pairs, most: int | None = None) -> dict[str, tuple[int, bool]]:
        found = drift(pairs, same_requests=True, deterministic=True, most_written=most)
        return {sign.sign: (sign.n, sign.tells) for sign in found.signs}

    silent = changed(40, 40, **UNKNOWN)
    assert {"length", "reading"}.isdisjoint(signs(silent))
    assert told(silent) == told(Pairs(then=silent.now, now=silent.then)) == ()
    some = signs(changed(30, 40, **UNKNOWN))
    assert some["length"] == some["reading"] == (10, False)
    # Three of ten texts are others: of two tokens each that is a change, of a hundred each it is not.
    texts = changed(18, 60, completion="b")
    assert signs(texts)["answers"] == (60, True)
    dark = Pairs(
        then=tuple(replace(row, **UNKNOWN) for row in texts.then),  # type: ignore[arg-type]  # of a row
        now=tuple(replace(row, **UNKNOWN) for row in texts.now),  # type: ignore[arg-type]  # of a row
    )
    assert signs(dark)["answers"] == (60, False)
    assert signs(dark, most=2)["answers"] == (60, True)  # no longer than they may be
    assert signs(Pairs(then=dark.then, now=texts.now))["answers"] == (60, True)  # those of now are known
    all_others = changed(60, 60, completion="b", **UNKNOWN)
    assert told(Pairs(then=dark.then, now=all_others.now)) == ("answers",)


def test_an_empty_text_is_known_to_be_of_no_tokens() -> None:
    empty = changed(12, 40, completion=short(""), completion_tokens=0)
    assert told(empty, deterministic=False) == ("length",)


def test_what_chose_a_prompt_counts_for_as_much_as_it_was_chosen_among() -> None:
    pairs = changed(8, 40, score=0.0)
    alone, of_three, of_ten = (
        drift(pairs, same_requests=True, deterministic=True, chosen_among=k) for k in (1, 3, 10)
    )
    assert alone.telling == of_three.telling == ("score",)
    assert of_ten.telling == ()
    by_name = {sign.sign: sign.adjusted for sign in of_three.signs}
    assert by_name["score"] == 2 * 3 * 2 / 2**8
    assert len({tuple(sign.p_value for sign in each.signs) for each in (alone, of_three, of_ten)}) == 1
    others = changed(12, 40, completion="b")  # texts that are others chose nothing
    assert drift(others, same_requests=True, deterministic=True, chosen_among=99).telling == ("answers",)
    with pytest.raises(ValueError, match="among at least one, but got 0"):
        drift(pairs, same_requests=True, deterministic=True, chosen_among=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4000), st.floats(0.02, 0.5), st.data())
def test_the_tail_is_that_of_the_binomial(n: int, share: float, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    expected = binom.sf(k - 1, n, share)
    assert math.isclose(binomial_tail(k, n, share), expected, rel_tol=1e-6, abs_tol=1e-12)
    small = min(n, 50)
    k = min(k, small)
    exact = binomtest(k, small, share, alternative="greater").pvalue
    assert math.isclose(binomial_tail(k, small, share), exact, rel_tol=1e-6, abs_tol=1e-12)


def test_the_score_is_told_with_the_p_value_that_the_verdict_was_given_by() -> None:
    found = drift(changed(6, 40, score=0.0), same_requests=True, deterministic=True)
    assert found.score is not None
    side: dict[str, object] = dict.fromkeys(
        ("strict", "prompt_tokens", "completion_tokens", "cost_usd", "seconds")
    )
    side |= {"outcomes": dict.fromkeys(OUTCOMES, 0)}
    figures = {
        "lost": ["e1"],
        "verdict": found.verdict,
        "cause": None,
        "signs": [
            {"sign": s.sign, "tells": s.tells, "changed": s.changed, "adjusted": s.adjusted}
            for s in found.signs
        ],
        "model": {"recorded": "a", "asked": "a"},
        "metric": "accuracy",
        "judges": None,
        "chosen_among": 1,
        "difference": comparison_figures(found.score),
        "then": {**side, "score": 1.0},
        "now": {**side, "score": 0.85},
    }
    lost, score, *_ = rescored_lines(figures)
    assert lost.startswith("1 example has no answer or no score now and is left out: ")
    assert found.score.p_value == pytest.approx(0.03125)
    assert "p = 0.0625 corrected" in score
