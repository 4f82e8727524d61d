"""A prompt of another file as a baseline: read as it is, in whatever format, or refused with every reason."""

import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.completion import Capabilities, Constraint, Message
from optimizer.digest import canonical
from optimizer.errors import InputError
from optimizer.exporters import EXPORTERS, Shipment
from optimizer.formats import FORMATS
from optimizer.frozen import FrozenPrompt
from optimizer.importing import IMPORTED, Imported, fitted, imported_in_words, load_imported
from optimizer.plan import StudyPlan, load_plan
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.retrieval import Retrieval, Shot
from optimizer.styles import STYLES
from optimizer.task import PromptFile, Task, load_task

LABELS = ("red", "green", "blue")
READER = AnswerFormat(kind="label", labels=LABELS)
TASK = """schema: 1
name: colours
dataset:
  path: data.csv
  inputs: {text: {}, note: {optional: true}}
  target: colour
  splits: {train: 6, validation: 9, test: 12}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
baseline: BASELINE
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json, parameters: {temperature: 0}}
search:
  instructions: {given: [Which colour is it?]}
  demos: {sizes: [0, 2], sets: 3}
  styles: [direct, first_person]
  formats: [plain, json]
  screen: 5
  sampler: {name: tpe}
budget: {calls: 200}
"""
TEXT, NOTE = Hole(name="input:text"), Hole(name="input:note")

# Files as people write them; all say the same.
BY_HAND = {
    "openai_messages": """{"model": "x", "temperature": 0.2, "messages": [
      {"role": "system", "content": "Say which colour."}, {"role": "user", "content": "Text: {{text}}"}]}""",
    "prompty": """---
name: colours
model:
  api: chat
  parameters: {temperature: 0.2}
inputs:
  text: {type: string}
---
system:
Say which colour.

user:
Text: {{text}}
""",
    "dotprompt": """---
model: any/model
config: {temperature: 0.2}
input: {schema: {text: string}}
---
{{role "system"}}Say which colour.{{role "user"}}Text: {{text}}
""",
    "langchain": canonical(
        {
            "lc": 1,
            "type": "constructor",
            "id": ["langchain", "prompts", "chat", "ChatPromptTemplate"],
            "kwargs": {
                "input_variables": ["text"],
                "messages": [
                    {
                        "lc": 1,
                        "type": "constructor",
                        "id": ["langchain", "prompts", "chat", f"{role}MessagePromptTemplate"],
                        "kwargs": {
                            "prompt": {
                                "lc": 1,
                                "type": "constructor",
                                "id": ["langchain", "prompts", "prompt", "PromptTemplate"],
                                "kwargs": {
                                    "input_variables": names,
                                    "template": template,
                                    "template_format": "f-string",
                                },
                            }
                        },
                    }
                    for role, names, template in (
                        ("System", [], "Say which colour."),
                        ("Human", ["text"], "Text: {text}"),
                    )
                ],
            },
        }
    ),
    "markdown": """# System

Say which colour.

# User

Text: {{text}}
""",
    "promptfoo": """prompts:
  - '[{"role": "system", "content": "Say which colour."}, {"role": "user", "content": "Text: {{text}}"}]'
providers: [openai:chat:any]
""",
}


def template(*calls: tuple[MessageTemplate, ...], **values: Any) -> PromptTemplate:
    constraint: Constraint | None = values.pop("constraint", None)
    parameters = values.pop("parameters", ())
    made = tuple(CallTemplate(messages=call, parameters=parameters, constraint=constraint) for call in calls)
    return PromptTemplate(calls=made, **{"answer": READER, **values})


def user(*parts: str | Hole) -> tuple[MessageTemplate, ...]:
    return (MessageTemplate(role="user", parts=parts),)


def frozen(prompt: PromptTemplate) -> FrozenPrompt:
    return FrozenPrompt(
        name="today",
        template=prompt,
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "scripted", "name": "rules"},
        task={"name": "colours", "version": "1.0", "metric": "accuracy"},
        evidence={},
        history=(),
        tool_versions={},
    )


def messages(prompt: PromptTemplate, **inputs: str) -> tuple[Message, ...]:
    given = {"text": "An apple.", "note": "Ripe."} | inputs
    return prompt.request({name: given[name] for name in prompt.inputs}).messages


@pytest.fixture
def put(
    write_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Path]:
    """Return a function that writes a study whose baseline is a file of some content, and returns the study's path."""
    monkeypatch.chdir(tmp_path)

    def write(
        content: str | bytes | PromptTemplate,
        *changes: tuple[str, str],
        name: str = "today.prompt.json",
        said: str = "",
    ) -> Path:
        task = TASK.replace("BASELINE", said or f"prompts/{name}")
        path = write_study(task, STUDY, *changes, items=27, folder=".")
        rows = path.with_name("data.csv").read_text().splitlines()
        path.with_name("data.csv").write_text(
            "\n".join([f"{rows[0]},note", *(f"{row}," for row in rows[1:]), ""])
        )
        (tmp_path / "pyproject.toml").touch()
        text = frozen(content).dumps() if isinstance(content, PromptTemplate) else content
        (tmp_path / "prompts").mkdir(exist_ok=True)
        file = tmp_path / "prompts" / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return path

    return write


@pytest.fixture
def imported(put: Callable[..., Path]) -> Callable[..., Imported]:
    def load(*content: Any, **how: Any) -> Imported:
        path = put(*content, **how)
        found = load_imported(load_task(path.with_name("task.yaml")))
        assert found is not None
        return found

    return load


@pytest.fixture
def refused(put: Callable[..., Path]) -> Callable[..., str]:
    """Return a function that gives what is said of a study, task and prompt that must not be taken."""

    def read(*content: Any, **how: Any) -> str:
        path = put(*content, **how)
        with pytest.raises(InputError) as caught:
            load_plan(path)
        assert caught.value.exit_code == 2
        return str(caught.value)

    return read


@pytest.fixture
def plan(put: Callable[..., Path]) -> Callable[..., StudyPlan]:
    return lambda *content, **how: load_plan(put(*content, **how))


def test_a_task_without_a_baseline_imports_nothing(put: Callable[..., Path]) -> None:
    path = put("", ("baseline: prompts/today.prompt.json\n", ""))
    chosen = load_plan(path)
    assert load_imported(chosen.task) is None
    assert chosen.imported is None
    assert chosen.space.baseline == chosen.space.start
    assert chosen.space.wordings == chosen.space.instructions
    assert chosen.space.entry == ()
    assert "baseline" not in chosen.identity
    assert imported_in_words(None) == ()


def test_what_an_exporter_writes_comes_back_to_the_letter(imported: Callable[..., Imported]) -> None:
    system = MessageTemplate(role="system", parts=("Say which: {red}, “green” or 50 % blue.",))
    prompt = template((system, *user("Text:\n", TEXT, "\nNote: ", NOTE, "\nColour:")))
    read = [name for name in EXPORTERS if EXPORTERS[name].read is not None and not EXPORTERS[name].structural]
    assert {"native", "openai_messages"} <= set(read)
    for name in read:
        (text,) = EXPORTERS[name].write(Shipment(frozen=frozen(prompt)))
        found = imported(text, name=f"today{EXPORTERS[name].suffix}")
        assert found.format == name
        assert messages(found.template) == messages(prompt), name


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_a_file_that_somebody_wrote_is_read_as_it_is_meant(
    imported: Callable[..., Imported], name: str
) -> None:
    for written in (f"today{EXPORTERS[name].suffix}", "today.anything"):
        found = imported(BY_HAND[name], name=written, said=f"{{path: prompts/{written}, format: {name}}}")
        assert found.format == name
        assert messages(found.template) == (
            Message(role="system", content="Say which colour."),
            Message(role="user", content="Text: An apple."),
        )
        assert found.template.answer == READER
        assert found.cautions == ("the imported prompt does not show 'note'",)
    assert imported(BY_HAND[name], name=f"today{EXPORTERS[name].suffix}").format == name


def test_the_content_tells_the_format_where_the_name_does_not(imported: Callable[..., Imported]) -> None:
    prompt = template(user(TEXT))
    assert imported(prompt, name="prompt.json").format == "native"
    assert imported(prompt, name="anything.txt").format == "native"
    chat = BY_HAND["openai_messages"]
    assert imported(chat, name="chat.json").format == "openai_messages"
    # What is called like a suffix alone has no more than the last part of it.
    assert imported(chat, name="prompt.json").format == "openai_messages"
    assert (
        imported(chat.replace("\n", "\r\n").encode("utf-8-sig"), name="chat.json").format == "openai_messages"
    )


def test_a_suffix_that_tells_a_format_lets_no_other_read_the_file(refused: Callable[..., str]) -> None:
    """Each content is a sound file of another format, which would make other messages of it than were meant."""
    loop = "---\nname: x\n---\nsystem:\n{% for a in b %}x{% endfor %}\nuser:\nT: {{text}}\n"
    dotprompt = EXPORTERS["dotprompt"].read
    assert dotprompt is not None
    assert dotprompt(loop, ("text",)).inputs == ("text",)
    said = refused(loop, name="today.prompty")
    assert said == (
        "task.yaml:11: baseline: prompts/today.prompty: as prompty: expected the name of an input in braces, {{name}}, "
        "found '{% for a in b %}x{% endfor %}'"
    )
    suffixes = {name: EXPORTERS[name].suffix for name in EXPORTERS if name != "markdown"}
    for name, suffix in suffixes.items():
        if name in ("prompty", "dotprompt"):
            continue
        said = refused(loop, name=f"Today{suffix.upper()}")
        assert f": as {name}: " in said
        assert said.count(": as ") == 1
    chat = BY_HAND["openai_messages"]
    for name, suffix in suffixes.items():
        if name != "openai_messages":
            said = refused(chat, name=f"today{suffix}")
            assert f": as {name}: " in said
            assert "as openai_messages" not in said


@pytest.mark.parametrize(
    "changed",
    [
        ('"model"', '"tools": [{"type": "function", "function": {"name": "look_up"}}], "model"', "tools"),
        ('"model"', '"functions": [{"name": "look_up"}], "model"', "functions"),
        ('"role": "system"', '"tool_calls": [{"id": "1"}], "role": "system"', "tool_calls"),
    ],
)
def test_a_body_whose_model_may_call_tools_is_refused(
    refused: Callable[..., str], changed: tuple[str, str, str]
) -> None:
    chat, (before, after, key) = BY_HAND["openai_messages"], changed
    assert before in chat
    said = refused(chat.replace(before, after, 1), name="today.openai.json")
    assert f"as openai_messages: {key}: expected none, since a prompt here is messages alone" in said


def test_front_matter_is_read_as_the_format_whose_marks_it_has(
    imported: Callable[..., Imported], refused: Callable[..., str]
) -> None:
    for name in ("prompty", "dotprompt"):
        for suffix in (".md", ".txt", ".yaml", ""):
            assert imported(BY_HAND[name], name=f"today{suffix}").format == name
    front = "---\nname: x\n---\n"
    for text, name, reason in (
        ("system:\n{% if a %}x{% endif %}\nuser:\n{{text}}", "prompty", "found '{% if a %}x{% endif %}"),
        ("{# a #}{% if a %}{{text}}{% endif %}", "prompty", "found '{% if a %}"),
        ("{{#if text}}x{{/if}} {{text}}", "dotprompt", "found '#if text'"),
        ('{{role "system"}}{{>part}} {{text}}', "dotprompt", "found '>part'"),
    ):
        said = refused(front + text, name="today.md")
        assert f"prompts/today.md: as {name}: " in said
        assert reason in said
        assert said.count(": as ") == 1
    assert "dotprompt and prompty can read it: say which, as in " in refused(
        f"{front}T: {{{{text}}}}", name="a.md"
    )
    both = f'{front}system:\n{{{{role "user"}}}}T: {{{{text}}}}'
    said = refused(both, name="today.md")
    assert "it may be meant for prompty or dotprompt: say which, as in " in said
    assert "; as prompty: expected the name of an input" in said
    said = refused(f"{front}T: {{{{text|upper}}}}", name="today.md")
    assert ": as prompty: " in said
    assert "; as dotprompt: " in said
    assert "native" not in said


def test_lines_end_as_in_any_other_text(imported: Callable[..., Imported]) -> None:
    name = "dotprompt"
    windows = imported(BY_HAND[name].replace("\n", "\r\n"), name="today.prompt")
    assert messages(windows.template) == messages(imported(BY_HAND[name], name="today.prompt").template)


PLUG_IN = """
from optimizer.answer import AnswerFormat
from optimizer.exporters import Exporter
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

def _read(text, inputs):
    if not text.startswith({start!r}):
        raise ValueError("expected another beginning")
    shown = Hole(name="input:text"), Hole(name="image:https://a.org/b.png", image=True)
    message = MessageTemplate(role="user", parts=(text, *shown[:{parts}]))
    return PromptTemplate(calls=(CallTemplate(messages=(message,)),) * {calls}, answer=AnswerFormat(kind="text"))

made = Exporter(suffix={suffix!r}, write=lambda _: ("",), read={read})
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that installs an exporter of somebody else, which takes what begins so."""
    folder, names = tmp_path / "installed", list[str]()
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def install(name: str, *, start: str = "!", suffix: str = "", **how: object) -> None:
        values = {
            "start": start,
            "suffix": suffix or f".{name}",
            "read": "_read",
            "parts": 1,
            "calls": 1,
        } | how
        (folder / f"{name}_plug.py").write_text(PLUG_IN.format(**values))
        names.append(name)
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[optimizer.exporters]\n{name} = {name}_plug\n")
        importlib.invalidate_caches()
        vars(EXPORTERS).pop("_entry_points", None)  # listed once a process

    yield install
    vars(EXPORTERS).pop("_entry_points", None)
    for name in names:
        sys.modules.pop(f"{name}_plug", None)


def test_two_formats_that_can_read_a_file_are_not_chosen_between(
    refused: Callable[..., str], imported: Callable[..., Imported], plug_in: Callable[..., None]
) -> None:
    for name in ("this", "that"):
        plug_in(name)
    said = refused("!Colour: ", name="odd.dat")
    assert "task.yaml:11: baseline: prompts/odd.dat: that and this can read it: say which, as in " in said
    assert "`baseline: {path: prompts/odd.dat, format: that}`" in said
    named = imported("!Colour: ", name="odd.dat", said="{path: prompts/odd.dat, format: this}")
    assert named.format == "this"
    assert imported("!Colour: ", name="odd.that").format == "that"


def test_what_takes_any_text_comes_last_and_never_for_a_broken_file_of_another_format(
    refused: Callable[..., str], imported: Callable[..., Imported], plug_in: Callable[..., None]
) -> None:
    assert imported(BY_HAND["openai_messages"], name="chat.txt").format == "openai_messages"
    assert imported("Which colour? {{text}}", name="words.txt").format == "markdown"
    assert "as prompty: " in refused("Which colour? {{text}}", name="words.prompty")
    plug_in("greedy", start="")
    assert "greedy and markdown can read it: say which" in refused("Which colour? {{text}}", name="words.txt")
    assert "as native: " in refused('{"schema": "1.0"', name="today.prompt.json")


def test_what_is_only_written_is_not_read(refused: Callable[..., str], plug_in: Callable[..., None]) -> None:
    plug_in("outward", suffix=".out", read="None")
    plug_in("greedy", start="")
    for how in ({}, {"said": "{path: prompts/today.out, format: outward}"}):
        said = refused("import os", name="today.out", **how)
        assert "outward is a format that is only written; these are read: " in said


def test_where_the_file_is_and_what_reads_it_is_checked(refused: Callable[..., str]) -> None:
    prompt = template(user(TEXT))
    assert "task.yaml:11: baseline: expected a file, found none at prompts/none.json" in refused(
        prompt, said="prompts/none.json"
    )
    assert "task.yaml:11: baseline.path: expected a file, found none at prompts" in refused(
        prompt, said="{path: prompts}"
    )
    outside = refused(prompt, said="../elsewhere.json")
    assert "task.yaml:11: baseline: " in outside
    assert "project" in outside
    unknown = refused(prompt, said="{path: prompts/today.prompt.json, format: natve}")
    assert "task.yaml:11: baseline.format: no plug-in 'natve' in exporters; did you mean 'native'?" in unknown
    assert "unknown field 'fmt'" in refused(prompt, said="{path: prompts/today.prompt.json, fmt: native}")
    assert "prompts/bytes.json: expected UTF-8, found another byte at 1" in refused(
        b"a\xff", name="bytes.json"
    )


def test_a_file_that_is_no_prompt_is_refused_with_what_each_reader_expected(
    refused: Callable[..., str],
) -> None:
    said = refused('{"a": 1}', name="today.json")
    assert said.startswith("task.yaml:11: baseline: prompts/today.json: as ")
    assert "as native: " in said
    assert "as openai_messages: expected a list of messages" in said
    changed = frozen(template(user(TEXT))).dumps().replace('"today"', '"yesterday"')
    assert "prompts/today.prompt.json: as native: checksum: " in refused(changed)
    halves = '[{"role": "user", "content": "{{text}} \\ud800"}]'
    assert "expected text, found half of a character" in refused(halves, name="today.openai.json")


def test_the_reason_is_that_of_the_format_that_the_content_shows(refused: Callable[..., str]) -> None:
    mustache = BY_HAND["langchain"].replace("f-string", "mustache")
    for content, name, reason in (
        (mustache, "today.json", "as langchain: template_format: expected f-string, found 'mustache'"),
        ("prompts:\n  - file://x.txt\n", "today.yaml", "as promptfoo: prompts: expected the prompt itself"),
        ("prompts:\n  - file://x.txt\n", "today.txt", "as promptfoo: prompts: expected the prompt itself"),
        ("prompts:\n  - 'a\n", "today.yaml", "as promptfoo: "),
        ('{"prompts": ["file://x.txt"]}', "today.json", "as promptfoo: prompts: expected the prompt itself"),
        ('[{"role": "tool", "content": "{{text}}"}]', "today.json", "as openai_messages: expected a role"),
        ('[{"role": "tool", "content": "{{text}}"}]', "today.txt", "as openai_messages: expected a role"),
        ('{"messages": {}}', "today.json", "as openai_messages: expected a list of messages"),
        ("[1]", "today.json", "as openai_messages: expected a list of messages"),
        ('{"calls": []}', "today.json", "as native: "),
        ('{"messages": [}', "today.json", "not valid JSON at line 1, character 15: expecting value"),
        (
            '{"messages":\n[}',
            "today.openai.json",
            "as openai_messages: not valid JSON at line 2, character 2: expecting value",
        ),
    ):
        said = refused(content, name=name)
        assert f"baseline: prompts/{name}: {reason}" in said
        assert "; as " not in said
    for empty, name in (
        (b"", "a.json"),
        (b" \n", "a.txt"),
        (b"\xef\xbb\xbf\r\n", "a.prompty"),
        (b"", "a.openai.json"),
    ):
        said = refused(empty, name=name)
        assert said == f"task.yaml:11: baseline: prompts/{name}: expected a prompt, found an empty file"
    named = refused("", said="{path: prompts/today.prompt.json, format: markdown}")
    assert named.endswith("prompts/today.prompt.json: expected a prompt, found an empty file")


def test_every_mistake_is_told_at_once_with_its_place(refused: Callable[..., str]) -> None:
    photo = Hole(name="input:text", image=True)
    first = user("See ", Hole(name="input:mesage"), Hole(name="input:txt"))
    second = (*user("Go on with ", Hole(name="completion:0")), *user(photo))
    said = refused(template(first, second), ("metric: accuracy", "metric: acuracy"))
    lines = [line for line in said.splitlines() if "prompts/today.prompt.json" in line]
    assert lines == [
        "task.yaml:11: baseline: prompts/today.prompt.json: message 1 of call 1: unknown input 'mesage'; the task has text, note",
        "task.yaml:11: baseline: prompts/today.prompt.json: message 1 of call 1: unknown input 'txt'; did you mean 'text'?",
        "task.yaml:11: baseline: prompts/today.prompt.json: message 2 of call 2: shows 'text' as an image, which in the task is text",
    ]
    assert "task.yaml:9: metric: " in said


def test_a_misspelt_place_is_told_with_the_input_that_was_meant(refused: Callable[..., str]) -> None:
    chat = [{"role": "user", "content": "Text: {{txt}}, note: ${note}, {brace}, {{ price }}"}]
    said = refused(json.dumps(chat), name="chat.openai.json")
    assert "prompts/chat.openai.json: '{{txt}}' is the place of no input; did you mean 'text'?" in said
    assert "brace" not in said
    nothing = refused(json.dumps([{"role": "user", "content": "Which colour?"}]), name="chat.openai.json")
    assert "expected the place of an input such as {{text}}, found none" in nothing


def test_what_a_prompt_leaves_out_and_what_looks_like_a_place_is_a_caution(
    imported: Callable[..., Imported],
) -> None:
    chat = [{"role": "user", "content": "{{ price }} ${cost} {brace} {{text}}"}]
    assert imported(json.dumps(chat), name="chat.openai.json").cautions == (
        "the imported prompt does not show 'note'",
        "in the imported prompt '{{ price }}' is no place of an input. It stays as it is",
        "in the imported prompt '${cost}' is no place of an input. It stays as it is",
    )
    assert imported(template(user("{{ price }}", TEXT, NOTE))).cautions == ()
    chat[0]["content"] = "{{text}} {{note}} {{notes}}"
    (meant,) = imported(json.dumps(chat), name="chat.openai.json").cautions
    assert "'{{notes}}' is no place of an input; did you mean 'note'? It stays as it is" in meant


def test_a_wrong_name_in_single_braces_is_a_caution_where_it_was_meant_for_an_input(
    imported: Callable[..., Imported],
) -> None:
    texts = {
        "{text} {note} and {txt}": ["'{txt}' is no place of an input; did you mean 'text'?"],
        "{text} {note} and {price}": ["'{price}' is no place of an input."],
        "{text} {note} and { price }": ["'{ price }' is no place of an input."],
        # Examples of JSON and of sets, and names where inputs are written otherwise.
        '{text} {note} and {"price": 1}, {0}, {a.b}, {}': [],
        "{{text}} {{note}} and {price}": [],
        "${text} {{ note }} and {price}": [],
        "{{text}} {{note}} and {txt}": ["'{txt}' is no place of an input; did you mean 'text'?"],
    }
    for text, expected in texts.items():
        chat = json.dumps({"messages": [{"role": "user", "content": text}]})
        for content, name in ((chat, "chat.openai.json"), (text, "words.txt")):
            cautions = imported(content, name=name).cautions
            assert cautions == tuple(
                f"in the imported prompt {each} It stays as it is" for each in expected
            ), text
    apart = [{"role": "system", "content": "For {price}"}, {"role": "user", "content": "{text} {note}"}]
    (caution,) = imported(json.dumps(apart), name="chat.openai.json").cautions
    assert "'{price}'" in caution
    # What LangChain writes as an escape is no place on purpose.
    manifest = BY_HAND["langchain"].replace("Say which colour.", "Say {{colour}} of {{text}}.")
    found = imported(manifest, name="chat.langchain.json")
    assert messages(found.template)[0].content == "Say {colour} of {text}."
    assert found.cautions == ("the imported prompt does not show 'note'",)


RUN = "would be run by an engine of templates"
LOOKED_UP = "refers to another text, and nothing is looked up here"
CHANGED = "has more than the name of an input"


def as_files(text: str) -> Iterator[tuple[str, str]]:
    """Yield the files, and their names, of the formats that say nothing of templates."""
    yield json.dumps([{"role": "user", "content": text}]), "chat.openai.json"
    yield text, "words.txt"
    yield f"# User\n\n{text}\n", "words.md"


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("{% if note %}", RUN),
        ("{%- for note in notes -%}", RUN),
        ("{% else %}", RUN),
        ("{% endif %}", RUN),
        ("{% if 5 % 2 == 1 %}", RUN),
        ("{% translate note %}", RUN),
        ("{{#if note}}", RUN),
        ("{{/each}}", RUN),
        ("{{else}}", RUN),
        ("{{#note}}", RUN),
        ("{{^note}}", RUN),
        ("`{{#note}}`", RUN),
        ("{% include 'rules.txt' %}", LOOKED_UP),
        ("{{> rules}}", LOOKED_UP),
        ("{{ note|trim }}", CHANGED),
        ("{{note | upper}}", CHANGED),
        ("{{ note.strip() }}", CHANGED),
        ("{{ note.body }}", CHANGED),
        ("{{ note[0] }}", CHANGED),
        ("{{- note -}}", CHANGED),
    ],
)
def test_a_tag_that_an_engine_of_templates_would_run_is_refused_with_the_reason(
    refused: Callable[..., str], tag: str, reason: str
) -> None:
    for content, name in as_files(f"Text: {{{{text}}}}\n{tag} {{{{note}}}} so."):
        said = refused(content, name=name)
        assert f"prompts/{name}: '{tag.strip('`')}' {reason}" in said
        assert said.count("prompts/") == 1, "one mistake is told once"


DOUBLED = "all other braces in it are doubled, as Python's str.format has them"
KEPT = "other braces in it are doubled: they stay so"


@pytest.mark.parametrize(
    ("text", "caution"),
    [
        ('Return {{"colour": "red"}} for the text.\nText: {text} {note}', DOUBLED),
        ("{text}{note} }}{{", DOUBLED),
        ("{{{text}}} {note}", ""),  # a place within braces, as no more than one of them is doubled
        ('Return {{"a": {{}}}}. {text} {note:>9}', KEPT),  # which str.format would change
        ('Return {{"a": 1}} or {"b": 2}. {text} {note}', KEPT),  # which str.format would not take
        ('Return {{"a": 1}}. {{text}} {{ note }}', ""),
        ('Return {"a": {"b": 1}}. {text} {note}', ""),
    ],
)
def test_a_prompt_for_pythons_format_is_measured_as_it_is_sent(
    imported: Callable[..., Imported], text: str, caution: str
) -> None:
    for name, content in (
        ("today.txt", text),
        ("chat.json", json.dumps([{"role": "user", "content": text}])),
    ):
        found = imported(content, name=name)
        assert [each for each in found.cautions if DOUBLED in each or KEPT in each] == [
            each for each in found.cautions if caution and caution in each
        ]
        assert any(caution in each for each in ("", *found.cautions))
        (message,) = messages(found.template)
        if caution == DOUBLED:
            assert message.content == text.format(text="An apple.", note="Ripe.")
        else:
            filled = re.sub(r"\{\{ ?(text|note) ?\}\}|\{(text|note)\}", "", text)
            assert message.content.replace("An apple.", "").replace("Ripe.", "") == filled


@pytest.mark.parametrize("space", ["", " ", "  ", "\t", "\n ", "\u00a0"])
def test_places_may_have_any_white_space_within(imported: Callable[..., Imported], space: str) -> None:
    text = f"Name: {{{{{space}text}}}}, {{{{note{space}}}}}, {{{{{space}text{space}}}}}."
    for name, content in (
        ("today.txt", text),
        ("chat.json", json.dumps([{"role": "user", "content": text}])),
    ):
        (message,) = messages(imported(content, name=name).template)
        assert message.content == "Name: An apple., Ripe., An apple.."


def test_front_matter_of_no_format_is_a_caution(imported: Callable[..., Imported]) -> None:
    fronted = "---\nmode: agent\n---\nName {{text}} {{note}}\n"
    (caution,) = imported(fronted, name="today.prompt.md").cautions
    assert "begins with front matter, which is asked as text like the rest" in caution
    ruled = "---\nA line above.\n---\nName {{text}} {{note}}\n"
    assert imported(ruled, name="today.prompt.md").cautions == ()


def test_what_the_system_says_beside_the_messages_comes_first(
    imported: Callable[..., Imported], refused: Callable[..., str]
) -> None:
    for system in (
        "Say which {colour}.",
        [{"type": "text", "text": "Say which "}, {"type": "text", "text": "{colour}."}],
    ):
        body = {
            "system": system,
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "{{text}} {{note}}"}],
        }
        found = imported(json.dumps(body), name="chat.json")
        assert messages(found.template) == (
            Message(role="system", content="Say which {colour}."),
            Message(role="user", content="An apple. Ripe."),
        )
        assert found.cautions == ()
    body = {"system": [{"type": "image"}], "messages": [{"role": "user", "content": "{{text}}"}]}
    assert "expected the content of a message to be text" in refused(json.dumps(body), name="chat.json")


def test_a_message_of_somebody_with_a_name_is_refused(refused: Callable[..., str]) -> None:
    said = refused(
        '[{"role": "system", "name": "example_user", "content": "Hi"}, {"role": "user", "content": "{{text}}"}]',
        name="chat.json",
    )
    assert "expected messages of a role and a text, found one with a name" in said


def test_tags_of_one_kind_are_told_together(refused: Callable[..., str]) -> None:
    said = refused("{{text}} {% if note %}{{note}}{% endif %} {{> rules}}", name="words.txt")
    lines = [line.partition("words.txt: ")[2] for line in said.splitlines()]
    assert [line for line in lines if line.startswith(f"'{{% if note %}}', '{{% endif %}}' {RUN}")]
    assert [line for line in lines if line.startswith(f"'{{{{> rules}}}}' {LOOKED_UP}")]


def test_a_prompt_may_speak_of_templates(imported: Callable[..., Imported]) -> None:
    shown = "{{text}} {{note}}: explain `{% if user %}`, or\n```\n{{#each users}}\n{{> row}}\n```\n"
    for content, name in as_files(f"{shown} and {{% of %}} too"):
        (caution,) = imported(content, name=name).cautions
        tags = "'{% if user %}', '{{#each users}}', '{{> row}}', '{% of %}'"
        assert caution == f"in the imported prompt nothing is run: {tags} stays as it is"
    for text in ('{{text}} {{note}} 50 {% {{"text": 1}} {{', "{{text}} {{note}} {{text: x}} {#1} {{!x}}"):
        for content, name in as_files(text):
            assert imported(content, name=name).cautions == ()


def test_a_file_that_declares_its_places_may_hold_any_tag(imported: Callable[..., Imported]) -> None:
    prompt = template(user("{% if note %}{{ note|trim }}{{> x}} ", TEXT, " ", NOTE))
    for name in ("native", "openai_messages", "markdown", "prompty", "dotprompt", "langchain", "promptfoo"):
        (text,) = EXPORTERS[name].write(Shipment(frozen=frozen(prompt)))
        found = imported(text, name=f"today{EXPORTERS[name].suffix}")
        assert messages(found.template) == messages(prompt), name


def test_more_wrong_names_than_are_shown_are_told(imported: Callable[..., Imported]) -> None:
    names = [f"{{{{place {n} of none}}}}" for n in range(8)]
    *shown, more = imported(" ".join([*names, "{{text}} {{note}}"]), name="words.txt").cautions
    assert [name for name in names if any(f"'{name}'" in each for each in shown)] == names[:5]
    assert "these are no places of inputs either" in more
    assert [name for name in names if f"'{name}'" in more] == names[5:]


def test_what_a_requests_body_says_of_decoding_is_told(imported: Callable[..., Imported]) -> None:
    body: dict[str, Any] = {
        "model": "any",
        "messages": [{"role": "user", "content": "{{text}} {{note}}"}],
        "temperature": 0.7,
        "max_tokens": 5,
        "top_p": 1,
        "stop": ["\n", "END"],
        "seed": None,
        "stream": True,
        "logit_bias": {"1": 2},
    }
    able = Capabilities(can=frozenset())
    for name in ("chat.openai.json", "chat.json"):
        before = imported(json.dumps(body), name=name)
        assert before.cautions == ()
        assert dict(before.parameters) == {
            "temperature": 0.7,
            "max_tokens": 5,
            "top_p": 1,
            "stop": '["\\n", "END"]',
        }
        (caution,) = fitted(before, {"temperature": 0, "top_p": 1}, able, input_bytes=10).cautions
        assert "the decoding parameters of prompts/" in caution
        assert "max_tokens 5 (here not set)" in caution
        assert "temperature 0.7 (here 0)" in caution
        assert "top_p" not in caution
    body |= {"stop": ["END"], "parameters": {"temperature": 0.1}}
    assert dict(imported(json.dumps(body), name="chat.json").parameters) == {
        "temperature": 0.1,
        "max_tokens": 5,
        "top_p": 1,
        "stop": "END",
    }


def test_a_form_of_the_answer_without_a_schema_is_left_out_with_a_caution(
    imported: Callable[..., Imported],
) -> None:
    chat = {"messages": [{"role": "user", "content": "{{text}} {{note}}"}]}
    said = "the imported prompt asks for an answer of the form '{}' without a JSON Schema that is read here: it is left out"
    where = "the imported prompt asks for JSON and does not say where in it the answer stands: it is read as plain text is"
    for form, told in (
        ({"type": "json_object"}, [where, said.format("json_object")]),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, [where, said.format("json_schema")]),
        ({"type": "grammar"}, [said.format("grammar")]),
        ("json_object", [where, said.format("json_object")]),
        ({"type": "text"}, []),
        (None, []),
    ):
        found = imported(json.dumps({**chat, "response_format": form}), name="chat.openai.json")
        assert list(found.cautions) == told
        assert found.parameters == ()
        assert found.template.calls[0].constraint is None
    json_task = (
        ("{type: label, labels: [red, green, blue]}", "{type: json}"),
        ("metric: accuracy", "metric: json_exact"),
    )
    rows = imported(
        json.dumps({**chat, "response_format": {"type": "json_object"}}), *json_task, name="chat.json"
    )
    assert rows.cautions == (said.format("json_object"),)
    colours = {"temperature": 0.2}
    asked = {
        "today.prompty": BY_HAND["prompty"].replace(
            "{temperature: 0.2}", "{temperature: 0.2, response_format: {type: json_object}}"
        ),
        "today.prompt": BY_HAND["dotprompt"].replace("input:", "output: {format: json}\ninput:"),
        "today.promptfoo.yaml": BY_HAND["promptfoo"].replace(
            "[openai:chat:any]",
            "[{id: 'openai:chat:any', config: {temperature: 0.2, response_format: {type: json_object}}}]",
        ),
        "today.langchain.json": BY_HAND["langchain"].replace(
            '"messages":[',
            '"metadata":{"parameters":{"temperature":0.2},"response_format":{"type":"json_object"}},"messages":[',
            1,
        ),
    }
    for name, content in asked.items():
        found = imported(content, name=name)
        form = "json" if name.endswith(".prompt") else "json_object"
        assert said.format(form) in found.cautions, name
        assert dict(found.parameters) == colours, name


def test_several_calls_images_and_retrieval_come_from_native_files_alone(
    imported: Callable[..., Imported], refused: Callable[..., str], plug_in: Callable[..., None]
) -> None:
    pool = (Shot(values=("A leaf.", ""), reply="green"), Shot(values=("The sky.", ""), reply="blue"))
    retrieval = Retrieval(inputs=("text", "note"), pool=pool, shown=1)
    shot = (Hole(name="shot:0:input:text"), " is ", Hole(name="shot:0:reply"), "\n")
    two = template(user(*shot, TEXT, NOTE), user(Hole(name="completion:0"), "?"), retrieval=retrieval)
    found = imported(two)
    assert found.template == two
    assert "A leaf." in found.text
    plug_in("twice", calls=2)
    plug_in("seen", parts=2)
    for name in ("twice", "seen"):
        assert "of several calls or with images are read from native files alone" in refused(
            "!", name=f"today.{name}"
        )
    unknown = Retrieval(inputs=("text", "topic"), pool=(Shot(values=("a", "b"), reply="red"),), shown=1)
    assert "the examples it retrieves: unknown input 'topic'" in refused(
        template(user(TEXT), retrieval=unknown)
    )


@pytest.mark.parametrize(
    ("output", "said", "read", "caution"),
    [
        ("{type: label, labels: [red, green, blue]}", READER, READER, ""),
        (
            "{type: label, labels: [blue, red, green]}",
            AnswerFormat(kind="label", labels=LABELS, field="colour"),
            AnswerFormat(kind="label", labels=LABELS, field="colour"),
            "",
        ),
        (
            "{type: labels, labels: [blue, red, green]}",
            AnswerFormat(kind="labels", labels=LABELS),
            AnswerFormat(kind="labels", labels=("blue", "red", "green")),
            "",
        ),
        (
            "{type: label, labels: [red, green, blue, black]}",
            READER,
            AnswerFormat(kind="label", labels=(*LABELS, "black")),
            "an answer of the type label of 'red', 'green', 'blue', which the task does not want",
        ),
        (
            "{type: text}",
            AnswerFormat(kind="number"),
            AnswerFormat(kind="text"),
            "an answer of the type number, which the task does not want",
        ),
        (
            "{type: text, readers: [last_line, text]}",
            AnswerFormat(kind="text"),
            AnswerFormat(kind="text"),
            "",
        ),
    ],
)
def test_the_files_own_reader_holds_where_it_reads_what_the_task_wants(
    imported: Callable[..., Imported], output: str, said: AnswerFormat, read: AnswerFormat, caution: str
) -> None:
    changes = (
        ("{type: label, labels: [red, green, blue]}", output),
        ("metric: accuracy", "metric: exact_match"),
    )
    found = imported(template(user(TEXT, NOTE), answer=said), *changes)
    assert found.template.answer == read
    assert [c for c in found.cautions if caution and caution in c] == list(found.cautions)


def test_a_file_that_says_no_reader_is_read_as_plain_text_is(imported: Callable[..., Imported]) -> None:
    output = ("{type: label, labels: [red, green, blue]}", "{type: text, readers: [last_line, text]}")
    chat: dict[str, Any] = {"messages": [{"role": "user", "content": "{{text}} {{note}}"}]}
    found = imported(
        json.dumps(chat), output, ("metric: accuracy", "metric: exact_match"), name="chat.openai.json"
    )
    assert found.template.answer == AnswerFormat(kind="text", readers=("last_line", "text"))
    assert found.cautions == ()
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}}
    chat["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    found = imported(json.dumps(chat), name="chat.openai.json")
    assert found.template.answer == READER
    assert found.cautions == (
        "the imported prompt asks for JSON and does not say where in it the answer stands: it is read as plain text is",
    )


TOKENS = ("<|im_start|>", "</s>")


def test_a_model_is_asked_with_the_studys_parameters_and_its_own_markup_is_broken_in_holes_alone(
    imported: Callable[..., Imported],
) -> None:
    before = imported(
        template(
            user("Use </s>. ", TEXT, NOTE),
            constraint=Constraint(choice=LABELS),
            parameters=(("max_tokens", 9), ("temperature", 0.7)),
        )
    )
    assert [call.parameters for call in before.template.calls] == [()]
    able = Capabilities(can=frozenset({"choice"}), control_tokens=TOKENS)
    found = fitted(before, {"temperature": 0.7, "seed": 1}, able, input_bytes=10)
    (call,) = found.template.calls
    assert call.parameters == (("seed", 1), ("temperature", 0.7))
    assert call.constraint == Constraint(choice=LABELS)
    assert messages(found.template, text="a</s>b") == (
        Message(role="user", content="Use </s>. a<\u2060/s>bRipe."),
    )
    unused = (
        "the decoding parameters of prompts/today.prompt.json are not used, but those of the study's model"
    )
    assert found.cautions == (
        f"{unused}: max_tokens 9 (here not set)",
        "the text of prompts/today.prompt.json holds what the model reads as its own markup, and stays as it is: '</s>'",
    )
    assert fitted(found, {"temperature": 0.7, "seed": 1}, able, input_bytes=10) == found


def test_an_answer_is_never_cut_shorter_than_the_file_allows(imported: Callable[..., Imported]) -> None:
    """What reasons needs room for that, also where the file and the study bound it under two names."""
    able = Capabilities(can=frozenset())
    calls = tuple(
        CallTemplate(messages=user(TEXT, NOTE), parameters=parameters)
        for parameters in ((("max_tokens", 112), ("temperature", 0)), (("temperature", 0),))
    )
    before = imported(PromptTemplate(calls=calls, answer=READER))
    for study, asked in (
        ({"temperature": 0, "max_tokens": 16}, ({"max_tokens": 112}, {"max_tokens": 16})),
        ({"temperature": 0, "max_tokens": 200}, ({"max_tokens": 200}, {"max_tokens": 200})),
        (
            {"temperature": 0, "max_completion_tokens": 16},
            ({"max_completion_tokens": 112}, {"max_completion_tokens": 16}),
        ),
        ({"temperature": 0}, ({}, {})),
    ):
        found = fitted(before, study, able, input_bytes=10)
        assert [dict(call.parameters) for call in found.template.calls] == [
            {"temperature": 0, **each} for each in asked
        ]
        assert fitted(found, study, able, input_bytes=10).template == found.template
        told = [each for each in found.cautions if "the decoding parameters of" in each]
        assert bool(told) == (112 not in asked[0].values())


@pytest.mark.parametrize("style", sorted(STYLES))
def test_a_frozen_prompt_is_asked_again_as_it_was(put: Callable[..., Path], style: str) -> None:
    """Frozen under a study and imported under the same parameters, it is the very same prompt: no gain over it is one of room."""
    changes = (
        (
            "parameters: {temperature: 0}",
            "parameters: {temperature: 0, max_tokens: 16}, capabilities: [prefill, json_schema]",
        ),
        ("[direct, first_person]", f"[direct, {style}]" if style != "direct" else "[direct]"),
    )
    path = put(template(user(TEXT)), *changes)
    space = load_plan(path).space
    rendered = 0
    for layout in ("plain", "json"):
        scored = space.render(dataclasses.replace(space.start, style=style, format=layout))
        if scored is None or FORMATS[layout].misfit(space.task, space.style(style)):
            continue
        (path.parent / "prompts" / "today.prompt.json").write_text(frozen(scored).dumps(), encoding="utf-8")
        baseline = load_plan(path).space
        again = baseline.render(baseline.baseline)
        assert again is not None
        assert again.fingerprint == scored.fingerprint
        assert baseline.imported is not None
        assert not [each for each in baseline.imported.cautions if "decoding parameters" in each]
        rendered += 1
    assert rendered


def test_a_constraint_that_a_model_cannot_be_held_to_is_left_out_and_a_short_context_is_told(
    imported: Callable[..., Imported],
) -> None:
    before = imported(template(user("Long. " * 200, TEXT, NOTE), constraint=Constraint(choice=LABELS)))
    found = fitted(before, {}, Capabilities(can=frozenset(), context=50), input_bytes=10)
    assert found.template.calls[0].constraint is None
    left_out, too_long = found.cautions
    assert "constrains the answer, to which this model cannot be held; it is left out" in left_out
    assert re.search(r"takes about \d+ tokens with the longest example; the model has 50$", too_long)


def test_what_the_model_cannot_do_is_refused_with_the_field_of_the_task(refused: Callable[..., str]) -> None:
    prompt = template((*user(TEXT), MessageTemplate(role="assistant", parts=("It is ",))))
    said = refused(
        prompt,
        ("path: rules.json", "path: rules.json, capabilities: []"),
        ("first_person", "chain_of_thought"),
    )
    assert said == (
        "task.yaml:11: baseline: prompts/today.prompt.json: the model lacks prefill, which this prompt needs"
    )


def test_the_first_style_and_format_are_where_the_search_starts(refused: Callable[..., str]) -> None:
    said = refused(
        template(user(TEXT)),
        ("[plain, json]", "[json]"),
        ("[direct, first_person]", "[first_person, direct]"),
    )
    assert (
        "search: the search starts from the first style and the first format; first_person × json: " in said
    )


def test_the_baseline_lies_outside_the_space_and_the_instruction_within(
    plan: Callable[..., StudyPlan],
) -> None:
    chosen = plan(template(user(TEXT, NOTE)))
    space = chosen.space
    assert space.imported is not None
    assert space.render(space.baseline) == space.imported.template
    point = space.baseline.point
    assert (point["instruction"], point["style"], point["format"]) == (IMPORTED,) * 3
    assert space.baseline.instruction.origin == "imported"
    assert space.baseline.instruction.parents == ()
    assert not set(point.values()) & {value for values in space.choices.values() for value in values} - {
        "d0000"
    }
    assert space.start.instruction.text == "Name the colour."
    assert [dict(entry) for entry in space.entry] == [space.start.point]
    assert space.candidate(space.entry[0]) == space.start
    assert space.wordings == (space.baseline.instruction, *space.instructions)
    assert space.grown().imported == space.imported


def test_no_candidate_starts_the_search_where_all_show_demonstrations(plan: Callable[..., StudyPlan]) -> None:
    assert plan(template(user(TEXT)), ("sizes: [0, 2]", "sizes: [2]")).space.entry == ()


def test_the_identity_is_the_content_of_the_file_and_what_was_read(plan: Callable[..., StudyPlan]) -> None:
    chat = BY_HAND["openai_messages"]
    one = plan(chat, name="chat.openai.json")
    moved = plan(chat, name="other.openai.json")
    assert one.identity["baseline"] == moved.identity["baseline"]
    assert one.identity["task"] != moved.identity["task"]  # which names the file
    changed = plan(chat.replace("Say which", "Say which "), name="chat.openai.json").identity
    assert {name for name in changed if changed[name] != one.identity[name]} == {"baseline"}
    respaced = plan(f"{chat}\n", name="chat.openai.json")
    assert respaced.identity["baseline"] != one.identity["baseline"]
    assert respaced.space.baseline.digest == one.space.baseline.digest


def test_the_calls_of_each_phase_are_counted_by_hand(plan: Callable[..., StudyPlan]) -> None:
    bounds = plan(template(user(TEXT), user(Hole(name="completion:0"), "Sure?"))).bounds
    assert bounds.baseline.calls == 2 * 5
    assert bounds.candidate.calls == 5
    assert bounds.confirmation.calls == 2 * 9  # the baseline may be confirmed as well
    assert bounds.test.calls == 2 * 12 + 12  # there is no wording of it in another format
    least = 2 * 5 + 5 + 2 * 9 + 3 * 12
    assert bounds.least.calls == least
    assert plan(template(user(TEXT))).bounds.test.calls == 2 * 12


def test_a_held_out_example_that_the_imported_prompt_shows_is_a_leak(plan: Callable[..., StudyPlan]) -> None:
    story = "Once upon a time there was a very small house on a hill far from here"
    chosen = plan(template(user(f"{story} is red.\n", TEXT)))
    assert not any(IMPORTED in leak for leak in chosen.leaks)
    data = Path("data.csv")
    data.write_text(data.read_text().replace(chosen.dataset.test[0].values["text"], story))
    leaks = load_plan(Path("study.yaml")).leaks
    assert any("quoted in wordings" in leak and IMPORTED in leak for leak in leaks), leaks


def test_validate_tells_what_is_measured_against(
    put: Callable[..., Path], capsys: pytest.CaptureFixture[str], run_command: Callable[..., int]
) -> None:
    put(BY_HAND["openai_messages"], name="chat.openai.json")
    assert run_command("validate", "task.yaml", "study.yaml") == 0
    said = capsys.readouterr().out
    sentence = (
        "  The baseline is the prompt in prompts/chat.openai.json, read as openai_messages; the task's instruction is one "
        "of the wordings that are compared with it.\n  Caution: the imported prompt does not show 'note'\n"
    )
    assert said.count(sentence) == 2
    assert run_command("validate", "--json", "study.yaml") == 0
    assert "prompts/chat.openai.json" in json.loads(capsys.readouterr().out)["in_words"]["study.yaml"][3]


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    from optimizer.commands import main

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["optimizer", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run


PAGE = (Path(__file__).parents[1] / "docs" / "importing.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"`([\w./-]+)`[^`]*?:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_tells_the_truth(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run_command: Callable[..., int],
) -> None:
    files = dict(BLOCK.findall(PAGE))
    assert len(files) == 2
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    rows = (
        f"A message about matter {n} of day {n * 7},{('billing', 'technical')[n % 2]}\n" for n in range(40)
    )
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "support.csv").write_text("message,team\n" + "".join(rows))
    (tmp_path / ".optimizer").mkdir()
    monkeypatch.chdir(tmp_path)
    (task,) = (name for name in files if name.endswith(".yaml"))
    assert run_command("validate", task) == 0
    output = capsys.readouterr().out
    said = re.findall(r"^```console\n\$ optimizer validate (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in said] == [task]
    for line in said[0][1].splitlines():
        assert line in output.splitlines() or line.strip() == "...", line


WORDS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "{{text}}",
        "{text}",
        "${note}",
        "{{ txt }}",
        "</s>",
        "---",
        "user:",
        "\r\n",
        "\\",
        '"',
        "{% if %}",
        "\u2028",
    ]
)
PARTS = st.lists(WORDS | st.sampled_from([TEXT, NOTE]), max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, min_size=1, max_size=3), value=WORDS)
def test_imported_messages_are_those_of_the_file_whatever_they_say(
    colours: Task, parts: list[list[Any]], value: str
) -> None:
    prompt = template(tuple(MessageTemplate(role="user", parts=tuple(each)) for each in [*parts, [TEXT]]))
    assert colours.baseline is not None
    colours.baseline.path.write_text(frozen(prompt).dumps(), encoding="utf-8", newline="")
    found = load_imported(colours)
    assert found is not None
    unbroken = fitted(found, {}, Capabilities(can=frozenset()), input_bytes=0).template
    assert messages(unbroken, text=value, note=value) == messages(prompt, text=value, note=value)
    guarded = fitted(found, {}, Capabilities(can=frozenset(), control_tokens=("</s>",)), input_bytes=0)
    harmless = {"text": "", "note": ""}
    assert messages(guarded.template, **harmless) == messages(prompt, **harmless)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["messages", "role", "content", "calls", "schema", "lc", "kwargs"]), inner
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    name=st.sampled_from(
        ["a.json", "a.prompt.json", "a.openai.json", "a.prompty", "a.prompt", "a.yaml", "a.txt"]
    ),
)
def test_whatever_a_file_holds_it_is_a_prompt_or_refused(colours: Task, content: bytes, name: str) -> None:
    assert colours.baseline is not None
    path = colours.baseline.path.with_name(name)
    path.write_bytes(content)
    task = dataclasses.replace(
        colours, baseline=PromptFile(named=name, path=path, format="", field=("baseline",))
    )
    try:
        found = load_imported(task)
    except InputError as error:
        found, problems = None, error.problems
    else:
        problems = ()
    assert (found is None) == bool(problems)
    assert all(name in problem.message for problem in problems)
    assert found is None or set(found.template.inputs) <= set(task.inputs)


@pytest.fixture
def colours(put: Callable[..., Path]) -> Task:
    return load_task(put(template(user(TEXT))).with_name("task.yaml"))
