"""How prompts travel: each was tuned for one model, and is asked of all of them.

A cell is compared with the diagonal of its column, which is the prompt that was tuned for the very model. What tuning
for a model is worth is what the prompts of the others lose on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.comparison import kept
from optimizer.conclusion import Selection
from optimizer.dataset import Example
from optimizer.evaluation import Evaluation, Scorer
from optimizer.evidence import Pairing, comparison_figures
from optimizer.lineup import Entrant, Seat, lacking, seats
from optimizer.rivals import Rival
from optimizer.task import Task
from optimizer.ties import Contest, against_baseline

_SEED = 0  # of all that is resampled

# The label of the model that a prompt was tuned for, and of the model that it is asked of.
Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Journey:
    """What is known of tuned prompts on all models, and what is still to be asked.

    Attributes:
        known: The diagonal, as the studies judged it.
        asked: What is to be asked.
        twins: Pairs that ask a model the very same as another pair does.
        barred: Pairs that cannot be asked, and why.
    """

    known: Mapping[Pair, Evaluation]
    asked: tuple[Seat, ...]
    twins: Mapping[Pair, Pair]
    barred: Mapping[Pair, str]

    def evaluations(self, asked: Mapping[Pair, Evaluation]) -> dict[Pair, Evaluation]:
        """Return all that has an evaluation, those of twins included."""
        found = {**self.known, **asked}
        return found | {pair: found[other] for pair, other in self.twins.items() if other in found}


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """A prompt on a model.

    Attributes:
        prompt: The model that it was tuned for.
        model: The model that it was asked of.
        score: On the shared examples.
        same: Whether it is the very prompt that was tuned for this model.
        loss: Itself minus that prompt; None where it is the same, and where there is no such prompt.
    """

    prompt: str
    model: str
    score: float
    same: bool
    loss: Contest | None

    @property
    def figures(self) -> dict[str, object]:
        """Return it as `--json` shows it."""
        told: dict[str, object] | None = None
        if self.loss is not None:
            corrected = {"adjusted": self.loss.adjusted, "decision": self.loss.decision}
            told = {**comparison_figures(self.loss.comparison), **corrected}
        return {
            "prompt": self.prompt,
            "model": self.model,
            "score": self.score,
            "same": self.same,
            "loss": told,
        }


def journey(tuned: Mapping[str, Selection], models: Sequence[Rival], task: Task) -> Journey:
    """Return what is to be asked so that every tuned prompt is known on every model.

    Args:
        tuned: What the study of each model found, by its label.
    """
    prompts = [Entrant(label=label, frozen=found.frozen) for label, found in tuned.items()]
    known = {(label, label): own_evaluation(found) for label, found in tuned.items()}
    first = {(label, known[label, label].fingerprint): (label, label) for label in tuned}
    asked, twins, barred = list[Seat](), dict[Pair, Pair](), dict[Pair, str]()
    for seat in seats(prompts, models, task):
        pair = (seat.prompt, seat.rival.label)
        content = (seat.rival.label, seat.frozen.fingerprint)
        if pair in known:
            continue
        if content in first:
            twins[pair] = first[content]
        elif reasons := list(lacking(seat)):
            barred[pair] = "; ".join(reasons)
        else:
            first[content] = pair
            asked.append(seat)
    return Journey(known=known, asked=tuple(asked), twins=twins, barred=barred)


def own_evaluation(found: Selection) -> Evaluation:
    """Return how a study judged the prompt that it froze."""
    arms = (found.winner, found.baseline)
    frozen = next(arm for arm in arms if arm.template.fingerprint == found.frozen.fingerprint)
    return frozen.evaluation


def transfers(
    found: Mapping[Pair, Evaluation], examples: Sequence[Example], scorer: Scorer
) -> tuple[Transfer, ...]:
    """Return every pair with what it loses against the prompt of its model; p values corrected for all of them.

    Args:
        examples: Those that every pair has a score for.
    """
    ids = {example.id for example in examples}
    parts = {pair: kept(evaluation, ids) for pair, evaluation in found.items()}
    pairing = Pairing(examples=tuple(examples), scorer=scorer, seed=_SEED)
    same = {
        (prompt, model): (model, model) in parts
        and parts[prompt, model].fingerprint == parts[model, model].fingerprint
        for prompt, model in parts
    }
    tested = [pair for pair in parts if not same[pair] and (pair[1], pair[1]) in parts]
    comparisons = [pairing.compare(parts[model, model], parts[prompt, model]) for prompt, model in tested]
    losses = dict(zip(tested, against_baseline(comparisons), strict=True))
    return tuple(
        Transfer(
            prompt=pair[0],
            model=pair[1],
            score=part.value or 0.0,
            same=same[pair],
            loss=losses.get(pair),
        )
        for pair, part in parts.items()
    )
