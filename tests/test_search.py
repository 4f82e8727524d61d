"""The race in a study, with a scripted model: what it spends, what it records, what it survives, and who wins."""

import dataclasses
import importlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import optuna
import pytest
from optuna.samplers import BaseSampler, NSGAIISampler, QMCSampler

from optimizer.completion import Completion, Request
from optimizer.conclusion import artifacts
from optimizer.digest import digest
from optimizer.errors import IncompleteError, InterruptedRunError, OverloadedError, RejectedError
from optimizer.history import TrialRecord
from optimizer.models.scripted import Scripted
from optimizer.plan import StudyPlan, load_plan
from optimizer.pruners import PRUNERS
from optimizer.samplers import SAMPLERS, sampler
from optimizer.selection import optimize
from optimizer.storage import create_study, open_storage
from optimizer.store import Store
from optimizer.study import Progress, open_study
from optimizer.styles import ReasoningStyle
from optimizer.taskfile import InputSpec

if TYPE_CHECKING:
    from tests.output_schemas import mistake
    from tests.virtual_clock import RunVirtual
else:
    from output_schemas import mistake

LABELS = ("red", "green", "blue")
PLANTED = "Say the colour in one word."
TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 12, validation: 24, test: 24}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour is it?, Say the colour in one word., The colour please., What do you see?]}
  demos: {sizes: [0, 2], sets: 2}
  styles: [direct, chain_of_thought]
  formats: [plain, json, choice]
  screen: 2
  sampler: {name: joint}
budget: {calls: 300}
run: {concurrency: 4, deadline_seconds: 5}
"""
TPE = ("{name: joint}", "{name: tpe}")
LARGER = ("calls: 300", "calls: 500")

Script = Callable[[Request], Completion | str]
Write = Callable[..., StudyPlan]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """What a run came to."""

    rows: tuple[TrialRecord, ...]
    files: dict[str, str]
    requests: list[Request]
    calls: int
    fingerprint: str

    @property
    def winner(self) -> TrialRecord:
        return next(row for row in self.rows if row.fingerprint == self.fingerprint)


class Stop:
    """A script that stops the study at one of its calls."""

    def __init__(self, at: int, script: Script) -> None:
        self.at, self.script, self.n = at, script, 0
        self.stop: Callable[[], None] = lambda: None

    def __call__(self, request: Request) -> Completion | str:
        self.n += 1
        if self.n == self.at:
            self.stop()
        return self.script(request)


Run = Callable[..., Ended]


@pytest.fixture
def write(write_study: Callable[..., Path]) -> Write:
    """Return a function that writes a study, with some of its text replaced, and reads it."""

    def make(*changes: tuple[str, str], folder: str = "here", seed: int | None = None) -> StudyPlan:
        # The folder gives the study its name, which is the same for all.
        path = write_study(TASK, STUDY, *changes, items=60, folder=f"{folder}/colours")
        return load_plan(path, seed=seed)

    return make


@pytest.fixture
def run(play: Callable[..., None], run_virtual: "RunVirtual") -> Run:
    """Return a function that carries a study out as the product does; what was sent goes to `sent` even if it fails."""

    def finish(plan: StudyPlan, script: Script, *, sent: list[Request] | None = None) -> Ended:
        model = Scripted(script)
        play(model)

        async def work() -> Ended:
            async with open_study(plan) as study:
                if isinstance(script, Stop):
                    script.stop = study.stop
                selection = await optimize(study)
                return Ended(
                    rows=study.trials,
                    files=artifacts(plan, selection),
                    requests=model.requests,
                    calls=study.caller.spent.calls,
                    fingerprint=selection.frozen.template.fingerprint,
                )

        try:
            return run_virtual(work())
        finally:
            if sent is not None:
                sent.extend(model.requests)

    return finish


def text(request: Request) -> str:
    return "\n".join(message.content for message in request.messages)


def wants_json(request: Request) -> bool:
    return request.constraint is not None and not request.constraint.choice


def answer(request: Request, label: str) -> str:
    """Return a completion that says a label as the request wants it said."""
    if request.constraint is None:
        return f"Answer: {label}"
    return f'{{"reasoning": "because", "colour": "{label}"}}' if wants_json(request) else label


def draw(request: Request) -> float:
    """Return a number in [0, 1) that is the same whenever a request is sent."""
    return int(digest([message.content for message in request.messages])[:8], 16) / 2**32


def by_luck(request: Request, *, planted: Callable[[Request], bool] = lambda r: PLANTED in text(r)) -> str:
    """Return the right label in two cases of five, with the planted prompts in more than nine of ten."""
    number = int(text(request).rpartition("Item ")[2].split()[0])
    right = draw(request) < (0.95 if planted(request) else 0.4)
    return answer(request, LABELS[(number + (not right)) % 3])


def held(plan: StudyPlan) -> dict[int, optuna.trial.FrozenTrial]:
    """Return what Optuna holds by our numbers, as another program would read it."""
    with open_storage(plan.database) as storage:
        trials = create_study(storage, f"{plan.name}#1").get_trials()
    return {trial.user_attrs["trial"]: trial for trial in trials if "trial" in trial.user_attrs}


def searched(rows: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [row for row in rows if row.stage == "search"]


@pytest.mark.parametrize("calls", [110, 150, 300, 800])
@pytest.mark.parametrize("screen", [1, 2, 7])
def test_no_budget_is_exceeded_and_every_call_stands_in_a_row(
    write: Write, run: Run, calls: int, screen: int
) -> None:
    plan = write(("calls: 300", f"calls: {calls}"), ("screen: 2", f"screen: {screen}"))
    ended = run(plan, by_luck)
    assert len(ended.requests) == ended.calls <= calls
    assert max(Counter(map(str, ended.requests)).values()) == 1
    tested = ended.calls - sum(row.calls for row in ended.rows)
    assert 0 < tested <= plan.bounds.test.calls
    assert [row.trial for row in ended.rows] == list(range(len(ended.rows)))


def test_what_is_shown_as_the_best_so_far_is_of_none_that_was_asked_little(
    write: Write, play: Callable[..., None], run_virtual: "RunVirtual"
) -> None:
    plan, seen = write(("screen: 2", "screen: 1")), list[Progress]()
    play(Scripted(by_luck))

    async def work() -> tuple[TrialRecord, ...]:
        async with open_study(plan, watch=seen.append) as study:
            await optimize(study)
            return study.trials

    rows = run_virtual(work())
    lucky = [row.score for row in rows if row.state == "pruned" and row.score is not None]
    whole = [row.score for row in rows if row.state == "complete"]
    assert max(lucky) == 1.0
    assert {each.best for each in seen} - {None} <= set(whole)


def test_who_left_the_race_is_pruned_in_the_history_and_in_optuna(write: Write, run: Run) -> None:
    plan = write()
    rows = searched(run(plan, by_luck).rows)
    trials = held(plan)
    assert Counter(row.state for row in rows)["pruned"] > 5
    for row in rows:
        trial = trials[row.trial]
        assert trial.state.name == {"pruned": "PRUNED", "complete": "COMPLETE"}[row.state]
        assert trial.params == numbered(row.point)
        assert trial.intermediate_values.get(row.n, trial.value) == row.score
        assert 1 <= row.n <= 24
    lasted = [row.n for row in rows if row.state == "complete"]
    assert min(lasted) >= max(row.n for row in rows if row.state == "pruned")
    lines = (row.split(",") for row in run(plan, by_luck).files["history.csv"].splitlines())
    assert Counter(line[1] for line in lines)["pruned"] == sum(row.state == "pruned" for row in rows)


def numbered(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point as Optuna stores it where parts may still be made: an id is the number in it."""
    ids = ("instruction", "demonstrations")
    return {name: int(str(value)[1:]) if name in ids else value for name, value in point.items()}


def test_new_demonstration_sets_are_made_of_the_best_while_the_search_runs_and_a_stop_changes_nothing(
    write: Write, run: Run
) -> None:
    changes = (("calls: 300", "calls: 900"), ("screen: 2", "screen: 1"))
    plan = write(*changes)
    whole, known = run(plan, by_luck), {shown.id for shown in plan.space.demonstration_sets}
    born = {str(row.point["demonstrations"]) for row in whole.rows} - known
    assert born, "no candidate has a demonstration set that was made during the search"
    other, sent = write(*changes, folder="stopped"), list[Request]()
    for at in (250, 90, 40):
        with pytest.raises(InterruptedRunError):
            run(other, Stop(at, by_luck), sent=sent)
    again = run(other, by_luck, sent=sent)
    assert again.files == whole.files
    assert len(sent) == len(whole.requests)


def test_a_clearly_better_prompt_wins(write: Write, run: Run) -> None:
    won = 0
    for seed in range(8):
        ended = run(write(folder=f"seed{seed}", seed=seed), by_luck)
        shown = next(line for line in ended.files["instructions.jsonl"].splitlines() if PLANTED in line)
        won += str(ended.winner.point["instruction"]) in shown
    assert won >= 7


@pytest.mark.parametrize("planted", ["Which colour is it?", PLANTED])
def test_a_race_that_ends_with_all_arms_in_it_confirms_the_best_of_them(
    write: Write, run: Run, planted: str
) -> None:
    def script(request: Request) -> str:
        number = int(text(request).rpartition("Item ")[2].split()[0])
        return answer(request, LABELS[(number + (planted not in text(request) and number % 3 > 0)) % 3])

    few = (", The colour please., What do you see?", ""), ("validation: 24", "validation: 9")
    plain = (
        ("[0, 2]", "[0]"),
        ("[direct, chain_of_thought]", "[direct]"),
        ("[plain, json, choice]", "[plain]"),
    )
    ended = run(write(*few, *plain, ("calls: 300", "calls: 160")), script)
    raced = [row for row in ended.rows if row.stage != "confirm"]
    assert [row.state for row in raced] == ["complete"] * 3
    assert [row.score for row in ended.rows if row.stage == "confirm"] == [1.0]
    assert ended.winner.point["instruction"] != raced[0].point["instruction"]


@pytest.fixture(
    params=[
        "race",
        "race of later examples",
        "race within a length",
        "race that tokens end",
        "pruned batches",
    ]
)
def kind(request: pytest.FixtureRequest) -> tuple[tuple[str, str], ...]:
    """Return what makes the study one of a kind."""
    if request.param == "race":
        return ()
    if request.param == "race of later examples":
        return (("screen: 2", "screen: 1"), ("run: {", "constraints: {valid: {min: 0.5}}\nrun: {"))
    if request.param == "race within a length":
        return (("screen: 2", "screen: 1"), ("run: {", "constraints: {input_tokens: {max: 40}}\nrun: {"))
    if request.param == "race that tokens end":
        return (
            ("calls: 300", "calls: 900, tokens: 32000"),
            ("path: rules.json", "path: rules.json, parameters: {max_tokens: 8}"),
        )
    return (TPE, ("calls: 300", "calls: 400"), ("budget:", "  pruner: {name: paired_test}\nbudget:"))


def test_a_study_that_is_stopped_at_any_call_goes_on_as_if_nothing_had_happened(
    write: Write, run: Run, kind: tuple[tuple[str, str], ...]
) -> None:
    whole = run(write(*kind, folder="undisturbed"), by_luck)
    for at in range(3, len(whole.requests), 101):
        plan, sent = write(*kind, folder=f"stopped{at}"), list[Request]()
        with pytest.raises(InterruptedRunError):
            run(plan, Stop(at, by_luck), sent=sent)
        again = run(plan, by_luck, sent=sent)
        assert again.files == whole.files
        assert Counter(map(str, sent)) == Counter(map(str, whole.requests))


def test_a_study_that_is_stopped_again_and_again_ends_with_the_same_files(write: Write, run: Run) -> None:
    whole, plan, sent = run(write(folder="undisturbed"), by_luck), write(), list[Request]()
    while True:
        try:
            ended = run(plan, Stop(61, by_luck), sent=sent)
        except InterruptedRunError:
            continue
        break
    assert ended.files == whole.files
    assert Counter(map(str, sent)) == Counter(map(str, whole.requests))


def test_a_model_that_goes_down_changes_no_result(write: Write, run: Run) -> None:
    whole = run(write(folder="undisturbed"), by_luck)
    for at in range(5, len(whole.requests), 83):
        plan, answered = write(folder=f"down{at}"), list[str]()

        def down(request: Request, at: int = at, answered: list[str] = answered) -> str:
            if len(answered) >= at:
                raise OverloadedError("down for maintenance", reason="503")
            answered.append(str(request))
            return by_luck(request)

        with pytest.raises(Exception, match=r"down for maintenance|could be scored|503"):
            run(plan, down)
        again = run(plan, by_luck)
        assert again.files == whole.files
        assert Counter([*answered, *map(str, again.requests)]) == Counter(map(str, whole.requests))


def test_a_finished_study_sends_nothing_and_keeps_its_files(write: Write, run: Run) -> None:
    plan = write()
    first, again = run(plan, by_luck), run(plan, by_luck)
    assert again.requests == []
    assert (again.files, again.rows) == (first.files, first.rows)


@pytest.mark.parametrize("salt", ["a", "b", "c"])
def test_a_finished_study_is_not_asked_again_what_got_no_score(write: Write, run: Run, salt: str) -> None:
    plan = write(("deadline_seconds: 5", "deadline_seconds: 5, max_error_rate: 0.1"))
    judged = [example.values["text"] for example in plan.dataset.validation]
    ill, refused = {"yes": True}, set[str]()

    def script(request: Request) -> str:
        asked = text(request)
        unlucky = draw(request) < 0.03 and int(digest([salt, asked])[:2], 16) < 160
        if ill["yes"] and unlucky and any(each in asked for each in judged):
            refused.add(asked)
            raise RejectedError("not now")
        return by_luck(request)

    first = run(plan, script)
    assert refused
    ill["yes"] = False
    again = run(plan, script)
    assert again.requests == []
    assert (again.rows, again.files, again.calls) == (first.rows, first.files, first.calls)
    larger = run(write(("deadline_seconds: 5", "deadline_seconds: 5, max_error_rate: 0.1"), LARGER), script)
    assert larger.requests
    assert larger.calls <= 500


@pytest.mark.parametrize("place", ["the first of the baseline", "in the race"])
def test_what_a_judge_did_not_score_stays_without_a_score(write: Write, run: Run, place: str) -> None:
    plan = write(
        (
            "metric: accuracy",
            "metric: {name: llm_judge, args: {rubric: Good?, categories: {bad: 0, good: 1}}}",
        ),
        ("run: {", "judge: {provider: scripted, name: judge, path: rules.json}\nrun: {max_error_rate: 0.2, "),
    )
    busy, judged, failed = {"yes": True}, list[str](), set[str]()
    times = range(2) if place == "the first of the baseline" else range(20, 100)
    searched_on = [example.values["text"] for example in plan.dataset.validation]

    def script(request: Request) -> str:
        asked = text(request)
        if "Good?" not in asked:
            return answer(request, LABELS[int(draw(request) * 3)])
        judged.append(asked)
        unlucky = len(times) == 2 or draw(request) < 0.08
        if busy["yes"] and len(judged) in times and unlucky and any(t in asked for t in searched_on):
            failed.add(asked)
            raise OverloadedError("busy", reason="503", retry_after_seconds=600.0)
        return f'{{"reason": "r", "verdict": "{"good" if draw(request) < 0.5 else "bad"}"}}'

    first = run(plan, script)
    assert failed
    busy["yes"] = False
    again = run(plan, script)
    assert again.requests == []
    assert (again.rows, again.files, again.calls) == (first.rows, first.files, first.calls)


@pytest.mark.parametrize("refused", [False, True])
def test_who_pays_for_a_call_that_several_candidates_begin_with_is_told_once_for_all(
    write: Write, run: Run, refused: bool
) -> None:
    wordings = ", ".join(f"Wording {n}." for n in range(20))
    changes = (
        ("The colour please., What do you see?", wordings),
        ("[direct, chain_of_thought]", "[direct, self_check]"),
        ("[plain, json, choice]", "[plain, choice]"),
        ("sizes: [0, 2]", "sizes: [0]"),
        ("screen: 2", "screen: 1"),
        ("calls: 300", "calls: 500"),
        ("deadline_seconds: 5", "deadline_seconds: 5, max_error_rate: 0.1"),
    )
    plan, told = write(*changes), list[str]()

    def script(request: Request) -> str:
        second = len(request.messages) > 2
        if refused and second and (str(request) in told or (len(told) < 3 and draw(request) < 0.1)):
            told.append(str(request))
            raise RejectedError("not this one")
        return by_luck(request)

    first, again = run(plan, script), run(plan, script)
    assert bool(told) == refused
    assert any(row.cached for row in first.rows)
    assert (again.rows, again.files) == (first.rows, first.files)


def test_what_scouting_found_is_not_found_anew(write: Write, run: Run) -> None:
    plan = write(("sets: 2}", "sets: 2, selectors: [hard], scout: 12}"))
    trained, ill = [example.values["text"] for example in plan.dataset.train], {"yes": True}

    def script(request: Request) -> str:
        asked = request.messages[-1].content
        if ill["yes"] and any(each in asked for each in trained[:4]):
            raise RejectedError("not now")
        return by_luck(request)

    first = run(plan, script)
    ill["yes"] = False
    again = run(plan, script)
    assert again.requests == []
    assert (again.rows, again.files) == (first.rows, first.files)


def test_what_scouting_found_before_anything_was_tried_is_asked_for_again(write: Write, run: Run) -> None:
    hard = ("sets: 2}", "sets: 2, selectors: [hard], scout: 12}")
    plan = write(hard)

    def down(_: Request) -> str:
        raise RejectedError("not now")

    with pytest.raises(IncompleteError, match="the baseline could not be scored"):
        run(plan, down)
    assert run(plan, by_luck).files == run(write(hard, folder="undisturbed"), by_luck).files


def test_a_larger_budget_goes_on_from_what_is_known(write: Write, run: Run) -> None:
    sent: list[Request] = []
    first = run(write(), by_luck, sent=sent)
    second = run(write(LARGER), by_luck, sent=sent)
    assert max(Counter(map(str, sent)).values()) == 1
    assert len(sent) == second.calls <= 500
    assert second.calls > first.calls + 50
    assert len(second.rows) > len(first.rows)
    known = {row.trial: row for row in second.rows}
    for row in first.rows:
        assert (known[row.trial].digest, known[row.trial].stage) == (row.digest, row.stage)
        assert known[row.trial].n >= row.n
        assert known[row.trial].calls >= row.calls
    assert sum(row.calls for row in second.rows) <= second.calls
    third = run(write(LARGER), by_luck)
    assert (third.requests, third.files) == ([], second.files)


def test_a_larger_budget_that_is_interrupted_ends_with_the_same_files(write: Write, run: Run) -> None:
    run(write(folder="undisturbed"), by_luck)
    whole = run(write(LARGER, folder="undisturbed"), by_luck)
    assert len(whole.requests) > 100
    for at in range(1, len(whole.requests), 53):
        run(write(folder=f"stopped{at}"), by_luck)
        plan, sent = write(LARGER, folder=f"stopped{at}"), list[Request]()
        with pytest.raises(InterruptedRunError):
            run(plan, Stop(at, by_luck), sent=sent)
        again = run(plan, by_luck, sent=sent)
        assert again.files == whole.files
        assert Counter(map(str, sent)) == Counter(map(str, whole.requests))


def test_what_cannot_be_scored_is_failed_and_does_not_win(write: Write, run: Run) -> None:
    def script(request: Request) -> str:
        if wants_json(request):
            raise RejectedError("no schema today")
        return by_luck(request, planted=wants_json)

    plan = write()
    ended = run(plan, script)
    failed = [row for row in ended.rows if row.point["format"] == "json"]
    assert failed
    assert {(row.state, row.score, row.feasible) for row in failed} == {("failed", None, False)}
    assert ended.winner.point["format"] != "json"
    assert {held(plan)[row.trial].state.name for row in failed} == {"FAIL"}
    again = run(plan, script)
    assert (again.rows, again.files) == (ended.rows, ended.files)


@pytest.mark.parametrize("way", ["race", "batches", "batches with a pruner"])
def test_what_an_endpoint_refuses_for_good_takes_few_requests_and_is_told(
    write: Write, run: Run, way: str
) -> None:
    changes = {
        "race": (("screen: 2", "screen: 1"), ("calls: 300", "calls: 600")),
        "batches": (TPE, ("calls: 300", "calls: 600")),
        "batches with a pruner": (TPE, ("budget:", "  pruner: {name: hyperband}\nbudget:"), LARGER),
    }[way]

    def script(request: Request) -> str:
        if wants_json(request):
            raise RejectedError("answered 400: no such format")
        return by_luck(request)

    whole, sent = run(write(*changes, folder="undisturbed"), script), list[Request]()
    refused = [row for row in whole.rows if row.point["format"] == "json"]
    assert {row.state for row in refused} == {"failed"}
    # About a third of all candidates, and nearly as much of the requests, where nobody takes note.
    assert 8 <= sum(row.calls for row in refused) < whole.calls / 9
    assert max(row.n for row in refused) <= 3 or not way.startswith("race")
    shown = json.loads(whole.files["prompt.json"])
    assert mistake("show", shown) is None
    (level,) = shown["evidence"]["refused"]
    assert (level["factor"], level["value"]) == ("format", "json")
    assert level["reason"] == "answered 400: no such format"
    plan = write(*changes)
    with pytest.raises(InterruptedRunError):
        run(plan, Stop(len(whole.requests) * 2 // 3, script), sent=sent)
    again = run(plan, script, sent=sent)
    assert again.files == whole.files
    assert Counter(map(str, sent)) == Counter(map(str, whole.requests))


@pytest.mark.parametrize("way", ["race", "batches"])
def test_of_several_levels_that_are_refused_each_is_told_with_its_own_reason_whoever_runs_it(
    write: Write, run: Run, way: str
) -> None:
    changes = (("calls: 300", "calls: 600"), *([TPE] if way == "batches" else [("screen: 2", "screen: 1")]))

    def script(request: Request) -> str:
        if "What do you see?" in text(request):
            raise RejectedError("answered 400: that is impolite")
        if wants_json(request):
            raise RejectedError("answered 400: no such format")
        return by_luck(request)

    whole = run(write(*changes, folder="undisturbed"), script)
    found = {
        (level["factor"], level["reason"])
        for level in json.loads(whole.files["prompt.json"])["evidence"]["refused"]
    }
    assert found == {
        ("format", "answered 400: no such format"),
        ("statement", "answered 400: that is impolite"),
    }
    plan = write(*changes)
    with pytest.raises(InterruptedRunError):
        run(plan, Stop(len(whole.requests) // 2, script))
    assert run(plan, script).files == whole.files
    assert run(plan, script).files == whole.files  # and once it is over


def test_a_larger_budget_asks_nothing_again_of_what_is_refused(write: Write, run: Run) -> None:
    def script(request: Request) -> str:
        if wants_json(request):
            raise RejectedError("answered 400: no such format")
        return by_luck(request)

    small, large = ("calls: 300", "calls: 500"), ("calls: 300", "calls: 1000")
    run(write(small, ("screen: 2", "screen: 1")), script)
    sent = run(write(large, ("screen: 2", "screen: 1")), script).requests
    assert sent
    assert not any(map(wants_json, sent))


def test_what_fails_now_and_then_cannot_win_by_what_is_left(write: Write, run: Run) -> None:
    def script(request: Request) -> str:
        if wants_json(request) and draw(request) > 0.5:
            raise RejectedError("not this one")
        return by_luck(request, planted=wants_json)

    ended = run(write(), script)
    assert "failed" in {row.state for row in ended.rows if row.point["format"] == "json"}
    assert ended.winner.state != "failed"
    assert ended.winner.point["format"] != "json"


@pytest.mark.parametrize("place", [1, 8])
def test_one_example_that_nobody_can_be_scored_on_fails_no_candidate_that_goes_on(
    write: Write, run: Run, place: int
) -> None:
    plan = write(("deadline_seconds: 5", "deadline_seconds: 5, max_error_rate: 0.05"))
    refused = plan.dataset.validation[place].values["text"]

    def script(request: Request) -> str:
        if refused in text(request):
            raise RejectedError("not this one")
        return by_luck(request)

    ended = run(plan, script)
    assert {row.state for row in ended.rows} <= {"complete", "pruned"}
    assert {row.errors for row in ended.rows} == {0, 1}  # one of 24 is less than a twentieth
    assert PLANTED in ended.files["prompt.json"]
    assert run(plan, script).files == ended.files


def test_a_baseline_that_fails_on_too_many_ends_the_study_and_says_why(write: Write, run: Run) -> None:
    plan, sent = write(), list[Request]()
    refused = plan.dataset.validation[1].values["text"]

    def script(request: Request) -> str:
        if refused in text(request):
            raise RejectedError("not this one")
        return by_luck(request)

    with pytest.raises(IncompleteError, match=r"the baseline could not be scored: .*not this one"):
        run(plan, script, sent=sent)
    ended = run(plan, by_luck, sent=sent)  # it can be asked now
    assert ended.files == run(write(folder="undisturbed"), by_luck).files


def test_the_winner_keeps_the_constraints(write: Write, run: Run) -> None:
    def script(request: Request) -> str:
        if wants_json(request) and draw(request) < 0.3:
            return "who knows"
        return by_luck(request, planted=wants_json)

    ended = run(write(("run: {", "constraints: {valid: {min: 0.95}}\nrun: {")), script)
    assert {row.feasible for row in ended.rows} == {True, False}
    assert ended.winner.point["format"] != "json"


LONG = (
    "Say the colour in one word. "
    + "Mind that there are many colours, and that only one of them is asked for. " * 4
)


@pytest.mark.parametrize("most", [45, 30])
def test_prompts_that_read_more_than_a_constraint_allows_take_next_to_no_calls(
    write: Write, run: Run, most: int
) -> None:
    longer = ("[Which colour is it?, Say", f"[{LONG}, Say"), ("sets: 2", "sets: 6")
    plain = (
        ("[direct, chain_of_thought]", "[direct]"),
        ("[plain, json, choice]", "[plain]"),
        ("[0, 2]", "[0, 4]"),
    )
    limit = ("run: {", f"constraints: {{input_tokens: {{max: {most}}}}}\nrun: {{")
    ended = run(
        write(*longer, *plain, limit, ("calls: 300", "calls: 600"), ("screen: 2", "screen: 1")), by_luck
    )
    broken = [row for row in ended.rows if row.stage == "search" and "input_tokens" in row.broken]
    assert max([row.n for row in broken], default=0) <= 2
    assert ended.winner.feasible
    assert LONG.strip() not in "".join(text(request) for request in ended.requests)


@pytest.fixture
def two_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the style `chain_of_thought` ask twice."""
    module = importlib.import_module("optimizer.styles.chain_of_thought")
    style = ReasoningStyle(request="Think.", follow_ups=("So what is it?",))
    monkeypatch.setattr(module, "CHAIN_OF_THOUGHT", style)


@pytest.mark.usefixtures("two_calls")
@pytest.mark.parametrize("calls", [204, 206, 220, 300, 500])
def test_a_style_of_two_calls_is_counted_as_two(write: Write, run: Run, calls: int) -> None:
    plan = write(("calls: 300", f"calls: {calls}"))
    ended = run(plan, lambda request: answer(request, "red"))
    assert len(ended.requests) == ended.calls <= calls
    for row in searched(ended.rows):
        assert row.calls + row.cached == row.n * (2 if row.point["style"] == "chain_of_thought" else 1)
    assert sum(row.calls for row in searched(ended.rows)) <= calls - plan.bounds.reserved.calls


@pytest.mark.parametrize("pruner", list(PRUNERS))
@pytest.mark.parametrize("name", ["joint", "tpe"])
def test_every_pruner_prunes_in_a_race_and_between_batches_and_is_resumed(
    write: Write, run: Run, pruner: str, name: str
) -> None:
    changes = (
        ("{name: joint}", f"{{name: {name}}}"),
        ("screen: 2", "screen: 20"),
        ("validation: 24, test: 24", "validation: 36, test: 12"),
        ("calls: 300", "calls: 700"),
        ("budget:", f"  pruner: {{name: {pruner}}}\nbudget:"),
    )
    plan = write(*changes)
    whole = run(plan, by_luck)
    assert whole.calls <= 700
    rows = searched(whole.rows)
    assert {row.state for row in rows} == {"pruned", "complete"}
    assert min(row.n for row in rows) >= 20
    trials = held(plan)
    assert all((trials[row.trial].state.name == "PRUNED") == (row.state == "pruned") for row in rows)
    at = int(0.6 * len(whole.requests))
    other, sent = write(*changes, folder="stopped"), list[Request]()
    with pytest.raises(InterruptedRunError):
        run(other, Stop(at, by_luck), sent=sent)
    again = run(other, by_luck, sent=sent)
    assert again.files == whole.files
    assert Counter(map(str, sent)) == Counter(map(str, whole.requests))


def test_a_screening_goes_on_with_the_batch_it_was_begun_with(write: Write, run: Run) -> None:
    kind = (TPE, ("calls: 300", "calls: 400"), ("budget:", "  pruner: {name: paired_test}\nbudget:"))
    whole = run(write(*kind, folder="undisturbed"), by_luck)
    with pytest.raises(InterruptedRunError):
        run(write(*kind), Stop(len(whole.requests) // 2, by_luck))
    other = run(write(*kind, ("concurrency: 4", "concurrency: 4, batch: 3")), by_luck)
    assert other.files == whole.files


@pytest.mark.parametrize("pruner", list(PRUNERS))
def test_a_larger_budget_goes_on_with_every_pruner(write: Write, run: Run, pruner: str) -> None:
    pruned = ("budget:", f"  pruner: {{name: {pruner}}}\nbudget:")
    first = run(write(pruned), by_luck)
    second = run(write(pruned, LARGER), by_luck)
    assert first.calls < second.calls <= 500
    assert run(write(pruned, LARGER), by_luck).requests == []


def test_what_the_demonstrations_go_by_is_found_out_first_and_paid_from_the_budget(
    write: Write, run: Run
) -> None:
    changes = (
        ("sets: 2}", "sets: 6, selectors: [hard, winners, bootstrapped], scout: 40}"),
        ("calls: 300", "calls: 400"),
    )
    plan = write(*changes)
    whole = run(plan, by_luck)
    train = {f"Item {int(example.id[1:])} is" for example in plan.dataset.train}
    scouted = [r for r in whole.requests if any(text(r).rpartition("\n")[2].find(t) >= 0 for t in train)]
    assert len(whole.requests[: plan.scouting.most_calls]) > 0
    assert len(whole.requests) == whole.calls <= 400
    assert len({row.point["demonstrations"] for row in whole.rows}) > 2
    assert len(scouted) <= plan.scouting.most_calls
    for at in (7, 31, 60, len(whole.requests) - 40):
        other, sent = write(*changes, folder=f"stopped{at}"), list[Request]()
        with pytest.raises(InterruptedRunError):
            run(other, Stop(at, by_luck), sent=sent)
        again = run(other, by_luck, sent=sent)
        assert again.files == whole.files
        assert Counter(map(str, sent)) == Counter(map(str, whole.requests))


@pytest.mark.parametrize("pruner", ["", "  pruner: {name: paired_test}\n"])
def test_without_a_test_split_candidates_are_screened_on_everything_and_cross_validated(
    write: Write, run: Run, pruner: str
) -> None:
    plan = write(("test: 24", "test: 0"), ("budget:", f"{pruner}budget:"))
    assert not plan.races
    ended = run(plan, by_luck)
    assert ended.calls <= 300
    assert {row.state for row in ended.rows} <= {"complete", *(["pruned"] if pruner else [])}
    assert {row.n for row in ended.rows if row.state == "complete"} == {24}
    assert '"cross_validation"' in ended.files["prompt.json"]
    assert run(plan, by_luck).requests == []


class Alternating(BaseSampler):
    """What somebody else may have written: takes the choices of each dimension in turn."""

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        choices = param_distribution.choices
        return choices[trial.number % len(choices)]


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that installs a distribution with a sampler named `theirs`."""
    room = tmp_path / "site"

    def install(make: Callable[[int], BaseSampler]) -> None:
        info = room / "third_party-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[optimizer.samplers]\ntheirs = third_party_sampler\n")
        module = ModuleType("third_party_sampler")
        module.__dict__["theirs"] = sampler(make)
        monkeypatch.setitem(sys.modules, "third_party_sampler", module)
        monkeypatch.syspath_prepend(str(room))
        _forget()

    yield install
    importlib.invalidate_caches()
    _forget()


def _forget() -> None:
    """Have the registry look for distributions again, as another process does."""
    SAMPLERS.__dict__.pop("_entry_points", None)
    SAMPLERS._keys.pop("theirs", None)  # whose object may have another name


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda seed: QMCSampler(seed=seed, warn_independent_sampling=False), id="qmc"),
        pytest.param(lambda seed: NSGAIISampler(seed=seed, population_size=6), id="nsga2"),
        pytest.param(lambda _seed: Alternating(), id="hand-written"),
    ],
)
@pytest.mark.parametrize("pruner", [None, "paired_test"])
def test_a_sampler_of_somebody_else_searches_the_space(
    write: Write,
    run: Run,
    plug_in: Callable[..., None],
    make: Callable[[int], BaseSampler],
    pruner: str | None,
) -> None:
    plug_in(make)
    assert "theirs" in SAMPLERS
    pruned = [] if pruner is None else [("budget:", f"  pruner: {{name: {pruner}}}\nbudget:")]
    changes = (("{name: joint}", "{name: theirs}"), ("screen: 2", "screen: 6"), *pruned)
    plan = write(*changes)
    whole = run(plan, by_luck)
    assert whole.calls <= 300
    assert len({row.fingerprint for row in searched(whole.rows)}) == len(searched(whole.rows)) >= 5
    other = write(*changes, folder="stopped")
    with pytest.raises(InterruptedRunError):
        run(other, Stop(60, by_luck))
    assert run(other, by_luck).files == whole.files


def test_the_scores_of_every_example_of_a_race_are_stored(write: Write, run: Run) -> None:
    plan = write()
    rows = run(plan, by_luck).rows
    with open_storage(plan.database) as storage:
        store = Store(storage).of(1)
        assert all(len(store.scores(row.fingerprint)) >= row.n for row in rows)


@pytest.mark.parametrize("kind", ["text", "list"])
def test_a_frozen_prompt_says_which_of_its_inputs_are_lists(
    write: Write, run: Run, kind: Literal["text", "list"]
) -> None:
    plan = write(("calls: 300", "calls: 150"))
    task = dataclasses.replace(plan.task, kinds={"text": InputSpec(type=kind)})
    files = run(dataclasses.replace(plan, task=task), by_luck).files
    assert json.loads(files["prompt.json"])["task"]["lists"] == (["text"] if kind == "list" else [])
