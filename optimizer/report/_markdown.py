"""Markdown in which text from data is inert: it starts no markup, no link, no HTML, and ends no table cell."""

import re
import unicodedata
from collections.abc import Sequence

# Controls, formatting characters such as those that turn text round, halves of characters, separators of lines and
# paragraphs: none of them shows what it does.
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_LONGEST = 160  # characters of a quote

# What may start markup within a line, in CommonMark and in the dialects that add tables, links, formulas and mentions.
_MARKUP = re.compile(r"[\\`*_{}\[\]<>|~&@$^#!]|(?<=\bwww)\.|:(?=//)|(?<=mailto):|(?<=xmpp):", re.IGNORECASE)
# What starts a list or a rule, or underlines a heading, at the beginning of one.
_BEGINNING = re.compile(r"^(?:([-+=])(?=[-+=\s]|$)|(\d+)([.)])(?=\s|$))")


def plain(text: str) -> str:
    """Return a text with what would not show what it does replaced; tabs and line feeds stay."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _UNSHOWN else "\ufffd" for c in text)


def sentence(text: str) -> str:
    """Return a sentence in one line, in which nothing is markup, whatever the values in it say."""
    line = " ".join(plain(text).split())
    line = _MARKUP.sub(lambda found: f"\\{found[0]}", line)
    return _BEGINNING.sub(_escaped_beginning, line)


def _escaped_beginning(found: re.Match[str]) -> str:
    sign, digits, stop = found.groups()
    return f"\\{sign}" if sign else f"{digits}\\{stop}"


def sentences(said: Sequence[str]) -> str:
    """Return sentences as a list."""
    return "\n".join(f"- {sentence(each)}" for each in said)


def code(text: str, *, longest: int = _LONGEST) -> str:
    """Return a quote from the data as a piece of code in one line, shortened."""
    line = " ".join(plain(text).split()) or " "
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    fence = "`" * (1 + _longest_run(line, at_least=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def block(text: str, kind: str = "text") -> str:
    """Return a text of several lines as a block of code, as it is."""
    shown = plain(text)
    fence = "`" * (1 + _longest_run(shown, at_least=2))
    return f"{fence}{kind}\n{shown}\n{fence}"


def _longest_run(text: str, *, at_least: int) -> int:
    return max([at_least, *(len(run) for run in re.findall("`+", text))])


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; its cells are Markdown already."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines)


def _cell(text: str) -> str:
    # Within a table even code is divided at a bar.
    return re.sub(r"(?<!\\)\|", r"\\|", text)
