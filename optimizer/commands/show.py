"""`show PATH`: a frozen prompt for people to read."""

from pathlib import Path
from typing import Annotated

import typer

from optimizer.commands import AsJson, command, say, say_json
from optimizer.commands._results import prompt_path


@command
def show(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A frozen prompt, or the study or folder in which one lies."),
    ],
    as_json: AsJson = False,
) -> None:
    """Show a frozen prompt: its messages, how its answer is read, its evidence and the best of its history."""
    from optimizer.frozen import FrozenPrompt

    frozen = FrozenPrompt.load(prompt_path(path))
    if as_json:
        say_json(frozen.to_dict())
        return
    from optimizer.commands._prompts import prompt_lines

    for line in prompt_lines(frozen):
        say(line)
