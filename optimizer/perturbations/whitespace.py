"""Spaces doubled, lines broken, blanks at the end."""

import re
from random import Random

from optimizer.perturbations import perturbation


@perturbation
def whitespace(text: str, random: Random) -> str:
    """Return the text with some of its spaces doubled or made line breaks, and with blanks behind it."""
    if not text.strip():
        return text
    spaced = re.sub(r"(?<=\S) (?=\S)", lambda _: random.choice((" ", " ", " ", "  ", "\n")), text)
    return spaced + random.choice(("  ", "\n", " \n\n"))
