"""`cache ls|verify|clear [STUDY]`: the answers that are stored, so that none is paid for twice."""

from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from optimizer.commands import AsJson, command, complain, printable, say, say_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optimizer.cache import Cache, ModelCompletions

ACTIONS = ("ls", "verify", "clear")

_COLUMNS = ("model", "answers", "private", "tokens read", "tokens written", "size", "oldest", "newest")

# Columns of a table: on a narrower terminal it would hold no words, and off a terminal it is as wide as it needs.
_NARROWEST = 80
_UNBOUNDED = 10_000


@command
def cache(  # the options of a command line
    action: Annotated[str, typer.Argument(metavar="ls|verify|clear", help="What to do with them.")],
    study: Annotated[
        Path | None,
        typer.Argument(
            metavar="STUDY", help="A study file, its folder or its database; the project's store without it."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The folder that the study was run with, instead of its own.", metavar="DIR"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="PROVIDER:NAME", help="Clear the answers of this model alone.")
    ] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Clear the damaged answers alone.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Clear without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """List, check or delete the stored answers of a study, or of a project's prompts that were scored.

    ls lists them by model. verify reads every one of them: a damaged answer is asked again when it is needed, and the
    exit code is 1. clear deletes them, and asks before it does: a study that is not finished resumes from its stored
    answers, and without them pays for them again.
    """
    _check(action, model=model, damaged=damaged, yes=yes)
    path = _database(study, output)
    with _opened(path) as stored:
        if action == "ls":
            _list(stored, path, as_json=as_json)
        elif action == "verify":
            _verify(stored, path, as_json=as_json)
        else:
            _clear(stored, path, model, damaged=damaged, yes=yes, as_json=as_json)


def _check(action: str, *, model: str | None, damaged: bool, yes: bool) -> None:
    """Refuse what no action does, and a deletion that nobody could be asked about."""
    import sys

    from optimizer.errors import InputError, Problem
    from optimizer.registry import did_you_mean

    if action not in ACTIONS:
        message = f"expected ls, verify or clear, found {action!r}{did_you_mean(action, ACTIONS)}"
        raise InputError([Problem(file="", message=message)])
    given = {"--model": model is not None, "--damaged": damaged, "--yes": yes}
    if action != "clear":
        problems = [
            Problem(file="", field=name, message=f"expected with clear alone, found with {action}")
            for name, is_given in given.items()
            if is_given
        ]
        if problems:
            raise InputError(problems)
    elif not yes and not sys.stdin.isatty():
        message = "expected where nobody can be asked, since what is deleted is paid for again"
        raise InputError([Problem(file="", field="--yes", message=message)])


def _database(study: Path | None, output: Path | None) -> Path:
    """Return where the answers lie, if there are any."""
    from optimizer.document import project_root
    from optimizer.errors import InputError, Problem

    problems = []
    if study is not None and not study.exists():
        message = "expected a study file, its folder or its database, found nothing"
        problems.append(Problem(file=str(study), message=message))
    if output is not None and not output.is_dir():
        problems.append(Problem(file=str(output), field="--output", message="expected a folder, found none"))
    if problems:
        raise InputError(problems)
    if output is not None:
        return output / "study.db"
    if study is None:
        return project_root(Path(".optimizer")) / ".optimizer" / "store.db"
    if study.is_dir():
        return study / "study.db"
    return study.with_name("study.db") if study.suffix in (".yaml", ".yml") else study


@contextmanager
def _opened(path: Path) -> "Iterator[Cache | None]":
    """Open the answers of a database, None where none was ever stored; no file is made a database of ours."""
    if not _holds_answers(path):
        yield None
        return
    from optimizer.cache import Cache
    from optimizer.storage import open_storage
    from optimizer.store import Store

    with open_storage(path) as storage:
        yield Cache(Store(storage))


def _holds_answers(path: Path) -> bool:
    """Return whether a file is a database with our tables; it is only read.

    Raises:
        InputError: When it is no database.
    """
    import sqlite3

    from optimizer.errors import InputError, Problem
    from optimizer.storage import is_of_access
    from optimizer.store import COMPLETIONS

    if not path.exists():
        return False
    address = f"{path.resolve().as_uri()}?mode=ro"
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            return bool(connection.execute(query, (COMPLETIONS.name,)).fetchone()[0])
    except sqlite3.DatabaseError as error:
        what = "cannot be read" if is_of_access(error) else "is not a study's database"
        raise InputError([Problem(file=str(path), message=f"{what}: {error}")]) from error


def _list(stored: "Cache | None", path: Path, *, as_json: bool) -> None:
    models = [] if stored is None else stored.models()
    n_damaged = 0 if stored is None else len(stored.damaged_keys())
    if as_json:
        say_json({"database": str(path), "models": [_figures(each) for each in models], "damaged": n_damaged})
        return
    say(f"{path}:" if models else f"no answers are stored in {path}")
    for line in _table(models):
        say(line)
    if n_damaged:
        complain(f"{n_damaged} more cannot be read; `cache verify` says what that means")


def _verify(stored: "Cache | None", path: Path, *, as_json: bool) -> None:
    n_sound = 0 if stored is None else sum(each.n for each in stored.models())
    n_damaged = 0 if stored is None else len(stored.damaged_keys())
    if as_json:
        say_json({"database": str(path), "sound": n_sound, "damaged": n_damaged})
    else:
        say(f"{path}: {n_sound} sound, {n_damaged} damaged")
    if n_damaged:
        complain("a damaged answer is asked again when it is needed; `cache clear --damaged` deletes it")
        raise typer.Exit(1)


def _clear(
    stored: "Cache | None", path: Path, model: str | None, *, damaged: bool, yes: bool, as_json: bool
) -> None:
    n_deleted = 0
    if stored is not None and (yes or _agreed(path, model, damaged=damaged)):
        known = [each.model for each in stored.models()]
        n_deleted = stored.clear(model=model, damaged_only=damaged)
        if n_deleted == 0 and model is not None:
            _refuse_unknown(model, known)
    if as_json:
        say_json({"database": str(path), "deleted": n_deleted})
    else:
        say(f"{path}: {n_deleted} deleted")


def _agreed(path: Path, model: str | None, *, damaged: bool) -> bool:
    """Return whether the person at the terminal wants the answers deleted."""
    import sys

    what = "the damaged answers" if damaged else "the answers"
    complain(f"delete {what}{'' if model is None else f' of {model}'} in {path}? [y/N]")
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def _refuse_unknown(model: str, known: list[str]) -> None:
    from optimizer.errors import InputError, Problem
    from optimizer.registry import did_you_mean

    if known and model not in known:
        message = f"no answers of {model!r} are stored{did_you_mean(model, known)}"
        raise InputError([Problem(file="", field="--model", message=message)])


def _figures(each: "ModelCompletions") -> dict[str, object]:
    return {
        "model": each.model,
        "answers": each.n,
        "private": each.private,
        "prompt_tokens": each.prompt_tokens,
        "completion_tokens": each.completion_tokens,
        "bytes": each.n_bytes,
        "oldest": _moment(each.oldest),
        "newest": _moment(each.newest),
    }


def _table(models: "Sequence[ModelCompletions]") -> "Iterator[str]":
    """Yield the lines of a table, folded to the terminal's width if there is one."""
    if not models:
        return
    import io
    import shutil
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in _COLUMNS:
        is_day = name in ("oldest", "newest")
        justify: Literal["left", "right"] = "left" if name == "model" else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=is_day)
    for each in models:
        days = {"oldest": _moment(each.oldest)[:10], "newest": _moment(each.newest)[:10]}
        figures = {**_figures(each), "bytes": _size(each.n_bytes), **days}
        table.add_row(*(Text(printable(str(value))) for value in figures.values()))
    text = io.StringIO()
    width = max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else _UNBOUNDED
    # A model's name is shown as it is: neither markup nor a colour is read from it.
    Console(file=text, width=width, color_system=None).print(table)
    yield from (line.rstrip() for line in text.getvalue().splitlines())


def _moment(seconds: float) -> str:
    """Return a Unix time as people read it, in UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _size(n_bytes: int) -> str:
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if n_bytes >= 10**power:
            return f"{n_bytes / 10**power:.1f} {unit}"
    return f"{n_bytes} B"
