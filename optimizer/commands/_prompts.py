"""A frozen prompt as lines of text."""

from collections.abc import Iterator
from typing import Any

from optimizer.commands._tables import evidence_lines
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole

# Trials shown of a history, best first: enough to see what was near the winner.
_SHOWN = 5


def prompt_lines(frozen: FrozenPrompt) -> Iterator[str]:
    """Yield messages, reading, evidence and the best trials."""
    yield f"{frozen.name}: style {frozen.style}, format {frozen.format}, {len(frozen.demonstration_ids)} demonstrations"
    yield f"for {frozen.model['provider']}:{frozen.model['name']}, task {frozen.task['name']}"
    yield f"fingerprint {frozen.fingerprint}"
    if frozen.template.retrieval is not None:
        yield frozen.template.retrieval.in_words
    for k, call in enumerate(frozen.template.calls):
        yield from _call_lines(call, f" {k + 1}" if len(frozen.template.calls) > 1 else "")
    yield ""
    yield from evidence_lines(frozen.evidence)
    yield ""
    yield from _history_lines(frozen)


def _call_lines(call: CallTemplate, number: str) -> Iterator[str]:
    settings = ", ".join(f"{name} {value}" for name, value in call.parameters)
    yield ""
    yield f"call{number}" + (f" ({settings})" if settings else "")
    for message in call.messages:
        text = "".join(
            f"{part.lead}‹{part.shown}›{part.tail}" if isinstance(part, Hole) else part
            for part in message.parts
        )
        first, *rest = text.splitlines() or [""]
        yield f"  {message.role + ':':<11}{first}"
        yield from (f"  {'':<11}{line}" for line in rest)
    if call.constraint is not None:
        held = (
            "one of " + ", ".join(call.constraint.choice)
            if call.constraint.choice
            else call.constraint.json_schema
        )
        yield f"  {'answer is':<11}{held}"


def _history_lines(frozen: FrozenPrompt) -> Iterator[str]:
    scored: list[dict[str, Any]] = [dict(row) for row in frozen.history if row.get("score") is not None]
    ranked = sorted(scored, key=lambda row: (-row["score"], row["trial"]))
    yield f"history: {len(frozen.history)} trials; the best"
    for row in ranked[:_SHOWN]:
        parts = f"{row['instruction_id']} {row['demonstrations_id']} {row['style']} {row['format']}"
        yield f"  {row['trial']:>4} {row['stage']:<9}{row['score']:.3f} on {row['n']:<4} {parts}"
