"""Flags: on which slices a prompt falls behind, as the evidence carries it.

A flag is raised where chance alone would seldom bring as much, allowing for how many slices were looked at: on a prompt
that does alike everywhere, in one study of twenty at most.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from optimizer.corrections import holm
from optimizer.dataset import Example, clusters_of
from optimizer.digest import derived_seed
from optimizer.evaluation import Evaluation
from optimizer.evidence import Pairing
from optimizer.significance import PairedComparison
from optimizer.slices import FEWEST, Gap, columns_of, slices_of, widest_gap

ALPHA = 0.05

# Slices of a column that are told, the largest; a column with more is most likely no column of slices.
_MOST = 30

Cell = tuple[str, str]  # column and value


def slice_figures(evaluations: Mapping[str, Evaluation], *, seed: int) -> list[dict[str, object]]:
    """Return what is told of each column of slices; nothing where the task names none.

    Args:
        evaluations: By name, of the same examples. Where there is a baseline and a winner, these are compared on every
            slice of enough examples.
    """
    examples = _examples(evaluations)
    rows = [example.slices for example in examples]
    gaps = {name: _gaps(evaluation, seed=seed) for name, evaluation in evaluations.items()}
    compared = _compared(evaluations, examples, seed=seed)
    told = []
    for column in columns_of(rows):
        values = list(slices_of(rows, column))
        told.append(
            {
                "column": column,
                "values": [
                    _value_figures(evaluations, (column, value), compared.get((column, value)), seed=seed)
                    for value in values[:_MOST]
                ],
                "left_out": len(values[_MOST:]),
                "gaps": {name: found.get(column) for name, found in gaps.items()},
            }
        )
    return told


def loss_p_value(comparison: PairedComparison) -> float:
    """Return how often chance alone would bring a loss as large, of one side of a test whose two sides are alike."""
    return comparison.p_value / 2 if comparison.difference < 0 else 1.0


def worse(comparison: PairedComparison, p_value: float) -> bool:
    """Return whether a comparison shows a loss, by a p value that allows for further tests and by the interval."""
    return p_value < ALPHA and comparison.difference < 0 and comparison.interval.upper < 0


def loss_figures(comparison: PairedComparison, adjusted: float) -> dict[str, object]:
    """Return a paired comparison among several as it is shown, and whether it is a loss.

    The p values are those of a loss: 1 for what is none, so they are told of losses alone.
    """
    return {
        "value": comparison.difference,
        "lower": comparison.interval.lower,
        "upper": comparison.interval.upper,
        "p_value": loss_p_value(comparison),
        "adjusted": adjusted,
        "n": comparison.n,
        "worse": worse(comparison, adjusted),
    }


def _examples(evaluations: Mapping[str, Evaluation]) -> list[Example]:
    every = (result.example for evaluation in evaluations.values() for result in evaluation.results)
    return list({example.id: example for example in every}.values())


def _part(evaluation: Evaluation, cell: Cell) -> Evaluation:
    kept = tuple(result for result in evaluation.results if cell in result.example.slices)
    return dataclasses.replace(evaluation, results=kept)


def _value_figures(
    evaluations: Mapping[str, Evaluation],
    cell: Cell,
    compared: tuple[PairedComparison, float] | None,
    *,
    seed: int,
) -> dict[str, object]:
    parts = {name: _part(evaluation, cell) for name, evaluation in evaluations.items()}
    return {
        "value": cell[1],
        "scores": {
            name: _score_figures(part, seed=derived_seed(seed, *cell, name)) for name, part in parts.items()
        },
        "difference": None if compared is None else loss_figures(*compared),
    }


def _score_figures(part: Evaluation, *, seed: int) -> dict[str, object]:
    interval = part.interval(seed=seed)
    return {
        "n": len(part.scored),
        "score": part.value,
        "lower": None if interval is None else interval.lower,
        "upper": None if interval is None else interval.upper,
    }


def _compared(
    evaluations: Mapping[str, Evaluation], examples: Sequence[Example], *, seed: int
) -> dict[Cell, tuple[PairedComparison, float]]:
    """Return winner minus baseline on each slice of enough examples, with its p value as one of several (Holm)."""
    if not {"baseline", "winner"} <= set(evaluations):
        return {}
    before, after = evaluations["baseline"], evaluations["winner"]
    if before.fingerprint == after.fingerprint:
        return {}
    found: dict[Cell, PairedComparison] = {}
    for cell in dict.fromkeys(cell for example in examples for cell in example.slices):
        part = tuple(example for example in examples if cell in example.slices)
        pairing = Pairing(examples=part, scorer=after.scorer, seed=derived_seed(seed, *cell))
        comparison = pairing.by_example(before, after)
        if comparison is not None and comparison.n >= FEWEST:
            found[cell] = comparison
    adjusted = holm([loss_p_value(comparison) for comparison in found.values()])
    return {cell: (found[cell], p_value) for cell, p_value in zip(found, adjusted, strict=True)}


def _gaps(evaluation: Evaluation, *, seed: int) -> dict[str, dict[str, object]]:
    """Return the largest gap of each column, with its p value as one of several (Holm)."""
    results = evaluation.scored
    rows, scores = [result.example.slices for result in results], list(evaluation.scores.values())
    statistic = evaluation.scorer.by_slice(results)
    found: list[Gap] = []
    for column in columns_of(rows):
        gap = widest_gap(
            rows,
            column,
            scores,
            seed=derived_seed(seed, "gap", column),
            clusters=clusters_of([result.example for result in results]),
            statistic=statistic,
        )
        found += [] if gap is None else [gap]
    adjusted = holm([gap.p_value for gap in found])
    return {
        gap.column: {
            "size": gap.size,
            "highest": gap.highest,
            "lowest": gap.lowest,
            "p_value": gap.p_value,
            "adjusted": p_value,
            "flagged": p_value < ALPHA,
        }
        for gap, p_value in zip(found, adjusted, strict=True)
    }
