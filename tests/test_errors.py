"""The error tree, its exit codes and what its errors say."""

import inspect
import re
from itertools import pairwise

import pytest

import optimizer.errors
from optimizer.errors import (
    BrokenAnswerError,
    BudgetError,
    EndpointError,
    FilteredError,
    IncompleteError,
    InputError,
    InterruptedRunError,
    ModelError,
    OptimizerError,
    OutageError,
    OverloadedError,
    PluginError,
    Problem,
    RejectedError,
    SandboxError,
    StorageError,
    StudyBusyError,
    StudyChangedError,
    TransientError,
    UnreachableError,
)


def drawn() -> dict[str, str]:
    """Return child and parent as the docstring of the module draws them."""
    lines = re.findall(r"^( *)[*x+-] (\w+)", optimizer.errors.__doc__ or "", re.MULTILINE)
    path: list[str] = []
    parents = {}
    for indent, name in lines:
        del path[len(indent) // 2 :]
        parents[name] = path[-1] if path else "Exception"
        path.append(name)
    return parents


def defined() -> dict[str, str]:
    """Return child and parent as the classes of the module are."""
    classes = inspect.getmembers(optimizer.errors, inspect.isclass)
    return {name: kind.__bases__[0].__name__ for name, kind in classes if issubclass(kind, Exception)}


def test_the_drawn_tree_is_the_tree_of_classes() -> None:
    assert drawn() == defined()


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (OptimizerError, 70),
        (InputError, 2),
        (PluginError, 2),
        (StudyChangedError, 2),
        (StudyBusyError, 2),
        (ModelError, 3),
        (TransientError, 3),
        (UnreachableError, 3),
        (OverloadedError, 3),
        (BrokenAnswerError, 3),
        (RejectedError, 3),
        (FilteredError, 3),
        (EndpointError, 3),
        (OutageError, 3),
        (SandboxError, 3),
        (StorageError, 3),
        (IncompleteError, 3),
        (BudgetError, 4),
        (InterruptedRunError, 130),
    ],
)
def test_every_error_has_its_exit_code(error: type[OptimizerError], exit_code: int) -> None:
    assert error.exit_code == exit_code


def test_every_error_of_the_tree_is_in_the_table_of_exit_codes() -> None:
    table = next(mark.args[1] for mark in getattr(test_every_error_has_its_exit_code, "pytestmark", ()))
    assert {error.__name__ for error, _ in table} == set(defined())


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (
            Problem(file="a.yaml", line=3, field="search.sizes[1]", message="bad"),
            "a.yaml:3: search.sizes[1]: bad",
        ),
        (Problem(file="a.yaml", line=3, message="bad"), "a.yaml:3: bad"),
        (Problem(file="a.yaml", field="seed", message="bad"), "a.yaml: seed: bad"),
        (Problem(file="a.yaml", message="bad"), "a.yaml: bad"),
        (Problem(file="", message="bad"), "bad"),
    ],
)
def test_a_problem_names_its_place(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_an_input_error_carries_and_tells_every_problem() -> None:
    problems = [Problem(file="a", line=n, message="bad") for n in (1, 2)]
    error = InputError(problems)
    assert error.problems == tuple(problems)
    assert str(error) == "a:1: bad\na:2: bad"


def test_a_plug_in_error_is_one_problem() -> None:
    error = PluginError("no plug-in 'x'")
    assert error.problems == (Problem(file="", message="no plug-in 'x'"),)
    assert str(error) == "no plug-in 'x'"


def test_the_tree_is_drawn_from_the_top_without_gaps() -> None:
    indents = [
        len(found) for found in re.findall(r"^( *)[*x+-] \w", optimizer.errors.__doc__ or "", re.MULTILINE)
    ]
    assert indents[0] == 0
    assert all(later - earlier <= 2 for earlier, later in pairwise(indents))


@pytest.mark.parametrize("kind", [TransientError, UnreachableError, OverloadedError, BrokenAnswerError])
def test_what_is_worth_another_attempt_says_why_and_what_it_may_have_cost(kind: type[TransientError]) -> None:
    told = kind(
        "slow down",
        reason="429",
        retry_after_seconds=2.5,
        billable=True,
        prompt_tokens=7,
        completion_tokens=0,
    )
    assert (str(told), told.reason, told.retry_after_seconds) == ("slow down", "429", 2.5)
    assert (told.billable, told.prompt_tokens, told.completion_tokens) == (True, 7, 0)
    silent = kind("gone", reason="reset")
    assert (silent.retry_after_seconds, silent.billable) == (None, False)
    assert (silent.prompt_tokens, silent.completion_tokens) == (None, None)


@pytest.mark.parametrize("final", [RejectedError, EndpointError, OutageError])
def test_what_is_final_for_a_request_or_the_endpoint_is_not_worth_another_attempt(
    final: type[ModelError],
) -> None:
    assert not issubclass(final, TransientError)
