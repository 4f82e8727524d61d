"""What was scored is what ships: exported prompts, loaded and sent by other libraries, get the very answers."""

import asyncio
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from optimizer.completion import Completion, FinishReason, Request
from optimizer.evaluation import Scorer, evaluate
from optimizer.exporting import export
from optimizer.frozen import FrozenPrompt
from optimizer.models import MODELS, ModelSpec
from optimizer.plan import StudyPlan, load_plan

pytestmark = pytest.mark.embedded

LABELS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset: {path: data.jsonl, inputs: [text], target: colour, splits: {train: 11, validation: 12, test: 100}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: embedded, name: smollm2-135m, parameters: {temperature: 0, max_tokens: 3}}
search:
  instructions: {given: [Which colour is it?]}
  demos: {sizes: [0, 2], sets: 1}
  styles: [direct]
  formats: [plain]
budget: {calls: 600}
"""

# The last message, the completion, and why it ended.
Sent = tuple[str, str, FinishReason]


class Noted:
    """A model that keeps what it returned, in order."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.texts: dict[str, str] = {}

    async def complete(self, request: Request) -> Completion:
        completion: Completion = await self.model.complete(request)
        self.texts[request.messages[-1].content] = completion.text
        return completion


def a_plan(folder: Path) -> StudyPlan:
    """Return a study of short texts, a hundred of which are its test."""
    things = ("sky", "car", "hat", "door", "bird")
    rows = [
        {"id": f"c{n:03d}", "text": f"{things[n % 5]} {n}: {LABELS[n % 3]}", "colour": LABELS[n % 3]}
        for n in range(123)
    ]
    (folder / "pyproject.toml").touch()
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "task.yaml").write_text(TASK, encoding="utf-8")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    return load_plan(folder / "study.yaml")


def frozen_of(plan: StudyPlan) -> FrozenPrompt:
    """Return the prompt of the study's space that shows two demonstrations."""
    space = plan.space
    shown = next(each for each in space.demonstration_sets if each.size == 2)
    template = space.render(space.candidate({**space.baseline.point, "demonstrations": shown.id}))
    assert template is not None
    return FrozenPrompt(
        name="colours",
        template=template,
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "embedded", "name": "smollm2-135m"},
        task={"name": "colours", "version": "1.0", "metric": "accuracy"},
        evidence={},
        history=(),
        tool_versions={},
    )


def module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def by_langchain(manifest: str, url: str, key: str, rows: Sequence[Mapping[str, str]]) -> list[Sent]:
    """Return what each row's last message and completion are where LangChain loads the prompt and sends it."""
    from langchain_core.load import loads
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    prompt = loads(manifest, allowed_objects="core")
    model = ChatOpenAI(model="smollm2-135m", base_url=url, api_key=SecretStr(key), max_retries=0)
    chain = prompt | model.bind(**prompt.metadata["parameters"])
    found: list[Sent] = []
    for row in rows:
        answer = await chain.ainvoke(row)
        shown = prompt.invoke(row).to_messages()[-1].content
        found.append((shown, str(answer.content), answer.response_metadata["finish_reason"]))
    return found


async def by_module(module: ModuleType, url: str, key: str, rows: Sequence[Mapping[str, str]]) -> list[Sent]:
    """Return the same where the module makes the messages and OpenAI's client sends them."""
    from openai import AsyncOpenAI

    found: list[Sent] = []
    async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        for row in rows:
            messages = module.messages(**row)
            answer = await client.chat.completions.create(
                model="smollm2-135m", messages=messages, **module.parameters()
            )
            choice = answer.choices[0]
            ended: FinishReason = "length" if choice.finish_reason == "length" else "stop"
            found.append((messages[-1]["content"], choice.message.content or "", ended))
    return found


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_langchain_and_the_python_module_get_the_answers_that_were_scored(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)
    frozen, examples = frozen_of(plan), plan.dataset.test
    assert len(examples) == 100
    written = {name: export(frozen, name, examples).texts[0] for name in ("langchain", "python_module")}
    path = tmp_path / "prompt.py"
    path.write_text(written["python_module"], encoding="utf-8")
    module, rows = module_of(path), [example.values for example in examples]

    async def work() -> None:
        spec = ModelSpec(provider="embedded", name="smollm2-135m")
        async with MODELS["embedded"].connect(spec) as connection:
            model, client = Noted(connection.model), connection.model._endpoint._client  # type: ignore[attr-defined]
            url, key = str(client.base_url).rstrip("/"), client.api_key
            scored = await evaluate(frozen.template, examples, model, Scorer.of(plan.task, {}))
            answers = {result.example.id: result.answer for result in scored.results}
            others = (
                await by_langchain(written["langchain"], url, key, rows),
                await by_module(module, url, key, rows),
            )
            for sent in others:
                for example, (shown, text, ended) in zip(examples, sent, strict=True):
                    assert text == model.texts[shown]
                    read, own = module.parse(text, finish_reason=ended), answers[example.id]
                    assert (read.text, read.outcome, read.strict) == (own.text, own.outcome, own.strict)
            assert len({answer.text for answer in answers.values()}) > 1, "the model answers everything alike"

    asyncio.run(work())
