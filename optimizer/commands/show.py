"""`show PATH`: a frozen prompt for people to read; and of its study the history, a trial, or an example."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimizer.commands import AsJson, command, complain, say, say_json
from optimizer.commands._looking import (
    best_first,
    example_lines,
    exchange_lines,
    history_lines,
    trial_lines,
)
from optimizer.commands._results import prompt_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optimizer.viewed import Viewed
    from optimizer.viewing import Exchange, View

# Examples of a split that are shown of a trial, unless more are asked for.
_SHOWN = 10

StudyPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="A frozen prompt, or the study, folder or database in which one lies."
    ),
]
History = Annotated[bool, typer.Option("--history", help="Show the score history: every trial, in order.")]
Top = Annotated[
    int | None, typer.Option("--top", min=1, metavar="N", help="Of the history the N best, best first.")
]
Output = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the history there; .csv or .parquet says the form."),
]
TrialName = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Show one trial: its prompt, its figures, what became of its examples. A number, or `baseline`, "
        "`winner`, `wording`.",
    ),
]
ExampleId = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Show one example: what each prompt answered; the messages are those of baseline and winner, or of "
        "`--trial`.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=0,
        metavar="N",
        help=f"Of a trial show at most so many examples of each split, {_SHOWN} without.",
    ),
]
Every = Annotated[bool, typer.Option("--all", help="Of a trial show every example.")]
TaskPath = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The task, where no study.yaml lies beside the results."),
]


@command
def show(  # the options of a command line
    path: StudyPath,
    history: History = False,
    top: Top = None,
    output: Output = None,
    trial: TrialName = None,
    example: ExampleId = None,
    limit: Limit = None,
    every: Every = False,
    task: TaskPath = None,
    as_json: AsJson = False,
) -> None:
    """Show a frozen prompt: its messages, how its answer is read, its evidence and the best of its history.

    With options a study is looked at, also while it runs: nothing is asked, and nothing is changed.
    """
    _check(history=history, top=top, output=output, trial=trial, example=example)
    _check_rows(limit=limit, every=every, shown=trial is not None and example is None)
    if history:
        _show_history(path, top, output, as_json=as_json)
    elif trial is None and example is None:
        _show_prompt(path, as_json=as_json)
    else:
        from optimizer.viewing import open_view

        with open_view(path, task=task) as view:
            if example is None:
                assert trial is not None  # one of both is there
                most = None if every else _SHOWN if limit is None else limit
                _show_trial(view, trial, most, as_json=as_json)
            else:
                _show_example(view, example, trial, as_json=as_json)


def _check(
    *, history: bool, top: int | None, output: Path | None, trial: str | None, example: str | None
) -> None:
    """Refuse options that do not go together.

    Raises:
        InputError: With every mistake.
    """
    from optimizer.errors import InputError, Problem

    problems = [
        Problem(file="", field=name, message="goes with --history alone")
        for name, value in (("--top", top), ("--output", output))
        if value is not None and not history
    ]
    problems += [
        Problem(file="", field=name, message="does not go with --history")
        for name, value in (("--trial", trial), ("--example", example))
        if value is not None and history
    ]
    if problems:
        raise InputError(problems)


def _check_rows(*, limit: int | None, every: bool, shown: bool) -> None:
    """Refuse a number of examples where no list of them is shown, or two.

    Raises:
        InputError: With every mistake.
    """
    from optimizer.errors import InputError, Problem

    named = [name for name, given in (("--limit", limit is not None), ("--all", every)) if given]
    problems = [
        Problem(file="", field=name, message="goes with --trial, and not with --example")
        for name in named
        if not shown
    ]
    if len(named) > 1:
        problems.append(Problem(file="", field="--limit", message="does not go with --all"))
    if problems:
        raise InputError(problems)


def _show_prompt(path: Path, *, as_json: bool) -> None:
    from optimizer.frozen import FrozenPrompt

    frozen = FrozenPrompt.load(prompt_path(path))
    if as_json:
        say_json(frozen.to_dict())
        return
    from optimizer.commands._prompts import prompt_lines

    for line in prompt_lines(frozen):
        say(line)


def _show_history(path: Path, top: int | None, output: Path | None, *, as_json: bool) -> None:
    from optimizer.historytable import history_entries, write_history

    entries: Sequence[Mapping[str, Any]] = history_entries(path)
    shown = entries if top is None else best_first(entries, top)
    if output is not None:
        write_history(output, shown)
    if as_json:
        written = {} if output is None else {"file": str(output)}
        say_json({"of": len(entries), "trials": [dict(entry) for entry in shown], **written})
        return
    for line in history_lines(shown):
        say(line)
    if len(shown) < len(entries):
        say(f"the best {len(shown)} of {len(entries)} trials")
    if output is not None:
        say(f"wrote {output}")


def _show_trial(view: "View", name: str, limit: int | None, *, as_json: bool) -> None:
    from optimizer.historytable import entries_of

    viewed = view.prompt(name)
    entry = None
    if view.archive is not None and viewed.trial is not None:
        number = viewed.trial.trial
        entry = next(each for each in entries_of(view.archive) if each["trial"] == number)
    if as_json:
        say_json(_trial_document(view, viewed, entry))
        return
    for line in trial_lines(view, viewed, entry, limit):
        say(line)
    _tell_missing(view)


def _trial_document(
    view: "View", viewed: "Viewed", entry: "Mapping[str, object] | None"
) -> dict[str, object]:
    return {
        "name": viewed.name,
        "trial": entry,
        "fingerprint": viewed.template.fingerprint,
        "style": viewed.style,
        "format": viewed.format,
        "instruction": None
        if viewed.instruction is None
        else {
            "id": viewed.instruction.id,
            "text": viewed.instruction.text,
            "origin": viewed.instruction.origin,
            "parents": list(viewed.instruction.parents),
        },
        "demonstration_ids": list(viewed.demonstration_ids),
        "prompt": viewed.template.to_dict(),
        "examples": [_result(view, viewed, name) for name in viewed.results],
        "missing": list(view.missing),
    }


def _result(view: "View", viewed: "Viewed", name: str) -> dict[str, object]:
    from optimizer.flips import result_figures

    example = view.examples.get(name)
    return {
        "id": name,
        "split": viewed.splits.get(name),
        "inputs": None if example is None else example.values,
        "target": None if example is None else example.target,
        **result_figures(viewed.results[name]),
    }


def _show_example(view: "View", name: str, trial: str | None, *, as_json: bool) -> None:
    from optimizer.viewing import exchanges

    prompts = _prompts_on(view, name)
    chosen = _chosen(view, prompts, trial)
    shown = prompts if as_json and trial is None else chosen
    told = [(each, exchanges(view, each, name)) for each in shown]
    if as_json:
        say_json(_example_document(view, name, told))
        return
    answers = [(each.name, each.results[name]) for each in prompts]
    split = next((each.splits[name] for each in prompts if name in each.splits), view.splits.get(name, ""))
    for line in example_lines(name, view.examples.get(name), split, answers):
        say(line)
    for each, calls in told:
        for line in exchange_lines(each.name, calls, each.results[name]):
            say(line)
    _tell_missing(view)


def _prompts_on(view: "View", name: str) -> "list[Viewed]":
    """Return every prompt that was asked about an example, each once, in the order of the trials.

    Raises:
        InputError: When there is none.
    """
    from optimizer.errors import InputError, Problem
    from optimizer.registry import did_you_mean

    found = [each for each in view.prompts() if name in each.results]
    if found:
        return found
    if name in view.examples:
        split = view.splits[name]
        message = f"no prompt of this study was asked about the example {name!r}, which is of {split}"
    else:
        known = {*view.examples, *(known for each in view.prompts() for known in each.results)}
        hint = did_you_mean(name, known) if len(known) < 10_000 else ""
        message = f"there is no example {name!r}{hint if hint.count(',') == 0 else ''}"
    raise InputError([Problem(file=str(view.path), message=message)])


def _chosen(view: "View", prompts: "Sequence[Viewed]", trial: str | None) -> "list[Viewed]":
    """Return the prompts whose messages are shown: the one that is named, or baseline and winner."""
    from optimizer.errors import InputError, Problem

    if trial is None:
        return [each for each in prompts if each.name.startswith(("baseline", "winner"))] or list(prompts[:1])
    wanted = view.prompt(trial)
    found = [each for each in prompts if each.template.fingerprint == wanted.template.fingerprint]
    if not found:
        message = f"{wanted.name} was not asked about this example"
        raise InputError([Problem(file=str(view.path), field="--trial", message=message)])
    return found


def _example_document(
    view: "View", name: str, told: "Sequence[tuple[Viewed, Sequence[Exchange]]]"
) -> dict[str, object]:
    example = view.examples.get(name)
    return {
        "id": name,
        "split": view.splits.get(name),
        "inputs": None if example is None else example.values,
        "target": None if example is None else example.target,
        "slices": None if example is None else dict(example.slices),
        "prompts": [
            {
                **_result(view, viewed, name),
                "name": viewed.name,
                "fingerprint": viewed.template.fingerprint,
                "calls": [
                    {
                        "request": None if each.request is None else each.request.to_dict(),
                        "completion": None if each.completion is None else each.completion.text,
                        "finish_reason": None if each.completion is None else each.completion.finish_reason,
                    }
                    for each in calls
                ],
            }
            for viewed, calls in told
        ],
        "missing": list(view.missing),
    }


def _tell_missing(view: "View") -> None:
    for sentence in view.missing:
        complain(f"note: {sentence}")
