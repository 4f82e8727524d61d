"""The decision: choose on validation, confirm, open the test once, freeze.

The test is opened for three prompts at most: the baseline, the winner, and the baseline's wording in the winner's
format, so that a repaired format is not sold as a better wording. Where there is no test split, the choice itself is
judged by repeated cross-validation.
"""

import dataclasses
import functools
from collections.abc import Sequence

from optimizer.calls import NO_TRIAL
from optimizer.candidate import Candidate
from optimizer.choice import MOST_CONFIRMED, final, shortlist
from optimizer.conclusion import Judged, Selection, conclude
from optimizer.cross_validation import CrossValidation, cross_validate
from optimizer.dataset import Example, clusters_of
from optimizer.digest import derived_seed
from optimizer.errors import IncompleteError
from optimizer.evaluation import Evaluation
from optimizer.evidence import (
    Arm,
    Pairing,
    arm_figures,
    comparison_figures,
    openings_figures,
    unreadable,
)
from optimizer.guessing import Guess, best_guess
from optimizer.history import TrialRecord
from optimizer.probing import probe
from optimizer.prompt import PromptTemplate
from optimizer.search import search
from optimizer.space import NO_DEMONSTRATIONS
from optimizer.standing import Standing
from optimizer.study import Study

_LEVEL = 0.95

_FOR_GOOD = (
    "; asked again it is the same: with a larger run.max_error_rate the study goes on without these examples"
)


async def optimize(study: Study) -> Selection:
    """Search, choose, confirm, test and freeze.

    Raises:
        IncompleteError: When too many examples had errors.
        InterruptedRunError: After `study.stop`.
        BudgetError: When the budget ended before the test was done.
    """
    await search(study)
    if not study.plan.dataset.test:
        study.enter("cross-validation")
        return await _cross_validated(study)
    study.enter("confirm")
    winner = await _confirm(study)
    study.enter("test")
    return await _test(study, winner)


async def _confirm(study: Study) -> Candidate:
    """Return the winner among the best that keep the constraints on all of validation, or the baseline.

    As many arms are confirmed as the budget has set calls aside for; further ones, where a constraint turns out to be
    broken or too many examples are refused for good, while the calls beyond the reserve of the test last. Which are tried
    depends on the screening alone, so an interrupted confirmation is taken up where it stopped.
    """
    plan, space = study.plan, study.space
    screening = Standing(study, [row for row in study.trials if row.stage != "confirm"])
    arms = [arm for arm, row in screening.rows.items() if row.feasible and arm != screening.baseline]
    if plan.bounds.confirmed > 1 and arms:
        await _confirmed(study, screening.rows[screening.baseline])
    wanted, kept = max(1, plan.bounds.confirmed - 1), list[str]()
    ranked = _ranked(study, screening, arms)
    for made, arm in enumerate(ranked):
        done = _confirmation(study, arm) is not None
        if len(kept) == wanted or not (done or made < wanted or study.confirmable(study.next_number)):
            break
        if (await _confirmed(study, screening.rows[arm])).feasible:
            kept.append(arm)
    if not kept:
        return space.baseline
    standing = Standing(study, study.trials)
    estimates = standing.estimates()
    baseline, *finalists = (standing.contender(arm, estimates) for arm in (standing.baseline, *kept))
    sound = (_confirmation(study, standing.baseline) or standing.rows[standing.baseline]).feasible
    best = final(baseline, finalists, sound=sound).arm
    return space.baseline if best == standing.baseline else space.candidate(standing.rows[best].point)


def _ranked(study: Study, screening: Standing, arms: Sequence[str]) -> tuple[str, ...]:
    """Return some arms, best first: as a race estimates them, else by what they scored on the examples all have."""
    if study.ranking:
        place = {number: k for k, number in enumerate(study.ranking)}
        return tuple(sorted(arms, key=lambda arm: place.get(screening.rows[arm].trial, len(place))))
    screened = [example.id for example in study.plan.dataset.validation[: study.plan.screen]]
    estimates = screening.estimates(screened)
    return shortlist([screening.contender(arm, estimates, screened) for arm in arms], len(arms))


def _confirmation(study: Study, arm: str) -> TrialRecord | None:
    """Return the row of an arm on all of validation, if it was confirmed."""
    return next((row for row in study.trials if row.stage == "confirm" and row.fingerprint == arm), None)


async def _confirmed(study: Study, screened: TrialRecord) -> TrialRecord:
    """Return the row of a candidate on all of validation, scored now unless it was before.

    One that the endpoint refuses on too many examples for good has failed: to ask again would bring nothing more.

    Raises:
        IncompleteError: When the same command may bring what is missing.
    """
    known, rate = _confirmation(study, screened.fingerprint), study.plan.file.run.max_error_rate
    if known is not None and (known.state != "failed" or known.errors > rate * known.n):
        return known
    number = study.next_number if known is None else known.trial
    candidate = _candidate(study, screened)
    evaluation = await study.score(_template(study, candidate), study.plan.dataset.validation, number)
    row = study.row(number, "confirm", candidate, evaluation)
    if row.state == "failed" and row.outage:
        raise IncompleteError(f"a prompt could not be confirmed: {evaluation.failure}")
    study.keep([row])
    return row


def _candidate(study: Study, row: TrialRecord) -> Candidate:
    space = study.space
    return space.baseline if row.fingerprint == study.trials[0].fingerprint else space.candidate(row.point)


async def _cross_validated(study: Study) -> Selection:
    """Choose on all of validation; judge the choice by repeated cross-validation, its examples held out in turn."""
    standing = Standing(study, study.trials)
    examples = standing.scored(standing.baseline)
    names = tuple(example.id for example in examples)
    choose = functools.cache(functools.partial(_choice, study, standing))
    baseline, winner = [
        await _validated(study, standing.rows[arm]) for arm in (standing.baseline, choose(names))
    ]
    # What was not tried cannot be told apart: a study without a test has no calls set aside for it.
    wording = _wording(study, winner.candidate)
    arm = "" if wording is None else _template(study, wording).fingerprint
    worded = await _validated(study, standing.rows[arm]) if arm in standing.rows else None

    def judged(before: str, guess: Guess | None = None) -> CrossValidation:
        return cross_validate(
            [name for name in names if name in standing.known(before)],
            baseline=before,
            choose=lambda seen: choose(tuple(seen)),
            value=functools.partial(standing.value, guess=guess),
            seed=derived_seed(study.plan.seed, "cross-validation"),
            clusters=clusters_of([e for e in examples if e.id in standing.known(before)]),
            scored=standing.known,
        )

    found, guess = judged(standing.baseline), _guess(study, baseline.evaluation)
    over_format = None if worded is None else judged(arm).difference
    evidence: dict[str, object] = {
        "protocol": "cross-validation",
        "cross_validation": {
            "folds": found.folds,
            "repeats": found.repeats,
            "n": found.difference.n,
            "baseline": found.baseline,
            "chosen": found.chosen,
            "picked": dict(found.picked),
            "outcomes": {
                name: one.evaluation.outcomes for name, one in (("baseline", baseline), ("winner", winner))
            },
        },
        "difference_over_format": None if over_format is None else comparison_figures(over_format),
    }
    evidence |= await _probed(study, baseline, winner)
    judgement = Judged(
        difference=found.difference,
        over_guess=None if guess is None else judged(standing.baseline, guess).difference,
        guess=guess,
        pairing=_pairing(study, study.plan.dataset.validation, _LEVEL),
    )
    return conclude(study, (baseline, winner, worded), judgement, evidence, over_format=over_format)


def _choice(study: Study, standing: Standing, examples: tuple[str, ...]) -> str:
    """Return the arm that some examples choose, by the rule of confirmation and by what they say of the constraints."""
    bounds, estimates = study.plan.file.constraints, standing.estimates(examples)
    others = [arm for arm in estimates if arm != standing.baseline]
    # What an arm costs is known of all examples alike; what it answers is judged by those it is chosen on.
    others = [arm for arm in standing.rows if arm in others and standing.keeps(arm, examples, bounds)]
    finalists = shortlist([standing.contender(arm, estimates, examples) for arm in others], MOST_CONFIRMED)
    return final(
        standing.contender(standing.baseline, estimates, examples),
        [standing.contender(arm, estimates, examples) for arm in finalists],
        sound=standing.keeps(standing.baseline, examples, bounds),
    ).arm


async def _validated(study: Study, row: TrialRecord) -> Arm:
    """Return an arm with its evaluation on all of validation; only what had an error is asked for again."""
    candidate = _candidate(study, row)
    template = _template(study, candidate)
    evaluation = await study.score(template, study.plan.dataset.validation, row.trial)
    return Arm(candidate=candidate, template=template, evaluation=evaluation)


async def _test(study: Study, winner: Candidate) -> Selection:
    arms = await _arms(study, winner)
    baseline, best, wording = arms
    openings = openings_figures(study.store.whole.records("test"), study.plan.dataset.test_digest)
    # Each further look at one test is another chance to be lucky. One that compares a prompt with itself is none.
    looks = sum(one["prompts"][0] != one["prompts"][1] for one in openings)
    pairing = _pairing(study, study.plan.dataset.test, 1 - (1 - _LEVEL) / max(1, looks))
    guess = _guess(study, baseline.evaluation)
    over_format = None if wording is None else pairing.compare(wording.evaluation, best.evaluation)
    judged = Judged(
        difference=pairing.compare(baseline.evaluation, best.evaluation),
        over_guess=None
        if guess is None
        else pairing.compare(baseline.evaluation, best.evaluation, guess=guess),
        guess=guess,
        pairing=pairing,
    )
    evidence: dict[str, object] = {
        "protocol": "test",
        "test": {
            name: _figures(study, arm)
            for name, arm in zip(("baseline", "winner", "wording"), arms, strict=True)
            if arm is not None
        },
        "difference_over_format": None if over_format is None else comparison_figures(over_format),
        "test_openings": openings,
    }
    evidence |= await _probed(study, baseline, best)
    return conclude(study, arms, judged, evidence, over_format=over_format, opened=len(openings))


async def _probed(study: Study, baseline: Arm, winner: Arm) -> dict[str, object]:
    """Return what robustness came to, under its name; nothing where the study does not ask."""
    found = await probe(study, baseline, winner)
    return {} if found is None else {"robustness": found}


async def _arms(study: Study, winner: Candidate) -> tuple[Arm, Arm, Arm | None]:
    """Score baseline, winner and wording on test; prompts that render alike are scored once.

    A wording that the endpoint refuses for good on too many examples is left out: it judges nothing by itself.

    Raises:
        IncompleteError: When baseline or winner lack too many scores, for good or not: what is left of the test is not
            what was asked about, and to keep the baseline instead would say that nothing did better.
    """
    wording = _wording(study, winner)
    candidates = (study.space.baseline, winner, *([] if wording is None else [wording]))
    templates = [_template(study, candidate) for candidate in candidates]
    _open_test(study, templates)
    evaluations: dict[str, Evaluation] = {}
    for template in templates:
        if template.fingerprint not in evaluations:
            evaluation = await study.score(template, study.plan.dataset.test, NO_TRIAL, reported=True)
            if evaluation.error_rate > study.plan.file.run.max_error_rate:
                later = any(result.outage for result in evaluation.results)
                if len(evaluations) == len({each.fingerprint for each in templates[:2]}) and not later:
                    continue  # the wording
                advice = "" if later else _FOR_GOOD
                raise IncompleteError(f"the test could not be finished: {evaluation.failure}{advice}")
            evaluations[template.fingerprint] = evaluation
    first, second, *others = (
        Arm(candidate=candidate, template=template, evaluation=evaluations[template.fingerprint])
        for candidate, template in zip(candidates, templates, strict=True)
        if template.fingerprint in evaluations
    )
    return first, second, others[0] if others else None


def _wording(study: Study, winner: Candidate) -> Candidate | None:
    """Return the baseline's wording in the winner's format; None where the baseline was imported, which has no other.

    Where the baseline's style cannot be laid out in it, the winner's own style goes with it.
    """
    space = study.space
    if space.imported is not None:
        return None
    wording = dataclasses.replace(space.baseline, demonstrations=NO_DEMONSTRATIONS, format=winner.format)
    if space.render(wording) is None:
        return dataclasses.replace(wording, style=winner.style)
    return wording


def _open_test(study: Study, templates: Sequence[PromptTemplate]) -> None:
    """Record that the test is opened for these prompts; to finish an interrupted test is not to open it again."""
    opened = study.store.records("test")
    record = {
        "prompts": [template.fingerprint for template in templates],
        "data": study.plan.dataset.test_digest,
    }
    if record not in opened.values():
        study.store.record("test", len(opened), record)


def _pairing(study: Study, examples: Sequence[Example], level: float) -> Pairing:
    return Pairing(
        examples=tuple(examples),
        scorer=study.scorer,
        seed=derived_seed(study.plan.seed, "test"),
        level=level,
    )


def _guess(study: Study, baseline: Evaluation) -> Guess | None:
    """Return what stands in for the baseline's unreadable answers; None where it has none."""
    dataset = study.plan.dataset
    return best_guess(dataset.train or dataset.validation, study.scorer) if unreadable(baseline) else None


def _template(study: Study, candidate: Candidate) -> PromptTemplate:
    template = study.space.render(candidate)
    assert template is not None  # candidates come from the space
    return template


def _figures(study: Study, arm: Arm) -> dict[str, object]:
    seed = derived_seed(study.plan.seed, "test", arm.template.fingerprint)
    return arm_figures(arm.evaluation, study.plan.task.metrics, seed=seed)
