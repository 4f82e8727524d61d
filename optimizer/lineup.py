"""Who is compared: prompts times models, each pair ready to be asked, and what keeps it from a fair comparison."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optimizer.answer import AnswerFormat
from optimizer.ballot import THOUGHTS
from optimizer.completion import ANSWER_BOUNDS
from optimizer.composition import compose
from optimizer.dataset import Dataset
from optimizer.digest import canonical, digest
from optimizer.errors import InputError, Problem
from optimizer.frozen import FrozenPrompt
from optimizer.importing import load_imported
from optimizer.models import MODELS, counts_thoughts
from optimizer.prompt import PromptTemplate
from optimizer.rivals import Rival, unique
from optimizer.space import NO_DEMONSTRATIONS, SearchSpace, needed_capabilities
from optimizer.task import Task

Parameters = Mapping[str, float | int | str]

# The word for the task's own prompt among those that are compared.
OWN = "baseline"

# Its style, and its formats in the order in which they are tried: the first that can be laid out is taken.
_STYLE, _FORMATS = "direct", ("plain", "inline", "json")

# How it is sampled where neither the model nor another prompt says so, the second where the model may think by itself,
# counts that as a part of its answer, and takes no temperature; the bound is far above any short answer.
_PARAMETERS: Parameters = {"temperature": 0, "max_tokens": 256}
_THOUGHTFUL: Parameters = {"max_completion_tokens": 256 + THOUGHTS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """A prompt that is compared.

    Attributes:
        label: What it is called, other than any other.
        frozen: None for the task's own prompt, which is rendered for each model.
    """

    label: str
    frozen: FrozenPrompt | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Seat:
    """A prompt on a model, as it is asked.

    Attributes:
        changed: The parameters that the model's entry sets otherwise than the prompt, by name.
    """

    prompt: str
    rival: Rival
    frozen: FrozenPrompt
    changed: Parameters = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return PROMPT@MODEL."""
        return f"{self.prompt}@{self.rival.label}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What is wrong with a comparison.

    Attributes:
        problems: What keeps it from being made at all.
        unfair: What keeps it from being fair; `--force` makes it all the same.
        cautions: What to know of it.
    """

    problems: tuple[Problem, ...] = ()
    unfair: tuple[Problem, ...] = ()
    cautions: tuple[str, ...] = ()


def entrants(prompts: Iterable[FrozenPrompt | None]) -> tuple[Entrant, ...]:
    """Return prompts under their names, made unique; None is the task's own."""
    known = list(prompts)
    labels = unique(OWN if prompt is None else prompt.name for prompt in known)
    return tuple(Entrant(label=label, frozen=prompt) for label, prompt in zip(labels, known, strict=True))


def seats(prompts: Sequence[Entrant], models: Sequence[Rival], task: Task) -> tuple[Seat, ...]:
    """Return every prompt on every model, model by model.

    Raises:
        InputError: When the task's own prompt cannot be laid out for a model.
    """
    usual = next((_parameters(each.frozen.template) for each in prompts if each.frozen), None)
    found = []
    for rival in models:
        for entrant in prompts:
            frozen = entrant.frozen or _own(task, rival, usual)
            template, changed = sampled(frozen.template, rival.spec.parameters)
            frozen = dataclasses.replace(frozen, template=template)
            told = {} if entrant.frozen is None else changed
            found.append(Seat(prompt=entrant.label, rival=rival, frozen=frozen, changed=told))
    return tuple(found)


def sampled(template: PromptTemplate, parameters: Parameters) -> tuple[PromptTemplate, Parameters]:
    """Return a template with other decoding parameters in every call, and those that are others now."""
    calls = tuple(
        dataclasses.replace(call, parameters=tuple(sorted(merged(dict(call.parameters), parameters).items())))
        for call in template.calls
    )
    pairs = zip(template.calls, calls, strict=True)
    changed = {
        name: value
        for before, after in pairs
        for name, value in after.parameters
        if dict(before.parameters).get(name) != value
    }
    return dataclasses.replace(template, calls=calls), changed


def merged(own: Parameters, stated: Parameters) -> dict[str, float | int | str]:
    """Return the stated parameters with the others beside them, but for another name of one that is stated."""
    dropped = ANSWER_BOUNDS if any(name in stated for name in ANSWER_BOUNDS) else ()
    return {name: value for name, value in own.items() if name not in dropped} | dict(stated)


def _parameters(template: PromptTemplate) -> Parameters:
    return dict(template.calls[-1].parameters)


def _own(task: Task, rival: Rival, usual: Parameters | None) -> FrozenPrompt:
    """Return the task's own prompt as a model is asked with it: what it imports, else its instruction alone.

    Args:
        usual: How the first of the other prompts is sampled; None where there is no other.

    Raises:
        InputError: When no format can lay it out.
    """
    if usual is None:
        usual = _THOUGHTFUL if counts_thoughts(rival.spec.base_url) else _PARAMETERS
    can = MODELS[rival.spec.provider].capabilities(rival.spec)
    for name in _FORMATS:
        space = SearchSpace(
            task=task,
            instructions=compose(task, (), slots=False),
            demonstration_sets=(NO_DEMONSTRATIONS,),
            styles=(_STYLE,),
            formats=(name,),
            model_parameters=merged(usual, rival.spec.parameters),
            parameters={},
            capabilities=can,
            imported=load_imported(task),
        ).fitted()
        template = space.render(space.baseline)
        if template is not None:
            break
    else:
        message = (
            f"{OWN}: the instruction of the task cannot be laid out for {rival.label}; name a frozen prompt"
        )
        raise InputError([Problem(file=task.source.file, field="--prompts", message=message)])
    return FrozenPrompt(
        name=OWN,
        template=template,
        style=space.baseline.style,
        format=space.baseline.format,
        capabilities=tuple(sorted(needed_capabilities(template))),
        demonstration_ids=(),
        model={"provider": rival.spec.provider, "name": rival.spec.name},
        task={},
        evidence={},
        history=(),
        tool_versions={},
    )


def findings(
    prompts: Sequence[Entrant], places: Sequence[Seat], task: Task, dataset: Dataset, split: str
) -> Found:
    """Return what keeps a comparison from being made, from being fair, and what to know of it; all at once.

    Args:
        split: The examples that all are asked.
    """
    problems: list[Problem] = []
    unfair: list[Problem] = []
    cautions: list[str] = []
    if not getattr(dataset, split):
        message = f"the split {split} is empty"
        problems.append(Problem(file=task.source.file, field="dataset.splits", message=message))
    ids = {example.id for example in getattr(dataset, split)}
    for entrant in prompts:
        if entrant.frozen is not None:
            problems += _at(entrant.label, (told for _, told in misfits(entrant.frozen, task)))
            unfair += _at(entrant.label, _differences(entrant.frozen, task, dataset))
            if shown := len(ids.intersection(entrant.frozen.demonstration_ids)):
                cautions.append(
                    f"{entrant.label} shows {shown} of the {len(ids)} examples with their answers"
                )
    problems += _at("", _twins(places))
    for seat in places:
        problems += _at(seat.name, lacking(seat))
        if seat.changed:
            listed = ", ".join(f"{name} {value}" for name, value in sorted(seat.changed.items()))
            cautions.append(f"{seat.name} is sampled otherwise than the prompt says: {listed}")
        if loose := _unguarded(seat):
            cautions.append(
                f"{seat.name}: {loose} stay whole in the inputs, which this model reads as its markup"
            )
    if split != "test":
        cautions.append(f"scores on {split} flatter prompts that were chosen or made with it; test does not")
    return Found(problems=tuple(problems), unfair=tuple(unfair), cautions=tuple(dict.fromkeys(cautions)))


def _at(name: str, messages: Iterable[str]) -> list[Problem]:
    return [Problem(file="", field=name or None, message=message) for message in messages]


def misfits(frozen: FrozenPrompt, task: Task) -> Iterator[tuple[str, str]]:
    """Yield why a prompt cannot be asked or read on a task, after the task's field that it does not fit."""
    if set(frozen.inputs) - set(task.inputs):
        told = f"the prompt takes {', '.join(frozen.inputs)}, and the task has {', '.join(task.inputs)}"
        yield "dataset.inputs", told
    answer = frozen.template.answer
    if answer.kind != task.output:
        told = f"the prompt reads answers of the type {answer.kind}, and the task wants {task.output}"
        yield "output.type", told
    elif not _same_labels(answer, task):
        told = f"the prompt reads the labels {', '.join(answer.labels)}, and the task has {', '.join(task.labels)}"
        yield "output.labels", told
    elif answer.schema != task.schema:
        yield "output.schema", "the prompt reads JSON of another schema than the task's"


def _same_labels(answer: AnswerFormat, task: Task) -> bool:
    """Return whether the labels are those of the task; where an answer has several, in the task's order."""
    if answer.kind == "labels":
        return answer.labels == task.labels
    return set(answer.labels) == set(task.labels)


def _differences(frozen: FrozenPrompt, task: Task, dataset: Dataset) -> Iterator[str]:
    """Yield what a prompt was scored with that is another thing here; what it does not record is not known to differ."""
    recorded, data = frozen.task, frozen.task.get("dataset")
    if other := other_metric(frozen, task):
        yield other
    if recorded.get("fingerprint", task.digest) != task.digest:
        yield f"the prompt was made for another task, or another version of it, than {task.name} is now"
    if isinstance(data, Mapping) and data.get("fingerprint", dataset.digest) != dataset.digest:
        yield "the prompt was made with other data, or other splits of them, than the task has now"


def other_metric(frozen: FrozenPrompt, task: Task) -> str:
    """Return how a task's metric is another one than that a prompt was scored by; "" where it is not known to be."""
    made = frozen.task.get("metric", task.metric)
    if made == task.metric:
        return ""
    return f"the prompt was made for the metric {made}, and the task's is {task.metric}"


def lacking(seat: Seat) -> Iterator[str]:
    """Yield what a prompt needs and the model cannot do."""
    can = MODELS[seat.rival.spec.provider].capabilities(seat.rival.spec).can
    needed = set(seat.frozen.capabilities) | needed_capabilities(seat.frozen.template)
    if missing := sorted(needed - can):
        yield f"the prompt needs {', '.join(missing)}, which the model lacks"


def _unguarded(seat: Seat) -> str:
    """Return the first tokens that a model reads as markup and that the prompt leaves whole in some input."""
    tokens = MODELS[seat.rival.spec.provider].capabilities(seat.rival.spec).control_tokens
    holes = [hole for hole in seat.frozen.template.holes() if not hole.image]
    loose = [token for token in tokens if any(token not in hole.neutralise for hole in holes)]
    return ", ".join(loose[:3]) + (f" and {len(loose) - 3} more" if len(loose) > 3 else "")


def _twins(places: Sequence[Seat]) -> Iterator[str]:
    """Yield the cells that would ask one model the same."""
    first: dict[str, str] = {}
    for seat in places:
        model = dataclasses.replace(seat.rival.spec, parameters={})
        key = canonical([seat.frozen.fingerprint, digest(dataclasses.asdict(model))])
        if key in first:
            yield f"{seat.name} is {first[key]} again: the same prompt on the same model"
        first.setdefault(key, seat.name)
