"""Prompts that show images: laid out, filled, bounded, frozen and refused where they cannot be carried."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from optimizer.candidate import Candidate, Demonstration, DemonstrationSet, Instruction
from optimizer.completion import IMAGE_TOKENS, Message, Request
from optimizer.document import Located
from optimizer.errors import InputError, RejectedError
from optimizer.exporting import export
from optimizer.formats import FORMATS, Draft
from optimizer.frozen import FrozenPrompt
from optimizer.length import usual_tokens
from optimizer.models import chat_body
from optimizer.prompt import Hole, MessageTemplate, PromptTemplate
from optimizer.space import needed_capabilities
from optimizer.styles import STYLES
from optimizer.task import Task
from optimizer.taskfile import DatasetSpec, InputSpec, Splits

URL, OTHER = "https://example.org/1.png", "data:image/png;base64,iVBORw0KGgo="
FIRST = Instruction(id="i0000", text="", origin="given")
LAYOUTS = ("plain", "inline", "json", "xml")


def a_task(**kinds: InputSpec) -> Task:
    return Task(
        name="damage",
        version="1.0",
        description="",
        language="en",
        inputs=tuple(kinds),
        kinds=kinds,
        target="harm",
        output="label",
        labels=("none", "some"),
        label_descriptions=("", ""),
        metric="accuracy",
        metrics=(),
        instruction="Is anything broken?",
        dataset=DatasetSpec(inputs=kinds, target="harm", splits=Splits(train=1, validation=1, test=1)),
        paths=(Path("damage.jsonl"),),
        source=Located(value={}, file="damage.yaml", marks={}),
    )


@pytest.fixture
def task() -> Task:
    """Return a task of a text and an image that may be missing."""
    return a_task(message=InputSpec(), photo=InputSpec(type="image", optional=True))


def laid_out(task: Task, layout: str, shots: Sequence[Demonstration] = ()) -> PromptTemplate:
    shown = DemonstrationSet(id="d", selector="random", demonstrations=tuple(shots))
    candidate = Candidate(
        instruction=replace(FIRST, text=task.instruction),
        demonstrations=shown,
        style="direct",
        format=layout,
    )
    draft = Draft(
        task=task, candidate=candidate, style=STYLES["direct"], parameters=(), control_tokens=("<|x|>",)
    )
    return FORMATS[layout].render(draft)


def images(template: PromptTemplate, **inputs: str) -> tuple[str, ...]:
    messages = template.request({"message": "hello", "photo": "", **inputs}).messages
    return tuple(url for message in messages for url in message.images)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_is_shown_beside_the_text_that_names_it(task: Task, layout: str) -> None:
    template = laid_out(task, layout)
    (*_, message) = template.request({"message": "hello", "photo": URL}).messages
    assert message.images == (URL,)
    assert URL not in message.content
    assert "hello" in message.content
    assert "hoto" in message.content
    (*_, without) = template.request({"message": "hello", "photo": ""}).messages
    assert without.images == ()
    assert "hoto" not in without.content.replace(task.instruction, "")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_demonstrations_show_theirs(task: Task, layout: str) -> None:
    inputs = (("message", "a <|x|>"), ("photo", OTHER))
    shots = [
        Demonstration(example_id="1", inputs=inputs, target=task.labels[0]),
        Demonstration(example_id="2", inputs=(("message", "b"), ("photo", "")), target=task.labels[0]),
    ]
    template = laid_out(task, layout, shots)
    assert images(template, photo=URL) == (OTHER, URL)
    assert images(template) == (OTHER,)
    assert OTHER not in "".join(
        message.content for message in template.request({"message": "", "photo": ""}).messages
    )


def test_a_message_of_several_images_says_where_each_belongs() -> None:
    holes = [Hole(name=f"input:{name}", image=True, lead=f"{name}: ", tail="\n") for name in "abc"]
    filled = MessageTemplate(role="user", parts=("Look.\n", *holes)).fill({"a": URL, "b": "", "c": OTHER}, ())
    assert filled == Message(role="user", content="Look.\na: [image 1]\nc: [image 2]\n", images=(URL, OTHER))


def test_people_are_not_shown_the_content_of_an_image() -> None:
    assert Hole(name="input:photo", image=True).shown == "input:photo"
    assert Hole(name=f"image:{URL}", image=True).shown == f"image:{URL}"
    assert Hole(name=f"image:{OTHER * 9}", image=True).shown == f"image:{OTHER * 9}"[:60] + "…"


def test_a_message_is_sent_as_text_unless_it_has_images() -> None:
    assert Message(role="user", content="a").to_dict() == {"role": "user", "content": "a"}
    picture = {"type": "image_url", "image_url": {"url": URL}}
    text = {"type": "text", "text": "a"}
    assert Message(role="user", content="a", images=(URL,)).to_dict()["content"] == [picture, text]
    assert Message(role="user", content="", images=(URL,)).to_dict()["content"] == [picture]


def test_a_server_is_sent_the_parts_of_a_message() -> None:
    request = Request(messages=(Message(role="user", content="a", images=(URL,)),))
    body = chat_body(request, name="m", can=frozenset({"images"}))
    assert json.dumps(body).count(URL) == 1
    with pytest.raises(RejectedError, match="m cannot see images"):
        chat_body(request, name="m", can=frozenset())


def test_only_a_model_that_sees_images_runs_such_a_prompt(task: Task) -> None:
    assert needed_capabilities(laid_out(task, "plain")) == {"images"}
    assert needed_capabilities(laid_out(a_task(message=InputSpec()), "plain")) == frozenset()


def test_an_image_has_a_bound_in_tokens_however_long_its_url_is() -> None:
    asked = Request(messages=(Message(role="user", content=""),))
    shown = replace(asked, messages=(Message(role="user", content="", images=(OTHER * 1000,)),))
    assert shown.most_tokens[0] - asked.most_tokens[0] == IMAGE_TOKENS


def test_the_usual_tokens_count_images(task: Task) -> None:
    template = laid_out(task, "plain")
    call = template.calls[0]
    bare = replace(call, messages=call.messages[:-1])
    assert usual_tokens(template, 0) - usual_tokens(replace(template, calls=(bare,)), 0) > IMAGE_TOKENS


def frozen(template: PromptTemplate) -> FrozenPrompt:
    return FrozenPrompt(
        name="n",
        template=template,
        style="direct",
        format="plain",
        capabilities=("images",),
        demonstration_ids=(),
        model={},
        task={},
        evidence={},
        history=(),
        tool_versions={},
    )


def test_a_frozen_prompt_carries_its_images_and_says_what_reads_it(task: Task) -> None:
    shot = Demonstration(example_id="1", inputs=(("message", "a"), ("photo", OTHER)), target=task.labels[0])
    prompt = frozen(laid_out(task, "plain", [shot]))
    assert prompt.to_dict()["schema"] == "1.2"
    again = FrozenPrompt.loads(prompt.dumps())
    assert again == prompt
    (*_, last) = again.messages(message="hello", photo=URL)
    assert last["content"][0] == {"type": "image_url", "image_url": {"url": URL}}
    with pytest.raises(InputError, match="the prompt shows images"):
        export(prompt, "openai_messages")


@pytest.mark.parametrize(
    "part",
    [
        {"hole": "image:file:///etc/passwd", "image": True},
        {"hole": "image:https://example.org/a.png"},
        {"hole": "completion:0", "image": True},
        {"hole": "input:photo", "image": "yes"},
        {"hole": "input:photo", "picture": True},
    ],
)
def test_a_file_with_another_kind_of_image_is_refused(task: Task, part: dict[str, Any]) -> None:
    document = laid_out(task, "plain").to_dict()
    text = json.loads(json.dumps(document))
    text["calls"][0]["messages"][0]["parts"] = [{"neutralise": [], **part}]
    with pytest.raises(ValueError, match="parts\\[0\\]"):
        PromptTemplate.from_dict(text)
