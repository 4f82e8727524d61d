"""Which scoring takes up which: the same one, if it is not over, and for a look at a model no older than a day."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optimizer.answer import AnswerFormat
from optimizer.budget import Spent
from optimizer.comparable import Judges, chosen_among, is_deterministic, most_written, redefined
from optimizer.completion import Request
from optimizer.config import RunSpec
from optimizer.drift import Pairs
from optimizer.errors import BudgetError, InputError, ModelError, OverloadedError
from optimizer.evaluation import Evaluation
from optimizer.frozen import FrozenPrompt
from optimizer.models import ModelSpec
from optimizer.models.scripted import Scripted
from optimizer.plan import load_examples
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.recording import Row
from optimizer.rescoring import (
    RESUMED_SECONDS,
    Job,
    _number,
    finish_all,
    job_problems,
    open_job,
    own_model,
    store_of,
    study_beside,
)
from optimizer.significance import compare_paired
from optimizer.storage import open_storage
from optimizer.store import Store

if TYPE_CHECKING:
    from tests.virtual_clock import RunVirtual

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 9, test: 6}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search: {styles: [direct], formats: [plain]}
budget: {calls: 700}
"""


def template(**parameters: float) -> PromptTemplate:
    ask = MessageTemplate(role="user", parts=(Hole(name="input:text"),))
    call = CallTemplate(messages=(ask,), parameters=tuple(sorted(parameters.items())))
    reader = AnswerFormat(kind="label", labels=("red", "green", "blue"))
    return PromptTemplate(calls=(call,), answer=reader)


@pytest.fixture
def job(write_study: Callable[..., Path]) -> Job:
    path = write_study(TASK, STUDY, items=21)
    (path.parents[1] / "pyproject.toml").touch()
    task, dataset = load_examples(path.with_name("task.yaml"))
    frozen = FrozenPrompt(
        name="colours",
        template=template(temperature=0),
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "scripted", "name": "rules"},
        task={},
        evidence={},
        history=(),
        tool_versions={},
    )
    return Job(
        frozen=frozen,
        task=task,
        spec=ModelSpec(provider="scripted", name="rules", path=str(path.with_name("rules.json"))),
        examples=dataset.test,
        asked={},
        run=RunSpec(),
        cache="private",
        database=store_of(path),
        purpose="verify",
    )


def test_a_look_that_is_not_over_is_taken_up_for_a_day(job: Job) -> None:
    with open_storage(job.database) as storage:
        store = Store(storage)
        first = _number(store, job, within=RESUMED_SECONDS, now=1000.0)
        other = _number(store, replace(job, purpose="score"), within=None, now=1000.0)
        assert other != first  # that came between, and takes nothing of it
        assert _number(store, job, within=RESUMED_SECONDS, now=1000.0 + RESUMED_SECONDS - 1) == first
        assert (
            _number(store, job, within=RESUMED_SECONDS, now=1000.0 - 30) == first
        )  # a clock that is set right
        late = _number(store, job, within=RESUMED_SECONDS, now=1000.0 + RESUMED_SECONDS)
        assert late not in (first, other)
        assert _number(store, replace(job, purpose="score"), within=None, now=1e12) == other
    finish_all([(job.database, late), (job.database, other)])
    with open_storage(job.database) as storage:
        store = Store(storage)
        assert _number(store, job, within=RESUMED_SECONDS, now=1000.0) not in (first, late, other)
        assert _number(store, replace(job, purpose="score"), within=None, now=1000.0) != other


def test_a_look_of_a_time_to_come_is_not_taken_up(job: Job) -> None:
    with open_storage(job.database) as storage:
        store = Store(storage)
        first = _number(store, job, within=RESUMED_SECONDS, now=1e9)
        again = _number(store, job, within=RESUMED_SECONDS, now=1000.0)
        assert again != first
        assert _number(store, job, within=RESUMED_SECONDS, now=1001.0) == again


def test_another_prompt_model_or_example_is_another_look(job: Job) -> None:
    others = [
        replace(job, frozen=replace(job.frozen, template=template(temperature=1))),
        replace(job, spec=replace(job.spec, name="more")),
        replace(job, examples=job.examples[1:]),
        replace(job, purpose="score"),
        replace(job, cache="shared"),
        replace(job, cache="refresh"),
    ]
    seen = [each.identity for each in (job, *others)]
    assert job.spec.path is not None
    Path(job.spec.path).write_text('{"rules": [], "default": "other"}')
    seen.append(job.identity)
    assert len({str(sorted(each.items())) for each in seen}) == 8


def test_what_keeps_a_look_from_being_done_is_told_at_once(job: Job) -> None:
    assert job_problems(job) == []
    broken = replace(
        job,
        frozen=replace(job.frozen, capabilities=("prefill",)),
        spec=ModelSpec(provider="openai_compatible", name="m"),
        task=replace(job.task, inputs=("other",)),
        examples=(),
    )
    told = "\n".join(map(str, job_problems(broken)))
    assert "--model: base_url: missing" in told
    assert "--model: the prompt needs prefill" in told
    assert "dataset.inputs: the prompt takes text, and the task has other" in told
    assert "dataset.splits: the split is empty" in told


def test_a_task_that_wants_answers_of_another_type_is_refused_and_one_of_other_labels_is_not(
    job: Job,
) -> None:
    told = [
        problem.field
        for problem in job_problems(replace(job, task=replace(job.task, output="number", labels=())))
    ]
    assert told == ["output.type"]
    assert not job_problems(replace(job, task=replace(job.task, labels=("red", "green", "blue", "black"))))


def test_a_prompt_need_not_show_every_input_of_the_task(job: Job) -> None:
    assert job_problems(replace(job, task=replace(job.task, inputs=("text", "channel")))) == []


def test_what_an_outage_used_up_takes_nothing_from_the_same_command_afterwards(
    job: Job, play: Callable[..., None], run_virtual: "RunVirtual"
) -> None:
    def down(_: Request) -> str:
        raise OverloadedError("busy", reason="HTTP 503")

    play(Scripted(down))
    spent = list[Spent]()
    for _ in range(6):
        with suppress(ModelError, BudgetError):
            run_virtual(asked(job, spent))
    assert spent[-1].attempts > 2 * 4 * len(job.examples)
    play(Scripted(lambda _: "red"))
    evaluation = run_virtual(asked(job, spent))
    assert evaluation.n_errors == 0
    assert spent[-1].calls == len(job.examples)


@pytest.mark.parametrize("reason", ["429", "503"])
def test_few_examples_wait_for_an_endpoint_that_is_busy_as_long_as_many(
    job: Job, play: Callable[..., None], run_virtual: "RunVirtual", reason: str
) -> None:
    def busy_at_first(_: Request) -> str:
        if asyncio.get_running_loop().time() < 120:
            raise OverloadedError("busy", reason=reason)
        return "red"

    play(Scripted(busy_at_first))
    spent = list[Spent]()
    evaluation = run_virtual(asked(replace(job, examples=job.examples[:5]), spent))
    assert evaluation.n_errors == 0
    assert spent[-1].attempts > 4 * 5


async def asked(job: Job, spent: list[Spent]) -> Evaluation:
    async with open_job(job) as opened:
        try:
            return await opened.evaluate()
        finally:
            spent.append(opened.caller.spent)


def test_a_dearer_tier_of_service_has_no_published_price(job: Job) -> None:
    spec = ModelSpec(provider="openai_compatible", name="gpt-4o-mini", base_url="https://api.openai.com/v1")

    def priced(*tiers: str | None) -> bool:
        base = template(temperature=0).calls[0]
        calls = tuple(replace(base, parameters=(("service_tier", tier),) if tier else ()) for tier in tiers)
        made = replace(job.frozen, template=replace(job.frozen.template, calls=calls))
        return replace(job, spec=spec, frozen=made).price is not None

    assert priced(None)
    assert priced("default", "default")
    assert not priced("priority")
    assert not priced("default", "priority")
    assert not priced(None, "flex")  # which of the prices is that of both is not known


def test_the_study_beside_a_prompt_says_the_rest_of_its_model(job: Job) -> None:
    beside = study_beside(Path(job.task.source.file).resolve().with_name("prompt.json"))
    assert beside is not None
    assert own_model(job.frozen, beside) == job.spec
    assert own_model(job.frozen, None) == ModelSpec(provider="scripted", name="rules")
    renamed = replace(job.frozen, model={"provider": "scripted", "name": "others"})
    assert own_model(renamed, beside).path is None
    with pytest.raises(InputError, match="the prompt names no model"):
        own_model(replace(job.frozen, model={}), beside)


def test_only_a_stated_temperature_of_0_makes_texts_comparable() -> None:
    assert is_deterministic(template(temperature=0))
    assert is_deterministic(template(temperature=0.0, max_tokens=3))
    assert not is_deterministic(template(temperature=0.1))
    assert not is_deterministic(template())
    both = replace(template(temperature=0), calls=(*template(temperature=0).calls, *template().calls))
    assert not is_deterministic(both)


@pytest.mark.parametrize(
    ("split", "temperature", "judged", "among"),
    [
        ("validation", 0.7, False, 8),
        ("validation", 0, False, 1),  # answers that are the same each time
        ("validation", 0, True, 8),
        ("test", 0.7, True, 1),
    ],
)
def test_only_sampled_answers_of_validation_choose_a_prompt_by_luck(
    job: Job, split: str, temperature: float, judged: bool, among: int
) -> None:
    records = {"split": split, "metric": "accuracy"}
    made = replace(job.frozen, template=template(temperature=temperature), records=records)
    assert chosen_among(replace(made, evidence={"candidates": 7}), judged=judged) == among
    # A prompt of before that was told has its trials, the baseline among them.
    assert chosen_among(replace(made, history=({},) * 8), judged=judged) == among
    assert chosen_among(replace(made, records=None), judged=judged) == 1


def test_answers_are_as_long_as_all_calls_together_may_make_them() -> None:
    def bound(*parameters: dict[str, float]) -> int | None:
        calls = tuple(template(**each).calls[0] for each in parameters)
        return most_written(replace(template(), calls=calls))

    assert bound({"max_tokens": 16}) == 16
    assert bound({"max_tokens": 16, "max_completion_tokens": 9}, {"max_tokens": 5}) == 14
    assert bound({"max_tokens": 16}, {}) is None


@pytest.mark.parametrize(("others", "by_judge"), [(0, False), (1, False), (30, True)])
def test_a_judge_of_a_task_that_changed_may_score_an_answer_otherwise_and_a_metric_may_not(
    job: Job, others: int, by_judge: bool
) -> None:
    def row(n: int, score: float) -> Row:
        return Row(
            id=f"e{n}", input="", target="", request="r", completion="c", score=score, outcome="ok",
            strict=True, prompt_tokens=5, completion_tokens=3,
        )  # fmt: skip

    pairs = Pairs(
        then=tuple(row(n, 1.0) for n in range(60)), now=tuple(row(n, 1.0 - (n < others)) for n in range(60))
    )
    made = replace(job.frozen, task={"fingerprint": "of another text"})
    p_value = (
        1.0
        if not others
        else compare_paired([1.0] * 60, [1.0 - (n < others) for n in range(60)], seed=0).p_value
    )
    judges = Judges(roles=("judge",), replaced=(), n=60, changed=others, p_value=p_value)
    assert redefined(made, job.task, pairs) == (others > 0)
    assert redefined(made, job.task, pairs, judges) == by_judge
