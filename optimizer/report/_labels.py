"""How often a prompt is right by label, and which labels it never answers or never gets right."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from optimizer.archive import Archive
from optimizer.dataset import Example
from optimizer.exporters import frozen_side
from optimizer.frozen import FrozenPrompt
from optimizer.plan import StudyPlan
from optimizer.report._failures import RIGHT, judged_examples
from optimizer.report._table import Table, make_table
from optimizer.report._telling import Teller
from optimizer.store import ScoreRow

FEWEST = 5  # examples of a label of which it is worth a word that none is right
_MOST = 20  # labels that the table lists
_NAMED = 8  # labels that a sentence names


@dataclass(frozen=True, kw_only=True, slots=True)
class ByLabel:
    """How often the prompts are right by label; nothing where the output is no label.

    Attributes:
        table: Every label of the examples that the decision rests on, the worst first.
        more: How many labels the table leaves out, as a sentence, or "".
        cautions: Labels that the frozen prompt never answers or never gets right.
    """

    table: Table
    more: str = ""
    cautions: tuple[str, ...] = ()


NOTHING = ByLabel(table=make_table("labels", "", (), words=()))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counts:
    """One label.

    Attributes:
        n: Examples with this target.
        right: How many of them each prompt gets right, by what it is called.
        answered: How often the frozen prompt answers so, whatever the target.
        hits: How many the frozen prompt gets right.
    """

    label: str
    n: int
    right: Mapping[str, int]
    answered: int
    hits: int


def by_label(plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, say: Teller) -> ByLabel:
    """Return how often baseline and winner are right on the examples of each label that judge the frozen prompt."""
    _, examples = judged_examples(plan, frozen, archive)
    if plan.task.output != "label" or not examples:
        return NOTHING
    counts = _counted(plan, examples, frozen, archive)
    listed = sorted(counts, key=lambda each: each.hits / each.n)
    rest = len(listed) - _MOST
    return ByLabel(
        table=_table(listed[:_MOST], say),
        more=say.plural(rest, "And {n} more label.", "And {n} more labels.") if rest > 0 else "",
        cautions=tuple(_cautions(counts, frozen, say)),
    )


def _counted(
    plan: StudyPlan, examples: Sequence[Example], frozen: FrozenPrompt, archive: Archive
) -> list[_Counts]:
    """Return the counts of the labels that some example has, in the order of the task."""
    mine = archive.scores[frozen.fingerprint]
    prints = {arm: str(frozen.evidence.get(f"{arm}_fingerprint")) for arm in ("baseline", "winner")}
    if prints["winner"] == prints["baseline"]:
        del prints["winner"]
    arms = {arm: archive.scores[name] for arm, name in prints.items() if name in archive.scores}
    answered = Counter(mine[each.id].answer for each in examples if mine[each.id].outcome == "ok")
    found = []
    for label in dict.fromkeys([*plan.task.labels, *(each.target for each in examples)]):
        those = [each.id for each in examples if each.target == label]
        if those:
            counts = _Counts(
                label=label,
                n=len(those),
                right={arm: _right(those, rows) for arm, rows in arms.items()},
                answered=answered[label],
                hits=_right(those, mine),
            )
            found.append(counts)
    return found


def _right(ids: Sequence[str], rows: Mapping[str, ScoreRow]) -> int:
    return sum(one in rows and (rows[one].score or 0.0) >= RIGHT for one in ids)


def _table(counts: Sequence[_Counts], say: Teller) -> Table:
    headings = {"baseline": say.t("baseline right"), "winner": say.t("new prompt right")}
    named = say.named_apart(each.label for each in counts)
    rows = [
        {
            say.t("label"): named[each.label],
            say.t("examples"): say.count(each.n),
            **{headings[arm]: say.count(n) for arm, n in each.right.items()},
            say.t("answers of the frozen prompt"): say.count(each.answered),
        }
        for each in counts
    ]
    return make_table("labels", say.t("Right by label, the worst first"), rows, words=[say.t("label")])


def _cautions(counts: Sequence[_Counts], frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    enough = [each for each in counts if each.n >= FEWEST and not each.hits]
    never = [each for each in enough if not each.answered]
    wrong = [each for each in enough if each.answered]
    prompt = say.t("the new prompt") if frozen_side(frozen) == "winner" else say.t("the baseline")
    total = sum(each.n for each in counts)
    if never:
        told = say.t(
            "{prompt} never answers {labels}, which would be right for {n} of {all} examples.",
            prompt=prompt,
            labels=_names(never, say),
            n=sum(each.n for each in never),
            all=total,
        )
        yield say.t("Caution: {flag}", flag=told)
    if wrong:
        told = say.t(
            "{prompt} is never right on the {n} of {all} examples of {labels}; all its answers of that kind "
            "({times}) are wrong.",
            prompt=prompt,
            labels=_names(wrong, say),
            n=sum(each.n for each in wrong),
            all=total,
            times=sum(each.answered for each in wrong),
        )
        yield say.t("Caution: {flag}", flag=told)


def _names(counts: Sequence[_Counts], say: Teller) -> str:
    names = ", ".join(say.named_apart(each.label for each in counts[:_NAMED]).values())
    rest = len(counts) - _NAMED
    return say.t("{names} and {n} more", names=names, n=rest) if rest > 0 else names
