"""What the search itself takes: of each decision with many prompts on record, and of a study beside its calls.

The time is that of one core, and of a replay in which an answer takes no time. A decision of the sampler is one
`ask` of Optuna's, with at least `ON_RECORD` prompts asked for before it.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from search_runs import NO_FACTORS, searches

from optimizer.recorded import RecordedScores
from optimizer.simulation import simulate

ON_RECORD = 500
SIDE, EXAMPLES, EVALUATIONS = 25, 100, 150
# Wanted: a decision of the sampler in so many milliseconds.
ALLOWED = 10.0
SECONDS_PER_CALL = 0.05
# How many calls are under way at once.
CONCURRENCIES = (1, 8)

Space = dict[str, BaseDistribution]


class Ask(NamedTuple):
    """One ask: how many there were before it, and what it took."""

    before: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """One search on one large table.

    Attributes:
        prompts: That were on record at the end.
        decision: Mean milliseconds of the sampler's asks with many prompts on record; of all asks where there never
            were so many, and None where the search asks for none.
        usual: Median of the same.
        slowest: The 95th percentile of the same.
        on_record: Prompts on record at the first of these asks.
        seconds: The whole replay.
        shares: Of the wall time of a study, by calls under way at once.
    """

    search: str
    prompts: int
    calls: int
    decision: float | None
    usual: float | None
    slowest: float | None
    on_record: int | None
    seconds: float
    shares: dict[int, float]

    def cells(self) -> dict[str, str]:
        return {
            "search": self.search,
            "prompts tried": str(self.prompts),
            "calls": str(self.calls),
            "on record from": "no ask" if self.on_record is None else str(self.on_record),
            "ms of an ask, mean": _shown(self.decision),
            "median": _shown(self.usual),
            "95th percentile": _shown(self.slowest),
            "whole replay, s": f"{self.seconds:.2f}",
            "ms a prompt": f"{1000 * self.seconds / self.prompts:.2f}",
            **{f"share of wall time, {n} at once": f"{share:.2%}" for n, share in self.shares.items()},
        }


def timed(on_record: int = ON_RECORD) -> Iterator[Timed]:
    """Yield a row for each search; what knows no factors takes no longer."""
    table = large_table()
    for name, (sampler, pruner, use_factors) in searches().items():
        if name == NO_FACTORS:
            continue
        with _asks() as asks:
            started = time.process_time()
            calls = EVALUATIONS * EXAMPLES
            found = simulate(
                table, calls=calls, seed=0, sampler=sampler, pruner=pruner, use_factors=use_factors
            )
            seconds = time.process_time() - started
        late = [ask for ask in asks if ask.before >= on_record] or asks
        lengths = [1000 * ask.seconds for ask in late]
        yield Timed(
            search=name,
            prompts=found.tried,
            calls=found.calls,
            decision=statistics.fmean(lengths) if late else None,
            usual=statistics.median(lengths) if late else None,
            slowest=float(np.percentile(lengths, 95)) if late else None,
            on_record=late[0].before if late else None,
            seconds=seconds,
            shares={n: seconds / (seconds + found.calls * SECONDS_PER_CALL / n) for n in CONCURRENCIES},
        )


def large_table() -> RecordedScores:
    """Return 0/1 scores of prompts made of two factors."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 0.08, (2, SIDE))
    hard = rng.normal(0, 0.2, EXAMPLES)
    means = np.clip(0.6 + first[:, None, None] + second[None, :, None] + hard, 0, 1)
    scores = (rng.random(means.shape) < means).astype(np.float64).reshape(SIDE * SIDE, EXAMPLES)
    arms = [f"p{k:03d}" for k in range(SIDE * SIDE)]
    return RecordedScores(
        baseline=arms[0],
        scores={
            arm: {f"e{j:02d}": s for j, s in enumerate(row)}
            for arm, row in zip(arms, scores.tolist(), strict=True)
        },
        factors={
            arm: {"wording": f"w{k // SIDE:02d}", "style": f"s{k % SIDE:02d}"} for k, arm in enumerate(arms)
        },
        test_scores={},
    )


def _shown(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.2f}"


@contextmanager
def _asks() -> Iterator[Sequence[Ask]]:
    """Note what Optuna's studies are asked within."""
    noted, inner = list[Ask](), optuna.study.Study.ask

    def ask(study: optuna.Study, fixed_distributions: Space | None = None) -> optuna.Trial:
        started = time.process_time()
        trial = inner(study, fixed_distributions)
        noted.append(Ask(trial.number, time.process_time() - started))
        return trial

    with patch.object(optuna.study.Study, "ask", ask):  # nothing else sees every ask of any search
        yield noted
