"""Texts from the data as a row or a sentence shows them: in one line, not too long, told apart, as wide as a screen has it.

What is too long loses its middle: names of one kind often begin alike, and end differently.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import chain, count

LONGEST = 40  # characters of a text from the data within a sentence

# Controls, formatting characters such as those that turn text round, and lone halves of characters.
_UNSHOWN = ("Cc", "Cf", "Cs")

# Without these joiners some scripts are spelled wrongly, and emoji fall apart.
JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    """Return text that a terminal only shows: no control characters but line breaks, nothing that turns text round."""
    return "".join(
        c if c in "\n\t" or c in JOINERS or unicodedata.category(c) not in _UNSHOWN else "\ufffd"
        for c in text
    )


def elided(text: str, longest: int) -> str:
    """Return a text in one line, without its middle where it is longer than so many characters."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    last = (longest - 1) // 2
    return f"{line[: longest - 1 - last]}…{line[-last:]}"


def told_apart(names: Iterable[str], longest: int) -> dict[str, str]:
    """Return each name as a table shows it: in one line, without its middle where it is long.

    Names that would look alike then stand in full; those that look alike even so are numbered.
    """
    lines = {name: " ".join(printable(name).split()) for name in names}
    cut = {name: elided(line, longest) for name, line in lines.items()}
    alike = Counter(cut.values())
    shown: dict[str, str] = {}
    taken = set[str]()
    for name, line in lines.items():
        full = cut[name] if alike[cut[name]] == 1 else line
        numbered = (f"{full} ({k})" for k in count(2))
        shown[name] = next(text for text in chain([full], numbered) if text not in taken)
        taken.add(shown[name])
    return shown


def width(text: str) -> int:
    """Return how many columns of a screen a text takes: wide characters two, marks on others none."""
    return sum(map(_columns, text))


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """Return a text with spaces behind it, or before it, so that it takes so many columns."""
    space = " " * (columns - width(text))
    return f"{space}{text}" if right else f"{text}{space}"


def _columns(character: str) -> int:
    if character in JOINERS or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
