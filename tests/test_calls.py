"""The one way to a model: stored answers, turns, budget, retries, outages, accounts, and stopping without loss.

Everything runs on virtual time, so a wait of minutes takes none. A server is a script that says, at the moment a
request arrives, what becomes of it.
"""

import asyncio
import dataclasses
import random
import sqlite3
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.budget import Budget
from optimizer.calls import NO_TRIAL, Caller
from optimizer.completion import Capabilities, Completion, Constraint, Message, Model, Request
from optimizer.errors import (
    BrokenAnswerError,
    BudgetError,
    EndpointError,
    InterruptedRunError,
    ModelError,
    OptimizerError,
    OutageError,
    OverloadedError,
    RejectedError,
    TransientError,
    UnreachableError,
)
from optimizer.ledger import CacheMode, Ledger
from optimizer.models import Connection
from optimizer.models.scripted import Scripted
from optimizer.pacing import Pace
from optimizer.patience import CONTACT_SECONDS, DEADLINE_SECONDS, PAGE
from optimizer.pricing import Price
from optimizer.retry import BASE_SECONDS, CAP_SECONDS, FLOOR_SECONDS
from optimizer.storage import open_storage
from optimizer.store import Store

if TYPE_CHECKING:
    from tests.virtual_clock import RunVirtual

AMPLE = Budget(calls=10_000, attempts=100_000)


# ---- The stage ------------------------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """A request that arrived: its text, which attempt at it this is, from 1, and when it came."""

    text: str
    attempt: int
    at: float


Said = str | Completion | BaseException


def echo(sent: Sent) -> Said:
    return sent.text


@dataclass
class Server:
    """A model on virtual time.

    Attributes:
        act: What becomes of a request, decided when it arrives.
        seconds: How long the answer takes.
    """

    act: Callable[[Sent], Said] = echo
    seconds: float | Callable[[Sent], float] = 0.05
    sent: list[Sent] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    attempts: Counter[str] = field(default_factory=Counter)

    @property
    def texts(self) -> list[str]:
        return [sent.text for sent in self.sent]

    async def complete(self, request: Request) -> Completion:
        text = request.messages[-1].content
        self.attempts[text] += 1
        sent = Sent(text, self.attempts[text], asyncio.get_running_loop().time())
        self.sent.append(sent)
        said = self.act(sent)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.seconds if isinstance(self.seconds, int | float) else self.seconds(sent))
        finally:
            self.under_way -= 1
        if isinstance(said, BaseException):
            raise said
        return Completion(text=said, prompt_tokens=5, completion_tokens=2) if isinstance(said, str) else said


def ask(text: str, **parameters: float) -> Request:
    message = Message(role="user", content=text)
    return Request(messages=(message,), parameters=tuple(sorted(parameters.items())))


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A study of its own in a database, and an event loop on virtual time to run it on."""

    store: Store
    study: int
    run: "RunVirtual"

    def ledger(self, study: int | None = None, *, cache: CacheMode = "shared") -> Ledger:
        """Return the account of a study as a process opens it."""
        return Ledger(self.store, study or self.study, model="scripted:rules", cache=cache)

    def caller(
        self,
        model: Model,
        *,
        ledger: Ledger | None = None,
        identity: Mapping[str, object] | None = None,
        budget: Budget = AMPLE,
        limit: int = 4,
        requests_per_minute: float | None = None,
        price: Price | None = None,
    ) -> Caller:
        """Return what a process calls with; unless it says otherwise, the model is the study's own."""
        return Caller(
            Connection(
                model=model,
                identity=identity or {"name": "scripted", "study": self.study},
                capabilities=Capabilities(),
            ),
            ledger or self.ledger(),
            budget=budget,
            pace=Pace(start=limit, most=limit, requests_per_minute=requests_per_minute),
            price=price,
        )

    def look(self, query: str) -> list[tuple[Any, ...]]:
        """Return what another process would read at this moment; `?` is the study."""
        connection = sqlite3.connect(str(self.store.engine.url.database))
        try:
            return connection.execute(query, (self.study,)).fetchall()
        finally:
            connection.close()

    def stored(self) -> set[str]:
        """Return the texts of the completions that are committed for calls of the study."""
        query = "SELECT json_extract(completion, '$.text') FROM ps_completion JOIN ps_call USING (key)"
        return {str(text) for (text,) in self.look(f"{query} WHERE study = ?")}

    @contextmanager
    def commits(self) -> Iterator[list[float]]:
        """Collect the times of the transactions that are written."""
        times: list[float] = []

        def note(_connection: sa.Connection) -> None:
            times.append(now())

        sa.event.listen(self.store.engine, "commit", note)
        try:
            yield times
        finally:
            sa.event.remove(self.store.engine, "commit", note)

    @contextmanager
    def unwritable(self, table: str) -> Iterator[None]:
        """Have the database refuse new rows of a table, as a full disk would."""
        trigger = f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        with self.store.engine.begin() as connection:
            connection.exec_driver_sql(trigger)
        try:
            yield
        finally:
            with self.store.engine.begin() as connection:
                connection.exec_driver_sql("DROP TRIGGER full_disk")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_storage(tmp_path_factory.mktemp("calls") / "study.db") as storage:
        yield Store(storage)


@pytest.fixture
def desk(store: Store, run_virtual: "RunVirtual") -> Desk:
    return Desk(store=store, study=store.add_study("colours", {}), run=run_virtual)


async def outcomes(
    caller: Caller, texts: Sequence[str], **parameters: float
) -> dict[str, Completion | BaseException]:
    """Ask for all at once and return what came of each."""
    asked = (caller.complete(ask(text, **parameters)) for text in texts)
    return dict(zip(texts, await asyncio.gather(*asked, return_exceptions=True), strict=True))


def kinds(found: Mapping[str, Completion | BaseException]) -> Counter[str]:
    return Counter(type(outcome).__name__ for outcome in found.values())


def numbered(n: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number}" for number in range(n)]


def now() -> float:
    return asyncio.get_running_loop().time()


# ---- Stored answers -------------------------------------------------------------------------------------------------


def test_an_answer_is_asked_for_once_and_then_read_from_the_store(desk: Desk) -> None:
    async def main() -> None:
        server = Server()
        caller = desk.caller(server)
        first, second = await caller.complete(ask("a")), await caller.complete(ask("a"))
        assert first == second
        assert (caller.spent.calls, caller.spent.attempts, caller.spent.cached) == (1, 1, 1)
        again = desk.caller(server)
        assert await again.complete(ask("a")) == first
        assert server.texts == ["a"]
        assert (again.spent.calls, again.spent.attempts, again.spent.cached) == (1, 1, 1)

    desk.run(main())


@pytest.mark.parametrize(
    "other",
    [
        ask("b"),
        ask("a", temperature=1.0),
        dataclasses.replace(ask("a"), repeat=1),
        Request(messages=(Message(role="system", content="a"),)),
        Request(messages=(*ask("a").messages, Message(role="assistant", content="x"))),
        Request(messages=ask("a").messages, constraint=Constraint(choice=("a",))),
        Request(messages=ask("a").messages, constraint=Constraint(json_schema="{}")),
    ],
    ids=["text", "parameters", "repeat", "role", "prefill", "choice", "schema"],
)
def test_a_request_that_differs_in_anything_is_another(desk: Desk, other: Request) -> None:
    async def main() -> None:
        model = Scripted(lambda _: "x")
        caller = desk.caller(model)
        await asyncio.gather(*(caller.complete(request) for request in (ask("a"), other, ask("a"), other)))
        assert model.requests == [ask("a"), other]
        assert caller.spent.calls == 2

    desk.run(main())


def test_what_the_provider_sends_decides_and_not_what_it_was_asked(desk: Desk) -> None:
    async def main() -> None:
        model, bodies = Scripted(lambda _: "x"), {"a": {"said": 1}, "b": {"said": 1}, "c": {"said": 2}}
        connection = Connection(
            model=model,
            identity={"study": desk.study},
            capabilities=Capabilities(),
            body=lambda request: bodies[request.messages[-1].content],
        )
        caller = Caller(connection, desk.ledger(), budget=AMPLE, pace=Pace(start=1, most=1), price=None)
        for text in "abc":
            await caller.complete(ask(text))
        assert model.requests == [ask("a"), ask("c")]

    desk.run(main())


def test_the_answers_of_one_model_are_not_those_of_another(desk: Desk) -> None:
    async def main() -> None:
        async def answer(said: str, identity: Mapping[str, object]) -> str:
            caller = desk.caller(Scripted(lambda _: said), identity=identity)
            return (await caller.complete(ask("a"))).text

        assert await answer("one", {"name": desk.study, "url": "a"}) == "one"
        assert await answer("other", {"name": desk.study, "url": "b"}) == "other"
        assert await answer("third", {"url": "a", "name": desk.study}) == "one"

    desk.run(main())


def test_equal_requests_at_once_are_sent_once_at_every_stage_of_the_first(desk: Desk) -> None:
    async def main() -> None:
        server = Server(
            lambda sent: OverloadedError("no", reason="500") if sent.attempt == 1 else "x", seconds=1.0
        )
        caller = desk.caller(server, limit=1)

        async def after(seconds: float) -> Completion:
            await asyncio.sleep(seconds)
            return await caller.complete(ask("a"))

        busy = asyncio.ensure_future(caller.complete(ask("before")))
        # Asked while it is queued, on the wire, waiting for its second attempt, and on the wire again.
        answers = await asyncio.gather(*(after(0.25 * n) for n in range(20)))
        await busy
        assert {answer.text for answer in answers} == {"x"}
        assert server.attempts == {"a": 2, "before": 2}
        assert caller.spent.calls == 2

    desk.run(main())


def test_half_of_a_surrogate_pair_in_an_answer_is_replaced_and_the_answer_kept(desk: Desk) -> None:
    async def main() -> None:
        caller = desk.caller(Server(lambda _: "red \ud83d and \ud83d\ude00"))
        answer = await caller.complete(ask("a"))
        assert answer.text == "red \ufffd and \U0001f600"
        assert await caller.complete(ask("a")) == answer

    desk.run(main())


def test_half_of_a_surrogate_pair_in_a_request_or_an_error_does_no_harm(desk: Desk) -> None:
    async def main() -> None:
        said = OverloadedError("half \ud83d a character", reason="500")
        server = Server(lambda sent: said if sent.attempt == 1 else "fine")
        caller = desk.caller(server)
        assert (await caller.complete(ask("\ud83d"))).text == "fine"
        assert caller.spent.failures == {"500": 1}

    desk.run(main())


def test_an_answer_that_another_study_paid_for_is_marked_and_costs_nothing(desk: Desk) -> None:
    one, other = desk.store.add_study("one", {}), desk.store.add_study("other", {})
    identity = {"name": "shared", "studies": [one, other]}

    async def main() -> None:
        server = Server()

        def price(read: int, written: int) -> float:
            return read + 10.0 * written

        first = desk.caller(server, ledger=desk.ledger(one), identity=identity, price=price)
        fresh = await first.complete(ask("a"))
        kept = await first.complete(ask("a"))
        second = desk.caller(server, ledger=desk.ledger(other), identity=identity, price=price)
        taken = await second.complete(ask("a"))
        assert (fresh.cached, kept.cached, taken.cached) == (False, False, True)
        assert (fresh.cost_usd, kept.cost_usd, taken.cost_usd) == (25.0, 25.0, 25.0)
        assert (first.spent.usd, second.spent.usd) == (25.0, 0.0)
        assert (second.spent.calls, second.spent.attempts, second.spent.cached) == (0, 0, 1)
        assert len(server.sent) == 1

    desk.run(main())


@pytest.mark.parametrize(
    ("mode", "takes", "gives"),
    [("shared", "old", "old"), ("private", "new", "old"), ("refresh", "new", "new")],
)
def test_what_is_taken_from_other_studies_and_given_to_them_is_said_by_the_mode(
    desk: Desk, mode: CacheMode, takes: str, gives: str
) -> None:
    first, middle, last = (desk.store.add_study(name, {}) for name in ("first", "middle", "last"))
    identity = {"name": mode, "studies": [first, middle, last]}

    async def main() -> None:
        async def answer(study: int, said: str, cache: CacheMode = "shared") -> Completion:
            caller = desk.caller(
                Scripted(lambda _: said), ledger=desk.ledger(study, cache=cache), identity=identity
            )
            return await caller.complete(ask("a"))

        await answer(first, "old")
        taken = await answer(middle, "new", mode)
        assert taken.text == takes
        assert taken.cached == (takes == "old")
        # Its own answer is always used again, whatever the mode of the later run, as that of the first one is.
        for again in (mode, "shared"):
            assert (await answer(middle, "newest", again)).text == takes
        assert (await answer(last, "last")).text == gives

    desk.run(main())


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE ps_completion SET completion = substr(completion, 1, 9)",
        "UPDATE ps_completion SET completion = X'800249'",
        "UPDATE ps_completion SET checksum = 'x'",
        "DELETE FROM ps_completion",
    ],
    ids=["cut", "binary", "checksum", "gone"],
)
def test_an_answer_that_cannot_be_read_is_asked_again_as_the_same_call(desk: Desk, damage: str) -> None:
    async def main() -> None:
        budget = Budget(calls=1, attempts=2)
        server = Server(lambda sent: f"answer {sent.attempt}")
        await desk.caller(server, budget=budget).complete(ask("a"))
        with desk.store.engine.begin() as connection:
            connection.exec_driver_sql(
                f"{damage} WHERE key IN (SELECT key FROM ps_call WHERE study = ?)", (desk.study,)
            )
        caller = desk.caller(server, budget=budget)
        answer = await caller.complete(ask("a"))
        assert (answer.text, answer.cached) == ("answer 2", False)
        assert (caller.spent.calls, caller.spent.attempts, caller.spent.cached) == (1, 2, 0)
        assert caller.spent.damaged == (0 if damage.startswith("DELETE") else 1)
        assert (await caller.complete(ask("a"))).text == "answer 2"

    desk.run(main())


# ---- Turns: reserved before it is sent, committed before it is used ----------------------------------------------------


def test_a_call_is_reserved_in_the_database_before_it_is_sent(desk: Desk) -> None:
    seen: list[tuple[Any, ...]] = []

    def arrives(sent: Sent) -> Said:
        query = "SELECT state, attempts, payer, bound_tokens FROM ps_call WHERE study = ? ORDER BY rowid"
        seen.append(tuple(desk.look(query)))
        return OverloadedError("no", reason="500") if sent.attempt == 1 else "x"

    async def main() -> None:
        caller = desk.caller(Server(arrives))
        await caller.complete(ask("a", max_tokens=3), 7)
        await caller.complete(ask("bb"), 8)

    desk.run(main())
    a, b = 128 + 16 + 1 + 3, 128 + 16 + 2
    assert seen[0] == (("sent", 1, 7, a),)
    assert seen[1] == (("sent", 2, 7, a),)
    assert seen[2] == (("done", 2, 7, a), ("sent", 1, 8, b))


@pytest.mark.parametrize("limit", [1, 64])
def test_an_answer_is_in_the_database_before_anyone_has_it(desk: Desk, limit: int) -> None:
    async def main() -> None:
        caller = desk.caller(Server(), limit=limit)

        async def use(text: str) -> None:
            answer = await caller.complete(ask(text))
            assert answer.text in desk.stored()
            query = "SELECT count(*) FROM ps_call WHERE study = ? AND state = 'done'"
            assert desk.look(query)[0][0] == len(desk.stored())

        await asyncio.gather(*(use(text) for text in numbered(100)))

    desk.run(main())


def test_what_was_under_way_when_the_process_died_is_sent_again_as_the_same_call(desk: Desk) -> None:
    async def die() -> None:
        caller = desk.caller(Server(seconds=60.0), limit=2)
        for text in ("a", "bb", "c"):
            asyncio.ensure_future(caller.complete(ask(text, max_tokens=5), 2)).add_done_callback(
                lambda done: done.cancelled() or done.exception()
            )
        await asyncio.sleep(1)

    async def resume() -> None:
        server = Server()
        budget = Budget(calls=2, attempts=4)
        caller = desk.caller(server, budget=budget)
        spent = caller.spent
        assert (spent.calls, spent.attempts, spent.lost_in_flight) == (2, 2, 2)
        assert spent.lost_tokens == (128 + 16 + 1 + 5) + (128 + 16 + 2 + 5)
        assert spent.tokens == 0
        found = await outcomes(caller, ("a", "bb", "c"), max_tokens=5)
        assert isinstance(found["c"], BudgetError)  # it had not been begun
        assert sorted(server.texts) == ["a", "bb"]
        assert (caller.spent.calls, caller.spent.attempts, caller.spent.lost_in_flight) == (2, 4, 2)

    desk.run(die())
    desk.run(resume())


def test_many_answers_share_a_transaction_and_none_waits_long_for_it(desk: Desk) -> None:
    async def main() -> None:
        rng = random.Random(0)
        ends: dict[str, float] = {}

        def seconds(sent: Sent) -> float:
            took = rng.uniform(0.03, 0.07)
            ends[sent.text] = sent.at + took
            return took

        caller = desk.caller(Server(seconds=seconds), limit=64)
        waits: list[float] = []

        async def one(text: str) -> None:
            await caller.complete(ask(text))
            waits.append(now() - ends[text])

        with desk.commits() as written:
            await asyncio.gather(*(one(text) for text in numbered(1000)))
        assert len(written) < 1000 / 8
        assert max(waits) <= 0.02 + 1e-9

    desk.run(main())


@pytest.mark.parametrize("limit", [1, 8])
def test_few_requests_wait_for_no_other(desk: Desk, limit: int) -> None:
    async def main() -> None:
        caller = desk.caller(Server(seconds=0.5), limit=limit)
        await outcomes(caller, numbered(10 * limit))
        assert now() == pytest.approx(10 * 0.5, abs=1e-6)

    desk.run(main())


def test_an_answer_that_cannot_be_committed_is_handed_to_nobody_and_everybody_hears_of_it(desk: Desk) -> None:
    async def main() -> None:
        server = Server(seconds=lambda sent: 1.0 if sent.text in "ab" else 2.0)
        caller = desk.caller(server, limit=3)
        work = asyncio.ensure_future(outcomes(caller, ("a", "b", "late", "queued")))
        await asyncio.sleep(0.5)
        with desk.unwritable("ps_completion"):
            found = await work
            assert now() == pytest.approx(1.0)
            for outcome in found.values():
                assert isinstance(outcome, sa.exc.DBAPIError)
                assert "disk is full" in str(outcome)
            await asyncio.sleep(2)
            assert sorted(server.texts) == ["a", "b", "late"]
            assert desk.stored() == set()
            assert isinstance((await outcomes(caller, ("new",)))["new"], sa.exc.DBAPIError)
        # Nothing more is sent, even if there is room on the disk again.
        assert isinstance((await outcomes(caller, ("newer",)))["newer"], sa.exc.DBAPIError)
        assert sorted(server.texts) == ["a", "b", "late"]
        # What was answered is not lost as long as the process lives.
        await caller.close()
        assert desk.stored() == {"a", "b", "late"}
        again = desk.caller(server)
        assert (again.spent.calls, again.spent.attempts, again.spent.lost_in_flight) == (3, 3, 0)

    desk.run(main())


def test_a_call_that_cannot_be_reserved_is_not_sent(desk: Desk) -> None:
    async def main() -> None:
        server = Server()
        caller = desk.caller(server)
        with desk.unwritable("ps_call"):
            found = await outcomes(caller, ("a", "b"))
        assert {type(outcome) for outcome in found.values()} == {sa.exc.IntegrityError}
        await caller.close()
        assert server.sent == []
        assert (caller.spent.calls, caller.spent.attempts) == (0, 0)
        assert desk.ledger().spent().lost_in_flight == 0

    desk.run(main())


# ---- The budget -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 4, 64])
def test_a_call_beyond_the_budget_is_refused_and_not_sent(desk: Desk, limit: int) -> None:
    async def main() -> None:
        server = Server()
        caller = desk.caller(server, budget=Budget(calls=5, attempts=99), limit=limit)
        found = await outcomes(caller, numbered(20))
        assert kinds(found) == {"Completion": 5, "BudgetError": 15}
        assert {str(error) for error in found.values() if isinstance(error, BudgetError)} == {
            "the budget of 5 calls is spent"
        }
        assert len(server.sent) == 5
        assert (await caller.complete(ask("3"))).text == "3"  # what is there costs nothing
        assert caller.spent.calls == 5

    desk.run(main())


def test_attempts_are_bounded_by_themselves(desk: Desk) -> None:
    async def main() -> None:
        server = Server(lambda _: OverloadedError("no", reason="500"))
        caller = desk.caller(server, budget=Budget(calls=5, attempts=3))
        with pytest.raises(BudgetError, match="3 attempts"):
            await caller.complete(ask("a"))
        assert len(server.sent) == 3
        assert (caller.spent.calls, caller.spent.attempts) == (1, 3)

    desk.run(main())


# A request reads at most 128 + 16 + 1 tokens and writes 10; it is charged 5 + 2. So the budget of 500 holds one more as
# long as 7 n + 155 <= 500, which is up to n = 49.
@pytest.mark.parametrize("limit", [1, 3, 64])
@pytest.mark.parametrize("in_money", [False, True])
def test_tokens_and_money_are_reserved_at_their_bound_and_charged_as_stated(
    desk: Desk, limit: int, in_money: bool
) -> None:
    async def main() -> None:
        server = Server()
        tokens = Budget(calls=99, attempts=199, tokens=500)
        budget = Budget(calls=99, attempts=199, usd=500.0) if in_money else tokens
        caller = desk.caller(
            server,
            budget=budget,
            limit=limit,
            price=lambda read, written: float(read + written),
        )
        found = await outcomes(caller, list(string.ascii_letters), max_tokens=10)
        assert kinds(found) == {"Completion": 50, "BudgetError": 2}
        assert server.most_under_way == min(limit, 3)
        assert (caller.spent.tokens, caller.spent.usd) == (350, 350.0)

    desk.run(main())


def test_a_budget_in_tokens_holds_for_what_was_wasted_too(desk: Desk) -> None:
    async def main() -> None:
        wasted = BrokenAnswerError("half", reason="half a body", billable=True)
        stated = BrokenAnswerError(
            "no", reason="no choices", billable=True, prompt_tokens=9, completion_tokens=4
        )
        free = OverloadedError("no", reason="500")
        said: dict[int, Said] = {1: wasted, 2: free, 3: stated}
        server = Server(lambda sent: said.get(sent.attempt, "x"))
        budget = Budget(calls=9, attempts=99, tokens=155 + 13 + 7 + 154)
        caller = desk.caller(server, budget=budget)
        await caller.complete(ask("a", max_tokens=10))
        assert caller.spent.tokens == 155 + 13 + 7
        with pytest.raises(BudgetError, match="cannot hold one more call"):
            await caller.complete(ask("b", max_tokens=10))
        assert caller.spent.failures == {"half a body": 1, "500": 1, "no choices": 1}

    desk.run(main())


@pytest.mark.parametrize("limit", [1, 4])
def test_a_budget_in_tokens_holds_where_thoughts_are_not_held_by_the_bound(desk: Desk, limit: int) -> None:
    async def main() -> None:
        thought = Completion(text="x", prompt_tokens=5, completion_tokens=2000)
        server = Server(lambda _sent: thought)
        budget = Budget(calls=99, attempts=99, tokens=20_000)
        found = await outcomes(
            desk.caller(server, budget=budget, limit=limit), list(string.ascii_letters), max_tokens=10
        )
        assert kinds(found) == {"Completion": 9, "BudgetError": 52 - 9}
        resumed = desk.caller(server, budget=budget, limit=limit)
        with pytest.raises(BudgetError, match="1,955 of 20,000 tokens, and it may take 2,145"):
            await resumed.complete(ask("?", max_tokens=10))
        assert resumed.spent.tokens == 9 * 2005

    desk.run(main())


@pytest.mark.parametrize("unit", ["tokens", "usd"])
def test_a_budget_that_answers_without_a_bound_could_break_refuses_them(desk: Desk, unit: str) -> None:
    async def main() -> None:
        server = Server()
        budget = dataclasses.replace(AMPLE, **{unit: 10**9})
        caller = desk.caller(server, budget=budget, price=lambda _read, _written: 0.0)
        with pytest.raises(BudgetError, match="max_tokens"):
            await caller.complete(ask("a"))
        assert server.sent == []
        await caller.complete(ask("a", max_tokens=1))

    desk.run(main())


def test_the_seconds_of_all_processes_are_bounded(desk: Desk) -> None:
    budget = dataclasses.replace(AMPLE, seconds=1.0)

    async def run(n: int) -> list[float]:
        server = Server(seconds=0.3)
        caller = desk.caller(server, budget=budget, limit=1)
        found = await outcomes(caller, numbered(n, prefix=f"{n} "))
        await caller.close()
        assert kinds(found)["BudgetError"] == n - len(server.sent)
        return [sent.at for sent in server.sent]

    assert desk.run(run(2)) == pytest.approx([0.0, 0.3])
    # 0.6 s have passed.
    assert desk.run(run(9)) == pytest.approx([0.0, 0.3])
    assert desk.run(run(3)) == []


def test_a_wait_does_not_outlast_the_seconds(desk: Desk) -> None:
    budget = dataclasses.replace(AMPLE, seconds=60.0)

    async def work() -> None:
        wait = OverloadedError("later", reason="429", retry_after_seconds=200.0)
        caller = desk.caller(Server(lambda sent: wait), budget=budget)
        with pytest.raises(BudgetError, match="60 seconds is spent"):
            await caller.complete(ask("a"))
        assert now() <= 61
        await caller.close()

    desk.run(work())


def test_a_completion_that_cannot_be_stored_is_no_answer_and_hurts_no_other(desk: Desk) -> None:
    strange = Completion(text="x", seconds=float("nan"))

    async def work() -> None:
        caller = desk.caller(Server(lambda sent: strange if sent.text == "bad" else "fine"), limit=4)
        found = await outcomes(caller, ["good", "bad", "better"])
        assert [found[text].text for text in ("good", "better")] == ["fine", "fine"]  # type: ignore[union-attr]
        assert isinstance(found["bad"], TransientError)
        await caller.close()

    desk.run(work())


def test_what_nobody_waits_for_any_more_is_not_sent(desk: Desk) -> None:
    async def work() -> None:
        server = Server(seconds=1.0)
        caller = desk.caller(server, limit=1)
        tasks = [asyncio.ensure_future(caller.complete(ask(text))) for text in "abcd"]
        await asyncio.sleep(0.5)
        for task in tasks[:3]:
            task.cancel()
        assert (await tasks[3]).text == "d"
        # What was under way is finished and kept: it is paid for.
        assert [sent.text for sent in server.sent] == ["a", "d"]
        assert (await caller.complete(ask("a"))).text == "a"
        assert len(server.sent) == 2
        await caller.close()

    desk.run(work())


class Erratic:
    """A model that takes its time and fails at random; counts what reached it."""

    def __init__(self, seed: int, share: float) -> None:
        self._rng = random.Random(seed)
        self._share = share
        self.n_sent = 0
        self.asked: set[str] = set()

    async def complete(self, request: Request) -> Completion:
        self.n_sent += 1
        self.asked.add(request.messages[-1].content)
        await asyncio.sleep(self._rng.choice((0.0, 0.1, 0.5)))
        if self._rng.random() >= self._share:
            return Completion(text="x")
        raise self._rng.choice(
            (
                UnreachableError("no", reason="reset"),
                OverloadedError("no", reason="500"),
                RejectedError("no"),
                OverloadedError("no", reason="429", retry_after_seconds=1.0),
            )
        )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    calls=st.integers(1, 12),
    attempts=st.integers(1, 20),
    limit=st.integers(1, 6),
    share=st.sampled_from((0.0, 0.3, 0.8)),
)
def test_no_schedule_spends_more_than_the_budget(
    desk: Desk, seed: int, calls: int, attempts: int, limit: int, share: float
) -> None:
    desk = dataclasses.replace(desk, study=desk.store.add_study("schedule", {}))
    rng, model = random.Random(seed), Erratic(seed, share)
    budget = Budget(calls=calls, attempts=attempts)

    async def process() -> None:
        caller = desk.caller(model, budget=budget, limit=limit)

        async def one() -> None:
            await asyncio.sleep(rng.random())
            await caller.complete(ask(str(rng.randrange(15))), rng.randrange(5))

        work = asyncio.gather(*(one() for _ in range(20)), return_exceptions=True)
        if rng.random() < 0.5:  # killed in the middle: whatever is under way is dropped
            await asyncio.sleep(2 * rng.random())
            return
        found = await work
        assert all(isinstance(one, OptimizerError) or one is None for one in found)

    for _ in range(3):
        desk.run(process())
        ledger = desk.ledger()
        assert ledger.calls <= calls
        assert ledger.attempts <= attempts
        assert model.n_sent <= ledger.attempts
        assert len(model.asked) <= ledger.calls
        assert sum(ledger.account(payer)[0] for payer in range(5)) == ledger.calls


# ---- The pace -------------------------------------------------------------------------------------------------------


def test_no_more_requests_are_under_way_than_allowed(desk: Desk) -> None:
    async def main() -> None:
        server = Server(seconds=lambda sent: 0.01 * (1 + int(sent.text) % 7))
        caller = desk.caller(server, limit=3)
        await outcomes(caller, numbered(30))
        assert server.most_under_way == 3
        assert server.texts == numbered(30)  # in the order in which they were asked

    desk.run(main())


@pytest.mark.parametrize("rate", [30, 200])
def test_no_minute_sees_more_requests_than_the_study_allows(desk: Desk, rate: int) -> None:
    async def main() -> None:
        rng = random.Random(rate)
        server = Server(lambda sent: OverloadedError("no", reason="500") if rng.random() < 0.3 else sent.text)
        started, n = 0.0, 2 * rate
        for part in range(2):  # the second process begins at once where the first one ended
            caller = desk.caller(server, limit=8, requests_per_minute=rate)
            work = asyncio.ensure_future(outcomes(caller, numbered(n, prefix=f"{part} ")))
            await asyncio.sleep(0 if part else 37)
            if not part:
                caller.stop()
            found = await work
            await caller.close()
            assert set(kinds(found)) <= {"Completion", "InterruptedRunError"}
        times = [sent.at for sent in server.sent]
        assert all(later - earlier >= 60 for earlier, later in zip(times, times[rate:], strict=False))
        assert len(times) / (times[-1] - started) >= 0.95 * rate / 60

    desk.run(main())


# ---- One more attempt -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError("later", reason="500"),
        OverloadedError("later", reason="408"),
        BrokenAnswerError("later", reason="no JSON"),
        TransientError("later", reason="whatever"),
    ],
    ids=lambda error: str(error.reason),
)
def test_what_may_pass_is_tried_again_after_longer_and_longer_waits(
    desk: Desk, error: TransientError
) -> None:
    async def main() -> list[float]:
        server = Server(lambda sent: error if sent.attempt <= 9 else "x", seconds=0.0)
        caller = desk.caller(server)
        assert (await caller.complete(ask("a"))).text == "x"
        assert (caller.spent.calls, caller.spent.attempts) == (1, 10)
        assert caller.spent.failures == {error.reason: 9}
        return [sent.at for sent in server.sent]

    times = desk.run(main())
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(waits) == 9
    for n, wait in enumerate(waits):
        assert FLOOR_SECONDS <= wait <= min(CAP_SECONDS, BASE_SECONDS * 2**n) + 1e-9
    assert len(set(waits)) > 5  # spread, not fixed


def test_calls_that_failed_together_do_not_come_back_together(desk: Desk) -> None:
    async def main() -> None:
        server = Server(
            lambda sent: OverloadedError("no", reason="500") if sent.attempt == 1 else sent.text, seconds=0.0
        )
        caller = desk.caller(server, limit=12)
        await outcomes(caller, numbered(12))
        again = [sent.at for sent in server.sent if sent.attempt == 2]
        assert len(set(again)) > 6
        assert max(again) - min(again) > 0.2

    desk.run(main())


@pytest.mark.parametrize(("status", "holds_all"), [("429", True), ("503", False)])
def test_a_wait_that_the_server_asks_for_is_kept(desk: Desk, status: str, holds_all: bool) -> None:
    async def main() -> None:
        said = OverloadedError("later", reason=status, retry_after_seconds=7.0)
        server = Server(
            lambda sent: said if sent == Sent("0", 1, 0.0) else sent.text,
            seconds=lambda sent: 0.25 if sent.text == "0" else 0.5,
        )
        caller = desk.caller(server, limit=2)
        await outcomes(caller, numbered(12))
        again = next(sent for sent in server.sent if sent.attempt == 2)
        assert again.text == "0"
        assert again.at >= 7.25
        between = [sent for sent in server.sent if 0.25 <= sent.at < 7.25]
        assert (not between) == holds_all
        assert now() < 15

    desk.run(main())


def test_a_wait_longer_than_a_call_may_take_is_not_sat_out(desk: Desk) -> None:
    async def main() -> None:
        said = OverloadedError("tomorrow", reason="429", retry_after_seconds=86_400.0)
        server = Server(lambda sent: said if sent.text == "0" else sent.text)
        caller = desk.caller(server)
        found = await outcomes(caller, numbered(12))
        assert found["0"] is said
        assert kinds(found) == {"Completion": 11, "OverloadedError": 1}
        assert now() < 60

    desk.run(main())


def test_a_quota_that_is_used_up_for_hours_stops_the_run(desk: Desk) -> None:
    async def main() -> None:
        said = OverloadedError("tomorrow", reason="429", retry_after_seconds=86_400.0)
        server = Server(lambda sent: said if sent.at >= 1 else sent.text)
        caller = desk.caller(server, limit=8)
        found = await outcomes(caller, numbered(1000))
        assert kinds(found)["OverloadedError"] == 2
        (outage,) = {str(outcome) for outcome in found.values() if isinstance(outcome, OutageError)}
        assert outage == "tomorrow (it asks to wait 86400 s)"
        assert len(server.sent) - kinds(found)["Completion"] <= 8
        assert now() < 10

    desk.run(main())


def test_a_rejected_request_is_not_tried_again_and_others_go_on(desk: Desk) -> None:
    async def main() -> None:
        server = Server(lambda sent: RejectedError("too long") if sent.text == "a" else sent.text)
        caller = desk.caller(server)
        with pytest.raises(RejectedError, match="too long"):
            await caller.complete(ask("a"))
        assert (await caller.complete(ask("b"))).text == "b"
        assert server.texts == ["a", "b"]
        with pytest.raises(RejectedError):
            await caller.complete(ask("a"))  # nothing was stored in its place
        assert (caller.spent.calls, caller.spent.attempts) == (2, 3)

    desk.run(main())


def test_an_endpoint_that_refuses_everything_is_asked_nothing_more(desk: Desk) -> None:
    async def main() -> None:
        said: dict[str, Said] = {
            "waits": OverloadedError("no", reason="500", retry_after_seconds=30.0),
            "wrong": EndpointError("wrong key"),
            "fails": OverloadedError("no", reason="500"),
        }
        times = {"waits": 0.1, "wrong": 1.0, "fails": 2.0, "works": 2.0, "works too": 1.9}
        server = Server(lambda sent: said.get(sent.text, sent.text), seconds=lambda sent: times[sent.text])
        caller = desk.caller(server)
        work = asyncio.ensure_future(outcomes(caller, (*times, "queued")))
        await asyncio.sleep(0.05)
        assert server.texts == list(times)[:4]
        found = await work
        assert found["works"] == Completion(text="works", prompt_tokens=5, completion_tokens=2)
        assert {str(found[text]) for text in ("waits", "wrong", "fails", "queued")} == {"wrong key"}
        assert now() == pytest.approx(2.0)
        assert server.texts == list(times)
        with pytest.raises(EndpointError, match="wrong key"):
            await caller.complete(ask("new"))

    desk.run(main())


def test_a_bug_in_a_model_is_heard_by_all_who_wait_for_that_call(desk: Desk) -> None:
    async def main() -> None:
        server = Server(lambda sent: ZeroDivisionError("a bug") if sent.text == "a" else sent.text)
        caller = desk.caller(server)
        found = await asyncio.gather(*(caller.complete(ask(text)) for text in "aab"), return_exceptions=True)
        assert [type(outcome) for outcome in found] == [ZeroDivisionError, ZeroDivisionError, Completion]
        assert server.texts == ["a", "b"]

    desk.run(main())


def test_a_request_that_the_client_itself_cancels_is_tried_again(desk: Desk) -> None:
    async def main() -> None:
        server = Server(lambda sent: asyncio.CancelledError() if sent.attempt == 1 else "x")
        caller = desk.caller(server)
        assert (await caller.complete(ask("a"))).text == "x"
        assert caller.spent.failures == {"cancelled": 1}

    desk.run(main())


# ---- Calls that never succeed, and endpoints that are down ---------------------------------------------------------------


class Failure(NamedTuple):
    """What an attempt raises, and after how long."""

    error: ModelError
    seconds: float


FAILURES = {
    "refused": Failure(UnreachableError("no", reason="refused"), 0.001),
    "silence": Failure(UnreachableError("no", reason="time-out"), 5.0),  # no connection was made
    "503": Failure(OverloadedError("no", reason="503"), 0.01),
    "429": Failure(OverloadedError("no", reason="429"), 0.01),
    "429-wait": Failure(OverloadedError("no", reason="429", retry_after_seconds=5.0), 0.01),
    "page": Failure(BrokenAnswerError("no", reason=PAGE), 0.01),
    "500": Failure(OverloadedError("no", reason="500"), 0.01),
    "reset": Failure(UnreachableError("no", reason="reset", billable=True), 0.01),
    "no JSON": Failure(BrokenAnswerError("no", reason="no JSON", billable=True), 0.01),
    "hangs": Failure(UnreachableError("no", reason="time-out", billable=True), 60.0),
}

# What no single request causes.
OUTAGES = ("refused", "silence", "503", "429", "429-wait", "page")

failures = pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
outages = pytest.mark.parametrize("failure", [FAILURES[name] for name in OUTAGES], ids=OUTAGES)


def failing(failure: Failure, when: Callable[[Sent], bool], *, seconds: float = 0.05) -> Server:
    """Return a server that fails in one way when it is told to."""
    return Server(
        lambda sent: failure.error if when(sent) else sent.text,
        seconds=lambda sent: failure.seconds if when(sent) else seconds,
    )


@failures
def test_a_call_that_never_succeeds_is_given_up_after_its_deadline_and_stops_nothing(
    desk: Desk, failure: Failure
) -> None:
    async def main() -> None:
        server = failing(failure, lambda sent: sent.text == "poison", seconds=15.0)
        caller = desk.caller(server)
        work = asyncio.ensure_future(outcomes(caller, numbered(120)))
        with pytest.raises(type(failure.error)):
            await caller.complete(ask("poison"))
        assert 200 < now() <= DEADLINE_SECONDS + 61
        assert 3 <= server.attempts["poison"] <= 40
        assert kinds(await work) == {"Completion": 120}
        assert now() < 120 * 15 / 4 * 1.6
        with pytest.raises(type(failure.error)):
            await asyncio.gather(
                caller.complete(ask("poison")), *map(caller.complete, map(ask, numbered(300, "more ")))
            )

    desk.run(main())


@pytest.mark.parametrize("kind", ["500", "hangs", "reset", "no JSON"])
def test_one_poisoned_request_alone_is_no_outage(desk: Desk, kind: str) -> None:
    async def main() -> None:
        failure = FAILURES[kind]
        server = failing(failure, lambda sent: sent.text == "poison")
        caller = desk.caller(server, limit=1)
        for _ in range(2):
            with pytest.raises(type(failure.error)):
                await caller.complete(ask("poison"))
        assert now() <= 2 * (DEADLINE_SECONDS + 61)
        assert (await caller.complete(ask("sound"))).text == "sound"

    desk.run(main())


@pytest.mark.parametrize("kind", ["503", "500", "hangs", "reset"])
def test_a_few_poisoned_requests_do_not_keep_the_others_waiting(desk: Desk, kind: str) -> None:
    async def main() -> None:
        failure = FAILURES[kind]
        server = failing(failure, lambda sent: sent.text.startswith("poison"))
        caller = desk.caller(server, limit=8)
        work = asyncio.ensure_future(outcomes(caller, numbered(6, "poison ")))
        await asyncio.sleep(0)
        assert kinds(await outcomes(caller, numbered(100))) == {"Completion": 100}
        assert now() < 70
        assert kinds(await work) == {type(failure.error).__name__: 6}
        assert (await caller.complete(ask("sound"))).text == "sound"

    desk.run(main())


@failures
@pytest.mark.parametrize("limit", [1, 8, 32])
def test_a_minute_of_total_outage_is_waited_out_with_few_attempts(
    desk: Desk, failure: Failure, limit: int
) -> None:
    n, begins = 100, 0.12

    async def main() -> None:
        server = failing(failure, lambda sent: begins <= sent.at < begins + 60)
        caller = desk.caller(server, limit=limit)
        found = await outcomes(caller, numbered(n))
        assert kinds(found) == {"Completion": n}
        assert now() < begins + 60 + n * 0.05 / limit + 12
        # What was under way, what it takes to see that nothing is answered, and a probe at least every five seconds.
        assert len(server.sent) - n <= 3 * limit + 32
        assert caller.spent.attempts == len(server.sent)
        assert sum(caller.spent.failures.values()) == len(server.sent) - n

    desk.run(main())


@outages
@pytest.mark.parametrize("limit", [1, 8])
def test_an_outage_that_lasts_stops_the_run_and_the_next_one_repeats_nothing(
    desk: Desk, failure: Failure, limit: int
) -> None:
    async def main() -> None:
        server = failing(failure, lambda sent: sent.at >= 0.12)
        caller = desk.caller(server, limit=limit)
        found = await outcomes(caller, numbered(60))
        assert kinds(found) == {"Completion": 3 * limit, "OutageError": 60 - 3 * limit}
        assert 250 < now() < DEADLINE_SECONDS + 20
        assert len(server.sent) < 200
        with pytest.raises(OutageError, match="nothing was answered"):
            await caller.complete(ask("new"))
        await caller.close()
        answered = {text for text, outcome in found.items() if isinstance(outcome, Completion)}
        assert desk.stored() == answered
        healthy = Server()
        again = desk.caller(healthy, limit=limit)
        assert kinds(await outcomes(again, numbered(60))) == {"Completion": 60}
        assert set(healthy.texts) == set(numbered(60)) - answered
        assert (again.spent.calls, again.spent.lost_in_flight) == (60, 0)

    desk.run(main())


def test_a_server_that_finishes_what_it_has_begun_and_takes_nothing_more_is_down(desk: Desk) -> None:
    async def main() -> None:
        server = Server(
            lambda sent: FAILURES["refused"].error if sent.at >= 0.1 else sent.text,
            seconds=lambda sent: 0.01 if sent.at >= 0.1 else 0.1 if sent.text == "0" else 2.0,
        )
        caller = desk.caller(server)
        found = await outcomes(caller, numbered(5))
        assert kinds(found) == {"Completion": 4, "OutageError": 1}
        assert now() < DEADLINE_SECONDS + 20

    desk.run(main())


@pytest.mark.parametrize("kind", ["500", "hangs", "reset", "no JSON"])
def test_what_cannot_be_told_from_poison_is_given_up_and_not_tried_for_hours(desk: Desk, kind: str) -> None:
    async def main() -> None:
        failure = FAILURES[kind]
        server = failing(failure, lambda sent: 0.12 <= sent.at < 2000)
        caller = desk.caller(server, limit=8)
        found = await outcomes(caller, numbered(200))
        assert kinds(found) == {"Completion": 24, type(failure.error).__name__: 176}
        assert now() < (700 if kind == "hangs" else 400)
        assert len(server.sent) < 400
        await asyncio.sleep(2000)
        assert kinds(await outcomes(caller, numbered(200))) == {"Completion": 200}

    desk.run(main())


@pytest.mark.parametrize("kind", ["refused", "silence", "page"])
@pytest.mark.parametrize("limit", [1, 8])
def test_an_endpoint_that_was_never_there_is_not_waited_for(desk: Desk, kind: str, limit: int) -> None:
    async def main() -> None:
        server = failing(FAILURES[kind], lambda _: True)
        caller = desk.caller(server, limit=limit)
        assert kinds(await outcomes(caller, numbered(20))) == {"OutageError": 20}
        assert now() < 2 * CONTACT_SECONDS
        assert len(server.sent) < 20
        assert caller.spent.tokens == 0

    desk.run(main())


def test_an_endpoint_that_is_slow_to_wake_up_is_waited_for(desk: Desk) -> None:
    async def main() -> None:
        server = failing(FAILURES["hangs"], lambda sent: sent.at < 90)
        caller = desk.caller(server)
        assert kinds(await outcomes(caller, numbered(20))) == {"Completion": 20}
        assert now() < 200

    desk.run(main())


def test_an_endpoint_that_is_started_a_little_later_is_found(desk: Desk) -> None:
    async def main() -> None:
        server = failing(FAILURES["refused"], lambda sent: sent.at < 5)
        caller = desk.caller(server)
        assert kinds(await outcomes(caller, numbered(20))) == {"Completion": 20}

    desk.run(main())


# ---- Stopping -------------------------------------------------------------------------------------------------------


def test_stopping_finishes_and_commits_what_is_under_way_and_sends_nothing_more(desk: Desk) -> None:
    async def main() -> None:
        server = Server(seconds=1.0)
        caller = desk.caller(server, limit=2)
        work = asyncio.ensure_future(outcomes(caller, numbered(6)))
        await asyncio.sleep(0.5)
        caller.stop()
        found = await work
        assert [type(outcome) for outcome in found.values()] == [Completion] * 2 + [InterruptedRunError] * 4
        assert server.texts == ["0", "1"]
        assert desk.stored() == {"0", "1"}
        assert (await caller.complete(ask("1"))).text == "1"  # committed, and readable after the stop
        with pytest.raises(InterruptedRunError):
            await caller.complete(ask("new"))
        assert (caller.spent.calls, caller.spent.attempts) == (2, 2)

    desk.run(main())


def test_whatever_waits_is_refused_the_moment_a_run_is_stopped(desk: Desk) -> None:
    async def main() -> None:
        said = OverloadedError("later", reason="429", retry_after_seconds=100.0)
        server = Server(lambda _: said, seconds=0.1)
        caller = desk.caller(server, limit=1)
        work = asyncio.ensure_future(outcomes(caller, ("waits for its second attempt", "waits for room")))
        await asyncio.sleep(1)
        caller.stop()
        assert kinds(await work) == {"InterruptedRunError": 2}
        assert now() == 1.0
        assert len(server.sent) == 1

    desk.run(main())


def test_an_attempt_that_fails_after_a_stop_is_not_repeated(desk: Desk) -> None:
    async def main() -> None:
        server = Server(lambda _: OverloadedError("no", reason="500"), seconds=2.0)
        caller = desk.caller(server)
        work = asyncio.ensure_future(outcomes(caller, ("a",)))
        await asyncio.sleep(1)
        caller.stop()
        assert kinds(await work) == {"InterruptedRunError": 1}
        await asyncio.sleep(100)
        assert len(server.sent) == 1

    desk.run(main())


def test_closing_commits_what_was_answered_and_leaves_nobody_waiting(desk: Desk) -> None:
    async def main() -> None:
        # The answers of the first hundredth of a second are in the open turn when the caller is closed.
        server = Server(seconds=lambda sent: 0.01 if int(sent.text) < 10 else 100.0)
        caller = desk.caller(server, limit=64)
        work = asyncio.ensure_future(outcomes(caller, numbered(100)))
        await asyncio.sleep(0.015)
        assert desk.stored() == set()
        await caller.close()
        assert desk.stored() == set(numbered(10))
        found = await asyncio.wait_for(work, 1)
        assert kinds(found) == {"Completion": 10, "InterruptedRunError": 90}
        assert server.under_way == 0
        assert desk.ledger().spent().lost_in_flight == 54

    desk.run(main())


@pytest.mark.parametrize("state", ["idle", "never used", "waits for the rate", "waits for another attempt"])
def test_nothing_is_written_after_closing(desk: Desk, state: str) -> None:
    async def main() -> None:
        said = OverloadedError("no", reason="429", retry_after_seconds=20.0)
        server = Server(lambda sent: said if state.endswith("attempt") else sent.text)
        rate = 3 if state.endswith("rate") else None
        caller = desk.caller(server, requests_per_minute=rate)
        if state != "never used":
            work = asyncio.ensure_future(outcomes(caller, numbered(3)))
            await asyncio.sleep(50 if state == "idle" else 1)
            await caller.close()
            await work
        else:
            await caller.close()
        with desk.commits() as written:
            await asyncio.sleep(1000)
            assert written == []

    desk.run(main())


@pytest.mark.parametrize("who", [(0,), (1,), (0, 1)])
def test_whoever_gives_up_waiting_hurts_neither_the_others_nor_the_call(
    desk: Desk, who: tuple[int, ...]
) -> None:
    async def main() -> None:
        server = Server(seconds=1.0)
        caller = desk.caller(server)
        waiters = [asyncio.ensure_future(caller.complete(ask("a"))) for _ in range(2)]
        await asyncio.sleep(0.5)
        for number in who:
            waiters[number].cancel()
        found = await asyncio.gather(*waiters, return_exceptions=True)
        for number, outcome in enumerate(found):
            assert isinstance(outcome, asyncio.CancelledError if number in who else Completion)
        await asyncio.sleep(1)
        assert desk.stored() == {"a"}
        assert (await caller.complete(ask("a"))).text == "a"
        assert len(server.sent) == 1

    desk.run(main())


# ---- Accounts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
@pytest.mark.parametrize("at_once", [False, True])
def test_the_earliest_trial_pays_whichever_is_answered_first(
    desk: Desk, order: tuple[int, ...], at_once: bool
) -> None:
    async def main() -> None:
        ledger = desk.ledger()
        caller = desk.caller(Server(), ledger=ledger)
        work = [caller.paid_by(payer).complete(ask("a")) for payer in order]
        if at_once:
            await asyncio.gather(*work)
        else:
            for one in work:
                await one
        assert [ledger.account(payer)[0] for payer in (1, 2, 3)] == [1, 0, 0]
        assert ledger.account(1)[1].tokens == 7

    desk.run(main())


def test_a_trial_that_joins_while_a_call_waits_for_another_attempt_may_be_the_one_that_pays(
    desk: Desk,
) -> None:
    async def main() -> None:
        wasted = BrokenAnswerError(
            "no", reason="no choices", billable=True, prompt_tokens=3, completion_tokens=0
        )
        server = Server(lambda sent: wasted if sent.attempt == 1 else "x", seconds=0.0)
        ledger = desk.ledger()
        caller = desk.caller(server, ledger=ledger)
        later = asyncio.ensure_future(caller.paid_by(5).complete(ask("a")))
        await asyncio.sleep(0.01)
        earlier = asyncio.ensure_future(caller.paid_by(2).complete(ask("a")))
        await asyncio.gather(later, earlier)
        assert len(server.sent) == 2
        assert (ledger.account(2)[0], ledger.account(5)[0]) == (1, 0)
        assert ledger.account(2)[1].tokens == 3 + 7
        query = "SELECT payer, attempts FROM ps_call WHERE study = ?"
        assert desk.look(query) == [(2, 2)]

    desk.run(main())


def test_a_call_of_no_trial_is_paid_for_by_the_first_trial_that_uses_it(desk: Desk) -> None:
    async def main() -> None:
        ledger = desk.ledger()
        caller = desk.caller(Server(), ledger=ledger)
        await caller.complete(ask("a"))
        assert ledger.account(NO_TRIAL)[0] == 1
        await caller.paid_by(9).complete(ask("a"))
        assert (ledger.account(NO_TRIAL)[0], ledger.account(9)[0]) == (0, 1)

    desk.run(main())


def test_whoever_watches_is_told_after_each_turn_that_brought_something(desk: Desk) -> None:
    async def main() -> None:
        caller, told = desk.caller(Server()), list[tuple[int, int]]()
        caller.on_call = lambda: told.append((caller.spent.calls, caller.spent.cached))
        for text in ("a", "b", "a"):
            await caller.complete(ask(text))
        assert told == [(1, 0), (2, 0), (2, 1)]

    desk.run(main())
