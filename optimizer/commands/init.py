"""`init NAME --data FILE`: a task and a study made of a table."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.commands import AsJson, command, say, say_json
from optimizer.commands._calling import ApiKeyEnv, BaseUrl

if TYPE_CHECKING:
    from optimizer.scaffold import Scaffold


@command
def init(  # the options of a command line
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of task and study: letters, digits, - and _.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="FILE", help="Labelled examples: .csv, .tsv, .jsonl, .json, also .gz; .parquet."
        ),
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column of right answers, or several; proposed without it."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column that the model reads; as many as there are."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Rows with one value of it stay in one split.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The prompt in use today, to measure gains against.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="PROVIDER:NAME", help="The model.")] = "embedded:smollm2-135m",
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    calls: Annotated[
        int | None, typer.Option(metavar="N", help="The budget, at least 90; what the data need without it.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The project's folder; the one we are in without it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files of this name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Propose a task and a study for a table, write them, and say what the data can show. Makes no call.

    What is not given is proposed, and every proposal is told with its reason. The files are sound as they are written,
    and meant to be changed.
    """
    from optimizer.columns import Wanted
    from optimizer.document import project_root
    from optimizer.models import ModelSpec
    from optimizer.scaffold import Wishes, scaffold

    provider, _, model_name = model.partition(":")
    wishes = Wishes(
        name=name,
        data=data,
        root=project_root(Path.cwd() / "any") if output is None else output,
        model=ModelSpec(provider=provider, name=model_name, base_url=base_url, api_key_env=api_key_env),
        columns=Wanted(targets=tuple(target or ()), inputs=tuple(inputs or ()), group=group),
        baseline=baseline,
        calls=calls,
        force=force,
    )
    _say(scaffold(wishes), as_json=as_json)


def _say(made: "Scaffold", *, as_json: bool) -> None:
    from optimizer.task import shown

    task, study = (shlex.quote(shown(path)) for path in (made.task, made.study))
    then = [
        f"optimizer validate {task} {study}",
        f"optimizer run {study} --dry-run",
        f"optimizer run {study}",
    ]
    files = [shown(path) for path in made.files]
    if as_json:
        choices = [{"field": one.field, "value": one.value, "why": one.why} for one in made.choices]
        say_json({"files": files, "choices": choices, "in_words": list(made.in_words), "next": then})
        return
    for choice in made.choices:
        say(f"{choice.field:<12}{choice.value}  ({choice.why})")
    for sentence in made.in_words:
        say(sentence)
    say(f"wrote       {', '.join(files)}")
    for line in then:
        say(f"next        {line}")
