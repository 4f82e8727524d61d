"""The tables of how a prompt behaves: on each slice of the examples, and with perturbed inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

from optimizer.explanation import shortened
from optimizer.report._reading import (
    ABSENT,
    chance,
    gain,
    gain_interval,
    items,
    mapping,
    score,
    score_interval,
    share,
    text,
)
from optimizer.report._table import Table, make_table

_ARMS = ("baseline", "winner")


def slices_table(evidence: Mapping[str, Any]) -> Table:
    """Return the scores of each slice."""
    rows = [
        _slice(mapping(column), mapping(value))
        for column in items(evidence.get("slices"))
        for value in items(mapping(column).get("values"))
    ]
    return make_table("slices", "Scores by slice", rows, words=("slice", "flag"))


def _slice(column: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, str]:
    scores, loss = mapping(value.get("scores")), mapping(value.get("difference"))
    sides = {arm: mapping(scores.get(arm)) for arm in _ARMS}
    return {
        "slice": f"{_quoted(column.get('column'))} is {_quoted(value.get('value'))}",
        "examples": text(sides["winner"].get("n", sides["baseline"].get("n"))),
        "baseline": score(sides["baseline"].get("score")),
        "95 % interval of it": score_interval(sides["baseline"]),
        "winner": score(sides["winner"].get("score")),
        "95 % interval": score_interval(sides["winner"]),
        "difference": gain(loss.get("value")),
        "chance": chance(loss.get("adjusted")),
        "flag": "worse" if loss.get("worse") is True else ABSENT,
    }


def gaps_table(evidence: Mapping[str, Any]) -> Table:
    """Return the largest gap between slices of each column."""
    rows = [row for column in items(evidence.get("slices")) for row in _gaps(mapping(column))]
    return make_table(
        "gaps", "Largest gap between two slices", rows, words=("slices by", "prompt", "best", "worst", "flag")
    )


def _gaps(column: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for arm in _ARMS:
        gap = mapping(mapping(column.get("gaps")).get(arm))
        if gap:
            yield {
                "slices by": _quoted(column.get("column")),
                "prompt": arm,
                "best": _quoted(gap.get("highest")),
                "worst": _quoted(gap.get("lowest")),
                "gap": score(gap.get("size")),
                "chance": chance(gap.get("adjusted")),
                "flag": "beyond chance" if gap.get("flagged") is True else ABSENT,
            }


def robustness_table(evidence: Mapping[str, Any]) -> Table:
    """Return how baseline and winner do with each perturbation."""
    found = mapping(evidence.get("robustness"))
    same = evidence.get("winner_fingerprint") == evidence.get("baseline_fingerprint")
    rows = [
        _perturbed(text(name), arm, mapping(mapping(found.get(arm)).get(text(name))))
        for name in items(found.get("perturbations"))
        for arm in (_ARMS[1:] if same else _ARMS)
    ]
    return make_table(
        "robustness", "Scores with perturbed inputs", rows, words=("perturbation", "prompt", "flag")
    )


def _perturbed(name: str, arm: str, figures: Mapping[str, Any]) -> dict[str, str]:
    loss, obedience = mapping(figures.get("difference")), mapping(figures.get("obedience"))
    flags = [
        *(["worse"] if loss.get("worse") is True else []),
        *(["obeys the data"] if obedience.get("flagged") is True else []),
    ]
    return {
        "perturbation": name,
        "prompt": arm,
        "examples": text(figures.get("n")),
        "as they are": score(figures.get("clean")),
        "perturbed": score(figures.get("score")),
        "difference": gain(loss.get("value")),
        "95 % interval, in points": gain_interval(loss),
        "chance": chance(loss.get("adjusted")),
        "obeyed": f"{text(obedience.get('obeyed'))} of {text(obedience.get('n'))}" if obedience else ABSENT,
        "flag": ", ".join(flags) or ABSENT,
    }


def consistency_in_words(evidence: Mapping[str, Any]) -> str:
    """Return how often the winner's answers agree, or "" where it was asked once."""
    found = mapping(mapping(evidence.get("robustness")).get("consistency"))
    if share(found.get("share")) == ABSENT:
        return ""
    return (
        f"Asked again {text(found.get('repeats'))} more times, the winner gave one and the same answer to "
        f"{share(found.get('share'))} of {text(found.get('n'))} examples."
    )


def _quoted(value: object) -> str:
    return shortened(value) if isinstance(value, str) else ABSENT
