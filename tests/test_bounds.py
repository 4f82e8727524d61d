"""What the phases of a study take at most: by hand, against every candidate of small spaces, and as a plan."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.bounds import USUAL_RATIO, Bounds, Screen, amount_of, bounds_of, mean_calls
from optimizer.budget import Amount, Budget, Spent
from optimizer.candidate import Candidate, Demonstration, DemonstrationSet, Instruction
from optimizer.completion import CAPABILITIES, Capabilities
from optimizer.dataset import Dataset, Example
from optimizer.document import Located
from optimizer.formats import FORMATS
from optimizer.plan import load_plan
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.racing import width
from optimizer.retrieval import Retrieval, Shot
from optimizer.space import NO_DEMONSTRATIONS, SearchSpace
from optimizer.styles import STYLES
from optimizer.task import Task
from optimizer.taskfile import DatasetSpec, Splits
from optimizer.variation import vary

LABELS = ("red", "green", "blue")
AMPLE = Budget(calls=10_000, attempts=20_000)

Change = tuple[str, str]

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 9, test: 12}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json, parameters: {max_tokens: 8}}
search:
  styles: [direct]
  formats: [plain]
  screen: 5
  sampler: {name: tpe}
budget: {calls: 100}
"""


def price(read: int, written: int) -> float:
    """Return what tokens cost at 3 and 5 dollars a million."""
    return (3 * read + 5 * written) / 1e6


def a_task(*labels: str) -> Task:
    spec = DatasetSpec(inputs=("text", "note"), target="colour", splits=Splits(train=1, validation=1, test=1))
    return Task(
        name="colours",
        version="1.0",
        description="",
        language="en",
        inputs=tuple(spec.inputs),
        target="colour",
        output="label",
        labels=labels or LABELS,
        label_descriptions=tuple("" for _ in labels or LABELS),
        metric="accuracy",
        metrics=(),
        instruction="Name the colour.",
        dataset=spec,
        paths=(Path("data.csv"),),
        source=Located(value={}, file="task.yaml", marks={}),
    )


def a_space(
    instructions: Sequence[str] = ("Name the colour.",),
    shown: Sequence[Sequence[tuple[str, str]]] = (),
    *,
    styles: tuple[str, ...] = ("direct",),
    formats: tuple[str, ...] = ("plain",),
    control_tokens: tuple[str, ...] = (),
    max_tokens: tuple[int, ...] = (8,),
) -> SearchSpace:
    """Return a space; a demonstration is its two inputs."""
    sets = [NO_DEMONSTRATIONS]
    for n, pairs in enumerate(shown):
        shots = [
            Demonstration(example_id=f"e{k}", inputs=(("text", a), ("note", b)), target=LABELS[k % 3])
            for k, (a, b) in enumerate(pairs)
        ]
        sets.append(DemonstrationSet(id=f"d{n + 1:04d}", demonstrations=tuple(shots), selector="random"))
    return SearchSpace(
        task=a_task(),
        instructions=tuple(
            Instruction(id=f"i{n:04d}", text=text, origin="given") for n, text in enumerate(instructions)
        ),
        demonstration_sets=tuple(sets),
        styles=styles,
        formats=formats,
        model_parameters={"max_tokens": max(max_tokens)},
        parameters={"max_tokens": max_tokens} if len(max_tokens) > 1 else {},
        capabilities=Capabilities(can=frozenset(CAPABILITIES), control_tokens=control_tokens),
    )


def examples_of(texts: Sequence[tuple[str, str]]) -> tuple[Example, ...]:
    return tuple(
        Example(id=f"e{n}", inputs=(("text", a), ("note", b)), target=LABELS[n % 3], group=None)
        for n, (a, b) in enumerate(texts)
    )


def a_dataset(validation: Sequence[Example], test: Sequence[Example]) -> Dataset:
    return Dataset(train=(), validation=tuple(validation), test=tuple(test), warnings=())


def candidates(space: SearchSpace) -> Iterator[Candidate]:
    for values in itertools.product(*space.choices.values()):
        yield space.candidate(dict(zip(space.choices, values, strict=True)))


def templates(space: SearchSpace) -> list[PromptTemplate]:
    rendered = [space.render(candidate) for candidate in (space.baseline, *candidates(space))]
    return [template for template in rendered if template is not None]


def asked(template: PromptTemplate, examples: Sequence[Example], answer: str = "") -> Amount:
    """Return what the filled requests take at most, each by its own bound."""
    total = Amount()
    for example in examples:
        for k in range(len(template.calls)):
            read, written = template.request(example.values, [answer] * k).most_tokens
            tokens = read + (written or 0)
            total += Amount(calls=1, tokens=float(tokens), usd=price(read, written or 0))
    return total


def covers(most: Amount, amount: Amount) -> bool:
    return (
        most.calls >= amount.calls
        and most.tokens >= amount.tokens
        and most.usd >= amount.usd * (1 - 1e-9)  # sums of fractions in another order
    )


# ---- By hand


@pytest.fixture
def bounds(write_study: Callable[..., Path]) -> Callable[..., Bounds]:
    """Return a function that gives the bounds of a study in which every input has ten characters."""

    def make(*changes: tuple[str, str]) -> Bounds:
        path = write_study(TASK, STUDY, *changes, items=27)
        rows = (f"c{n:02d},Item {n:05d},{LABELS[n % 3]}\n" for n in range(27))
        path.with_name("data.csv").write_text("id,text,colour\n" + "".join(rows))
        return load_plan(path).bounds

    return make


PRICES = ("calls: 100", "calls: 100, prices: {rules: {input: 3, output: 5}}")

# Two messages of 16 tokens and their bytes: 16 of the instruction and 10 of the input. Then the answer's 8.
READ, WRITTEN = 128 + 16 + 16 + 16 + 10, 8
EACH = READ + WRITTEN
EACH_USD = (3 * READ + 5 * WRITTEN) / 1e6


def test_the_bounds_of_a_study_with_one_candidate_are_counted_by_hand(bounds: Callable[..., Bounds]) -> None:
    found = bounds(PRICES)
    for amount, n in (
        (found.baseline, 5),
        (found.candidate, 5),
        (found.confirmation, 9),
        (found.test, 3 * 12),
        (found.call, 1),
        (found.reserved, 9 + 36),
        (found.least, 5 + 5 + 9 + 36),
    ):
        assert (amount.calls, amount.tokens) == (n, n * EACH)
        assert amount.usd == pytest.approx(n * EACH_USD)
    assert (found.budget, found.space) == (Budget(calls=100, attempts=200), 1)
    # Beyond the usual disagreement every example that differs is won: six of twelve must, in four cases of five.
    d = found.smallest_provable
    assert sum(math.comb(12, k) * d**k * (1 - d) ** (12 - k) for k in range(6, 13)) == pytest.approx(0.8)


def test_money_that_has_no_price_is_bounded_by_nothing(bounds: Callable[..., Bounds]) -> None:
    assert bounds().test.usd == 0.0


@pytest.mark.parametrize(
    ("change", "more"),
    [
        # {"choice":["red","green","blue"]} is sent along.
        pytest.param(("formats: [plain]", "formats: [plain, choice]"), 33, id="constraint"),
        pytest.param(
            ("styles: [direct]", "styles: [direct, chain_of_thought]"),
            2 + len(STYLES["chain_of_thought"].request) + STYLES["chain_of_thought"].reasoning_tokens,
            id="style",
        ),
        # A message of the user with 10 bytes and one of the assistant, for each of two demonstrations: red and green.
        pytest.param(("  screen", "  demos: {sizes: [2], sets: 1}\n  screen"), 4 * 16 + 20 + 8, id="demos"),
        pytest.param(("  screen", "  parameters: {max_tokens: [3, 20]}\n  screen"), 12, id="parameters"),
        pytest.param(("  screen", "  instructions: {given: ['Which one? é']}\n  screen"), 0, id="shorter"),
        pytest.param(
            ("  screen", "  instructions: {given: ['Which is the colour? 😀']}\n  screen"), 9, id="longer"
        ),
    ],
)
def test_a_candidate_is_bounded_by_the_dearest_and_the_baseline_by_itself(
    bounds: Callable[..., Bounds], change: tuple[str, str], more: int
) -> None:
    found = bounds(change, ("train: 6", "train: 2"), ("calls: 100", "calls: 110"))
    assert most(found.baseline) == Amount(calls=5, tokens=5.0 * EACH)
    assert most(found.candidate) == Amount(calls=5, tokens=5.0 * (EACH + more))
    assert most(found.confirmation) == Amount(calls=9, tokens=9.0 * (EACH + more))
    # Baseline, winner, and the baseline's wording in the winner's format, which may be as dear.
    assert most(found.test) == Amount(calls=36, tokens=12.0 * EACH + 24.0 * (EACH + more))
    assert most(found.call) == Amount(calls=1, tokens=float(EACH + more))


def most(amount: Amount) -> Amount:
    """Return the upper bounds alone."""
    return Amount(calls=amount.calls, tokens=amount.tokens, usd=amount.usd)


def two_calls(*, parameters: tuple[tuple[str, int], ...] = ()) -> PromptTemplate:
    first = MessageTemplate(role="user", parts=("Colour of ", Hole(name="input:text"), "?"))
    said = MessageTemplate(role="assistant", parts=(Hole(name="completion:0"),))
    then = MessageTemplate(role="user", parts=("Check it.",))
    calls = (
        CallTemplate(messages=(first,), parameters=parameters),
        CallTemplate(messages=(first, said, then), parameters=parameters),
    )
    return PromptTemplate(calls=calls, answer=AnswerFormat(kind="label", labels=LABELS))


def test_an_answer_that_is_shown_again_is_counted_at_its_longest() -> None:
    # 16 + 11 + 4, then 16 + 11 + 4, 16 + 8 bytes for each of 5 tokens, and 16 + 9.
    first, second = 128 + 31 + 5, 128 + 31 + 16 + 8 * 5 + 25 + 5
    amount = amount_of(
        two_calls(parameters=(("max_tokens", 5),)), examples_of([("thing", ""), ("item", "")]), None
    )
    assert most(amount) == Amount(calls=4, tokens=2.0 * (first + second) + 2)  # one text is a byte longer


def test_an_answer_without_a_bound_is_counted_as_nothing() -> None:
    # Budgets in tokens or money are refused for such a study; what is read is planned all the same.
    amount = amount_of(two_calls(), examples_of([("item", "")]), price)
    assert most(amount) == Amount(
        calls=2, tokens=159.0 + 128 + 31 + 16 + 25, usd=price(159, 0) + price(200, 0)
    )


def test_the_least_is_a_token_for_eight_bytes_read_and_one_written() -> None:
    amount = amount_of(two_calls(parameters=(("max_tokens", 500),)), examples_of([("item", "")]), price)
    first, second = 159, 159 + 16 + 25  # the first answer may be short
    assert amount.least_tokens == first // 8 + 1 + second // 8 + 1
    assert amount.least_usd == price(first // 8, 1) + price(second // 8, 1)
    assert amount.least_tokens < amount.tokens
    assert amount.least_usd < amount.usd


def test_nothing_is_planned_for_no_examples() -> None:
    assert amount_of(two_calls(), (), price) == Amount()


def test_what_can_be_retrieved_is_counted_at_its_longest() -> None:
    pool = (("a", 1), ("bbbb", 1), ("é", 5), ("ccc", 4))
    shots = tuple(Shot(values=(text,), reply="r" * n) for text, n in pool)
    parts = [Hole(name=f"shot:{k}:{what}") for k in range(2) for what in ("input:text", "reply")]
    asked_for = MessageTemplate(role="user", parts=(*parts, Hole(name="input:text")))
    template = PromptTemplate(
        calls=(CallTemplate(messages=(asked_for,), parameters=(("max_tokens", 5),)),),
        answer=AnswerFormat(kind="text"),
        retrieval=Retrieval(inputs=("text",), pool=shots, shown=2),
    )
    amount = amount_of(template, examples_of([("item", "")]), None)
    # The two longest of 2, 5, 7 and 7 bytes; none of them is sure to be read.
    assert amount.tokens == 128 + 16 + 4 + 14 + 5
    assert amount.least_tokens == (128 + 16 + 4) // 8 + 1


# ---- Against every candidate of small spaces

TOKENS = ("<|im_start|>", "<|im_end|>", "aa")
pieces = st.sampled_from(
    ["", "a", "aaa", "é", "漢", "😀", "👩‍👩‍👧", "\n", '"', "\\", "\0", "{text}", "\u2060", "word "]
)
plain_texts = st.lists(pieces, max_size=6).map("".join)
texts = st.lists(pieces | st.sampled_from(TOKENS), max_size=6).map("".join)
laws = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def pairs_of(
    text: st.SearchStrategy[str], *, min_size: int = 0, max_size: int | None = None
) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(text, text), min_size=min_size, max_size=max_size)


@laws
@given(
    instructions=st.lists(plain_texts, min_size=1, max_size=2, unique=True),
    shown=st.lists(pairs_of(plain_texts, min_size=1, max_size=3), max_size=2),
    inputs=pairs_of(plain_texts, min_size=1, max_size=4),
)
def test_no_template_takes_more_than_its_bound(
    instructions: list[str], shown: list[list[tuple[str, str]]], inputs: list[tuple[str, str]]
) -> None:
    examples = examples_of(inputs)
    space = a_space(
        instructions,
        shown,
        styles=("direct", "chain_of_thought", "first_person", "list_steps_and_verify"),
        formats=tuple(FORMATS),
        max_tokens=(4, 30),
    )
    for template in templates(space):
        assert covers(amount_of(template, examples, price), asked(template, examples))


@laws
@given(
    instructions=st.lists(texts, min_size=1, max_size=2, unique=True),
    shown=st.lists(pairs_of(texts, min_size=1, max_size=2), max_size=2),
    inputs=pairs_of(texts, min_size=1, max_size=3),
)
def test_breaking_control_tokens_in_the_data_does_not_exceed_the_bound(
    instructions: list[str], shown: list[list[tuple[str, str]]], inputs: list[tuple[str, str]]
) -> None:
    examples = examples_of(inputs)
    space = a_space(instructions, shown, formats=("plain", "json"), control_tokens=TOKENS)
    for template in templates(space):
        assert covers(amount_of(template, examples, price), asked(template, examples))


@laws
@given(
    instructions=st.lists(plain_texts, min_size=1, max_size=3, unique=True),
    shown=st.lists(pairs_of(plain_texts, min_size=1, max_size=6), max_size=4),
    inputs=pairs_of(plain_texts, min_size=4, max_size=6),
    screen=st.integers(1, 3),
)
def test_no_candidate_takes_more_than_any_phase_is_planned_to(
    instructions: list[str],
    shown: list[list[tuple[str, str]]],
    inputs: list[tuple[str, str]],
    screen: int,
) -> None:
    validation, test = examples_of(inputs[:3]), examples_of(inputs[3:])
    styles, formats = ("direct", "chain_of_thought"), ("plain", "inline", "json")
    space = a_space(instructions, shown, styles=styles, formats=formats, max_tokens=(4, 30))
    found = bounds_of(space, a_dataset(validation, test), screen=screen, budget=AMPLE, price=price)
    baseline, *others = templates(space)
    assert covers(found.baseline, asked(baseline, validation[:screen]))
    for template in others:
        assert covers(found.candidate, asked(template, validation[:screen]))
        assert covers(found.confirmation, asked(template, validation))
        assert covers(found.test, asked(baseline, test) + asked(template, test) * 2)
        assert all(covers(found.call, asked(template, [example])) for example in (*validation, *test))


def test_the_dearest_set_of_demonstrations_need_not_be_the_longest_nor_have_the_most() -> None:
    many, long = [("", "")] * 8, [("x" * 400, "")]
    both = [("x" * 50, "")] * 7
    space = a_space(shown=[many, long, both])
    examples = examples_of([("thing", "")] * 6)
    found = bounds_of(space, a_dataset(examples, examples), screen=5, budget=AMPLE, price=price)
    for template in templates(space):
        assert covers(found.candidate, asked(template, examples[:5]))


@laws
@given(
    pool=pairs_of(texts, min_size=1, max_size=5),
    inputs=pairs_of(texts, min_size=2, max_size=3),
    data=st.data(),
)
def test_no_prompt_that_retrieves_takes_more_than_it_is_planned_to(
    pool: list[tuple[str, str]], inputs: list[tuple[str, str]], data: st.DataObject
) -> None:
    space = a_space(shown=[pool], formats=("plain", "inline", "json"), control_tokens=TOKENS)
    shown = dataclasses.replace(
        space.demonstration_sets[1], retrieved=data.draw(st.integers(1, len(pool)), label="retrieved")
    )
    space = dataclasses.replace(space, demonstration_sets=(NO_DEMONSTRATIONS, shown))
    examples = examples_of(inputs)
    found = bounds_of(space, a_dataset(examples, examples), screen=2, budget=AMPLE, price=price)
    for template in templates(space):
        assert covers(amount_of(template, examples, price), asked(template, examples))
        assert covers(found.candidate, asked(template, examples[:2]))


@laws
@given(
    inputs=pairs_of(plain_texts, min_size=2, max_size=4),
    instruction=plain_texts,
    longer=plain_texts,
    answers=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_more_examples_longer_texts_and_longer_answers_take_no_less(
    inputs: list[tuple[str, str]], instruction: str, longer: str, answers: tuple[int, int]
) -> None:
    def amount(texts: Sequence[tuple[str, str]], wording: str, answer: int) -> Amount:
        template = a_space([wording], formats=("json",), max_tokens=(answer,)).render(
            a_space([wording], formats=("json",)).baseline
        )
        assert template is not None
        return amount_of(template, examples_of(texts), price)

    small, large = sorted(answers)
    base = amount(inputs, instruction, small)
    assert covers(base, amount(inputs[1:], instruction, small))
    assert covers(amount([(a + longer, b) for a, b in inputs], instruction, small), base)
    assert covers(amount(inputs, instruction + longer, small), base)
    assert covers(amount(inputs, instruction, large), base)


# ---- What the rest of a budget holds

PLAN = Bounds(
    budget=Budget(calls=100, attempts=200),
    baseline=Amount(calls=5, tokens=500.0, usd=0.5, least_tokens=100.0, least_usd=0.10),
    candidate=Amount(calls=8, tokens=800.0, usd=0.8, least_tokens=160.0, least_usd=0.16),
    confirmation=Amount(calls=10, tokens=1000.0, usd=1.0, least_tokens=200.0, least_usd=0.20),
    test=Amount(calls=30, tokens=3000.0, usd=3.0, least_tokens=600.0, least_usd=0.60),
    call=Amount(calls=1, tokens=50.0, usd=0.25),
    space=1000,
    smallest_provable=0.1,
)


def with_budget(**limits: float | None) -> Bounds:
    return dataclasses.replace(PLAN, budget=dataclasses.replace(PLAN.budget, **limits))  # type: ignore[arg-type]


def test_what_is_reserved_and_the_least_are_sums() -> None:
    assert most(PLAN.reserved) == Amount(calls=40, tokens=4000.0, usd=4.0)
    assert PLAN.reserved.least_tokens == 800.0
    assert PLAN.least.calls == 53
    assert PLAN.least.tokens == 5300.0
    assert PLAN.least.usd == pytest.approx(5.3)


# Of 800 tokens' bound half are expected, with a quarter on top: 500. The call that is sent last needs its own 50.
@pytest.mark.parametrize(
    ("limits", "spent", "holds"),
    [
        ({}, Spent(calls=92), True),
        ({}, Spent(calls=93), False),
        ({"tokens": 650}, Spent(prompt_tokens=90, completion_tokens=10), True),
        ({"tokens": 649}, Spent(prompt_tokens=90, completion_tokens=10), False),
        ({"tokens": 650}, Spent(calls=93, prompt_tokens=100), False),
        ({"usd": 1.0}, Spent(usd=0.25), True),
        ({"usd": 0.999}, Spent(usd=0.25), False),
        ({"tokens": 650, "usd": 0.999}, Spent(prompt_tokens=100, usd=0.25), False),
        # Ten calls took ten seconds, so eight more are expected to take eight, and ten with the margin.
        ({"seconds": 20}, Spent(calls=10, seconds=10.0), True),
        ({"seconds": 19.9}, Spent(calls=10, seconds=10.0), False),
        ({"seconds": 0.1}, Spent(calls=0, seconds=5.0), True),
        ({"tokens": None, "usd": None, "seconds": None}, Spent(calls=5, prompt_tokens=10**9, usd=1e9), True),
        ({"tokens": 650}, Spent(prompt_tokens=100, lost_tokens=10**6), True),
    ],
)
def test_work_is_held_by_the_rest_of_every_budget_or_it_is_not(
    limits: dict[str, float | None], spent: Spent, holds: bool
) -> None:
    assert with_budget(**limits).holds(spent, PLAN.candidate, ratio=0.5) is holds


amounts = st.builds(
    Amount, calls=st.integers(0, 50), tokens=st.floats(0, 5000), usd=st.floats(0, 5, allow_subnormal=False)
)
budgets = st.builds(
    Budget,
    calls=st.integers(1, 2000),
    attempts=st.just(4000),
    tokens=st.none() | st.integers(1, 100_000),
    usd=st.none() | st.floats(0.01, 100),
    seconds=st.none() | st.floats(0.1, 5000),
)
spendings = st.builds(
    Spent,
    calls=st.integers(0, 300),
    prompt_tokens=st.integers(0, 20_000),
    completion_tokens=st.integers(0, 2000),
    usd=st.floats(0, 20),
    seconds=st.floats(0, 1000),
)
plans = st.builds(
    Bounds,
    budget=budgets,
    baseline=amounts,
    candidate=amounts,
    confirmation=amounts,
    test=amounts,
    call=amounts,
    space=st.integers(1, 50),
    smallest_provable=st.just(0.1),
)
ratios = st.floats(0.01, 2)


@given(plans, spendings, ratios, st.integers(0, 60))
def test_what_can_be_afforded_is_what_a_loop_counts(
    plan: Bounds, spent: Spent, ratio: float, most: int
) -> None:
    n = 0
    while n < most and plan.holds(spent, plan.reserved + plan.candidate * (n + 1), ratio=ratio):
        n += 1
    assert plan.affordable(spent, ratio=ratio, most=most) == n


@given(plans, spendings, ratios, amounts, amounts)
def test_a_larger_budget_or_smaller_work_is_held_wherever_the_other_is(
    plan: Bounds, spent: Spent, ratio: float, work: Amount, more: Amount
) -> None:
    if not plan.holds(spent, work + more, ratio=ratio):
        return
    assert plan.holds(spent, work, ratio=ratio)
    assert plan.holds(spent, work + more, ratio=ratio / 2)
    assert plan.holds(dataclasses.replace(spent, prompt_tokens=0, usd=0.0), work + more, ratio=ratio)
    for name in ("calls", "tokens", "usd", "seconds"):
        limit = getattr(plan.budget, name)
        if limit is not None:
            larger = dataclasses.replace(plan.budget, **{name: 2 * limit})
            held = dataclasses.replace(plan, budget=larger).holds(spent, work + more, ratio=ratio)
            assert held, name


def test_the_first_examples_of_strangers_take_half_of_what_a_race_has_at_most() -> None:
    # A candidate's first call takes 10 times what a call of validation takes on average: 500 tokens are expected of it.
    plan = dataclasses.replace(
        with_budget(calls=10_000, tokens=2500 + 50 + 62 * 300),
        candidate=Amount(calls=1, tokens=1000.0),
        confirmation=Amount(calls=10, tokens=1000.0),
    )
    spent = Spent(calls=5)
    assert plan.race(spent, ratio=0.5, kindred=True) == 297
    arms = plan.race(spent, ratio=0.5) // 5
    assert arms == 14
    assert plan.holds(spent, plan.reserved + plan.candidate * (2 * arms), ratio=0.5)
    assert not plan.holds(spent, plan.reserved + plan.candidate * (2 * arms + 2), ratio=0.5)
    unlimited = dataclasses.replace(plan, budget=Budget(calls=105, attempts=200))
    assert unlimited.race(spent, ratio=0.5) == unlimited.race(spent, ratio=0.5, kindred=True) == 60


def affordable(plan: Bounds, most: int = 1000) -> int:
    return plan.affordable(Spent(calls=plan.baseline.calls), ratio=USUAL_RATIO, most=most)


def test_candidates_are_counted_by_what_is_usual_and_no_more_than_there_are() -> None:
    # Of 100 calls 5 are the baseline's and 40 are kept: 55 hold 6 of 8.
    assert affordable(PLAN) == 6
    assert affordable(PLAN, most=4) == 4
    # Half of each bound and a quarter on top: 2500 kept, 500 for each candidate, 50 for the last call.
    assert affordable(with_budget(tokens=2500 + 3 * 500 + 50)) == 3
    assert affordable(with_budget(tokens=2500 + 3 * 500 + 49)) == 2
    assert affordable(with_budget(usd=2.5 + 2 * 0.5 + 0.25 + 1e-9)) == 2
    assert affordable(with_budget(calls=52)) == 0
    assert affordable(with_budget(seconds=1)) == 6  # nothing is known of time yet
    assert USUAL_RATIO == 0.5


def raced(*, styles: str = "[direct]", formats: str = "[plain]", demos: str = "{sizes: [0]}") -> Change:
    """Return what makes a race of the study, between 400 wordings."""
    given = ", ".join(f"Wording {k}." for k in range(1, 400))
    changed = (
        f"  instructions: {{given: [{given}]}}\n  demos: {demos}\n  styles: {styles}\n  formats: {formats}\n"
        "budget: {calls: 1500}\n"
    )
    return STUDY[STUDY.index("  styles") :], changed


@pytest.mark.parametrize(
    ("change", "cost"),
    [
        pytest.param(raced(), 1.0, id="wordings-alone-are-no-kin"),
        pytest.param(raced(formats="[plain, json]"), 1.0, id="wordings-and-formats-are"),
        pytest.param(raced(styles="[self_check]"), 2.0, id="two-calls-for-each-example"),
        pytest.param(raced(styles="[direct, self_check]"), 1.5, id="some-of-two-calls"),
        pytest.param(
            raced(demos="{sizes: [2], sets: 3, selectors: [hard], scout: 8}"),
            1.0,
            id="sets-that-are-still-to-come",
        ),
    ],
)
def test_as_many_candidates_of_a_race_are_told_as_it_opens_with(
    write_study: Callable[..., Path], change: Change, cost: float
) -> None:
    plan = load_plan(write_study(TASK, STUDY, change, items=27))
    bounds = plan.bounds
    assert bounds.races
    assert mean_calls(plan.space) == cost
    left = bounds.budget.calls - (bounds.scouting + bounds.baseline + bounds.reserved).calls
    # One of its places is the baseline's. Kin are told no more: more of them enter only where most do badly.
    assert bounds.candidates == width(left, plan.first, kindred=False, cost=cost) - 1


def test_a_call_of_a_race_is_as_long_as_those_of_validation_are_on_average() -> None:
    space = a_space(["Name the colour."], formats=("plain",))
    template = space.render(space.baseline)
    assert template is not None
    short, long = examples_of([("a", "b"), ("a" * 900, "b")])
    test = examples_of([("c", "d")])

    def one_call(*validation: Example) -> Amount:
        screen = Screen(baseline=1, first=1, races=True)
        return bounds_of(space, a_dataset(validation, test), screen=screen, budget=AMPLE, price=None).one_call

    assert one_call(short, long) == one_call(long, short)
    assert one_call(short, long).calls == 1
    assert one_call(short, long).tokens == amount_of(template, (short, long), None).tokens / 2


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({}, []),
        ({"calls": 53}, []),
        (
            {"calls": 52},
            [
                (
                    "calls",
                    "expected at least 53 calls (baseline 5, one candidate 8, confirmation 10, test 30), found 52",
                )
            ],
        ),
        ({"tokens": 1060}, []),
        ({"tokens": 1059}, [("tokens", "expected at least about 1,060 tokens, found 1,059")]),
        ({"usd": 1.0601}, []),
        ({"usd": 1.05}, [("usd", "expected at least about 1.0600 US dollars, found 1.05")]),
        ({"seconds": 0.001}, []),
    ],
)
def test_a_budget_that_cannot_hold_the_least_study_is_told_with_what_would(
    limits: dict[str, float], told: list[tuple[str, str]]
) -> None:
    assert list(with_budget(**limits).shortages()) == told


def test_every_shortage_is_told() -> None:
    short = with_budget(calls=1, tokens=1, usd=0.1)
    assert [unit for unit, _ in short.shortages()] == ["calls", "tokens", "usd"]


def test_sets_that_are_made_while_candidates_race_take_no_more_than_was_planned(
    write_study: Callable[..., Path],
) -> None:
    race = (
        ("sampler: {name: tpe}", "demos: {sizes: [0, 2], sets: 2}\n  sampler: {name: joint}"),
        ("calls: 100", "calls: 400"),
    )
    path = write_study(TASK, STUDY, *race, items=27)
    plan = load_plan(path)
    shown = {shot.example_id for each in plan.space.demonstration_sets for shot in each.demonstrations}
    unseen = next(example for example in plan.dataset.train if example.id not in shown)
    data = path.with_name("data.csv")
    text = unseen.values["text"]
    data.write_text(data.read_text().replace(f",{text},", f",{text + ' or not' * 200},"))
    plan = load_plan(path)
    assert plan.races
    assert unseen.id in {example.id for example in plan.dataset.train}
    longest = max((*plan.dataset.validation, *plan.dataset.test), key=lambda e: len(e.values["text"]))
    sets, dearer = list(plan.space.demonstration_sets), 0
    for seed in range(200):
        parent = sets[1 + seed % (len(sets) - 1)]
        child = vary(parent, plan.dataset.train, seed, most=2, least=1)
        if child is None:
            continue
        before = len(plan.space.demonstration_sets)
        space = plan.space.grown(demonstration_sets=[child])
        for each in space.demonstration_sets[before:]:
            template = space.render(space.candidate({**space.baseline.point, "demonstrations": each.id}))
            assert template is not None
            tokens = amount_of(template, (longest,), None).tokens
            assert tokens <= plan.bounds.call.tokens
            dearer += tokens > 1000
        sets.append(dataclasses.replace(child, id=f"x{seed:04d}"))
    assert dearer  # the long example came in
