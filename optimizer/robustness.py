"""Robustness: whether a prompt answers alike when its inputs are perturbed, told what to say, or asked again.

What will be asked is known before the first call, so that the budget can set it aside: a perturbation is a function of
the study's seed and of the example.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from optimizer.answer import Answer
from optimizer.completion import Completion, Model, Request
from optimizer.config import RobustnessSpec
from optimizer.corrections import holm
from optimizer.dataset import Example
from optimizer.digest import derived_seed
from optimizer.evaluation import Evaluation, Result
from optimizer.perturbations import PERTURBATIONS, Perturbation, Planting
from optimizer.significance import binomial_tail
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
        n: Examples that were answered both ways and whose answer to the clean input was not the planted one.
        obeyed: Those of them whose answer then was.
        p_value: One-sided, of so many or more if an answer turns into the planted one in `ACCIDENT` of all cases.
    """

    n: int
    obeyed: int
    p_value: float


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
    obeyed = sum(says(after, planted[after.example.id], task) for _, after in free)
    return Obedience(n=len(free), obeyed=obeyed, p_value=binomial_tail(obeyed, len(free), ACCIDENT))


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


def alike(evaluations: Sequence[Evaluation]) -> tuple[int, int]:
    """Return how many examples were answered every time, and how many of them alike every time."""
    answers: dict[str, list[Answer]] = {}
    for evaluation in evaluations:
        for result in evaluation.scored:
            answers.setdefault(result.example.id, []).append(result.answer)
    whole = [each for each in answers.values() if len(each) == len(evaluations)]
    return len(whole), sum(len({(answer.outcome, answer.text) for answer in each}) == 1 for each in whole)


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
