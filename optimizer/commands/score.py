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
    spent_figures,
)
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
from optimizer.commands._tables import outcome_line, slice_lines, spent_lines
from optimizer.explanation import score_text

if TYPE_CHECKING:
    from optimizer.commands._gates import Gate
    from optimizer.config import RunSpec
    from optimizer.dataset import Example
    from optimizer.evaluation import Evaluation
    from optimizer.frozen import FrozenPrompt
    from optimizer.judging import Engagement
    from optimizer.ledger import CacheMode
    from optimizer.metrics import Role
    from optimizer.models import ModelSpec
    from optimizer.store import Store
    from optimizer.task import Task

# The record of a scoring that left no example out.
_DONE = "scored"


@command
def score(  # the options of a command line
    path: Annotated[Path, typer.Argument(metavar="PROMPT", help="A frozen prompt.")],
    task_path: Annotated[Path, typer.Option("--task", metavar="TASK", help="A task file.")],
    model: Annotated[
        str | None, typer.Option(metavar="PROVIDER:NAME", help="A model; the prompt's own without it.")
    ] = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
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

    Models that the task's metrics ask are counted apart.
    """
    import asyncio

    from optimizer.config import RunSpec
    from optimizer.frozen import FrozenPrompt
    from optimizer.plan import load_examples

    check_gates(min_score=min_score)
    frozen = FrozenPrompt.load(path)
    task, dataset = load_examples(task_path)
    _check_split(split)
    spec = _spec(frozen, model, base_url, api_key_env)
    examples = getattr(dataset, split)
    _check(frozen, task, spec, len(examples))
    judges: dict[Role, ModelSpec | None] = {
        "judge": model_spec(judge, judge_base_url, judge_api_key_env),
        "embeddings": model_spec(embeddings, embeddings_base_url, embeddings_api_key_env),
    }
    asked = engaged(task, judges, answers=len(examples))
    human = human_scores(task, examples, agreement)
    warn_of_own_judge(asked, spec)
    run = RunSpec(concurrency=concurrency_of(concurrency) or "auto")
    cache = cache_mode(no_cache=no_cache, refresh=refresh)
    work = _evaluate(frozen, task, spec, examples, task_path, run=run, cache=cache, asked=asked)
    evaluation, spent = asyncio.run(work)
    gates = list(score_gate(min_score, evaluation.value))
    figures = {**_figures(evaluation, task, split), **spent, "gates": gate_figures(gates)}
    figures |= judged_figures(evaluation, human) if asked else {}
    if as_json:
        say_json(figures)
    else:
        _show(evaluation, figures, task.name)
    _check_result(evaluation, gates)


def _check_split(split: str) -> None:
    from optimizer.errors import InputError, Problem
    from optimizer.taskfile import SPLITS

    if split not in SPLITS:
        message = f"expected {', '.join(SPLITS)}, found {split!r}"
        raise InputError([Problem(file="", field="--split", message=message)])


def _check_result(evaluation: "Evaluation", gates: "list[Gate]") -> None:
    from optimizer.errors import IncompleteError

    if evaluation.n_errors:
        n = len(evaluation.results)
        raise IncompleteError(f"{evaluation.n_errors} of {n} examples have no score")
    for gate in gates:
        if not gate.passed:
            complain(f"gate: {gate.message}")
            raise typer.Exit(1)


def _spec(
    frozen: "FrozenPrompt", model: str | None, base_url: str | None, api_key_env: str | None
) -> "ModelSpec":
    from optimizer.models import ModelSpec

    own = f"{frozen.model['provider']}:{frozen.model['name']}"
    provider, _, name = (model or own).partition(":")
    return ModelSpec(provider=provider, name=name, base_url=base_url, api_key_env=api_key_env)


def _check(frozen: "FrozenPrompt", task: "Task", spec: "ModelSpec", n: int) -> None:
    from optimizer.errors import InputError, Problem
    from optimizer.models import MODELS

    problems = [
        Problem(file="", field="--model", message=message) for message in MODELS[spec.provider].problems(spec)
    ]
    missing = sorted(set(frozen.capabilities) - MODELS[spec.provider].capabilities(spec).can)
    if missing:
        problems.append(Problem(file="", field="--model", message=f"the prompt needs {', '.join(missing)}"))
    if set(frozen.inputs) != set(task.inputs):
        message = f"the prompt takes {', '.join(frozen.inputs)}, and the task has {', '.join(task.inputs)}"
        problems.append(Problem(file=task.source.file, field="dataset.inputs", message=message))
    if not n:
        problems.append(Problem(file=task.source.file, field="dataset.splits", message="the split is empty"))
    if problems:
        raise InputError(problems)


async def _evaluate(  # what is scored, on what, and how
    frozen: "FrozenPrompt",
    task: "Task",
    spec: "ModelSpec",
    examples: "tuple[Example, ...]",
    path: Path,
    *,
    run: "RunSpec",
    cache: "CacheMode",
    asked: "dict[Role, Engagement]",
) -> "tuple[Evaluation, dict[str, object]]":
    from optimizer.budget import Budget
    from optimizer.calls import Caller
    from optimizer.digest import digest
    from optimizer.document import project_root
    from optimizer.evaluation import Scorer, evaluate
    from optimizer.judging import Terms, open_bench
    from optimizer.ledger import Ledger
    from optimizer.models import MODELS
    from optimizer.pricing import price_of
    from optimizer.storage import open_storage
    from optimizer.store import Store
    from optimizer.study import pace_of

    n_calls, provider = len(examples) * len(frozen.template.calls), MODELS[spec.provider]
    with open_storage(project_root(path) / ".optimizer" / "store.db") as storage:
        store = Store(storage)
        wanted = {
            "prompt": frozen.fingerprint,
            "task": task.digest,
            "model": digest(dataclasses.asdict(spec)),
            "examples": digest([[example.id, dict(example.values), example.target] for example in examples]),
        }
        wanted |= {role: digest(dataclasses.asdict(engaged.spec)) for role, engaged in asked.items()}
        number = _begun(store, wanted) or store.add_study(f"score {frozen.name}", wanted)
        ledger = Ledger(store, number, model=f"{spec.provider}:{spec.name}", cache=cache)
        terms = Terms(pace=lambda slots, fixed: pace_of(run, slots=slots, fixed=fixed), cache=cache)
        async with (
            provider.connect(spec) as connection,
            open_bench(store, number, asked, terms) as bench,
        ):
            caller = Caller(
                connection,
                ledger,
                budget=Budget(calls=n_calls, attempts=4 * n_calls),
                pace=terms.pace(connection.capabilities.slots, provider.free),
                price=price_of(spec.name, base_url=spec.base_url, free=provider.free, overrides={}),
            )
            try:
                scorer = Scorer.of(task, bench.models)
                evaluation = await evaluate(frozen.template, examples, caller, scorer, reported=True)
                if not evaluation.n_errors:
                    store.of(number).record(_DONE, 0, {})
                return evaluation, {"spent": spent_figures(caller.spent, ledger), **bench.figures()}
            finally:
                await caller.close()


def _begun(store: "Store", asked: "dict[str, str]") -> int | None:
    """Return the number under which the same was asked last, if that was not finished; its answers are its own."""
    latest = store.latest_study()
    if latest is None or latest[1] != asked or store.of(latest[0]).records(_DONE):
        return None
    return latest[0]


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
