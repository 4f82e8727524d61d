"""`plugins [FOLDER]`: what can be named in task and study files."""

from typing import Annotated

import typer

from optimizer.commands import AsJson, command, say, say_json

FOLDERS = (
    "commands",
    "demonstrations",
    "exporters",
    "formats",
    "metrics",
    "models",
    "perturbations",
    "pruners",
    "samplers",
    "styles",
)


@command
def plugins(
    folder: Annotated[
        str | None, typer.Argument(metavar="[FOLDER]", help="One of the plug-in folders.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the plug-ins of every folder, or of one."""
    from optimizer.errors import PluginError
    from optimizer.registry import Registry, did_you_mean

    if folder is not None and folder not in FOLDERS:
        raise PluginError(f"no plug-in folder {folder!r}{did_you_mean(folder, FOLDERS)}")
    wanted = FOLDERS if folder is None else (folder,)
    found = {name: list(Registry(f"optimizer.{name}", object)) for name in wanted}
    if as_json:
        say_json(found)
        return
    for name, members in found.items():
        say(f"{name}: {', '.join(members)}")
