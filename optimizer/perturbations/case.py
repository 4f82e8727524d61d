"""Everything in capitals, or nothing."""

from random import Random

from optimizer.perturbations import perturbation


@perturbation
def case(text: str, random: Random) -> str:
    """Return the text in upper or in lower case, whichever of them it is not."""
    changed = [each for each in (text.upper(), text.lower()) if each != text]
    return random.choice(changed) if changed else text
