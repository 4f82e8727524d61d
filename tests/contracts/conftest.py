"""A task, a draft and a frozen prompt for the contracts that hold for every member of a folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.candidate import Candidate, Demonstration, DemonstrationSet, Instruction
from optimizer.digest import canonical
from optimizer.document import Located
from optimizer.formats import FORMATS, Draft
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import PromptTemplate
from optimizer.styles import STYLES, ReasoningStyle
from optimizer.task import Task
from optimizer.taskfile import DatasetSpec, OutputType, Splits

# Texts that would matter to a careless template: braces, the names of holes, quotes, markup.
INSTRUCTION = 'Route {user_message} to {{team}} and "say" input:subject, %s \\n <b>.'
TARGETS: dict[OutputType, tuple[str, ...]] = {
    "label": ("billing", "order status", "order"),
    "text": ('It says: "no" {subject}', "deux mots\nsur deux lignes"),
    "number": ("12", "-0.5", "1e+16"),
    "labels": ('["billing", "order"]', "[]", '["order status"]'),
    "json": ('{"city":"\\"Paris\\" {subject}","n":2}', '{"city":"","n":-1}'),
}
LABELS = TARGETS["label"]
SCHEMA = canonical(
    {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "city": {"$ref": "#/$defs/place"}},
        "required": ["n", "city"],
        "additionalProperties": False,
        "$defs": {"place": {"type": "string"}},
    }
)

# Styles of several calls, which no file of the folder has to have for the formats to be tested on them.
OF_SEVERAL_CALLS = {
    "answer_then_check": ReasoningStyle(follow_ups=("Check your answer {subject}. Repeat or correct it.",)),
    "reason_then_answer_then_check": ReasoningStyle(
        request="Think first.",
        opener="Let me think. I",
        follow_ups=("So what is it?", "Check it, then write Answer: and the answer."),
        marker="Answer:",
        reasoning_tokens=50,
    ),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a `pair` for every format with every style and output type that it can lay out.

    Of styles that take the same turns, one stands for all.
    """
    if "pair" not in metafunc.fixturenames:
        return
    named = {**{name: STYLES[name] for name in reversed(list(STYLES))}, **OF_SEVERAL_CALLS}
    by_shape = {shape(style): (name, style) for name, style in named.items()}
    styles = dict(by_shape.values())
    fitting = {
        f"{layout}-{name}-{output}": (layout, style, output)
        for layout in FORMATS
        for name, style in styles.items()
        for output in TARGETS
        if FORMATS[layout].misfit(a_task(output), style) is None
    }
    metafunc.parametrize("pair", list(fitting.values()), ids=list(fitting))


def shape(style: ReasoningStyle) -> tuple[bool, bool, int]:
    """Return what of a style decides where its words stand; there may be more of them or fewer."""
    return bool(style.opener), bool(style.marker), style.n_calls


def a_task(output: OutputType = "label") -> Task:
    """Return a task with two inputs."""
    labels = LABELS if output in {"label", "labels"} else ()
    inputs, target = ("subject", "user_message"), "right_answer"
    return Task(
        name="triage",
        version="1.0",
        description="",
        language="en",
        inputs=inputs,
        target=target,
        output=output,
        labels=labels,
        label_descriptions=tuple("" for _ in labels),
        schema=SCHEMA if output == "json" else "",
        metric="exact_match",
        metrics=(),
        instruction=INSTRUCTION,
        dataset=DatasetSpec(inputs=inputs, target=target, splits=Splits(train=1, validation=1, test=1)),
        paths=(Path("triage.jsonl"),),
        source=Located(value={"name": "triage"}, file="triage.yaml", marks={}),
    )


def a_demonstration(n: int, target: str) -> Demonstration:
    """Return a demonstration whose texts occur nowhere else."""
    inputs = (("subject", f"{{subject}} of shot {n}"), ("user_message", f'"body"\nof shot {n} {{{{x}}}}'))
    return Demonstration(example_id=f"e{n}", inputs=inputs, target=target)


@pytest.fixture
def several_calls() -> dict[str, ReasoningStyle]:
    return OF_SEVERAL_CALLS


@pytest.fixture
def make_task() -> Callable[..., Task]:
    return a_task


@pytest.fixture
def make_draft() -> Callable[..., Draft]:
    """Return a function that makes a draft of a style, with one demonstration for each target."""

    def make(
        style: ReasoningStyle,
        *,
        output: OutputType = "label",
        targets: tuple[str, ...] | None = None,
        control_tokens: tuple[str, ...] = (),
    ) -> Draft:
        shown = TARGETS[output] if targets is None else targets
        shots = tuple(a_demonstration(n, target) for n, target in enumerate(shown))
        candidate = Candidate(
            instruction=Instruction(id="i0000", text=INSTRUCTION, origin="given"),
            demonstrations=DemonstrationSet(id="d0001", demonstrations=shots, selector="random"),
            style="style",
            format="format",
        )
        return Draft(
            task=a_task(output),
            candidate=candidate,
            style=style,
            parameters=(("max_tokens", 16), ("temperature", 0.0)),
            control_tokens=control_tokens,
        )

    return make


@pytest.fixture
def make_frozen() -> Callable[[PromptTemplate], FrozenPrompt]:
    def make(template: PromptTemplate) -> FrozenPrompt:
        return FrozenPrompt(
            name="triage",
            template=template,
            style="direct",
            format="format",
            capabilities=(),
            demonstration_ids=("e0", "e1"),
            model={"name": "a model"},
            task={"name": "triage"},
            evidence={"validation": {"n": 3, "score": 0.5}, "decision": "improved"},
            history=({"trial": 0, "score": 0.25},),
            tool_versions={"optimizer": "0.1.0"},
        )

    return make
