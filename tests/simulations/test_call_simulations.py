"""A caller against servers of known behaviour, on virtual time: budgets to the last unit, kills, and the pace.

What a server does with a request depends on its text and on how often it was asked before, never on the time, so
runs of any concurrency can be compared. A process that is killed is a loop that is never run again: nothing of it
is finished, closed or committed.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest

from optimizer.budget import Budget, Spent
from optimizer.calls import Caller
from optimizer.completion import Capabilities, Completion, Message, Request
from optimizer.digest import digest
from optimizer.errors import BrokenAnswerError, BudgetError, ModelError, OverloadedError, UnreachableError
from optimizer.ledger import Ledger
from optimizer.models import Connection
from optimizer.pacing import Pace
from optimizer.storage import open_storage
from optimizer.store import Store

if TYPE_CHECKING:
    from tests.virtual_clock import RunVirtual

SEEDS = range(20)
AMPLE = Budget(calls=10_000, attempts=100_000)
MAX_TOKENS = 12
PAYERS = 5

Trouble = Literal["nothing", "faults", "kills"]


def price(read: int, written: int) -> float:
    """Return a price that floats add without an error."""
    return read / 8 + written / 2


def ask(text: str) -> Request:
    message = Message(role="user", content=text)
    return Request(messages=(message,), parameters=(("max_tokens", MAX_TOKENS),))


class Reply(NamedTuple):
    """What a server does with one request.

    Attributes:
        error: What it says in the place of an answer.
        used: Tokens that it bills.
        charged: Tokens that it is charged by whoever was told no more than this.
    """

    seconds: float
    error: ModelError | None
    used: tuple[int, int]
    charged: tuple[int, int]


@dataclass
class Server:
    """A provider that bills every answer, and every waste that it says it may bill.

    Attributes:
        seed: Decides all it does.
        faults: Share of the attempts that fail.
        identity: Of the model.
        database: Where completions are committed; none of those may be asked for again.
    """

    seed: int
    faults: float
    identity: dict[str, object]
    database: sqlite3.Connection
    requests: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    billed: Counter[str] = field(default_factory=Counter)
    charged: Counter[str] = field(default_factory=Counter)

    async def complete(self, request: Request) -> Completion:
        text = request.messages[-1].content
        assert not self.committed(text), f"{text} was paid for, and is asked for again"
        reply = self.reply(request, self.requests[text])
        self.requests[text] += 1
        # Billed now, as by a server that goes on when its client is killed.
        self.billed.update(tokens=sum(reply.used), usd8=int(8 * price(*reply.used)))
        await asyncio.sleep(reply.seconds)
        self.charged.update(tokens=sum(reply.charged), usd8=int(8 * price(*reply.charged)))
        if reply.error is not None:
            raise reply.error
        self.answers[text] += 1
        return Completion(
            text=f"answer to {text}", prompt_tokens=reply.used[0], completion_tokens=reply.used[1]
        )

    def committed(self, text: str) -> bool:
        key = digest([digest(self.identity), ask(text).to_dict(), 0])
        return bool(self.database.execute("SELECT 1 FROM ps_completion WHERE key = ?", (key,)).fetchone())

    def reply(self, request: Request, asked_before: int) -> Reply:
        """Return what becomes of a request that was asked so often before."""
        text, (read, written) = request.messages[-1].content, request.most_tokens
        rng = Random(f"{self.seed} {text}")
        used, bound = (rng.randint(1, read), rng.randint(1, MAX_TOKENS)), (read, written or 0)
        rng = Random(f"{self.seed} {text} {asked_before}")
        seconds = rng.choice((0.0, 0.01, 0.05, 0.2))
        if rng.random() >= self.faults:
            return Reply(seconds, None, used, used)
        told = BrokenAnswerError(
            "no", reason="no choices", billable=True, prompt_tokens=used[0], completion_tokens=used[1]
        )
        return rng.choice(
            (
                Reply(seconds, OverloadedError("no", reason="429"), (0, 0), (0, 0)),
                Reply(seconds, OverloadedError("no", reason="429", retry_after_seconds=0.3), (0, 0), (0, 0)),
                Reply(seconds, OverloadedError("no", reason="500"), (0, 0), (0, 0)),
                Reply(seconds, UnreachableError("no", reason="refused"), (0, 0), (0, 0)),
                Reply(seconds, BrokenAnswerError("no", reason="half a body", billable=True), used, bound),
                Reply(1.0, UnreachableError("no", reason="time-out", billable=True), used, bound),
                Reply(seconds, told, used, used),
            )
        )


@dataclass
class World:
    """A study, and a server that outlives the processes that run it."""

    store: Store
    study: int
    server: Server
    budget: Budget
    limit: int

    def ledger(self) -> Ledger:
        """Return the account as a process opens it, which counts what was lost in flight."""
        return Ledger(self.store, self.study)

    def caller(self) -> Caller:
        connection = Connection(model=self.server, identity=self.server.identity, capabilities=Capabilities())
        pace = Pace(start=self.limit, most=self.limit)
        return Caller(connection, self.ledger(), budget=self.budget, pace=pace, price=price)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_storage(tmp_path_factory.mktemp("simulations") / "study.db") as storage:
        yield Store(storage)


@pytest.fixture(scope="module")
def reader(store: Store) -> Iterator[sqlite3.Connection]:
    """Return a second connection, which sees what is committed and nothing else."""
    connection = sqlite3.connect(str(store.engine.url.database))
    yield connection
    connection.close()


def a_world(
    store: Store, reader: sqlite3.Connection, *, seed: int, budget: Budget, limit: int, faults: float = 0.0
) -> World:
    study = store.add_study("simulation", {})
    server = Server(seed=seed, faults=faults, identity={"name": "m", "study": study}, database=reader)
    return World(store=store, study=study, server=server, budget=budget, limit=limit)


async def demand(world: World, seed: int, *, n: int = 40) -> dict[str, Completion | BaseException]:
    """Ask as a study does: trials at different moments, the same text by several, and what follows from answers."""
    caller, rng = world.caller(), Random(seed)
    found: dict[str, Completion | BaseException] = {}

    async def one(text: str, payer: int, delay: float, *, chained: bool) -> None:
        await asyncio.sleep(delay)
        for each in (text, f"{text} then")[: 1 + chained]:
            try:
                found[each] = await caller.paid_by(payer).complete(ask(each))
            except (ModelError, BudgetError) as error:
                found[each] = error
                return

    asked = [
        (str(rng.randrange(40)), rng.randrange(PAYERS), rng.choice((0.0, 0.1, 0.4)), rng.random() < 0.3)
        for _ in range(n)
    ]
    await asyncio.gather(*(one(text, payer, delay, chained=chained) for text, payer, delay, chained in asked))
    await caller.close()
    return found


def run_until(virtual_clock: ModuleType, work: Coroutine[Any, Any, object], at: float) -> bool:
    """Run until a moment of virtual time, then never again; return whether the work was done by then."""
    loop = virtual_clock.VirtualLoop()
    task = loop.create_task(work)
    task.add_done_callback(lambda _: loop.stop())
    loop.call_at(at, loop.stop)
    try:
        loop.run_forever()
        return bool(task.done())
    finally:
        abandon(loop)


def abandon(loop: asyncio.AbstractEventLoop) -> None:
    """Leave everything as it is when a process is killed, but do not complain about it."""
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()
    loop.close()


# ---- Budgets --------------------------------------------------------------------------------------------------------


def a_budget(seed: int) -> Budget:
    """Return limits of which some end before the work does, by the seed now one and now another."""
    rng = Random(f"budget {seed}")
    calls = rng.randint(10, 50)
    return Budget(
        calls=calls,
        attempts=calls + rng.randint(0, 25),
        tokens=rng.choice((None, rng.randint(400, 4800))),
        usd=rng.choice((None, rng.randint(400, 8000) / 8)),
    )


def assert_within(budget: Budget, spent: Spent) -> None:
    assert spent.calls <= budget.calls
    assert spent.attempts <= budget.attempts
    assert budget.tokens is None or spent.tokens <= budget.tokens
    assert budget.usd is None or spent.usd <= budget.usd


def assert_consistent(world: World, spent: Spent) -> None:
    """Compare the figures with what the server saw, and with the account counted in another way."""
    server = world.server
    assert len(server.requests) <= spent.calls
    assert server.requests.total() <= spent.attempts
    assert server.billed["tokens"] <= spent.tokens + spent.lost_tokens
    # Bounds of money are reserved where there is a budget in money.
    assert world.budget.usd is None or server.billed["usd8"] / 8 <= spent.usd + spent.lost_usd
    if not spent.lost_in_flight:
        assert (len(server.requests), server.requests.total()) == (spent.calls, spent.attempts)
        assert (server.charged["tokens"], server.charged["usd8"] / 8) == (spent.tokens, spent.usd)
    again = world.ledger()
    assert again.spent() == Ledger(world.store, world.study).spent()
    assert again.spent().to_dict() | {"seconds": 0, "cached": 0} == spent.to_dict() | {
        "seconds": 0,
        "cached": 0,
    }
    accounts = [again.account(payer) for payer in range(PAYERS)]
    assert sum(calls for calls, _ in accounts) == spent.calls
    assert sum(charge.tokens for _, charge in accounts) == spent.tokens
    assert sum(charge.usd for _, charge in accounts) == spent.usd


@pytest.mark.parametrize("trouble", ["nothing", "faults", "kills"])
@pytest.mark.parametrize("limit", [1, 64])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_budget_is_ever_exceeded(
    store: Store,
    reader: sqlite3.Connection,
    virtual_clock: ModuleType,
    run_virtual: "RunVirtual",
    seed: int,
    limit: int,
    trouble: Trouble,
) -> None:
    # Kills come with faults, and without.
    budget, faults = a_budget(seed), 0.3 if trouble == "faults" or (trouble == "kills" and seed % 2) else 0.0
    world = a_world(store, reader, seed=seed, budget=budget, limit=limit, faults=faults)
    n_kills = 0
    rng = Random(f"{seed} {limit} kills")
    if trouble == "kills":
        for _ in range(3):
            # A run takes about 4 s one by one, and half a second at once.
            n_kills += not run_until(
                virtual_clock, demand(world, seed), rng.random() * (1.5 if limit == 1 else 0.3)
            )
            assert_within(budget, world.ledger().spent())
    run_virtual(demand(world, seed))
    spent = world.ledger().spent()
    assert_within(budget, spent)
    assert_consistent(world, spent)
    assert spent.lost_in_flight <= limit * n_kills
    if not faults:
        # What a server sees twice was under way at a kill.
        assert world.server.requests.total() - len(world.server.requests) <= spent.lost_in_flight
    if trouble == "nothing":
        assert world.server.requests.total() == len(world.server.requests) <= budget.calls
        assert set(world.server.answers.values()) == {1}


def test_the_budgets_of_this_simulation_end_before_the_work_does(
    store: Store, reader: sqlite3.Connection, run_virtual: "RunVirtual"
) -> None:
    ended: Counter[str] = Counter()
    for seed in SEEDS:
        world = a_world(store, reader, seed=seed, budget=a_budget(seed), limit=64, faults=0.3)
        found = run_virtual(demand(world, seed))
        ended.update(
            {
                str(error).partition(":")[0].split(" of ", maxsplit=1)[-1]
                for error in found.values()
                if isinstance(error, BudgetError)
            }
        )
    kinds = {" ".join(text.split()[1:2]) for text in ended if text[0].isdigit()}
    assert kinds == {"calls", "attempts"}
    assert ended["the budget cannot hold one more call"] >= 5


@pytest.mark.parametrize("seed", SEEDS[:10])
def test_concurrency_changes_no_answer_no_account_and_no_bill(
    store: Store, reader: sqlite3.Connection, run_virtual: "RunVirtual", seed: int
) -> None:
    results = []
    for limit in (1, 8, 64):
        world = a_world(store, reader, seed=seed, budget=AMPLE, limit=limit, faults=0.3)
        found = run_virtual(demand(world, seed))
        texts = {text: answer.text for text, answer in found.items() if isinstance(answer, Completion)}
        assert len(texts) == len(found) > 20
        ledger = world.ledger()
        spent = ledger.spent()
        accounts = [ledger.account(payer) for payer in range(PAYERS)]
        results.append(
            (texts, spent.calls, spent.attempts, spent.tokens, spent.usd, spent.failures, accounts)
        )
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("limit", [1, 64])
@pytest.mark.parametrize("seed", SEEDS[:10])
def test_kills_change_no_answer_and_repeat_only_what_was_under_way(
    store: Store, reader: sqlite3.Connection, virtual_clock: ModuleType, seed: int, limit: int
) -> None:
    world, rng = a_world(store, reader, seed=seed, budget=AMPLE, limit=limit), Random(f"{seed} {limit}")
    clean = a_world(store, reader, seed=seed, budget=AMPLE, limit=limit)
    for n_kills in count():
        if run_until(
            virtual_clock,
            demand(world, seed),
            rng.expovariate(1 / (1.0 if limit == 1 else 0.2)) + 0.02 * n_kills,
        ):
            break
    assert run_until(virtual_clock, demand(clean, seed), 1e6)
    assert set(world.server.answers) >= set(clean.server.answers)
    assert set(world.server.requests) == set(clean.server.requests)
    spent = world.ledger().spent()
    repeated = world.server.requests.total() - clean.server.requests.total()
    assert repeated <= spent.lost_in_flight <= limit * n_kills
    assert (spent.calls, spent.tokens) == (clean.ledger().spent().calls, clean.ledger().spent().tokens)


class Killed(KeyboardInterrupt):
    """Goes through an event loop as a kill does."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_just_before_or_after_any_commit_loses_nothing_and_repeats_nothing_else(
    store: Store,
    reader: sqlite3.Connection,
    virtual_clock: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    after: bool,
) -> None:
    commit = Ledger.commit
    for fatal in count():
        world = a_world(store, reader, seed=5, budget=AMPLE, limit=3, faults=0.3)
        numbers = count()

        def dying(ledger: Ledger, fatal: int = fatal, numbers: "count[int]" = numbers) -> None:
            number = next(numbers)
            if number < fatal or (number == fatal and after):
                commit(ledger)
            if number >= fatal:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "commit", dying)
            loop = virtual_clock.VirtualLoop()
            try:
                loop.run_until_complete(demand(world, 5, n=8))
                break  # it has no more commits than that
            except Killed:
                pass
            finally:
                abandon(loop)
        answered = world.server.answers.total()
        lost = world.ledger().spent().lost_in_flight
        assert lost <= world.limit
        assert run_until(virtual_clock, demand(world, 5, n=8), 1e6)
        assert_consistent(world, world.ledger().spent())
        # What is answered a second time was in the turn that was not committed, and is among the lost.
        assert world.server.answers.total() - len(world.server.answers) <= min(lost, answered)
    assert fatal > 10


# ---- The pace -------------------------------------------------------------------------------------------------------


@dataclass
class Busy:
    """A server that serves so many requests at once and says 429 to any more."""

    capacity: int
    seconds: float
    rng: Random = field(default_factory=lambda: Random(0))
    under_way: int = 0
    refused: int = 0

    async def complete(self, request: Request) -> Completion:
        if self.under_way >= self.capacity:
            self.refused += 1
            await asyncio.sleep(0.005)
            raise OverloadedError("busy", reason="429")
        self.under_way += 1
        try:
            await asyncio.sleep(self.seconds * self.rng.uniform(0.5, 1.5))
        finally:
            self.under_way -= 1
        return Completion(text="x")


@pytest.mark.parametrize(
    ("capacity", "calls", "most_refused"),
    [(3, 400, 0.4), (5, 300, 0.15), (10, 600, 0.12), (30, 1500, 0.15)],
)
def test_a_server_of_unknown_capacity_is_used_well_and_rarely_asked_for_too_much(
    store: Store, run_virtual: "RunVirtual", capacity: int, calls: int, most_refused: float
) -> None:
    async def main() -> float:
        connection = Connection(model=busy, identity={"study": study}, capabilities=Capabilities())
        pace = Pace(start=8, most=64)
        caller = Caller(connection, Ledger(store, study), budget=AMPLE, pace=pace)
        await asyncio.gather(*(caller.complete(ask(str(number))) for number in range(calls)))
        return asyncio.get_running_loop().time()

    busy, study = Busy(capacity=capacity, seconds=0.5), store.add_study("busy", {})
    ideal = calls * busy.seconds / capacity
    assert ideal / run_virtual(main()) >= 0.7
    assert busy.refused / calls <= most_refused


def test_a_rate_is_kept_by_processes_that_are_killed_and_started_again(
    store: Store, virtual_clock: ModuleType
) -> None:
    rate, sent, study = 30, list[float](), store.add_study("rate", {})
    began = 0.0

    class Clocked:
        async def complete(self, request: Request) -> Completion:
            sent.append(began + asyncio.get_running_loop().time())
            await asyncio.sleep(0.1)
            return Completion(text="x")

    async def main(texts: Sequence[str]) -> None:
        connection = Connection(model=Clocked(), identity={"study": study}, capabilities=Capabilities())
        pace = Pace(start=8, most=8, requests_per_minute=rate)
        caller = Caller(connection, Ledger(store, study), budget=AMPLE, pace=pace)
        await asyncio.gather(*(caller.complete(ask(text)) for text in texts))

    rng = Random(3)
    for _ in range(12):
        lived = rng.uniform(1, 40)
        assert not run_until(virtual_clock, main([str(number) for number in range(400)]), lived)
        began += lived
    assert len(sent) > 60
    assert all(later - earlier >= 60 for earlier, later in zip(sent, sent[rate:], strict=False))
