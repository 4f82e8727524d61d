"""A frozen prompt as a file of another tool, proven to say the same, or refused.

What was written is read again, filled with every example at hand and with inputs that are made to break it, and its
messages are compared with the prompt's own. What differs is a reason to refuse, never a detail.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optimizer.dataset import Example
from optimizer.errors import InputError, Problem
from optimizer.exporters import (
    CONDITIONAL,
    ESSENTIAL,
    EXPORTERS,
    Case,
    Exporter,
    Feature,
    LossyExportError,
    Precondition,
    Shipment,
    Wording,
    features,
    input_preconditions,
)
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import PromptTemplate

# Inputs that text formats trip over: their braces, tags, escapes, separators, role lines and line ends, each where it
# begins a text, ends it, or is all of it.
_SIGNS = (
    "{", "}", "{{", "}}", "{{{", "{{ x }}", "{%", "{% raw %}", "{#", "#}", "{{{{raw}}}}", "{{/if}}", '{{role "system"}}',
    "<<<dotprompt:role:system>>>", "$", "${x}", "$x", "${env:HOME}", "%s", "%(x)s", "\\", "\\{{", "\\n", "'", '"', '"""',
    "`", "---", "---\n", "+++", "system:", "user:\n", "\nassistant:\n", "# user", "file://x", "package:x", "<b>&amp;</b>",
    "</script>", "\r", "\r\n", "\n", "\n\n", "\t", " ", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\u200b", "\ufeff",
    "\u202e", "é", "e\u0301", "ﬁ", "😀", "\x00", "null", "NaN", "2024-01-01", "- a", "a: b", "[1]", "@x", "!x", "&x", "*x",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """What was written.

    Attributes:
        texts: Of the files; one for most formats.
        preconditions: What inputs must be like for the messages to be those that were scored.
        losses: What was left out, as it was allowed to be.
        n_cases: How many fillings were compared, all of them alike; 0 where the format holds no messages.
    """

    texts: tuple[str, ...]
    preconditions: tuple[str, ...]
    losses: tuple[str, ...]
    n_cases: int


def export(
    frozen: FrozenPrompt,
    name: str,
    examples: Sequence[Example] = (),
    *,
    wording: Wording | None = None,
    allow_lossy: bool = False,
) -> Export:
    """Return a frozen prompt in a format of the folder, compared with itself.

    Args:
        frozen: The prompt.
        name: An exporter.
        examples: Those it was judged on, or rows it is to be sent; they are compared as well.
        wording: What the prompt was made of; formats that lay it out anew need it.
        allow_lossy: Whether a constraint, a start of the model's own turn, or characters may be left out.

    Raises:
        LossyExportError: When the format cannot carry the prompt, with every reason, or when its messages differ.
        InputError: When the format needs rows or the wording, and there are none.
        PluginError: When there is no such exporter.
    """
    exporter = EXPORTERS[name]
    _check_material(exporter, name, examples, wording)
    lacking = _lacking(frozen, name)
    reasons = [f"{reason}, which {name} has no words for" for reason in lacking.values()]
    reasons += [f"{problem}, which {name} cannot carry" for problem in exporter.problems(frozen)]
    essential = bool(set(lacking) & set(ESSENTIAL))
    # Lines of requests have no place to say what they lack.
    if reasons and (essential or exporter.of_rows or not allow_lossy):
        reasons += [] if essential else _broken(frozen, name, examples)
        avoidable = not essential and not exporter.of_rows
        raise LossyExportError(reasons, instead=carriers(frozen, examples), avoidable=avoidable)
    conditions = _conditions(frozen, name)
    shipment = Shipment(
        frozen=frozen,
        wording=wording,
        examples=tuple(examples),
        preconditions=tuple(condition.text for condition in conditions),
    )
    if exporter.structural:
        return _written(exporter, shipment, reasons, 0)
    texts = tuple(exporter.write(shipment))
    cases = [(_named(example), Case(inputs=_inputs(frozen, example))) for example in examples]
    hostile = () if exporter.of_rows else hostile_cases(frozen)
    cases += [(_shown(case), case) for case in hostile if _all_hold(conditions, case)]
    differing = list(_differences(frozen, exporter, texts, cases, conditions))[:1]
    if differing and not allow_lossy:
        others = [each for each in carriers(frozen, examples) if each != name]
        raise LossyExportError(differing, instead=others, avoidable=True)
    return _written(exporter, shipment, [*reasons, *differing], len(cases))


def carriers(frozen: FrozenPrompt, examples: Sequence[Example] = ()) -> list[str]:
    """Return the formats that carry all of a prompt for all of some examples, in the order of their names."""
    return [
        name
        for name in EXPORTERS
        if not EXPORTERS[name].structural
        and not _lacking(frozen, name)
        and not list(EXPORTERS[name].problems(frozen))
        and not list(_broken(frozen, name, examples))
    ]


def _lacking(frozen: FrozenPrompt, name: str) -> dict[Feature, str]:
    """Return what a format has no words for, each with a clause that says so."""
    carried = EXPORTERS[name].carries | set(CONDITIONAL)
    return {feature: reason for feature, reason in features(frozen).items() if feature not in carried}


def _conditions(frozen: FrozenPrompt, name: str) -> list[Precondition]:
    exporter = EXPORTERS[name]
    return [*input_preconditions(frozen, exporter.carries), *exporter.preconditions(frozen)]


def _broken(frozen: FrozenPrompt, name: str, examples: Sequence[Example]) -> Iterator[str]:
    """Yield, for each precondition that some example does not keep, which it is and the first such example."""
    for condition in _conditions(frozen, name):
        found = next((each for each in examples if not condition.holds(_inputs(frozen, each))), None)
        if found is not None:
            yield f"{_named(found)}: it does not keep the precondition of {name} that {condition.text}"


def _check_material(
    exporter: Exporter, name: str, examples: Sequence[Example], wording: Wording | None
) -> None:
    if exporter.of_rows and not examples:
        message = f"{name} holds the requests of rows, and there are none; name the task or a file of rows"
        raise InputError([Problem(file="", message=message)])
    if exporter.structural and wording is None:
        message = (
            f"{name} lays the prompt out anew from its wording, which is in instructions.jsonl beside the prompt and "
            "in the task; neither was found: name the task"
        )
        raise InputError([Problem(file="", message=message)])


def hostile_cases(frozen: FrozenPrompt) -> Iterator[Case]:
    """Yield fillings that are made to break a format: signs of its syntax, and inputs that look like places of inputs."""
    names, n_calls = frozen.inputs, len(frozen.template.calls)
    placeholders = [form % name for name in names for form in ("{%s}", "{{%s}}", "{{ %s }}", "$%s")]
    tokens = sorted({token for hole in frozen.template.holes() for token in hole.neutralise})
    signs = (*_SIGNS, *placeholders, *tokens)
    texts = ["", *signs, *(f"some {sign} inside" for sign in signs), *(f"{sign}{sign}" for sign in signs)]
    for k, text in enumerate(texts):
        # Each input holds another sign; what two of them do together is as hostile as one of them twice.
        inputs = {name: texts[(k + 7 * n) % len(texts)] for n, name in enumerate(names)}
        for n in range(n_calls):
            yield Case(inputs=inputs, completions=(text,) * n)


def _written(exporter: Exporter, shipment: Shipment, losses: Sequence[str], n_cases: int) -> Export:
    told = replace(shipment, losses=tuple(losses))
    return Export(
        texts=tuple(exporter.write(told)),
        preconditions=told.preconditions,
        losses=told.losses,
        n_cases=n_cases,
    )


def _differences(
    frozen: FrozenPrompt,
    exporter: Exporter,
    texts: Sequence[str],
    cases: Sequence[tuple[str, Case]],
    conditions: Sequence[Precondition],
) -> Iterator[str]:
    """Yield, for each case whose messages are not the prompt's own, which it is and where they part."""
    found = _rendered(frozen, exporter, texts, [case for _, case in cases])
    for (name, case), messages in zip(cases, found, strict=True):
        own = frozen.messages(*case.completions, **case.inputs)
        if messages == own:
            continue
        broken = [condition.text for condition in conditions if not condition.holds(case.inputs)]
        why = f"; it does not keep the precondition that {broken[0]}" if broken else ""
        yield f"{name}: {_parting(own, messages)}{why}"


def _rendered(
    frozen: FrozenPrompt, exporter: Exporter, texts: Sequence[str], cases: Sequence[Case]
) -> list[list[dict[str, Any]]]:
    if exporter.render is not None:
        return exporter.render(texts, cases)
    assert exporter.read is not None  # a format without both is structural
    template = exporter.read(texts[0], frozen.inputs)
    return [_filled(template, case) for case in cases]


def _filled(template: PromptTemplate, case: Case) -> list[dict[str, Any]]:
    # A file holds the inputs that its messages use; the prompt itself has no others.
    given = {name: text for name, text in case.inputs.items() if name in template.inputs}
    return [message.to_dict() for message in template.request(given, case.completions).messages]


def _parting(own: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> str:
    if len(own) != len(found):
        return f"expected {len(own)} messages, found {len(found)}"
    for k, (mine, other) in enumerate(zip(own, found, strict=True)):
        if mine["role"] != other["role"]:
            return f"message {k + 1}: expected the role {mine['role']}, found {other['role']}"
        if mine != other:
            return f"message {k + 1}: {_first_difference(str(mine['content']), str(other['content']))}"
    return "the messages differ"


def _first_difference(mine: str, other: str) -> str:
    place = next(
        (n for n, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), min(len(mine), len(other))
    )
    shown = (repr(text[max(0, place - 10) : place + 20]) for text in (mine, other))
    return f"from character {place + 1} on, expected {next(shown)}, found {next(shown)}"


def _all_hold(conditions: Sequence[Precondition], case: Case) -> bool:
    return all(condition.holds(case.inputs) for condition in conditions)


def _inputs(frozen: FrozenPrompt, example: Example) -> dict[str, str]:
    return {name: example.values[name] for name in frozen.inputs}


def _named(example: Example) -> str:
    return f"example {example.id}"


def _shown(case: Case) -> str:
    return f"inputs {dict(case.inputs)!r}"
