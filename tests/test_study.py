"""One search with a scripted model: what is asked, recorded and told, and what is not."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import optuna
import pytest

from optimizer.calls import Caller
from optimizer.completion import Completion, Request
from optimizer.errors import (
    IncompleteError,
    InterruptedRunError,
    RejectedError,
    StudyChangedError,
    UnreachableError,
)
from optimizer.history import TrialRecord
from optimizer.models.scripted import Scripted
from optimizer.plan import StudyPlan, load_plan
from optimizer.storage import create_study, open_storage
from optimizer.store import Store
from optimizer.study import Progress, Study, open_study

LABELS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 12, validation: 12, test: 12}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: %s}
search:
  instructions: {given: [Which colour is it?, Say the colour.]}
  demos: {sizes: [0, 2], sets: 3}
  styles: [direct, chain_of_thought]
  formats: [plain, json, choice]
  screen: 6
budget: {calls: 102}
run: {batch: 4, concurrency: 4}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., StudyPlan]:
    """Return a function that writes a study, with some of its text replaced, and reads it."""

    def make(*changes: tuple[str, str], folder: str = "colours", seed: int | None = None) -> StudyPlan:
        path = tmp_path / folder / "study.yaml"
        path.parent.mkdir(exist_ok=True)
        rules = path.with_name("rules.json")
        rules.write_text('{"rules": [], "default": "red"}')
        rows = (f"c{n:02d},Item {n} is here,{LABELS[n % 3]}\n" for n in range(36))
        path.with_name("data.csv").write_text("id,text,colour\n" + "".join(rows))
        path.with_name("task.yaml").write_text(TASK)
        text = STUDY % rules.name
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path.write_text(text)
        return load_plan(path, seed=seed)

    return make


def item(request: Request) -> int:
    """Return the number of the example that a request asks about; demonstrations come before it."""
    return int(re.findall(r"Item (\d+)", " ".join(message.content for message in request.messages))[-1])


def answer(request: Request, label: str) -> str:
    """Return a completion that says a label as the request wants it said."""
    if request.constraint is None:
        return f"Answer: {label}"
    return label if request.constraint.choice else f'{{"reasoning": "because", "colour": "{label}"}}'


def right(request: Request) -> str:
    return answer(request, LABELS[item(request) % 3])


def by_wording(request: Request) -> str:
    """Return answers of which some are right, depending on all of the prompt."""
    return answer(request, LABELS[(item(request) + sum(map(len, map(str, request.messages)))) % 3])


@asynccontextmanager
async def opened(
    plan: StudyPlan, model: Scripted, watch: Callable[[Progress], None] = lambda _: None
) -> AsyncIterator[Study]:
    """Open a study as the product does, with a model of the test's own behind it."""
    with open_storage(plan.database) as storage:
        store = Store(storage)
        latest = store.latest_study()
        number = latest[0] if latest else store.add_study(plan.name, plan.identity)
        caller = Caller(model, {}, study=store.of(number), budget=plan.budget, concurrency=4, sleep=at_once)
        yield Study(plan, create_study(storage, f"{plan.name}#{number}"), store.of(number), caller, watch)


async def at_once(_seconds: float) -> None:
    return


def searched(
    plan: StudyPlan, script: Callable[[Request], Completion | str]
) -> tuple[tuple[TrialRecord, ...], Scripted]:
    model = Scripted(script)

    async def search() -> tuple[TrialRecord, ...]:
        async with opened(plan, model) as study:
            return await study.search()

    return asyncio.run(search()), model


def told(plan: StudyPlan) -> list[optuna.trial.FrozenTrial]:
    """Return what Optuna holds, as another program would read it."""
    with open_storage(plan.database) as storage:
        return create_study(storage, f"{plan.name}#1").get_trials()


def test_the_same_seed_finds_the_same_trials(write: Callable[..., StudyPlan]) -> None:
    # Enough trials for the sampler to learn from what it was told.
    more = ("calls: 102", "calls: 132")
    first, _ = searched(write(more, folder="one", seed=3), by_wording)
    second, _ = searched(write(more, folder="two", seed=3), by_wording)
    other, _ = searched(write(folder="three", seed=4), by_wording)
    assert first == second
    assert [row.digest for row in other] != [row.digest for row in first]


@pytest.mark.parametrize("sampler", ["tpe", "random_search"])
def test_optuna_holds_the_same_trials_with_their_states_and_values(
    write: Callable[..., StudyPlan], sampler: str
) -> None:
    sampling = f"  screen: 6\n  sampler: {{name: {sampler}, seed: 1}}"
    plan = write(("  screen: 6", sampling), ("calls: 102", "calls: 132"))
    rows, _ = searched(plan, by_wording)
    assert [row.trial for row in rows] == list(range(len(rows)))
    assert [row.stage for row in rows] == ["baseline", *["search"] * (len(rows) - 1)]
    assert len({row.fingerprint for row in rows}) == len(rows) >= 9
    trials = {trial.user_attrs["trial"]: trial for trial in told(plan)}
    assert sorted(trials) == [row.trial for row in rows]
    for row in rows:
        trial = trials[row.trial]
        assert (trial.state.name, trial.value) == ("COMPLETE", row.score)
        assert trial.params == row.point
        assert trial.user_attrs["digest"] == row.digest
        assert plan.space.candidate(row.point).digest == row.digest


def test_a_row_of_the_history_adds_up_by_hand(write: Callable[..., StudyPlan]) -> None:
    plan = write()
    examples = plan.dataset.validation[:6]
    broken = int(examples[0].id[1:])

    def script(request: Request) -> Completion:
        text = "who knows" if item(request) == broken else right(request)
        return Completion(text=text, prompt_tokens=10, completion_tokens=2)

    rows, _ = searched(plan, script)
    baseline = rows[0]
    assert (baseline.n, baseline.score, baseline.valid) == (6, 5 / 6, 5 / 6)
    assert (baseline.errors, baseline.calls, baseline.cached) == (0, 6, 0)
    assert (baseline.prompt_tokens, baseline.completion_tokens) == (60, 12)
    assert baseline.lower is not None
    assert baseline.upper is not None
    assert baseline.lower < 5 / 6 < baseline.upper
    assert baseline.fingerprint == plan_fingerprint(plan)


def plan_fingerprint(plan: StudyPlan) -> str:
    template = plan.space.render(plan.space.baseline)
    assert template is not None
    return template.fingerprint


def test_the_search_spends_its_budget_and_keeps_the_reserve(write: Callable[..., StudyPlan]) -> None:
    plan = write()
    rows, model = searched(plan, right)
    bounds = plan.bounds
    assert len(model.requests) == sum(row.calls for row in rows) <= bounds.budget - bounds.reserved
    assert len(rows) - 1 == bounds.candidates
    assert bounds.budget - bounds.reserved - len(model.requests) < bounds.candidate


def test_the_search_shows_nothing_of_the_test_and_demonstrates_train_only(
    write: Callable[..., StudyPlan],
) -> None:
    plan = write(("sizes: [0, 2]", "sizes: [2, 3]"))
    _, model = searched(plan, by_wording)
    ids = {
        name: {int(e.id[1:]) for e in getattr(plan.dataset, name)} for name in ("train", "validation", "test")
    }
    texts = (" ".join(m.content for m in request.messages) for request in model.requests)
    shown = [[int(n) for n in re.findall(r"Item (\d+)", text)] for text in texts]
    assert {items[-1] for items in shown} == {int(e.id[1:]) for e in plan.dataset.validation[:6]}
    demonstrated = {n for items in shown for n in items[:-1]}
    assert demonstrated
    assert demonstrated <= ids["train"]
    assert not {n for items in shown for n in items} & ids["test"]


def json_fails(request: Request) -> str:
    if request.constraint is not None and not request.constraint.choice:
        raise RejectedError("no schema today")
    return right(request)


def test_a_candidate_that_cannot_be_scored_is_failed_and_never_gets_a_value(
    write: Callable[..., StudyPlan],
) -> None:
    plan = write(("batch: 4", "batch: 8"))
    rows, _ = searched(plan, json_fails)
    failed = [row for row in rows if row.point["format"] == "json"]
    assert 0 < len(failed) < len(rows) - 1
    for row in rows:
        if row in failed:
            assert (row.state, row.score, row.lower, row.upper) == ("failed", None, None, None)
            assert (row.errors, row.feasible, row.valid) == (6, False, None)
        else:
            assert (row.state, row.score) == ("complete", 1.0)
    states = {trial.user_attrs["trial"]: (trial.state.name, trial.value) for trial in told(plan)}
    assert {n for n, (state, _) in states.items() if state == "FAIL"} == {row.trial for row in failed}
    assert {value for _, value in states.values()} == {1.0, None}


def test_a_few_errors_within_the_limit_are_left_out_of_the_score(write: Callable[..., StudyPlan]) -> None:
    plan = write(("concurrency: 4", "concurrency: 4, max_error_rate: 0.2"))
    lost = int(plan.dataset.validation[1].id[1:])

    def script(request: Request) -> str:
        if item(request) == lost:
            raise RejectedError("too long")
        return right(request)

    rows, _ = searched(plan, script)
    assert {(row.state, row.score, row.errors, row.n) for row in rows} == {("complete", 1.0, 1, 6)}


def test_a_baseline_that_cannot_be_scored_ends_the_study_with_nothing_told(
    write: Callable[..., StudyPlan],
) -> None:
    plan = write()

    def script(_request: Request) -> str:
        raise RejectedError("never")

    with pytest.raises(
        IncompleteError, match="the baseline could not be scored: 6 of 6 examples failed; never"
    ):
        searched(plan, script)
    assert told(plan) == []


def test_a_batch_that_fails_as_a_whole_tells_nothing_and_is_asked_again(
    write: Callable[..., StudyPlan],
) -> None:
    plan, asked = write(), set[str]()

    def breaks(request: Request) -> str:
        if len(asked) >= 6:
            raise UnreachableError("all gone")
        asked.add(str(request))
        return right(request)

    with pytest.raises(IncompleteError, match="a whole batch of candidates"):
        searched(plan, breaks)
    assert [trial.state.name for trial in told(plan)] == ["COMPLETE", *["RUNNING"] * 4]
    assert told(plan)[0].value == 1.0
    interrupted = [trial.params for trial in told(plan)]
    rows, model = searched(plan, right)
    assert [dict(row.point) for row in rows[:5]] == interrupted
    assert not asked & {str(request) for request in model.requests}  # what the baseline paid for
    undisturbed, _ = searched(write(folder="undisturbed"), right)
    assert [row.digest for row in rows] == [row.digest for row in undisturbed]


def test_a_batch_that_the_endpoint_rejects_for_good_fails_and_the_search_goes_on(
    write: Callable[..., StudyPlan],
) -> None:
    plan, asked = write(), set[str]()

    def refuses(request: Request) -> str:
        if len(asked) >= 6:
            raise RejectedError("too long")
        asked.add(str(request))
        return right(request)

    rows, _ = searched(plan, refuses)
    assert rows[0].state == "complete"
    assert {row.state for row in rows[1:]} == {"failed"}
    assert {row.score for row in rows[1:]} == {None}


def test_a_search_that_is_stopped_goes_on_where_it_was(write: Callable[..., StudyPlan]) -> None:
    plan, seen = write(), list[Request]()

    async def stopped() -> None:
        def script(request: Request) -> str:
            seen.append(request)
            if len(seen) == 20:
                study.stop()
            return by_wording(request)

        async with opened(plan, Scripted(script)) as study:
            await study.search()

    with pytest.raises(InterruptedRunError):
        asyncio.run(stopped())
    rows, model = searched(plan, by_wording)
    assert not {str(request) for request in seen} & {str(request) for request in model.requests}
    undisturbed, _ = searched(write(folder="undisturbed"), by_wording)
    assert rows == undisturbed


def test_a_space_smaller_than_the_budget_is_searched_to_its_end(write: Callable[..., StudyPlan]) -> None:
    plan = write(
        ("[Which colour is it?, Say the colour.]", "[Which colour is it?]"),
        ("sizes: [0, 2]", "sizes: [0]"),
        ("[direct, chain_of_thought]", "[direct]"),
        ("calls: 102", "calls: 500"),
    )
    rows, _ = searched(plan, by_wording)
    assert len(rows) == plan.space.size == 6
    again, model = searched(plan, by_wording)
    assert again == rows
    assert model.requests == []


def test_points_that_cannot_be_run_are_never_asked(write: Callable[..., StudyPlan]) -> None:
    plan = write(("calls: 102", "calls: 150"))
    excluded = {(pair.style, pair.format) for pair in plan.space.exclusions}
    assert ("chain_of_thought", "choice") in excluded
    rows, _ = searched(plan, by_wording)
    assert not {(row.point["style"], row.point["format"]) for row in rows} & excluded


def test_constraints_are_kept_or_the_trial_is_not_feasible(write: Callable[..., StudyPlan]) -> None:
    def plain_is_unreadable(request: Request) -> str:
        return "who knows" if request.constraint is None else right(request)

    plan = write(("budget:", "constraints: {valid: {min: 0.95}}\nbudget:"))
    rows, _ = searched(plan, plain_is_unreadable)
    assert {row.feasible for row in rows} == {True, False}
    assert all(row.feasible == (row.point["format"] != "plain") for row in rows)
    assert {row.score for row in rows if not row.feasible} == {0.0}


def test_decoding_parameters_are_searched_and_sent(write: Callable[..., StudyPlan]) -> None:
    plan = write(("  screen: 6", "  screen: 6\n  parameters: {temperature: [0.0, 0.7]}"))
    rows, model = searched(plan, by_wording)
    assert {row.point["temperature"] for row in rows[1:]} == {0.0, 0.7}
    assert {dict(request.parameters).get("temperature") for request in model.requests} == {None, 0.0, 0.7}


def test_whoever_watches_is_told_stage_spending_and_standing(write: Callable[..., StudyPlan]) -> None:
    plan, seen = write(), list[Progress]()

    async def watched() -> None:
        async with opened(plan, Scripted(right), seen.append) as study:
            await study.search()

    asyncio.run(watched())
    assert [seen[0].stage, seen[-1].stage] == ["baseline", "search"]
    spent = [progress.spent.calls for progress in seen]
    assert spent == sorted(spent)
    assert (seen[-1].best, seen[-1].baseline, seen[-1].budget) == (1.0, 1.0, 102)


def test_the_scores_of_every_example_are_stored(write: Callable[..., StudyPlan]) -> None:
    plan = write()
    rows, _ = searched(plan, by_wording)
    with open_storage(plan.database) as storage:
        stored = Store(storage).of(1).scores(rows[3].fingerprint)
    assert [row.example for row in stored] == sorted(e.id for e in plan.dataset.validation[:6])
    assert sum(row.score or 0.0 for row in stored) / 6 == rows[3].score


def test_the_product_opens_the_model_that_the_study_names(write: Callable[..., StudyPlan]) -> None:
    async def search() -> tuple[TrialRecord, ...]:
        async with open_study(write()) as study:
            return await study.search()

    rows = asyncio.run(search())
    assert rows[0].score == pytest.approx(1 / 3)  # always red


def test_a_study_that_was_asked_for_something_else_is_refused_by_what_changed(
    write: Callable[..., StudyPlan],
) -> None:
    async def enter(plan: StudyPlan, *, fresh: bool = False) -> int:
        async with open_study(plan, fresh=fresh) as study:
            return study.store.study

    assert asyncio.run(enter(write())) == 1
    assert asyncio.run(enter(write(("calls: 102", "calls: 200"), ("batch: 4", "batch: 2")))) == 1
    changed = write(("screen: 6", "screen: 5"), ("[plain, json, choice]", "[plain, json]"))
    with pytest.raises(StudyChangedError, match=r"search\.formats, search\.screen changed; --fresh"):
        asyncio.run(enter(changed))
    assert asyncio.run(enter(changed, fresh=True)) == 2
    assert asyncio.run(enter(changed)) == 2
