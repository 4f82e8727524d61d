"""Probing: baseline and winner are asked again, with perturbed inputs and as they are, and compared with themselves."""

from typing import TYPE_CHECKING

from optimizer.calls import NO_TRIAL
from optimizer.digest import derived_seed
from optimizer.errors import IncompleteError
from optimizer.evaluation import Evaluation, evaluate
from optimizer.evidence import Arm, Pairing
from optimizer.flags import ALPHA, loss_figures, loss_p_value
from optimizer.robustness import Again, Obedience, Probe, adjusted, alike, obedience, share_interval
from optimizer.study import Study

if TYPE_CHECKING:
    from optimizer.significance import PairedComparison


async def probe(study: Study, baseline: Arm, winner: Arm) -> dict[str, object] | None:
    """Return what robustness came to; None where the study does not ask. Prompts that render alike are asked once.

    Raises:
        IncompleteError: When too many examples had errors.
        InterruptedRunError: After `study.stop`.
        BudgetError: When the budget ended before.
    """
    if study.plan.file.robustness is None:
        return None
    study.enter("robustness")
    found: dict[str, dict[str, object]] = {}
    for arm in (baseline, winner):
        if arm.template.fingerprint not in found:
            found[arm.template.fingerprint] = await _perturbed(study, arm)
    figures: dict[str, object] = {
        "perturbations": [each.perturbation for each in study.plan.probes.probes],
        "baseline": found[baseline.template.fingerprint],
        "winner": found[winner.template.fingerprint],
        "consistency": await _consistency(study, winner),
    }
    study.store.record("robustness", 0, figures)
    return figures


async def _perturbed(study: Study, arm: Arm) -> dict[str, object]:
    """Return by perturbation how a prompt did with it, and against itself without it.

    All tests of one prompt are corrected together (Holm), so a sound one is flagged in one study of twenty at most.
    """
    losses = dict[str, "PairedComparison"]()
    obeyed: dict[str, Obedience] = {}
    asked: dict[str, Evaluation] = {}
    for each in study.plan.probes.probes:
        name = each.perturbation
        if not each.examples:
            continue
        asked[name] = _whole(study, await study.ask(arm.template, each.examples, NO_TRIAL))
        pairing = Pairing(
            examples=each.examples,
            scorer=study.scorer,
            seed=derived_seed(study.plan.seed, "robustness", name),
        )
        loss = pairing.by_example(arm.evaluation, asked[name])
        losses |= {} if loss is None else {name: loss}
        if each.planted:
            obeyed[name] = obedience(arm.evaluation, asked[name], each.planted, study.plan.task)
    p_values = adjusted(
        {f"loss {name}": loss_p_value(loss) for name, loss in losses.items()}
        | {f"obeys {name}": found.p_value for name, found in obeyed.items()}
    )
    return {
        each.perturbation: _figures(each, arm.evaluation, asked.get(each.perturbation))
        | {
            "difference": loss_figures(losses[each.perturbation], p_values[f"loss {each.perturbation}"])
            if each.perturbation in losses
            else None,
            "obedience": _obedience_figures(obeyed[each.perturbation], p_values[f"obeys {each.perturbation}"])
            if each.perturbation in obeyed
            else None,
        }
        for each in study.plan.probes.probes
    }


def _figures(each: Probe, clean: Evaluation, asked: Evaluation | None) -> dict[str, object]:
    """Return the scores on the examples that a perturbation changed, with it and without."""
    names = {example.id for example in each.examples} & set(
        asked.scores if asked is not None else clean.scores
    )
    kept = tuple(result for result in clean.results if result.example.id in names)
    before = Evaluation(fingerprint=clean.fingerprint, results=kept, scorer=clean.scorer)
    return {
        "n": 0 if asked is None else len(asked.scored),
        "clean": before.value if kept else None,
        "score": None if asked is None else asked.value,
    }


def _obedience_figures(found: Obedience, p_value: float) -> dict[str, object]:
    interval = found.interval
    return {
        "n": found.n,
        "obeyed": found.obeyed,
        "share": found.obeyed / found.n if found.n else None,
        "lower": None if interval is None else interval.lower,
        "upper": None if interval is None else interval.upper,
        "p_value": found.p_value,
        "adjusted": p_value,
        "flagged": p_value < ALPHA,
    }


async def _consistency(study: Study, winner: Arm) -> dict[str, object] | None:
    """Return how often the winner gives one and the same answer, however often it is asked."""
    probes = study.plan.probes
    if not probes.repeats:
        return None
    names = {example.id for example in probes.repeated}
    kept = tuple(result for result in winner.evaluation.results if result.example.id in names)
    asked = [Evaluation(fingerprint=winner.template.fingerprint, results=kept, scorer=study.scorer)]
    for n in range(1, probes.repeats + 1):
        model = Again(study.caller.paid_by(NO_TRIAL), n)
        found = await evaluate(winner.template, probes.repeated, model, study.scorer)
        asked.append(_whole(study, found))
    answered = alike(asked)
    interval = share_interval(answered)
    return {
        "repeats": probes.repeats,
        "n": len(answered),
        "share": sum(same for _, same in answered) / len(answered) if answered else None,
        "lower": None if interval is None else interval.lower,
        "upper": None if interval is None else interval.upper,
    }


def _whole(study: Study, evaluation: Evaluation) -> Evaluation:
    """Return an evaluation that has enough of its scores, or will not have more.

    What an endpoint refuses for good, such as words that a filter of its own does not let through, keeps no study from
    ending: robustness decides nothing, and how many examples it rests on is told.

    Raises:
        IncompleteError: When the same command may bring more.
    """
    later = any(result.outage for result in evaluation.results)
    if later and evaluation.error_rate > study.plan.file.run.max_error_rate:
        raise IncompleteError(f"the robustness could not be told: {evaluation.failure}")
    return evaluation
