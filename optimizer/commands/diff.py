"""`diff A B`: how two prompts differ, word by word, and in score where both were asked about the same examples."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.commands import AsJson, command, printable, say, say_json

if TYPE_CHECKING:
    from optimizer.candidate import DemonstrationSet
    from optimizer.differences import Change, Edit, MessageDifference, Reordering
    from optimizer.flips import Flips
    from optimizer.viewed import Viewed
    from optimizer.viewing import View

# Between a study and the name of one of its prompts.
_MARK = "#"

# How pieces are told apart without colour, as `git diff --word-diff` does, and with it.
_BRACKETS = {"same": ("", ""), "deleted": ("[-", "-]"), "inserted": ("{+", "+}")}
_COLOURS = {"same": "", "deleted": "red", "inserted": "green"}

# Lines of an unchanged message that are shown; what matters is what changed.
_MOST_LINES = 3

Piece = tuple[str, str]  # a text and the kind of its edit

_PROMPT = (
    "A prompt: a frozen prompt or its study, or STUDY#N: N is a trial, `baseline`, `winner` or `wording`."
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two prompts, and all in which they differ.

    Attributes:
        names: Instruction, style, format and model where these are not the same.
        flips: Their scores on the same examples; None where there are none.
    """

    a: "Viewed"
    b: "Viewed"
    names: "tuple[Change, ...]"
    messages: "tuple[MessageDifference, ...]"
    demonstrations: "Reordering"
    settings: "tuple[Change, ...]"
    flips: "Flips | None"

    @property
    def differ(self) -> bool:
        """Return whether they are not one and the same prompt."""
        return self.a.template.fingerprint != self.b.template.fingerprint


@command
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=_PROMPT)],
    second: Annotated[str, typer.Argument(metavar="B", help=_PROMPT)],
    task: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The task, where no study.yaml lies beside the results."),
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if the prompts differ, as `git diff` does.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how two prompts differ: messages word by word, demonstrations, settings, and scores on the same examples.

    What the first alone has is shown as [-gone-], what the second alone has as {+new+}, in colour on a terminal.
    """
    with ExitStack() as stack:
        (a, view), (b, _) = (_named(each, task, stack) for each in (first, second))
        found = _compared(a, b, view)
        if as_json:
            say_json(_document(found))
        else:
            _show(found)
    if exit_code and found.differ:
        raise typer.Exit(1)


def _named(text: str, task: Path | None, stack: ExitStack) -> "tuple[Viewed, View]":
    """Return the prompt that an argument means: that of a file, or one of a study by its name behind a mark.

    Raises:
        InputError: When there is none.
    """
    from optimizer.viewing import open_view

    path, mark, name = text.rpartition(_MARK)
    if not mark or Path(text).exists():
        path, name = text, ""
    view = stack.enter_context(open_view(Path(path), task=task))
    return (view.prompt(name) if name else view.chosen()), view


def _compared(a: "Viewed", b: "Viewed", view: "View") -> Comparison:
    from optimizer.differences import Change, message_differences, reordering, setting_changes
    from optimizer.flips import flips_of
    from optimizer.viewed import shared

    pairs: tuple[tuple[str, object, object], ...] = (
        ("instruction", _instruction(a), _instruction(b)),
        ("demonstrations", _set(a.demonstrations), _set(b.demonstrations)),
        ("style", a.style, b.style),
        ("format", a.format, b.format),
        ("model", a.model or None, b.model or None),
    )
    return Comparison(
        a=a,
        b=b,
        names=tuple(
            Change(name=name, before=before, after=after)
            for name, before, after in pairs
            if before != after and None not in (before, after)
        ),
        messages=message_differences(a.template, b.template),
        demonstrations=reordering(a.demonstration_ids, b.demonstration_ids),
        settings=setting_changes(a.template, b.template),
        flips=flips_of(a, b, view) if shared(a, b) else None,
    )


def _instruction(viewed: "Viewed") -> str | None:
    return None if viewed.instruction is None else viewed.instruction.id


def _set(shown: "DemonstrationSet | None") -> str | None:
    return None if shown is None else shown.id


def _document(found: Comparison) -> dict[str, object]:
    from optimizer.evidence import comparison_figures

    shown = found.demonstrations
    return {
        "differ": found.differ,
        "a": {"name": found.a.name, "fingerprint": found.a.template.fingerprint},
        "b": {"name": found.b.name, "fingerprint": found.b.template.fingerprint},
        "messages": [
            {
                "call": each.call,
                "role": each.role,
                "differs": each.differs,
                "edits": [{"kind": edit.kind, "text": edit.text} for edit in each.edits],
            }
            for each in found.messages
        ],
        "demonstrations": {
            "added": list(shown.added),
            "removed": list(shown.removed),
            "moved": list(shown.moved),
            "kept": shown.kept,
        },
        "changes": {
            change.name: {"a": change.before, "b": change.after} for change in (*found.names, *found.settings)
        },
        "difference": None
        if found.flips is None
        else {"split": found.flips.split or None, **comparison_figures(found.flips.comparison)},
    }


def _show(found: Comparison) -> None:
    say(f"A {found.a.name}")
    say(f"B {found.b.name}")
    if not found.differ:
        say("They are one and the same prompt.")
        return
    for change in found.names:
        say(f"{change.name}: {change.before} -> {change.after}")
    for line in _demonstration_lines(found.demonstrations):
        say(line)
    for change in found.settings:
        say(f"{change.name}: {_value(change.before)} -> {_value(change.after)}")
    several = max(message.call for message in found.messages) > 0
    for message in found.messages:
        say()
        call = f"call {message.call + 1}, " if several else ""
        say(f"{call}{message.role}{_all_of_it(message)}")
        for pieces in _message_lines(message):
            _print([("  ", "same"), *pieces])
    say()
    for line in _difference_lines(found.flips):
        say(line)


def _all_of_it(message: "MessageDifference") -> str:
    kinds = {edit.kind for edit in message.edits}
    told = {"deleted": ", in A alone", "inserted": ", in B alone", "same": ", the same"}
    return told[kinds.pop()] if len(kinds) == 1 else ""


def _demonstration_lines(shown: "Reordering") -> Iterator[str]:
    for name in ("added", "removed", "moved"):
        ids: Sequence[str] = getattr(shown, name)
        if ids:
            yield f"demonstrations {name}: {', '.join(ids)}"
    if shown.differs and shown.kept:
        yield f"demonstrations kept: {shown.kept}"


def _value(value: object) -> str:
    import json

    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _message_lines(message: "MessageDifference") -> Iterator[list[Piece]]:
    """Yield the lines of a message as pieces; of an unchanged one its first."""
    lines = _lines(message.edits)
    if message.differs or len(lines) <= _MOST_LINES:
        yield from lines
        return
    yield from lines[:_MOST_LINES]
    yield [(f"… {len(lines) - _MOST_LINES} more lines", "same")]


def _lines(edits: "Sequence[Edit]") -> list[list[Piece]]:
    """Return pieces line by line; a line break within a change ends the change and begins it anew."""
    lines: list[list[Piece]] = [[]]
    for edit in edits:
        for k, text in enumerate(edit.text.split("\n")):
            if k:
                # A line break that is new or gone has no text that could be marked.
                if edit.kind != "same":
                    gone = lines[-1].pop()[0] if lines[-1] and lines[-1][-1][1] == edit.kind else ""
                    lines[-1].append((f"{gone}⏎", edit.kind))
                lines.append([])
            if text:
                lines[-1].append((text, edit.kind))
    return lines


def _print(pieces: Sequence[Piece]) -> None:
    """Print a line on stdout, what changed in brackets, and on a terminal in colour; `NO_COLOR` is respected."""
    marked = [(text.join(_BRACKETS[kind]), kind) for text, kind in pieces]
    if not sys.stdout.isatty():
        say("".join(text for text, _ in marked))
        return
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(*((printable(text), _COLOURS[kind]) for text, kind in marked))
    Console(highlight=False, soft_wrap=True).print(line)


def _difference_lines(flips: "Flips | None") -> Iterator[str]:
    import textwrap

    from optimizer.fliptext import difference_in_words

    if flips is None:
        yield "No example has a score for both, so nothing is known of which is better."
        return
    for sentence in difference_in_words(flips):
        yield from textwrap.wrap(sentence, width=100)
