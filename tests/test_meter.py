"""What an attempt may cost, what it did cost, and whether the budget holds another one."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.budget import Budget
from optimizer.completion import Completion, Message, Request
from optimizer.errors import (
    BrokenAnswerError,
    EndpointError,
    OverloadedError,
    RejectedError,
    TransientError,
    UnreachableError,
)
from optimizer.ledger import Charge, Ledger
from optimizer.meter import Meter
from optimizer.pricing import Price
from optimizer.storage import open_storage
from optimizer.store import Store

AMPLE = Budget(calls=100, attempts=200)
IN_MONEY = dataclasses.replace(AMPLE, usd=100.0)

# 16 for the message, 3 for its bytes; 40 written at most.
REQUEST = Request(
    messages=(Message(role="user", content="ét"),), parameters=(("max_tokens", 40), ("temperature", 0.0))
)
READ, WRITTEN = 128 + 16 + 3, 40
UNBOUND = dataclasses.replace(REQUEST, parameters=())


def price(read: int, written: int) -> float:
    """Return a price that floats add without an error."""
    return read / 8 + written / 2


BOUND = Charge(prompt_tokens=READ, completion_tokens=WRITTEN, usd=price(READ, WRITTEN))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_storage(tmp_path_factory.mktemp("meter") / "study.db") as storage:
        yield Store(storage)


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store, store.add_study("colours", {}))


def charged(ledger: Ledger, *charges: Charge) -> Ledger:
    """Return the account after attempts that were charged so."""
    for number, charge in enumerate(charges):
        ledger.begin(f"paid {number}", 0, charge)
        ledger.settle(f"paid {number}", charge, Completion(text="x"))
    return ledger


# ---- What an attempt may be charged ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "priced", "bound"),
    [
        (AMPLE, None, Charge(prompt_tokens=READ, completion_tokens=WRITTEN)),
        # A price takes a while to look up, and bounds of money matter to a budget in money alone.
        (AMPLE, price, Charge(prompt_tokens=READ, completion_tokens=WRITTEN)),
        (IN_MONEY, price, BOUND),
    ],
)
def test_an_attempt_may_be_charged_its_bytes_and_all_it_may_write(
    ledger: Ledger, budget: Budget, priced: Price | None, bound: Charge
) -> None:
    assert Meter(ledger, budget, priced).most(REQUEST) == bound


def test_of_an_answer_without_a_bound_what_is_read_is_known(ledger: Ledger) -> None:
    assert Meter(ledger, AMPLE).most(UNBOUND) == Charge(prompt_tokens=READ)


# ---- What an attempt is charged -------------------------------------------------------------------------------------


def broken(**told: int) -> TransientError:
    return BrokenAnswerError("half", reason="half a body", billable=True, **told)


@pytest.mark.parametrize(
    ("outcome", "tokens"),
    [
        (Completion(text="x", prompt_tokens=9, completion_tokens=2), (9, 2)),
        (Completion(text="", finish_reason="refused", prompt_tokens=9), (9, 0)),
        (Completion(text="x"), (READ, WRITTEN)),  # an answer that does not say what it used
        (broken(prompt_tokens=9, completion_tokens=2), (9, 2)),
        (broken(prompt_tokens=0, completion_tokens=0), (0, 0)),
        (broken(), (READ, WRITTEN)),
        (broken(prompt_tokens=9), (9, WRITTEN)),
        (Completion(text="x", prompt_tokens=9), (9, WRITTEN)),
        (UnreachableError("late", reason="time-out", billable=True), (READ, WRITTEN)),
        (UnreachableError("no", reason="refused"), (0, 0)),
        (OverloadedError("later", reason="429"), (0, 0)),
        (OverloadedError("later", reason="500", prompt_tokens=9, completion_tokens=2), (0, 0)),
        (RejectedError("too long"), (0, 0)),
        (EndpointError("wrong key"), (0, 0)),
        (ZeroDivisionError("a bug"), (0, 0)),
    ],
)
@pytest.mark.parametrize("budget", [AMPLE, IN_MONEY], ids=["calls", "money"])
def test_an_attempt_is_charged_what_it_states_or_else_what_may_be_billed(
    ledger: Ledger, budget: Budget, outcome: Completion | Exception, tokens: tuple[int, int]
) -> None:
    meter = Meter(ledger, budget, price)
    read, written = tokens
    expected = Charge(prompt_tokens=read, completion_tokens=written, usd=price(read, written))
    assert meter.charge(outcome, meter.most(REQUEST)) == expected


def test_where_no_price_is_known_tokens_are_charged_and_no_money(ledger: Ledger) -> None:
    meter = Meter(ledger, AMPLE)
    charge = meter.charge(Completion(text="x", prompt_tokens=9, completion_tokens=2), BOUND)
    assert charge == Charge(prompt_tokens=9, completion_tokens=2)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(("priced", "cost"), [(None, None), (price, price(9, 2)), (lambda _r, _w: 0.0, 0.0)])
def test_a_completion_is_told_what_it_costs_and_who_paid(
    ledger: Ledger, cached: bool, priced: Price | None, cost: float | None
) -> None:
    plain = Completion(text="x", prompt_tokens=9, completion_tokens=2, seconds=1.5)
    told = Meter(ledger, AMPLE, priced).priced(plain, key="k", cached=cached)
    assert told == dataclasses.replace(plain, cost_usd=cost, cached=cached)
    assert told.key == "k"


@pytest.mark.parametrize(("read", "written"), [(0, 0), (0, 2)])
def test_what_an_answer_without_usage_costs_is_not_known(ledger: Ledger, read: int, written: int) -> None:
    silent = Completion(text="x", prompt_tokens=read, completion_tokens=written)
    assert Meter(ledger, IN_MONEY, price).priced(silent, key="k", cached=False).cost_usd is None
    filtered = Completion(text="", finish_reason="refused")
    assert Meter(ledger, IN_MONEY, price).priced(filtered, key="k", cached=False).cost_usd == 0


def test_a_price_is_looked_up_once_for_each_pair_of_counts(ledger: Ledger) -> None:
    asked: list[tuple[int, int]] = []

    def slow(read: int, written: int) -> float:
        asked.append((read, written))
        return price(read, written)

    meter = Meter(ledger, IN_MONEY, slow)
    for _ in range(3):
        meter.most(REQUEST)
        meter.priced(Completion(text="x", prompt_tokens=9, completion_tokens=2), key="k", cached=False)
    assert asked == [(READ, WRITTEN), (9, 2)]


# ---- Whether the budget holds another one ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "request_", "refusal"),
    [
        (Budget(calls=3, attempts=3), REQUEST, None),
        (Budget(calls=2, attempts=3), REQUEST, "the budget of 2 calls is spent"),
        (Budget(calls=3, attempts=2), REQUEST, "the budget of 2 attempts is spent"),
        (Budget(calls=3, attempts=3, seconds=7.6), REQUEST, None),
        (Budget(calls=3, attempts=3, seconds=7.5), REQUEST, "the budget of 7.5 seconds is spent"),
        (
            Budget(calls=3, attempts=3, tokens=10),
            REQUEST,
            None,
        ),  # whether it affords them is another question
        (Budget(calls=3, attempts=3), UNBOUND, None),
        (Budget(calls=3, attempts=3, tokens=10**9), UNBOUND, "needs max_tokens"),
        (Budget(calls=3, attempts=3, usd=1e9), UNBOUND, "needs max_tokens"),
        (Budget(calls=0, attempts=9), REQUEST, "the budget of 0 calls is spent"),
    ],
)
def test_a_call_is_refused_when_the_budget_will_never_hold_it(
    ledger: Ledger, budget: Budget, request_: Request, refusal: str | None
) -> None:
    charged(ledger, Charge(), Charge()).clock(7.5)
    refused = Meter(ledger, budget, price).refusal("new", request_)
    assert (refused is None) == (refusal is None)
    assert refusal is None or refusal in str(refused)


def test_a_call_that_was_begun_is_no_further_call_and_is_a_further_attempt(ledger: Ledger) -> None:
    charged(ledger, Charge(), Charge())
    assert Meter(ledger, Budget(calls=2, attempts=3)).refusal("paid 1", REQUEST) is None
    refused = Meter(ledger, Budget(calls=2, attempts=2)).refusal("paid 1", REQUEST)
    assert str(refused) == "the budget of 2 attempts is spent"


@pytest.mark.parametrize(
    ("tokens", "usd", "fits"),
    [
        (None, None, True),
        (100 + 3 * 10, None, True),
        (100 + 3 * 10 - 1, None, False),
        (None, 4.0 + 3 * 0.5, True),
        (None, 4.0 + 3 * 0.5 - 0.125, False),
        (130, 5.5, True),
        (129, 5.5, False),
        (130, 5.375, False),
    ],
)
def test_what_is_under_way_counts_at_its_bound(
    ledger: Ledger, tokens: int | None, usd: float | None, fits: bool
) -> None:
    charged(ledger, Charge(prompt_tokens=60, completion_tokens=40, usd=4.0))
    one = Charge(prompt_tokens=6, completion_tokens=4, usd=0.5)
    meter = Meter(ledger, Budget(calls=9, attempts=9, tokens=tokens, usd=usd), price)
    assert (meter.shortage([one, one, one]) is None) == fits


@pytest.mark.parametrize("in_money", [False, True], ids=["tokens", "money"])
@pytest.mark.parametrize("resumed", [False, True])
def test_once_an_answer_was_longer_than_its_bound_so_may_be_every_other(
    store: Store, in_money: bool, resumed: bool
) -> None:
    study = store.add_study("thoughtful", {})
    ledger = Ledger(store, study)
    limits = {"usd": 2100.0} if in_money else {"tokens": 4300}
    budget = dataclasses.replace(AMPLE, **limits)
    meter = Meter(ledger, budget, price)
    most = meter.most(REQUEST)
    assert meter.shortage([most] * 2) is None

    ledger.begin("a", 0, most)
    ledger.commit()
    thought = Completion(text="x", prompt_tokens=9, completion_tokens=2000)
    ledger.settle("a", meter.charge(thought, most), thought)
    ledger.commit()
    if resumed:
        meter = Meter(Ledger(store, study), budget, price)
    assert meter.most(REQUEST) == most  # it is not the request that has another bound
    assert meter.shortage([most]) is None
    told = (
        "1099 of 2100 US dollars, and it may cost 2037"
        if in_money
        else "2,291 of 4,300 tokens, and it may take 4,294"
    )
    assert str(meter.shortage([most] * 2)) == f"what is left of the budget cannot hold one more call: {told}"
    late = UnreachableError("late", reason="time-out", billable=True)
    assert meter.charge(late, most).completion_tokens == 2000


def test_a_long_answer_within_its_bound_is_no_measure_of_those_of_shorter_bounds(
    store: Store,
) -> None:
    study = store.add_study("styles", {})
    ledger, budget = Ledger(store, study), dataclasses.replace(AMPLE, tokens=5000)
    long = dataclasses.replace(REQUEST, parameters=(("max_tokens", 2000),))
    meter = Meter(ledger, budget)
    answer = Completion(text="x", prompt_tokens=9, completion_tokens=2000)
    ledger.begin("a", 0, meter.most(long))
    ledger.commit()
    ledger.settle("a", meter.charge(answer, meter.most(long)), answer)
    ledger.commit()
    for each in (meter, Meter(Ledger(store, study), budget)):
        assert each.shortage([each.most(REQUEST)] * 10) is None


counts = st.integers(0, 30)
charges = st.builds(
    Charge, prompt_tokens=counts, completion_tokens=counts, usd=st.integers(0, 40).map(lambda n: n / 8)
)


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(0, 200),
    usd=st.integers(0, 200).map(lambda n: n / 8),
    bounds=st.lists(charges, max_size=12),
    share=st.sampled_from((0.0, 0.5, 1.0)),
)
def test_whoever_sends_only_what_is_afforded_never_spends_more_than_the_budget(
    store: Store, tokens: int, usd: float, bounds: Sequence[Charge], share: float
) -> None:
    ledger = Ledger(store, store.add_study("law", {}))
    meter = Meter(ledger, Budget(calls=99, attempts=99, tokens=tokens, usd=usd), price)
    under_way: list[tuple[str, Charge]] = []

    def end(key: str, bound: Charge) -> None:
        scaled: Callable[[float], int] = lambda n: int(share * n)  # noqa: E731
        used = Charge(
            prompt_tokens=scaled(bound.prompt_tokens),
            completion_tokens=scaled(bound.completion_tokens),
            usd=share * bound.usd,
        )
        ledger.settle(key, used, Completion(text="x"))

    for number, bound in enumerate(bounds):
        while under_way and meter.shortage([*(each for _, each in under_way), bound]):
            end(*under_way.pop(0))
        if meter.shortage([*(each for _, each in under_way), bound]) is None:
            ledger.begin(str(number), 0, bound)
            under_way.append((str(number), bound))
        at_most = sum(each.tokens for _, each in under_way), sum(each.usd for _, each in under_way)
        assert ledger.charged.tokens + at_most[0] <= tokens
        assert ledger.charged.usd + at_most[1] <= usd
    for one in under_way:
        end(*one)
    assert ledger.charged.tokens <= tokens
    assert ledger.charged.usd <= usd
