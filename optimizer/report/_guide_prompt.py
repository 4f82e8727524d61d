"""The sections of the guide on the prompt: what it sends, and how it is put to use."""

import json
from collections.abc import Iterator

from optimizer.frozen import FrozenPrompt
from optimizer.report._markdown import block, code, sentence, sentences
from optimizer.report._messages import begins_turn, calls
from optimizer.report._telling import Teller


def prompt_section(frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    """Yield every message in full, the settings, what the answer is held to and how it is read."""
    shown = calls(frozen.template, say)
    for k, call in enumerate(shown, start=1):
        if len(shown) > 1:
            yield f"### {sentence(say.t('Call {n}', n=k))}"
        for role, parts in call.messages:
            yield f"**{sentence(role)}**"
            yield block("".join(part.text for part in parts))
        facts = [
            *([say.t("Settings: {settings}.", settings=call.settings)] if call.settings else []),
            *call.notes,
        ]
        if facts:
            yield sentences(facts)
        if call.choice:
            choices = ", ".join(map(code, call.choice))
            yield f"{sentence(say.t('The server must hold the answer to one of:'))} {choices}"
        if call.json_schema:
            yield sentence(say.t("The server must hold the answer to this JSON Schema:"))
            yield block(call.json_schema, "json")


def use_section(frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    """Yield the code that loads the prompt, and what whoever serves the model must do for it."""
    yield sentence(
        say.t(
            "The prompt is in prompt.json, beside the study. Loading it takes the standard library of Python alone; send "
            "what it makes with any client, and have it read the answer."
        )
    )
    yield block(_code(frozen), "python")
    needed = list(_needed(frozen, say))
    if needed:
        yield sentences(needed)
    if frozen.capabilities:
        named = ", ".join(frozen.capabilities)
        yield sentence(say.t("The model must be capable of: {capabilities}.", capabilities=named))
    yield sentence(say.t("For other tools, the command export writes it in their formats."))


def _needed(frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    """Yield what is part of the prompt that was scored and stands in no message."""
    if any(call.constraint is not None for call in frozen.template.calls):
        yield say.t(
            "The server must hold the answer to request.constraint (structured outputs, a grammar), as it did when the "
            "prompt was scored. Without it this is another prompt, which was never scored."
        )
    if any(map(begins_turn, frozen.template.calls)):
        yield say.t(
            "The last message is the beginning of the model's own turn: the server must continue it, and not answer it. "
            "The answer that is read is what comes after it."
        )


def _code(frozen: FrozenPrompt) -> str:
    inputs = ", ".join(f"{json.dumps(name, ensure_ascii=True)}: ..." for name in frozen.inputs)
    given = [f"answer_{k}" for k in range(1, len(frozen.template.calls) + 1)]
    lines = [
        "from optimizer.frozen import FrozenPrompt",
        "",
        'prompt = FrozenPrompt.load("prompt.json")',
        f"inputs = {{{inputs}}}",
    ]
    for k, (name, call) in enumerate(zip(given, frozen.template.calls, strict=True)):
        before = "".join(f"{each}, " for each in given[:k])
        lines.append(f"request = prompt.request({before}**inputs)")
        if call.constraint is not None:
            lines.append("# The server must hold the answer to request.constraint.")
        if begins_turn(call):
            lines.append(
                "# The last of request.messages begins the model's turn: the server must continue it."
            )
        lines.append(
            f"{name} = ...  # the text that the model answers to request.messages, with request.parameters"
        )
    lines.append(f"print(prompt.parse({', '.join(given)}).text)")
    return "\n".join(lines)
