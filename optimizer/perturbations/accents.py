"""Accents left out, as on a keyboard that has none."""

import unicodedata
from random import Random

from optimizer.perturbations import perturbation


@perturbation
def accents(text: str, _random: Random) -> str:
    """Return the text without the accents of its Latin letters; other scripts, whose marks are letters, keep theirs."""
    kept = list[str]()
    base = ""
    for c in unicodedata.normalize("NFD", text):
        if unicodedata.category(c) != "Mn":
            base = c
        elif base.isascii():
            continue
        kept.append(c)
    bare = unicodedata.normalize("NFC", "".join(kept))
    # A text that is merely stored in another form has not lost anything.
    return text if bare == unicodedata.normalize("NFC", text) else bare
