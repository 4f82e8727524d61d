"""The one way to a model: cache, budget, retries, accounts, and stopping without loss."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.calls import NO_TRIAL, RETRY_SECONDS, Budget, Caller, Spent
from optimizer.completion import Completion, Constraint, Message, Model, Request
from optimizer.errors import (
    BudgetError,
    EndpointError,
    InterruptedRunError,
    ModelError,
    OptimizerError,
    OverloadedError,
    RejectedError,
    UnreachableError,
)
from optimizer.models.scripted import Scripted
from optimizer.storage import open_storage
from optimizer.store import Store, StudyStore

AMPLE = Budget(calls=1000, attempts=2000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_storage(tmp_path / "study.db") as storage:
        yield Store(storage)


class Waits:
    """A sleep that takes no time and remembers how long it was asked for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


class Failing:
    """A model that fails as it is told, then answers like its script."""

    def __init__(self, *errors: ModelError) -> None:
        self._errors = list(errors)
        self.n_sent = 0

    async def complete(self, request: Request) -> Completion:
        self.n_sent += 1
        if self._errors:
            raise self._errors.pop(0)
        return Completion(text=request.messages[-1].content)


class Gate:
    """A model whose requests wait until the gate is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.under_way = 0
        self.most = 0
        self.sent: list[str] = []

    async def complete(self, request: Request) -> Completion:
        self.sent.append(request.messages[-1].content)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.opened.wait()
        self.under_way -= 1
        return Completion(text="done")


def ask(text: str, **parameters: float) -> Request:
    message = Message(role="user", content=text)
    return Request(messages=(message,), parameters=tuple(sorted(parameters.items())))


def a_caller(
    store: Store,
    model: Model,
    *,
    identity: Mapping[str, object] | None = None,
    study: StudyStore | None = None,
    budget: Budget = AMPLE,
    concurrency: int = 4,
    sleep: Waits | None = None,
) -> Caller:
    return Caller(
        model,
        identity or {"name": "scripted"},
        study=study or a_study(store),
        budget=budget,
        concurrency=concurrency,
        sleep=sleep or Waits(),
    )


def a_study(store: Store) -> StudyStore:
    return store.of(store.add_study("colours", {}))


def echo(request: Request) -> str:
    return request.messages[-1].content


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def ticks(n: int = 20) -> None:
    """Let everything that can go on go on."""
    for _ in range(n):
        await asyncio.sleep(0)


# The cache


def test_an_answer_is_asked_for_once_and_then_read_from_the_store(store: Store) -> None:
    model = Scripted(echo)
    caller = a_caller(store, model)
    first, second = run(caller.complete(ask("a"))), run(caller.complete(ask("a")))
    assert first == second
    assert model.requests == [ask("a")]
    assert caller.spent == Spent(calls=1, attempts=1, cached=1)
    again = a_caller(store, model)
    assert run(again.complete(ask("a"))) == first
    assert len(model.requests) == 1
    assert again.spent == Spent(calls=0, attempts=0, cached=1)


@pytest.mark.parametrize(
    "other",
    [
        ask("b"),
        ask("a", temperature=1.0),
        Request(messages=(Message(role="system", content="a"),)),
        Request(messages=(*ask("a").messages, Message(role="assistant", content="x"))),
        Request(messages=ask("a").messages, constraint=Constraint(choice=("a",))),
        Request(messages=ask("a").messages, constraint=Constraint(json_schema="{}")),
    ],
)
def test_a_request_that_differs_in_anything_is_another(store: Store, other: Request) -> None:
    model = Scripted(echo)
    caller = a_caller(store, model)
    run(caller.complete(ask("a")))
    run(caller.complete(other))
    assert model.requests == [ask("a"), other]


def test_the_answers_of_one_model_are_not_those_of_another(store: Store) -> None:
    one, other = Scripted(lambda _: "one"), Scripted(lambda _: "other")
    run(a_caller(store, one, identity={"name": "m", "url": "a"}).complete(ask("a")))
    answer = run(a_caller(store, other, identity={"name": "m", "url": "b"}).complete(ask("a")))
    assert answer.text == "other"
    same = a_caller(store, other, identity={"url": "a", "name": "m"})
    assert run(same.complete(ask("a"))).text == "one"


def test_two_equal_requests_at_once_are_sent_once(store: Store) -> None:
    async def twice() -> None:
        gate = Gate()
        caller = a_caller(store, gate)
        both = asyncio.gather(*(caller.complete(ask("a"), payer) for payer in (3, 1, 2)))
        await ticks()
        gate.opened.set()
        assert await both == [Completion(text="done")] * 3
        assert gate.sent == ["a"]
        assert caller.spent.calls == 1

    run(twice())


def test_half_of_a_surrogate_pair_in_an_answer_is_replaced_and_the_answer_kept(store: Store) -> None:
    caller = a_caller(store, Scripted(lambda _: "red \ud83d and \ud83d\ude00"))
    answer = run(caller.complete(ask("a")))
    assert answer.text == "red \ufffd and \U0001f600"
    assert run(caller.complete(ask("a"))) == answer


# Reserved before it is sent, committed before it is used


def test_a_call_is_reserved_in_the_database_before_it_is_sent(store: Store) -> None:
    study, seen = a_study(store), list[tuple[int, int]]()

    def look(_request: Request) -> str:
        seen.append(study.calls())
        return "x"

    caller = a_caller(store, Scripted(look), study=study)
    run(caller.complete(ask("a")))
    run(caller.complete(ask("b")))
    assert seen == [(1, 1), (2, 2)]


def test_an_answer_is_in_the_database_before_anyone_has_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    keep = store.keep_completion

    def watched(key: str, completion: Completion) -> None:
        keep(key, completion)
        assert store.completion(key) == completion
        order.append("committed")

    monkeypatch.setattr(store, "keep_completion", watched)

    async def use() -> None:
        await a_caller(store, Scripted(echo)).complete(ask("a"))
        order.append("used")

    run(use())
    assert order == ["committed", "used"]


def test_a_call_that_was_in_flight_when_the_process_died_is_the_same_call_when_sent_again(
    store: Store,
) -> None:
    study = a_study(store)

    async def die() -> None:
        caller = a_caller(store, Gate(), study=study)
        waiting = asyncio.ensure_future(caller.complete(ask("a"), 2))
        await ticks()
        waiting.cancel()

    run(die())
    assert study.calls() == (1, 1)
    caller = a_caller(store, Scripted(echo), study=study, budget=Budget(calls=1, attempts=2))
    assert caller.remaining == 0
    assert run(caller.complete(ask("a"), 2)).text == "a"
    assert caller.spent == Spent(calls=1, attempts=2, cached=0)


# The budget


def test_a_call_beyond_the_budget_is_refused_and_not_sent(store: Store) -> None:
    model = Scripted(echo)
    caller = a_caller(store, model, budget=Budget(calls=2, attempts=4))
    for text in ("a", "b", "a"):
        run(caller.complete(ask(text)))
    with pytest.raises(BudgetError, match="2 calls"):
        run(caller.complete(ask("c")))
    assert len(model.requests) == 2
    assert run(caller.complete(ask("b"))).text == "b"  # what is there costs nothing


def test_attempts_are_bounded_by_themselves(store: Store) -> None:
    model = Failing(*(UnreachableError("no") for _ in range(9)))
    caller = a_caller(store, model, budget=Budget(calls=5, attempts=3))
    with pytest.raises(BudgetError, match="3 attempts"):
        run(caller.complete(ask("a")))
    assert model.n_sent == 3
    assert caller.spent == Spent(calls=1, attempts=3, cached=0)


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
        await ticks(self._rng.randrange(4))
        if self._rng.random() < self._share:
            raise self._rng.choice((UnreachableError, OverloadedError, RejectedError))("no")
        return Completion(text="x")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    calls=st.integers(1, 12),
    attempts=st.integers(1, 20),
    concurrency=st.integers(1, 6),
    share=st.sampled_from((0.0, 0.3, 0.8)),
)
def test_no_schedule_spends_more_than_the_budget(
    store: Store, seed: int, calls: int, attempts: int, concurrency: int, share: float
) -> None:
    study, rng, model = a_study(store), random.Random(seed), Erratic(seed, share)
    budget = Budget(calls=calls, attempts=attempts)
    identity = {"schedule": study.study}

    async def process() -> None:
        caller = a_caller(
            store, model, identity=identity, study=study, budget=budget, concurrency=concurrency
        )

        async def one() -> None:
            await ticks(rng.randrange(6))
            await caller.complete(ask(str(rng.randrange(15))), rng.randrange(5))

        work = asyncio.gather(*(one() for _ in range(20)), return_exceptions=True)
        if rng.random() < 0.5:  # killed in the middle: whatever is under way is dropped
            await ticks(rng.randrange(20))
            return
        outcomes = await work
        assert all(isinstance(one, OptimizerError) or one is None for one in outcomes)
        assert caller.spent.calls == study.calls()[0]

    for _ in range(3):
        run(process())
        assert study.calls()[0] <= calls
        assert study.calls()[1] <= attempts
        assert model.n_sent <= study.calls()[1]
        assert len(model.asked) <= study.calls()[0]
        assert sum(study.paid_by(payer) for payer in range(5)) == study.calls()[0]


def test_no_more_requests_are_under_way_than_allowed(store: Store) -> None:
    async def many() -> None:
        gate = Gate()
        caller = a_caller(store, gate, concurrency=3)
        work = asyncio.gather(*(caller.complete(ask(str(n))) for n in range(10)))
        await ticks()
        assert gate.under_way == 3
        gate.opened.set()
        await work
        assert gate.most == 3

    run(many())


# Failures


@pytest.mark.parametrize("kind", [UnreachableError, OverloadedError])
def test_what_may_pass_is_tried_again_after_longer_and_longer_waits(
    store: Store, kind: Callable[[str], ModelError]
) -> None:
    waits, model = Waits(), Failing(*(kind("later") for _ in RETRY_SECONDS))
    caller = a_caller(store, model, sleep=waits)
    assert run(caller.complete(ask("a"))).text == "a"
    assert model.n_sent == 1 + len(RETRY_SECONDS)
    assert caller.spent == Spent(calls=1, attempts=model.n_sent, cached=0)
    assert len(waits.seconds) == len(RETRY_SECONDS)
    for waited, meant in zip(waits.seconds, RETRY_SECONDS, strict=True):
        assert 0.5 * meant <= waited <= 1.5 * meant


def test_what_never_passes_is_given_up_and_has_no_completion(store: Store) -> None:
    model = Failing(*(OverloadedError("busy") for _ in range(9)))
    caller = a_caller(store, model)
    with pytest.raises(OverloadedError, match="busy"):
        run(caller.complete(ask("a")))
    assert model.n_sent == 1 + len(RETRY_SECONDS)
    with pytest.raises(OverloadedError):
        run(caller.complete(ask("a")))  # nothing was stored in its place
    assert caller.spent.calls == 1


def test_a_rejected_request_is_not_tried_again_and_others_go_on(store: Store) -> None:
    waits, model = Waits(), Failing(RejectedError("too long"))
    caller = a_caller(store, model, sleep=waits)
    with pytest.raises(RejectedError, match="too long"):
        run(caller.complete(ask("a")))
    assert (model.n_sent, waits.seconds) == (1, [])
    assert run(caller.complete(ask("b"))).text == "b"


def test_an_endpoint_that_refuses_everything_is_asked_nothing_more(store: Store) -> None:
    async def many() -> None:
        model = Failing(EndpointError("wrong key"))
        caller = a_caller(store, model, concurrency=1)
        work = (caller.complete(ask(str(n))) for n in range(6))
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["wrong key"] * 6
        assert {type(outcome) for outcome in outcomes} == {EndpointError}
        assert model.n_sent == 1
        assert caller.spent.calls == 1

    run(many())


# Stopping


def test_stopping_finishes_and_commits_what_is_under_way_and_sends_nothing_more(store: Store) -> None:
    async def stop() -> None:
        gate, study = Gate(), a_study(store)
        caller = a_caller(store, gate, study=study, concurrency=2)
        work = asyncio.gather(*(caller.complete(ask(str(n))) for n in range(6)), return_exceptions=True)
        await ticks()
        caller.stop()
        gate.opened.set()
        outcomes = await work
        assert outcomes[:2] == [Completion(text="done")] * 2
        assert {type(outcome) for outcome in outcomes[2:]} == {InterruptedRunError}
        assert gate.sent == ["0", "1"]
        assert study.calls() == (2, 2)
        assert (await caller.complete(ask("1"))).text == "done"  # committed, and readable after the stop
        with pytest.raises(InterruptedRunError):
            await caller.complete(ask("new"))

    run(stop())


def test_a_request_that_waits_for_its_next_attempt_is_not_sent_after_a_stop(store: Store) -> None:
    model = Failing(OverloadedError("busy"))
    caller = a_caller(store, model)

    class StopsMeanwhile(Waits):
        async def __call__(self, seconds: float) -> None:
            caller.stop()

    caller._sleep = StopsMeanwhile()
    with pytest.raises(InterruptedRunError):
        run(caller.complete(ask("a")))
    assert model.n_sent == 1


# Accounts


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_the_earliest_trial_pays_whichever_is_answered_first(store: Store, order: tuple[int, ...]) -> None:
    study = a_study(store)
    caller = a_caller(store, Scripted(echo), study=study)
    for payer in order:
        run(caller.paid_by(payer).complete(ask("a")))
    assert [study.paid_by(payer) for payer in (1, 2, 3)] == [1, 0, 0]


def test_of_trials_that_ask_at_once_the_earliest_pays(store: Store) -> None:
    study = a_study(store)

    async def both() -> None:
        caller = a_caller(store, Scripted(echo), study=study)
        await asyncio.gather(*(caller.paid_by(payer).complete(ask("a")) for payer in (4, 2, 3)))

    run(both())
    assert [study.paid_by(payer) for payer in (2, 3, 4)] == [1, 0, 0]


def test_a_call_of_no_trial_is_paid_for_by_the_first_trial_that_uses_it(store: Store) -> None:
    study = a_study(store)
    caller = a_caller(store, Scripted(echo), study=study)
    run(caller.complete(ask("a")))
    assert study.paid_by(NO_TRIAL) == 1
    run(caller.paid_by(9).complete(ask("a")))
    assert (study.paid_by(NO_TRIAL), study.paid_by(9)) == (0, 1)


def test_whoever_watches_is_told_after_each_new_answer(store: Store) -> None:
    caller, told = a_caller(store, Scripted(echo)), list[int]()
    caller.on_call = lambda: told.append(caller.spent.calls)
    for text in ("a", "b", "a"):
        run(caller.complete(ask(text)))
    assert told == [1, 2]
