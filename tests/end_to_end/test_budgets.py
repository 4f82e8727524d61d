"""Budgets over real HTTP: what the server counts is never more than what the study may use."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.budget import Budget, Spent
from optimizer.calls import Caller
from optimizer.completion import Completion, Message, Request
from optimizer.errors import BudgetError
from optimizer.ledger import Ledger
from optimizer.models import MODELS, ModelSpec
from optimizer.pacing import Pace
from optimizer.storage import open_storage
from optimizer.store import Store

if TYPE_CHECKING:
    from tests.loopback_server import Loopback

SEEDS = (1, 2, 3)

# Every way to fail that asks for no long wait: each costs an attempt, and some cost tokens.
KINDS = (
    "429-ms",
    "429-reset",
    "500",
    "reset",
    "half",
    "no-json",
    "no-choices",
    "error-in-200",
    "other-model",
)

Found = Mapping[str, Completion | BaseException]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_storage(Path(tmp_path_factory.mktemp("budgets")) / "study.db") as storage:
        yield Store(storage)


def texts_of(seed: int, n: int) -> list[str]:
    """Return so many different texts, of 1 to 12 words each."""
    rng = Random(seed)
    return [" ".join([str(number), *("word" for _ in range(rng.randrange(12)))]) for number in range(n)]


def spend(
    store: Store, server: "Loopback", budget: Budget, texts: list[str], *, limit: int
) -> tuple[Found, Spent]:
    """Ask for all texts at once, on the account of a new study, and return what came of each."""
    spec = ModelSpec(
        provider="openai_compatible", name="scripted", base_url=server.base_url, expect_model="scripted"
    )

    async def main() -> tuple[Found, Spent]:
        async with MODELS["openai_compatible"].connect(spec) as connection:
            ledger = Ledger(store, store.add_study("budgets", {}), cache="private")
            caller = Caller(connection, ledger, budget=budget, pace=Pace(start=limit, most=limit))
            asked = (caller.complete(ask(text)) for text in texts)
            found = await asyncio.gather(*asked, return_exceptions=True)
            await caller.close()
            return dict(zip(texts, found, strict=True)), caller.spent

    return asyncio.run(main())


def ask(text: str) -> Request:
    message = Message(role="user", content=text)
    return Request(messages=(message,), parameters=(("max_tokens", 16),))


def words(text: object) -> int:
    return len(str(text).split())


@pytest.mark.parametrize("limit", [1, 64])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_server_sees_exactly_the_calls_of_the_budget(
    store: Store, loopback: "Loopback", seed: int, limit: int
) -> None:
    texts = texts_of(seed, 60)
    found, spent = spend(store, loopback, Budget(calls=40, attempts=80), texts, limit=limit)
    assert len(loopback.bodies) == 40
    assert set(loopback.counts.values()) == {1}
    assert (spent.calls, spent.attempts, spent.lost_in_flight) == (40, 40, 0)
    assert {str(error) for error in found.values() if isinstance(error, BudgetError)} == {
        "the budget of 40 calls is spent"
    }
    assert sum(isinstance(answer, Completion) for answer in found.values()) == 40
    assert loopback.most_in_flight <= limit


@pytest.mark.parametrize("limit", [1, 64])
@pytest.mark.parametrize(("seed", "spare"), [(1, -3), (2, 0), (3, 9)])
def test_the_server_sees_no_more_requests_than_attempts_whatever_fails(
    store: Store, loopback: "Loopback", loopback_server: ModuleType, seed: int, spare: int, limit: int
) -> None:
    loopback.chance = loopback_server.Chance(rate=0.3, seed=seed, kinds=KINDS)
    # Which requests fail is said by their number, so it is known how many it takes to serve 30 calls.
    served = [number for number in range(200) if loopback.chance(number) is None]
    needed = served[29] + 1
    budget = Budget(calls=30, attempts=needed + spare)
    found, spent = spend(store, loopback, budget, texts_of(seed, 40), limit=limit)
    loopback.settle()
    answered = sum(isinstance(answer, Completion) for answer in found.values())
    assert len(loopback.bodies) == spent.attempts == min(needed, budget.attempts)
    assert len(loopback.counts) == spent.calls <= 30
    assert (
        answered
        == len(loopback.answered)
        == loopback.answered.total()
        == sum(number < budget.attempts for number in served[:30])
    )
    assert sum(spent.failures.values()) == sum(loopback.injected.values()) == spent.attempts - answered > 0


@pytest.mark.parametrize("limit", [1, 64])
@pytest.mark.parametrize("faults", [0.0, 0.3])
def test_the_server_bills_no_more_tokens_than_the_budget_holds(
    store: Store, loopback: "Loopback", loopback_server: ModuleType, faults: float, limit: int
) -> None:
    billed = 0

    def reply(body: dict[str, Any]) -> str:
        nonlocal billed
        text = body["messages"][-1]["content"]
        billed += words(text) + 3
        return "in three words"

    loopback.reply = reply
    loopback.chance = loopback_server.Chance(rate=faults, seed=4, kinds=("half", "other-model", "500"))
    budget = Budget(calls=1000, attempts=2000, tokens=500)
    found, spent = spend(store, loopback, budget, texts_of(4, 80), limit=limit)
    assert billed <= spent.tokens <= 500
    assert any(isinstance(outcome, BudgetError) for outcome in found.values())
    if not faults:
        assert (
            billed
            == spent.tokens
            == sum(words(body["messages"][-1]["content"]) + 3 for body in loopback.bodies)
        )
        # The last call was sent while the budget held its upper bound, which is below 228 tokens.
        assert billed > 272
