"""Letters left out, swapped, or hit beside their key."""

from random import Random

from optimizer.perturbations import perturbation

# One letter in twenty: a text that everybody still reads. At least one.
_RATE = 0.05

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@perturbation
def typos(text: str, random: Random) -> str:
    """Return the text with a typing mistake in one letter out of twenty; digits are never touched."""
    letters = [k for k, c in enumerate(text) if c.isalpha()]
    if not letters:
        return text
    typed, swapped = list(text), set[int]()
    for k in sorted(random.sample(letters, max(1, round(_RATE * len(letters))))):
        if k in swapped:
            continue
        following = text[k + 1 : k + 2]
        if following.isalpha() and following != text[k] and random.random() < 1 / 3:
            typed[k], typed[k + 1] = following, text[k]
            swapped.add(k + 1)
        else:
            typed[k] = _mistyped(text, k, random)
    return "".join(typed)


def _mistyped(text: str, k: int, random: Random) -> str:
    """Return what stands in a letter's place: nothing, a neighbour on the keyboard, or the letter twice."""
    kinds = [""] * _within_word(text, k) + list(_neighbours(text[k]))
    return random.choice(kinds or [2 * text[k]])


def _within_word(text: str, k: int) -> bool:
    """Return whether a letter may go without its word going as well."""
    return text[k - 1 : k].isalpha() or text[k + 1 : k + 2].isalpha()


def _neighbours(letter: str) -> str:
    for row in _ROWS:
        k = row.find(letter.lower())
        if k >= 0:
            found = row[max(0, k - 1) : k] + row[k + 1 : k + 2]
            return found.upper() if letter.isupper() else found
    return ""
