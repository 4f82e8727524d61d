"""What the looks came to, as lines, figures and a page: for `drift.py`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from drift_looks import Case, Looked, N
from drift_records import CONDITIONS

from optimizer.significance import Interval, wilson

SIGNS = ("score", "answers", "outcomes", "format", "length", "reading")
LEAST, MOST = 0.90, 0.05  # of all looks: detected, and false alarms


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All looks of one case at one prompt."""

    task: str
    case: Case
    looks: tuple[Looked, ...]

    @property
    def told(self) -> int:
        """Return in how many looks there was an alarm."""
        return sum(look.drifted for look in self.looks)

    @property
    def samples(self) -> bool:
        """Return whether the prompt states a temperature above 0."""
        return CONDITIONS[self.case.then][0] > 0

    @property
    def interval(self) -> Interval:
        """Return the share of alarms with its Wilson interval at 95 %."""
        return wilson(self.told, len(self.looks))

    @property
    def kept(self) -> bool:
        """Return whether the share is what it has to be."""
        share = self.told / len(self.looks)
        return share <= MOST if self.case.alarm else share >= LEAST

    @property
    def signs(self) -> dict[str, int]:
        """Return in how many looks each sign told."""
        return {name: sum(name in look.telling for look in self.looks) for name in SIGNS}

    @property
    def changed(self) -> dict[str, float]:
        """Return on how many examples each sign saw a change, the median look."""
        seen = [name for name in SIGNS if name in self.looks[0].changed]
        return {name: median(look.changed.get(name, 0) for look in self.looks) for name in seen}

    @property
    def scores(self) -> tuple[float, float]:
        """Return the mean scores then and now."""
        then, now = zip(*(look.scores for look in self.looks), strict=True)
        return fmean(x for x in then if x is not None), fmean(x for x in now if x is not None)

    @property
    def figures(self) -> dict[str, Any]:
        """Return the case as the file of results holds it."""
        interval = self.interval
        return {
            "task": self.task,
            "temperature": CONDITIONS[self.case.then][0],
            "case": self.case.name,
            "false_alarm": self.case.alarm,
            "looks": len(self.looks),
            "told": self.told,
            "interval": [round(interval.lower, 4), round(interval.upper, 4)],
            "kept": self.kept,
            "signs": self.signs,
            "changed": self.changed,
            "scores": [round(score, 4) for score in self.scores],
        }

    @property
    def line(self) -> str:
        """Return the case as a line of the table."""
        interval, changed = self.interval, self.changed
        by = ", ".join(f"{name} {n}" for name, n in self.signs.items() if n)
        differ = ", ".join(f"{name} {n:g}" for name, n in changed.items() if n)
        told = f"{self.told} of {len(self.looks)}"
        cells = (
            self.task,
            f"{CONDITIONS[self.case.then][0]:g}",
            self.case.name,
            told if self.kept else f"**{told}**",
            f"{100 * interval.lower:.1f} to {100 * interval.upper:.1f} %",
            by or "none",
            differ or "none",
            "{:.3f}, {:.3f}".format(*self.scores),
        )
        return f"| {' | '.join(cells)} |"


_HEAD = (
    "| task | temperature of the prompt | what happened | told | 95 % interval | looks in which each sign tells |"
    " examples that changed, median look | score then, now |\n|---|---|---|---|---|---|---|---|"
)

# Standard normal quantiles: of the score's share of the level, 0.025 on two sides, and of 90 looks of 100.
_LEVEL_Z, _POWER_Z = 2.24, 1.28


def page(about: Mapping[str, Any], outcomes: Sequence[Outcome]) -> str:
    """Return the page of results."""
    return "\n".join(_lines(about, outcomes)) + "\n"


def _lines(about: Mapping[str, Any], outcomes: Sequence[Outcome]) -> Iterator[str]:
    pools = ", ".join(f"{task} {used['pool']}" for task, used in about["seconds"].items())
    yield "# Drift of a real model: what `verify --rescore` tells\n"
    yield f"    {about['command']}\n"
    yield (
        f"SmolLM2-135M-Instruct, the embedded model. {about['seeds']} looks a case; each draws {about['n']} of a pool of"
        f" public examples ({pools}), another draw for every look and case. Real completions were recorded under"
        " every condition and are said again by a model at the seam of the providers; records, evaluation, pairing and"
        f" verdict are the product's own. The first {about['through']} looks of every case were also made by the command"
        " line in front of an HTTP endpoint, and told the same. `benchmarks/drift.py` says what each condition is.\n"
    )
    steady = [outcome for outcome in outcomes if not outcome.samples]
    sampled = [outcome for outcome in outcomes if outcome.samples]
    yield "Asked for: a change is told in at least 90 of 100 looks, an unchanged model gives an alarm in at most 5.\n"
    yield f"## A prompt at temperature 0\n\n{_HEAD}"
    yield from (outcome.line for outcome in steady)
    yield f"\n{_kept(steady)}\n"
    if sampled:
        yield f"## A prompt that samples\n\n{_HEAD}"
        yield from (outcome.line for outcome in sampled)
        yield f"\n{_kept(sampled)}\n"
        yield from _noise(sampled)
    for name in about["skipped"]:
        yield f"Skipped: {name}.\n"
    taken = "; ".join(
        f"{task} {used['model'] / 60:.0f} minutes of the model" for task, used in about["seconds"].items()
    )
    yield f"Time, on two cores that had much other work: {taken}; a look takes less than a second."


def _kept(outcomes: Sequence[Outcome]) -> str:
    """Return how many cases are what they have to be."""
    low = sum(not outcome.kept for outcome in outcomes)
    return f"In bold: {low} of {len(outcomes)} cases are not." if low else "All cases are."


def _noise(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield what chance alone does to the scores of prompts that sample."""
    for outcome in outcomes:
        if outcome.case.alarm:
            differ = outcome.changed["score"]
            share = differ / N
            needed = share * ((_LEVEL_Z + _POWER_Z) / 0.1) ** 2
            yield (
                f"{outcome.task}: two rounds of the unchanged model differ in {differ:g} of {N} scores by"
                " themselves, so texts say nothing and the score little. By the normal approximation a loss of 10 points"
                f" is told in 90 of 100 looks from about {math.ceil(needed / 10) * 10} examples on; at temperature 0 these"
                f" {N} do.\n"
            )
