"""Share of examples that the model refuses to answer."""

import re

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.metrics import measure

# How assistants decline, in English and in French: an apology or a reminder of what they are, perhaps, then that they
# cannot, and what. Only the beginning counts; `I can't log in` is somebody's trouble and no refusal.
_SORRY = r"(?:(?:i['’]m|i am) (?:\w+ )?(?:sorry|afraid)\W+(?:but )?|sorry\W+(?:but )?|unfortunately\W+)?"
_AS_ONE = r"(?:as an? (?:ai|artificial|large|language)\b[^.\n]{0,40}?\W+)?"
_CANNOT = (
    r"i(?: can['’]t| cannot| can not| won['’]t| will not|(?: am|['’]m) (?:not able|unable) to) (?:\w+ )?"
)
_HELP = r"(?:help|assist|comply|provide|answer|do (?:that|this)|fulfil|engage|discuss|share|support)\b"
_DESOLE = r"(?:(?:je suis )?(?:\w+ )?d[ée]sol[ée]e?\W+(?:mais )?|malheureusement\W+)?"
_EN_TANT_QUE = r"(?:en tant qu[e'’] ?[^.\n]{0,40}?, ?)?"
_NE_PEUX = r"je ne (?:peux|puis|suis) pas (?:en mesure de |capable de )?(?:(?:vous|te|y) |t['’])?"
_AIDER = r"(?:aider|répondre|fournir|faire (?:cela|ça)|donner suite|satisfaire|accéder à)\b"
_DECLINES = (
    r"i (?:must|have to) (?:decline|refuse)\b|i decline to\b|je (?:dois|me dois de) (?:refuser|décliner)\b"
)
_REFUSAL = re.compile(
    rf"\W*(?:{_SORRY}{_AS_ONE}{_CANNOT}{_HELP}|{_DESOLE}{_EN_TANT_QUE}{_NE_PEUX}{_AIDER}|{_DECLINES})",
    re.IGNORECASE,
)


@measure(unit="share", greater_is_better=False)
def refusal(answer: Answer, completions: tuple[Completion, ...]) -> float:
    """Return 1 when the provider says so, or the answer or, without one, the last completion begins like a refusal."""
    said = answer.text if answer.text is not None else completions[-1].text if completions else ""
    return float(answer.outcome == "refused" or _REFUSAL.match(said) is not None)
