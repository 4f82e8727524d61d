"""After how many calls a cheaper prompt has repaid what the study that found it cost."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optimizer.archive import Call
from optimizer.completion import Completion
from optimizer.exporters import frozen_side
from optimizer.frozen import FrozenPrompt
from optimizer.plan import StudyPlan
from optimizer.report._arms import Answers
from optimizer.report._language import Language
from optimizer.report._reading import mapping, number


def break_even(
    plan: StudyPlan, frozen: FrozenPrompt, answers: Answers, others: Sequence[Call], language: Language
) -> str:
    """Return after how many calls the frozen prompt has repaid the study, or why it never does; "" where none is known.

    What an example costs is told by the evidence, on the examples that judged. What the study cost is that of every
    answer its prompts got, in search, confirmation and test, whichever study paid for it, and of its other calls, such as
    those of robustness; what failed attempts at a stored answer cost is not in it.

    Args:
        others: Calls of the same model that the study paid for and whose answers are not among those.
    """
    saving = mapping(frozen.evidence.get("saving"))
    value, upper = number(saving.get("value")), number(saving.get("upper"))
    same = frozen.evidence.get("winner_fingerprint") == frozen.evidence.get("baseline_fingerprint")
    if value is None or upper is None or same:
        return ""
    if frozen_side(frozen) == "baseline":
        return language.t(
            "The baseline is kept, so an example costs what it cost before: nothing repays the study."
        )
    if value >= 0:
        return language.t(
            "An example costs no less with the new prompt than with the baseline: savings never repay the study."
        )
    if upper >= 0:
        return language.t(
            "That an example costs less with the new prompt is not shown: whether savings repay the study is not known."
        )
    return _after(plan, saving, answers, others, language)


def _after(
    plan: StudyPlan, saving: Mapping[str, Any], answers: Answers, others: Sequence[Call], language: Language
) -> str:
    """Return after how many calls the prompt that saves has repaid the study."""
    if not all(each.counted for each in _calls(answers)):
        return language.t(
            "An example costs less with the new prompt than with the baseline. After how many of them that has repaid "
            "the study is not known: some of its answers do not state their tokens."
        )
    value = -(number(saving.get("value")) or 0.0)
    if saving.get("unit") == "usd":
        return _in_dollars(plan, value, _spent(answers, others), language)
    spent = sum(read + written for read, written in _spent(answers, others))
    return language.t(
        "An example takes {saving} less with the new prompt than with the baseline: after {n} of them that has repaid "
        "the {total} tokens of the whole study.",
        saving=language.amount(value, "tokens"),
        n=_repaid(spent, value, language),
        total=language.figure(f"{spent:,}"),
    )


def _in_dollars(
    plan: StudyPlan, saving: float, spent_on: Sequence[tuple[int, int]], language: Language
) -> str:
    price = plan.price
    if price is None:  # it was known when the study ran
        return ""
    spent = math.fsum(price(read, written) for read, written in spent_on)
    return language.t(
        "An example costs {saving} less with the new prompt than with the baseline: after {n} of them that has repaid "
        "the {total} US dollars that the answers of the whole study cost.",
        saving=language.amount(saving, "usd"),
        n=_repaid(spent, saving, language),
        total=language.dollars(spent, 4),
    )


def _spent(answers: Answers, others: Sequence[Call]) -> list[tuple[int, int]]:
    """Return tokens read and written of every answer and of every other call."""
    return [
        *((each.prompt_tokens, each.completion_tokens) for each in _calls(answers)),
        *((each.prompt_tokens, each.completion_tokens) for each in others),
    ]


def _calls(answers: Answers) -> Iterable[Completion]:
    """Return every stored answer once; several prompts may have asked for the same."""
    return {each.key or str(id(each)): each for several in answers.values() for each in several}.values()


def _repaid(spent: float, saving: float, language: Language) -> str:
    return language.figure(f"{math.ceil(spent / saving):,}")
