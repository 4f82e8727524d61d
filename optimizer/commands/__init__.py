"""Commands: arguments in, one engine call, text or JSON out, exit code. One command a file.

Command modules import the engine inside their function, so that `--help` stays light.
"""

import codecs
import errno
import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from optimizer.elision import printable as printable
from optimizer.errors import OptimizerError, StorageError
from optimizer.registry import Registry

# Of the exit codes that several studies gave, the first of these; 0 when there is none.
EXIT_ORDER = (70, 130, 2, 3, 4, 1)

# What a shell tells of a process that wrote to a pipe which nobody read any more.
_PIPE_CLOSED = 141

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a code page has no character for is shown by its number; it is no reason to end.
            with suppress(OSError):  # what became a pipe after it was opened refuses
                stream.reconfigure(errors="backslashreplace")
    code = 0
    try:
        app()()
    except SystemExit as ended:  # as Typer ends a command
        code = _code_of(ended)
    except OptimizerError as error:
        if _Debug.on:
            raise
        code = error.exit_code
        report_error(error)
    except KeyboardInterrupt:  # before a command had its own way of ending
        code = 130
    except Exception as error:  # the top of the program: one line for people, the rest in a file
        if _Debug.on and not isinstance(error, BrokenPipeError):
            raise
        code = _of_system(error) if isinstance(error, OSError) else _internal(error)
    sys.exit(_flushed(code))


def _code_of(ended: SystemExit) -> int:
    """Return the exit code of a command that Typer ended; it makes 1 of what is no failed gate as well."""
    if isinstance(ended.__context__, BrokenPipeError):
        return _PIPE_CLOSED
    if isinstance(ended.__context__, typer.Abort):
        return 130
    return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


def _flushed(code: int) -> int:
    """Write what is held back, and return the exit code: of a command that did its work, whether it could be read.

    What cannot be written goes nowhere, or the interpreter would fail over it once more and end with a code of its own.
    """
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:  # there is none
            continue
        try:
            stream.flush()
        except OSError as error:
            with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
            if stream is sys.__stdout__ and not code:
                code = _of_system(error)
    return code


def _of_system(error: OSError) -> int:
    """Return the exit code where the system refused something that no command tells in its own words."""
    if isinstance(error, BrokenPipeError):
        return _PIPE_CLOSED
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return _internal(error)
    complain(f"error: {error.filename or 'the output'} cannot be written ({error.strerror})")
    return StorageError.exit_code


def report_error(error: OptimizerError) -> int:
    """Print an error for people and return its exit code."""
    for line in str(error).splitlines():
        complain(f"error: {line}")
    return error.exit_code


def complain(text: str) -> None:
    """Print one line on stderr, if anybody is there to read it."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr)


def say(text: str = "") -> None:
    """Print text on stdout."""
    print(printable(text))


def say_json(document: Mapping[str, object]) -> None:
    """Print a document as JSON on stdout, with escapes for what a terminal would not only show, or cannot."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    plain = codecs.lookup(encoding).name != "utf-8"  # what a code page lacks is no JSON when it is replaced
    text = json.dumps(document, ensure_ascii=plain, sort_keys=True, indent=2, allow_nan=False)
    print("".join(c if printable(c) == c else json.dumps(c)[1:-1] for c in text))


def _internal(error: Exception) -> int:
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="optimizer-",
            suffix=".log",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            traceback.print_exception(error, file=file)
        where = f"the traceback is in {Path(file.name)}"
    except OSError as failed:  # no folder takes it, or the disk is full
        where = f"no traceback could be written ({failed.strerror})"
    complain(f"internal error: {type(error).__name__}: {error}; {where}")
    return 70
