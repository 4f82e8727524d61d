"""Several studies under one budget: each as it would be alone, none in the way of another; and how they are told."""

import asyncio
import dataclasses
import errno
import hashlib
import os
import re
import signal
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.budget import Spent
from optimizer.commands import EXIT_ORDER
from optimizer.commands._batch import (
    Told,
    View,
    batch_junit,
    batch_lines,
    carried_out,
    end_of,
    total_figures,
)
from optimizer.commands._gates import study_gates
from optimizer.commands._stopping import stoppable
from optimizer.completion import Completion, Request
from optimizer.conclusion import Selection, artifacts
from optimizer.errors import (
    BudgetError,
    EndpointError,
    InputError,
    InterruptedRunError,
    OptimizerError,
    UnreachableError,
)
from optimizer.lanes import Lanes, endpoint_key, pace_of, strictest
from optimizer.models import ModelSpec
from optimizer.pacing import Pace
from optimizer.plan import StudyPlan, load_plan
from optimizer.runs import Batch, Outcome, UnexpectedError
from optimizer.sharing import Shared
from optimizer.study import Progress

if TYPE_CHECKING:
    from tests.virtual_clock import RunVirtual

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 6, test: 6}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: ../../rules.json}
search:
  instructions: {given: [Which colour is it?, Say the colour.]}
  styles: [direct]
  formats: [plain, json, choice]
  screen: 4
  sampler: {name: tpe}
budget: {calls: 60}
run: {batch: 2, concurrency: 4}
"""
LEAST = 32
NAMES = "abc"


class Endpoint:
    """A model whose label is drawn from the request; it refuses or breaks down where a request names a text.

    Attributes:
        asked: How often each request was sent.
        order: The requests as they were sent.
        moments: When, in seconds of the loop.
        most: Requests under way at once, at most.
    """

    def __init__(self, *, refuses: str = "", breaks: str = "") -> None:
        self.asked: Counter[str] = Counter()
        self.order: list[str] = []
        self.moments: list[float] = []
        self.most = 0
        self._under_way = 0
        self._refuses = refuses
        self._breaks = breaks

    async def complete(self, request: Request) -> Completion:
        text = repr([request.messages, request.constraint])
        self.asked[text] += 1
        self.order.append(text)
        if self._refuses and self._refuses in text:
            raise EndpointError("the key is wrong")
        if self._breaks and self._breaks in text:
            raise UnreachableError("gone", reason="refused")
        drawn = int(hashlib.sha256(text.encode()).hexdigest(), 16)
        self.moments.append(asyncio.get_running_loop().time())
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            await asyncio.sleep(0.5 + drawn % 7 / 10)
        finally:
            self._under_way -= 1
        return Completion(
            text=("red", "green", "blue")[drawn // 7 % 3], prompt_tokens=20, completion_tokens=2
        )


@pytest.fixture
def written(write_study: Callable[..., Path], tmp_path: Path) -> Callable[..., list[StudyPlan]]:
    """Return a function that writes studies that differ in their instruction and ask one model, and reads them."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "rules.json").write_text('{"rules": [], "default": "red"}')

    def make(*changes: tuple[str, str], names: Sequence[str] = "ab", under: str = "all") -> list[StudyPlan]:
        return [
            load_plan(
                write_study(
                    TASK,
                    STUDY,
                    ("Name the colour.", f"Name the colour of {name}."),
                    *changes,
                    items=18,
                    folder=f"{under}/{name}",
                )
            )
            for name in names
        ]

    return make


@pytest.fixture
def run(play: Callable[..., None], run_virtual: "RunVirtual") -> Callable[..., tuple[Outcome, ...]]:
    """Return what carries out studies against an endpoint, on virtual time."""

    def carry_out(
        plans: Sequence[StudyPlan],
        endpoint: Endpoint,
        *,
        calls: int | None = None,
        parallel: int = 3,
        fresh: bool = False,
        free: bool = True,
        touch: Callable[[Batch], None] = lambda _: None,
    ) -> tuple[Outcome, ...]:
        play(endpoint, free=free)

        async def work() -> tuple[Outcome, ...]:
            batch = Batch(plans, Shared(calls=calls), parallel=parallel, fresh=fresh)
            touch(batch)
            return await batch.run()

        return run_virtual(work())

    return carry_out


Run = Callable[..., tuple[Outcome, ...]]
Written = Callable[..., list[StudyPlan]]


def results(outcomes: Sequence[Outcome]) -> dict[str, dict[str, str]]:
    found = {}
    for outcome in outcomes:
        assert outcome.selection is not None, outcome.error
        found[outcome.plan.name] = artifacts(outcome.plan, outcome.selection)
    return found


def used(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {outcome.plan.name: outcome.figures["calls"] for outcome in outcomes}


def test_each_study_is_what_it_would_be_alone_with_its_share_whatever_runs_beside_it(
    written: Written, run: Run
) -> None:
    total, endpoint = 125, Endpoint()
    together = run(written(names=NAMES, under="together"), endpoint, calls=total)
    assert [outcome.plan.budget.calls for outcome in together] == [42, 42, 41]
    assert endpoint.asked.total() == sum(used(together).values()) <= total
    backwards = run(written(names=NAMES[::-1], under="backwards"), Endpoint(), calls=total, parallel=1)
    assert results(backwards) == results(together)
    plans = written(("calls: 60", "calls: 41"), names="c", under="alone")
    assert results(run(plans, Endpoint()))["c"] == results(together)["c"]


def test_a_budget_that_does_not_hold_them_is_refused_before_any_call(written: Written, run: Run) -> None:
    endpoint = Endpoint()
    with pytest.raises(InputError, match=r"expected at least 64 calls.*\(a 32, b 32\), found 63"):
        run(written(), endpoint, calls=63)
    assert endpoint.asked.total() == 0


def test_one_study_that_fails_stops_no_other_and_is_continued_by_a_larger_limit(
    written: Written, run: Run
) -> None:
    plans = written(names=NAMES)
    failed = run(plans, Endpoint(refuses="colour of b"), calls=110)
    assert [type(outcome.error) for outcome in failed] == [type(None), EndpointError, type(None)]
    assert [outcome.selection is None for outcome in failed] == [False, True, False]
    endpoint = Endpoint()
    found = run(plans, endpoint, calls=150)
    assert [outcome.figures.get("complete", False) for outcome in found] == [True, False, True]
    assert [outcome.plan.budget.calls for outcome in found] == [37, 50, 36]
    assert endpoint.asked.total() == found[1].figures["calls"]
    assert results(found[::2]) == results(failed[::2])


def test_an_endpoint_that_breaks_down_for_one_study_ends_that_one_alone(written: Written, run: Run) -> None:
    first, second = run(written(), Endpoint(breaks="colour of b"), calls=80)
    assert first.error is None
    assert isinstance(second.error, OptimizerError)
    assert second.error.exit_code == 3


def test_a_mistake_of_ours_in_one_study_stops_no_other(written: Written, run: Run) -> None:
    def keep(plan: StudyPlan, _: Selection) -> None:
        if plan.name == "a":
            raise ZeroDivisionError("by nothing")

    def touch(batch: Batch) -> None:
        batch.keep = keep

    first, other = run(written(("calls: 60", "calls: 33")), Endpoint(), touch=touch)
    assert isinstance(first.error, UnexpectedError)
    assert isinstance(first.error.__cause__, ZeroDivisionError)
    assert first.error.exit_code == 70
    assert first.figures["calls"] == first.figures["attempts"]
    assert other.error is None
    assert other.plan.budget.calls == 33


def test_what_is_finished_is_left_alone_by_any_limit_until_its_own_budget_grows_or_there_is_none(
    written: Written, run: Run
) -> None:
    plans = written()
    first = run(plans, Endpoint(), calls=75)
    assert not any("complete" in outcome.figures for outcome in first)
    endpoint = Endpoint()
    again = run(plans, endpoint, calls=110)
    assert endpoint.asked.total() == 0
    assert all(outcome.figures["complete"] for outcome in again)
    assert results(again) == results(first)
    assert [outcome.plan.budget.calls for outcome in again] == [38, 37]
    grown = run([*written(("calls: 60", "calls: 70"), names="a"), plans[1]], Endpoint(), calls=90)
    assert [outcome.plan.budget.calls for outcome in grown] == [45, 37]
    assert [outcome.figures.get("complete", False) for outcome in grown] == [False, True]
    (alone,) = run(plans[1:], Endpoint())
    assert alone.plan.budget.calls == 60
    assert "complete" not in alone.figures
    fresh = run(plans, Endpoint(), calls=80, fresh=True)
    assert [outcome.plan.budget.calls for outcome in fresh] == [40, 40]


def test_all_studies_keep_to_one_rate_and_one_limit(written: Written, run: Run) -> None:
    limit = ("concurrency: 4", "concurrency: 3, requests_per_minute: 120")
    plans = [*written(limit, names="a"), *written(names="b")]
    endpoint = Endpoint()
    run(plans, endpoint, free=False, calls=70)
    assert endpoint.most <= 3
    moments = endpoint.moments
    assert all(later - before >= 0.5 for before, later in pairwise(moments))
    # The rate is all that keeps them: no study leaves room that another could use.
    assert moments[-1] - moments[0] < 0.55 * len(moments)


def test_room_goes_round_at_a_paid_endpoint_and_stays_with_one_study_at_a_model_of_this_machine(
    written: Written, run: Run
) -> None:
    turns = {}
    for free in (False, True):
        endpoint = Endpoint()
        run(written(("concurrency: 4", "concurrency: 2"), under=str(free)), endpoint, free=free, calls=70)
        assert endpoint.most == 2
        asked = [re.findall("colour of ([ab])", text) for text in endpoint.order]
        named = [found[0] for found in asked if found]
        turns[free] = sum(before != after for before, after in pairwise(named))
    assert turns[False] > 2 * turns[True]


def test_a_stopped_batch_saves_and_the_same_command_goes_on(written: Written, run: Run) -> None:
    plans, asked = written(), Counter[str]()
    abandoned = 0
    for at, once in ((3, True), (8, True), (8, False)):
        endpoint = Endpoint()
        stopped = run(plans, endpoint, calls=80, parallel=2, touch=partial(stop_at, endpoint, at, once))
        errors = [outcome.error for outcome in stopped if outcome.error is not None]
        assert errors
        assert all(isinstance(error, InterruptedRunError) for error in errors)
        abandoned += 0 if once else 4
        asked += endpoint.asked
    endpoint = Endpoint()
    found = run(plans, endpoint, calls=80, parallel=2)
    assert results(found) == results(run(written(under="clean"), Endpoint(), calls=80))
    sent = (asked + endpoint.asked).total()
    assert sum(used(found).values()) <= sent <= sum(used(found).values()) + abandoned
    assert sum(used(found).values()) <= 80


def stop_at(endpoint: Endpoint, number: int, in_good_order: bool, batch: Batch) -> None:
    """Have a batch stopped once an endpoint was asked so often."""

    def watch(_folder: str, progress: Progress) -> None:
        if endpoint.asked.total() >= number:
            (batch.stop if in_good_order else batch.stop_at_once)()

    batch.watch = watch


class Signalled(Batch):
    """Studies that stay under way for as long as nothing stops them at once; a few signals come meanwhile."""

    def __init__(self, *signals: int) -> None:
        super().__init__((), Shared(), parallel=1)
        self.signals, self.heard = signals, list[str]()

    async def run(self) -> tuple[Outcome, ...]:
        for number in self.signals:  # all are there before the loop has a turn
            os.kill(os.getpid(), number)
        await asyncio.sleep(0.2)
        return ()

    def stop(self) -> None:
        self.heard.append("stop")

    def stop_at_once(self) -> None:
        self.heard.append("stop at once")


@pytest.mark.parametrize(
    ("signals", "heard"),
    [
        ([signal.SIGINT], ["stop"]),
        ([signal.SIGTERM], ["stop"]),
        ([signal.SIGINT, signal.SIGINT, signal.SIGINT], ["stop", "stop at once"]),
    ],
)
def test_signals_are_heard_and_counted_though_nobody_reads_what_is_said(
    monkeypatch: pytest.MonkeyPatch, signals: list[int], heard: list[str]
) -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("optimizer.commands._stopping.complain", gone)
    batch = Signalled(*signals)
    asyncio.run(carried_out(batch))
    assert batch.heard == heard


def test_what_is_alone_is_stopped_though_nobody_reads_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> None:
        raise OSError(errno.EIO, "closed")

    monkeypatch.setattr("optimizer.commands._stopping.complain", gone)
    heard = list[str]()

    async def work() -> None:
        async with stoppable() as signals:
            with signals.stopping(lambda: heard.append("stop")):
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(0.2)
                assert heard == ["stop"]
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.sleep(60)

    with pytest.raises(InterruptedRunError):
        asyncio.run(work())
    assert heard == ["stop"]


def test_how_studies_get_on_is_told_by_folder(
    written: Written, play: Callable[..., None], run_virtual: "RunVirtual"
) -> None:
    play(Endpoint())
    plans, seen = written(names="ab"), set[str]()
    batch = Batch(plans, Shared(calls=90), parallel=2)
    batch.watch = lambda folder, _: seen.add(folder)
    found = run_virtual(batch.run())
    assert seen == {str(plan.folder) for plan in plans}
    assert [outcome.plan.name for outcome in found] == ["a", "b"]


def spec(**changes: Any) -> ModelSpec:
    return ModelSpec(**{"provider": "openai_compatible", "name": "m", "base_url": "http://h/v1"} | changes)


def test_models_at_one_address_with_one_key_are_one_endpoint() -> None:
    assert endpoint_key(spec()) == endpoint_key(spec(name="n", base_url="http://h/v1/"))
    others = (spec(base_url="http://h/v2"), spec(api_key_env="KEY"), spec(provider="embeddings"))
    assert len({endpoint_key(each) for each in (spec(), *others)}) == 4
    local = ModelSpec(provider="scripted", name="m", path="a.json")
    assert endpoint_key(local) != endpoint_key(dataclasses.replace(local, path="b.json"))


def test_the_strictest_of_several_wishes_counts(written: Written) -> None:
    runs = [
        plan.file.run
        for change in ("concurrency: auto", "concurrency: 9, requests_per_minute: 60", "concurrency: 4")
        for plan in written(("concurrency: 4", change), names="a", under=change[:14])
    ]
    found = None
    for each in runs:
        found = strictest(found, each)
    assert found is not None
    assert (found.concurrency, found.requests_per_minute) == (4, 60)


def test_a_connection_is_shared_and_kept_until_the_last_who_needs_it(
    written: Written, run_virtual: "RunVirtual", monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import asynccontextmanager

    from optimizer.models import scripted

    log: list[str] = []
    whole = scripted.SCRIPTED.connect

    @asynccontextmanager
    async def connect(spec: ModelSpec) -> Any:
        log.append("open")
        if "broken" in spec.name:
            raise EndpointError("no")
        async with whole(spec) as connection:
            yield connection
        log.append("close")

    monkeypatch.setattr(scripted, "SCRIPTED", dataclasses.replace(scripted.SCRIPTED, connect=connect))
    (plan,) = written(names="a")
    model, bad = plan.model, dataclasses.replace(plan.model, name="broken")

    def pace(run: Any, slots: int, free: bool) -> Pace:
        return pace_of(run, slots=slots, fixed=free)

    async def work() -> None:
        async with Lanes([(model, plan.file.run)] * 3 + [(bad, plan.file.run)], pace) as lanes:
            async with lanes.connect(model) as one, lanes.connect(model) as other:
                assert one is other
            assert log == ["open"]
            async with lanes.connect(model) as third:
                assert third is one
            assert log == ["open", "close"]
            for _ in range(2):
                with pytest.raises(EndpointError):
                    async with lanes.connect(bad):
                        pass

    run_virtual(work())
    assert log == ["open", "close", "open", "open"]


def progress(stage: str, trials: int, calls: int, best: float | None = None) -> Progress:
    return Progress(
        stage=stage, trials=trials, spent=Spent(calls=calls), budget=40, best=best, baseline=best and 0.5
    )


def test_the_live_view_shows_a_line_for_each_study_and_one_for_all(written: Written) -> None:
    names = {f"/{name}": f"study-{name}" for name in "abc"}
    view = View(names=names, budgets=dict.fromkeys(names, 40))
    view.tell("/b", progress("baseline", 0, 4), 0.0)
    view.tell("/a", progress("search", 3, 16, 0.75), 8.0)
    lines = list(view.lines())
    assert [line.split() for line in lines[:4]] == [
        ["study", "stage", "trials", "calls", "best", "baseline"],
        ["study-a", "search", "3", "16/40", "0.750", "0.500"],
        ["study-b", "baseline", "0", "4/40", "-", "-"],
        ["study-c", "waiting", "0/40"],
    ]
    assert lines[4] == "0 of 3 studies over · 20 of 120 calls · 2.0 calls/s · at most 50 s left"
    assert max(map(len, lines)) <= 80
    (plan,) = written(names="a")
    ended = Outcome(plan=dataclasses.replace(plan, folder=Path("/a")), error=BudgetError("spent"))
    view.end(ended)
    lines = list(view.lines())
    assert lines[1].split() == ["study-a", "budget", "ended", "3", "16/40", "0.750", "0.500"]
    assert lines[4] == "1 of 3 studies over · 20 of 120 calls · 2.0 calls/s · at most 38 s left"
    few = list(view.lines(most=5))
    assert [line.split()[0] for line in few[1:4]] == ["study-b", "study-c", "and"]
    assert len(few) == 5


def test_studies_with_a_common_beginning_are_told_apart_and_small_amounts_are_told(written: Written) -> None:
    priced = ("budget: {calls: 60}", "budget: {calls: 60, prices: {rules: {input: 1, output: 4}}}")
    (plan,) = written(priced, names="a")
    names = [f"customer_support_triage_{end}" for end in ("v1", "v2")]
    far = Path("/somewhere/that/is/far/away")
    plans = [dataclasses.replace(plan, name=name, folder=far / name) for name in names]
    view = View(
        names={str(each.folder): each.name for each in plans}, budgets={str(each.folder): 4 for each in plans}
    )
    spent = Spent(calls=2, usd=0.0000123)
    view.tell(
        str(plans[0].folder),
        Progress(stage="search", trials=1, spent=spent, budget=4, best=None, baseline=None),
        0.0,
    )
    _, first, second, total = view.lines()
    assert (first.split()[0], second.split()[0]) == ("customer_su…_triage_v1", "customer_su…_triage_v2")
    assert "0.0000123 US dollars" in total
    summary = {"calls": 2, "usd": 0.0000123, "seconds": 0.1}
    rows = [Told(plan=each, error=BudgetError("spent"), summary=summary) for each in plans]
    *_, last = found = list(batch_lines(rows))
    assert " 0.0000246 " in last
    lines = [line for line in found if line.startswith("customer")]
    assert all(" 0.0000123 " in line for line in lines)
    assert len({line[:22] for line in lines}) == 2
    assert len({line.split()[-1] for line in lines}) == 2


def told(outcomes: Sequence[Outcome], least: float | None = None) -> list[Told]:
    made = []
    for outcome in outcomes:
        if outcome.selection is None:
            made.append(Told(plan=outcome.plan, error=outcome.error, summary=outcome.figures))
            continue
        evidence = dict(outcome.selection.frozen.evidence)
        gates = tuple(study_gates(least, None, evidence))
        summary = {**outcome.figures, "evidence": evidence}
        made.append(Told(plan=outcome.plan, error=None, summary=summary, gates=gates))
    return made


def test_the_table_the_junit_file_and_the_exit_code_say_what_each_study_came_to(
    written: Written, run: Run
) -> None:
    plans = written(names=NAMES)
    run(plans[2:], Endpoint(), calls=40)
    outcomes = run(plans, Endpoint(refuses="colour of b"), calls=110)
    rows = told(outcomes, least=1.0)
    lines = list(batch_lines(rows))
    assert [line.split()[0] for line in lines[2:] if not line.startswith(" ")] == ["a", "b", "c", "2"]
    assert "the key is wrong" in "\n".join(lines)
    assert "incomplete" in lines[4]
    assert "complete before; it was not asked again" in "\n".join(lines)
    assert max(map(len, lines)) <= 140
    assert str(total_figures(rows)["calls"]) in lines[-1]
    assert total_figures(rows)["finished"] == 2

    suite = ET.fromstring(batch_junit(rows))[0]
    assert suite.attrib == {"name": "optimizer run", "tests": "3", "failures": "2", "errors": "1"}
    assert [case.attrib["name"] for case in suite] == [plan.source.file for plan in plans]
    assert [case[0].tag for case in suite] == ["failure", "error", "failure"]
    assert "the key is wrong" in str(suite[1][0].text)
    assert "expected a score of at least 1" in suite[0][0].attrib["message"]

    assert end_of(rows, EXIT_ORDER) == 3
    assert end_of(rows[:1], EXIT_ORDER) == 1
    assert end_of(told(outcomes[:1]), EXIT_ORDER) == 0
    for error, code in ((BudgetError(""), 3), (InterruptedRunError(""), 130), (UnexpectedError(""), 70)):
        row = dataclasses.replace(rows[0], error=error)
        assert end_of([*rows, row], EXIT_ORDER) == code
