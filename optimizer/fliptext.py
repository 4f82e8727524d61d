"""Flips in words, and as plain data."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from optimizer.cautions import USUAL_LEVEL
from optimizer.evidence import comparison_figures
from optimizer.explanation import (
    named_apart,
    p_text,
    percent,
    score_text,
    shortened,
    signed_points,
)
from optimizer.flips import (
    Change,
    Flip,
    Flips,
    Tally,
    by_confusion,
    by_outcome,
    by_slice,
    result_figures,
)
from optimizer.viewed import caution

# Confusions and slices that a sentence or a table shows; the JSON has them all.
_MOST_NAMED = 3


def in_words(flips: Flips) -> list[str]:
    """Return what flipped and why, as sentences."""
    return [*difference_in_words(flips), *_why(flips), *_where(flips), *_cautions(flips)]


def difference_in_words(flips: Flips) -> Iterator[str]:
    """Yield what the difference is, how sure it is, and how many examples went which way."""
    comparison, interval = flips.comparison, flips.comparison.interval
    first, second = flips.scores
    on = f"On the {len(flips.rows)} {flips.split} examples".replace("  ", " ")
    metric = f" ({flips.after.metric})" if flips.after.metric else ""
    level = "" if interval.level == USUAL_LEVEL else f"{percent(interval.level)}: "
    ends = f"{level}{signed_points(interval.lower)} to {signed_points(interval.upper)}"
    sure = "" if flips.alone else f" ({ends}, {p_text(comparison.p_value)})"
    yield (
        f"{on} that both have a score for, {flips.after.name} scores {score_text(second)}{metric} and "
        f"{flips.before.name} {score_text(first)}: {signed_points(comparison.difference)} points{sure}."
    )
    if flips.alone:
        yield "Which of them belong together in groups is not known without the data, so nor is how sure that is."
    elif comparison.p_value >= 1 - interval.level and not interval.lower <= 0 <= interval.upper:
        yield (
            "The interval alone would speak for a difference, but the p value, which is exact where the interval is not, "
            "does not."
        )
    counts = flips.counts
    same = [f"{counts[name]} {told}" for name, told in _SAME.items() if counts[name]]
    went = [f"{_counted(counts['improved'], 'example')} improved", f"{counts['regressed']} regressed", *same]
    yield f"{', '.join(went)}."


_SAME: dict[Change, str] = {
    "both right": "are right in both",
    "both wrong": "wrong in both",
    "equal": "score alike",
}


def _why(flips: Flips) -> Iterator[str]:
    if not flips.flipped:
        yield "No example flipped, so there is nothing to explain."
        return
    parts, counts = flips.parts, Counter(row.reason for row in flips.rows)
    readable, lost = counts["became readable"], counts["became unreadable"]
    if readable or lost:
        better = sum(row.reason == "became readable" and row.change == "improved" for row in flips.rows)
        less = (
            f"; {signed_points(parts['became unreadable'])} from {lost} that became unreadable"
            if lost
            else ""
        )
        yield (
            f"{signed_points(parts['became readable'])} points come from {_counted(readable, 'answer')} that became readable, "
            f"of which {better} score better for it{less}."
        )
    both = counts["another answer"] + counts["the same answer"]
    if both:
        rest = parts["another answer"] + parts["the same answer"]
        yield (
            f"{signed_points(rest)} points come from other answers to the {_counted(both, 'example')} that both prompts could "
            "be read on."
        )
    else:
        yield "There is no example that both prompts could be read on, so nothing is known of better answers as such."


def _where(flips: Flips) -> Iterator[str]:
    """Yield the confusions that flipped most, where answers repeat themselves, and the slices that gained and lost most."""
    repeated = [tally for tally in by_confusion(flips) if tally.n > 1][:_MOST_NAMED]
    if repeated:
        named = named_apart(name for tally in repeated for name in tally.name)
        told = (
            f"{named[before]} became {named[after]} where {named[target]} is right ({tally.n})"
            for tally in repeated
            for target, before, after in [tally.name]
        )
        yield f"Most often {'; '.join(told)}."
    for column, tallies in by_slice(flips).items():
        worse = [tally for tally in tallies if tally.regressed > tally.improved]
        if worse:
            values = named_apart(tally.name[0] for tally in tallies)
            listed = ", ".join(f"{values[tally.name[0]]} ({signed_points(tally.gain)})" for tally in worse)
            yield f"By {shortened(column)}, more regressed than improved where it is {listed}."


def _cautions(flips: Flips) -> Iterator[str]:
    if flips.before.model != flips.after.model:
        yield f"Caution: two models answered, {flips.before.model or 'unknown'} and {flips.after.model or 'unknown'}."
    if (told := caution(flips.split)) is not None:
        yield told


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def figures(flips: Flips) -> dict[str, object]:
    """Return all of it as plain data."""
    first, second = flips.scores
    return {
        "split": flips.split or None,
        "metric": flips.after.metric or None,
        "before": {
            "name": flips.before.name,
            "fingerprint": flips.before.template.fingerprint,
            "score": first,
        },
        "after": {"name": flips.after.name, "fingerprint": flips.after.template.fingerprint, "score": second},
        "difference": comparison_figures(flips.comparison),
        "counts": dict(flips.counts),
        "parts": dict(flips.parts),
        "by_outcome": [_tally_figures(t, ("before", "after")) for t in by_outcome(flips)],
        "by_confusion": [_tally_figures(t, ("target", "before", "after")) for t in by_confusion(flips)],
        "by_slice": {
            column: [_tally_figures(tally, ("value",)) for tally in tallies]
            for column, tallies in by_slice(flips).items()
        },
        "examples": [row_figures(row) for row in flips.rows],
        "in_words": in_words(flips),
    }


def _tally_figures(tally: Tally, names: Sequence[str]) -> dict[str, object]:
    counted = {"n": tally.n, "improved": tally.improved, "regressed": tally.regressed, "gain": tally.gain}
    return {**dict(zip(names, tally.name, strict=True)), **counted}


def row_figures(row: Flip) -> Mapping[str, object]:
    """Return one example as plain data."""
    return {
        "id": row.id,
        "change": row.change,
        "reason": row.reason,
        "inputs": None if row.example is None else row.example.values,
        "target": None if row.example is None else row.example.target,
        "slices": None if row.example is None else dict(row.example.slices),
        "before": result_figures(row.before),
        "after": result_figures(row.after),
    }
