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

    Nothing is written, unless the JSON Schemas are asked for, which editors use to check and complete the files. Those of
    what every command prints with --json lie beside them, in output/.
    """
    from optimizer.errors import InputError, Problem

    problems: list[Problem] = []
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for path in paths:
        try:
            found[str(path)] = _checked(path)
        except InputError as error:
            problems += error.problems
    if problems:
        # A study is not sound where its task is not, and that may be among the files as well.
        raise InputError(list(dict.fromkeys(problems)))
    if write_schemas:
        _write_schemas(paths)
    if as_json:
        valid = {name: kind for name, (kind, _) in found.items()}
        say_json({"valid": valid, "in_words": {name: list(said) for name, (_, said) in found.items()}})
        return
    for name, (kind, said) in found.items():
        say(f"{name}: a sound {kind}")
        for sentence in said:
            say(f"  {sentence}")


def _checked(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return what kind of file it is, once it is found sound, and what its data can show."""
    import asyncio

    from optimizer.checks import parameter_cautions
    from optimizer.document import load_yaml
    from optimizer.filekind import kind_of
    from optimizer.frozen import FrozenPrompt
    from optimizer.importing import imported_in_words, load_imported
    from optimizer.plan import load_examples, load_plan
    from optimizer.plantext import data_in_words, plan_in_words
    from optimizer.smoke import check_metrics

    if path.suffix == ".json":
        FrozenPrompt.load(path)
        return "frozen prompt", ()
    if kind_of(load_yaml(path).value) == "study":
        plan = load_plan(path)
        asyncio.run(check_metrics(plan.task, plan.dataset.validation, own=False))
        cautions = (f"Caution: {caution}" for caution in parameter_cautions(plan.file))
        return "study", (*plan_in_words(plan), *cautions)
    task, dataset = load_examples(path)
    asyncio.run(check_metrics(task, dataset.validation, own=False))
    return "task", (*data_in_words(dataset), *imported_in_words(load_imported(task)))


def _write_schemas(paths: list[Path]) -> None:
    from optimizer.commands._schemas import described, output_schema, prompt_schema
    from optimizer.config import StudyConfig
    from optimizer.digest import pretty
    from optimizer.document import project_root, write_atomically
    from optimizer.schema import schema
    from optimizer.taskfile import TaskFile

    written = {"task": schema(TaskFile), "study": schema(StudyConfig), "prompt": prompt_schema()}
    written |= {f"output/{name}": output_schema(name) for name in described()}
    for root in sorted({project_root(path) for path in paths}):
        folder = root / ".optimizer" / "schemas"
        (folder / "output").mkdir(parents=True, exist_ok=True)
        for name, content in written.items():
            write_atomically(folder / f"{name}.json", pretty(content))
