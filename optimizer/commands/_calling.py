"""Options and figures of commands that call a model."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from optimizer.ledger import CacheMode
    from optimizer.plan import StudyPlan

Concurrency = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto", help="Most requests under way at once; auto lets the endpoint's answers decide."
    ),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Take no answer that was paid for elsewhere, and share none.")
]
Refresh = Annotated[
    bool,
    typer.Option("--refresh", help="Take no answer that was paid for elsewhere, and replace them for all."),
]

BaseUrl = Annotated[str | None, typer.Option(metavar="URL", help="Endpoint of openai_compatible.")]
ApiKeyEnv = Annotated[
    str | None, typer.Option(metavar="NAME", help="Environment variable that holds the key.")
]


def cache_mode(*, no_cache: bool, refresh: bool) -> "CacheMode":
    """Return which stored answers are taken.

    Raises:
        InputError: When both options are given.
    """
    from optimizer.errors import InputError, Problem

    if no_cache and refresh:
        message = "expected one of --no-cache and --refresh: the first shares nothing, the second replaces"
        raise InputError([Problem(file="", message=message)])
    if no_cache:
        return "private"
    return "refresh" if refresh else "shared"


def concurrency_of(text: str | None) -> int | Literal["auto"] | None:
    """Return the number in the option, "auto", or None when it was not given.

    Raises:
        InputError: When it is neither.
    """
    from optimizer.errors import InputError, Problem

    if text is None:
        return None
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    message = f"expected auto or a whole number of at least 1, found {text!r}"
    raise InputError([Problem(file="", field="--concurrency", message=message)])


def with_concurrency(plan: "StudyPlan", text: str | None) -> "StudyPlan":
    """Return the plan with the concurrency of the command line in place of its own."""
    wanted = concurrency_of(text)
    if wanted is None:
        return plan
    run = dataclasses.replace(plan.file.run, concurrency=wanted)
    return dataclasses.replace(plan, file=dataclasses.replace(plan.file, run=run))
