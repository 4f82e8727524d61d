"""Prompts that read too much, told from their length: never one that keeps the constraint."""

from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.answer import Answer, AnswerFormat
from optimizer.completion import Completion
from optimizer.config import Bound
from optimizer.dataset import Example
from optimizer.errors import InputError
from optimizer.evaluation import Result
from optimizer.excess import Excess, check_measurable
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.retrieval import Retrieval

LENGTHS = (12, 40, 7, 90, 33, 120)
EXAMPLES = [
    Example(id=f"e{k}", inputs=(("text", "x" * length),), target="red", group=None)
    for k, length in enumerate(LENGTHS)
]


def template(*literals: int, retrieval: Retrieval | None = None) -> PromptTemplate:
    """Return a prompt of so many calls, with so many literal bytes before the input of each."""
    calls = tuple(
        CallTemplate(
            messages=(MessageTemplate(role="user", parts=("y" * n, Hole(name="input:text", lead="Text: "))),)
        )
        for n in literals
    )
    return PromptTemplate(calls=calls, answer=AnswerFormat(kind="text"), retrieval=retrieval)


def results(prompt: PromptTemplate, bytes_a_token: float, *, seen: int, markup: int = 20) -> list[Result]:
    """Return what some examples brought where every token has so many bytes, and each call some markup."""
    return [
        Result(
            example=example,
            answer=Answer(text="red", outcome="ok"),
            score=1.0,
            completions=tuple(
                Completion(
                    text="red",
                    prompt_tokens=markup
                    + round(
                        sum(len(m.content) for m in prompt.request(example.values, ["red"] * k).messages)
                        / bytes_a_token
                    ),
                    completion_tokens=1,
                )
                for k in range(len(prompt.calls))
            ),
        )
        for example in EXAMPLES[:seen]
    ]


def mean_read(of: list[Result]) -> float:
    return fmean(sum(each.prompt_tokens for each in one.completions) for one in of)


@given(
    baseline=st.integers(0, 600),
    other=st.lists(st.integers(0, 3000), min_size=1, max_size=2),
    densities=st.tuples(st.floats(1.5, 5.5), st.floats(1.5, 5.5)),
    seen=st.integers(1, len(EXAMPLES)),
    most=st.integers(5, 1500),
)
def test_no_prompt_that_keeps_the_constraint_is_told_to_break_it(
    baseline: int, other: list[int], densities: tuple[float, float], seen: int, most: int
) -> None:
    excess = Excess({"input_tokens": Bound(max=most)}, EXAMPLES)
    known, asked = template(baseline), template(*other)
    # A prompt's own text may be denser than the baseline's, or less dense; the part they share is what it is.
    excess.learn(known, results(known, densities[0], seen=seen))
    truth = mean_read(results(asked, densities[1], seen=len(EXAMPLES)))
    if excess.shown(asked, results(asked, densities[1], seen=seen)):
        assert truth > most
    same = mean_read(results(asked, densities[0], seen=len(EXAMPLES)))
    if excess.expected(asked):
        assert same > most


def test_what_is_far_too_long_is_told_before_it_is_asked_and_what_is_a_little_too_long_after() -> None:
    excess = Excess({"input_tokens": Bound(max=120)}, EXAMPLES)
    baseline = template(100)
    excess.learn(baseline, results(baseline, 4.0, seen=3))
    far, little, within = template(900), template(400), template(140)
    assert [excess.expected(one) for one in (far, little, within)] == [True, False, False]
    assert [excess.shown(one, results(one, 4.0, seen=2)) for one in (little, within)] == [True, False]
    assert (
        mean_read(results(little, 4.0, seen=len(EXAMPLES)))
        > 120
        >= mean_read(results(within, 4.0, seen=len(EXAMPLES)))
    )


def test_a_prompt_of_other_messages_than_the_baseline_is_asked_first() -> None:
    excess, ask = Excess({"input_tokens": Bound(max=120)}, EXAMPLES), template(900).calls[0].messages[0]
    system = MessageTemplate(role="system", parts=("y" * 100,))
    known, alike, bare = (
        PromptTemplate(calls=(CallTemplate(messages=messages),), answer=AnswerFormat(kind="text"))
        for messages in ((system, *template(0).calls[0].messages), (system, ask), (ask,))
    )
    excess.learn(known, results(known, 4.0, seen=3))
    assert excess.expected(alike)
    assert not excess.expected(bare)
    assert excess.shown(bare, results(bare, 4.0, seen=1))


def test_an_example_that_is_longer_than_the_others_bars_nobody() -> None:
    prompt = template(60)
    excess = Excess({"input_tokens": Bound(max=60)}, EXAMPLES)
    longest = results(prompt, 4.0, seen=len(EXAMPLES))[-1:]
    assert mean_read(longest) > 60 > mean_read(results(prompt, 4.0, seen=len(EXAMPLES)))
    assert not excess.shown(prompt, longest)


@pytest.mark.parametrize("name", ["input_tokens", "tokens", "cost"])
def test_each_constraint_that_reading_breaks_counts(name: str) -> None:
    most = 0.0001 if name == "cost" else 100.0
    excess = Excess({name: Bound(max=most)}, EXAMPLES, lambda read, written: (read + 5 * written) * 1e-6)
    long = template(2000)
    assert excess.limited
    assert excess.shown(long, results(long, 4.0, seen=2))


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"input_tokens": Bound(min=3)},
        {"valid": Bound(min=0.5)},
        {"output_tokens": Bound(max=1)},
        {"cost": Bound(max=1e-9)},
    ],
)
def test_other_constraints_bar_nobody_nor_does_a_cost_without_a_price(bounds: dict[str, Bound]) -> None:
    excess, long = Excess(bounds, EXAMPLES), template(2000)
    excess.learn(template(10), results(template(10), 4.0, seen=3))
    assert not excess.limited
    assert not excess.expected(long)
    assert not excess.shown(long, results(long, 4.0, seen=2))


def test_where_nothing_was_counted_or_answered_nothing_is_told() -> None:
    excess, prompt = Excess({"input_tokens": Bound(max=1)}, EXAMPLES), template(500)
    assert not excess.expected(prompt)
    uncounted = results(prompt, 1e9, seen=3, markup=0)
    failed = [
        Result(example=EXAMPLES[0], answer=Answer(text=None, outcome="error"), score=None, completions=())
    ]
    for of in (uncounted, failed, []):
        excess.learn(prompt, of)
        assert not excess.expected(template(5000))
        assert not excess.shown(prompt, of)


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "tokens", "cost"])
def test_a_constraint_on_what_no_answer_states_is_told_and_one_answer_that_does_is_enough(name: str) -> None:
    prompt = template(500)
    counted = results(prompt, 4.0, seen=1)
    priced = [replace(r, completions=tuple(replace(c, cost_usd=0.5) for c in r.completions)) for r in counted]
    silent = replace(
        counted[0],
        completions=tuple(replace(c, prompt_tokens=0, completion_tokens=0) for c in counted[0].completions),
    )
    for bounds in ({name: Bound(max=1)}, {name: Bound(min=1)}):
        with pytest.raises(InputError, match=rf"constraints\.{name}: cannot be measured"):
            check_measurable(bounds, [silent, silent])
        check_measurable(bounds, [silent, *priced])
        check_measurable(bounds, [replace(silent, completions=())])
    check_measurable({"valid": Bound(min=1)}, [silent])


def test_every_later_call_counts_what_it_says_itself() -> None:
    excess = Excess({"input_tokens": Bound(max=150)}, EXAMPLES)
    baseline = template(100)
    excess.learn(baseline, results(baseline, 4.0, seen=3))
    assert not excess.expected(template(100, 100))
    assert excess.expected(template(100, 900))
