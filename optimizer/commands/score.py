"""`score PROMPT --task TASK`: a frozen prompt on the examples of a task."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimizer.commands import AsJson, command, complain, say, say_json
from optimizer.commands._calling import (
    ApiKeyEnv,
    BaseUrl,
    Concurrency,
    NoCache,
    Refresh,
    cache_mode,
    concurrency_of,
)
from optimizer.commands._drift import used_figures
from optimizer.commands._gates import MinScore, check_gates, gate_figures, score_gate
from optimizer.commands._judges import (
    AgreementColumn,
    Embeddings,
    EmbeddingsApiKeyEnv,
    EmbeddingsBaseUrl,
    Judge,
    JudgeApiKeyEnv,
    JudgeBaseUrl,
    agreement_line,
    engaged,
    human_scores,
    judge_lines,
    judged_figures,
    model_spec,
    warn_of_own_judge,
)
from optimizer.commands._model import CapabilityNames, Model, ModelPath, Stated, TimeoutSeconds
from optimizer.commands._results import PromptPath, prompt_path
from optimizer.commands._stopping import stoppable
from optimizer.commands._tables import outcome_line, slice_lines, spent_lines
from optimizer.explanation import score_text

if TYPE_CHECKING:
    from optimizer.commands._gates import Gate
    from optimizer.evaluation import Evaluation
    from optimizer.ledger import CacheMode
    from optimizer.metrics import Role
    from optimizer.models import ModelSpec
    from optimizer.rescoring import Job
    from optimizer.task import Task


@command
def score(  # the options of a command line
    path: PromptPath,
    task_path: Annotated[Path, typer.Option("--task", metavar="TASK", help="A task file.")],
    model: Model = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    model_path: ModelPath = None,
    capabilities: CapabilityNames = None,
    timeout_seconds: TimeoutSeconds = None,
    judge: Judge = None,
    judge_base_url: JudgeBaseUrl = None,
    judge_api_key_env: JudgeApiKeyEnv = None,
    embeddings: Embeddings = None,
    embeddings_base_url: EmbeddingsBaseUrl = None,
    embeddings_api_key_env: EmbeddingsApiKeyEnv = None,
    agreement: AgreementColumn = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="train, validation or test.")] = "test",
    concurrency: Concurrency = None,
    no_cache: NoCache = False,
    refresh: Refresh = False,
    min_score: MinScore = None,
    as_json: AsJson = False,
) -> None:
    """Score a frozen prompt on one split of a task, with its own model or another.

    What the prompt does not say of its own model comes from the study beside it. Models that the task's metrics ask are
    counted apart. Ctrl-C finishes the calls under way, saves and exits with 130; a second one stops at once. The same
    command takes an interrupted score up.
    """
    import asyncio

    check_gates(min_score=min_score)
    cache = cache_mode(no_cache=no_cache, refresh=refresh)
    stated = Stated(
        name=model,
        base_url=base_url,
        api_key_env=api_key_env,
        path=model_path,
        capabilities=capabilities,
        timeout_seconds=timeout_seconds,
    )
    job = _job(prompt_path(path), stated, task_path, split, concurrency=concurrency, cache=cache)
    judges: dict[Role, ModelSpec | None] = {
        "judge": model_spec(judge, judge_base_url, judge_api_key_env),
        "embeddings": model_spec(embeddings, embeddings_base_url, embeddings_api_key_env),
    }
    asked = engaged(job.task, judges, answers=len(job.examples))
    human = human_scores(job.task, job.examples, agreement)
    warn_of_own_judge(asked, job.spec)
    evaluation, spent = asyncio.run(_evaluate(dataclasses.replace(job, asked=asked)))
    gates = list(score_gate(min_score, evaluation.value))
    figures = {**_figures(evaluation, job.task, split), **spent, "gates": gate_figures(gates)}
    figures |= judged_figures(evaluation, human) if asked else {}
    if as_json:
        say_json(figures)
    else:
        _show(evaluation, figures, job.task.name)
    _check_result(evaluation, gates)


def _job(
    path: Path, stated: Stated, task_path: Path, split: str, *, concurrency: str | None, cache: "CacheMode"
) -> "Job":
    """Return what is to be scored, found possible; the models that metrics ask are not in it yet.

    Raises:
        InputError: With every mistake found.
    """
    from optimizer.config import RunSpec
    from optimizer.errors import InputError, Problem
    from optimizer.frozen import FrozenPrompt
    from optimizer.plan import load_examples
    from optimizer.rescoring import Job, job_problems, own_model, store_of, study_beside
    from optimizer.taskfile import SPLITS

    wanted = concurrency_of(concurrency)
    frozen = FrozenPrompt.load(path)
    # A study says how its own model is asked, and nothing of another.
    beside = study_beside(path) if stated.name is None else None
    spec = stated.over(own_model(frozen, beside) if stated.name is None else None)
    run, prices = (RunSpec(), {}) if beside is None else (beside[0].run, beside[0].budget.prices)
    task, dataset = load_examples(task_path)
    if split not in SPLITS:
        message = f"expected {', '.join(SPLITS)}, found {split!r}"
        raise InputError([Problem(file="", field="--split", message=message)])
    job = Job(
        frozen=frozen,
        task=task,
        spec=spec,
        examples=getattr(dataset, split),
        asked={},
        run=run if wanted is None else dataclasses.replace(run, concurrency=wanted),
        cache=cache,
        database=store_of(task_path),
        prices=prices,
    )
    if problems := job_problems(job):
        raise InputError(problems)
    return job


def _check_result(evaluation: "Evaluation", gates: "list[Gate]") -> None:
    from optimizer.errors import IncompleteError

    if evaluation.n_errors:
        n = len(evaluation.results)
        raise IncompleteError(f"{evaluation.n_errors} of {n} examples have no score")
    for gate in gates:
        if not gate.passed:
            complain(f"gate: {gate.message}")
            raise typer.Exit(1)


async def _evaluate(job: "Job") -> "tuple[Evaluation, dict[str, object]]":
    from optimizer.rescoring import open_job

    async with stoppable() as signals, open_job(job) as opened:
        with signals.stopping(opened.stop):
            evaluation = await opened.evaluate()
        # What is refused is refused the next time, too: only what another try may mend keeps it from being over.
        if not evaluation.is_interrupted:
            opened.finish()
        return evaluation, used_figures(opened)


def _figures(evaluation: "Evaluation", task: "Task", split: str) -> dict[str, Any]:
    from optimizer.evidence import unmeasured
    from optimizer.flags import slice_figures

    interval = evaluation.interval(seed=0)
    slices = slice_figures({"": evaluation}, seed=0) if task.slices else None
    return {
        **({} if slices is None else {"slices": slices}),
        "metric": task.metric,
        "split": split,
        "score": evaluation.value,
        "lower": None if interval is None else interval.lower,
        "upper": None if interval is None else interval.upper,
        "n": len(evaluation.scored),
        "invalid": evaluation.count("invalid", "refused", "truncated"),
        "errors": evaluation.n_errors,
        "outcomes": evaluation.outcomes,
        "metrics": {name: evaluation.measure(name) for name in sorted({"tokens", "valid", *task.metrics})},
        "unmeasured": unmeasured(evaluation, task.metrics),
    }


def _show(evaluation: "Evaluation", figures: "dict[str, Any]", name: str) -> None:
    within = ""
    if figures["lower"] is not None:
        within = f" ({score_text(figures['lower'])} to {score_text(figures['upper'])})"
    value = "no score" if figures["score"] is None else score_text(figures["score"]) + within
    say(f"{name}, {figures['split']}: {figures['metric']} {value}")
    say(f"n={figures['n']}: {outcome_line(figures['outcomes'])}")
    for line in slice_lines(figures.get("slices", ())):
        say(line)
    for line in spent_lines({**figures["spent"], "failed_trials": 0}):
        say(line)
    for line in judge_lines(figures):
        say(line)
    if "agreement" in figures:
        say(agreement_line(figures["agreement"]))
    for result in evaluation.results:
        if result.error:
            complain(f"{result.example.id}: {result.error}")
