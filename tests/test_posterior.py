"""Posterior means of arms: by hand, against explicit conditioning of a normal distribution, and what must not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from optimizer.posterior import SCALES, SCEPTICAL, SHARED, Array, Kinship, _Cells, _Fit, arm_posterior

NAN = float("nan")
few = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 10_000)


def table(seed: int, *, arms: int = 12, examples: int = 30, spread: float = 0.15, held: float = 1.0) -> Array:
    """Return 0/1 scores of arms whose means are drawn; a share of the cells is held, at least the first of each arm."""
    rng = np.random.default_rng(seed)
    means, effects = rng.normal(0.5, spread, arms), rng.normal(0, 0.2, examples)
    scores = (rng.random((arms, examples)) < means[:, None] + effects).astype(float)
    mask = rng.random(scores.shape) < held
    mask[:, 0] = True
    return np.where(mask, scores, NAN)


def levels(seed: int, arms: int) -> list[dict[str, str]]:
    rng = np.random.default_rng(seed)
    return [{"style": f"s{rng.integers(3)}", "wording": f"w{rng.integers(4)}"} for _ in range(arms)]


def test_with_many_scores_the_mean_of_an_arm_is_what_it_scored() -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random((6, 3000)) < np.linspace(0.2, 0.9, 6)[:, None]).astype(float)
    found = arm_posterior(scores)
    assert found.means == pytest.approx(scores.mean(axis=1), abs=0.005)
    assert found.deviations == pytest.approx(np.sqrt(scores.var(axis=1) / 3000), abs=0.004)


def test_an_arm_of_few_scores_is_drawn_to_the_others_more_than_one_of_many() -> None:
    scores = np.full((4, 40), NAN)
    scores[0], scores[1] = np.tile([1.0, 0.0], 20), np.tile([0.0, 1.0], 20)  # half of them
    scores[2] = 1.0
    scores[3, :2] = 1.0
    found = arm_posterior(scores)
    assert 0.5 < found.means[3] < found.means[2] - 0.1 < 1.0
    assert found.deviations[3] > 1.5 * found.deviations[2]


def test_an_arm_without_a_score_gets_the_mean_of_its_kin() -> None:
    rows = [{"style": style, "wording": wording} for style in ("good", "bad") for wording in "abcd"]
    rng = np.random.default_rng(1)
    chances = [0.9 if row["style"] == "good" else 0.3 for row in rows]
    scores = np.vstack([(rng.random(60) < chance).astype(float) for chance in chances])
    scores[3] = scores[7] = NAN
    kin, strangers = arm_posterior(scores, Kinship.of(rows)), arm_posterior(scores)
    assert kin.means[3] > strangers.means[3] + 0.05
    assert kin.means[7] < strangers.means[7] - 0.05
    assert kin.deviations[3] > 2 * kin.deviations[0]
    assert strangers.means[3] == strangers.means[7] == pytest.approx(np.nanmean(scores), abs=0.02)
    assert strangers.deviations[3] == strangers.deviations[7] >= kin.deviations[3]


def test_kin_that_do_well_speak_for_an_arm_of_few_scores() -> None:
    rows = [{"style": "good", "wording": w} for w in "abc"] + [{"style": "bad", "wording": w} for w in "def"]
    scores = np.zeros((6, 30))
    scores[:2] = 1.0
    scores[2, 2:] = scores[5, 2:] = NAN
    scores[2, :2] = scores[5, :2] = (1.0, 0.0)
    kin, strangers = arm_posterior(scores, Kinship.of(rows)), arm_posterior(scores)
    assert strangers.means[2] == strangers.means[5]
    assert kin.means[2] > kin.means[5] + 0.05


def test_who_was_asked_easy_examples_is_not_ahead() -> None:
    rng = np.random.default_rng(2)
    scores = (rng.random((20, 40)) < np.where(np.arange(40) < 20, 0.9, 0.2)).astype(float)
    scores[0] = np.where(np.arange(40) < 20, np.tile([1.0] * 9 + [0.0], 4), NAN)  # 18 of 20 easy ones
    scores[1] = np.where(np.arange(40) < 20, NAN, np.tile([1.0] * 2 + [0.0] * 8, 4))  # 4 of 20 hard ones
    found = arm_posterior(scores)
    assert found.means[0] == pytest.approx(found.means[1], abs=0.05)
    assert found.examples[:20].min() > found.examples[20:].max()


def test_a_prior_that_has_to_be_overcome_takes_back_what_luck_gave() -> None:
    rng = np.random.default_rng(3)
    equal = (rng.random((100, 30)) < 0.5).astype(float)
    usual, sceptical = arm_posterior(equal), arm_posterior(equal, usual=SCEPTICAL)
    assert equal.mean(axis=1).max() > 0.7
    assert usual.means.max() < 0.62
    assert sceptical.means.max() < 0.53
    apart = table(3, arms=60, spread=0.25)
    assert arm_posterior(apart, usual=SCEPTICAL).means == pytest.approx(arm_posterior(apart).means, abs=0.06)


@few
@given(seeds, st.booleans())
def test_neither_the_order_of_arms_nor_that_of_examples_matters(seed: int, settled: bool) -> None:
    scores, rows = table(seed, held=0.6), levels(seed, 12)
    rng = np.random.default_rng(seed)
    arms, examples = rng.permutation(12), rng.permutation(30)
    first = arm_posterior(scores, Kinship.of(rows), settled=settled)
    mixed = scores[np.ix_(arms, examples)]
    second = arm_posterior(mixed, Kinship.of([rows[k] for k in arms]), settled=settled)
    assert second.means == pytest.approx(first.means[arms], abs=1e-9)
    assert second.deviations == pytest.approx(first.deviations[arms], abs=1e-9)
    assert second.examples == pytest.approx(first.examples[examples], abs=1e-9)


@few
@given(seeds, st.sampled_from([0.05, 0.3, 1.0]), st.booleans(), st.booleans())
def test_means_are_finite_and_between_the_extremes_for_any_holes(
    seed: int, held: float, related: bool, settled: bool
) -> None:
    scores = table(seed, held=held)
    scores[seed % 12] = NAN
    found = arm_posterior(scores, Kinship.of(levels(seed, 12)) if related else None, settled=settled)
    assert np.isfinite(found.means).all()
    assert (found.means > -0.5).all()
    assert (found.means < 1.5).all()
    assert (found.deviations >= 0).all()
    assert np.isfinite(found.deviations).all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_scores_that_are_all_alike_say_that_all_arms_are(value: float) -> None:
    for shape in ((1, 1), (1, 9), (7, 1), (7, 9)):
        for settled in (False, True):
            found = arm_posterior(np.full(shape, value), settled=settled)
            assert found.means == pytest.approx(np.full(shape[0], value))


def test_the_names_of_factors_and_levels_do_not_matter_nor_does_a_factor_that_never_differs() -> None:
    rows = levels(4, 12)
    renamed = [{"b": row["style"][::-1], "a": f"x{row['wording']}", "c": "same"} for row in rows]
    scores = table(4, held=0.5)
    first, second = (arm_posterior(scores, Kinship.of(each)) for each in (rows, renamed))
    assert second.means == pytest.approx(first.means, abs=1e-9)


def test_kinship_is_halved_by_every_factor_that_differs() -> None:
    kinship = Kinship.of(
        [{"a": "1", "b": "1"}, {"a": "1", "b": "2"}, {"a": "2", "b": "2"}, {"a": "1", "b": "1"}]
    )
    full = kinship.likeness[np.ix_(kinship.group, kinship.group)]
    assert full.tolist() == [[1, 0.5, 0.25, 1], [0.5, 1, 0.5, 0.5], [0.25, 0.5, 1, 0.25], [1, 0.5, 0.25, 1]]


class Dense:
    """The same model without tricks: one row and column for every arm."""

    def __init__(self, fit: _Fit, kinship: Kinship, seen: NDArray[np.intp], scale: int) -> None:
        variance, n = SCALES[scale] ** 2, len(kinship.group)
        likeness = kinship.likeness[np.ix_(kinship.group, kinship.group)]
        self.prior = variance * (fit.shared * likeness + (1 - fit.shared) * np.eye(n))
        self.covariance = self.prior[np.ix_(seen, seen)] + np.diag(fit.noise / fit.counts)
        self.ones, self.raw, self.across = np.ones(len(seen)), fit.raw, self.prior[:, seen]
        inverse = np.linalg.inv(self.covariance)
        self.overall = self.ones @ inverse @ self.raw / (self.ones @ inverse @ self.ones)
        self.means = self.overall + self.across @ inverse @ (self.raw - self.overall)
        self.variances = np.diag(self.prior - self.across @ inverse @ self.across.T)

    def likelihood(self) -> float:
        """Return the logarithm of the restricted likelihood, but for a constant."""
        inverse, left = np.linalg.inv(self.covariance), self.raw - self.overall
        _, size = np.linalg.slogdet(self.covariance)
        return float(-0.5 * (size + left @ inverse @ left + np.log(self.ones @ inverse @ self.ones)))


@few
@given(seeds, st.integers(0, len(SCALES) - 1), st.sampled_from(SHARED))
def test_means_and_deviations_are_those_of_the_conditional_normal_distribution(
    seed: int, scale: int, shared: float
) -> None:
    scores, kinship = table(seed, held=0.4), Kinship.of(levels(seed, 12))
    scores[[2, 5]] = NAN
    seen = np.array([k for k in range(12) if k not in (2, 5)], dtype=np.intp)
    held = ~np.isnan(scores[seen])
    cells = _Cells(held=held.astype(float), scores=np.where(held, scores[seen], 0.0))
    fit = _Fit(cells, kinship.group[seen], kinship, 0.1)
    fit.update(climb=False)
    fit.scale, fit.shared = scale, shared
    fit._solve()
    means, deviations = fit.predict(12, seen, kinship)
    dense = Dense(fit, kinship, seen, scale)
    assert means == pytest.approx(dense.means, abs=1e-8)
    assert deviations**2 == pytest.approx(dense.variances, abs=1e-8)
    found = [fit._likelihood(k) + 0.5 * (np.log(SCALES[k] / 0.1) / 0.8) ** 2 for k in (scale, 0)]
    expected = [Dense(fit, kinship, seen, k).likelihood() for k in (scale, 0)]
    assert found[0] - found[1] == pytest.approx(expected[0] - expected[1], abs=1e-6)


def test_beliefs_are_as_sure_as_they_are_right() -> None:
    """Of arms drawn from the model about two in three lie within one deviation, and hardly any beyond three."""
    beyond = list[float]()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        means = rng.normal(0.5, 0.12, 30)
        scores = (rng.random((30, 25)) < means[:, None]).astype(float)
        found = arm_posterior(scores)
        beyond.extend(np.abs(found.means - means) / found.deviations)
    assert 0.55 < np.mean(np.array(beyond) < 1) < 0.8
    assert np.mean(np.array(beyond) < 3) > 0.98


def test_equal_arms_are_thought_equal_though_most_were_asked_what_is_hard() -> None:
    rng = np.random.default_rng(7)
    hard = np.arange(100) < 30
    scores = (rng.random((64, 100)) < np.where(hard, 0.5, 0.97)).astype(np.float64)
    scores[4:, ~hard] = np.nan
    scores[4:, 12:] = np.nan
    swept, settled = (arm_posterior(scores, usual=SCEPTICAL, settled=each) for each in (False, True))

    def ahead(means: Array) -> float:
        return float(means[:4].mean() - means[4:].mean())

    assert abs(ahead(settled.means)) < 0.02 < ahead(swept.means)
    # What the hard ones are harder by is found, too.
    harder = settled.examples[~hard].mean() - settled.examples[:12].mean()
    assert harder > 0.3
