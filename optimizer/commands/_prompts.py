"""A prompt as lines of text: as it is sent, and as it was frozen."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from optimizer.commands._tables import evidence_lines
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, PromptTemplate

if TYPE_CHECKING:
    from optimizer.completion import Constraint, Message

# Trials shown of a history, best first: enough to see what was near the winner.
_SHOWN = 5


def prompt_lines(frozen: FrozenPrompt) -> Iterator[str]:
    """Yield messages, reading, evidence and the best trials."""
    yield f"{frozen.name}: style {frozen.style}, format {frozen.format}, {len(frozen.demonstration_ids)} demonstrations"
    yield f"for {frozen.model['provider']}:{frozen.model['name']}, task {frozen.task['name']}"
    yield from template_lines(frozen.template)
    yield ""
    yield from evidence_lines(frozen.evidence)
    yield ""
    yield from _history_lines(frozen)


def template_lines(template: PromptTemplate) -> Iterator[str]:
    """Yield fingerprint, retrieval, and every call with its messages."""
    yield f"fingerprint {template.fingerprint}"
    if template.retrieval is not None:
        yield template.retrieval.in_words
    for k, call in enumerate(template.calls):
        yield from _call_lines(call, f" {k + 1}" if len(template.calls) > 1 else "")


def message_lines(role: str, text: str) -> Iterator[str]:
    """Yield who says it, and its lines below each other."""
    first, *rest = text.splitlines() or [""]
    yield f"  {role + ':':<11}{first}"
    yield from (f"  {'':<11}{line}" for line in rest)


def sent_lines(message: "Message") -> Iterator[str]:
    """Yield a message as it was sent; of an image its address, cut short."""
    images = "".join(f"‹image {url[:60]}›\n" for url in message.images)
    yield from message_lines(message.role, images + message.content)


def constraint_text(constraint: "Constraint | None") -> str:
    """Return what an answer is held to, "" where it is free."""
    if constraint is None:
        return ""
    return f"one of {', '.join(constraint.choice)}" if constraint.choice else str(constraint.json_schema)


def _call_lines(call: CallTemplate, number: str) -> Iterator[str]:
    settings = ", ".join(f"{name} {value}" for name, value in call.parameters)
    yield ""
    yield f"call{number}" + (f" ({settings})" if settings else "")
    for message in call.messages:
        text = "".join(
            f"{part.lead}‹{part.shown}›{part.tail}" if isinstance(part, Hole) else part
            for part in message.parts
        )
        yield from message_lines(message.role, text)
    if call.constraint is not None:
        yield f"  {'answer is':<11}{constraint_text(call.constraint)}"


def _history_lines(frozen: FrozenPrompt) -> Iterator[str]:
    scored: list[dict[str, Any]] = [dict(row) for row in frozen.history if row.get("score") is not None]
    ranked = sorted(scored, key=lambda row: (-row["score"], row["trial"]))
    yield f"history: {len(frozen.history)} trials; the best"
    for row in ranked[:_SHOWN]:
        parts = f"{row['instruction_id']} {row['demonstrations_id']} {row['style']} {row['format']}"
        yield f"  {row['trial']:>4} {row['stage']:<9}{row['score']:.3f} on {row['n']:<4} {parts}"
