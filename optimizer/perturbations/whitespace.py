"""Spaces doubled, lines broken, blanks at the end."""

import re
from random import Random

from optimizer.perturbations import perturbation

# One between two digits may belong to a number, as in `1 200 500` and `3 1/2`.
_SPACE = re.compile(r"(?<=[^\s\d]) (?=\S)|(?<=\d) (?=[^\s\d])")


@perturbation
def whitespace(text: str, random: Random) -> str:
    """Return the text with some of its spaces doubled or made line breaks, and with blanks behind it.

    Spaces between two digits stay.
    """
    if not text.strip():
        return text
    spaced = _SPACE.sub(lambda _: random.choice((" ", " ", " ", "  ", "\n")), text)
    return spaced + random.choice(("  ", "\n", " \n\n"))
