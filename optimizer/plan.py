"""What a study file asks for, read and checked, with its bounds, before any call is made."""

import dataclasses
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from optimizer.bounds import Beside, Bounds, Screen, bounds_of
from optimizer.budget import Budget
from optimizer.candidate import DemonstrationSet
from optimizer.checks import config_problems, located_model, part_problems, size_problems, task_problems
from optimizer.composition import compose
from optimizer.config import FIRST, FIRST_LOCAL, SCREEN, StudyConfig
from optimizer.dataset import Dataset, load_dataset
from optimizer.demonstrations import SELECTORS, Evidence, draw_sets
from optimizer.digest import derived_seed, digest
from optimizer.document import Located, inside_project, load_yaml
from optimizer.errors import InputError, Problem
from optimizer.filekind import refuse_other_kind
from optimizer.importing import Imported, load_imported
from optimizer.judging import ROLES, Engagement
from optimizer.leaks import leak_warnings, leaks
from optimizer.length import utf8_length
from optimizer.metrics import Role
from optimizer.models import MODELS, ModelSpec
from optimizer.pricing import Price, price_of
from optimizer.robustness import Probes, probes_of
from optimizer.roles import engagements, role_models, role_problems, role_shortages
from optimizer.samplers import SAMPLERS
from optimizer.schema import read
from optimizer.scouting import Scouting
from optimizer.slices import SLICE_GAP
from optimizer.space import SearchSpace, needed_capabilities
from optimizer.task import Task, load_task

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study that was read and found sound.

    Attributes:
        name: Name of the folder the study file lies in.
        folder: Where results go.
        file: The file's content, with the seed that is in force.
        source: The file, for messages that point into it.
        imported: The prompt that the task names as its baseline, or None.
    """

    name: str
    folder: Path
    file: StudyConfig
    task: Task
    dataset: Dataset
    source: Located
    imported: Imported | None = None

    @property
    def seed(self) -> int:
        """Return the seed from which all randomness of the search flows."""
        return self.file.search.sampler.seed

    @property
    def database(self) -> Path:
        """Return where trials, completions and scores are kept."""
        return self.folder / "study.db"

    @property
    def budget(self) -> Budget:
        """Return the hard limits; twice as many attempts as calls unless the file says otherwise."""
        spec = self.file.budget
        return Budget(
            calls=spec.calls,
            attempts=2 * spec.calls if spec.attempts is None else spec.attempts,
            tokens=spec.tokens,
            usd=spec.usd,
            seconds=spec.seconds,
        )

    @cached_property
    def price(self) -> Price | None:
        """Return US dollars from tokens read and written, or None where no price is known."""
        model = self.file.model
        return price_of(
            model.name,
            base_url=model.base_url,
            free=MODELS[model.provider].free,
            overrides=self.file.budget.prices,
            service_tier=model.parameters.get("service_tier"),
        )

    @property
    def model(self) -> ModelSpec:
        """Return the model as it is connected: its file, if it has one, found from the study file."""
        return located_model(self.file, self.source)

    @property
    def engagements(self) -> dict[Role, Engagement]:
        """Return the models that the task's metrics ask, each with limits of its own."""
        return engagements(self.file, self.task, self.source)

    @cached_property
    def space(self) -> SearchSpace:
        """Return the search space as it is known before any call, its demonstrations drawn from train."""
        search, spec, dataset = self.file.search, self.file.search.instructions, self.dataset
        return SearchSpace(
            task=self.task,
            instructions=compose(self.task, spec.given, slots=spec.compose),
            demonstration_sets=self._sets(None),
            styles=search.styles,
            formats=search.formats,
            model_parameters=self.file.model.parameters,
            parameters=search.parameters,
            capabilities=MODELS[self.model.provider].capabilities(self.model),
            input_bytes=max(
                sum(utf8_length(text) for name, text in example.inputs if name not in self.task.images)
                for example in (*dataset.train, *dataset.validation)
            ),
            imported=self.imported,
        ).fitted()

    @cached_property
    def scouting(self) -> Scouting:
        """Return what has to be found out on train for the demonstrations; without calls where that is nothing."""
        demos = self.file.search.demos
        kinds = [name for size in demos.sizes if size > 0 for name in demos.selectors]
        turns = (kinds[n % len(kinds)] for n in range(demos.sets if kinds else 0))
        return Scouting(
            space=self.space,
            train=self.dataset.train,
            selectors=demos.selectors,
            size=max(demos.sizes, default=0),
            n_sets=sum(SELECTORS[name].needs is not None for name in turns),
            calls=demos.scout,
            seed=derived_seed(self.seed, "scouting"),
        )

    def scouted(self, evidence: Evidence) -> SearchSpace:
        """Return the space with the demonstrations that are chosen by what was found out."""
        return self.space.grown(demonstration_sets=self._sets(evidence)[len(self._sets(None)) :])

    def _sets(self, evidence: Evidence | None) -> tuple[DemonstrationSet, ...]:
        demos = self.file.search.demos
        return draw_sets(
            self.dataset.train,
            sizes=demos.sizes,
            n_sets=demos.sets,
            selectors=demos.selectors,
            seed=self.seed,
            evidence=evidence,
        )

    @property
    def screen(self) -> int:
        """Return how many validation examples a candidate is screened on; all of them where there is no test."""
        n = len(self.dataset.validation)
        return min(self.file.search.screen or SCREEN, n) if self.dataset.test else n

    @property
    def races(self) -> bool:
        """Return whether candidates race: where the sampler wants it, and a test judges what the race leaves over."""
        return SAMPLERS[self.file.search.sampler.name].races and bool(self.dataset.test)

    @property
    def first(self) -> int:
        """Return how many examples a candidate is scored on at least: those of a screening, or the first of a race."""
        if not self.races:
            return self.screen
        usual = FIRST_LOCAL if MODELS[self.file.model.provider].free else FIRST
        return min(self.file.search.screen or usual, len(self.dataset.validation))

    @cached_property
    def probes(self) -> Probes:
        """Return what baseline and winner are asked after the test, on the examples that judge them."""
        judged, seed = self.dataset.test or self.dataset.validation, derived_seed(self.seed, "robustness")
        return probes_of(self.file.robustness, self.task, judged, seed=seed)

    @cached_property
    def bounds(self) -> Bounds:
        """Return what the budget holds, phase by phase."""
        return bounds_of(
            self.space,
            self.dataset,
            screen=Screen(baseline=self.screen, first=self.first, races=self.races),
            budget=self.budget,
            price=self.price,
            beside=Beside(scouting=self.scouting, probes=self.probes),
        )

    @cached_property
    def leaks(self) -> tuple[str, ...]:
        """Return where the search sees what will judge it, in words."""
        dataset, instructions = self.dataset, list(self.space.instructions)
        if self.imported is not None:
            instructions.append(dataclasses.replace(self.imported.instruction, text=self.imported.text))
        texts = {each.id: each.text for each in instructions} | {
            example.id: " ".join(example.values.values())
            for split in (dataset.train, dataset.validation, dataset.test)
            for example in split
        }
        return leak_warnings(leaks(dataset, instructions, self.space.demonstration_sets), texts)

    @property
    def identity(self) -> dict[str, str]:
        """Return what makes this study this study: a digest for each part that must not change."""
        unasked = ("budget", "run", "storage")
        unnamed = set(ROLES) - set(role_models(self.file))
        parts = {
            name: digest(_plain(getattr(self.file, name)))
            for name in (part.name for part in dataclasses.fields(StudyConfig))
            if name not in (*unasked, *unnamed, "task", "search")
        }
        parts["pareto"] = digest([])  # how the results are looked at is no other study
        if self.file.robustness is None:
            del parts["robustness"]  # older studies did not know it, and are asked for the same
        parts |= {
            f"search.{name}": digest(value) for name, value in dataclasses.asdict(self.file.search).items()
        }
        parts |= {"task": self.task.digest, "data": self.dataset.digest}
        parts |= {} if self.imported is None else {"baseline": self.imported.identity}
        parts["optimizer"] = ".".join(importlib.metadata.version("promptstudy").split(".")[:2])
        return parts

    @property
    def identities(self) -> dict[str, dict[str, object]]:
        """Return what tells each model that is asked from every other, by what it is to the study."""
        specs: dict[str, ModelSpec] = {"model": self.model}
        specs |= {role: asked.spec for role, asked in self.engagements.items()}
        return {role: dict(MODELS[spec.provider].identity(spec)) for role, spec in specs.items()}


def load_plan(path: Path, *, seed: int | None = None, output: Path | None = None) -> StudyPlan:
    """Return the study in a file, its task and data read and everything checked that can be without a call.

    Raises:
        InputError: With every mistake found.
    """
    source = load_yaml(path)
    refuse_other_kind(source, "study")
    file, problems = _attempted(lambda: read(source, StudyConfig))
    if file is not None:
        problems += config_problems(file, source)
    examples, others = _attempted(lambda: load_examples(task_path(source, path)))
    problems += others
    if file is not None and examples is not None:
        problems += size_problems(file, examples[1], source)
        problems += role_problems(file, examples[0], source)
    if problems or file is None or examples is None:
        raise InputError(problems)
    if seed is not None:
        search = dataclasses.replace(file.search, sampler=dataclasses.replace(file.search.sampler, seed=seed))
        file = dataclasses.replace(file, search=search)
    task, dataset = examples
    folder = path.parent if output is None else output
    name, baseline = path.resolve().parent.name, load_imported(task)
    plan = StudyPlan(
        name=name, folder=folder, file=file, task=task, dataset=dataset, source=source, imported=baseline
    )
    problems = _fit_problems(plan)
    if problems:
        raise InputError(problems)
    return plan


def load_examples(path: Path) -> tuple[Task, Dataset]:
    """Return the task in a file and its data, its metrics found to be there and to fit.

    Raises:
        InputError: With every mistake found.
    """
    task = load_task(path)
    problems = task_problems(task) + _attempted(lambda: load_imported(task))[1]
    dataset, others = _attempted(lambda: load_dataset(task))
    if problems or dataset is None:
        raise InputError([*problems, *others])
    return task, dataset


def _attempted(make: Callable[[], T]) -> tuple[T | None, list[Problem]]:
    """Return what was made, or the mistakes that kept it from being made."""
    try:
        return make(), []
    except InputError as error:
        return None, list(error.problems)


def task_path(source: Located, path: Path) -> Path:
    """Return where the task lies that a study names.

    Raises:
        InputError: When it cannot lie there; without a mistake when no text names it, which the schema tells.
    """
    reference = source.value.get("task") if isinstance(source.value, dict) else None
    if not isinstance(reference, str):
        raise InputError([])
    try:
        found = inside_project(reference, file=path)
    except ValueError as error:
        raise InputError([source.problem(("task",), str(error))]) from error
    if not found.is_file():
        raise InputError([source.problem(("task",), f"expected a file, found none at {reference}")])
    return found


def _fit_problems(plan: StudyPlan) -> list[Problem]:
    space, source = plan.space, plan.source
    pair = (space.styles[0], space.formats[0])
    first = next((each for each in space.exclusions if (each.style, each.format) == pair), None)
    if first is not None:
        what = "the baseline is" if space.imported is None else "the search starts from"
        return [source.problem(("search",), f"{what} the first style and the first format; {first}")]
    if space.imported is not None and plan.task.baseline is not None:
        lacking = sorted(needed_capabilities(space.imported.template) - space.capabilities.can)
        if lacking:
            message = f"{space.imported.file}: the model lacks {', '.join(lacking)}, which this prompt needs"
            return [plan.task.source.problem(plan.task.baseline.field, message)]
    if SLICE_GAP in plan.file.constraints and not plan.task.slices:
        return [source.problem(("constraints", SLICE_GAP), "expected `slices` in the task, found none")]
    if space.size == 0 and not (plan.scouting.most_calls and plan.bounds.space):
        return [source.problem(("search",), "expected at least one candidate; one of the lists leaves none")]
    problems = part_problems(space, source, to_come=plan.scouting.n_sets) if plan.races else []
    problems += [source.problem(("budget", unit), message) for unit, message in plan.bounds.shortages()]
    return problems + role_shortages(plan.file, plan.task, source, answers=_least_answers(plan))


def _least_answers(plan: StudyPlan) -> int:
    """Return how many answers the smallest study gets: those of `Bounds.least`, whatever calls each of them takes."""
    test, probes = len(plan.dataset.test), plan.probes
    search = (
        plan.scouting.most_answers + plan.screen + plan.first + (len(plan.dataset.validation) if test else 0)
    )
    probed = sum(2 * len(each.examples) for each in probes.probes) + probes.repeats * len(probes.repeated)
    return search + (3 if plan.imported is None else 2) * test + probed


def _plain(value: object) -> object:
    """Return a dataclass as plain data, anything else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value
