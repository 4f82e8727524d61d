"""The account of a study: begun before it is sent, kept before it is used, and never off by one."""

import dataclasses
import sqlite3
from collections import Counter
from collections.abc import Callable, Container, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.budget import Spent
from optimizer.cache import SHARED, Cache
from optimizer.completion import Completion
from optimizer.ledger import CacheMode, Charge, Ledger
from optimizer.storage import open_storage
from optimizer.store import Store

MODES: tuple[CacheMode, ...] = ("shared", "private", "refresh")
KEYS = ("a", "b", "c")
TABLES = ("ps_call", "ps_failure", "ps_run", "ps_completion")
MOST = Charge(prompt_tokens=100, completion_tokens=16, usd=0.5)
PAID = Charge(prompt_tokens=7, completion_tokens=2, usd=0.25)
RED = Completion(text="red", prompt_tokens=7, completion_tokens=2, seconds=0.5)

keys = st.sampled_from(KEYS)
payers = st.integers(0, 4)
# Dollars and seconds in eighths, which floats add without an error whatever the order.
eighths = st.integers(0, 80).map(lambda n: n / 8)
charges = st.builds(
    Charge, prompt_tokens=st.integers(0, 50), completion_tokens=st.integers(0, 50), usd=eighths
)
reasons = st.sampled_from([None, None, "429", "time-out"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Hold one database for all tests; each has studies of its own in it."""
    with open_storage(tmp_path_factory.mktemp("ledger") / "study.db") as storage:
        yield Store(storage)


@pytest.fixture
def study(store: Store) -> int:
    """Return the number of a study in a database without completions."""
    return new_study(store)


def new_study(store: Store) -> int:
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ps_completion")
    return store.add_study("colours", {})


def begin(ledger: Ledger, key: str, payer: int = 0, most: Charge = MOST) -> None:
    ledger.begin(key, payer, most)
    ledger.commit()


def answer(ledger: Ledger, key: str, completion: Completion = RED, payer: int = 0) -> None:
    """Have one call answered, as a caller does: committed before it is sent, committed before it is used."""
    begin(ledger, key, payer)
    ledger.settle(key, PAID, completion)
    ledger.commit()


def n_paid(ledger: Ledger, payer: int) -> int:
    """Return how many calls a trial pays for."""
    return ledger.account(payer)[0]


def rows(store: Store, table: str, study: int) -> list[dict[str, Any]]:
    """Return what another connection sees of a study."""
    path = str(store.engine.url.database)
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        found = connection.execute(f"SELECT * FROM {table} WHERE study = ? ORDER BY 1, 2", (study,))
        return [dict(row) for row in found]
    finally:
        connection.close()


def recomputed(store: Store, study: int) -> Spent:
    """Return the figures of a study from its tables alone."""
    calls = rows(store, "ps_call", study)
    return Spent(
        calls=len(calls),
        attempts=sum(row["attempts"] for row in calls),
        prompt_tokens=sum(row["prompt_tokens"] for row in calls),
        completion_tokens=sum(row["completion_tokens"] for row in calls),
        usd=sum(row["usd"] for row in calls),
        seconds=sum(row["seconds"] for row in rows(store, "ps_run", study)),
        lost_in_flight=sum(row["lost"] for row in calls),
        lost_tokens=sum(row["lost_tokens"] for row in calls),
        lost_usd=sum(row["lost_usd"] for row in calls),
        failures=Counter(row["reason"] for row in rows(store, "ps_failure", study)),
    )


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that the four tables hold."""
    with store.engine.connect() as connection:
        return {
            table: [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1, 2")]
            for table in TABLES
        }


def test_a_call_is_reserved_in_the_database_before_it_is_sent(store: Store, study: int) -> None:
    ledger = Ledger(store, study)
    assert not ledger.begun("a")
    ledger.begin("a", 4, MOST)
    assert (ledger.begun("a"), ledger.calls, ledger.attempts) == (True, 1, 1)
    assert rows(store, "ps_call", study) == []
    ledger.commit()
    (row,) = rows(store, "ps_call", study)
    assert (row["key"], row["payer"], row["state"], row["attempts"]) == ("a", 4, "sent", 1)
    assert (row["bound_tokens"], row["bound_usd"]) == (116, 0.5)
    assert ledger.charged == Charge()


def test_an_answer_is_found_once_it_is_committed(store: Store, study: int) -> None:
    ledger = Ledger(store, study)
    begin(ledger, "a")
    ledger.settle("a", PAID, RED)
    assert ledger.completions(["a"]) == {}
    assert rows(store, "ps_call", study)[0]["state"] == "sent"
    ledger.commit()
    assert ledger.completions(["a", "b"]) == {"a": RED}
    assert rows(store, "ps_call", study)[0]["state"] == "done"
    assert (ledger.answered("a"), ledger.answered("b")) == (True, False)


def test_every_attempt_of_a_call_is_charged_to_the_same_call(store: Store, study: int) -> None:
    ledger = Ledger(store, study)
    begin(ledger, "a", payer=2)
    ledger.settle("a", Charge(prompt_tokens=5, usd=0.125), None)
    ledger.fail("a", "429", "come back later")
    begin(ledger, "a", payer=1)
    ledger.settle("a", PAID, RED)
    ledger.commit()
    answer(ledger, "b")
    expected = Spent(
        calls=2, attempts=3, prompt_tokens=19, completion_tokens=4, usd=0.625, failures={"429": 1}
    )
    assert ledger.spent() == expected == recomputed(store, study)
    assert ledger.charged == Charge(prompt_tokens=19, completion_tokens=4, usd=0.625)
    assert ledger.spent(cached=3) == dataclasses.replace(expected, cached=3)
    assert ledger.account(2) == (1, Charge(prompt_tokens=12, completion_tokens=2, usd=0.375))
    assert ledger.account(0) == (1, PAID)
    assert ledger.account(1) == (0, Charge())


def test_a_further_attempt_moves_no_account_by_itself(store: Store, study: int) -> None:
    ledger = Ledger(store, study)
    begin(ledger, "a", payer=5)
    ledger.settle("a", Charge(), None)
    begin(ledger, "a", payer=2)
    assert (n_paid(ledger, 5), n_paid(ledger, 2)) == (1, 0)
    ledger.share("a", 3)
    ledger.commit()
    assert (n_paid(ledger, 5), n_paid(ledger, 3)) == (0, 1)


def test_a_call_that_failed_at_last_is_not_answered_and_stays_begun(store: Store, study: int) -> None:
    ledger = Ledger(store, study)
    begin(ledger, "a")
    ledger.settle("a", Charge(), None)
    ledger.fail("a", "time-out", "no answer")
    ledger.commit()
    for each in (ledger, Ledger(store, study)):
        assert (each.begun("a"), each.answered("a"), each.calls) == (True, False, 1)
    assert rows(store, "ps_call", study)[0]["state"] == "failed"
    (failure,) = rows(store, "ps_failure", study)
    assert (failure["key"], failure["reason"], failure["message"]) == ("a", "time-out", "no answer")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=8))
def test_the_earliest_trial_that_uses_a_call_pays_for_it_whatever_the_order(
    store: Store, uses: list[tuple[int, bool]]
) -> None:
    study = new_study(store)
    ledger = Ledger(store, study)
    (first, _), *others = uses
    ledger.begin("a", first, MOST)
    for payer, is_committed in others:
        ledger.share("a", payer)
        if is_committed:
            ledger.commit()
    ledger.commit()
    earliest = min(payer for payer, _ in uses)
    for each in (ledger, Ledger(store, study)):
        assert [n_paid(each, payer) for payer in range(6)] == [int(n == earliest) for n in range(6)]
    later = Ledger(store, study)
    later.share("a", 5)
    later.commit()
    assert n_paid(later, earliest) == 1


def test_nobody_pays_for_a_call_of_another_study(store: Store, study: int) -> None:
    answer(Ledger(store, study), "a")
    other = Ledger(store, store.add_study("colours", {}))
    assert other.completions(["a"]) == {"a": RED}
    other.share("a", 0)
    other.commit()
    assert (other.calls, n_paid(other, 0), other.begun("a"), other.answered("a")) == (0, 0, False, False)
    assert other.spent() == Spent()


def test_what_a_killed_process_had_under_way_is_lost_once(store: Store, study: int) -> None:
    ledger = Ledger(store, study)
    answer(ledger, "a")
    begin(ledger, "b", most=MOST)
    begin(ledger, "c", most=Charge(prompt_tokens=3, usd=0.125))
    ledger.begin("d", 0, MOST)  # never committed, so never sent
    lost = Spent(
        calls=3,
        attempts=3,
        prompt_tokens=7,
        completion_tokens=2,
        usd=0.25,
        lost_in_flight=2,
        lost_tokens=119,
        lost_usd=0.625,
    )
    for _ in range(3):
        ledger = Ledger(store, study)
        assert ledger.spent() == lost == recomputed(store, study)
    assert (ledger.begun("b"), ledger.answered("b"), ledger.begun("d")) == (True, False, False)
    begin(ledger, "b")  # the same call once more
    ledger = Ledger(store, study)
    assert ledger.spent() == dataclasses.replace(
        lost, attempts=4, lost_in_flight=3, lost_tokens=235, lost_usd=1.125
    )
    answer(ledger, "b")
    assert Ledger(store, study).spent().lost_in_flight == 3


def test_what_is_lost_is_not_charged(store: Store, study: int) -> None:
    begin(Ledger(store, study), "a")
    assert Ledger(store, study).charged == Charge()


def test_what_one_study_lost_is_no_loss_of_another(store: Store, study: int) -> None:
    ledger = Ledger(store, study)
    begin(ledger, "a")
    Ledger(store, store.add_study("colours", {}))
    assert rows(store, "ps_call", study)[0]["state"] == "sent"
    assert Ledger(store, study).spent().lost_in_flight == 1


@pytest.mark.parametrize(
    "moment",
    [
        "INSERT ON ps_call",
        "UPDATE OF state ON ps_call",
        "UPDATE OF payer ON ps_call",
        "INSERT ON ps_completion",
        "INSERT ON ps_failure",
        "UPDATE ON ps_run",
    ],
)
def test_a_commit_that_fails_leaves_nothing_and_the_next_one_writes_what_was_answered(
    store: Store, study: int, moment: str
) -> None:
    ledger = Ledger(store, study)
    for key in ("a", "b"):
        begin(ledger, key, payer=5)
    before = contents(store)
    ledger.settle("a", PAID, RED)
    ledger.settle("b", PAID, None)
    ledger.fail("b", "500", "broken")
    ledger.begin("c", 5, MOST)
    ledger.share("a", 1)
    ledger.clock(2.5)
    with store.engine.begin() as connection:
        text = f"CREATE TRIGGER full BEFORE {moment} BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        connection.exec_driver_sql(text)
    with pytest.raises(sa.exc.DBAPIError, match="disk is full"):
        ledger.commit()
    assert contents(store) == before
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    ledger.commit()
    written = contents(store)
    assert ledger.spent() == recomputed(store, study)
    # What was begun is taken back: it was not committed, so it was not sent.
    assert not ledger.begun("c")
    assert (ledger.spent().calls, ledger.spent().failures, ledger.seconds) == (2, {"500": 1}, 2.5)
    assert ledger.completions(["a", "b", "c"]) == {"a": RED}
    assert (n_paid(ledger, 1), n_paid(ledger, 5)) == (1, 1)
    ledger.commit()
    assert contents(store) == written


def test_a_full_disk_takes_nothing_of_a_group(tmp_path: Path) -> None:
    with open_storage(tmp_path / "study.db") as storage:
        store = Store(storage)
        study = store.add_study("colours", {})
        ledger = Ledger(store, study)
        answer(ledger, "a")
        begin(ledger, "b")
        before = contents(store)
        ledger.settle("b", PAID, Completion(text="x" * 2**20))
        ledger.fail("b", "429", "x")
        with store.engine.connect() as connection:
            n_pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

        @sa.event.listens_for(store.engine, "checkout")
        def _confine(connection: Any, *_: object) -> None:
            connection.execute(f"PRAGMA max_page_count = {n_pages + 8}")

        with pytest.raises(sa.exc.OperationalError, match="full"):
            ledger.commit()
        assert contents(store) == before
        assert Ledger(store, study).spent().lost_in_flight == 1


@pytest.mark.parametrize(
    ("giving", "taking", "found"),
    [
        *((giving, "shared", giving != "private") for giving in MODES),
        *((giving, taking, False) for giving, taking in product(MODES, ("private", "refresh"))),
    ],
)
def test_what_a_study_takes_and_gives_is_said_by_its_mode(
    store: Store, study: int, giving: CacheMode, taking: CacheMode, found: bool
) -> None:
    answer(Ledger(store, study, cache=giving), "a")
    other = Ledger(store, store.add_study("colours", {}), cache=taking)
    assert other.completions(["a", "b"]) == ({"a": RED} if found else {})


@pytest.mark.parametrize(("first", "then"), list(product(MODES, MODES)))
def test_a_study_always_takes_what_it_paid_for_itself(
    store: Store, study: int, first: CacheMode, then: CacheMode
) -> None:
    answer(Ledger(store, study, cache=first), "a")
    resumed = Ledger(store, study, cache=then)
    assert resumed.answered("a")
    assert resumed.completions(["a"]) == {"a": RED}


def test_refresh_replaces_what_others_have(store: Store, study: int) -> None:
    answer(Ledger(store, study), "a")
    new = Completion(text="blue")
    refreshing = Ledger(store, store.add_study("colours", {}), cache="refresh")
    answer(refreshing, "a", new)
    assert refreshing.completions(["a"]) == {"a": new}
    third = Ledger(store, store.add_study("colours", {}))
    assert third.completions(["a"]) == {"a": new}


def test_a_private_study_leaves_what_others_have_as_it_is(store: Store, study: int) -> None:
    answer(Ledger(store, study), "a")
    private = Ledger(store, store.add_study("colours", {}), cache="private")
    answer(private, "a", Completion(text="blue"))
    assert private.completions(["a"]) == {"a": Completion(text="blue")}
    assert Ledger(store, store.add_study("colours", {})).completions(["a"]) == {"a": RED}
    assert Ledger(store, study).completions(["a"]) == {"a": RED}
    resumed = Ledger(store, private.study, cache="shared")
    assert resumed.completions(["a", "b"]) == {"a": Completion(text="blue")}


def test_an_answer_that_was_damaged_or_deleted_is_asked_again_as_the_same_call(
    store: Store, study: int
) -> None:
    ledger = Ledger(store, study)
    answer(ledger, "a", payer=3)
    answer(ledger, "b", payer=3)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ps_completion SET completion = '{' WHERE key = 'a'")
        connection.exec_driver_sql("DELETE FROM ps_completion WHERE key = 'b'")
    ledger = Ledger(store, study)
    assert ledger.completions(["a", "b"]) == {}
    assert ledger.spent().damaged == 1
    for key in ("a", "b"):
        answer(ledger, key, payer=9)
    assert ledger.completions(["a", "b"]) == {"a": RED, "b": RED}
    spent = ledger.spent()
    assert (spent.calls, spent.attempts, spent.prompt_tokens) == (2, 4, 28)
    assert (n_paid(ledger, 3), n_paid(ledger, 9)) == (2, 0)


def test_an_answer_is_listed_under_the_name_of_its_model(store: Store, study: int) -> None:
    answer(Ledger(store, study, model="scripted:rules"), "a")
    answer(Ledger(store, study, model="scripted:rules", cache="private"), "b")
    (listed,) = Cache(store).models()
    assert (listed.model, listed.n, listed.private) == ("scripted:rules", 2, 1)
    assert set(Cache(store).completions(["a", "b"], SHARED)) == {"a"}


def test_seconds_add_up_over_runs_and_not_within_one(store: Store, study: int) -> None:
    first = Ledger(store, study)
    for seconds in (1.5, 4.0):
        first.clock(seconds)
        first.commit()
    first.clock(9.0)  # never committed
    assert first.seconds == 9.0
    second = Ledger(store, study)
    assert second.seconds == 4.0
    second.clock(0.5)
    assert second.seconds == 4.5
    second.commit()
    Ledger(store, study).commit()
    assert Ledger(store, study).spent().seconds == 4.5
    assert [row["seconds"] for row in rows(store, "ps_run", study)] == [4.0, 0.5, 0.0, 0.0]


def test_failures_are_counted_by_reason_over_runs(store: Store, study: int) -> None:
    for reasons in (("429", "429", "500"), ("500", "time-out")):
        ledger = Ledger(store, study)
        for reason in reasons:
            begin(ledger, "a")
            ledger.settle("a", Charge(), None)
            ledger.fail("a", reason, "message")
        ledger.commit()
    assert Ledger(store, study).spent().failures == {"429": 2, "500": 2, "time-out": 1}


@pytest.mark.parametrize("message", ["\0", "😀\u2028\r\n", "'); DROP TABLE ps_call; --", "x" * 100_000])
def test_whatever_an_endpoint_says_is_noted_as_it_is(store: Store, study: int, message: str) -> None:
    ledger = Ledger(store, study)
    begin(ledger, "a")
    ledger.settle("a", Charge(), None)
    ledger.fail("a", message, message)
    ledger.commit()
    (failure,) = rows(store, "ps_failure", study)
    assert (failure["reason"], failure["message"]) == (message, message)
    assert Ledger(store, study).spent().failures == {message: 1}


def test_counts_up_to_the_largest_that_is_believed_add_up_exactly(store: Store, study: int) -> None:
    ledger, most = Ledger(store, study), 2**53 - 1
    for n in range(20):
        begin(ledger, f"a{n}")
        ledger.settle(f"a{n}", Charge(prompt_tokens=most, completion_tokens=most), RED)
    ledger.commit()
    for each in (ledger, Ledger(store, study)):
        assert each.charged == Charge(prompt_tokens=20 * most, completion_tokens=20 * most)


@pytest.mark.parametrize(
    ("charged", "ratio"),
    [
        ([], None),
        ([(50, 8)], 0.5),
        ([(50, 8), (0, 0), (100, 16)], 0.5),
    ],
)
def test_the_ratio_of_tokens_to_their_bound_is_that_of_the_calls_that_were_answered(
    store: Store, study: int, charged: list[tuple[int, int]], ratio: float | None
) -> None:
    ledger = Ledger(store, study)
    for n, (read, written) in enumerate(charged):
        begin(ledger, f"a{n}", most=MOST)
        ledger.settle(f"a{n}", Charge(prompt_tokens=read, completion_tokens=written), RED)
    begin(ledger, "under way")
    ledger.commit()
    assert ledger.token_ratio() == ratio


@dataclasses.dataclass
class Account:
    """What a study's account should say; a committed copy is what a killed process leaves."""

    payers: dict[str, int] = dataclasses.field(default_factory=dict)
    state: dict[str, str] = dataclasses.field(default_factory=dict)
    bounds: dict[str, Charge] = dataclasses.field(default_factory=dict)
    attempts: int = 0
    charges: tuple[tuple[str, Charge], ...] = ()
    lost: tuple[Charge, ...] = ()
    failures: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()
    stored: frozenset[str] = frozenset()

    def copy(self) -> "Account":
        return dataclasses.replace(
            self, payers=dict(self.payers), state=dict(self.state), bounds=dict(self.bounds)
        )

    def in_state(self, *states: str) -> list[str]:
        return sorted(key for key, state in self.state.items() if state in states)

    def charged(self, calls: Container[str]) -> Charge:
        paid = [charge for key, charge in self.charges if key in calls]
        return Charge(
            prompt_tokens=sum(charge.prompt_tokens for charge in paid),
            completion_tokens=sum(charge.completion_tokens for charge in paid),
            usd=sum(charge.usd for charge in paid),
        )

    def spent(self) -> Spent:
        return Spent(
            calls=len(self.payers),
            attempts=self.attempts,
            **dataclasses.asdict(self.charged(self.payers)),
            seconds=sum(self.seconds),
            lost_in_flight=len(self.lost),
            lost_tokens=sum(charge.tokens for charge in self.lost),
            lost_usd=sum(charge.usd for charge in self.lost),
            failures=Counter(self.failures),
        )


class Accounting:
    """A caller on one call after another, killed at any moment, and its account kept by hand."""

    def __init__(self, store: Store, cache: CacheMode) -> None:
        self.store, self.study, self.cache = store, new_study(store), cache
        self.now = self.committed = Account()
        self.open()

    def open(self) -> None:
        """Begin a process, after the one before was killed."""
        self.ledger = Ledger(self.store, self.study, cache=self.cache)
        self.now = self.committed.copy()
        for key in self.now.in_state("sent"):
            self.now.state[key] = "lost"
            self.now.lost += (self.now.bounds[key],)
        self.now.seconds += (0.0,)
        self.committed = self.now.copy()
        assert recomputed(self.store, self.study) == self.now.spent()

    def advance(self, key: str, payer: int, charge: Charge, reason: str | None) -> None:
        """Reserve a call that is not under way, send one that is reserved, end one that is sent."""
        state = self.now.state.get(key)
        if state == "reserved":
            self.commit(None)
        elif state == "sent":
            self.settle(key, charge, reason)
        else:
            self.ledger.begin(key, payer, charge)
            self.now.payers.setdefault(key, payer)
            self.now.state[key] = "reserved"
            self.now.bounds[key] = charge
            self.now.attempts += 1

    def settle(self, key: str, charge: Charge, reason: str | None) -> None:
        self.ledger.settle(key, charge, RED if reason is None else None)
        self.now.charges += ((key, charge),)
        self.now.state[key] = "done" if reason is None else "failed"
        if reason is None:
            self.now.stored |= {key}
        else:
            self.ledger.fail(key, reason, "message")
            self.now.failures += (reason,)

    def share(self, key: str, payer: int) -> None:
        self.ledger.share(key, payer)
        if key in self.now.payers:
            self.now.payers[key] = min(self.now.payers[key], payer)

    def commit(self, seconds: float | None) -> None:
        if seconds is not None:
            self.ledger.clock(seconds)
            self.now.seconds = (*self.now.seconds[:-1], seconds)
        self.ledger.commit()
        for key in self.now.in_state("reserved"):
            self.now.state[key] = "sent"
        self.committed = self.now.copy()
        assert recomputed(self.store, self.study) == self.now.spent()
        # A study that refreshes takes what is shared only where it is its own, so not while it asks again.
        found = self.now.stored - (set() if self.cache != "refresh" else set(self.now.state) - self._done())
        assert self.ledger.completions(KEYS) == dict.fromkeys(found, RED)
        for payer in range(5):
            paid = {key for key, first in self.now.payers.items() if first == payer}
            assert self.ledger.account(payer) == (len(paid), self.now.charged(paid))
            assert self.ledger.tally(payer) == (len(paid), len(paid & self._done()))

    def check(self) -> None:
        assert self.ledger.spent() == self.now.spent()
        assert self.ledger.charged.tokens == self.now.spent().tokens
        assert {key for key in KEYS if self.ledger.begun(key)} == set(self.now.payers)
        assert {key for key in KEYS if self.ledger.answered(key)} == self._done()

    def _done(self) -> set[str]:
        return set(self.now.in_state("done"))


Step = Callable[[Accounting], None]


def step_of(method: Callable[..., None], **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.fixed_dictionaries(values).map(lambda drawn: partial(method, **drawn))


steps: st.SearchStrategy[Step] = st.one_of(
    *(
        step_of(Accounting.advance, key=keys, payer=payers, charge=charges, reason=reasons)
        for _ in range(4)  # as often as all else together, or calls would hardly ever end
    ),
    step_of(Accounting.share, key=keys, payer=payers),
    step_of(Accounting.commit, seconds=eighths),
    step_of(Accounting.open),
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MODES), st.lists(steps, min_size=10, max_size=40))
def test_the_figures_equal_those_of_an_account_kept_by_hand(
    store: Store, cache: CacheMode, taken: list[Step]
) -> None:
    accounting = Accounting(store, cache)
    for step in taken:
        step(accounting)
        accounting.check()
