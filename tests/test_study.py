"""One search with a scripted model: what is asked, recorded and told, and what is not."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import optuna
import pytest
from optuna.samplers import RandomSampler

from optimizer.budget import Spent
from optimizer.candidate import Candidate
from optimizer.completion import Completion, Request
from optimizer.config import RunSpec
from optimizer.dataset import Example
from optimizer.errors import (
    BrokenAnswerError,
    IncompleteError,
    InterruptedRunError,
    OutageError,
    OverloadedError,
    RejectedError,
    StudyChangedError,
    UnreachableError,
)
from optimizer.evaluation import Evaluation
from optimizer.history import TrialRecord
from optimizer.lanes import MOST_CONCURRENT, pace_of
from optimizer.ledger import CacheMode
from optimizer.models.scripted import Scripted
from optimizer.patience import CONTACT_SECONDS
from optimizer.plan import StudyPlan, load_plan
from optimizer.samplers import Sampler, random_search
from optimizer.search import search as search_all
from optimizer.storage import create_study, open_storage
from optimizer.store import ScoreRow, Store
from optimizer.study import Progress, open_study

if TYPE_CHECKING:
    from tests.virtual_clock import RunVirtual

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
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour is it?, Say the colour.]}
  demos: {sizes: [0, 2], sets: 3}
  styles: [direct, chain_of_thought]
  formats: [plain, json, choice]
  screen: 6
  sampler: {name: tpe}
budget: {calls: 102}
run: {batch: 4, concurrency: 4}
"""
# Enough trials for the sampler to learn from what it was told.
MORE = ("calls: 102", "calls: 132")
# A call that fails is given up after some seconds, not minutes.
SOON = ("concurrency: 4", "concurrency: 4, deadline_seconds: 5")
BOUNDED = ("path: rules.json", "path: rules.json, parameters: {max_tokens: 8}")
AT_RANDOM = ("{name: tpe}", "{name: random_search}")

Script = Callable[[Request], Completion | str]


class Searched(NamedTuple):
    """What a search came to."""

    rows: tuple[TrialRecord, ...]
    model: Scripted
    spent: Spent


Search = Callable[..., Searched]
Write = Callable[..., StudyPlan]


@pytest.fixture
def write(write_study: Callable[..., Path]) -> Write:
    """Return a function that writes a study, with some of its text replaced, and reads it."""

    def make(*changes: tuple[str, str], folder: str = "colours", seed: int | None = None) -> StudyPlan:
        return load_plan(write_study(TASK, STUDY, *changes, items=36, folder=folder), seed=seed)

    return make


@pytest.fixture
def searched(play: Callable[..., None], run_virtual: "RunVirtual") -> Search:
    """Return a function that searches as the product does, with a script as the model, in no time."""

    def search(
        plan: StudyPlan,
        script: Script,
        *,
        seconds: Callable[[Request], float] = lambda _: 0.0,
        fresh: bool = False,
        cache: CacheMode = "shared",
        watch: Callable[[Progress], None] = lambda _: None,
    ) -> Searched:
        model = Scripted(script)
        play(model, seconds=seconds)

        async def work() -> Searched:
            async with open_study(plan, fresh=fresh, cache=cache, watch=watch) as study:
                return Searched(await search_all(study), model, study.caller.spent)

        return run_virtual(work())

    return search


def item(request: Request) -> int:
    """Return the number of the example that a request asks about; demonstrations come before it."""
    return int(re.findall(r"Item (\d+)", " ".join(message.content for message in request.messages))[-1])


def screened(plan: StudyPlan) -> list[int]:
    """Return the numbers of the examples that candidates are screened on."""
    return [int(example.id[1:]) for example in plan.dataset.validation[: plan.screen]]


def wants_json(request: Request) -> bool:
    return request.constraint is not None and not request.constraint.choice


def answer(request: Request, label: str) -> str:
    """Return a completion that says a label as the request wants it said."""
    if request.constraint is None:
        return f"Answer: {label}"
    return f'{{"reasoning": "because", "colour": "{label}"}}' if wants_json(request) else label


def right(request: Request) -> str:
    return answer(request, LABELS[item(request) % 3])


def by_wording(request: Request) -> str:
    """Return answers of which some are right, depending on all of the prompt."""
    return answer(request, LABELS[(item(request) + sum(map(len, map(str, request.messages)))) % 3])


def failing(fails: Callable[[Request], bool], error: Exception, otherwise: Script = right) -> Script:
    """Return a script that has an error in place of some answers."""

    def script(request: Request) -> Completion | str:
        if fails(request):
            raise error
        return otherwise(request)

    return script


def of_its_own() -> OverloadedError:
    """Return a failure that one request alone may cause."""
    return OverloadedError("no idea what to say", reason="500")


def after_baseline(fails: Callable[[Request], bool] = lambda _: True) -> Callable[[Request], bool]:
    """Return what picks requests once the first six different ones were asked."""
    first: set[str] = set()

    def picked(request: Request) -> bool:
        if len(first) < 6:
            first.add(str(request))
        return str(request) not in first and fails(request)

    return picked


def told(plan: StudyPlan) -> list[optuna.trial.FrozenTrial]:
    """Return what Optuna holds, as another program would read it."""
    with open_storage(plan.database) as storage:
        return create_study(storage, f"{plan.name}#1").get_trials()


def states(plan: StudyPlan) -> list[str]:
    return [trial.state.name for trial in told(plan)]


def score_by_hand(plan: StudyPlan, point: Mapping[str, Any], script: Callable[[Request], str]) -> float:
    template = plan.space.render(plan.space.candidate(point))
    assert template is not None
    examples = plan.dataset.validation[: plan.screen]
    answers = [template.answer.read(script(template.request(e.values)), "stop").text for e in examples]
    return sum(said == e.target for said, e in zip(answers, examples, strict=True)) / len(examples)


def test_the_same_seed_finds_the_same_trials(write: Write, searched: Search) -> None:
    first = searched(write(MORE, folder="one", seed=3), by_wording).rows
    second = searched(write(MORE, folder="two", seed=3), by_wording).rows
    other = searched(write(folder="three", seed=4), by_wording).rows
    assert first == second
    assert [row.digest for row in other] != [row.digest for row in first]


@pytest.mark.parametrize("sampler", ["tpe", "random_search"])
def test_optuna_holds_the_same_trials_with_their_states_and_values(
    write: Write, searched: Search, sampler: str
) -> None:
    sampling = f"{{name: {sampler}, seed: 1}}"
    plan = write(("{name: tpe}", sampling), MORE)
    rows = searched(plan, by_wording).rows
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


def test_a_row_of_the_history_adds_up_by_hand(write: Write, searched: Search) -> None:
    prices = ("calls: 102", "calls: 102, prices: {rules: {input: 3, output: 5}}")
    plan = write(prices)
    broken = screened(plan)[0]

    def script(request: Request) -> Completion:
        text = "who knows" if item(request) == broken else right(request)
        return Completion(text=text, prompt_tokens=10, completion_tokens=2)

    found = searched(plan, script)
    baseline = found.rows[0]
    assert (baseline.n, baseline.score, baseline.valid) == (6, 5 / 6, 5 / 6)
    assert (baseline.errors, baseline.calls, baseline.cached, baseline.outage) == (0, 6, 0, False)
    assert (baseline.prompt_tokens, baseline.completion_tokens) == (60, 12)
    assert baseline.cost_usd == pytest.approx((60 * 3 + 12 * 5) / 1e6)
    assert baseline.lower is not None
    assert baseline.upper is not None
    assert baseline.lower < 5 / 6 < baseline.upper
    template = plan.space.render(plan.space.baseline)
    assert template is not None
    assert baseline.fingerprint == template.fingerprint
    assert found.spent.usd == pytest.approx(sum(row.cost_usd or 0.0 for row in found.rows))
    assert found.spent.tokens == 12 * len(found.model.requests)


def test_a_cost_that_is_not_known_is_none_and_not_nothing(
    write: Write, play: Callable[..., None], run_virtual: "RunVirtual"
) -> None:
    async def baseline() -> tuple[float | None, float]:
        async with open_study(write()) as study:
            await search_all(study)
            return study.trials[0].cost_usd, study.caller.spent.usd

    play(Scripted(right), free=False)
    assert run_virtual(baseline()) == (None, 0.0)


def test_the_search_spends_its_budget_and_keeps_the_reserve(write: Write, searched: Search) -> None:
    plan = write()
    rows, model, spent = searched(plan, right)
    bounds = plan.bounds
    left = bounds.budget.calls - bounds.reserved.calls - len(model.requests)
    assert len(model.requests) == sum(row.calls for row in rows) == spent.calls
    assert len(rows) - 1 == bounds.candidates
    assert 0 <= left < bounds.candidate.calls


@pytest.mark.parametrize(
    ("budget", "figure"),
    [
        pytest.param("tokens: 14000", lambda spent: spent.tokens, id="tokens"),
        pytest.param("usd: 0.02, prices: {rules: {input: 1, output: 2}}", lambda spent: spent.usd, id="usd"),
        pytest.param("seconds: 40", lambda spent: spent.seconds, id="seconds"),
    ],
)
def test_the_search_ends_while_any_budget_still_holds_confirmation_and_test(
    write: Write, searched: Search, budget: str, figure: Callable[[Spent], float]
) -> None:
    plan = write(("calls: 102", f"calls: 900, {budget}"), BOUNDED, ("sets: 3", "sets: 9"), AT_RANDOM)
    limit = float(re.findall(r"[\d.]+", budget)[0])
    # Four requests at most are under way, each for a second; a character is a quarter of a token.
    rows, _, spent = searched(plan, right, seconds=lambda _: 1.0)
    assert len(rows) < plan.space.size  # it was not the space that ended the search, nor the calls
    assert spent.calls < 900 - plan.bounds.reserved.calls - plan.bounds.candidate.calls
    left, rest = limit - figure(spent), [*plan.dataset.validation[6:], *plan.dataset.test * 3]
    used = [tokens_by_hand(plan, plan.space.candidate(row.point), rest) for row in rows]
    costs = {
        "tokens": max(read + written for read, written in used),
        "usd": max(read + 2 * written for read, written in used) / 1e6,
        "seconds": len(rest) / 4,
    }
    assert left >= costs[budget.partition(":")[0]]
    # Nor did it end for nothing: most of the budget was used.
    assert len(rows) >= 5
    assert left < 0.75 * limit


def tokens_by_hand(plan: StudyPlan, prompt: Candidate, examples: Sequence[Example]) -> tuple[int, int]:
    """Return what a scripted model that is right reads and writes, given a prompt and some examples."""
    template = plan.space.render(prompt)
    assert template is not None
    requests = [template.request(example.values) for example in examples]
    read = sum(sum(len(message.content) for message in request.messages) // 4 for request in requests)
    return read, sum(len(right(request)) // 4 for request in requests)


def test_the_search_shows_nothing_of_the_test_and_demonstrates_train_only(
    write: Write, searched: Search
) -> None:
    plan = write(("sizes: [0, 2]", "sizes: [2, 3]"))
    model = searched(plan, by_wording).model
    ids = {name: {int(e.id[1:]) for e in getattr(plan.dataset, name)} for name in ("train", "test")}
    texts = (" ".join(m.content for m in request.messages) for request in model.requests)
    shown = [[int(n) for n in re.findall(r"Item (\d+)", text)] for text in texts]
    assert {items[-1] for items in shown} == set(screened(plan))
    demonstrated = {n for items in shown for n in items[:-1]}
    assert demonstrated
    assert demonstrated <= ids["train"]
    assert not {n for items in shown for n in items} & ids["test"]


def test_a_candidate_that_cannot_be_scored_is_failed_and_never_gets_a_value(
    write: Write, searched: Search
) -> None:
    plan = write(("batch: 4", "batch: 8"))
    rows = searched(plan, failing(wants_json, RejectedError("no schema today"))).rows
    failed = [row for row in rows if row.point["format"] == "json"]
    assert 0 < len(failed) < len(rows) - 1
    for row in rows:
        if row in failed:
            assert (row.state, row.score, row.lower, row.upper) == ("failed", None, None, None)
            assert (row.errors, row.feasible, row.valid, row.cost_usd) == (6, False, None, None)
            assert not row.outage
        else:
            assert (row.state, row.score) == ("complete", 1.0)
    values = {trial.user_attrs["trial"]: (trial.state.name, trial.value) for trial in told(plan)}
    assert {n for n, (state, _) in values.items() if state == "FAIL"} == {row.trial for row in failed}
    assert {value for _, value in values.values()} == {1.0, None}


def test_what_was_refused_for_good_stays_failed_and_is_not_asked_again(
    write: Write, searched: Search
) -> None:
    plan = write()
    first = searched(plan, failing(wants_json, RejectedError("no schema today")))
    assert "failed" in {row.state for row in first.rows}
    again = searched(plan, right)
    assert again.model.requests == []
    assert again.rows == first.rows


def test_a_trial_that_failed_by_the_endpoint_is_completed_with_exactly_what_is_missing(
    write: Write, searched: Search
) -> None:
    plan = write(SOON)
    lost = screened(plan)[1:3]
    asked: list[Request] = []

    def loses(request: Request) -> bool:
        asked.append(request)
        return wants_json(request) and item(request) in lost

    first = searched(plan, failing(loses, of_its_own(), by_wording))
    failed = [row for row in first.rows if row.state == "failed"]
    assert {row.point["format"] for row in failed} == {"json"}
    assert {(row.errors, row.outage, row.score, row.feasible) for row in failed} == {(2, True, None, False)}
    assert first.spent.failures["500"] > 2 * len(failed)  # each was tried again before it was given up

    again = searched(plan, by_wording)
    missing = {str(request) for request in asked if wants_json(request) and item(request) in lost}
    assert Counter(map(str, again.model.requests)) == dict.fromkeys(missing, 1)
    assert len(missing) == 2 * len(failed)
    for before, after in zip(first.rows, again.rows, strict=True):
        if before not in failed:
            assert after == before
            continue
        assert (after.digest, after.point, after.calls, after.n) == (before.digest, before.point, 6, 6)
        assert (after.state, after.errors, after.outage, after.feasible) == ("complete", 0, False, True)
        assert after.score == score_by_hand(plan, after.point, by_wording)
    assert again.spent.calls == first.spent.calls
    third = searched(plan, right)
    assert (third.rows, third.model.requests) == (again.rows, [])


def test_a_completed_trial_is_complete_in_optuna_and_was_without_a_value_before(
    write: Write, searched: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[object, float | None]] = []

    class Watched(RandomSampler):
        """Draws at random, and remembers what it could have learned from."""

        def sample_relative(self, study: optuna.Study, *_: object) -> dict[str, Any]:
            trials = study.get_trials(deepcopy=False)
            seen.append({t.user_attrs["trial"]: t.value for t in trials if "trial" in t.user_attrs})
            assert not any(t.intermediate_values for t in trials if t.value is None)
            return {}

    watched = Sampler(make=lambda seed, _board: Watched(seed=seed))
    monkeypatch.setattr(random_search, "random_search", watched)
    plan = write(SOON, AT_RANDOM)
    first = searched(plan, failing(wants_json, of_its_own(), by_wording)).rows
    failed = {row.trial for row in first if row.state == "failed"}
    assert {n for n, trial in enumerate(told(plan)) if trial.state.name == "FAIL"} == failed
    views = [view for view in seen if failed & set(view)]
    assert views
    assert {view[n] for view in views for n in failed & set(view)} == {None}

    rows = searched(plan, by_wording).rows
    trials = told(plan)
    assert [trial.state.name for trial in trials].count("FAIL") == len(failed)
    assert {trial.value for trial in trials if trial.state.name == "FAIL"} == {None}
    complete = {t.user_attrs["trial"]: t for t in trials if t.state.name == "COMPLETE"}
    assert {n: trial.value for n, trial in complete.items()} == {row.trial: row.score for row in rows}
    assert all(complete[row.trial].params == row.point for row in rows)


@pytest.mark.parametrize(
    "error",
    [
        of_its_own(),
        BrokenAnswerError("half of one", reason="half an answer"),
        UnreachableError("nothing came", reason="time-out", billable=True),
    ],
)
def test_what_is_still_missing_is_asked_for_again_by_each_run_and_no_more(
    write: Write, searched: Search, error: Exception
) -> None:
    plan = write(SOON)
    one, other, *_ = screened(plan)
    found = searched(plan, failing(lambda r: wants_json(r) and item(r) in (one, other), error))
    failed = [row.trial for row in found.rows if row.state == "failed"]
    found = searched(plan, failing(lambda r: item(r) == one, error))
    assert {item(request) for request in found.model.requests} == {one, other}
    assert [(row.trial, row.errors) for row in found.rows if row.state == "failed"] == [
        (n, 1) for n in failed
    ]
    found = searched(plan, right)
    assert Counter(map(item, found.model.requests)) == {one: len(failed)}
    assert {row.state for row in found.rows} == {"complete"}


def test_a_completed_trial_is_what_later_trials_learn_from(write: Write, searched: Search) -> None:
    plan = write(SOON)
    searched(plan, failing(wants_json, of_its_own(), by_wording))
    larger = searched(write(SOON, MORE), by_wording)
    assert {row.state for row in larger.rows} == {"complete"}
    assert len(larger.rows) == 1 + plan.bounds.candidates + 5
    assert larger.spent.calls == sum(row.calls for row in larger.rows)


def test_a_few_errors_within_the_limit_are_left_out_of_the_score(write: Write, searched: Search) -> None:
    plan = write(("concurrency: 4", "concurrency: 4, max_error_rate: 0.2"))
    lost = screened(plan)[1]
    rows = searched(plan, failing(lambda request: item(request) == lost, RejectedError("too long"))).rows
    assert {(row.state, row.score, row.errors, row.n) for row in rows} == {("complete", 1.0, 1, 6)}


def test_a_baseline_that_cannot_be_scored_ends_the_study_with_nothing_told(
    write: Write, searched: Search
) -> None:
    plan = write()
    with pytest.raises(
        IncompleteError, match="the baseline could not be scored: 6 of 6 examples failed; never"
    ):
        searched(plan, failing(lambda _: True, RejectedError("never")))
    assert told(plan) == []


def test_a_batch_that_the_endpoint_fails_as_a_whole_tells_nothing_and_stays_open(
    write: Write, searched: Search
) -> None:
    plan = write(SOON)
    lost, answered = screened(plan)[2], set[str]()

    def noting(request: Request) -> str:
        answered.add(str(request))
        return right(request)

    picked = after_baseline(lambda request: item(request) == lost)
    with pytest.raises(IncompleteError, match=r"a whole batch of candidates .* 1 of 6 examples failed"):
        searched(plan, failing(picked, of_its_own(), noting))
    trials = told(plan)
    assert [trial.state.name for trial in trials] == ["COMPLETE", *["RUNNING"] * 4]
    assert trials[0].value == 1.0
    assert len(answered) == 6 + 4 * 5
    resumed = searched(plan, right)
    assert [dict(row.point) for row in resumed.rows[:5]] == [trial.params for trial in trials]
    assert not answered & set(map(str, resumed.model.requests))  # what was paid for is not asked again
    assert resumed.rows == searched(write(folder="undisturbed"), right).rows


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError("come back later", reason="503"),
        UnreachableError("nobody there", reason="refused"),
    ],
)
def test_an_outage_stops_the_search_within_the_deadline_and_the_batch_stays_open(
    write: Write, searched: Search, error: Exception
) -> None:
    plan, stopped_at = write(SOON), list[float]()

    def watch(_: Progress) -> None:
        stopped_at.append(asyncio.get_running_loop().time())

    with pytest.raises(OutageError, match=f"^{error} .*nothing was answered") as stopped:
        searched(plan, failing(after_baseline(), error), watch=watch)
    assert stopped.value.exit_code == 3
    assert 5.0 <= stopped_at[-1] <= 10.0
    assert states(plan) == ["COMPLETE", *["RUNNING"] * 4]
    resumed = searched(plan, by_wording)
    undisturbed = searched(write(folder="undisturbed"), by_wording)
    assert [row.digest for row in resumed.rows[:5]] == [row.digest for row in undisturbed.rows[:5]]
    assert {row.state for row in resumed.rows} == {"complete"}


def test_an_endpoint_that_never_answers_stops_the_search_after_some_seconds(
    write: Write, play: Callable[..., None], run_virtual: "RunVirtual", searched: Search
) -> None:
    plan, ended = write(), list[float]()

    async def search() -> None:
        async with open_study(plan) as study:
            try:
                await search_all(study)
            finally:
                ended.append(asyncio.get_running_loop().time())

    play(Scripted(failing(lambda _: True, UnreachableError("refused", reason="refused"))))
    with pytest.raises(OutageError):
        run_virtual(search())
    assert ended[0] <= 1.5 * CONTACT_SECONDS
    assert told(plan) == []
    assert searched(plan, right).rows == searched(write(folder="undisturbed"), right).rows


def test_a_batch_that_the_endpoint_rejects_for_good_fails_and_the_search_goes_on(
    write: Write, searched: Search
) -> None:
    rows = searched(write(), failing(after_baseline(), RejectedError("too long"))).rows
    assert rows[0].state == "complete"
    assert {row.state for row in rows[1:]} == {"failed"}
    assert {row.score for row in rows[1:]} == {None}


def test_a_search_that_is_stopped_goes_on_where_it_was(
    write: Write, searched: Search, play: Callable[..., None], run_virtual: "RunVirtual"
) -> None:
    plan, seen = write(), list[Request]()

    async def stopped() -> None:
        def script(request: Request) -> str:
            seen.append(request)
            if len(seen) == 20:
                study.stop()
            return by_wording(request)

        play(Scripted(script))
        async with open_study(plan) as study:
            await search_all(study)

    with pytest.raises(InterruptedRunError):
        run_virtual(stopped())
    rows, model, _ = searched(plan, by_wording)
    assert not {str(request) for request in seen} & {str(request) for request in model.requests}
    assert rows == searched(write(folder="undisturbed"), by_wording).rows


def test_a_space_smaller_than_the_budget_is_searched_to_its_end(write: Write, searched: Search) -> None:
    plan = write(
        ("[Which colour is it?, Say the colour.]", "[Which colour is it?]"),
        ("sizes: [0, 2]", "sizes: [0]"),
        ("[direct, chain_of_thought]", "[direct]"),
        ("calls: 102", "calls: 500"),
    )
    rows = searched(plan, by_wording).rows
    assert len(rows) == plan.space.size == 6
    again = searched(plan, by_wording)
    assert again.rows == rows
    assert again.model.requests == []


def test_points_that_cannot_be_run_are_never_asked(write: Write, searched: Search) -> None:
    plan = write(("calls: 102", "calls: 150"), AT_RANDOM)
    excluded = {(pair.style, pair.format) for pair in plan.space.exclusions}
    assert ("chain_of_thought", "choice") in excluded
    rows = searched(plan, by_wording).rows
    assert not {(row.point["style"], row.point["format"]) for row in rows} & excluded


def test_constraints_are_kept_or_the_trial_is_not_feasible(write: Write, searched: Search) -> None:
    def plain_is_unreadable(request: Request) -> str:
        return "who knows" if request.constraint is None else right(request)

    plan = write(("budget:", "constraints: {valid: {min: 0.95}}\nbudget:"))
    rows = searched(plan, plain_is_unreadable).rows
    assert {row.feasible for row in rows} == {True, False}
    assert all(row.feasible == (row.point["format"] != "plain") for row in rows)
    assert {row.score for row in rows if not row.feasible} == {0.0}


FAST = ("budget:", "constraints: {seconds: {max: 0.5}}\nbudget:")


def test_a_time_that_was_measured_is_held_to_its_constraint(write: Write, searched: Search) -> None:
    def json_takes_long(request: Request) -> float:
        return 2.0 if wants_json(request) else 0.1

    plan = write(FAST)
    rows = searched(plan, right, seconds=json_takes_long).rows
    assert {row.feasible for row in rows} == {True, False}
    assert all(row.feasible == (row.point["format"] != "json") for row in rows)
    # What the study paid for itself keeps its time, however often it is opened.
    assert searched(plan, right).rows == rows


@pytest.mark.parametrize(("cache", "feasible"), [("shared", True), ("private", False), ("refresh", False)])
def test_a_time_that_cannot_be_measured_breaks_no_constraint(
    write: Write, searched: Search, cache: CacheMode, feasible: bool
) -> None:
    paid = searched(write(AT_RANDOM), right, seconds=lambda _: 2.0).rows
    fresh = searched(write(AT_RANDOM, FAST), right, seconds=lambda _: 2.0, fresh=True, cache=cache)
    rows = fresh.rows[: len(paid)]  # what is saved leaves calls for further trials
    assert [row.digest for row in rows] == [row.digest for row in paid]
    assert {row.feasible for row in rows} == {feasible}
    assert {(row.calls, row.cached) for row in rows} == {(0, 6) if cache == "shared" else (6, 0)}
    assert len(fresh.model.requests) == 6 * sum(row.calls > 0 for row in fresh.rows)
    assert {row.feasible for row in fresh.rows[len(paid) :]} <= {False}


def test_a_time_is_measured_on_answers_that_the_study_got_itself(
    write: Write, searched: Search, play: Callable[..., None], run_virtual: "RunVirtual"
) -> None:
    searched(write(("screen: 6", "screen: 4")), right, seconds=lambda _: 9.0)
    plan = write()

    async def again() -> Evaluation:
        async with open_study(plan, fresh=True) as study:
            template = plan.space.render(plan.space.baseline)
            assert template is not None
            return await study.score(template, plan.dataset.validation[:6], 0)

    play(Scripted(right), seconds=lambda _: 1.5)
    evaluation = run_virtual(again())
    assert [result.completions[0].cached for result in evaluation.results] == [True] * 4 + [False] * 2
    assert [result.completions[0].seconds for result in evaluation.results] == [9.0] * 4 + [1.5] * 2
    assert evaluation.measure("seconds") == 1.5
    assert evaluation.measure("accuracy") == 1.0


def test_decoding_parameters_are_searched_and_sent(write: Write, searched: Search) -> None:
    plan = write(("  screen: 6", "  screen: 6\n  parameters: {temperature: [0.0, 0.7]}"))
    rows, model, _ = searched(plan, by_wording)
    assert {row.point["temperature"] for row in rows[1:]} == {0.0, 0.7}
    assert {dict(request.parameters).get("temperature") for request in model.requests} == {None, 0.0, 0.7}


def test_whoever_watches_is_told_stage_spending_and_standing(write: Write, searched: Search) -> None:
    plan, seen = write(), list[Progress]()
    found = searched(plan, right, watch=seen.append)
    assert [seen[0].stage, seen[-1].stage] == ["baseline", "search"]
    spent = [progress.spent.calls for progress in seen]
    assert spent == sorted(spent)
    assert (seen[-1].best, seen[-1].baseline, seen[-1].budget) == (1.0, 1.0, 102)
    assert seen[-1].spent == found.spent


def test_whoever_watched_may_be_gone(write: Write, searched: Search) -> None:
    def gone(_: Progress) -> None:
        raise BrokenPipeError

    assert searched(write(), right, watch=gone).spent.calls > 0


def test_the_scores_of_every_example_are_stored(write: Write, searched: Search) -> None:
    plan = write()
    rows = searched(plan, by_wording).rows
    with open_storage(plan.database) as storage:
        stored = Store(storage).of(1).scores(rows[3].fingerprint)
    assert [row.example for row in stored] == sorted(e.id for e in plan.dataset.validation[:6])
    assert sum(row.score or 0.0 for row in stored) / 6 == rows[3].score


def test_the_product_opens_the_model_that_the_study_names(write: Write) -> None:
    async def search() -> tuple[TrialRecord, ...]:
        async with open_study(write()) as study:
            return await search_all(study)

    rows = asyncio.run(search())
    assert rows[0].score == pytest.approx(1 / 3)  # always red
    assert rows[0].cost_usd == 0.0  # a model of rules costs nothing


@pytest.mark.parametrize(
    ("run", "slots", "fixed", "limits"),
    [
        pytest.param(RunSpec(), 8, False, (8, MOST_CONCURRENT), id="an endpoint"),
        pytest.param(RunSpec(), 100, False, (100, 100), id="an endpoint with many slots"),
        pytest.param(RunSpec(), 4, True, (4, 4), id="this machine"),
        pytest.param(RunSpec(concurrency=3), 8, False, (3, 3), id="stated"),
        pytest.param(RunSpec(concurrency=30), 4, True, (30, 30), id="stated for this machine"),
    ],
)
def test_the_limit_of_requests_under_way_starts_and_ends_where_the_run_says(
    run: RunSpec, slots: int, fixed: bool, limits: tuple[int, int]
) -> None:
    pace = pace_of(run, slots=slots, fixed=fixed)
    assert (pace.limit, pace._most) == limits
    assert pace.room(0.0, 0) == limits[0]


def test_a_stated_rate_of_requests_is_kept(write: Write, searched: Search) -> None:
    sent: list[float] = []

    def script(request: Request) -> str:
        sent.append(asyncio.get_running_loop().time())
        return right(request)

    searched(write(("concurrency: 4", "concurrency: 4, requests_per_minute: 30")), script)
    assert most_in_a_minute(sent) == 30


def most_in_a_minute(moments: Sequence[float]) -> int:
    return max(sum(begin <= moment < begin + 60 for moment in moments) for begin in moments)


def test_a_study_in_which_nothing_was_scored_yet_may_be_changed_at_will(
    write: Write, run_virtual: "RunVirtual"
) -> None:
    async def enter(plan: StudyPlan) -> int:
        async with open_study(plan) as study:
            return study.store.study

    assert run_virtual(enter(write())) == 1
    changed = write(("screen: 6", "screen: 5"))
    assert run_virtual(enter(changed)) == 2
    assert run_virtual(enter(changed)) == 2
    (changed.folder / "rules.json").write_text('{"rules": [], "default": "other"}')
    assert run_virtual(enter(changed)) == 3


def test_a_study_that_was_asked_for_something_else_is_refused_by_what_changed(
    write: Write, run_virtual: "RunVirtual"
) -> None:
    async def enter(plan: StudyPlan, *, fresh: bool = False) -> int:
        async with open_study(plan, fresh=fresh) as study:
            row = ScoreRow(example="c00", outcome="ok", answer="red", score=1.0)
            study.store.keep_scores({("f", "c00"): row})
            return study.store.study

    assert run_virtual(enter(write())) == 1
    assert run_virtual(enter(write(("calls: 102", "calls: 200, seconds: 60"), ("batch: 4", "batch: 2")))) == 1
    changed = write(("screen: 6", "screen: 5"), ("[plain, json, choice]", "[plain, json]"))
    with pytest.raises(StudyChangedError, match=r"search\.formats, search\.screen changed; --fresh"):
        run_virtual(enter(changed))
    assert run_virtual(enter(changed, fresh=True)) == 2
    assert run_virtual(enter(changed)) == 2
    # Interrupted before its test, so that the same command goes on with it, unless another model answers.
    assert run_virtual(enter(changed, fresh=True)) == 2
    (changed.folder / "rules.json").write_text('{"rules": [], "default": "other"}')
    with pytest.raises(StudyChangedError, match=r"the model that answers is not .* rules changed; --fresh"):
        run_virtual(enter(changed))
    assert run_virtual(enter(changed, fresh=True)) == 3
    assert run_virtual(enter(changed)) == 3
