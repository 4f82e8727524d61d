"""The leaderboard: every prompt of a study, one row each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from optimizer.frozen import FrozenPrompt
from optimizer.report._arms import Arm, scored
from optimizer.report._history import named
from optimizer.report._language import mark
from optimizer.report._reading import ABSENT
from optimizer.report._telling import Teller

_TESTED_ONLY = mark("tested only")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell of the leaderboard: its text, and the figure it is sorted by, "" for its text."""

    text: str
    by: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One row of the leaderboard.

    Attributes:
        tags: What is to be said of it beside its name.
        broken: Whether it breaks the study's constraints.
    """

    name: str
    tags: tuple[str, ...]
    cells: tuple[Cell, ...]
    broken: bool
    strong: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaderboard:
    """All prompts of a study: headings, which of them stand over figures, and rows.

    Attributes:
        note: On which examples tokens, seconds and cost are compared, or "".
    """

    headings: tuple[str, ...]
    figures: tuple[bool, ...]
    lines: tuple[Line, ...]
    note: str = ""


def leaderboard(found: Sequence[Arm], frozen: FrozenPrompt, say: Teller, note: str = "") -> Leaderboard:
    """Return the leaderboard; a column in which nothing is known is left out."""
    rows = [_cells(arm, say) for arm in found]
    keys = [key for key in rows[0] if any(row[key].text != ABSENT for row in rows)] if rows else []
    words = (
        say.t("instruction"),
        say.t("demos"),
        say.t("style"),
        say.t("format"),
        say.t("stage"),
        say.t("state"),
    )
    return Leaderboard(
        headings=tuple(keys),
        figures=tuple(key not in words for key in keys),
        lines=tuple(
            Line(
                name=arm.name,
                tags=tuple(_tags(arm, frozen, say)),
                cells=tuple(row[key] for key in keys),
                broken=arm.row is not None and not arm.row.feasible,
                strong=arm.fingerprint == frozen.fingerprint,
            )
            for arm, row in zip(found, rows, strict=True)
        ),
        note=note,
    )


def _cells(arm: Arm, say: Teller) -> dict[str, Cell]:
    row = arm.row
    told = {} if row is None else {name: str(value) for name, value in row.point.items()}
    point = {name: told.get(name, ABSENT) for name in ("instruction", "demonstrations", "style", "format")}
    others = {name: told.get(name, ABSENT) for name in told if name not in point}
    stage = say.t(_TESTED_ONLY) if row is None else named(row.stage, say)
    state = ABSENT if row is None or row.state == "complete" else named(row.state, say)
    return {
        say.t("score"): _figure(arm.score, say.score(arm.score)),
        say.t("95 % interval"): Cell(
            text=ABSENT if row is None else say.score_interval({"lower": row.lower, "upper": row.upper}),
            by="" if row is None or row.lower is None else f"{row.lower:.9f}",
        ),
        say.t("examples"): _figure(
            *((None, ABSENT) if row is None else (scored(row), say.count(scored(row))))
        ),
        say.t("valid"): _figure(*((None, ABSENT) if row is None else (row.valid, say.share(row.valid)))),
        say.t("tokens an example"): _figure(arm.tokens, say.decimal(arm.tokens, 1)),
        say.t("seconds an example"): _figure(arm.seconds, say.decimal(arm.seconds, 3)),
        say.t("US dollars an example"): _figure(
            arm.cost or None, say.language.dollars(arm.cost) if arm.cost else ABSENT
        ),
        say.t("instruction"): Cell(text=point["instruction"]),
        say.t("demos"): Cell(text=point["demonstrations"]),
        say.t("style"): Cell(text=point["style"]),
        say.t("format"): Cell(text=point["format"]),
        say.t("parameters"): Cell(text=", ".join(f"{k} {v}" for k, v in others.items()) or ABSENT),
        say.t("stage"): Cell(text=stage),
        say.t("state"): Cell(text=state),
    }


def _figure(value: float | None, told: str) -> Cell:
    return Cell(text=told, by="" if value is None else f"{value:.9f}")


def _tags(arm: Arm, frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    if arm.fingerprint == frozen.fingerprint:
        yield say.t("frozen")
    if arm.front:
        yield say.t("front")
    if arm.row is not None and not arm.row.feasible:
        yield say.t("breaks a constraint")
