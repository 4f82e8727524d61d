"""What was tried and what it brought: each style, format, number of demonstrations, wording and decoding parameter.

From the scores on validation of all prompts. What was tried in vain is told as what helped is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from optimizer.archive import Archive
from optimizer.composition import SLOTS
from optimizer.contrasts import FEWEST_ARMS, LEVEL, Contrast, contrasts
from optimizer.digest import derived_seed
from optimizer.explanation import shortened
from optimizer.frozen import FrozenPrompt
from optimizer.history import TrialRecord
from optimizer.plan import StudyPlan
from optimizer.report._arms import most_seen
from optimizer.report._language import Language, mark
from optimizer.report._levels import COMPOSITION, KINDS, levels
from optimizer.report._table import Table, make_table
from optimizer.report._telling import Teller

# Factors of the demonstrations, of which a trial holds one id.
_SIZE, _SELECTOR, _SET = "size", "selector", "demonstrations"
# A wording is told by its statement and by what fills its slots. What it is beyond that goes with all of them.
_SLOTS = tuple(SLOTS)
_ALONG = {
    _SIZE: (_SELECTOR, _SET),
    _SET: (_SIZE, _SELECTOR),
    **dict.fromkeys(("instruction", *_SLOTS), (COMPOSITION,)),
}
_NAMED = ("style", "format", "instruction", *_SLOTS, _SIZE, _SELECTOR, _SET)
_LISTED = 4  # levels that a sentence names; of more it tells the number

_KINDS = {**KINDS, _SELECTOR: mark("selector"), _SET: mark("set"), _SIZE: mark("demonstrations")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Effects:
    """What was tried and what it brought.

    Attributes:
        scope: What the figures are of, "" where there are none.
        helped: The sentences of what is beyond chance, first what moved most.
        own: What the frozen prompt has of what is not, as a sentence, or "".
        vain: The sentences of what is not beyond chance and not in the frozen prompt.
        table: Every level with its figures.
        note: How the figures were made and what they do not say; or why there are none.
        found: The figures.
    """

    helped: tuple[str, ...]
    vain: tuple[str, ...]
    table: Table
    note: str
    found: tuple[Contrast, ...]
    scope: str = ""
    own: str = ""


def effects(plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, language: Language) -> Effects:
    """Return what every level of every dimension brought over that of the baseline; nothing of too few prompts.

    A level of the frozen prompt is never told as tried in vain: the prompt as a whole was judged elsewhere.
    """
    known = validation_scores(plan, archive)
    say = Teller(language)
    if len(known) < FEWEST_ARMS:
        told = "What each choice brought can be told from {n} prompts on; {found} have scores."
        note = say.t(told, n=FEWEST_ARMS, found=len(known))
        return Effects(helped=(), vain=(), table=_table((), archive, say), note=note, found=())
    rows = most_seen(archive.trials)
    factors = _factors({name: rows[name] for name in known}, archive)
    names = next(iter(factors.values()))
    along = {name: [other for other in others if other in names] for name, others in _ALONG.items()}
    found = contrasts(
        known, factors, _references(factors), seed=derived_seed(plan.seed, "effects"), along=along
    )
    unclear = [each for each in found if not each.claimed]
    has = factors.get(frozen.fingerprint, {})
    own = [each for each in unclear if has.get(each.factor) == each.level]
    return Effects(
        helped=tuple(_helped(found, archive, say)),
        vain=tuple(_vain([each for each in unclear if each not in own], archive, say)),
        table=_table(found, archive, say),
        note=_note(say),
        found=found,
        scope=_scope(found, say),
        own=_own(own, archive, say),
    )


def validation_scores(plan: StudyPlan, archive: Archive) -> dict[str, dict[str, float]]:
    """Return the scores on validation of every prompt that was tried, by fingerprint and example's id.

    Prompts are in the order in which they were tried; those without a score are left out.
    """
    validation = {example.id for example in plan.dataset.validation}
    found: dict[str, dict[str, float]] = {}
    for name in most_seen(archive.trials):
        kept = archive.scores.get(name, {})
        scores = {one: row.score for one, row in kept.items() if one in validation and row.score is not None}
        if scores:
            found[name] = scores
    return found


def _factors(rows: Mapping[str, TrialRecord], archive: Archive) -> dict[str, dict[str, str]]:
    """Return the levels of each prompt; of its demonstrations how many, by which selector, and which."""
    shown = {name: archive.demonstrations.get(str(row.point["demonstrations"])) for name, row in rows.items()}
    chosen = [each.selector for each in shown.values() if each is not None and each.size]
    # Of no demonstrations none was the selector: whichever is named says nothing that their number does not.
    usual = min(chosen, key=lambda name: (-chosen.count(name), name), default="none")
    return {
        arm: {
            **found,
            _SIZE: str(one.size) if (one := shown[arm]) else "0",
            _SELECTOR: one.selector if one and one.size else usual,
        }
        for arm, found in levels(rows, archive.instructions).items()
    }


def _references(factors: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return what each factor's levels are compared with: that of the baseline, which was tried first."""
    first = next(iter(factors.values()))
    others = sorted(set(first) - {*_NAMED, COMPOSITION})
    return {name: first[name] for name in (*_NAMED, *others) if name in first}


def _scope(found: Sequence[Contrast], say: Teller) -> str:
    if not found:
        return ""
    return say.t(
        "These figures are of validation, with {n} examples for a prompt, and drawn towards none as far as chance "
        "explains them.",
        n=_range(min(each.fewest for each in found), max(each.most for each in found), say),
    )


def _own(those: Sequence[Contrast], archive: Archive, say: Teller) -> str:
    """Return what of the frozen prompt could not be told apart by itself, which says nothing of it as a whole."""
    if not those:
        return ""
    names = ", ".join(
        f"{say.t(_KINDS.get(each.factor, each.factor))} {_level(each, each.level, archive, say)}"
        for each in those
    )
    return say.t(
        "What the frozen prompt has of the choices that could not be told apart: {names}. Here each is looked at by "
        "itself; the verdict compares the prompt as a whole.",
        names=names,
    )


def _helped(found: Sequence[Contrast], archive: Archive, say: Teller) -> Iterator[str]:
    for each in sorted(found, key=lambda one: (-abs(one.value), one.factor, one.level)):
        if each.claimed:
            yield say.t(
                "{what} brought {gain} points ({level}: {lower} to {upper}) over {reference}, on {examples} and {prompts}."
                if each.value > 0
                else "{what} lost {gain} points ({level}: {lower} to {upper}) against {reference}, on {examples} and {prompts}.",
                what=_subject(each, archive, say),
                gain=say.language.signed_points(each.value)
                if each.value > 0
                else say.language.points(-each.value),
                level=say.language.percent(LEVEL),
                lower=say.language.signed_points(each.lower),
                upper=say.language.signed_points(each.upper),
                reference=_reference(each, archive, say),
                examples=_examples(each, say),
                prompts=say.plural(each.arms, "{n} prompt", "{n} prompts"),
            )


def _examples(each: Contrast, say: Teller) -> str:
    if each.fewest == each.most:
        return say.plural(each.most, "{n} example", "{n} examples")
    return say.t("{fewest} to {most} examples", fewest=each.fewest, most=each.most)


def _subject(each: Contrast, archive: Archive, say: Teller) -> str:
    if each.factor == _SIZE:
        return say.plural(int(each.level), "Showing {n} demonstration", "Showing {n} demonstrations")
    if each.factor in _SLOTS:
        return say.t(_FILLED[each.level])
    told = _SUBJECTS.get(each.factor, _SUBJECTS[""])
    return say.t(told, name=_level(each, each.level, archive, say), parameter=each.factor)


_SUBJECTS = {
    "style": mark("The style {name}"),
    "format": mark("The format {name}"),
    "instruction": mark("The wording {name}"),
    _SELECTOR: mark("Choosing demonstrations by {name}"),
    _SET: mark("Showing the set {name}"),
    "": mark("Setting {parameter} to {name}"),
}


# What fills a slot, as a subject.
_FILLED = {
    "role": mark("Opening with a role"),
    "labels": mark("Listing the labels"),
    "descriptions": mark("Describing each label"),
    "rule": mark("Ending with a rule for the answer"),
}
# The same as a level.
_FILLINGS = {
    "role": mark("assigned"),
    "labels": mark("listed"),
    "descriptions": mark("described"),
    "rule": mark("stated"),
}


def _reference(each: Contrast, archive: Archive, say: Teller) -> str:
    if each.factor == "instruction":
        return say.t("the first wording")
    if each.factor in _SLOTS:  # the baseline is a wording as it was given, whose slots are empty
        return say.t("leaving it out")
    return _level(each, each.reference, archive, say)


def _level(each: Contrast, level: str, archive: Archive, say: Teller) -> str:
    if each.factor == _SIZE:
        return level if level != "0" else say.t("none")
    if each.factor in _SLOTS:
        return say.t(_FILLINGS[level]) if level else say.t("nothing")
    if each.factor == _SET:
        shown = archive.demonstrations.get(level)
        return level if shown is None or shown.size else say.t("none")
    if each.factor == "instruction" and level in archive.instructions:
        return f"{level} {shortened(archive.instructions[level].text, say.language)}"
    return level or say.t("the model's own")


def _vain(found: Sequence[Contrast], archive: Archive, say: Teller) -> Iterator[str]:
    for factor in dict.fromkeys(each.factor for each in found):
        those = [each for each in found if each.factor == factor]
        if factor in _SLOTS:
            told = "{what} was not distinguishable from leaving it out."
            yield from (say.t(told, what=_subject(each, archive, say)) for each in those)
        else:
            yield _in_vain(factor, those, archive, say)


def _in_vain(factor: str, those: Sequence[Contrast], archive: Archive, say: Teller) -> str:
    n = len(those)
    if factor == "instruction":
        return say.plural(
            n,
            "{n} other wording was not distinguishable from the first.",
            "{n} other wordings were not distinguishable from the first.",
        )
    reference = _level(those[0], those[0].reference, archive, say)
    names = ", ".join(_level(each, each.level, archive, say) for each in those[:_LISTED])
    if n > _LISTED:
        names = say.t("{names} and {n} more", names=names, n=n - _LISTED)
    one, many = _VAIN.get(factor, _VAIN_PARAMETER)
    return say.plural(n, one, many, names=names, reference=reference, parameter=factor)


# In singular and plural.
_VAIN = {
    "style": (
        mark("The style {names} was not distinguishable from {reference}."),
        mark("The styles {names} were not distinguishable from {reference}."),
    ),
    "format": (
        mark("The format {names} was not distinguishable from {reference}."),
        mark("The formats {names} were not distinguishable from {reference}."),
    ),
    _SIZE: (
        mark("Showing {names} demonstrations was not distinguishable from showing {reference}."),
        mark("Showing {names} demonstrations was not distinguishable from showing {reference}."),
    ),
    _SELECTOR: (
        mark("Choosing demonstrations by {names} was not distinguishable from {reference}."),
        mark("Choosing demonstrations by {names} was not distinguishable from {reference}."),
    ),
    _SET: (
        mark("The set {names} was not distinguishable from {reference}."),
        mark("The sets {names} were not distinguishable from {reference}."),
    ),
}
_VAIN_PARAMETER = (
    mark("Setting {parameter} to {names} was not distinguishable from {reference}."),
    mark("Setting {parameter} to {names} was not distinguishable from {reference}."),
)


def _note(say: Teller) -> str:
    return say.t(
        "A gain is the mean over all prompts tried of what the choice changed, example by example. The intervals of one kind of choice hold all at once with {level}, "
        "however many were tried. What was not tried, or only together with something else, may do otherwise; “not "
        "distinguishable” does not say equal.",
        level=say.language.percent(LEVEL),
    )


def _table(found: Sequence[Contrast], archive: Archive, say: Teller) -> Table:
    signed = say.language.signed_points
    rows = [
        {
            say.t("choice"): say.t(_KINDS.get(each.factor, each.factor)),
            say.t("tried"): _level(each, each.level, archive, say),
            say.t("against"): _level(each, each.reference, archive, say),
            say.t("gain, in points"): signed(each.value),
            say.t("95 % interval"): say.between(signed(each.lower), signed(each.upper)),
            say.t("prompts"): say.count(each.arms),
            say.t("examples"): _range(each.fewest, each.most, say),
            say.t("verdict"): _verdict(each, say),
        }
        for each in found
    ]
    words = [say.t(name) for name in ("choice", "tried", "against", "verdict")]
    return make_table("effects", say.t("What each choice brought"), rows, words=words)


def _range(fewest: int, most: int, say: Teller) -> str:
    return say.count(most) if fewest == most else say.between(str(fewest), str(most))


def _verdict(each: Contrast, say: Teller) -> str:
    if not each.claimed:
        return say.t("not distinguishable")
    return say.t("better") if each.value > 0 else say.t("worse")
