"""The tables of how a prompt behaves: on each slice of the examples, and with perturbed inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

from optimizer.report._reading import ABSENT, items, mapping, number, stand_in_of, text
from optimizer.report._table import Table, make_table
from optimizer.report._telling import Teller

_ARMS = ("baseline", "winner")


def slices_table(evidence: Mapping[str, Any], say: Teller) -> Table:
    """Return the scores of each slice."""
    rows = [
        _slice(column, mapping(value), named, (difference_of(evidence, say), say))
        for column in map(mapping, items(evidence.get("slices")))
        for named in [_named(column, say)]
        for value in items(column.get("values"))
    ]
    return make_table("slices", say.t("Scores by slice"), rows, words=(say.t("slice"), say.t("flag")))


def difference_of(evidence: Mapping[str, Any], say: Teller) -> str:
    """Return the heading of differences between scores by example, which may be of another metric than the scores."""
    stand_in = stand_in_of(evidence)
    return say.t("difference in {metric}", metric=stand_in) if stand_in else say.t("difference")


def stand_in_in_words(evidence: Mapping[str, Any], say: Teller) -> str:
    """Return why differences are of another metric than the scores beside them, or "" where they are not."""
    if not (stand_in := stand_in_of(evidence)):
        return ""
    return say.t(
        "{metric} has no score of a single example: differences, chances and flags are those of {stand_in}, which may go "
        "another way.",
        metric=text(evidence.get("metric")),
        stand_in=stand_in,
    )


def _named(column: Mapping[str, Any], say: Teller) -> dict[str, str]:
    """Return the values of a column as a table shows them, those of its largest gaps too."""
    gaps = [mapping(gap) for gap in mapping(column.get("gaps")).values()]
    values = [mapping(value).get("value") for value in items(column.get("values"))]
    return say.named_apart([*values, *(gap.get(end) for gap in gaps for end in ("highest", "lowest"))])


def _slice(
    column: Mapping[str, Any], value: Mapping[str, Any], named: Mapping[str, str], told: tuple[str, Teller]
) -> dict[str, str]:
    difference, say = told
    scores, loss = mapping(value.get("scores")), mapping(value.get("difference"))
    sides = {arm: mapping(scores.get(arm)) for arm in _ARMS}
    place = {"column": say.quoted(column.get("column")), "value": _one(value.get("value"), named)}
    return {
        say.t("slice"): say.t("{column} is {value}", **place),
        say.t("examples"): text(sides["winner"].get("n", sides["baseline"].get("n"))),
        say.t("baseline"): say.score(sides["baseline"].get("score")),
        say.t("95 % interval of it"): say.score_interval(sides["baseline"]),
        say.t("winner"): say.score(sides["winner"].get("score")),
        say.t("95 % interval"): say.score_interval(sides["winner"]),
        difference: say.gain(loss.get("value")),
        say.t("chance"): _chance(loss, say),
        say.t("flag"): say.t("worse") if loss.get("worse") is True else ABSENT,
    }


def _one(value: object, named: Mapping[str, str]) -> str:
    return named.get(value, ABSENT) if isinstance(value, str) else ABSENT


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
    named = _named(column, say)
    for arm in _ARMS:
        gap = mapping(mapping(column.get("gaps")).get(arm))
        if gap:
            yield {
                say.t("slices by"): say.quoted(column.get("column")),
                say.t("prompt"): say.t(arm),
                say.t("best"): _one(gap.get("highest"), named),
                say.t("worst"): _one(gap.get("lowest"), named),
                say.t("gap"): say.score(gap.get("size")),
                say.t("chance"): say.chance(gap.get("adjusted")),
                say.t("flag"): say.t("beyond chance") if gap.get("flagged") is True else ABSENT,
            }


def robustness_table(evidence: Mapping[str, Any], say: Teller) -> Table:
    """Return how baseline and winner do with each perturbation."""
    found = mapping(evidence.get("robustness"))
    same = evidence.get("winner_fingerprint") == evidence.get("baseline_fingerprint")
    difference = difference_of(evidence, say)
    rows = [
        _perturbed((text(name), arm), mapping(mapping(found.get(arm)).get(text(name))), difference, say)
        for name in items(found.get("perturbations"))
        for arm in (_ARMS[1:] if same else _ARMS)
    ]
    words = (say.t("perturbation"), say.t("prompt"), say.t("flag"))
    return make_table("robustness", say.t("Scores with perturbed inputs"), rows, words=words)


def _perturbed(
    named: tuple[str, str], figures: Mapping[str, Any], difference: str, say: Teller
) -> dict[str, str]:
    name, arm = named
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
        difference: say.gain(loss.get("value")),
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
    examples = say.plural(int(number(found.get("n")) or 0), "{n} example", "{n} examples")
    return say.plural(
        int(number(found.get("repeats")) or 0),
        "Asked again {n} more time, the winner gave one and the same answer to {share} of {examples}.",
        "Asked again {n} more times, the winner gave one and the same answer to {share} of {examples}.",
        share=say.share(found.get("share")),
        examples=examples,
    )
