"""Commands: arguments in, one engine call, text or JSON out, exit code. One command a file.

Command modules import the engine inside their function, so that `--help` stays light.
"""

import json
import sys
import tempfile
import traceback
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from optimizer.errors import OptimizerError
from optimizer.registry import Registry

# Of the exit codes that several studies gave, the first of these; 0 when there is none.
EXIT_ORDER = (70, 130, 2, 3, 4, 1)

AsJson = Annotated[
    bool, typer.Option("--json", help="Print pure JSON on stdout; everything else goes to stderr.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print no progress.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One command; its function's arguments are its arguments, its docstring its help."""

    function: Callable[..., None]


COMMANDS: Registry[Command] = Registry("optimizer.commands", Command)


def command(function: Callable[..., None]) -> Command:
    """Make a command of a function."""
    return Command(function=function)


def app() -> typer.Typer:
    """Return the command line with every command of the folder."""
    cli = typer.Typer(
        name="optimizer",
        help="Search for the best prompt for a task, and freeze it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @cli.callback()
    def _common(
        debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
        _version: Annotated[
            bool,
            typer.Option(
                "--version", is_eager=True, callback=_tell_version, help="Show the version and exit."
            ),
        ] = False,
    ) -> None:
        _Debug.on = debug

    for name in COMMANDS:
        cli.command(name)(COMMANDS[name].function)
    return cli


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"optimizer {version('promptstudy')}")
        raise typer.Exit


class _Debug:
    """Whether tracebacks are shown; set once by the command line before a command starts."""

    on = False


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    try:
        app()()
    except OptimizerError as error:
        if _Debug.on:
            raise
        sys.exit(report_error(error))
    except KeyboardInterrupt:  # before a command had its own way of ending
        sys.exit(130)
    except Exception as error:  # the top of the program: one line for people, the rest in a file
        if _Debug.on:
            raise
        sys.exit(_internal(error))
    sys.exit(0)


def report_error(error: OptimizerError) -> int:
    """Print an error for people and return its exit code."""
    for line in str(error).splitlines():
        complain(f"error: {line}")
    return error.exit_code


def complain(text: str) -> None:
    """Print one line on stderr."""
    print(printable(text), file=sys.stderr)


def say(text: str = "") -> None:
    """Print text on stdout."""
    print(printable(text))


def say_json(document: Mapping[str, object]) -> None:
    """Print a document as JSON on stdout, with escapes for what a terminal would not only show."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, indent=2, allow_nan=False)
    print("".join(c if printable(c) == c else json.dumps(c)[1:-1] for c in text))


def printable(text: str) -> str:
    """Return text that a terminal only shows: no control characters but line breaks, nothing that turns text round."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "\ufffd" for c in text
    )


def _internal(error: Exception) -> int:
    with tempfile.NamedTemporaryFile(
        "w", prefix="optimizer-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        traceback.print_exception(error, file=file)
    complain(f"internal error: {type(error).__name__}: {error}; the traceback is in {Path(file.name)}")
    return 70
