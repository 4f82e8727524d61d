"""What a whole study took: calls, tokens and dollars, by what they were for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.archive import Archive, Call
from optimizer.calls import NO_TRIAL
from optimizer.frozen import FrozenPrompt
from optimizer.plan import StudyPlan
from optimizer.report._language import mark
from optimizer.report._reading import ABSENT, mapping, number
from optimizer.report._table import Table, make_table
from optimizer.report._telling import Teller
from optimizer.study import SCOUTING

_SCOUTING, _BASELINE, _SEARCH = mark("choosing demonstrations"), mark("baseline"), mark("search")
_CONFIRMATION, _TEST, _ROBUSTNESS = mark("confirmation"), mark("test"), mark("robustness")
_OTHER, _JUDGES = mark("interrupted runs"), mark("models that judge")
_STAGES = {"baseline": _BASELINE, "search": _SEARCH, "confirm": _CONFIRMATION}
_ORDER = (_SCOUTING, _BASELINE, _SEARCH, _CONFIRMATION, _TEST, _ROBUSTNESS, _OTHER, _JUDGES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What a study took: by part and together, and how much of its budget that is, or ""."""

    table: Table
    note: str


def account(plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, say: Teller, *, known: bool) -> Account:
    """Return what a study took.

    Args:
        known: Whether its data are those that it ran with; else nobody can tell which calls were those of the test.
    """
    parts: dict[str, list[Call]] = {}
    if known:
        of = _Parts(plan, frozen, archive)
        for call in archive.calls:
            parts.setdefault(of.part(call), []).append(call)
    shown = [(say.t(name), parts[name]) for name in _ORDER if name in parts]
    rows = [_row(name, calls, say) for name, calls in (*shown, (say.t("together"), archive.calls)) if calls]
    return Account(
        table=make_table("account", say.t("What the whole study took"), rows, words=(say.t("part"),)),
        note=_note(plan, archive, say) if rows else "",
    )


class _Parts:
    """Tells what a call was for."""

    def __init__(self, plan: StudyPlan, frozen: FrozenPrompt, archive: Archive) -> None:
        self._stages: Mapping[int, str] = {row.trial: row.stage for row in archive.trials}
        test = {example.id for example in plan.dataset.test}
        self._tested = {
            key
            for rows in archive.scores.values()
            for example, row in rows.items()
            if example in test
            for key in row.completions
        }
        self._probed = bool(mapping(frozen.evidence.get("robustness")))

    def part(self, call: Call) -> str:
        """Return the name of the part of the study that a call belongs to."""
        if call.role:
            return _JUDGES
        if call.payer == SCOUTING:
            return _SCOUTING
        if call.payer != NO_TRIAL:
            return _STAGES.get(self._stages.get(call.payer, "search"), _SEARCH)
        if call.key in self._tested:
            return _TEST
        return _ROBUSTNESS if self._probed else _OTHER


def _row(name: str, calls: Sequence[Call], say: Teller) -> dict[str, str]:
    read, written = sum(each.prompt_tokens for each in calls), sum(each.completion_tokens for each in calls)
    usd = sum(each.usd for each in calls)
    return {
        say.t("part"): name,
        say.t("calls"): _count(len(calls), say),
        say.t("tokens read"): _count(read, say),
        say.t("tokens written"): _count(written, say),
        say.t("US dollars"): say.language.dollars(usd, 4) if usd else ABSENT,
    }


def _count(n: int, say: Teller) -> str:
    return say.language.figure(f"{n:,}")


def _note(plan: StudyPlan, archive: Archive, say: Teller) -> str:
    # A study that ran beside others had a share of their common budget.
    shared = mapping(mapping(archive.store.records("share").get(0)).get("budget"))
    budget = number(shared.get("calls")) or plan.budget.calls
    return say.t(
        "{used} of the {budget} calls of the budget were used. Answers that other studies had paid for are not counted.",
        used=_count(sum(not call.role for call in archive.calls), say),
        budget=_count(int(budget), say),
    )
