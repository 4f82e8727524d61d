"""One study for several models: the same search for each, in a folder of its own, as a study file like any other."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optimizer.config import StudyConfig
from optimizer.document import Located, load_yaml, project_root, write_atomically
from optimizer.errors import InputError, Problem, StorageError
from optimizer.judging import ROLES
from optimizer.lineup import merged
from optimizer.models import ModelSpec
from optimizer.plan import StudyPlan, load_plan, task_path
from optimizer.rivals import Rival, unique
from optimizer.schema import read

_HEAD = "# Made by `optimizer compare --tune` of {0}: the same study for another model.\n"

# What a folder may be called.
_UNSAFE = re.compile(r"[^\w.-]+|^\.+")


def plans_for(study: Path, models: Sequence[Rival], folder: Path) -> tuple[StudyPlan, ...]:
    """Return a study for each model, its file written below a folder of the same project.

    Raises:
        InputError: With every mistake in the study and in what it comes to for each model.
        StorageError: When a file cannot be written.
    """
    source = load_yaml(study)
    read(source, StudyConfig)
    task = task_path(source, study)
    # A project that nothing marks ends at the folder of its study, and would not hold the folders below it.
    _mark(project_root(study) / ".optimizer")
    plans, problems = list[StudyPlan](), list[Problem]()
    for rival, name in zip(models, unique(_UNSAFE.sub("-", each.label) for each in models), strict=True):
        path = folder / name / "study.yaml"
        _write(
            path, _HEAD.format(study.name) + study_text(source, study, rival, task=task, folder=path.parent)
        )
        try:
            plans.append(load_plan(path))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return tuple(plans)


def study_text(source: Located, study: Path, rival: Rival, *, task: Path, folder: Path) -> str:
    """Return a study for another model, its paths as they are written in another folder.

    It is JSON, which is YAML. The model's own parameters come before those of the study's model.
    """
    assert isinstance(source.value, dict)  # it was read
    content: dict[str, Any] = dict(source.value)

    def moved(path: str | Path) -> str:
        return os.path.relpath(study.parent.resolve() / path, folder.resolve())

    spec = rival.spec
    parameters = merged(content["model"].get("parameters", {}), spec.parameters)
    spec = dataclasses.replace(spec, parameters=dict(parameters))
    content["task"] = moved(task)
    content["model"] = _stated(spec)
    for key in ("model", *ROLES):
        if isinstance(content.get(key), dict) and content[key].get("path") is not None:
            content[key] = {**content[key], "path": moved(content[key]["path"])}
    asked = {content[key]["name"] for key in ("model", *ROLES) if isinstance(content.get(key), dict)}
    prices = {name: price for name, price in content["budget"].get("prices", {}).items() if name in asked}
    if rival.price is not None:
        prices[spec.name] = dataclasses.asdict(rival.price)
    content["budget"] = {**content["budget"], "prices": prices}
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _stated(spec: ModelSpec) -> Mapping[str, object]:
    """Return what a model says other than the usual."""
    usual = ModelSpec(provider="", name="")
    values = dataclasses.asdict(spec)
    return {name: value for name, value in values.items() if value != getattr(usual, name)}


def _mark(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made ({error.strerror})") from error


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror})") from error
