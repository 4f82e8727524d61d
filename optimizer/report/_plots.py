"""The plots of a study: how the search went, and what each prompt scores against what it reads and writes.

Places across are shares of the width, so a plot fits every screen without its text growing or shrinking.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from optimizer.history import TrialRecord
from optimizer.metrics import METRICS
from optimizer.report._fronts import Front
from optimizer.report._importance import Importance
from optimizer.report._language import mark
from optimizer.report._telling import Teller

_HEIGHT, _TOP, _BOTTOM = 260, 22, 30  # in pixels: the whole, above the highest place, below the lowest
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25)
_MOST_TICKS = 6
_LABEL = (14.0, 20.0)  # room of a label: in per cent of the width, in pixels
_LEFT, _RIGHT = 7.0, 97.0  # in per cent of the width: where the first and the last place lie

_LESS_IS_BETTER = mark(
    "Up and to the left is better. The height is the expected score. Coloured dots are the front: no other prompt is "
    "better in one of the measures without being worse in another."
)
_MORE_IS_BETTER = mark(
    "Up and to the right is better. The height is the expected score. Coloured dots are the front: no other prompt is "
    "better in one of the measures without being worse in another."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """One point: where it lies, what it says when it is pointed at, its interval, and how it is shown."""

    x: str
    y: float
    told: str
    ends: tuple[float, float] | None = None
    kind: str = ""
    label: str = ""

    @property
    def place(self) -> float:
        """Return where it lies across, in per cent of the width."""
        return float(self.x.removesuffix("%"))

    @property
    def anchor(self) -> str:
        """Return which end of the label is above the point, so that it does not leave the plot."""
        return "start" if self.place < 15 else "end" if self.place > 85 else "middle"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stroke:
    """One piece of a line."""

    x: tuple[str, str]
    y: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A plot: what it shows in words, its points and lines, and the ticks of its axes."""

    name: str
    title: str
    description: str
    caption: str
    dots: tuple[Dot, ...]
    strokes: tuple[Stroke, ...]
    across: tuple[tuple[str, str], ...]
    up: tuple[tuple[float, str], ...]
    height: int = _HEIGHT


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One bar: what it is for, its length as a share of the width, and that share in words."""

    name: str
    width: str
    told: str


def bars(found: Importance, say: Teller) -> tuple[Bar, ...]:
    """Return a bar for each dimension of the search, the longest first."""
    most = max((share for _, share in found.bars), default=1.0) or 1.0
    return tuple(
        Bar(name=name, width=f"{100 * max(0.0, share) / most:.2f}%", told=say.share(share))
        for name, share in found.bars
    )


def plots(trials: Sequence[TrialRecord], front: Front, say: Teller) -> tuple[Plot, ...]:
    """Return the plots that there is anything to show in: the trials, and the front against each of its measures."""
    made = (_trials(trials, say), *(_against(front, name, say) for name in front.measures))
    return tuple(plot for plot in made if len(plot.dots) > 1)


def _trials(trials: Sequence[TrialRecord], say: Teller) -> Plot:
    scored = [(row, row.score) for row in trials if row.score is not None]
    low, high, step = _scale([score for _, score in scored])
    last = max((row.trial for row, _ in scored), default=0) or 1
    places = [(row, _across(row.trial / last), _up(score, low, high)) for row, score in scored]
    highest = max((score for row, score in scored if row.feasible), default=None)
    return Plot(
        name="trials",
        title=say.t("Score by trial, and the best so far"),
        description=say.t(
            "{n} trials with a score; the highest is {score}.", n=len(scored), score=say.score(highest)
        ),
        caption=say.t(
            "A dot is a trial; the line is the best score so far. Hollow dots were stopped early or break a "
            "constraint, coloured ones saw all of validation. Most trials see a part of it only, and the best of many "
            "is a little lucky."
        ),
        dots=tuple(_trial_dot(row, x, y, say) for row, x, y in places),
        strokes=tuple(_best_so_far(places)),
        across=tuple((_across(k / last), say.t("trial {n}", n=k)) for k in sorted({0, last // 2, last})),
        up=tuple(_ticks(low, high, step, say)),
    )


def _best_so_far(places: Sequence[tuple[TrialRecord, str, float]]) -> Iterator[Stroke]:
    """Yield the pieces of a line that steps up to every new best; what breaks a constraint is none."""
    held: tuple[str, float] | None = None
    for row, x, y in places:
        if held is not None:
            yield Stroke(x=(held[0], x), y=(held[1], held[1]))
        if row.feasible and (held is None or y < held[1]):
            if held is not None:
                yield Stroke(x=(x, x), y=(held[1], y))
            held = (x, y)
        elif held is not None:
            held = (x, held[1])


def _trial_dot(row: TrialRecord, x: str, y: float, say: Teller) -> Dot:
    told = say.t(
        "trial {n}: {score} on {examples} examples",
        n=row.trial,
        score=say.score(row.score),
        examples=row.n - row.errors,
    )
    solid = row.state == "complete" and row.feasible
    return Dot(x=x, y=y, told=told, kind="strong" if row.stage == "confirm" else "" if solid else "hollow")


def _against(front: Front, measure: str, say: Teller) -> Plot:
    """Return the plot of the score against one measure."""
    placed = [
        (point, figure) for point in front.points if (figure := point.measures.get(measure)) is not None
    ]
    low, high, step = _scale([point.estimate for point, _ in placed])
    least, most, ticks = _measured_scale([figure for _, figure in placed])
    dots = []
    for point, figure in placed:
        arm = point.arm
        figures = {
            "score": say.score(point.estimate),
            "figure": say.language.brief(figure),
            "measure": say.t(measure),
        }
        dots.append(
            Dot(
                x=_across((figure - least) / (most - least)),
                y=_up(point.estimate, low, high),
                told=say.t("{name}: {score}, {measure} {figure}", name=arm.name, **figures),
                kind="strong" if point.front else "",
                label=arm.name if point.front or arm.role in ("baseline", "winner") else "",
            )
        )
    on_front = sum(point.front for point, _ in placed)
    return Plot(
        name=f"against-{measure}",
        title=say.t("Score against {measure} an example", measure=say.t(measure)),
        description=say.t("{n} prompts; {front} of them on the front.", n=len(dots), front=on_front),
        caption=say.t(_MORE_IS_BETTER if METRICS[measure].greater_is_better else _LESS_IS_BETTER),
        dots=tuple(_parted(dots)),
        strokes=(),
        across=tuple((_across((tick - least) / (most - least)), say.language.brief(tick)) for tick in ticks),
        up=tuple(_ticks(low, high, step, say)),
    )


def _parted(dots: Sequence[Dot]) -> Iterator[Dot]:
    """Yield points without those labels that would lie on another, of which the earlier stays."""
    taken: list[Dot] = []
    for dot in dots:
        near = any(
            abs(dot.y - other.y) < _LABEL[1] and abs(dot.place - other.place) < _LABEL[0] for other in taken
        )
        if dot.label and not near:
            taken.append(dot)
        yield replace(dot, label="") if near else dot


def _scale(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the ends of an axis of scores and the distance of its ticks, so that every value lies on it."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    step = next((step for step in _STEPS if max(high - low, 0.1) <= (_MOST_TICKS - 1) * step), _STEPS[-1])
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:  # no score is above 1, nor is the axis of scores
        first, last = (first - 1, last) if (last + 1) * step > 1 + 1e-9 else (first, last + 1)
    return first * step, last * step, step


def _measured_scale(values: Sequence[float]) -> tuple[float, float, tuple[float, ...]]:
    """Return the ends of an axis of some measure that is never below 0, and its ticks."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max(high - low, 0.1 * high) or 1.0
    least, most = max(0.0, low - 0.06 * room), high + 0.06 * room
    rough = (most - least) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    stride = next(k * size for k in (1, 2, 5, 10) if k * size >= rough)
    ticks = range(math.ceil(least / stride), math.floor(most / stride) + 1)
    return least, most, tuple(k * stride for k in ticks)


def _ticks(low: float, high: float, step: float, say: Teller) -> Iterator[tuple[float, str]]:
    for k in range(round((high - low) / step) + 1):
        value = low + k * step
        yield _up(value, low, high), say.decimal(value, 2)


def _across(share: float) -> str:
    return f"{_LEFT + (_RIGHT - _LEFT) * share:.2f}%"


def _up(value: float, low: float, high: float) -> float:
    return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low), 1)
