"""The tables of how a prompt behaves: on each slice of the examples, and with perturbed inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

from optimizer.report._reading import ABSENT, items, mapping, number, text
from optimizer.report._table import Table, make_table
from optimizer.report._telling import Teller

_ARMS = ("baseline", "winner")


def slices_table(evidence: Mapping[str, Any], say: Teller) -> Table:
    """Return the scores of each slice."""
    rows = [
        _slice(mapping(column), mapping(value), say)
        for column in items(evidence.get("slices"))
        for value in items(mapping(column).get("values"))
    ]
    return make_table("slices", say.t("Scores by slice"), rows, words=(say.t("slice"), say.t("flag")))


def _slice(column: Mapping[str, Any], value: Mapping[str, Any], say: Teller) -> dict[str, str]:
    scores, loss = mapping(value.get("scores")), mapping(value.get("difference"))
    sides = {arm: mapping(scores.get(arm)) for arm in _ARMS}
    named = {"column": say.quoted(column.get("column")), "value": say.quoted(value.get("value"))}
    return {
        say.t("slice"): say.t("{column} is {value}", **named),
        say.t("examples"): text(sides["winner"].get("n", sides["baseline"].get("n"))),
        say.t("baseline"): say.score(sides["baseline"].get("score")),
        say.t("95 % interval of it"): say.score_interval(sides["baseline"]),
        say.t("winner"): say.score(sides["winner"].get("score")),
        say.t("95 % interval"): say.score_interval(sides["winner"]),
        say.t("difference"): say.gain(loss.get("value")),
        say.t("chance"): _chance(loss, say),
        say.t("flag"): say.t("worse") if loss.get("worse") is True else ABSENT,
    }


def _chance(loss: Mapping[str, Any], say: Teller) -> str:
    """Return how often chance alone would bring a loss as large; of what is no loss nothing is told."""
    value = number(loss.get("value"))
    return ABSENT if value is None or value >= 0 else say.chance(loss.get("adjusted"))


def gaps_table(evidence: Mapping[str, Any], say: Teller) -> Table:
    """Return the largest gap between slices of each column."""
    rows = [row for column in items(evidence.get("slices")) for row in _gaps(mapping(column), say)]
    words = (say.t("slices by"), say.t("prompt"), say.t("best"), say.t("worst"), say.t("flag"))
    return make_table("gaps", say.t("Largest gap between two slices"), rows, words=words)


def _gaps(column: Mapping[str, Any], say: Teller) -> Iterator[dict[str, str]]:
    for arm in _ARMS:
        gap = mapping(mapping(column.get("gaps")).get(arm))
        if gap:
            yield {
                say.t("slices by"): say.quoted(column.get("column")),
                say.t("prompt"): say.t(arm),
                say.t("best"): say.quoted(gap.get("highest")),
                say.t("worst"): say.quoted(gap.get("lowest")),
                say.t("gap"): say.score(gap.get("size")),
                say.t("chance"): say.chance(gap.get("adjusted")),
                say.t("flag"): say.t("beyond chance") if gap.get("flagged") is True else ABSENT,
            }


def robustness_table(evidence: Mapping[str, Any], say: Teller) -> Table:
    """Return how baseline and winner do with each perturbation."""
    found = mapping(evidence.get("robustness"))
    same = evidence.get("winner_fingerprint") == evidence.get("baseline_fingerprint")
    rows = [
        _perturbed(text(name), arm, mapping(mapping(found.get(arm)).get(text(name))), say)
        for name in items(found.get("perturbations"))
        for arm in (_ARMS[1:] if same else _ARMS)
    ]
    words = (say.t("perturbation"), say.t("prompt"), say.t("flag"))
    return make_table("robustness", say.t("Scores with perturbed inputs"), rows, words=words)


def _perturbed(name: str, arm: str, figures: Mapping[str, Any], say: Teller) -> dict[str, str]:
    loss, obedience = mapping(figures.get("difference")), mapping(figures.get("obedience"))
    flags = [
        *([say.t("worse")] if loss.get("worse") is True else []),
        *([say.t("obeys the data")] if obedience.get("flagged") is True else []),
    ]
    return {
        say.t("perturbation"): name,
        say.t("prompt"): say.t(arm),
        say.t("examples"): text(figures.get("n")),
        say.t("as they are"): say.score(figures.get("clean")),
        say.t("perturbed"): say.score(figures.get("score")),
        say.t("difference"): say.gain(loss.get("value")),
        say.t("95 % interval, in points"): say.gain_interval(loss),
        say.t("chance"): _chance(loss, say),
        say.t("obeyed"): _of(obedience, say) if obedience else ABSENT,
        say.t("flag"): ", ".join(flags) or ABSENT,
    }


def _of(obedience: Mapping[str, Any], say: Teller) -> str:
    return say.t("{n} of {total}", n=text(obedience.get("obeyed")), total=text(obedience.get("n")))


def consistency_in_words(evidence: Mapping[str, Any], say: Teller) -> str:
    """Return how often the winner's answers agree, or "" where it was asked once."""
    found = mapping(mapping(evidence.get("robustness")).get("consistency"))
    if number(found.get("share")) is None:
        return ""
    return say.t(
        "Asked again {repeats} more times, the winner gave one and the same answer to {share} of {n} examples.",
        repeats=text(found.get("repeats")),
        share=say.share(found.get("share")),
        n=text(found.get("n")),
    )
