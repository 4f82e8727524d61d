"""The two charts of the page: scores on one axis, differences against none on another.

Places are shares of the width, so a chart fits every screen without its text growing or shrinking.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from optimizer.report._language import mark
from optimizer.report._reading import (
    ABSENT,
    ARMS,
    HELD_OUT,
    gains,
    held_out,
    mapping,
    number,
)
from optimizer.report._telling import Teller

# Distances of ticks, of which the smallest is taken that leaves room for their text on a narrow screen. The last suits
# every difference, from -1 to 1.
_STEPS = (0.02, 0.05, 0.1, 0.2, 0.5)
_MOST_TICKS = 5

# In pixels: a row has its text, and its interval below; the axis has its text below the last row.
_ROW, _TEXT, _LINE, _AXIS = 50, 15, 31, 26

_MEASURED = mark(
    "A dot is the score that was measured. The line is its 95 % interval: where the true score plausibly lies."
)
_HELD_OUT_MEAN = mark("A dot is the mean score on examples that had no part in the choice.")
_GAINED = mark(
    "A point is 0.01 of the score. The new prompt minus the one named, on the same examples: the true difference lies "
    "on the line{sure}. It is taken for real where the line does not reach “no difference” and chance alone would seldom "
    "bring as much; the table below tells how often."
)

# Text of a tick within this share of an end is set from there inwards, so that it does not leave the chart.
_END = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One row of a chart: a value with its interval, as text and as places."""

    name: str
    told: str
    at: str
    ends: tuple[str, str] | None
    strong: bool
    text_y: int
    line_y: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """One tick of an axis: its place, its text, and which end of the text is there."""

    at: str
    told: str
    anchor: str
    zero: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A chart: what it shows in words, its rows and its axis."""

    name: str
    title: str
    description: str
    caption: str
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    name: str
    told: str
    value: float
    interval: tuple[float, float] | None
    strong: bool


class Titles(NamedTuple):
    """What a chart is called: its name within the page, its title, and what it shows in words."""

    name: str
    title: str
    caption: str


def charts(evidence: Mapping[str, Any], say: Teller) -> tuple[Chart, ...]:
    """Return the charts that the evidence has figures for."""
    differences = [
        row for _, name, figures in gains(evidence) if (row := _gain_row(say.t(name), figures, evidence, say))
    ]
    level = number(mapping(evidence.get("difference")).get("level"))
    sure = "" if level is None else say.t(" with {level} confidence", level=say.share(level))
    found = (
        _chart(
            Titles("scores", say.t("Scores, of which 1 would be all right"), _caption(evidence, say)),
            list(_score_rows(evidence, say)),
            say,
        ),
        _chart(
            Titles("differences", say.t("Gain of the new prompt, in points"), say.t(_GAINED, sure=sure)),
            differences,
            say,
            signed=True,
        ),
    )
    return tuple(chart for chart in found if chart.marks)


def _caption(evidence: Mapping[str, Any], say: Teller) -> str:
    told = say.t(_HELD_OUT_MEAN if held_out(evidence) else _MEASURED)
    return told.replace(" %", "\u00a0%")


def _score_rows(evidence: Mapping[str, Any], say: Teller) -> Iterator[_Row]:
    if held_out(evidence):
        found = mapping(evidence.get("cross_validation"))
        named = [(key, name, {"score": found.get(key)}) for key, name in HELD_OUT]
    else:
        test = mapping(evidence.get("test"))
        named = [(key, name, dict(mapping(test.get(key)))) for key, name in ARMS]
    for key, name, figures in named:
        told = (say.score(figures.get("score")), say.score_interval(figures))
        row = _row(say.t(name), told, figures, "score", bounds=(0, 1))
        if row is not None:
            yield replace(row, strong=True) if key in ("winner", "chosen") else row


def _gain_row(name: str, figures: Mapping[str, Any], evidence: Mapping[str, Any], say: Teller) -> _Row | None:
    told = (say.signed(figures.get("value")), say.gain_interval(figures))
    row = _row(name, told, figures, "value", bounds=(-1, 1))
    # What decided: the difference, unless it came from answers that could not be read.
    guessed = evidence.get("reason") == "no better than guessing"
    decisive = evidence.get("difference_over_guess" if guessed else "difference")
    return replace(row, strong=True) if row is not None and figures is decisive else row


def _row(
    name: str, told: tuple[str, str], figures: Mapping[str, Any], key: str, *, bounds: tuple[int, int]
) -> _Row | None:
    """Return a row; None where the value is missing or impossible, no interval where that is."""
    value, lower, upper = (number(figures.get(each)) for each in (key, "lower", "upper"))
    if value is None or not bounds[0] <= value <= bounds[1]:
        return None
    interval = None
    if lower is not None and upper is not None and bounds[0] <= lower <= upper <= bounds[1]:
        interval = (lower, upper)
    shown = told[0] if told[1] == ABSENT or interval is None else f"{told[0]} ({told[1]})"
    return _Row(name=name, told=shown, value=value, interval=interval, strong=False)


def _chart(titles: Titles, rows: Sequence[_Row], say: Teller, *, signed: bool = False) -> Chart:
    values = [v for row in rows for v in (row.value, *(row.interval or ()))] + [0.0] * signed
    low, high, step = _axis(values, ends=(-1 if signed else 0, 1), least=0.05 if signed else 0.2)
    marks = tuple(
        Mark(
            name=row.name,
            told=row.told,
            at=_place(row.value, low, high),
            ends=None
            if row.interval is None
            else (_place(row.interval[0], low, high), _place(row.interval[1], low, high)),
            strong=row.strong,
            text_y=k * _ROW + _TEXT,
            line_y=k * _ROW + _LINE,
        )
        for k, row in enumerate(rows)
    )
    return Chart(
        name=titles.name,
        title=titles.title,
        description="; ".join(f"{row.name}: {row.told}" for row in rows) + ".",
        caption=titles.caption,
        marks=marks,
        ticks=tuple(_ticks((low, high, step), say, signed=signed)),
        height=len(rows) * _ROW + _AXIS,
    )


def _axis(values: Sequence[float], *, ends: tuple[int, int], least: float) -> tuple[float, float, float]:
    """Return the ends of an axis and the distance of its ticks, so that every value lies on it.

    Args:
        ends: What the axis cannot go beyond.
        least: Its least length, so that a small difference does not look large.
    """
    low, high = min(values, default=0.0), max(values, default=0.0)
    step = next(step for step in _STEPS if max(high - low, least) <= (_MOST_TICKS - 1) * step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    while (last - first) * step < least - 1e-9:
        beyond = (last + 1) * step > ends[1] + 1e-9
        first, last = (first - 1, last) if beyond else (first, last + 1)
    return max(float(ends[0]), first * step), min(float(ends[1]), last * step), step


def _ticks(axis: tuple[float, float, float], say: Teller, *, signed: bool) -> Iterator[Tick]:
    low, high, step = axis
    for k in range(round((high - low) / step) + 1):
        value = round(low + k * step, 6)
        share = (value - low) / (high - low)
        zero = signed and value == 0
        yield Tick(
            at=_place(value, low, high),
            told=say.t("no difference") if zero else say.signed(value) if signed else say.score(value),
            anchor="start" if share < _END else "end" if share > 1 - _END else "middle",
            zero=zero,
        )


def _place(value: float, low: float, high: float) -> str:
    return f"{100 * (value - low) / (high - low):.2f}%"
