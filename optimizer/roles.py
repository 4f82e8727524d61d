"""Which models a study names for its metrics to ask, and whether they are those that the metrics need."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from optimizer.budget import Budget
from optimizer.config import StudyConfig
from optimizer.document import Located, inside_project
from optimizer.errors import Problem
from optimizer.judging import Engagement, asks
from optimizer.metrics import METRICS, Role
from optimizer.models import ModelSpec
from optimizer.scoring import Prepared, declared, plain, unfit
from optimizer.task import Task

_ASKS = "{} asks a model, and a search asks it for its metric alone"

# What a metric asks, in words.
_WANTED: Mapping[Role, str] = {"judge": "a judge", "embeddings": "a model of embeddings"}


def located(spec: ModelSpec, source: Located) -> ModelSpec:
    """Return a model with its path, where it names one, resolved from the study file.

    Raises:
        ValueError: When the path leads outside the project.
    """
    if spec.path is None:
        return spec
    return dataclasses.replace(spec, path=str(inside_project(spec.path, file=Path(source.file))))


def role_models(file: StudyConfig) -> dict[Role, ModelSpec]:
    """Return the models that a study names for its metrics to ask, by role."""
    named: dict[Role, ModelSpec | None] = {"judge": file.judge, "embeddings": file.embeddings}
    return {role: spec for role, spec in named.items() if spec is not None}


def engagements(file: StudyConfig, task: Task, source: Located) -> dict[Role, Engagement]:
    """Return the models that a task's metrics ask, each with limits of its own.

    Unless the file says otherwise, they may take what the answers to all calls of the study could. Models that it names
    and no metric asks are left alone.
    """
    spec, named = file.budget, role_models(file)
    found: dict[Role, Engagement] = {}
    for role, n in asks(declared(task).values()).items():
        calls = n * spec.calls if spec.judge_calls is None else spec.judge_calls
        budget = Budget(calls=calls, attempts=2 * calls, seconds=spec.seconds)
        found[role] = Engagement(spec=located(named[role], source), budget=budget, prices=spec.prices)
    return found


def role_problems(file: StudyConfig, task: Task, source: Located) -> list[Problem]:
    """Return what a task's metrics ask and the study does not name, and constraints that nothing would be asked for."""
    found, named = declared(task), role_models(file)
    missing = [
        source.problem(
            (role,), f"missing; the metric {_asking(found, role)} asks {_WANTED[role]}: name one here"
        )
        for role in asks(found.values())
        if role not in named
    ]
    return missing + _unkept(file, task, source, found)


def _unkept(file: StudyConfig, task: Task, source: Located, found: Mapping[str, Prepared]) -> list[Problem]:
    """Return the constraints that a search could not keep, because nothing would be measured."""
    known = [
        name for name in file.constraints if name in found or name in METRICS
    ]  # others are told elsewhere
    messages = {name: _unmeasured(name, task, found) for name in known}
    return [source.problem(("constraints", name), text) for name, text in messages.items() if text]


def _unmeasured(name: str, task: Task, found: Mapping[str, Prepared]) -> str | None:
    """Return why a search cannot measure what a constraint is about, or None."""
    made = found.get(name)
    if made is None:
        metric, setting = METRICS[name], next(iter(found.values())).setting
        if metric.needs:
            return _ASKS.format(name)
        try:
            made = plain(name, setting)
        except TypeError:  # an option without a default
            return f"{name} needs args: name it in the task's `metrics`"
    if made.needs:
        return _ASKS.format(name)
    if made.metric.kind == "score" and not made.at_once:
        return f"{name} takes more than a look at the answer, and a search scores by its metric alone"
    return unfit(made, task)


def role_shortages(file: StudyConfig, task: Task, source: Located, *, answers: int) -> list[Problem]:
    """Return a mistake where the calls of a judge cannot hold the least study, which has so many answers."""
    most = file.budget.judge_calls
    return [
        source.problem(
            ("budget", "judge_calls"),
            f"expected at least {n * answers}, {n} of the {role} for each of {answers} answers, found {most}",
        )
        for role, n in asks(declared(task).values()).items()
        if most is not None and most < n * answers
    ]


def role_cautions(file: StudyConfig, task: Task) -> tuple[str, ...]:
    """Return what would bias a judge, and which models are named in vain."""
    asked, named = asks(declared(task).values()), role_models(file)
    cautions = [f"no metric of the task asks what `{role}` names" for role in named if role not in asked]
    judge = named.get("judge")
    if judge is not None and "judge" in asked and own_judge(judge, file.model):
        cautions.append(self_preference(judge))
    return tuple(cautions)


def own_judge(judge: ModelSpec, model: ModelSpec) -> bool:
    """Return whether a model judges itself."""
    return (judge.name, judge.base_url) == (model.name, model.base_url)


def self_preference(judge: ModelSpec) -> str:
    """Return what to know of a model that judges itself (Panickssery et al. 2024, arXiv:2404.13076)."""
    return f"the judge is the model itself, {judge.name}: models prefer their own answers, so name another"


def _asking(found: Mapping[str, Prepared], role: Role) -> str:
    return next(name for name, made in found.items() if role in made.needs)
