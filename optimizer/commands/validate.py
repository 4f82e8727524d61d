"""`validate PATH...`: checks task, study and prompt files without a call."""

from pathlib import Path
from typing import Annotated

import typer

from optimizer.commands import AsJson, command, say, say_json


@command
def validate(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Task, study or prompt files.")],
    write_schemas: Annotated[
        bool,
        typer.Option("--write-schemas", help="Also write the files' JSON Schemas to .optimizer/schemas/."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check task, study and prompt files, with everything they refer to. Makes no call.

    Nothing is written, unless the JSON Schemas are asked for, which editors use to check and complete the files.
    """
    from optimizer.errors import InputError, Problem

    problems: list[Problem] = []
    found: dict[str, str] = {}
    for path in paths:
        try:
            found[str(path)] = _checked(path)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    if write_schemas:
        _write_schemas(paths)
    if as_json:
        say_json({"valid": found})
        return
    for name, kind in found.items():
        say(f"{name}: a sound {kind}")


def _checked(path: Path) -> str:
    """Return what kind of file it is, once it is found sound."""
    from optimizer.document import load_yaml
    from optimizer.frozen import FrozenPrompt
    from optimizer.plan import load_examples, load_plan

    if path.suffix == ".json":
        FrozenPrompt.load(path)
        return "frozen prompt"
    content = load_yaml(path).value
    if isinstance(content, dict) and ("search" in content or "budget" in content or "task" in content):
        load_plan(path)
        return "study"
    load_examples(path)
    return "task"


def _write_schemas(paths: list[Path]) -> None:
    from optimizer.config import StudyConfig
    from optimizer.digest import pretty
    from optimizer.document import project_root, write_atomically
    from optimizer.schema import schema
    from optimizer.task import TaskFile

    for root in sorted({project_root(path) for path in paths}):
        folder = root / ".optimizer" / "schemas"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "task.json", pretty(schema(TaskFile)))
        write_atomically(folder / "study.json", pretty(schema(StudyConfig)))
