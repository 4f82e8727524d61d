"""A Python module that imports `json` and `re` and nothing else: messages, decoding parameters, and the reader.

The code that reads its answers is the code that read them when they were scored, bundled from the package's own source.
"""

import json
import keyword
import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from optimizer.answer import AnswerFormat
from optimizer.completion import Capability, Message, Request
from optimizer.errors import OptimizerError
from optimizer.exporters import EVERYTHING, Case, Exporter, Shipment
from optimizer.exporters._bundle import Bundle, bundle, is_possessive_pattern
from optimizer.exporters._chat import response_format
from optimizer.exporters._folding import FactsOf
from optimizer.exporters._literals import literal, quoted_in_docstring
from optimizer.exporters._unicode import category_table, normal_tables
from optimizer.frozen import FrozenPrompt
from optimizer.models import chat_body
from optimizer.models._choice import CHOICE_BIAS
from optimizer.narrowing import FINDING
from optimizer.prompt import CallTemplate, Hole
from optimizer.retrieval import Retrieval, compared, words

OFFERED = ("messages", "parameters", "response_format", "choice", "parse")

# What a prompt is made of stands above the code; tables stand where they are used.
_ABOVE = ("CALLS", "ANSWER", "RETRIEVAL", "LOGARITHMS")

# What an example asks of the messages of one call among several.
_BEGUN = 'messages[-1]["role"] == "assistant"'

# No words are sent where only the rest of a body is wanted.
_NOTHING = Message(role="user", content="")

# Long, for machines that have much to do: it takes well under a second.
_SECONDS = 120.0

_RUNNER = """
import json, runpy, sys
module = runpy.run_path(sys.argv[1])
cases = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))
found = [module["messages"](*completions, **inputs) for inputs, completions in cases]
sys.stdout.buffer.write(json.dumps(found, ensure_ascii=False).encode("utf-8", "surrogatepass"))
"""

_POSSESSIVE_CHECK = """
try:
    re.compile("a*+")
except re.error as error:
    raise ImportError("this module needs Python 3.11 or later, whose regular expressions it uses") from error
"""


def _write(shipment: Shipment) -> tuple[str]:
    """Return the text of the module."""
    frozen, template = shipment.frozen, shipment.frozen.template
    answer = template.answer
    # Of its texts it matters only whether there are any: many prompts have one and the same code.
    shape = replace(
        answer,
        labels=(),
        schema="",
        field="field" * bool(answer.field),
        marker="marker" * bool(answer.marker),
    )
    bundled = _bundled(shape, template.retrieval is not None)
    newest = bundled.is_possessive or any(map(is_possessive_pattern, answer.readers))
    data: dict[str, object] = {
        "NAME": frozen.name,
        "FINGERPRINT": frozen.fingerprint,
        "INPUTS": frozen.inputs,
        "CHOICE": _choice(template.calls[-1]),
        "CALLS": [_call(call) for call in template.calls],
        "ANSWER": _answer(answer),
    }
    if template.retrieval is not None:
        data |= {
            "RETRIEVAL": _retrieval(template.retrieval),
            "LOGARITHMS": _logarithms(template.retrieval),
        }
    data["PROVENANCE"] = shipment.provenance
    offered = ["NAME", "FINGERPRINT", "INPUTS", "PROVENANCE", "CHOICE", *OFFERED]
    if held := _in_grammars(frozen):
        data["HELD"] = held
        offered.insert(5, "HELD")
    parts = [
        "\n".join(_docstring(shipment, "3.11" if newest else "3.9")),
        "import json\nimport re",
        *([_POSSESSIVE_CHECK.strip()] if newest else []),
        f"__all__ = {literal(offered)}",
        *(f"{name} = {literal(value)}" for name, value in data.items()),
    ]
    return ("\n\n".join(parts) + "\n\n\n" + bundled.text,)


@lru_cache(maxsize=128)
def _bundled(answer: AnswerFormat, retrieves: bool) -> Bundle:
    return bundle(
        [("exporters._facade", name) for name in OFFERED],
        _facts(answer, retrieves=retrieves),
        given={**dict.fromkeys(_ABOVE, ""), **_tables()},
        # What it checks was checked when the prompt was frozen.
        skipped=("AnswerFormat.__post_init__",),
    )


@cache
def _tables() -> dict[str, str]:
    return {"NORMAL_TABLES": literal(normal_tables()), "CATEGORY_TABLE": literal(category_table())}


def _facts(answer: AnswerFormat, *, retrieves: bool) -> dict[str, FactsOf]:
    """Return what is known of the conditions in the code that reads answers of a format.

    A reader is called for JSON, for the kind of the answer, or because the format names it.
    """
    piped = answer.readers if set(answer.readers) & set(FINDING) else (*answer.readers, answer.kind)
    unnamed = "json" if answer.field or answer.kind == "json" else answer.kind
    finding = frozenset(piped) & frozenset(FINDING) if answer.readers else frozenset([unnamed])
    narrowing = frozenset(answer.readers) - frozenset(FINDING)
    known: dict[str, frozenset[object]] = {
        "self.kind": frozenset([answer.kind]),
        "self.field": frozenset([answer.field]),
        "self.marker": frozenset([answer.marker]),
        "self.readers": frozenset([answer.readers]),
        "FINDING": frozenset([FINDING]),
        "reader": frozenset(finding),
        "name": frozenset(piped),
    }
    kinds = frozenset(name.partition(":")[0] for name in narrowing)
    facts: dict[str, FactsOf] = {
        "answer": {"AnswerFormat": known},
        "narrowing": {"narrowed": {"name": frozenset(narrowing), "kind": frozenset(kinds)}},
    }
    if not retrieves:
        facts["prompt"] = {"PromptTemplate": {"self.retrieval": frozenset([None])}}
        facts["exporters._facade"] = {"_PROMPT": {"RETRIEVAL": frozenset([None])}}
    return facts


def _call(call: CallTemplate) -> dict[str, object]:
    return {
        "messages": [
            {"role": message.role, "parts": [_part(part) for part in message.parts]}
            for message in call.messages
        ],
        "parameters": dict(call.parameters),
        "response_format": response_format(call.constraint),
        "choice": _choice(call),
    }


def _part(part: str | Hole) -> str | dict[str, object]:
    if isinstance(part, str):
        return part
    told = {"neutralise": list(part.neutralise), "lead": part.lead, "tail": part.tail, "image": part.image}
    return {"name": part.name, **{name: value for name, value in told.items() if value}}


def _choice(call: CallTemplate) -> list[str] | None:
    return list(call.constraint.choice) if call.constraint and call.constraint.choice else None


def _in_grammars(frozen: FrozenPrompt) -> list[dict[str, object]]:
    """Return what held each call to its choice on a server that reads grammars; nothing where no such server did."""
    calls = frozen.template.calls
    if not _is_embedded(frozen) or not any(map(_choice, calls)):
        return []
    can: frozenset[Capability] = frozenset({"choice", "grammar"})
    held: list[dict[str, object]] = []
    for call in calls:
        asked = Request(messages=(_NOTHING,), constraint=call.constraint if _choice(call) else None)
        body = chat_body(asked, name="", can=can)
        held.append({name: body[name] for name in sorted(body) if name not in ("model", "messages")})
    return held


def _answer(answer: AnswerFormat) -> dict[str, object]:
    told = {
        "labels": answer.labels,
        "field": answer.field,
        "marker": answer.marker,
        "readers": answer.readers,
    }
    return {"kind": answer.kind, **{name: value for name, value in told.items() if value}}


def _retrieval(retrieval: Retrieval) -> dict[str, object]:
    pool = [[*shot.values, shot.reply] for shot in retrieval.pool]
    return {"inputs": list(retrieval.inputs), "shown": retrieval.shown, "pool": pool}


def _logarithms(retrieval: Retrieval) -> dict[float, float]:
    """Return the logarithms that the weights of words take, which depend on how many of the pool have a word."""
    texts = [compared(shot.values) for shot in retrieval.pool]
    found = Counter(word for text in texts for word in set(words(text)))
    ratios = sorted({(1 + len(texts)) / (1 + n) for n in found.values()})
    return {ratio: math.log(ratio) for ratio in ratios}


def _docstring(shipment: Shipment, version: str) -> Iterator[str]:
    """Yield the lines of the module's docstring."""
    frozen = shipment.frozen
    name, model = quoted_in_docstring(frozen.name), quoted_in_docstring(str(frozen.model.get("name", "")))
    yield f'"""{name}: a prompt and the reader of its answers, as they were scored{" with " * bool(model)}{model}.'
    yield ""
    yield f"Needs Python {version} or later and nothing else. To ask, with this file as `prompt.py`:"
    yield ""
    yield from _example(shipment)
    yield ""
    yield "`answer.text` is None where there is no answer, and `answer.outcome` says why."
    calls = frozen.template.calls
    constraints = [call.constraint for call in calls if call.constraint]
    if _in_grammars(frozen):
        yield "The server must hold the completion to one of CHOICE, as it did when the prompt was scored: in the words of"
        yield "llama.cpp by a grammar, which is HELD, and by a bias towards each token of the choice and the end of the turn."
    elif any(constraint.choice for constraint in constraints):
        yield "The server must hold the completion to one of CHOICE, as it did when the prompt was scored: the example says so"
        yield "in the words of vLLM, other servers take a grammar."
    if any(not constraint.choice for constraint in constraints):
        yield "The server must hold the completion to the schema of `response_format`, as it did when the prompt was scored."
    if any(map(_is_begun, calls)):
        yield "The last message is the start of the model's own turn: the endpoint must go on with it, and not begin anew."
    yield ""
    test = shipment.provenance.get("test")
    if isinstance(test, dict) and test.get("score") is not None:
        ends = (
            [] if test.get("lower") is None else [f"95 % interval {test['lower']:.3f} to {test['upper']:.3f}"]
        )
        told = [*ends, *([] if test.get("n") is None else [f"n {test['n']}"])]
        yield f"Score on the test: {test['score']:.3f}" + (f" ({', '.join(told)})" if told else "")
    yield f"Fingerprint: {frozen.fingerprint}"
    yield '"""'


def _example(shipment: Shipment) -> Iterator[str]:
    """Yield the lines of code that ask OpenAI's client.

    All options go into the body as they are, which is how they were sent when the prompt was scored: the client has
    arguments for some of them alone, and none for what servers such as vLLM add.
    """
    frozen = shipment.frozen
    calls = frozen.template.calls
    named = all(name.isidentifier() and not keyword.iskeyword(name) for name in frozen.inputs)
    texts = [
        f'{name}="..."' if named else f'{quoted_in_docstring(repr(name))}: "..."' for name in frozen.inputs
    ]
    given = f"dict({', '.join(texts)})" if named else f"{{{', '.join(texts)}}}"
    several = len(calls) > 1
    so_far, more = ("*completions", "*completions, ") if several else ("", "")
    lines = ["import prompt", "from openai import OpenAI", "", f"client, inputs = OpenAI(), {given}"]
    lines += ["completions = []", f"for _ in range({len(calls)}):"] if several else []
    asking = [
        f"options = prompt.parameters({so_far})",
        f"messages = prompt.messages({more}**inputs)",
        *_held(frozen, so_far),
        f'reply = client.chat.completions.create(model="{quoted_in_docstring(str(frozen.model.get("name", "...")))}", messages=messages, extra_body=options)',
        "choice = reply.choices[0]",
        # There is none where the model refused, or ran into its bound before it wrote any.
        'said = choice.message.content or ""',
        *_without_prefill(calls),
    ]
    asking += ["completions.append(said)"] if several else []
    lines += [f"    {line}" for line in asking] if several else asking
    lines += [
        'refused = choice.message.refusal or choice.finish_reason == "content_filter"',
        'reason = "refused" if refused else choice.finish_reason',
        f"answer = prompt.parse({so_far or 'said'}, finish_reason=reason)",
    ]
    yield from (f"    {line}".rstrip() for line in lines)


def _held(frozen: FrozenPrompt, so_far: str) -> Iterator[str]:
    """Yield what an example tells the server beside messages and parameters: what an answer is held to, and how it begins.

    Of several calls each is told what is its own.
    """
    calls, reads_grammars = frozen.template.calls, bool(_in_grammars(frozen))
    constraints = [call.constraint for call in calls if call.constraint]
    several = len(calls) > 1
    held: list[tuple[str, Sequence[str]]] = []
    if any(not constraint.choice for constraint in constraints):
        line = f'options["response_format"] = prompt.response_format({so_far})'
        held.append((f"prompt.response_format({so_far})", [line]))
    if any(constraint.choice for constraint in constraints):
        lines = [f'options["structured_outputs"] = {{"choice": prompt.choice({so_far})}}']
        if reads_grammars:
            lines = list(_grammar_and_bias("len(completions)" if several else "0", so_far))
        held.append((f"prompt.choice({so_far})", lines))
    # The server of the provider that reads grammars goes on with the last message of itself.
    if any(map(_is_begun, calls)) and not _is_embedded(frozen):
        line = "options.update(continue_final_message=True, add_generation_prompt=False)"
        held.append((_BEGUN, [line]))
    for condition, said in held:
        yield from (f"if {condition}:", *(f"    {line}" for line in said)) if several else said


def _grammar_and_bias(place: str, so_far: str) -> Iterator[str]:
    """Yield what holds llama.cpp to a choice; the server alone knows its tokens."""
    yield f"options.update(prompt.HELD[{place}])"
    yield 'end = client.get(str(client.base_url.join("../props")), cast_to=object)["eos_token"]'
    yield f'texts = {{"content": [*prompt.choice({so_far}), end], "add_special": False}}'
    yield 'told = client.post(str(client.base_url.join("../tokenize")), cast_to=object, body=texts)'
    yield f'options["logit_bias"] = [[token, {CHOICE_BIAS:g}] for token in sorted(set(told["tokens"]))]'


def _without_prefill(calls: Sequence[CallTemplate]) -> Iterator[str]:
    """Yield what takes the start of the model's turn away again, which some servers repeat."""
    line = 'said = said.removeprefix(messages[-1]["content"])'
    if any(map(_is_begun, calls)):
        yield from (f"if {_BEGUN}:", f"    {line}") if len(calls) > 1 else (line,)


def _is_begun(call: CallTemplate) -> bool:
    return call.messages[-1].role == "assistant"


def _is_embedded(frozen: FrozenPrompt) -> bool:
    return frozen.model.get("provider") == "embedded"


def _render(texts: Sequence[str], cases: Sequence[Case]) -> list[list[dict[str, Any]]]:
    """Return what the written module says, run by itself in another process."""
    asked = json.dumps([[dict(case.inputs), list(case.completions)] for case in cases], ensure_ascii=False)
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        path = Path(folder) / "prompt.py"
        path.write_text(texts[0], encoding="utf-8")
        try:
            run = subprocess.run(  # noqa: S603  # our own program, and the module that we wrote
                [sys.executable, "-I", "-S", "-B", "-c", _RUNNER, str(path)],
                input=asked.encode("utf-8", "surrogatepass"),
                capture_output=True,
                timeout=_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", b"") or b""
            last = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise OptimizerError(f"the written module did not run: {last or error}") from error
    found: list[list[dict[str, Any]]] = json.loads(run.stdout.decode("utf-8", "surrogatepass"))
    return found


python_module = Exporter(suffix=".py", write=_write, carries=EVERYTHING, render=_render)
