"""`verify PROMPT...`: whether frozen prompts are what they were, and their models, too."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from optimizer.commands import AsJson, command, complain, report_error, say, say_json
from optimizer.commands._calling import ApiKeyEnv, BaseUrl, Concurrency, concurrency_of
from optimizer.commands._drift import (
    headline,
    rescored_figures,
    rescored_lines,
    used_figures,
    verified_figures,
)
from optimizer.commands._judges import (
    Embeddings,
    EmbeddingsApiKeyEnv,
    EmbeddingsBaseUrl,
    Judge,
    JudgeApiKeyEnv,
    JudgeBaseUrl,
    engaged,
    judge_lines,
    model_spec,
)
from optimizer.commands._junit import JUnitCase, junit_xml
from optimizer.commands._results import is_study, prompt_path
from optimizer.commands._stopping import Signals, stoppable
from optimizer.commands._tables import spent_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optimizer.errors import OptimizerError
    from optimizer.metrics import Role
    from optimizer.models import ModelSpec
    from optimizer.rescoring import Job, Rescored
    from optimizer.verifying import Finding, Verified

# Of several exit codes the first: what another try mends is told before what it does not.
_ORDER = (70, 130, 3, 4, 2, 1)

# What a finding comes to as an exit code.
_CODES = {"broken": 2, "differs": 1, "note": 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the command line asks for, beside the prompts.

    Attributes:
        model: Provider and name in place of the prompt's own.
        judges: The models that metrics ask, as far as they are named.
    """

    task: Path | None
    rescore: bool
    model: str | None
    base_url: str | None
    api_key_env: str | None
    judges: "Mapping[Role, ModelSpec | None]"
    concurrency: 'int | Literal["auto"] | None'

    def spec(self, own: "ModelSpec | None") -> "ModelSpec":
        """Return the model that is asked: the one that is named, or the prompt's own, at the address that is named."""
        from optimizer.rescoring import restated

        named = model_spec(self.model, None, None) or own
        assert named is not None  # one of both is there
        return restated(named, base_url=self.base_url, api_key_env=self.api_key_env)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One prompt, and all that was found about it.

    Attributes:
        again: Figures of asking again; None where nothing was asked.
        error: What kept it from being asked again.
        begun: The account of asking again, and its database.
    """

    found: "Verified"
    again: dict[str, Any] | None = None
    error: "OptimizerError | None" = None
    begun: tuple[Path, int] | None = None

    @property
    def codes(self) -> list[int]:
        """Return the exit codes of all there is."""
        codes = [_CODES[finding.weight] for finding in self.found.findings]
        codes += [] if self.error is None else [self.error.exit_code]
        if self.again is not None:
            codes += [3 if self.again["lost"] else 0, 0 if self.again["cause"] is None else 1]
        return codes

    @property
    def state(self) -> Literal["passed", "failed", "error"]:
        """Return what a case of JUnit makes of it."""
        worst = {code for code in self.codes if code}
        return "passed" if not worst else "failed" if worst == {1} else "error"

    @property
    def lines(self) -> tuple[str, ...]:
        """Return what a case of JUnit says: what is wrong comes first."""
        wrong = (*self.found.of("broken"), *self.found.of("differs"))
        errors = [] if self.error is None else str(self.error).splitlines()
        told = (*map(_placed, wrong), self.headline, *map(str, self.found.of("note")))
        return (*errors, *told, *self.again_lines)

    @property
    def headline(self) -> str:
        """Return in a line what was found, and on how many of the recorded examples it rests where not on all."""
        n, recorded = self._basis
        rests = f" on {n} of {recorded} recorded examples" if n < recorded else ""
        return headline(self.found, self.again) + rests

    @property
    def again_lines(self) -> "Sequence[str]":
        """Return what asking again came to, line by line."""
        if self.again is None:
            return ()
        n, recorded = self._basis
        basis = (
            f"then and now are of {n} of the {recorded} recorded examples alone; the others are not compared"
        )
        return (*([basis] if n < recorded else []), *rescored_lines(self.again))

    @property
    def _basis(self) -> tuple[int, int]:
        """Return how many examples were compared, and how many were recorded; zeros where none were compared."""
        if self.again is None or self.found.records is None or not self.again["n"]:
            return 0, 0
        return self.again["n"], len(self.found.records.rows)

    @property
    def figures(self) -> dict[str, Any]:
        """Return all of it as `--json` shows it."""
        code = next((code for code in _ORDER if code in self.codes), 0)
        error = None if self.error is None else str(self.error)
        figures = verified_figures(self.found)
        lines = [finding.line for finding in self.found.findings]
        findings = [each | {"line": line} for each, line in zip(figures["findings"], lines, strict=True)]
        again = self.again if self.again is None else self.again | {"recorded": figures["recorded"]}
        return {**figures, "findings": findings, "rescored": again, "error": error, "exit_code": code}


Prompts = Annotated[
    list[Path],
    typer.Argument(
        metavar="PROMPT...",
        help="Frozen prompts, studies, or folders: every prompt.json and *.prompt.json below them.",
    ),
]
TaskPath = Annotated[
    Path | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="The task that they were tuned on; that of the study beside each prompt without it.",
    ),
]
Rescore = Annotated[bool, typer.Option("--rescore", help="Ask the recorded examples again, and compare.")]
ModelName = Annotated[
    str | None, typer.Option(metavar="PROVIDER:NAME", help="A model; the prompt's own without it.")
]
JUnit = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML, a case a prompt.")
]


@command
def verify(  # the options of a command line
    prompts: Prompts,
    task_path: TaskPath = None,
    rescore: Rescore = False,
    model: ModelName = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    judge: Judge = None,
    judge_base_url: JudgeBaseUrl = None,
    judge_api_key_env: JudgeApiKeyEnv = None,
    embeddings: Embeddings = None,
    embeddings_base_url: EmbeddingsBaseUrl = None,
    embeddings_api_key_env: EmbeddingsApiKeyEnv = None,
    concurrency: Concurrency = None,
    junit: JUnit = None,
    as_json: AsJson = False,
) -> None:
    """Check that frozen prompts are unchanged, and with --rescore that their models are.

    Without --rescore no model is asked: version, checksum and fingerprint are checked, and every recorded request is
    rendered again and compared. With it the recorded examples are asked again, their answers paired with the recorded
    ones, and a change beyond chance ends with exit code 1. Ctrl-C finishes the calls under way, saves and exits with
    130; a second one stops at once. An interrupted look is taken up by the same command for a day; answers of another
    time are never taken.
    """
    from optimizer.verifying import prompts_below

    if junit is not None:
        _check_place(junit)
    judges: dict[Role, ModelSpec | None] = {
        "judge": model_spec(judge, judge_base_url, judge_api_key_env),
        "embeddings": model_spec(embeddings, embeddings_base_url, embeddings_api_key_env),
    }
    options = Options(
        task=task_path,
        rescore=rescore,
        model=model,
        base_url=base_url,
        api_key_env=api_key_env,
        judges=judges,
        concurrency=concurrency_of(concurrency),
    )
    paths = prompts_below([prompt_path(path) if is_study(path) else path for path in prompts])
    looks = _looks(paths, options, shown=not as_json)
    codes = {code for look in looks for code in look.codes}
    if left := len(paths) - len(looks):
        complain(f"error: stopped: {left} of {len(paths)} prompts not looked at")
        codes.add(130)
    if as_json:
        say_json({"prompts": {str(look.found.path): look.figures for look in looks}})
    if junit is not None:
        _write_junit(junit, looks)
    # Only what was told is over: else the same command tells it without asking anything again.
    _finish(looks, codes)
    raise typer.Exit(next((code for code in _ORDER if code in codes), 0))


def _looks(paths: "Sequence[Path]", options: Options, *, shown: bool) -> list[Look]:
    """Return what is found about each prompt, and tell it as it is found; after Ctrl-C the last ones are left out."""
    import asyncio

    from optimizer.verifying import verified

    looks: list[Look] = []

    def tell(look: Look) -> None:
        looks.append(look)
        if shown:
            _show(look)
        _complain(look)

    if options.rescore:
        asyncio.run(_look_again(paths, options, tell))
    else:
        for path in paths:
            tell(Look(found=verified(path, options.task)))
    return looks


async def _look_again(paths: "Sequence[Path]", options: Options, tell: "Callable[[Look], None]") -> None:
    """Look at prompts and ask their models, one after the other, until Ctrl-C."""
    async with stoppable() as signals:
        for path in paths:
            tell(await _look(path, options, signals))
            if signals.came:
                return


async def _look(path: Path, options: Options, signals: Signals) -> Look:
    from optimizer.errors import OptimizerError
    from optimizer.verifying import verified

    found = verified(path, options.task)
    if found.of("broken"):
        return Look(found=found)
    try:
        return await _again(found, options, signals)
    except OptimizerError as error:
        return Look(found=found, error=error)


async def _again(found: "Verified", options: Options, signals: Signals) -> Look:
    """Return the look with what asking again came to.

    Raises:
        OptimizerError: When there is nothing to compare with, or the model cannot be asked.
    """
    from optimizer.errors import InputError
    from optimizer.rescoring import job_problems, seconds_then

    job = _job(found, options)
    if job is None:
        return Look(found=found)
    if problems := job_problems(job):
        raise InputError(problems)
    again, spent, number = await _asked(job, found, signals)
    seconds = seconds_then(found.path, job.frozen.template)
    figures = rescored_figures(again, found, job.spec, job.price, seconds=seconds) | spent
    return Look(found=found, again=figures, begun=(job.database, number))


def _job(found: "Verified", options: Options) -> "Job | None":
    """Return what is to be asked; None where no example is as it was, which is told already."""
    from optimizer.config import RunSpec
    from optimizer.errors import InputError, Problem
    from optimizer.rescoring import Job, located_roles, own_model, store_of, study_beside

    frozen, rendered = found.frozen, found.rendered
    if frozen is None or rendered is None:
        told = " ".join(finding.message for finding in found.of("note"))
        raise InputError([Problem(file=str(found.path), message=f"cannot be asked again: {told}")])
    if not rendered.alike:
        return None
    beside = study_beside(found.path)
    run, prices = (RunSpec(), {}) if beside is None else (beside[0].run, beside[0].budget.prices)
    if options.concurrency is not None:
        run = dataclasses.replace(run, concurrency=options.concurrency)
    named = located_roles(beside) | {role: spec for role, spec in options.judges.items() if spec is not None}
    return Job(
        frozen=frozen,
        task=rendered.task,
        spec=options.spec(own_model(frozen, beside) if options.model is None else None),
        examples=tuple(example for _, example in rendered.alike),
        asked=engaged(rendered.task, named, answers=len(rendered.alike)),
        run=run,
        cache="private",  # answers of another time say nothing of the model of today
        database=store_of(found.path),
        purpose="verify",
        prices=prices,
    )


async def _asked(job: "Job", found: "Verified", signals: Signals) -> "tuple[Rescored, dict[str, Any], int]":
    from optimizer.rescoring import RESUMED_SECONDS, open_job, rescored

    assert found.rendered is not None  # the job was made of it
    then = tuple(row for row, _ in found.rendered.alike)
    async with open_job(job, within=RESUMED_SECONDS) as opened:
        with signals.stopping(opened.stop):
            again = rescored(job, then, await opened.evaluate(), identities=opened.bench.identities)
        return again, used_figures(opened), opened.number


def _finish(looks: "Sequence[Look]", codes: set[int]) -> None:
    """Record which looks are over: each with nothing left to ask, so that no model that is gone keeps others open."""
    from optimizer.rescoring import finish_all

    if 130 not in codes:  # after a stop the same command tells of all of them, and asks nothing twice
        over = (look.begun for look in looks if not {70, 3, 4}.intersection(look.codes))
        finish_all(begun for begun in over if begun is not None)


def _show(look: Look) -> None:
    say(look.headline)
    for finding in look.found.findings:
        if finding.weight != "broken":
            say(f"  {finding}")
    if look.again is not None:
        used = (*spent_lines({**look.again["spent"], "failed_trials": 0}), *judge_lines(look.again))
        for line in (*look.again_lines, *used):
            say(f"  {line}")


def _complain(look: Look) -> None:
    for finding in look.found.of("broken"):
        place = "" if finding.line is None else f":{finding.line}"
        told = finding.message if look.found.is_missing else str(finding)
        complain(f"error: {look.found.path}{place}: {told}")
    if look.error is not None:
        report_error(look.error)


def _placed(finding: "Finding") -> str:
    """Return a finding with its line, where it has one."""
    return str(finding) if finding.line is None else f"line {finding.line}: {finding}"


def _check_place(path: Path) -> None:
    """Find a place where nothing can be written before anything is asked.

    Raises:
        InputError: When the file is a folder, or cannot be in its own.
    """
    import os

    from optimizer.errors import InputError, Problem

    folder = path.resolve().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        found = "a folder" if path.is_dir() else f"none at {folder}"
        message = f"expected a file in a folder that can be written to, found {found}"
        raise InputError([Problem(file=str(path), field="--junit", message=message)])


def _write_junit(path: Path, looks: "Sequence[Look]") -> None:
    from optimizer.document import write_atomically
    from optimizer.errors import InputError, Problem

    cases = [JUnitCase(name=str(look.found.path), state=look.state, lines=look.lines) for look in looks]
    try:
        write_atomically(path, junit_xml("optimizer verify", cases))
    except OSError as error:
        raise InputError([Problem(file=str(path), message=f"cannot be written: {error.strerror}")]) from error
