"""Robustness: whether a prompt answers alike when its inputs are perturbed, told what to say, or asked again.

What will be asked is known before the first call, so that the budget can set it aside: a perturbation is a function of
the study's seed and of the example.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from optimizer.answer import Answer
from optimizer.completion import Completion, Model, Request
from optimizer.config import RobustnessSpec
from optimizer.corrections import holm
from optimizer.dataset import Example, clusters_of
from optimizer.digest import derived_seed
from optimizer.evaluation import Evaluation, Result
from optimizer.perturbations import PERTURBATIONS, Perturbation, Planting
from optimizer.resampling import TOLERANCE, units_of
from optimizer.significance import Interval, binomial_tail, score_interval
from optimizer.targets import canonical_target
from optimizer.task import Task
from optimizer.taskfile import InputSpec

# An answer may turn into the planted one by accident, as with any words added to the input. Of twenty answers, one.
ACCIDENT = 0.05

# Coined, so that no text has them and no answer is one of them by chance.
_CANARIES = ("velmorin", "quastibel", "drifenolt", "ombrezac")

# Marks that models put around a bare word.
_MARKS = " \t\r\n\"'`*_.,:;!?()[]{}<>“”‘’«»"


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """Examples with perturbed inputs, under their own ids and with their own targets.

    Attributes:
        planted: The answer that each is told to give, by id; none where nothing is planted.
    """

    perturbation: str
    examples: tuple[Example, ...]
    planted: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Probes:
    """All that is asked of a prompt after the test.

    Attributes:
        repeats: How many more times the `repeated` examples are asked as they are.
    """

    probes: tuple[Probe, ...] = ()
    repeats: int = 0
    repeated: tuple[Example, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Obedience:
    """How often a prompt gave the answer that was planted in its input.

    Attributes:
        rows: The examples that were answered both ways and whose answer to the clean input was not the planted one,
            each with whether its answer then was.
    """

    rows: tuple[tuple[Example, bool], ...]

    @property
    def n(self) -> int:
        """Return how many examples count."""
        return len(self.rows)

    @property
    def obeyed(self) -> int:
        """Return on how many of them it obeyed."""
        return sum(obeyed for _, obeyed in self.rows)

    @property
    def p_value(self) -> float:
        """Return how often there would be so much, if an answer turns into the planted one in `ACCIDENT` of all cases.

        Exact and one-sided. Examples of one group may stand or fall together, so a group counts as one, by its share:
        whole units of all shares are compared with so many groups. Where all of a group do alike that is exact, and
        where they do not the shares vary less.
        """
        groups = units_of([float(obeyed) for _, obeyed in self.rows], self._clusters)
        shares = math.fsum(total / size for total, size in groups)
        return binomial_tail(math.floor(shares + TOLERANCE), len(groups), ACCIDENT)

    @property
    def interval(self) -> Interval | None:
        """Return the interval of the share that obeyed; None of no example."""
        return share_interval(self.rows)

    @property
    def _clusters(self) -> list[str] | None:
        return clusters_of([example for example, _ in self.rows])


def probes_of(spec: RobustnessSpec | None, task: Task, examples: Sequence[Example], *, seed: int) -> Probes:
    """Return what is asked; nothing where the study does not want to know.

    Of the examples, those come first that stand first, and only those that a perturbation changes.
    """
    if spec is None:
        return Probes()
    probes = []
    for name in spec.perturbations:
        how, changed, planted = PERTURBATIONS[name], list[Example](), dict[str, str]()
        for example in examples:
            if len(changed) == spec.examples:
                break
            wrong = wrong_answer(example, task, seed=derived_seed(seed, "planted", name, example.id))
            found = _perturbed(
                example, task, how, wrong, seed=derived_seed(seed, "perturbed", name, example.id)
            )
            if found != example:
                changed.append(found)
                planted |= {example.id: wrong} if how.plants else {}
        probes.append(Probe(perturbation=name, examples=tuple(changed), planted=planted))
    repeated = tuple(examples[: spec.examples]) if spec.repeats else ()
    return Probes(probes=tuple(probes), repeats=spec.repeats, repeated=repeated)


def _perturbed(example: Example, task: Task, how: Perturbation, wrong: str, *, seed: int) -> Example:
    """Return an example with its texts changed; lists and images stay, and an instruction follows the longest text."""
    texts = [
        name
        for name, text in example.inputs
        if task.kinds.get(name, InputSpec()).type == "text" and text.strip()
    ]
    if how.plants:
        texts = [max(texts, key=lambda name: len(example.values[name]))] if texts else []
    planting = Planting(answer=wrong, language=task.language)
    inputs = tuple(
        (name, how.change(text, Random(derived_seed(seed, name)), planting) if name in texts else text)
        for name, text in example.inputs
    )
    return dataclasses.replace(example, inputs=inputs)


def wrong_answer(example: Example, task: Task, *, seed: int) -> str:
    """Return an answer that is not right: another label, another number, or a word that stands in no text."""
    random = Random(seed)
    if task.output in ("label", "labels"):
        others = [label for label in task.labels if not _names(example.target, label, task)]
        if others:
            return random.choice(others)
    if task.output == "number":
        drawn = [str(random.randint(10_000, 99_999)) for _ in range(2)]
        return next(number for number in (*drawn, "98765") if number != example.target)
    return random.choice(_CANARIES)


def _names(target: str, label: str, task: Task) -> bool:
    return target == label if task.output == "label" else label in json.loads(target)


def obedience(clean: Evaluation, told: Evaluation, planted: Mapping[str, str], task: Task) -> Obedience:
    """Return how often a prompt obeyed what was planted in its inputs."""
    before = {result.example.id: result for result in clean.scored}
    pairs = [(before[r.example.id], r) for r in told.scored if r.example.id in before]
    free = [pair for pair in pairs if not says(pair[0], planted[pair[1].example.id], task)]
    return Obedience(
        rows=tuple((after.example, says(after, planted[after.example.id], task)) for _, after in free)
    )


def share_interval(rows: Sequence[tuple[Example, bool]]) -> Interval | None:
    """Return the interval of the share of examples of which something is true, groups counted together; None of none."""
    clusters = clusters_of([example for example, _ in rows])
    # Of scores that are 0 or 1 nothing is resampled, so the seed decides nothing.
    return score_interval([float(true) for _, true in rows], seed=0, clusters=clusters) if rows else None


def says(result: Result, planted: str, task: Task) -> bool:
    """Return whether an answer is the planted one."""
    if task.output in ("label", "labels", "number") and planted not in _CANARIES:
        return result.answer.text == canonical_target(planted, task.output, task.labels)
    written = result.completions[-1].text if result.completions else ""
    return planted in {text.strip(_MARKS).casefold() for text in (written, *_texts(result.answer))}


def _texts(answer: Answer) -> list[str]:
    """Return an answer and, where it is JSON, every text within."""
    found, waiting = [answer.text or ""], list[object]()
    if found[0][:1] in ("{", "["):
        try:
            waiting.append(json.loads(found[0]))
        except (ValueError, RecursionError):
            return found
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return found


def alike(evaluations: Sequence[Evaluation]) -> tuple[tuple[Example, bool], ...]:
    """Return the examples that were answered every time, each with whether they were answered alike every time."""
    found: dict[str, list[Result]] = {}
    for evaluation in evaluations:
        for result in evaluation.scored:
            found.setdefault(result.example.id, []).append(result)
    whole = [each for each in found.values() if len(each) == len(evaluations)]
    return tuple(
        (each[0].example, len({(result.answer.outcome, result.answer.text) for result in each}) == 1)
        for each in whole
    )


def adjusted(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p values as several tests of one prompt are worth, by name (Holm)."""
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


@dataclass(frozen=True, slots=True)
class Again:
    """A model that is asked what it was asked before, and answers anew."""

    model: Model
    repeat: int

    async def complete(self, request: Request) -> Completion:
        """Return a further completion of a request.

        Raises:
            ModelError: When there is none.
        """
        return await self.model.complete(dataclasses.replace(request, repeat=self.repeat))
