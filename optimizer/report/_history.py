"""The history of the search as a table: every trial, the frozen prompt marked."""

from collections.abc import Mapping, Sequence
from typing import Any

from optimizer.frozen import FrozenPrompt
from optimizer.report._language import mark
from optimizer.report._reading import ABSENT, number, text
from optimizer.report._table import Table, make_table
from optimizer.report._telling import Teller

# Stages and states of a trial, as the page names them.
_NAMES = {
    name: name for name in (mark("baseline"), mark("search"), mark("confirm"), mark("pruned"), mark("failed"))
}

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


def history_table(frozen: FrozenPrompt, say: Teller) -> Table:
    """Return every trial in order."""
    trials = sorted(frozen.history, key=lambda row: _rank(row.get("trial")))
    parameters = sorted({name for row in trials for name in row} - set(_FIXED))
    words = (say.t("trial"), say.t("stage"), say.t("state"), say.t("instruction"), say.t("demos"))
    return make_table(
        "history",
        say.t("Every trial of the search"),
        [_cells(row, parameters, say) for row in trials],
        words=(*words, say.t("style"), say.t("format"), say.t("parents")),
        frozen=_frozen_rows(frozen, trials),
    )


def named(value: object, say: Teller) -> str:
    """Return the name of a stage or a state; what is none stands as it is."""
    found = text(value)
    return say.t(_NAMES[found]) if found in _NAMES else found


def _rank(trial: object) -> tuple[bool, float]:
    found = number(trial)
    return (found is None, found or 0.0)


def _cells(row: Mapping[str, Any], parameters: Sequence[str], say: Teller) -> dict[str, str]:
    # What is the same for every study that has none of it: finished trials, prices of nothing, no parents.
    state = row.get("state")
    return {
        say.t("trial"): text(row.get("trial")),
        say.t("stage"): named(row.get("stage"), say),
        say.t("state"): ABSENT if state == "complete" else named(state, say),
        say.t("instruction"): text(row.get("instruction_id")),
        say.t("demos"): text(row.get("demonstrations_id")),
        say.t("style"): text(row.get("style")),
        say.t("format"): text(row.get("format")),
        **{say.t("parameter {name}", name=name): say.count(row.get(name)) for name in parameters},
        say.t("score"): say.score(row.get("score")),
        say.t("95 % interval"): say.score_interval(row),
        say.t("examples"): text(row.get("n")),
        say.t("valid"): say.share(row.get("valid")),
        say.t("errors"): text(row.get("errors")),
        say.t("calls"): text(row.get("calls")),
        say.t("cached"): text(row.get("cached")),
        say.t("tokens in"): text(row.get("prompt_tokens")),
        say.t("tokens out"): text(row.get("completion_tokens")),
        say.t("cost"): say.amount(row.get("cost_usd") or None, "usd"),
        say.t("parents"): text(row.get("parents")),
    }


def _frozen_rows(frozen: FrozenPrompt, trials: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return which trials are the frozen prompt; none where the evidence does not name its candidate."""
    digest = frozen.evidence.get("frozen_digest")
    return [k for k, row in enumerate(trials) if digest is not None and row.get("digest") == digest]
