"""Files for OpenAI's API, in the words of its own request types, and pages that people read: exact or refused."""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import ConfigDict, TypeAdapter

from optimizer.answer import AnswerFormat
from optimizer.candidate import Candidate, Demonstration, DemonstrationSet, Instruction
from optimizer.cells import listed
from optimizer.completion import Constraint
from optimizer.dataset import Example
from optimizer.digest import canonical
from optimizer.document import Located
from optimizer.errors import InputError
from optimizer.exporters import EXPORTERS, LossyExportError, Wording
from optimizer.exporters._chat import constraint_of, response_format
from optimizer.exporters.openai_batch import MOST_BYTES, MOST_LINES
from optimizer.exporting import export, hostile_cases
from optimizer.formats import FORMATS, Draft
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, PromptTemplate
from optimizer.promptfile import literals, read_prompt
from optimizer.styles import STYLES
from optimizer.task import PromptFile, Task
from optimizer.taskfile import DatasetSpec, OutputType, Splits

if TYPE_CHECKING:
    from tests.hostile_prompts import frozen_as, hole, message
    from tests.parcels import optimizer
else:
    from hostile_prompts import frozen_as, hole, message
    from parcels import optimizer

SCHEMA = canonical(
    {
        "type": "object",
        "properties": {"b": {"type": "string"}, "a": {"type": "integer"}},
        "required": ["b", "a"],
    }
)
PIECES = (
    "{{", "}}", "{", "}", "{%", "{#", "{{text}}", "{{text#2}}", "{text}", "${text}", "$text", "\\", '"', "'", "`", "~~~", "~~~~",
    "---", "-->", "<!--", "system:", "## User", "# x", "\n", "\n\n", "\r", "\u2028", "\x85", "\t", " ", "<b>", "&amp;", "é", "😀",
    "a", "text", "null", "#", ":", "- ",
)  # fmt: skip
Request = dict[str, Any]

LISTS = """schema: 1
name: whys
dataset:
  path: data.jsonl
  inputs: {passages: {type: list}, q: {}}
  target: a
  splits: {train: 3, validation: 6, test: 6}
output: {type: text}
metric: exact_match
instruction: Answer.
"""


class Checked(CompletionCreateParamsNonStreaming):
    """The body of a request, in which pydantic takes no key that the API does not have."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # pydantic's way for typed dictionaries


BODY: TypeAdapter[Any] = TypeAdapter(Checked)


def checked(body: Mapping[str, Any]) -> Request:
    """Return a body as OpenAI's own request types read it, lists for iterators."""
    found = BODY.validate_python(body)
    return {**found, "messages": list(found["messages"])}


def frozen_of(
    template: PromptTemplate, *, style: str = "direct", shown: tuple[str, ...] = ()
) -> FrozenPrompt:
    return frozen_as(
        template,
        name="a name -- with <marks> & `more`",
        style=style,
        demonstration_ids=shown,
        model={"provider": "openai_compatible", "name": "gpt-5-mini"},
        task={"name": "t", "version": "1", "metric": "accuracy"},
        evidence={
            "frozen": "winner",
            "test": {"winner": {"score": 0.75, "lower": 0.6, "upper": 0.9, "n": 40}},
        },
    )


def a_prompt(rng: Random) -> FrozenPrompt:
    """Return a prompt of hostile words, some with demonstrations, some with a schema, some that open the model's turn."""

    def words() -> str:
        return "".join(rng.choices(PIECES, k=rng.randrange(6)))

    names = ("text", "text#2", "a context")[: rng.randrange(1, 4)]
    parts: list[str | Hole] = [words()]
    for name in rng.sample(names, len(names)):
        parts += [hole(name), words()]
    messages = [message("system", words() or "Obey.")]
    for _ in range(rng.randrange(3)):
        messages += [message("user", words()), message("assistant", words())]
    messages.append(message("user", *parts))
    if rng.random() < 0.1:
        messages.append(message("assistant", "I"))
    constraint = Constraint(json_schema=SCHEMA) if rng.random() < 0.3 else None
    call = CallTemplate(
        messages=tuple(messages), parameters=(("max_tokens", 5), ("temperature", 0.5)), constraint=constraint
    )
    return frozen_of(PromptTemplate(calls=(call,), answer=AnswerFormat(kind="label", labels=("a", "b"))))


def rows_of(frozen: FrozenPrompt, n: int) -> list[Example]:
    cases = list(hostile_cases(frozen))[: n * 5 : 5]
    return [
        Example(id=f"row {k}", inputs=tuple(case.inputs.items()), target="a", group=None)
        for k, case in enumerate(cases)
    ]


def replaced(document: Mapping[str, Any], inputs: Mapping[str, str]) -> list[Request]:
    """Return the messages with every placeholder replaced in one pass, as the page and the module ask."""
    values = {placeholder: inputs[name] for name, placeholder in document["placeholders"].items()}
    pattern = re.compile("|".join(map(re.escape, values)))
    return [
        {**message, "content": pattern.sub(lambda found: values[found[0]], message["content"])}
        for message in document["messages"]
    ]


def test_three_hundred_prompts_are_what_the_api_takes_and_what_was_scored_or_are_refused() -> None:
    rng, sent = Random(0), 0
    for _ in range(300):
        frozen = a_prompt(rng)
        rows = rows_of(frozen, 4)
        if frozen.template.calls[0].messages[-1].role == "assistant":
            for name in ("openai_messages", "openai_batch"):
                with pytest.raises(LossyExportError, match="the prompt starts the model's own turn"):
                    export(frozen, name, rows)
            continue
        document = json.loads(export(frozen, "openai_messages").texts[0])
        sent += 1
        lines = [json.loads(line) for line in export(frozen, "openai_batch", rows).texts[0].splitlines()]
        for row, line in zip(rows, lines, strict=True):
            own = frozen.messages(**row.values)
            assert replaced(document, row.values) == own
            assert (line["custom_id"], line["method"], line["url"]) == (
                row.id,
                "POST",
                "/v1/chat/completions",
            )
            assert line["body"]["messages"] == own == checked(line["body"])["messages"]
        body = {"model": "gpt-5-mini", "messages": document["messages"], **document["parameters"]}
        if document["response_format"]:
            body["response_format"] = document["response_format"]
            schema = document["response_format"]["json_schema"]["schema"]
            assert list(schema["properties"]) == ["b", "a"]
            assert lines[0]["body"]["response_format"] == document["response_format"]
        checked(body)
    assert 200 < sent < 300


CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("change", "strict"),
    [
        ({}, True),
        ({"properties": {"a": {"type": ["string", "null"], "enum": ["x", None], "description": "d"}}}, True),
        ({"properties": {"a": {"type": "array", "items": {"$ref": "#"}, "minItems": 1}}}, True),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "number"}}}, True),
        ({"properties": {"a": {"anyOf": [{"type": "null"}, CLOSED]}}}, True),
        ({"properties": {"a": {"type": "string", "format": "date"}}}, True),
        ({"required": []}, False),
        ({"additionalProperties": True}, False),
        ({"properties": {"a": {}}}, False),
        ({"properties": {"a": {"enum": ["x"]}}}, False),
        ({"properties": {"a": {"type": "array"}}}, False),
        ({"properties": {"a": {"type": "object"}}}, False),
        ({"properties": {"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}}, False),
        ({"properties": {"a": {"type": "string", "minLength": 1}}}, False),
        ({"properties": {"a": {"type": "string", "format": "uri"}}}, False),
        ({"properties": {"a": {"oneOf": [{"type": "string"}]}}}, False),
        ({"properties": {"a": {"$ref": "#/properties/b"}}}, False),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {}}}, False),
        ({"type": "array", "items": CLOSED}, False),
    ],
)
def test_a_schema_is_sent_as_strict_only_where_the_strict_mode_takes_it(
    change: dict[str, Any], strict: bool
) -> None:
    schema = CLOSED | change
    found: dict[str, Any] = response_format(Constraint(json_schema=canonical(schema))) or {}
    assert found["json_schema"] == {"name": "answer", "strict": strict, "schema": schema}
    assert constraint_of(found) == Constraint(json_schema=canonical(schema))


def test_the_types_of_the_api_are_strict_enough_to_tell() -> None:
    for wrong in (
        {"model": "m"},
        {"model": "m", "messages": [{"role": "nobody", "content": "a"}]},
        {"model": "m", "messages": [], "extra": 1},
    ):
        with pytest.raises(ValueError, match=r"validation error"):
            checked(wrong)


def test_a_page_is_read_back_exactly_and_says_how_good_the_prompt_is(tmp_path: Path) -> None:
    """From its file, as whoever names it as a baseline reads it."""
    rng, refused = Random(1), 0
    file = PromptFile(named="x", path=tmp_path / "x.prompt.md", format="", field=())
    for _ in range(300):
        frozen = a_prompt(rng)
        words = "".join(literals(frozen.template))
        if "\r" in words:
            with pytest.raises(LossyExportError, match=r"has a line end other than \\n, which markdown"):
                export(frozen, "markdown")
            refused += 1
            continue
        (page,) = export(frozen, "markdown").texts
        assert "Scored 0.750 on 40 test examples, 95 % interval 0.600 to 0.900." in page
        assert page.index("-->") == page.rindex("-->", 0, page.index("\n# ")), (
            "the comment ends where it should"
        )
        file.path.write_bytes(page.encode())
        template = read_prompt(file, ()).template
        for case in list(hostile_cases(frozen))[::20]:
            assert template.request(case.inputs) == frozen.request(**case.inputs)
        assert template.answer == frozen.template.answer
    assert 0 < refused < 150


@pytest.mark.parametrize(
    ("text", "roles", "last"),
    [
        ("Say the colour.\n", ["system", "user"], "red sky"),
        ("Say the colour of {{text}}.", ["user"], "Say the colour of red sky."),
        ("Say the colour of {text}, not of {this}.", ["user"], "Say the colour of red sky, not of {this}."),
        ("# System\nBe short.\n\n# User prompt:\n{{ text }}\n", ["system", "user"], "red sky"),
        ("## Developer\nBe short.\n## User\nsky\n## Assistant\nred\n## User\n${text}?", None, "red sky?"),
    ],
)
def test_a_prompt_that_people_keep_as_text_is_read_as_they_mean_it(
    text: str, roles: list[str] | None, last: str
) -> None:
    read = EXPORTERS["markdown"].read
    assert read is not None
    messages = read(text, ("text",)).request({"text": "red sky"}).messages
    assert [message.role for message in messages] == (roles or ["system", "user", "assistant", "user"])
    assert messages[-1].content == last


def test_several_inputs_follow_a_wording_under_their_names() -> None:
    read = EXPORTERS["markdown"].read
    assert read is not None
    messages = read("Answer.", ("question", "context")).request({"question": "q", "context": "c"}).messages
    assert messages[-1].content == "question: q\ncontext: c"


@pytest.mark.parametrize(
    "body",
    [
        '[{"role": "developer", "content": "Be short."}, {"role": "user", "content": "{{text}}!"}]',
        """{"model": "m", "messages": [{"role": "system", "content": [{"type": "text", "text": "Be short."}]},
        {"role": "user", "content": "{text}!"}], "temperature": 1}""",
    ],
)
def test_messages_that_people_have_are_read_with_the_inputs_of_the_task(body: str) -> None:
    read = EXPORTERS["openai_messages"].read
    assert read is not None
    messages = read(body, ("text",)).request({"text": "sky"}).messages
    assert [(message.role, message.content) for message in messages] == [
        ("system", "Be short."),
        ("user", "sky!"),
    ]


def test_rows_show_lists_as_they_were_scored(tmp_path: Path) -> None:
    """A cell of a CSV says nothing of its type: the task does, or whoever sends the rows."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "data.jsonl").write_text(
        "".join(
            json.dumps({"passages": [f"one {n}", f"two {n}"], "q": f"why {n}", "a": "yes"}) + "\n"
            for n in range(15)
        ),
        encoding="utf-8",
    )
    task = tmp_path / "task.yaml"
    task.write_text(LISTS, encoding="utf-8")
    words = message("user", "Passages:\n", hole("passages"), "\nQ: ", hole("q"))
    template = PromptTemplate(calls=(CallTemplate(messages=(words,)),), answer=AnswerFormat(kind="text"))
    frozen, path, rows = frozen_of(template), tmp_path / "prompt.json", tmp_path / "rows.csv"
    path.write_text(frozen.dumps(), encoding="utf-8")
    rows.write_text('id,passages,q\nr1,"[""first"", ""second""]",why\n', encoding="utf-8")
    scored = frozen.messages(passages=listed(["first", "second"]), q="why")

    def said(*options: str | Path) -> Any:
        return optimizer("export", path, "--format", "openai_batch", *options)

    for options in (("--task", task), ("--list", "passages"), ("--task", task, "--list", "passages")):
        told = said("--rows", rows, *options)
        assert told.code == 0, told.err
        assert json.loads(told.out)["body"]["messages"] == scored
    assert "[1] first" in scored[0]["content"]
    assert json.loads(said("--rows", rows).out)["body"]["messages"] != scored
    unknown = said("--rows", rows, "--list", "passage")
    assert unknown.code == 2
    assert "--list: the prompt has no input 'passage'" in unknown.err
    useless = said("--task", task, "--list", "passages")
    assert useless.code == 2
    assert "--list: expected none without --rows" in useless.err


def test_a_batch_that_is_too_large_for_one_file_is_several(monkeypatch: pytest.MonkeyPatch) -> None:
    from optimizer.exporters import openai_batch

    assert (MOST_LINES, MOST_BYTES) == (50_000, 90_000_000)
    frozen = a_prompt(Random(2))
    rows = rows_of(frozen, 7)
    whole = export(frozen, "openai_batch", rows).texts
    assert len(whole) == 1
    monkeypatch.setattr(openai_batch, "MOST_LINES", 3)
    parts = export(frozen, "openai_batch", rows).texts
    assert [part.count("\n") for part in parts] == [3, 3, 1]
    assert "".join(parts) == whole[0]
    monkeypatch.setattr(openai_batch, "MOST_BYTES", len(whole[0].split("\n")[0]) + 1)
    assert all(part.count("\n") <= 2 for part in export(frozen, "openai_batch", rows).texts)


def test_what_a_format_is_made_of_must_be_at_hand() -> None:
    frozen = a_prompt(Random(2))
    with pytest.raises(InputError, match="openai_batch holds the requests of rows, and there are none"):
        export(frozen, "openai_batch")
    with pytest.raises(
        InputError, match=r"lays the prompt out anew from its wording, which is in instructions\.jsonl"
    ):
        export(frozen, "dspy_state")


@pytest.mark.parametrize("style", ["direct", "chain_of_thought"])
def test_a_program_of_dspy_loads_instruction_fields_and_demonstrations(
    style: str, tmp_path: Any, make_program: Callable[[str], Any]
) -> None:
    shown = Example(id="e1", inputs=(("text", 'a "b"\n{c}'),), target="red", group=None)
    wording = Wording(instruction="Name {it} -- now.", demonstrations=(shown,), targets=("the_colour",))
    turn = (message("user", shown.values["text"]), message("assistant", "red"))
    frozen = frozen_of(
        PromptTemplate(
            calls=(CallTemplate(messages=(*turn, message("user", hole("text")))),),
            answer=AnswerFormat(kind="text"),
        ),
        style=style,
        shown=("e1",),
    )
    found = export(frozen, "dspy_state", wording=wording)
    assert found.n_cases == 0
    path = tmp_path / "program.json"
    path.write_text(found.texts[0], encoding="utf-8")
    program = make_program(style)
    program.load(path)
    (predictor,) = program.predictors()
    assert predictor.signature.instructions == "Name {it} -- now."
    assert [dict(demo) for demo in predictor.demos] == [{"text": 'a "b"\n{c}', "the_colour": "red"}]
    fields = {name: field.json_schema_extra["prefix"] for name, field in predictor.signature.fields.items()}
    written = json.loads(found.texts[0])
    state = written["predict"] if style == "chain_of_thought" else written
    assert [field["prefix"] for field in state["signature"]["fields"]] == list(fields.values())
    assert written["metadata"]["fidelity"] == "structural"


@pytest.fixture
def make_program() -> Callable[[str], Any]:
    """Return a function that makes the program that a state is loaded into."""
    import dspy

    def make(style: str) -> Any:  # dspy has no types
        module = dspy.ChainOfThought if style == "chain_of_thought" else dspy.Predict
        return module("text -> the_colour")

    return make


def test_a_style_of_its_own_words_is_no_program_of_dspy() -> None:
    frozen = frozen_of(a_prompt(Random(2)).template, style="step_back")
    wording = Wording(instruction="Obey.", demonstrations=(), targets=("a",))
    with pytest.raises(
        LossyExportError, match="the style step_back has words of its own, which dspy_state cannot"
    ):
        export(frozen, "dspy_state", wording=wording)
    lossy = json.loads(export(frozen, "dspy_state", wording=wording, allow_lossy=True).texts[0])
    assert "step_back" in lossy["metadata"]["lossy"][0]


@pytest.mark.parametrize("kind", ["label", "labels", "number", "json", "text"])
@pytest.mark.parametrize("layout", ["dspy_chat", "plain", "xml"])
@pytest.mark.parametrize("style", ["direct", "chain_of_thought"])
def test_a_program_of_dspy_has_types_parameters_and_reasoning(
    style: str, layout: str, kind: Any, tmp_path: Path
) -> None:
    """What is made of the metadata and the state lays out what DSPy's own adapter laid out to be scored."""
    import dspy

    targets = {"label": "it's -> a", "labels": '["it\'s -> a"]', "number": "2.5", "json": '{"z":1,"a":["b"]}'}
    target, task = targets.get(kind, "words"), a_task(kind)
    if FORMATS[layout].misfit(task, STYLES[style]):
        pytest.skip("no prompt is laid out so")
    shown = [
        Demonstration(example_id=f"e{n}", inputs=(("text", f"one of {n}"),), target=target, reasoning=said)
        for n, said in enumerate(("Because.\nOf it.", "", "So."))
    ]
    candidate = Candidate(
        instruction=Instruction(id="i0000", text="Say.", origin="given"),
        demonstrations=DemonstrationSet(id="d0001", demonstrations=tuple(shown), selector="random"),
        style=style,
        format=layout,
    )
    parameters = (("max_tokens", 16), ("temperature", 0.5))
    draft = Draft(
        task=task, candidate=candidate, style=STYLES[style], parameters=parameters, control_tokens=()
    )
    ids = tuple(shot.example_id for shot in shown)
    frozen = frozen_as(FORMATS[layout].render(draft), style=style, format=layout, demonstration_ids=ids)
    examples = tuple(
        Example(id=shot.example_id, inputs=shot.inputs, target=shot.target, group=None) for shot in shown
    )
    wording = Wording(instruction="Say.", demonstrations=examples, targets=("the_answer",))
    found = export(frozen, "dspy_state", wording=wording)
    assert found.losses == ()
    path = tmp_path / "program.json"
    path.write_text(found.texts[0], encoding="utf-8")
    told = json.loads(found.texts[0])["metadata"]
    assert told["parameters"] == dict(frozen.template.calls[0].parameters)
    program = getattr(dspy, told["module"])(told["signature"])
    program.load(path)
    (predictor,) = program.predictors()
    annotation = predictor.signature.output_fields["the_answer"].annotation
    assert annotation == {
        "label": Literal["it's -> a", "b"],
        "labels": list[Literal["it's -> a", "b"]],
        "number": float,
        "json": dict[str, Any],
    }.get(kind, str)
    said = [demo.get("reasoning") for demo in map(dict, predictor.demos)]
    assert said == ([None] * 3 if style == "direct" else ["Because.\nOf it.", None, "So."])
    if layout == "dspy_chat" and kind != "json":  # whose schema the signature of a task describes as well
        theirs = dspy.ChatAdapter().format(predictor.signature, predictor.demos, {"text": "here"})
        assert theirs == frozen.messages(text="here")


def a_task(kind: OutputType) -> Task:
    schema = {
        "type": "object",
        "required": ["z", "a"],
        "properties": {"z": {"type": "integer"}, "a": {"type": "array", "items": {"type": "string"}}},
    }
    labels = ("it's -> a", "b") if kind in ("label", "labels") else ()
    return Task(
        name="t",
        version="1",
        description="",
        language="en",
        inputs=("text",),
        target="the_answer",
        output=kind,
        labels=labels,
        label_descriptions=("",) * len(labels),
        metric="exact_match",
        metrics=(),
        instruction="Say.",
        dataset=DatasetSpec(
            inputs=("text",), target="the_answer", splits=Splits(train=1, validation=1, test=1)
        ),
        paths=(),
        schema=canonical(schema) if kind == "json" else "",
        source=Located(value={}, file="t.yaml", marks={}),
    )


def test_a_program_of_dspy_says_what_it_does_not_hold() -> None:
    """A constraint, broken control tokens, and a reasoning that is no turn: refused or told, never lost in silence."""
    words = (message("system", "Say."), message("user", hole("text", neutralise=("<|x|>",))))
    call = CallTemplate(messages=words, constraint=Constraint(choice=("a", "b")))
    held = PromptTemplate(calls=(call,), answer=AnswerFormat(kind="label", labels=("a", "b")))
    wording = Wording(instruction="Say.", demonstrations=(), targets=("it",))
    with pytest.raises(
        LossyExportError, match="the answer is constrained to a list of texts, which dspy_state"
    ):
        export(frozen_of(held), "dspy_state", wording=wording)
    found = export(frozen_of(held), "dspy_state", wording=wording, allow_lossy=True)
    told = json.loads(found.texts[0])["metadata"]
    assert told["lossy"] == list(found.losses)
    assert found.preconditions == ("no input contains a control token of the model: <|x|>",)
    one = CallTemplate(messages=(message("user", "Say.\n\nText: a\nIt: b\n\nText: ", hole("text")),))
    inline = PromptTemplate(calls=(one,), answer=AnswerFormat(kind="text"))
    shown = Example(id="e1", inputs=(("text", "a"),), target="b", group=None)
    wording = Wording(instruction="Say.", demonstrations=(shown,), targets=("it",))
    assert export(frozen_of(inline, shown=("e1",)), "dspy_state", wording=wording).losses == ()
    with pytest.raises(
        LossyExportError, match="are not turns of the conversation, which dspy_state cannot carry"
    ):
        export(frozen_of(inline, style="chain_of_thought", shown=("e1",)), "dspy_state", wording=wording)


def test_every_reason_is_told_at_once_and_formats_that_are_named_can_carry_it() -> None:
    optional = hole("note", lead="Note: ", tail="\n")
    words = message("user", "system:\n", optional, hole("text"))
    template = PromptTemplate(calls=(CallTemplate(messages=(words,)),), answer=AnswerFormat(kind="text"))
    frozen = frozen_of(template)
    rows = [Example(id="r1", inputs=(("note", ""), ("text", "a")), target="a", group=None)]
    able = ["native", "openai_batch", "python_module"]
    for name in ("langchain", "markdown", "openai_messages", "promptfoo", "prompty", "dotprompt"):
        with pytest.raises(LossyExportError) as caught:
            export(frozen, name, rows)
        assert f"formats that can carry it: {', '.join(able)}" in str(caught.value), name
        assert "no optional input is empty: note" in str(caught.value), name
    for name in able:
        assert export(frozen, name, rows).losses == ()
    with pytest.raises(LossyExportError) as caught:
        export(frozen, "prompty", rows)
    assert len(caught.value.problems) > 1


def test_three_hundred_programs_of_dspy_hold_what_their_prompts_are_made_of(
    tmp_path: Any, make_program: Callable[[str], Any]
) -> None:
    rng, path = Random(3), tmp_path / "program.json"
    call = CallTemplate(messages=(message("user", hole("text")),))
    template = PromptTemplate(calls=(call,), answer=AnswerFormat(kind="text"))
    for n in range(300):
        style = ("direct", "chain_of_thought")[n % 2]
        words = ["".join(rng.choices(PIECES, k=8)) for _ in range(7)]
        shown = tuple(
            Example(id=f"e{k}", inputs=(("text", words[k]),), target=words[k + 3], group=None)
            for k in range(rng.randrange(4))
        )
        wording = Wording(instruction=words[6], demonstrations=shown, targets=("the_colour",))
        path.write_bytes(
            export(frozen_of(template, style=style), "dspy_state", wording=wording).texts[0].encode()
        )
        program = make_program(style)  # loaded again and again, one and the same would nest ever deeper
        program.load(path)
        (predictor,) = program.predictors()
        assert predictor.signature.instructions == inspect.cleandoc(words[6])
        demos = [{"text": each.values["text"], "the_colour": each.target} for each in shown]
        assert [dict(demo) for demo in predictor.demos] == demos
