"""How two prompts differ: their messages word by word, what they show, and how they are decoded and read.

Messages are paired call by call, those of one role that share the most words; what has no partner is wholly new or
gone. Words are compared with the white space between them, so that the edits of a message make up both texts exactly.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from optimizer.completion import constraint_to_dict
from optimizer.digest import sha256
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

Kind = Literal["same", "deleted", "inserted"]

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")

# A partner without a word in common beats none, as long as the role is the same.
_SAME_ROLE = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """A piece of a text, and whether both texts have it, the first alone, or the second alone."""

    kind: Kind
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageDifference:
    """A message of both prompts, or of one of them.

    Attributes:
        call: Which call it belongs to, from 0.
        role: Who says it.
        edits: Its pieces, in order.
    """

    call: int
    role: str
    edits: tuple[Edit, ...]

    @property
    def differs(self) -> bool:
        """Return whether anything of it is not in both."""
        return any(edit.kind != "same" for edit in self.edits)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reordering:
    """What became of a list of ids.

    Attributes:
        added: Those of the second list alone, in its order.
        removed: Those of the first list alone, in its order.
        moved: Those of both that do not keep their order among the others of both.
        kept: How many of both keep it.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]
    kept: int

    @property
    def differs(self) -> bool:
        """Return whether the lists are not the same."""
        return bool(self.added or self.removed or self.moved)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One setting that is not the same in both; None where a prompt has none such."""

    name: str
    before: object
    after: object


def words(message: MessageTemplate) -> list[str]:
    """Return a message as words and white space; a hole is one word, in angle quotes, with its lead and tail.

    The content of an image is cut short and told by its digest, since most begin alike.
    """
    found: list[str] = []
    for part in message.parts:
        if isinstance(part, Hole):
            found += [*_WORDS.findall(part.lead), f"‹{_shown(part)}›", *_WORDS.findall(part.tail)]
        else:
            found += _WORDS.findall(part)
    return found


def _shown(hole: Hole) -> str:
    """Return what a hole is called, with a digest where its name is cut short."""
    if hole.shown == hole.name:
        return hole.name
    return f"{hole.shown} {sha256(hole.name.encode('utf-8', 'surrogatepass'))[:8]}"


def edits(a: Sequence[str], b: Sequence[str]) -> tuple[Edit, ...]:
    """Return what makes the words of b from those of a: all but the inserted make a, all but the deleted make b."""
    found: list[tuple[Kind, str]] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        before, after = "".join(a[i1:i2]), "".join(b[j1:j2])
        if tag == "equal":
            found.append(("same", before))
        else:
            found += [("deleted", before), ("inserted", after)]
    return tuple(_merged(found))


def _merged(pieces: Sequence[tuple[Kind, str]]) -> Iterator[Edit]:
    """Yield pieces, those between two samenesses as one deletion and one insertion.

    White space alone between two changes is no sameness: it would cut a changed phrase into changed words.
    """
    before = after = ""
    for k, (kind, text) in enumerate(pieces):
        inner = 0 < k < len(pieces) - 1
        if kind == "same" and not (inner and text.isspace()):
            yield from _changed(before, after)
            before = after = ""
            yield Edit(kind="same", text=text)
        else:
            before += "" if kind == "inserted" else text
            after += "" if kind == "deleted" else text
    yield from _changed(before, after)


def _changed(before: str, after: str) -> Iterator[Edit]:
    if before:
        yield Edit(kind="deleted", text=before)
    if after:
        yield Edit(kind="inserted", text=after)


def message_differences(a: PromptTemplate, b: PromptTemplate) -> tuple[MessageDifference, ...]:
    """Return every message of both prompts, in order, call by call."""
    found: list[MessageDifference] = []
    for number in range(max(len(a.calls), len(b.calls))):
        first, second = (_messages(each, number) for each in (a, b))
        for before, after in _paired(first, second):
            one, other = ([] if each is None else words(each) for each in (before, after))
            there = before or after
            assert there is not None  # a pair has one at least
            found.append(MessageDifference(call=number, role=there.role, edits=edits(one, other)))
    return tuple(found)


def _messages(template: PromptTemplate, number: int) -> tuple[MessageTemplate, ...]:
    return template.calls[number].messages if number < len(template.calls) else ()


def _paired(
    a: Sequence[MessageTemplate], b: Sequence[MessageTemplate]
) -> Iterator[tuple[MessageTemplate | None, MessageTemplate | None]]:
    """Yield the messages of both in order, those that belong together as pairs."""
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(a[i1:i2], b[j1:j2], strict=True)
        else:
            yield from _aligned(a[i1:i2], b[j1:j2])


def _aligned(
    a: Sequence[MessageTemplate], b: Sequence[MessageTemplate]
) -> Iterator[tuple[MessageTemplate | None, MessageTemplate | None]]:
    """Yield two runs of messages as the pairs that are most alike in sum; the later of equally good partners."""
    gain = [[_likeness(one, other) for other in b] for one in a]
    # best[i][j]: the sum that the messages from i and from j on come to.
    best = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], gain[i][j] + best[i + 1][j + 1])
    i = j = 0
    while i < len(a) and j < len(b):
        if best[i][j] == best[i][j + 1]:
            yield None, b[j]
            j += 1
        elif best[i][j] == best[i + 1][j]:
            yield a[i], None
            i += 1
        else:
            yield a[i], b[j]
            i, j = i + 1, j + 1
    yield from ((each, None) for each in a[i:])
    yield from ((None, each) for each in b[j:])


def _likeness(one: MessageTemplate, other: MessageTemplate) -> float:
    if one.role != other.role:
        return 0.0
    return _SAME_ROLE + SequenceMatcher(None, words(one), words(other), autojunk=False).ratio()


def reordering(before: Sequence[str], after: Sequence[str]) -> Reordering:
    """Return what became of a list of ids; the fewest that can have been moved are called moved."""
    first, second = set(before), set(after)
    ours, theirs = [x for x in before if x in second], [x for x in after if x in first]
    blocks = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    still = {theirs[block.b + k] for block in blocks for k in range(block.size)}
    return Reordering(
        added=tuple(x for x in after if x not in first),
        removed=tuple(x for x in before if x not in second),
        moved=tuple(x for x in theirs if x not in still),
        kept=len(still),
    )


def setting_changes(a: PromptTemplate, b: PromptTemplate) -> tuple[Change, ...]:
    """Return what differs in number of calls, parameters, constraints, broken control tokens, reader and retrieval."""
    first, second = _settings(a), _settings(b)
    names = dict.fromkeys([*first, *second])
    found = (Change(name=name, before=first.get(name), after=second.get(name)) for name in names)
    return tuple(change for change in found if change.before != change.after)


def _settings(template: PromptTemplate) -> Mapping[str, object]:
    several = len(template.calls) > 1
    settings: dict[str, object] = {"calls": len(template.calls)}
    for number, call in enumerate(template.calls):
        settings |= _call_settings(call, f"call {number + 1} " if several else "")
    settings |= {f"reader {name}": value for name, value in template.answer.to_dict().items()}
    if template.retrieval is not None:
        settings |= {f"retrieval {name}": value for name, value in template.retrieval.to_dict().items()}
    return settings


def _call_settings(call: CallTemplate, where: str) -> Mapping[str, object]:
    settings: dict[str, object] = {f"{where}{name}": value for name, value in call.parameters}
    settings |= {f"{where}constraint": constraint_to_dict(call.constraint)}
    return {**settings, f"{where}control tokens broken": _broken(call)}


def _broken(call: CallTemplate) -> object:
    """Return the control tokens that are broken in what fills a call, by hole where that is not the same for all of them."""
    holes = [part for each in call.messages for part in each.parts if isinstance(part, Hole)]
    found = {hole.name: hole.neutralise for hole in holes if not hole.image}
    if len(set(found.values())) > 1:
        return {name: list(tokens) for name, tokens in found.items()}
    return next((list(tokens) for tokens in found.values() if tokens), None)
