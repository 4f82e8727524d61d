"""Budgets in tokens and seconds decide how long a study searches, and nothing that is chance decides with them."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optimizer.budget import Spent
from optimizer.completion import Completion, Request
from optimizer.conclusion import artifacts
from optimizer.errors import OverloadedError
from optimizer.plan import StudyPlan, load_plan
from optimizer.selection import optimize
from optimizer.study import open_study

if TYPE_CHECKING:
    from tests.virtual_clock import RunVirtual

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 12, validation: 12, test: 12}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""

STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json, parameters: {max_tokens: 300}}
search:
  instructions: {given: [Which colour is it?, Say the colour.]}
  demos: {sizes: [0, 2], sets: 3}
  styles: [direct, chain_of_thought]
  formats: [plain, json, choice]
  screen: 6
  sampler: {name: tpe}
budget: {calls: 400, tokens: 30000}
run: {batch: 4, concurrency: 4}
"""

# In tokens, in the middle of what the space can use, one after the other.
BUDGETS = ("26000", "30000", "33000")


class Drawn:
    """A model whose label and length are drawn from the request; every third request fails first, if asked to."""

    def __init__(self, *, fails: bool = False, dies_at: int = 0) -> None:
        self.asked: Counter[str] = Counter()
        self._fails = fails
        self._dies_at = dies_at

    async def complete(self, request: Request) -> Completion:
        text = repr([request.messages, request.constraint])
        drawn = int(hashlib.sha256(text.encode()).hexdigest(), 16)
        self.asked[text] += 1
        if self.asked.total() == self._dies_at:
            await asyncio.Event().wait()  # until the process is killed
        if self._fails and drawn % 3 == 0 and self.asked[text] == 1:
            raise OverloadedError("busy", reason="500")
        label = ("red", "green", "blue")[drawn // 5 % 3]
        return Completion(text=label, prompt_tokens=len(text) // 4, completion_tokens=2 + drawn % 280)


@pytest.fixture
def finished(
    play: Callable[..., None], run_virtual: "RunVirtual"
) -> Callable[..., tuple[dict[str, str], Spent]]:
    """Return what runs a study to its end and returns its files and what was spent."""

    def finish(
        path: Path, model: Drawn, seconds: Callable[[Request], float] = lambda _: 1.0
    ) -> tuple[dict[str, str], Spent]:
        play(model, seconds=seconds)

        async def work() -> tuple[dict[str, str], Spent]:
            async with open_study(load_plan(path)) as study:
                return artifacts(study.plan, await optimize(study)), study.caller.spent

        return run_virtual(work())

    return finish


@pytest.fixture
def cut_short(play: Callable[..., None], run_virtual: "RunVirtual") -> Callable[[Path, Drawn], None]:
    """Return what runs a study until its model hangs, and ends it there without saving what was under way."""

    def cut(path: Path, model: Drawn) -> None:
        play(model, seconds=lambda _: 1.0)

        async def work() -> None:
            async with open_study(load_plan(path)) as study:
                await asyncio.wait_for(optimize(study), timeout=10_000)

        with pytest.raises(TimeoutError):
            run_virtual(work())

    return cut


@pytest.mark.parametrize("tokens", BUDGETS)
def test_retries_that_cost_nothing_change_no_search(
    write_study: Callable[..., Path], finished: Callable[..., tuple[dict[str, str], Spent]], tokens: str
) -> None:
    change = ("tokens: 30000", f"tokens: {tokens}")
    calm, _ = finished(write_study(TASK, STUDY, change, items=36, folder="calm"), Drawn())
    rough, spent = finished(write_study(TASK, STUDY, change, items=36, folder="rough"), Drawn(fails=True))
    assert spent.failures["500"] > 10
    assert rough["history.csv"] == calm["history.csv"]


@pytest.mark.parametrize("tokens", BUDGETS)
def test_calls_that_were_lost_in_flight_change_no_search(
    write_study: Callable[..., Path],
    finished: Callable[..., tuple[dict[str, str], Spent]],
    cut_short: Callable[[Path, Drawn], None],
    tokens: str,
) -> None:
    change = ("tokens: 30000", f"tokens: {tokens}")
    calm, _ = finished(write_study(TASK, STUDY, change, items=36, folder="calm"), Drawn())
    path = write_study(TASK, STUDY, change, items=36, folder="rough")
    for moment in (10, 25):
        cut_short(path, Drawn(dies_at=moment))
    rough, spent = finished(path, Drawn())
    assert spent.lost_in_flight >= 2
    assert rough["history.csv"] == calm["history.csv"]


def test_a_finished_study_does_not_go_on_because_time_goes_further_than_it_seemed(
    write_study: Callable[..., Path], finished: Callable[..., tuple[dict[str, str], Spent]]
) -> None:
    path = write_study(TASK, STUDY, ("tokens: 30000", "seconds: 300"), items=36)
    model = Drawn()
    slow, spent = finished(path, model, seconds=lambda _: 8.0 if model.asked.total() < 60 else 1.0)
    assert spent.seconds < 250
    again, _ = finished(path, Drawn())
    assert again == slow


def test_a_larger_budget_goes_on(
    write_study: Callable[..., Path], finished: Callable[..., tuple[dict[str, str], Spent]]
) -> None:
    path = write_study(TASK, STUDY, ("tokens: 30000", "tokens: 26000"), items=36)
    first, _ = finished(path, Drawn())
    path.write_text(path.read_text().replace("tokens: 26000", "tokens: 33000"))
    second, _ = finished(path, Drawn())
    assert second["history.csv"].count("\n") > first["history.csv"].count("\n")


def test_no_trial_pays_for_a_confirmation_that_was_interrupted_under_its_number(
    write_study: Callable[..., Path],
    finished: Callable[..., tuple[dict[str, str], Spent]],
    cut_short: Callable[[Path, Drawn], None],
) -> None:
    small = ("calls: 400, tokens: 30000", "calls: 103")
    path = write_study(TASK, STUDY, small, items=36)
    whole, _ = finished(write_study(TASK, STUDY, small, items=36, folder="whole"), Drawn())
    told = [line.split(",") for line in whole["history.csv"].splitlines()]
    paid = told[0].index("calls")
    searched = sum(int(row[paid]) for row in told[1:] if "confirm" not in row)
    assert "confirm" in told[-1]
    assert int(told[-1][paid]) > 4
    cut_short(path, Drawn(dies_at=searched + 5))  # some calls into the confirmation
    path.write_text(path.read_text().replace("calls: 103", "calls: 130"))
    grown, _ = finished(path, Drawn())
    header, *rows = (line.split(",") for line in grown["history.csv"].splitlines())
    n, calls = header.index("n"), header.index("calls")
    assert len(rows) > whole["history.csv"].count("\n") - 1
    assert all(int(row[calls]) <= int(row[n]) for row in rows)


RACE = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json, parameters: {max_tokens: 8}}
search:
  instructions: {given: [WORDINGS]}
  styles: [direct]
  formats: [plain, json]
budget: {calls: 5000, tokens: TOKENS}
"""


def short_words(n: int, k: int) -> str:
    """Return some words that no other text has, of always the same length."""
    return " ".join(f"w{n:02d}x{each:03d}" for each in range(k))


class Counted:
    """A model that charges a token for four characters, and whose label is drawn from the request."""

    async def complete(self, request: Request) -> Completion:
        text = repr([request.messages, request.constraint])
        label = ("red", "green", "blue")[int(hashlib.sha256(text.encode()).hexdigest(), 16) % 3]
        read = sum(len(message.content) for message in request.messages) // 4
        return Completion(text=label, prompt_tokens=read, completion_tokens=1)


@pytest.mark.parametrize(
    ("usual", "odd", "tokens"),
    [
        pytest.param(200, 1, 200_000, id="one-is-short"),
        pytest.param(4, 30, 40_000, id="one-is-long"),
    ],
)
def test_the_same_examples_make_as_long_a_race_whichever_comes_first(
    write_study: Callable[..., Path],
    play: Callable[..., None],
    run_virtual: "RunVirtual",
    *,
    usual: int,
    odd: int,
    tokens: int,
) -> None:
    given = ", ".join(f"Wording {k}." for k in range(60))
    changes = (("WORDINGS", given), ("TOKENS", str(tokens)))
    play(Counted(), free=False)
    races, calls = list[int](), list[int]()
    for place in (0, -1):
        path = write_study(TASK, RACE, *changes, items=36, folder=f"place{place}")
        one = load_plan(path).dataset.validation[place].id
        rows = [
            f"c{n:02d},{short_words(n, odd if f'c{n:02d}' == one else usual)},{('red', 'green', 'blue')[n % 3]}"
            for n in range(36)
        ]
        path.with_name("data.csv").write_text("\n".join(["id,text,colour", *rows, ""]))
        plan = load_plan(path)
        assert plan.races
        assert plan.dataset.validation[place].id == one
        races.append(plan.bounds.race(Spent(calls=12), ratio=0.25, kindred=True))

        async def work(plan: StudyPlan = plan) -> int:
            async with open_study(plan) as study:
                selection = await optimize(study)
                assert selection.decision
                assert study.store.records("test")
                assert study.caller.spent.tokens <= tokens
                return int(study.store.records("leg")[0]["calls"])

        calls.append(run_virtual(work()))
    assert races[0] == races[1] > 20
    assert min(calls) > 0.8 * max(calls)
