"""The history of the search as a table: every trial, the frozen prompt marked."""

from collections.abc import Mapping, Sequence
from typing import Any

from optimizer.frozen import FrozenPrompt
from optimizer.report._reading import (
    ABSENT,
    amount,
    number,
    score,
    score_interval,
    share,
    text,
)
from optimizer.report._table import Table, make_table

# What an entry holds beside the decoding parameters of the space, which have names of their own.
_FIXED = (
    *(
        "trial",
        "state",
        "stage",
        "digest",
        "fingerprint",
        "instruction_id",
        "demonstrations_id",
        "style",
        "format",
    ),
    *(
        "n",
        "score",
        "lower",
        "upper",
        "valid",
        "errors",
        "calls",
        "cached",
        "prompt_tokens",
        "completion_tokens",
    ),
    *("cost_usd", "parents"),
)


def history_table(frozen: FrozenPrompt) -> Table:
    """Return every trial in order."""
    trials = sorted(frozen.history, key=lambda row: _rank(row.get("trial")))
    parameters = sorted({name for row in trials for name in row} - set(_FIXED))
    return make_table(
        "history",
        "Every trial of the search",
        [_cells(row, parameters) for row in trials],
        words=("trial", "stage", "state", "instruction", "demos", "style", "format", "parents"),
        frozen=_frozen_rows(frozen, trials),
    )


def _rank(trial: object) -> tuple[bool, float]:
    found = number(trial)
    return (found is None, found or 0.0)


def _cells(row: Mapping[str, Any], parameters: Sequence[str]) -> dict[str, str]:
    # What is the same for every study that has none of it: finished trials, prices of nothing, no parents.
    state = row.get("state")
    return {
        "trial": text(row.get("trial")),
        "stage": text(row.get("stage")),
        "state": ABSENT if state == "complete" else text(state),
        "instruction": text(row.get("instruction_id")),
        "demos": text(row.get("demonstrations_id")),
        "style": text(row.get("style")),
        "format": text(row.get("format")),
        **{f"parameter {name}": text(row.get(name)) for name in parameters},
        "score": score(row.get("score")),
        "95 % interval": score_interval(row),
        "examples": text(row.get("n")),
        "valid": share(row.get("valid")),
        "errors": text(row.get("errors")),
        "calls": text(row.get("calls")),
        "cached": text(row.get("cached")),
        "tokens in": text(row.get("prompt_tokens")),
        "tokens out": text(row.get("completion_tokens")),
        "cost": amount(row.get("cost_usd") or None, "usd"),
        "parents": text(row.get("parents")),
    }


def _frozen_rows(frozen: FrozenPrompt, trials: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return which trials are the frozen prompt; none where the evidence does not name its candidate."""
    digest = frozen.evidence.get("frozen_digest")
    return [k for k, row in enumerate(trials) if digest is not None and row.get("digest") == digest]
