"""What the page shows of a whole study beside the evidence: leaderboard, plots, and the data of its script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from optimizer.archive import Archive
from optimizer.frozen import FrozenPrompt
from optimizer.plan import StudyPlan
from optimizer.report._account import Account, account
from optimizer.report._arms import arms, compared
from optimizer.report._block import block, embedded
from optimizer.report._effects import Effects, effects
from optimizer.report._fronts import Front, study_front
from optimizer.report._genealogy import Genealogy, genealogy
from optimizer.report._importance import Importance, importance
from optimizer.report._labels import NOTHING, ByLabel, by_label
from optimizer.report._language import script_texts
from optimizer.report._leaderboard import Leaderboard, leaderboard
from optimizer.report._plots import Bar, Plot, bars, plots
from optimizer.report._table import make_table
from optimizer.report._telling import Teller

# Parts of a study's identity without which it is not known what was asked about.
_NEEDED = ("task", "data")

_NOTHING = make_table("nothing", "", (), words=())
_NO_FRONT = Front(measures=(), points=(), rule="", break_even="", notes=(), table=_NOTHING)
_NO_EFFECTS = Effects(helped=(), vain=(), table=_NOTHING, note="", found=())
_NO_IMPORTANCE = Importance(bars=(), note="")


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyParts:
    """What the template shows of a study.

    Attributes:
        script: The page's script.
        labels: How often the prompts are right by label.
        bars: How much each dimension mattered.
        importance: What the bars say, or why there are none.
        account: What the whole study took.
        answering: What the study recorded of the model that answered.
        changed: Why the examples are left out, "" where they are not.
        texts: The script's sentences by their English text, as JSON.
        data: Examples, prompts and answers, as JSON.
    """

    script: Markup
    leaderboard: Leaderboard
    plots: tuple[Plot, ...]
    front: Front
    effects: Effects
    genealogy: Genealogy
    labels: ByLabel
    bars: tuple[Bar, ...]
    importance: str
    account: Account
    answering: Mapping[str, Any]
    changed: str
    texts: Markup
    data: Markup


def study_parts(
    plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, say: Teller, script: str
) -> StudyParts:
    """Return the parts of a study's page."""
    changed = changed_parts(plan.identity, archive.identity)
    needed = [name for name in changed if name in _NEEDED]
    # Which examples were those of validation is not known either, and so nothing is told from single examples.
    known = not needed
    answers = archive.completions(archive.scores) if known else {}
    found = arms(plan, frozen, archive, answers, say)
    front = study_front(plan, frozen, archive, found, answers, say.language) if known else _NO_FRONT
    mattered = importance(plan, archive, say.language) if known else _NO_IMPORTANCE
    best = {point.arm.fingerprint for point in front.points if point.front}
    found = tuple(replace(arm, front=arm.fingerprint in best) for arm in found)
    return StudyParts(
        script=Markup(script),  # noqa: S704  # our own file
        leaderboard=leaderboard(found, frozen, say, compared(plan, found, answers, say)),
        plots=plots(archive.trials, front, say),
        front=front,
        effects=effects(plan, frozen, archive, say.language) if known else _NO_EFFECTS,
        genealogy=genealogy(archive, frozen.fingerprint, say.language),
        labels=by_label(plan, frozen, archive, say) if known else NOTHING,
        bars=bars(mattered, say),
        importance=mattered.note,
        account=account(plan, frozen, archive, say, known=known),
        answering=archive.store.records("model").get(0, {}),
        changed="" if known else unknown_in_words(needed, say),
        texts=_markup({text: say.language.sentences.get(text, text) for text in script_texts(script)}),
        data=_markup(block(plan, archive, found, answers, say, examples=known)),
    )


def changed_parts(now: Mapping[str, str], then: Mapping[str, str]) -> list[str]:
    """Return which parts of a study's identity are not what they were, by name."""
    return sorted(name for name in {*now, *then} if now.get(name) != then.get(name))


def unknown_in_words(changed: Sequence[str], say: Teller) -> str:
    """Return why single examples cannot be shown: task or data, or both, are not what they were."""
    told = "The examples cannot be shown: since the study ran, task and data have changed, and what was asked then is not known."
    if "data" not in changed:
        told = "The examples cannot be shown: since the study ran, the task has changed, and what was asked then is not known."
    elif "task" not in changed:
        told = "The examples cannot be shown: since the study ran, the data have changed, and what was asked then is not known."
    return say.t(told)


def _markup(value: object) -> Markup:
    return Markup(embedded(value))  # noqa: S704  # no character of it has a meaning in HTML
