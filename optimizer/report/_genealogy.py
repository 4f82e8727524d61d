"""Where the wordings and the demonstration sets come from: a tree of each, with how well they did.

A wording made of several others stands below the first of them; the others are named.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from optimizer.archive import Archive
from optimizer.candidate import DemonstrationSet, Instruction
from optimizer.history import TrialRecord
from optimizer.report._arms import most_seen
from optimizer.report._language import Language, mark
from optimizer.report._reading import ABSENT

_ORIGINS = {
    "given": mark("given"),
    "composed": mark("composed"),
    "imported": mark("imported"),
    "proposed": mark("proposed"),
    "reflected": mark("reflected"),
    "none": mark("none"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ancestor:
    """One wording or demonstration set, in the order of a tree that is read from above.

    Attributes:
        depth: 0 for what was made of nothing else in the study.
        origin: Where it comes from, or which selector chose it.
        told: What it says, or which examples it shows.
        parents: Ids of all that it was made from.
        best: The highest validation score of a prompt with it, with its examples; "" where none was scored.
        prompts: How many prompts with it were scored.
        frozen: Whether the frozen prompt has it.
    """

    id: str
    depth: int
    origin: str
    told: str
    parents: tuple[str, ...]
    best: str
    prompts: int
    frozen: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Genealogy:
    """The trees of a study, and how many of each were never scored and have no descendant that was."""

    instructions: tuple[Ancestor, ...]
    demonstrations: tuple[Ancestor, ...]
    untried: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Member:
    id: str
    origin: str
    told: str
    parents: tuple[str, ...]


def genealogy(archive: Archive, frozen: str, language: Language) -> Genealogy:
    """Return the trees; what was neither scored nor led to anything scored is counted and left out.

    Args:
        frozen: Fingerprint of the frozen prompt.
    """
    rows = most_seen(archive.trials)
    point = rows[frozen].point if frozen in rows else {}
    wordings = [_wording(each, language) for each in archive.instructions.values()]
    sets = [_set(each, language) for each in archive.demonstrations.values()]
    trees = {
        kind: _tree(members, _scored(rows, kind), str(point.get(kind, "")), language)
        for kind, members in (("instruction", wordings), ("demonstrations", sets))
    }
    left = [
        len(members) - len(trees[kind])
        for kind, members in (("instruction", wordings), ("demonstrations", sets))
    ]
    told = language.t(
        "Not shown: {wordings} wordings and {sets} demonstration sets that no prompt with a score has.",
        wordings=left[0],
        sets=left[1],
    )
    return Genealogy(
        instructions=trees["instruction"],
        demonstrations=trees["demonstrations"],
        untried=told if any(left) else "",
    )


def _wording(each: Instruction, language: Language) -> _Member:
    origin = language.t(_ORIGINS.get(each.origin, each.origin))
    return _Member(id=each.id, origin=origin, told=each.text, parents=each.parents)


def _set(each: DemonstrationSet, language: Language) -> _Member:
    shown = ", ".join(shot.example_id for shot in each.demonstrations)
    if each.retrieved:
        shown = language.t("the {n} most alike of {examples}", n=each.retrieved, examples=shown)
    origin = language.t(_ORIGINS.get(each.selector, each.selector))
    return _Member(id=each.id, origin=origin, told=shown or ABSENT, parents=each.parents)


def _scored(rows: Mapping[str, TrialRecord], kind: str) -> dict[str, list[TrialRecord]]:
    found: dict[str, list[TrialRecord]] = {}
    for row in rows.values():
        if row.score is not None:
            found.setdefault(str(row.point.get(kind, "")), []).append(row)
    return found


def _tree(
    members: Sequence[_Member], scored: Mapping[str, list[TrialRecord]], frozen: str, language: Language
) -> tuple[Ancestor, ...]:
    known = {each.id: each for each in members}
    kept = _with_ancestors(known, [name for name in scored if name in known])
    children: dict[str, list[str]] = {}
    placed_before: set[str] = set()
    for name, member in known.items():
        if name in kept:
            # What it was made from was there before it.
            first = next((parent for parent in member.parents if parent in placed_before), "")
            children.setdefault(first, []).append(name)
            placed_before.add(name)

    def walk(name: str, depth: int) -> Iterator[tuple[str, int]]:
        yield name, depth
        for child in children.get(name, ()):
            yield from walk(child, depth + 1)

    placed = [each for root in children.get("", ()) for each in walk(root, 0)]
    return tuple(
        Ancestor(
            id=name,
            depth=depth,
            origin=known[name].origin,
            told=known[name].told,
            parents=known[name].parents,
            best=_best(scored.get(name, ()), language),
            prompts=len(scored.get(name, ())),
            frozen=name == frozen,
        )
        for name, depth in placed
    )


def _with_ancestors(known: Mapping[str, _Member], names: Sequence[str]) -> set[str]:
    """Return some members and all they were made from."""
    kept: set[str] = set()
    open_ones = list(names)
    while open_ones:
        name = open_ones.pop()
        if name in known and name not in kept:
            kept.add(name)
            open_ones += known[name].parents
    return kept


def _best(rows: Sequence[TrialRecord], language: Language) -> str:
    if not rows:
        return ""
    best = max(rows, key=lambda row: (row.score or 0.0, row.n, -row.trial))
    return language.t(
        "{score} on {n} examples", score=language.score(best.score or 0.0), n=best.n - best.errors
    )
