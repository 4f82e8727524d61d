"""How often a change of the model is told, and how often one that never happened, over a hundred seeds of 150 examples."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from optimizer.drift import Drift, Pairs, drift
from optimizer.recording import Row

N = 150
SEEDS = 100

Rows = list[Row]


def row(n: int, *, right: bool, text: str, strict: bool = True, wrote: int = 3, read: int = 60) -> Row:
    return Row(
        id=f"{n:03d}",
        input="i",
        target="t",
        request=f"r{n}",
        completion=text,
        score=float(right),
        outcome="invalid" if text == "none" else "ok",
        strict=strict,
        prompt_tokens=read,
        completion_tokens=wrote,
    )


def certain(rng: np.random.Generator) -> Rows:
    """Return the answers of a model that always says the same."""
    return [row(n, right=bool(rng.random() < 0.75), text=f"t{n}") for n in range(N)]


def chances(rng: np.random.Generator, steady: float) -> list[float]:
    """Return how likely each example is answered right: surely or never for a share of them, else anything."""
    return [float(round(p)) if rng.random() < steady else float(p) for p in rng.beta(2.4, 0.8, N)]


def sampled(rng: np.random.Generator, p: list[float]) -> Rows:
    """Return answers as they are sampled: right or wrong, in the form or not, longer or shorter."""
    rows = []
    for n in range(N):
        right = bool(rng.random() < p[n])
        text = "none" if not right and rng.random() < 0.2 else f"{right}{rng.integers(3)}"
        strict, wrote = bool(rng.random() < 0.9), int(rng.geometric(0.2))
        rows.append(row(n, right=right, text=text, strict=strict, wrote=wrote, read=60 + n))
    return rows


def worse(rows: Rows, rng: np.random.Generator) -> Rows:
    """Return the answers with a tenth of all examples turned from right to wrong, and nothing else."""
    right = [n for n, each in enumerate(rows) if each.score == 1]
    turned = set(rng.choice(right, N // 10, replace=False).tolist())
    return [replace(each, score=0.0, completion="x") if n in turned else each for n, each in enumerate(rows)]


def noisy(rows: Rows, rng: np.random.Generator, share: float) -> Rows:
    """Return the answers with some other texts, right as often as not: requests are computed in other company."""
    turned = rng.random(N) < share
    return [
        replace(
            each, completion="y", score=float(rng.random() < 0.75), completion_tokens=int(rng.integers(1, 6))
        )
        if turned[n]
        else each
        for n, each in enumerate(rows)
    ]


def best_of(rng: np.random.Generator, p: list[float], k: int) -> Rows:
    """Return the answers of the one of k equally good prompts that scored the most on them."""
    scores = rng.random((k, N)) < p
    best = scores[scores.sum(axis=1).argmax()]
    return sampled(rng, [float(right) for right in best])  # sure of what it was


def looks(
    make: Callable[[np.random.Generator], tuple[Rows, Rows]],
    *,
    deterministic: bool,
    chosen_among: int = 1,
    seeds: int = SEEDS,
) -> list[Drift]:
    found = []
    for seed in range(seeds):
        then, now = make(np.random.default_rng(seed))
        pairs = Pairs(then=tuple(then), now=tuple(now))
        found.append(drift(pairs, same_requests=True, deterministic=deterministic, chosen_among=chosen_among))
    return found


def drifted(found: list[Drift]) -> int:
    return sum(each.verdict == "drifted" for each in found)


def test_a_tenth_that_turns_wrong_is_told_in_nine_of_ten_seeds() -> None:
    def make(rng: np.random.Generator) -> tuple[Rows, Rows]:
        then = certain(rng)
        return then, worse(then, rng)

    found = looks(make, deterministic=True)
    assert drifted(found) >= 90
    assert sum("score" in each.telling for each in found) >= 90
    # And where no digest may be compared, by the score alone.
    assert drifted(looks(make, deterministic=False)) >= 90


def test_a_tenth_that_turns_wrong_is_told_of_a_model_that_is_mostly_steady() -> None:
    def make(rng: np.random.Generator) -> tuple[Rows, Rows]:
        p = chances(rng, 0.9)
        return sampled(rng, p), worse(sampled(rng, p), rng)

    assert drifted(looks(make, deterministic=False)) >= 80


def test_other_sampling_is_told_by_the_answers() -> None:
    def make(rng: np.random.Generator) -> tuple[Rows, Rows]:
        then = certain(rng)
        return then, noisy(then, rng, 0.1)

    assert drifted(looks(make, deterministic=True)) >= 90


def test_another_context_setting_is_told_by_the_tokens_read() -> None:
    def make(rng: np.random.Generator) -> tuple[Rows, Rows]:
        then = sampled(rng, chances(rng, 0.5))
        return then, [replace(each, prompt_tokens=min(each.prompt_tokens, 180)) for each in then]

    assert drifted(looks(make, deterministic=False)) >= 90


def test_an_answer_that_grows_longer_is_told() -> None:
    def make(rng: np.random.Generator) -> tuple[Rows, Rows]:
        p = chances(rng, 0.5)
        longer = [replace(each, completion_tokens=2 * each.completion_tokens) for each in sampled(rng, p)]
        return sampled(rng, p), longer

    assert drifted(looks(make, deterministic=False)) >= 90


@pytest.mark.parametrize("steady", [0.0, 0.5, 0.9])
def test_a_sampled_model_that_did_not_change_gives_few_alarms(steady: float) -> None:
    def make(rng: np.random.Generator) -> tuple[Rows, Rows]:
        p = chances(rng, steady)
        return sampled(rng, p), sampled(rng, p)

    assert drifted(looks(make, deterministic=False)) <= 5


@pytest.mark.parametrize("share", [0.0, 0.005, 0.01])
def test_a_model_at_temperature_0_gives_few_alarms_for_what_company_its_requests_kept(share: float) -> None:
    def make(rng: np.random.Generator) -> tuple[Rows, Rows]:
        then = certain(rng)
        return noisy(then, rng, share), noisy(then, rng, share)

    assert drifted(looks(make, deterministic=True)) <= 5


@pytest.mark.parametrize("steady", [0.0, 0.5])
def test_a_prompt_that_its_own_answers_chose_gives_few_alarms(steady: float) -> None:
    def make(rng: np.random.Generator) -> tuple[Rows, Rows]:
        p = chances(rng, steady)
        return best_of(rng, p, 30), sampled(rng, p)

    assert drifted(looks(make, deterministic=False, chosen_among=30)) <= 5


def test_such_a_prompt_taken_for_one_that_nothing_chose_falls_back_too_often() -> None:
    def make(rng: np.random.Generator) -> tuple[Rows, Rows]:
        p = chances(rng, 0.0)
        return best_of(rng, p, 30), sampled(rng, p)

    assert drifted(looks(make, deterministic=False)) > 5


@pytest.mark.parametrize(("share", "at_least"), [(1, 50), (2, 95)])
def test_a_loss_of_a_prompt_that_its_own_answers_chose_is_told(share: int, at_least: int) -> None:
    def make(rng: np.random.Generator) -> tuple[Rows, Rows]:
        p = chances(rng, 0.5)
        now = sampled(rng, p)
        for _ in range(share):  # a tenth each
            now = worse(now, rng)
        return best_of(rng, p, 20), now

    assert drifted(looks(make, deterministic=False, chosen_among=20)) >= at_least
