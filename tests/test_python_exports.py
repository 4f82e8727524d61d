"""Prompts as Python modules: the messages and the readings of the package, without the package."""

import ast
import functools
import json
import math
import os
import random
import re
import subprocess
import sys
import unicodedata
import venv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat, AnswerKind
from optimizer.candidate import Candidate, Demonstration, DemonstrationSet, Instruction
from optimizer.completion import Completion, Constraint, FinishReason, Role
from optimizer.digest import canonical
from optimizer.document import Located
from optimizer.errors import InputError, OptimizerError
from optimizer.exporters import EVERYTHING, EXPORTERS, Case, Shipment, _standins, _unicode
from optimizer.exporters._bundle import MODULES, UnbundledError, bundle, read_source
from optimizer.exporters._folding import folded
from optimizer.exporters._literals import literal
from optimizer.exporting import export, hostile_cases
from optimizer.formats import FORMATS, Draft
from optimizer.frozen import FrozenPrompt
from optimizer.models import MODELS, ModelSpec, chat_body
from optimizer.models._choice import CHOICE_BIAS
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.retrieval import Likeness, Retrieval, Shot
from optimizer.shapes import within_strict
from optimizer.styles import STYLES, ReasoningStyle
from optimizer.task import Task
from optimizer.taskfile import DatasetSpec, OutputType, Splits
from optimizer.transport import read_completion

if TYPE_CHECKING:
    from tests.hostile_prompts import Files, frozen_as, hole, message
else:
    from hostile_prompts import Files, frozen_as, hole, message

EXPORTER = EXPORTERS["python_module"]
written = Files("python_module").text
COMPLETIONS = Path(__file__).resolve().parent / "data" / "completions.json"

EVIDENCE = {"frozen": "winner", "test": {"winner": {"score": 0.625, "lower": 0.5, "upper": 0.75, "n": 150}}}
LABELS = ("billing", "order status", "Réclamation")
SCHEMA = canonical({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
TARGETS: dict[OutputType, tuple[str, ...]] = {
    "label": LABELS,
    "labels": ('["billing"]', "[]"),
    "text": ('It says: "no" {subject}', "deux mots\nsur deux lignes"),
    "number": ("12", "-0.5"),
    "json": ('{"n":2}',),
}
TOKENS = ("<|im_start|>", "<|im_end|>")

# What breaks source text, templates and careless readers.
HOSTILE = (
    "{{a}}", "{a}", "%s", "\\", "\\n", '"', "'", '"""', "'''", "\n", "\n\n", "\r", "\t", "\x00", "\x0b", "\x85", "\u2028",
    "\ufeff", "\u202e", "\ud800", "😀", "é", "e\u0301", "ﬁ", "# x", "import os", "<|im_start|>", "<|im_end|", "${x}", " ", "a b",
    "line " * 30, "x" * 250,
)  # fmt: skip

# What answers are made of.
WORDS = (
    "billing", "Billing", "order status", "order  status", "Réclamation", "reclamation", "Re\u0301clamation", "ｂｉｌｌｉｎｇ",
    "not", "or", "and", "et", "the answer is", "Answer:", "**Answer:**", "Answer :", "no", "none", "12", "-0.5", "1,200.50",
    "1 200,50", "1.2.3", "3 or 4", "3/4", "10²", "2½", "½", "$5", "50 %", "1e400", "####", "\\boxed{7}", "= 8", "12 dollars", "١٢", "１２",
    "<think>", "</think>", "<answer>", "</answer>", "so billing", '{"field": "billing"}', '{"field": 3}', '{"n": 2,', "{'n': 2}",
    '["billing", "order status"]', '["billing"', '{"field": "a", "field": "b"}', '{"n": {"m": [1, 2, {"o": null}]}}', "```json",
    "```", "{", "}", "[", "]", ":", ",", '"', "'", "\\", "- billing", "* order status", "1. billing", "\n", "\n\n", ".", "!", ";", "|",
    "\u200b", "\u2060", "\xa0", "—", "«", "»", "True", "None", "NaN", "Infinity", "\ud800", "😀", "각", "\u1100\u1161", "Ω", "ﬃ",
)  # fmt: skip

FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")

RUNNER = """
import json, runpy, sys
asked = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))
found = []
for path, calls in asked:
    module = runpy.run_path(path)
    answers = []
    for name, completions, named in calls:
        try:
            value = module[name](*completions, **named)
        except ValueError as error:
            value = [type(error).__name__, str(error)]
        if name == "parse" and not isinstance(value, list):
            value = [value.text, value.outcome, value.strict, value.reader]
        answers.append(value)
    found.append([answers, sorted(name for name in sys.modules if name.startswith("optimizer"))])
sys.stdout.buffer.write(json.dumps(found, ensure_ascii=False).encode("utf-8", "surrogatepass"))
"""

# A function of a module, completions, and what is given by name.
Call = tuple[str, Sequence[str | None], dict[str, str]]


def run(folder: Path, asked: Sequence[tuple[str, Sequence[Call]]]) -> list[list[Any]]:
    """Return what each module says to each call, all of them in one process that has the standard library alone."""
    paths = [folder / f"m{k}.py" for k in range(len(asked))]
    for path, (text, _) in zip(paths, asked, strict=True):
        path.write_text(text, encoding="utf-8")
    told = json.dumps(
        [[str(path), calls] for path, (_, calls) in zip(paths, asked, strict=True)], ensure_ascii=False
    )
    command = [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", RUNNER]
    result = subprocess.run(
        command, input=told.encode("utf-8", "surrogatepass"), capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr.decode()
    found = json.loads(result.stdout.decode("utf-8", "surrogatepass"))
    assert all(loaded == [] for _, loaded in found)
    return [answers for answers, _ in found]


def frozen(template: PromptTemplate, name: str = "triage") -> FrozenPrompt:
    return frozen_as(template, name=name, model={"name": "a model"}, evidence=EVIDENCE)


def reading(answer: AnswerFormat) -> FrozenPrompt:
    call = CallTemplate(messages=(message("user", "Text: ", hole("a")),))
    return frozen(PromptTemplate(calls=(call,), answer=answer))


# ---- prompts


def task(output: OutputType) -> Task:
    labels = LABELS if output in {"label", "labels"} else ()
    return Task(
        name="triage",
        version="1.0",
        description="",
        language="fr",
        inputs=("subject", "user message"),
        target="answer",
        output=output,
        labels=labels,
        label_descriptions=tuple("" for _ in labels),
        schema=SCHEMA if output == "json" else "",
        metric="exact_match",
        metrics=(),
        instruction="x",
        dataset=DatasetSpec(
            inputs=("subject",), target="answer", splits=Splits(train=1, validation=1, test=1)
        ),
        paths=(Path("triage.jsonl"),),
        source=Located(value={"name": "triage"}, file="triage.yaml", marks={}),
    )


def draft(output: OutputType, style: ReasoningStyle, text: str, tokens: tuple[str, ...]) -> Draft:
    shots = tuple(
        Demonstration(
            example_id=f"e{n}", inputs=(("subject", f"{text} {n}"), ("user message", "body")), target=target
        )
        for n, target in enumerate(TARGETS[output])
    )
    candidate = Candidate(
        instruction=Instruction(id="i0000", text=f"Route {text} it.", origin="given"),
        demonstrations=DemonstrationSet(id="d0001", demonstrations=shots, selector="random"),
        style="style",
        format="format",
    )
    parameters = (("max_tokens", 16), ("temperature", 0.5))
    return Draft(
        task=task(output), candidate=candidate, style=style, parameters=parameters, control_tokens=tokens
    )


@functools.cache
def laid_out() -> tuple[FrozenPrompt, ...]:
    """Return a prompt for every format with every style and output type that it can lay out, in hostile words."""
    several = ReasoningStyle(
        follow_ups=("Check {subject}.",), opener="I", marker="Answer:", reasoning_tokens=9
    )
    styles = [*(STYLES[name] for name in STYLES), several]
    fitting = [
        (layout, output, style)
        for layout in FORMATS
        for output in TARGETS
        for style in styles
        if FORMATS[layout].misfit(task(output), style) is None
    ]
    return tuple(
        frozen(
            FORMATS[layout].render(
                draft(output, style, HOSTILE[n % len(HOSTILE)].replace("\ud800", "?"), TOKENS[: n % 3])
            )
        )
        for n, (layout, output, style) in enumerate(fitting)
    )


@functools.cache
def made_up() -> tuple[FrozenPrompt, ...]:
    """Return prompts of any shape, seeded: several calls, retrieval, images, captions, prefill, constraints, odd names."""
    rng = random.Random(7)
    return tuple(frozen(any_template(rng), name=hostile(rng)) for _ in range(90))


def hostile(rng: random.Random, *, most: int = 4) -> str:
    return "".join(rng.choices(HOSTILE, k=rng.randint(0, most)))


def any_template(rng: random.Random) -> PromptTemplate:
    names = tuple(
        dict.fromkeys(
            rng.choices(
                ["a", "b", "user message", "class", "é", "self", '"q"', "completions"], k=rng.randint(1, 3)
            )
        )
    )
    pool = tuple(
        Shot(values=tuple(hostile(rng) + rng.choice(WORDS) for _ in names), reply=hostile(rng))
        for _ in range(6)
    )
    retrieval = Retrieval(inputs=names, pool=pool, shown=2) if rng.random() < 0.5 else None
    calls = tuple(any_call(rng, k, names, shows=retrieval is not None) for k in range(rng.randint(1, 3)))
    answer = AnswerFormat(kind="label", labels=(hostile(rng) or "x", "y"), marker=rng.choice(["", "Answer:"]))
    return PromptTemplate(calls=calls, answer=answer, retrieval=retrieval)


def any_call(rng: random.Random, k: int, names: tuple[str, ...], *, shows: bool) -> CallTemplate:
    def part() -> str | Hole:
        name = rng.choice(names)
        lead, tail = (hostile(rng), hostile(rng)) if rng.random() < 0.3 else ("", "")
        kinds: list[str | Hole] = [
            hostile(rng),
            Hole(name=f"input:{name}", neutralise=TOKENS[: rng.randint(0, 2)], lead=lead, tail=tail),
            Hole(name=f"input:{name}", image=True, lead=lead, tail=tail),
            Hole(name="image:https://example.org/a.png", image=True),
        ]
        kinds += [Hole(name=f"completion:{rng.randrange(k)}", neutralise=TOKENS)] if k else []
        kinds += [
            Hole(name=f"shot:{rng.randrange(2)}:{what}") for what in ("reply", f"input:{name}") if shows
        ]
        return rng.choice(kinds)

    roles: tuple[Role, ...] = rng.choice([("user",), ("system", "user"), ("user", "assistant")])
    messages = tuple(
        MessageTemplate(role=role, parts=tuple(part() for _ in range(rng.randint(1, 4)))) for role in roles
    )
    constraints = [None, Constraint(choice=("a", hostile(rng))), Constraint(json_schema=SCHEMA)]
    return CallTemplate(
        messages=messages,
        parameters=(("seed", k), ("stop", hostile(rng))),
        constraint=rng.choice(constraints),
    )


def cases(prompt: FrozenPrompt, n: int) -> list[Case]:
    found = list(hostile_cases(prompt))
    step = max(1, len(found) // 9) + n % 7
    first = Case(inputs=dict.fromkeys(prompt.inputs, "\ud800 e\u0301 billing <|im_start|>"))
    return [first, *found[n % step :: step]]


def test_messages_are_those_of_the_package_for_every_prompt(tmp_path: Path) -> None:
    prompts = [*laid_out(), *made_up()]
    assert len(prompts) >= 300
    asked: list[tuple[str, list[Call]]] = []
    expected: list[list[Any]] = []
    for n, prompt in enumerate(prompts):
        chosen = cases(prompt, n)
        calls: list[Call] = [("messages", case.completions, dict(case.inputs)) for case in chosen]
        own: list[Any] = [prompt.messages(*case.completions, **case.inputs) for case in chosen]
        for k, template in enumerate(prompt.template.calls):
            constraint, so_far = template.constraint, ("x",) * k
            calls += [("parameters", so_far, {}), ("response_format", so_far, {}), ("choice", so_far, {})]
            choice = list(constraint.choice) if constraint and constraint.choice else None
            schema = constraint.schema() if constraint and not constraint.choice else None
            own += [dict(template.parameters), schema, choice]
        asked.append((written(prompt), calls))
        expected.append(own)
    for answers, own, (_, calls) in zip(run(tmp_path, asked), expected, asked, strict=True):
        for found, right, call in zip(answers, own, calls, strict=True):
            if call[0] == "response_format" and found is not None:
                assert found["json_schema"]["strict"] is within_strict(right)
                # In order, too: a model writes fields in the order of the schema.
                assert json.dumps(found["json_schema"]["schema"]) == json.dumps(right)
            else:
                assert found == right


def test_the_check_of_an_export_runs_the_module_and_carries_all() -> None:
    assert EXPORTER.carries == EVERYTHING
    for prompt in made_up()[:3]:
        found = export(prompt, "python_module")
        assert found.losses == found.preconditions == ()
        assert found.n_cases > 100


def test_a_module_that_does_not_run_is_an_error_and_no_messages() -> None:
    assert EXPORTER.render is not None
    with pytest.raises(OptimizerError, match=r"the written module did not run: ValueError: no"):
        EXPORTER.render(["raise ValueError('no')"], [Case(inputs={})])


# ---- readings


def formats() -> list[AnswerFormat]:
    """Return formats of all kinds with every reader that finds an answer of theirs."""
    given = [each["format"] for each in json.loads(COMPLETIONS.read_text(encoding="utf-8"))]
    plain = {"labels": [], "field": "", "marker": ""}
    found = [AnswerFormat.from_dict({**plain, **each}) for each in given]
    ways: list[tuple[str, ...]] = [
        (), ("json",), ("json_repaired",), ("json", "json_repaired"), ("thinking", "first_line"), ("last_line",),
        ("marker",), ("xml:answer",), (r"regex:so (\w+)",), ("thinking", "json"), ("xml:answer", "json_repaired"),
    ]  # fmt: skip
    kinds: tuple[AnswerKind, ...] = ("label", "labels", "number", "text", "json")
    for kind in kinds:
        for n, readers in enumerate(ways):
            field, marker = ("", "field")[n % 2], ("Answer:", "")[n // 2 % 2]
            found.append(
                AnswerFormat(
                    kind=kind,
                    labels=LABELS if kind in {"label", "labels"} else (),
                    field=field,
                    marker="Answer:" if "marker" in readers else marker,
                    readers=(*readers, kind) if readers and n % 3 == 0 else readers,
                )
            )
    return list(dict.fromkeys(found))


def completions(rng: random.Random, n: int) -> list[str]:
    """Return answers of models that are not well: words, figures, and JSON that is broken in all ways."""
    valid = [
        '{"field": "billing", "n": [1, 2.5, "x"], "m": null}',
        '["billing", "order status"]',
        "<think>a</think>12",
    ]
    found = []
    for _ in range(n):
        text = rng.choice(["", " "]).join(rng.choices(WORDS, k=rng.randint(1, 7)))
        if rng.random() < 0.4:
            base = rng.choice(valid)
            cut, end = sorted(rng.choices(range(len(base) + 1), k=2))
            text = base[:cut] + rng.choice(["", rng.choice(WORDS)]) + base[end:]
        found.append(text)
    return found


def test_answers_are_read_as_the_package_reads_them(tmp_path: Path) -> None:
    rng = random.Random(11)
    given = json.loads(COMPLETIONS.read_text(encoding="utf-8"))
    known = [case["completion"] for each in given for case in each["cases"]]
    prompts = [reading(each) for each in formats()]
    own_cases = {n: [case["completion"] for case in each["cases"]] for n, each in enumerate(given)}
    asked: list[tuple[str, list[Call]]] = []
    expected: list[list[Any]] = []
    for n, prompt in enumerate(prompts):
        texts = [*own_cases.get(n, []), *rng.sample(known, 30), *completions(rng, 45)]
        chosen = [(text, rng.choice(["stop", "stop", "length", "refused"])) for text in texts]
        asked.append(
            (written(prompt), [("parse", (text,), {"finish_reason": reason}) for text, reason in chosen])
        )
        answers = [prompt.parse(Completion(text=text, finish_reason=reason)) for text, reason in chosen]  # type: ignore[arg-type]  # one of the three
        expected.append([[each.text, each.outcome, each.strict, each.reader] for each in answers])
    assert sum(map(len, expected)) > 5000
    assert {tuple(each[1:2]) for own in expected for each in own} == {
        ("ok",), ("invalid",), ("truncated",), ("refused",),
    }  # fmt: skip
    for found, own, (_, calls) in zip(run(tmp_path, asked), expected, asked, strict=True):
        for answer, right, call in zip(found, own, calls, strict=True):
            assert answer == right, call


def test_every_completion_at_hand_is_read_alike_by_each_kind(tmp_path: Path) -> None:
    given = json.loads(COMPLETIONS.read_text(encoding="utf-8"))
    texts = [case["completion"] for each in given for case in each["cases"]]
    labels = ("positive", "negative", "card payment", "A")
    kinds: tuple[AnswerKind, ...] = ("label", "labels", "number", "text", "json")
    prompts = [reading(AnswerFormat(kind=kind, labels=labels if "label" in kind else ())) for kind in kinds]
    asked: list[tuple[str, list[Call]]] = [
        (written(prompt), [("parse", (text,), {}) for text in texts]) for prompt in prompts
    ]
    for prompt, found in zip(prompts, run(tmp_path, asked), strict=True):
        answers = [prompt.parse(text) for text in texts]
        assert found == [[each.text, each.outcome, each.strict, each.reader] for each in answers]


def test_a_message_without_a_text_is_read_and_shown_as_an_empty_completion(tmp_path: Path) -> None:
    reasons: tuple[FinishReason, ...] = ("stop", "length", "refused")
    prompts = [
        *map(reading, formats()[::9]),
        next(each for each in made_up() if len(each.template.calls) == 2),
    ]
    asked: list[tuple[str, list[Call]]] = []
    expected: list[list[Any]] = []
    for prompt in prompts:
        several = len(prompt.template.calls) > 1
        so_far, inputs = (None,) * several, dict.fromkeys(prompt.inputs, "m")
        calls: list[Call] = [("parse", (*so_far, None), {"finish_reason": reason}) for reason in reasons]
        asked.append((written(prompt), [("messages", so_far, inputs), *calls]))
        empty = [Completion(text="", finish_reason=reason) for reason in reasons]
        answers = [prompt.parse(*so_far, each) for each in empty]
        read = [[each.text, each.outcome, each.strict, each.reader] for each in answers]
        expected.append([prompt.messages(*("",) * several, **inputs), *read])
    assert run(tmp_path, asked) == expected


# ---- what a module is


def test_a_module_imports_json_and_re_and_is_valid_source_without_warnings() -> None:
    for prompt in [*laid_out()[::40], *made_up()[::18], *map(reading, formats()[::9])]:
        text = written(prompt)
        assert text == written(prompt)
        assert text.endswith("\n")
        tree = ast.parse(text)
        compile(tree, "prompt.py", "exec")
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert [ast.unparse(node) for node in imports] == ["import json", "import re"]
        docstring = ast.get_docstring(tree) or ""
        oldest = re.search(r"Needs Python 3\.(\d+) or later", docstring)
        assert oldest is not None
        ast.parse(text, feature_version=(3, int(oldest[1])))
        assert ('re.compile("a*+")' in text) == (oldest[1] == "11")
        assert prompt.fingerprint in docstring
        docstring.encode()  # newer compilers take no half of a surrogate pair there
        # What is in no list: eval, exec, and the like.
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert called.isdisjoint({"eval", "exec", "compile", "open", "__import__", "getattr(__builtins__)"})


def test_a_module_says_what_it_is(tmp_path: Path) -> None:
    for prompt in made_up()[:20]:
        text = written(prompt)
        constants = {
            node.targets[0].id: node.value
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        shipment = Shipment(frozen=prompt)
        assert ast.literal_eval(constants["NAME"]) == prompt.name
        assert ast.literal_eval(constants["FINGERPRINT"]) == prompt.fingerprint
        assert ast.literal_eval(constants["INPUTS"]) == prompt.inputs
        assert ast.literal_eval(constants["PROVENANCE"]) == shipment.provenance
        last = prompt.template.calls[-1].constraint
        choice = list(last.choice) if last and last.choice else None
        assert ast.literal_eval(constants["CHOICE"]) == choice
        assert "Score on the test: 0.625 (95 % interval 0.500 to 0.750, n 150)" in text


def test_the_example_in_the_docstring_is_python_that_calls_what_is_there() -> None:
    for prompt in [*laid_out()[::9], *made_up()]:
        text = written(prompt)
        docstring = ast.get_docstring(ast.parse(text.partition("\nimport json\n")[0]), clean=False) or ""
        lines = [line[4:] for line in docstring.splitlines() if line.startswith("    ") or not line]
        used = {
            node.attr
            for node in ast.walk(ast.parse("\n".join(lines)))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "prompt"
        }
        defined = set(re.findall(r"^(?:def )?(\w+)(?:\(| = )", text, re.MULTILINE))
        assert {"messages", "parse", "parameters"} <= used <= defined
        calls = prompt.template.calls
        constraints = [call.constraint for call in calls if call.constraint]
        assert bool({"choice", "HELD"} & used) == any(constraint.choice for constraint in constraints)
        assert ("response_format" in used) == any(not constraint.choice for constraint in constraints)
        assert docstring.count("The server must hold the completion to") == len(
            {bool(constraint.choice) for constraint in constraints}
        )
        begun = [call.messages[-1].role == "assistant" for call in calls]
        assert ("removeprefix" in docstring) == any(begun)
        embedded = prompt.model.get("provider") == "embedded"
        assert ("continue_final_message" in docstring) == (any(begun) and not embedded)


# A client that prints what it is asked to send.
CLIENT = """
import json
from types import SimpleNamespace as Plain

def create(*, model, messages, extra_body, temperature=None, response_format=None):
    print(json.dumps(extra_body))
    return Plain(choices=[Plain(message=Plain(content=" a", refusal=None), finish_reason="stop")])

class OpenAI:
    chat = Plain(completions=Plain(create=create))
"""


def test_the_example_in_the_docstring_asks_for_what_answers_were_held_to(tmp_path: Path) -> None:
    begun = (message("user", hole("a")), message("assistant", "I think"))
    sampling = {"temperature": 0.5, "top_k": 20}  # of which OpenAI's client takes the first alone
    held = CallTemplate(
        messages=begun, parameters=tuple(sampling.items()), constraint=Constraint(choice=(" a", " b"))
    )
    shaped = CallTemplate(messages=(message("user", "And?"),), constraint=Constraint(json_schema="{}"))
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    first = {**sampling, "structured_outputs": {"choice": [" a", " b"]}, **extra}
    (tmp_path / "openai.py").write_text(CLIENT)
    for calls in ((held,), (held, shaped)):
        text = written(frozen(PromptTemplate(calls=calls, answer=AnswerFormat(kind="text"))))
        (tmp_path / "prompt.py").write_text(text, encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(text)) or ""
        lines = [line[4:] for line in docstring.splitlines() if line.startswith("    ")]
        (tmp_path / "example.py").write_text("\n".join(lines), encoding="utf-8")
        command = [sys.executable, "-S", "-B", str(tmp_path / "example.py")]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        sent = [json.loads(line) for line in result.stdout.splitlines()]
        assert sent[0] == first
        assert [set(options) for options in sent[1:]] == [{"response_format"}] * (len(calls) - 1)


# What a model says, or does not, and how the first call of an example ends then.
ENDS: dict[str, tuple[dict[str, Any], str]] = {
    "an answer": ({"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}, "ok"),
    "a begun turn that is repeated": (
        {"message": {"role": "assistant", "content": "I think a"}, "finish_reason": "stop"},
        "ok",
    ),
    "a refusal": (
        {"message": {"role": "assistant", "content": None, "refusal": "I can't."}, "finish_reason": "stop"},
        "refused",
    ),
    "a filter": (
        {"message": {"role": "assistant", "content": None}, "finish_reason": "content_filter"},
        "refused",
    ),
    "thinking that is cut": (
        {"message": {"role": "assistant", "content": None}, "finish_reason": "length"},
        "truncated",
    ),
}


@pytest.mark.parametrize(("end", "n_calls"), [*((end, 1) for end in ENDS), ("a refusal", 2)])
def test_the_example_in_the_docstring_reads_whatever_a_server_says(
    end: str, n_calls: int, loopback: Any, tmp_path: Path
) -> None:
    """The example is run as it is written, by OpenAI's own client."""
    choice, outcome = ENDS[end]
    reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    loopback.reply = lambda _: (200, {**reply, "choices": [{"index": 0, **choice}]})
    begun = (message("user", hole("a")), message("assistant", "I think"))
    held = CallTemplate(messages=begun, constraint=Constraint(choice=(" a", " b")))
    answer = AnswerFormat(kind="label", labels=("a", "b"))
    prompt = frozen(PromptTemplate(calls=(held,) * n_calls, answer=answer))
    read = read_completion({"choices": [choice]}, 0.0)
    own = answer.read(read.text.removeprefix("I think"), read.finish_reason)
    assert own.outcome == outcome
    assert the_example(prompt, tmp_path, base_url=loopback.base_url) == repr(own)
    assert len(loopback.bodies) == n_calls


def the_example(prompt: FrozenPrompt, folder: Path, *, base_url: str) -> str:
    """Return the answer of a module's example, run as it is written in another process."""
    text = written(prompt)
    (folder / "prompt.py").write_text(text, encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    lines = [line[4:] for line in docstring.splitlines() if line.startswith("    ")]
    (folder / "example.py").write_text("\n".join([*lines, "print(answer)"]), encoding="utf-8")
    environment = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "x"}
    command = [sys.executable, "-B", "example.py"]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("opened", [True, False])
def test_the_example_asks_a_server_that_reads_grammars_as_it_was_asked(
    opened: bool, loopback: Any, tmp_path: Path
) -> None:
    loopback.obeys = False
    labels = ("a", 'the "b"', "c\\d\n")
    opening = (message("assistant", "I think"),) if opened else ()
    held = CallTemplate(
        messages=(message("user", hole("a")), *opening),
        parameters=(("max_tokens", 5), ("temperature", 0)),
        constraint=Constraint(choice=labels),
    )
    free = CallTemplate(messages=(message("user", hole("a")),))
    for calls in ((held,), (free, held)):
        loopback.bodies.clear()
        template = PromptTemplate(calls=calls, answer=AnswerFormat(kind="text"))
        prompt = replace(frozen(template), model={"provider": "embedded", "name": "smollm2-135m"})
        the_example(prompt, tmp_path, base_url=loopback.base_url)
        can = MODELS["embedded"].capabilities(ModelSpec(provider="embedded", name="smollm2-135m")).can
        completions = ("ok",) * (len(calls) - 1)
        request = prompt.request(*completions, a="...")
        body = chat_body(request, name="smollm2-135m", can=can)
        # The loopback server has a token for each character, and 2 for the end.
        bias = [[token, CHOICE_BIAS] for token in sorted({2, *map(ord, "".join(labels))})]
        assert loopback.bodies[-1] == json.loads(json.dumps({**body, "logit_bias": bias}))


def test_a_module_carries_only_what_its_prompt_needs() -> None:
    text, number = written(reading(AnswerFormat(kind="text"))), written(reading(AnswerFormat(kind="number")))
    label = written(reading(AnswerFormat(kind="label", labels=("a", "b"))))
    for absent in ("NORMAL_TABLES", "CATEGORY_TABLE", "find_label", "Likeness", "_Scanner", "stated_number"):
        assert absent not in text
    assert "NORMAL_TABLES" not in number
    assert "CATEGORY_TABLE" in number
    assert "NORMAL_TABLES" in label
    assert len(label) - len(text) < 60_000
    tables = sum(map(len, _unicode.normal_tables())) + len(_unicode.category_table())
    assert tables < 40_000


def test_inputs_that_are_missing_or_unknown_are_named(tmp_path: Path) -> None:
    prompt = laid_out()[0]
    calls: list[Call] = [
        ("messages", (), {"subjet": "x"}),
        ("messages", ("a", "b", "c", "d"), {"subject": "x", "user message": "y"}),
        ("parse", (), {}),
        ("parameters", ("a",) * 9, {}),
    ]
    missing, many, none, late = run(tmp_path, [(written(prompt), calls)])[0]
    with pytest.raises(InputError) as caught:
        prompt.messages(subjet="x")
    assert missing == ["InputError", str(caught.value)]
    assert "input 'subject' is missing" in missing[1]
    assert "input 'user message' is missing" in missing[1]
    assert "unknown input 'subjet'; the prompt takes subject, user message" in missing[1]
    assert "and got 4 completion(s)" in many[1]
    assert none == ["ValueError", f"expected {len(prompt.template.calls)} completion(s), found 0"]
    assert "call(s), and got 9 completion(s)" in late[1]


def test_a_module_runs_in_an_environment_where_nothing_is_installed(tmp_path: Path) -> None:
    venv.EnvBuilder(with_pip=False, symlinks=True).create(tmp_path / "env")
    prompt = made_up()[1]
    path = tmp_path / "prompt.py"
    path.write_text(written(prompt), encoding="utf-8")
    program = (
        "import importlib.util, json, runpy, sys\n"
        "assert importlib.util.find_spec('optimizer') is None\n"
        "module = runpy.run_path(sys.argv[1])\n"
        "print(json.dumps(module['messages'](**json.loads(sys.argv[2]))))"
    )
    inputs = dict.fromkeys(prompt.inputs, "été {a}")
    command = [str(tmp_path / "env" / "bin" / "python"), "-I", "-c", program, str(path), json.dumps(inputs)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == prompt.messages(**inputs)


# ---- where its code comes from


class _Bare(ast.NodeTransformer):
    """Takes away what a bundle may change: types, and who stands in for the standard library."""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return node.value and ast.Assign(targets=[node.target], value=node.value, lineno=node.lineno)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        module = ast.unparse(node.value)
        if module in {"math", "unicodedata", "_NORMAL", "_CATEGORIES"}:
            return ast.Name(id=node.attr, ctx=ast.Load())
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if ast.unparse(node.func) == "zip":
            node.keywords = []
        if ast.unparse(node.func) == "isinstance" and isinstance(node.args[1], ast.BinOp):
            node.args[1] = ast.parse(f"({ast.unparse(node.args[1]).replace(' | ', ', ')})", mode="eval").body
        return node


def simple(text: str, node: ast.AST) -> set[str]:
    """Return the statements of a definition that hold no others, and the heads of those that do, as text."""
    bare = _Bare().visit(ast.parse(ast.unparse(node)))
    found = set()
    for each in ast.walk(bare):
        if isinstance(each, ast.stmt) and not hasattr(each, "body"):
            found |= set(variants(ast.unparse(each)))
        elif isinstance(each, ast.If | ast.While):
            found |= set(variants(ast.unparse(each.test)))
    return found


def variants(text: str) -> Iterator[str]:
    """Yield a statement, and it with each of its conditional expressions decided, or the first of "and" and "or"."""
    yield text
    for n, each in enumerate(ast.walk(ast.parse(text))):
        branches: list[ast.expr] = [each.body, each.orelse] if isinstance(each, ast.IfExp) else []
        if isinstance(each, ast.BoolOp) and isinstance(each.values[0], ast.Compare):
            rest = each.values[1:]
            branches = [ast.Constant(isinstance(each.op, ast.Or))]
            branches.append(ast.BoolOp(op=each.op, values=rest) if len(rest) > 1 else rest[0])
        for branch in branches:
            tree = ast.parse(text)
            place = list(ast.walk(tree))[n]
            yield from variants(ast.unparse(_Decide(place, branch).visit(tree)))


class _Decide(ast.NodeTransformer):
    def __init__(self, place: ast.AST, branch: ast.expr) -> None:
        self.place, self.branch = place, branch

    def visit(self, node: ast.AST) -> ast.AST:
        return self.branch if node is self.place else super().visit(node)


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        for each in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(each, ast.FunctionDef):
                yield f"{node.name}.{each.name}" if isinstance(node, ast.ClassDef) else each.name, each


def test_every_function_of_a_module_comes_from_the_source() -> None:
    sources: dict[str, set[str]] = {}
    made = set()
    for module in MODULES:
        tree = ast.parse(read_source(module))
        made |= {node.name for node in tree.body if isinstance(node, ast.ClassDef) if node.decorator_list}
        for name, node in definitions(tree):
            sources.setdefault(name, set()).update(simple("", node))
    prompts = [reading(each) for each in formats()[::6]] + list(made_up()[:8])
    seen = set()
    for text in {written(prompt).partition("# optimizer/")[2] for prompt in prompts}:
        for name, node in definitions(ast.parse("# " + text)):
            if name.removesuffix(".__init__") in made and name.endswith(".__init__"):
                continue  # what a dataclass has by itself
            own = name.rsplit("_", 1)[0] if name not in sources else name
            renamed = {
                re.sub(r"(?<=_[A-Z])([A-Z]*)_(?:retrieval|unicode)", r"\1", line) for line in simple("", node)
            }
            assert renamed <= sources[own], (name, renamed - sources[own])
            seen.add(own)
    assert {
        "exact_label",
        "find_labels",
        "_Scanner.value",
        "Likeness.to",
        "AnswerFormat._json",
        "neutralised",
    } <= seen


def test_what_has_no_stand_in_is_no_part_of_a_bundle() -> None:
    for place in (
        ("digest", "sha256"),
        ("frozen", "FrozenPrompt"),
        ("narrowing", "_meant"),
        ("prompt", "PromptTemplate.from_dict"),
    ):
        with pytest.raises((UnbundledError, KeyError)):
            bundle([place], {}, given={})


def test_branches_are_cut_where_their_conditions_are_known_and_nowhere_else() -> None:
    source = (
        "def f(kind, x):\n"
        "    # why\n"
        '    if kind == "a":\n'
        "        x = 1\n"
        '    elif kind in {"b", "c"} and x:\n'
        "        x = 2  # two\n"
        "    elif x > 2:\n"
        "        return 3 if kind else 4\n"
        "    else:\n"
        "        x = 5\n"
        "    return x\n"
        "\n"
        "def g(kind):\n"
        '    return 1 if kind == "a" else 2\n'
    )
    other = source[source.index("\ndef g") :]
    cut = {
        "a": "def f(kind, x):\n    # why\n    x = 1\n    return x\n",
        "d": "def f(kind, x):\n    # why\n    if x > 2:\n        return 3\n    else:\n        x = 5\n    return x\n",
        "b": source[: source.index("\ndef g")]
        .replace('if kind == "a":\n        x = 1\n    elif', "if")
        .replace('kind in {"b", "c"} and x', "x")
        .replace("3 if kind else 4", "3"),
    }
    for kind, expected in cut.items():
        assert folded(source, {"f": {"kind": frozenset([kind])}}) == expected + other
    assert folded(source, {"f": {"kind": frozenset(["a", "d"])}}) == source.replace(
        "3 if kind else 4", "3"
    ).replace('elif kind in {"b", "c"} and x:\n        x = 2  # two\n    elif', "elif")
    assert folded(source, {}) == source


# ---- what stands in for the standard library


@functools.cache
def normal() -> _unicode.Normal:
    return _unicode.Normal(*_unicode.normal_tables())


def test_every_character_is_normalized_as_unicodedata_does() -> None:
    every = list(map(chr, range(0x110000)))
    changing = {sign for sign in every if any(unicodedata.normalize(form, sign) != sign for form in FORMS)}
    assert changing <= set(meeting())
    # A line end starts anew: characters on different lines do not meet. The others meet nothing anyway.
    text, meant = "\n".join(meeting()), set(meeting())
    for form in FORMS:
        assert normal().normalize(form, text) == unicodedata.normalize(form, text)
    others = "".join(sign for sign in every if sign not in meant)
    assert len(others) > 1_000_000
    assert normal().normalize("NFKC", others) == unicodedata.normalize("NFKC", others)
    for start, stop in ((0, 0x3400), (0xA000, 0xAC00), (0xD7A4, 0x20000), (0xE0000, 0xE0200)):
        part = "".join(sign for sign in every[start:stop] if sign not in meant)
        assert normal().normalize("NFD", part) == part


def test_every_character_is_of_the_class_and_category_that_unicodedata_says() -> None:
    categories = _unicode.Categories(_unicode.category_table())
    for sign in map(chr, range(0x110000)):
        assert normal().combining(sign) == unicodedata.combining(sign)
        assert (categories.category(sign) == "No") == (unicodedata.category(sign) == "No")


@functools.cache
def meeting() -> list[str]:
    """Return the characters that change beside others: those that decompose, combine, or are part of another."""
    normal().combining("a")  # reads the tables
    codes = (
        {code for pair in normal()._pairs for code in pair} | set(normal()._classes) | set(normal()._parts)
    )
    return [chr(code) for code in sorted({*codes, *range(0x1100, 0x1200), *range(0xAC00, 0xD7A4)})]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=20_000), max_size=8), st.text(max_size=4))
def test_sequences_are_normalized_as_unicodedata_does(places: list[int], rest: str) -> None:
    text = "".join(meeting()[place % len(meeting())] for place in places) + rest
    for form in FORMS:
        assert normal().normalize(form, text) == unicodedata.normalize(form, text)


def test_long_random_sequences_are_normalized_as_unicodedata_does() -> None:
    rng, alphabet = random.Random(3), meeting()
    for _ in range(3000):
        text = "".join(rng.choices(alphabet, k=rng.randint(2, 12)))
        for form in ("NFD", "NFKC"):
            assert normal().normalize(form, text) == unicodedata.normalize(form, text)


@given(st.lists(st.integers(min_value=0, max_value=0x110000)))
def test_numbers_are_unpacked_as_they_were_packed(numbers: list[int]) -> None:
    assert list(_unicode.unpacked(_unicode.packed(numbers))) == numbers


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e300), max_size=20))
def test_sums_and_roots_are_those_of_math_to_the_last_bit(numbers: list[float]) -> None:
    assert [_standins.sqrt(number) for number in numbers] == [math.sqrt(number) for number in numbers]
    assert _standins.fsum(numbers) == math.fsum(numbers)
    assert _standins.fsum(-number for number in numbers) == -math.fsum(numbers)


def test_stand_ins_do_what_they_stand_for() -> None:
    for number in (0.0, 1e308, -5e-324, math.inf, -math.inf, math.nan):
        assert _standins.isfinite(number) == math.isfinite(number)
    words = ["a", "b", "a", "c", "b", "a"]
    assert list(_standins.Counter(words).items()) == list(Counter(words).items())
    calls: list[tuple[object, ...]] = []

    @_standins.lru_cache(maxsize=2)
    def remembered(*given: object) -> int:
        calls.append(given)
        return len(calls)

    assert [remembered(1), remembered(1), remembered(2), remembered(3), remembered(1)] == [1, 1, 2, 3, 4]

    class Pool:
        @_standins.cached_property
        def size(self) -> int:
            calls.append(())
            return len(calls)

    pool = Pool()
    assert pool.size == pool.size == len(calls)


def test_likenesses_are_the_same_numbers(tmp_path: Path) -> None:
    rng = random.Random(5)
    texts = [
        " ".join(rng.choices(["été", "ﬁn", "a", "b", "Straße", "x1", "ΐ", "각"], k=9)) for _ in range(40)
    ]
    pool = tuple(Shot(values=(text,), reply=str(n)) for n, text in enumerate(texts))
    holes = tuple(Hole(name=f"shot:{k}:reply") for k in range(40))
    words = message("user", *holes, hole("a"))
    template = PromptTemplate(
        calls=(CallTemplate(messages=(words,)),),
        answer=AnswerFormat(kind="text"),
        retrieval=Retrieval(inputs=("a",), pool=pool, shown=40),
    )
    text = written(frozen(template))
    likeness = (
        "\n_likeness = _PROMPT.retrieval._likeness\ndef likenesses(text):\n    return _likeness.to(text)\n"
    )
    asked = [" ".join(rng.choices(texts, k=2)) for _ in range(20)]
    (found,) = run(tmp_path, [(text + likeness, [("likenesses", (each,), {}) for each in asked])])
    own = Likeness(texts)
    assert found == [own.to(each) for each in asked]


def test_examples_are_picked_alike_where_inputs_are_images(tmp_path: Path) -> None:
    images = [f"data:image/png;base64,{'/'.join(('aa', f'b{k}', f'c{k}') * 9)}" for k in range(3)]
    captions = ("a cat", "a red fox", "a blue whale")
    pool = tuple(
        Shot(values=values, reply=str(n)) for n, values in enumerate(zip(images, captions, strict=True))
    )
    retrieval = Retrieval(inputs=("photo", "a"), pool=pool, shown=1)
    image = Hole(name="shot:0:input:photo", image=True)
    asked = message("user", image, Hole(name="shot:0:reply"), hole("photo"), hole("a"))
    template = PromptTemplate(
        calls=(CallTemplate(messages=(asked,)),), answer=AnswerFormat(kind="text"), retrieval=retrieval
    )
    text = written(frozen(template))
    inputs = {"photo": images[0], "a": "the red fox"}
    ((found,),) = run(tmp_path, [(text, [("messages", (), inputs)])])
    assert found == [each.to_dict() for each in template.request(inputs, ()).messages]
    assert images[1] in json.dumps(found)
    logarithms = re.search(r"^LOGARITHMS = (.*)$", text, re.MULTILINE)
    assert logarithms is not None
    assert len(ast.literal_eval(logarithms[1])) == 2  # of words in one caption, and in all three


# ---- values as source


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters() | st.sampled_from("\n\r\"'\\\ud800\u2028 "), max_size=150),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    | st.lists(inner, max_size=3).map(tuple),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(VALUES)
def test_a_value_is_what_its_source_says(value: object) -> None:
    text = literal(value)
    assert ast.literal_eval(text) == value
    assert text.isprintable() or set(filter(lambda sign: not sign.isprintable(), text)) == {"\n"}


def test_what_is_nested_deeper_than_python_can_read_is_read_as_json(tmp_path: Path) -> None:
    deep: object = "x"
    for _ in range(150):
        deep = {"type": "array", "items": deep}
    call = CallTemplate(messages=(message("user", "a"),), constraint=Constraint(json_schema=canonical(deep)))
    prompt = frozen(PromptTemplate(calls=(call,), answer=AnswerFormat(kind="text")))
    ((found,),) = run(tmp_path, [(written(prompt), [("response_format", (), {})])])
    assert found["json_schema"]["schema"] == deep
