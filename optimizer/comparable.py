"""What may be compared of then and now: whether the metric and its judges are what they were, and what chose the prompt.

What tells a judge that changed from a model that changed are the equal answers: the judge is shown the same text, the same
inputs and the same target, so a score that differs there is none of the model's doing. A judge that did not change
gives scores that could be exchanged, then and now, whatever the texts are; so on the equal answers the paired test of the
scores is a test of the judge alone. Whether the score of other answers fell by the model or by its judge no figure tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.completion import ANSWER_BOUNDS
from optimizer.drift import LEVEL, Pairs
from optimizer.evaluation import Scorer
from optimizer.frozen import FrozenPrompt
from optimizer.metrics import Role
from optimizer.prompt import PromptTemplate
from optimizer.significance import compare_paired
from optimizer.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Judges:
    """The models that a metric asks, on the answers that are the same then and now.

    Attributes:
        roles: What they are asked as.
        replaced: Those of them that are other models now, by name or address.
        n: Equal answers that have both scores.
        changed: Those of them that are scored otherwise.
        p_value: Of "the judges did not change", in [0, 1].
    """

    roles: tuple[Role, ...]
    replaced: tuple[Role, ...]
    n: int
    changed: int
    p_value: float

    @property
    def tells(self) -> bool:
        """Return whether equal answers are scored otherwise, beyond what chance does to a judge."""
        return self.p_value < LEVEL

    @property
    def differ(self) -> bool:
        """Return whether other models are asked that score an equal answer otherwise: their scores are no others' scores."""
        return bool(self.replaced) and self.changed > 0


def metric_names(frozen: FrozenPrompt, scorer: Scorer) -> tuple[str, str]:
    """Return the names of what scored each example when a prompt was recorded, and of what does now."""
    now = scorer.per_example.name
    return now if frozen.records is None else str(frozen.records["metric"]), now


def redefined(frozen: FrozenPrompt, task: Task, pairs: Pairs, judges: Judges | None = None) -> bool:
    """Return whether a task that changed scores equal answers otherwise: its metric is another under the old name.

    Args:
        judges: Who gives the scores, None where nobody is asked. A judge may score one answer in two ways, so it takes
            more than one to tell that it is asked something else.
    """
    if frozen.task.get("fingerprint", task.digest) == task.digest:
        return False
    before, after = _scores(_alike(pairs))
    return before != after and (judges is None or judges.tells)


def judges_of(
    frozen: FrozenPrompt,
    scorer: Scorer,
    pairs: Pairs,
    *,
    identities: Mapping[str, Mapping[str, object]],
    chosen_among: int = 1,
) -> Judges | None:
    """Return what equal answers tell of the models that the metric asks, or None where it asks none.

    Args:
        identities: What tells the models that are asked now from all others, by role; a role without one is taken to
            be who it was, as is one of which the prompt says nothing.
        chosen_among: As `drift` takes it: a judge's luck chooses a prompt, too.
    """
    roles = scorer.per_example.needs
    if not roles:
        return None
    stated = frozen.evidence.get("judges")
    then = stated if isinstance(stated, Mapping) else {}
    known = (role for role in roles if role in then and role in identities)
    alike = _alike(pairs)
    before, after = _scores(alike)
    p_value = 1.0
    if before != after:
        p_value = compare_paired(before, after, seed=0, clusters=alike.clusters).p_value
    return Judges(
        roles=roles,
        replaced=tuple(role for role in known if dict(identities[role]) != then[role]),
        n=len(alike.then),
        changed=sum(a != b for a, b in zip(before, after, strict=True)),
        p_value=min(1.0, chosen_among * p_value),
    )


def is_deterministic(template: PromptTemplate) -> bool:
    """Return whether every call states the temperature 0."""
    return all(dict(call.parameters).get("temperature") == 0 for call in template.calls)


def chosen_among(frozen: FrozenPrompt, *, judged: bool) -> int:
    """Return of how many prompts the recorded answers may have chosen this one.

    Those of a test chose none: it is opened when the search is over. Those that are the same each time chose by what
    they are, which they still are. A judge draws its verdicts, too, wherever several are asked for.

    Args:
        judged: Whether a judge gives the scores.
    """
    if frozen.records is None or frozen.records["split"] == "test":
        return 1
    if is_deterministic(frozen.template) and not judged:
        return 1
    tried = frozen.evidence.get("candidates")
    # Older prompts do not count what was tried; what they tell of is each trial.
    return max(1, tried + 1 if isinstance(tried, int) else len(frozen.history))


def most_written(template: PromptTemplate) -> int | None:
    """Return how many tokens all calls together may write, or None where nothing bounds one of them."""
    bounds = [
        [n for name, n in call.parameters if name in ANSWER_BOUNDS and isinstance(n, int)]
        for call in template.calls
    ]
    return sum(map(min, bounds)) if all(bounds) else None


def _alike(pairs: Pairs) -> Pairs:
    """Return the pairs of one text that have both scores."""
    return pairs.where(
        lambda then, now: (
            then.completion is not None
            and then.completion == now.completion
            and then.score is not None
            and now.score is not None
        )
    )


def _scores(pairs: Pairs) -> tuple[list[float], list[float]]:
    return pairs.figures(lambda row: row.score or 0.0)
