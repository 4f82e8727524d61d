"""The score history: one row a trial, as it is stored and as it is shown."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optimizer.candidate import Parameter

Stage = Literal["baseline", "search", "confirm"]
State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One row of the score history.

    Attributes:
        trial: Our own number, from 0; there is a gap where a candidate was asked for and never scored.
        digest: Digest of the candidate.
        fingerprint: Fingerprint of its rendering.
        point: Where it lies in the search space.
        n: Examples it was asked about.
        score: The objective in [0, 1], or None when the trial failed.
        lower: Lower end of the score's interval, or None for an aggregate.
        valid: Share of completions an answer could be read from.
        errors: Examples without a score.
        feasible: Whether it keeps the study's constraints.
        broken: Those that it breaks, by name.
        outage: Whether an example is without a score that another attempt, later, may well bring.
        calls: Logical calls this trial pays for.
        cached: Calls it used that were paid for before.
        prompt_tokens: Tokens read for its answers; None where one of them does not state its own, as below.
        completion_tokens: Tokens written.
        cost_usd: What its answers cost, whoever paid for them; None where a price is not known.
    """

    trial: int
    stage: Stage
    state: State
    digest: str
    fingerprint: str
    point: Mapping[str, Parameter]
    n: int
    score: float | None
    lower: float | None
    upper: float | None
    valid: float | None
    errors: int
    feasible: bool
    outage: bool
    calls: int
    cached: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    parents: tuple[str, ...]
    broken: tuple[str, ...] = ()

    @property
    def tokens(self) -> int | None:
        """Return the tokens read and written for its answers; None where they are not known."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "TrialRecord":
        """Return the record that `dataclasses.asdict` took apart."""
        # Version 0.2 and earlier noted neither what a trial cost nor whether an outage had kept a score from it.
        before = {"outage": False, "cost_usd": None}
        lists = {name: tuple(value.get(name, ())) for name in ("parents", "broken")}
        return cls(**{**before, **value, **lists})


def history_entry(row: TrialRecord, parameters: Sequence[str]) -> dict[str, object]:
    """Return one trial as the frozen prompt shows it, and `history.csv` with its fingerprint.

    Args:
        parameters: Names of the decoding parameters in the space; the baseline has none of its own.
    """
    return {
        "trial": row.trial,
        "state": row.state,
        "stage": row.stage,
        "digest": row.digest,
        "instruction_id": row.point["instruction"],
        "demonstrations_id": row.point["demonstrations"],
        "style": row.point["style"],
        "format": row.point["format"],
        **{name: row.point.get(name) for name in parameters},
        "n": row.n,
        "score": row.score,
        "lower": row.lower,
        "upper": row.upper,
        "valid": row.valid,
        "errors": row.errors,
        "calls": row.calls,
        "cached": row.cached,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "cost_usd": row.cost_usd,
        "parents": " ".join(row.parents),
    }


def history_csv(history: Sequence[Mapping[str, object]]) -> str:
    """Return rows as the text of a table such as `history.csv`."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(row) for row in history)
    return stream.getvalue()
