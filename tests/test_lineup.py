"""Who is compared: models of a file, prompts under their names, and every reason against a comparison."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint
from optimizer.config import PriceSpec
from optimizer.dataset import Dataset
from optimizer.errors import InputError, StorageError
from optimizer.frozen import FrozenPrompt
from optimizer.lineup import OWN, Entrant, entrants, findings, sampled, seats
from optimizer.models import ModelSpec
from optimizer.plan import load_examples
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.rivals import Rival, rivals, siblings, unique
from optimizer.task import Task
from optimizer.tuning import plans_for

LABELS = ("red", "green", "blue")
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


def template(*, labels: tuple[str, ...] = LABELS, input: str = "text", **parameters: float) -> PromptTemplate:  # noqa: A002 - the word of the task
    ask = MessageTemplate(role="user", parts=("Colour? ", Hole(name=f"input:{input}")))
    call = CallTemplate(messages=(ask,), parameters=tuple(sorted(parameters.items())))
    return PromptTemplate(calls=(call,), answer=AnswerFormat(kind="label", labels=labels))


def prompt(made: PromptTemplate, *, name: str = "p", **more: Any) -> FrozenPrompt:
    return FrozenPrompt(
        **{
            "name": name,
            "template": made,
            "style": "direct",
            "format": "plain",
            "capabilities": (),
            "demonstration_ids": (),
            "model": {"provider": "scripted", "name": "rules"},
            "task": {},
            "evidence": {},
            "history": (),
            "tool_versions": {},
            **more,
        }
    )


@pytest.fixture
def written(write_study: Callable[..., Path]) -> Path:
    path = write_study(TASK, STUDY, items=21)
    (path.parents[1] / "pyproject.toml").touch()
    return path.parent


@pytest.fixture
def loaded(written: Path) -> tuple[Task, Dataset]:
    return load_examples(written / "task.yaml")


def scripted(folder: Path, label: str = "m", **spec: Any) -> Rival:
    made = ModelSpec(provider="scripted", name="rules", path=str(folder / "rules.json"), **spec)
    return Rival(label=label, spec=made)


def test_names_are_made_unique_in_their_order() -> None:
    assert unique(["a", "b", "a", "a", "a-2"]) == ("a", "b", "a-2", "a-3", "a-2-2")


def test_a_file_of_models_says_what_a_study_says_and_a_label_and_a_price(written: Path) -> None:
    path = written / "models.yaml"
    path.write_text(
        """models:
  - {provider: scripted, name: rules, path: rules.json}
  - label: warm
    provider: scripted
    name: rules
    path: rules.json
    parameters: {temperature: 1}
    price: {input: 0.5, output: 2}
  - {provider: scripted, name: rules, path: rules.json, parameters: {seed: 1}}
"""
    )
    found = rivals([str(path)])
    assert [rival.label for rival in found] == ["rules", "warm", "rules-2"]
    assert found[1].spec.parameters == {"temperature": 1}
    assert found[0].spec.path == str(written / "rules.json")
    assert found[0].price is None
    assert found[1].price is not None
    assert (found[1].price.input, found[1].price.output) == (0.5, 2)


def test_one_model_served_in_two_ways_shares_no_answers(written: Path) -> None:
    one, other = scripted(written, "one"), scripted(written, "other", context=64)
    warm = scripted(written, "warm", parameters={"temperature": 1})
    assert siblings([one, warm]) == frozenset()  # these are other requests, which have keys of their own
    assert siblings([one, other, warm]) == {"one", "other", "warm"}
    elsewhere = replace(other, spec=replace(other.spec, name="more"))
    assert siblings([one, elsewhere]) == frozenset()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: []\n", "models.yaml:1: models: expected at least one model, found none"),
        (
            "models:\n  - {provider: scripted, name: m, path: rules.json, lable: x}\n",
            "models.yaml:2: models[0]: unknown field 'lable'; did you mean 'label'?",
        ),
        (
            "models:\n  - {provider: scripted, name: m, path: rules.json, price: {input: -1, output: 1}}\n",
            "models.yaml:2: models[0].price.input: expected at least 0, found -1.0",
        ),
        (
            "models:\n  - {provider: scriptd, name: m}\n",
            "models.yaml:2: models[0]: no plug-in 'scriptd' in models; did you mean 'scripted'?",
        ),
        (
            "models:\n  - {provider: embeddings, name: m, base_url: 'http://127.0.0.1:1/v1'}\n",
            "models.yaml:2: models[0]: expected a provider of text, found embeddings",
        ),
        (
            "models:\n  - {provider: scripted, name: m, path: ../../../rules.json}\n",
            "leads outside the project",
        ),
        (
            "models:\n  - {provider: scripted, name: m, label: ' ', path: rules.json}\n",
            "models.yaml:2: models[0].label: expected some text, found none",
        ),
    ],
)
def test_mistakes_in_a_file_of_models_are_told_with_their_line(
    written: Path, text: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(written)
    (written / "models.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        rivals(["models.yaml"])
    assert told in str(caught.value)


def test_a_model_that_cannot_be_asked_is_told_with_every_other() -> None:
    with pytest.raises(InputError) as caught:
        rivals(["openai_compatible:m", "gpt", "scripted:x"])
    assert [str(problem) for problem in caught.value.problems] == [
        "--models: openai_compatible:m: base_url: missing; expected an address such as https://api.openai.com/v1",
        "--models: expected PROVIDER:NAME or a YAML file of models, found 'gpt'",
        "--models: scripted:x: scripted needs path, a JSON file of rules",
    ]


def test_the_parameters_of_a_model_come_before_those_of_every_call() -> None:
    made = template(temperature=0, max_tokens=16)
    twice = replace(made, calls=made.calls * 2)
    found, changed = sampled(twice, {"temperature": 1, "max_completion_tokens": 500})
    assert [dict(call.parameters) for call in found.calls] == [
        {"temperature": 1, "max_completion_tokens": 500}
    ] * 2
    assert changed == {"temperature": 1, "max_completion_tokens": 500}
    assert sampled(twice, {}) == (twice, {})
    assert sampled(twice, {"temperature": 0}) == (twice, {})


def test_the_own_prompt_of_a_task_is_rendered_for_each_model(
    written: Path, loaded: tuple[Task, Dataset]
) -> None:
    tuned = prompt(template(temperature=0.5, max_tokens=7))
    named = entrants([None, tuned])
    models = [scripted(written, "a"), scripted(written, "b", control_tokens=("<|im_start|>",))]
    places = seats(named, models, loaded[0])
    assert [seat.name for seat in places] == ["baseline@a", "p@a", "baseline@b", "p@b"]
    own = places[0].frozen.template
    assert "Name the colour." in str(own.calls[0].messages)
    assert dict(own.calls[0].parameters) == {"temperature": 0.5, "max_tokens": 7}  # as its neighbour
    assert {hole.neutralise for hole in places[2].frozen.template.holes()} == {("<|im_start|>",)}
    alone = seats(entrants([None]), models[:1], loaded[0])[0].frozen.template
    assert dict(alone.calls[0].parameters) == {"temperature": 0, "max_tokens": 256}
    assert findings(named, places[:2], *loaded, "test").problems == ()


@pytest.mark.parametrize(
    ("base_url", "stated", "asked"),
    [
        ("https://api.openai.com/v1", {}, {"max_completion_tokens": 256 + 2000}),
        ("https://api.openai.com/v1", {"max_tokens": 9}, {"max_tokens": 9}),
        ("https://api.openai.com/v1", {"temperature": 1}, {"max_completion_tokens": 2256, "temperature": 1}),
        ("http://127.0.0.1:1/v1", {}, {"temperature": 0, "max_tokens": 256}),
    ],
)
def test_a_model_that_counts_its_thoughts_has_room_for_them_and_no_temperature(
    loaded: tuple[Task, Dataset], base_url: str, stated: dict[str, Any], asked: dict[str, Any]
) -> None:
    spec = ModelSpec(
        provider="openai_compatible", name="gpt-5-mini", base_url=base_url, parameters=stated, api_key_env="K"
    )
    alone = seats(entrants([None]), [Rival(label="m", spec=spec)], loaded[0])[0].frozen.template
    assert dict(alone.calls[0].parameters) == asked


def test_what_keeps_a_comparison_from_being_made_is_told_at_once(
    written: Path, loaded: tuple[Task, Dataset]
) -> None:
    held = template()
    call = replace(held.calls[0], constraint=Constraint(choice=LABELS))
    named = (
        Entrant(label="inputs", frozen=prompt(template(input="message"))),
        Entrant(label="labels", frozen=prompt(template(labels=("red", "blue")))),
        Entrant(label="kind", frozen=prompt(replace(held, answer=AnswerFormat(kind="number")))),
        Entrant(label="held", frozen=prompt(replace(held, calls=(call,)))),
        Entrant(label="again", frozen=prompt(replace(held, calls=(call,)))),
    )
    places = seats(named, [scripted(written, capabilities=())], loaded[0])
    found = findings(named, places, loaded[0], replace(loaded[1], test=()), "test")
    told = [str(problem).removeprefix(loaded[0].source.file + ": ") for problem in found.problems]
    assert told == [
        "dataset.splits: the split test is empty",
        "inputs: the prompt takes message, and the task has text",
        "labels: the prompt reads the labels red, blue, and the task has red, green, blue",
        "kind: the prompt reads answers of the type number, and the task wants label",
        "again@m is held@m again: the same prompt on the same model",
        "held@m: the prompt needs choice, which the model lacks",
        "again@m: the prompt needs choice, which the model lacks",
    ]


def test_what_keeps_a_comparison_from_being_fair_can_be_forced(
    written: Path, loaded: tuple[Task, Dataset]
) -> None:
    task, dataset = loaded
    here = {"metric": "accuracy", "fingerprint": task.digest, "dataset": {"fingerprint": dataset.digest}}
    there = {"metric": "macro_f1", "fingerprint": "0" * 64, "dataset": {"fingerprint": "1" * 64}}
    named = entrants(
        [prompt(template(), task=here), prompt(template(seed=1), task=there), prompt(template(seed=2))]
    )
    found = findings(named, seats(named, [scripted(written)], task), task, dataset, "test")
    assert found.problems == ()
    assert [str(problem) for problem in found.unfair] == [
        "p-2: the prompt was made for the metric macro_f1, and the task's is accuracy",
        "p-2: the prompt was made for another task, or another version of it, than colours is now",
        "p-2: the prompt was made with other data, or other splits of them, than the task has now",
    ]


def test_a_project_that_takes_no_mark_is_told(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (written / "study.yaml").write_text(STUDY)
    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(StorageError, match=r"\.optimizer cannot be made \(Permission denied\)"):
        plans_for(written / "study.yaml", [scripted(written)], written / "compare")


def test_a_study_for_another_model_means_the_same_files(written: Path) -> None:
    (written / "data").mkdir()
    study = STUDY.replace(
        "budget: {calls: 700}",
        "budget: {calls: 700, prices: {rules: {input: 1, output: 2}}}\n"
        "judge: {provider: scripted, name: judge, path: rules.json}",
    )
    (written / "study.yaml").write_text(study)
    models = [
        Rival(
            label="vendor/m x",
            spec=replace(scripted(written).spec, name="other", parameters={"max_completion_tokens": 9}),
            price=PriceSpec(input=3, output=4),
        ),
        scripted(written, "..", parameters={"temperature": 1}),
    ]
    plans = plans_for(written / "study.yaml", models, written / "compare")
    assert [plan.folder.relative_to(written).as_posix() for plan in plans] == [
        "compare/vendor-m-x",
        "compare/-",
    ]
    assert [plan.model.path for plan in plans] == [str(written / "rules.json")] * 2
    assert plans[0].file.model.parameters == {"max_completion_tokens": 9}
    assert plans[1].file.model.parameters == {"temperature": 1}
    # The price of a model that is not asked would be a mistake in the file.
    assert plans[0].file.budget.prices == {"other": PriceSpec(input=3, output=4)}
    assert plans[1].file.budget.prices == {"rules": PriceSpec(input=1, output=2)}
    assert plans[0].task.digest == plans[1].task.digest == load_examples(written / "task.yaml")[0].digest
    assert plans[0].file.judge is not None
    assert plans[0].file.judge.path == "../../rules.json"
    before = (plans[0].folder / "study.yaml").read_text(encoding="utf-8")
    assert plans_for(written / "study.yaml", models, written / "compare")[0].identity == plans[0].identity
    assert (plans[0].folder / "study.yaml").read_text(encoding="utf-8") == before


def test_what_one_should_know_of_a_comparison_is_told(written: Path, loaded: tuple[Task, Dataset]) -> None:
    task, dataset = loaded
    shown = tuple(example.id for example in dataset.validation[:2])
    named = entrants([prompt(template(temperature=0), demonstration_ids=shown)])
    model = scripted(written, parameters={"temperature": 1}, control_tokens=("<s>", "</s>"))
    found = findings(named, seats(named, [model], task), task, dataset, "validation")
    assert found.cautions == (
        "p shows 2 of the 9 examples with their answers",
        "p@m is sampled otherwise than the prompt says: temperature 1",
        "p@m: <s>, </s> stay whole in the inputs, which this model reads as its markup",
        "scores on validation flatter prompts that were chosen or made with it; test does not",
    )
    assert entrants([None])[0].label == OWN
