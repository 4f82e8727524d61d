"""Options and figures of the models that a task's metrics ask."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimizer.commands import complain
from optimizer.explanation import score_text
from optimizer.language import ENGLISH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optimizer.dataset import Example
    from optimizer.evaluation import Evaluation
    from optimizer.judging import Engagement
    from optimizer.metrics import Role
    from optimizer.models import ModelSpec
    from optimizer.task import Task

Judge = Annotated[
    str | None, typer.Option(metavar="PROVIDER:NAME", help="The model that metrics such as llm_judge ask.")
]
JudgeBaseUrl = Annotated[str | None, typer.Option(metavar="URL", help="Endpoint of the judge.")]
JudgeApiKeyEnv = Annotated[
    str | None, typer.Option(metavar="NAME", help="Environment variable that holds the judge's key.")
]
Embeddings = Annotated[
    str | None, typer.Option(metavar="embeddings:NAME", help="The model that embedding_similarity asks.")
]
EmbeddingsBaseUrl = Annotated[str | None, typer.Option(metavar="URL", help="Endpoint of that model.")]
EmbeddingsApiKeyEnv = Annotated[
    str | None, typer.Option(metavar="NAME", help="Environment variable that holds its key.")
]
AgreementColumn = Annotated[
    str | None,
    typer.Option(
        "--agreement", metavar="COLUMN", help="Compare the judge with people's scores, in one of the slices."
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Human:
    """What people said of some examples, in the judge's own scores.

    Attributes:
        metric: The metric they are compared with.
        scores: Theirs, by example.
        categories: The scores that the judge can give.
    """

    column: str
    metric: str
    scores: Mapping[str, float]
    categories: tuple[float, ...]


def model_spec(name: str | None, base_url: str | None, api_key_env: str | None) -> "ModelSpec | None":
    """Return the model that options name, or None where they name none."""
    from optimizer.models import ModelSpec

    if name is None:
        return None
    provider, _, model = name.partition(":")
    return ModelSpec(provider=provider, name=model, base_url=base_url, api_key_env=api_key_env)


def engaged(
    task: "Task", named: "Mapping[Role, ModelSpec | None]", *, answers: int
) -> "dict[Role, Engagement]":
    """Return the models that a task's metrics ask, with calls for so many answers.

    Raises:
        InputError: When one that is asked is not named, or cannot be what is asked.
    """
    from optimizer.budget import Budget, attempts_for
    from optimizer.errors import InputError, Problem
    from optimizer.judging import Engagement, asks
    from optimizer.models import MODELS
    from optimizer.scoring import prepared

    metrics, found, problems = prepared(task), dict["Role", Engagement](), list[Problem]()
    for role, n in asks(metrics.values()).items():
        spec = named.get(role)
        if spec is None:
            asking = next(name for name, made in metrics.items() if role in made.needs)
            message = f"missing; the metric {asking} asks one: name it with --{role} PROVIDER:NAME"
            problems.append(Problem(file="", field=f"--{role}", message=message))
            continue
        wanted = "vectors" if role == "embeddings" else "text"
        if wanted not in MODELS[spec.provider].gives:
            message = f"expected a provider of {wanted}, found {spec.provider}"
            problems.append(Problem(file="", field=f"--{role}", message=message))
            continue
        told = MODELS[spec.provider].problems(spec)
        problems += [Problem(file="", field=f"--{role}", message=message) for message in told]
        calls = n * answers
        found[role] = Engagement(spec=spec, budget=Budget(calls=calls, attempts=attempts_for(calls)))
    if problems:
        raise InputError(problems)
    return found


def human_scores(task: "Task", examples: "Sequence[Example]", column: str | None) -> Human | None:
    """Return what people said in a column of the task's slices; None without a column.

    A cell is a verdict that the judge could give, or a number in [0, 1]; empty where nobody judged.

    Raises:
        InputError: When there is no such column, no metric that asks a judge, or a cell is neither.
    """
    from optimizer.agreement import FEWEST
    from optimizer.errors import InputError, Problem
    from optimizer.scoring import prepared

    if column is None:
        return None
    # People grade what the judge grades, not a mean of which its grade is a part.
    judging = [(name, made) for name, made in prepared(task).items() if "judge" in made.metric.needs]
    if column not in task.slices or not judging:
        listed = ", ".join(task.slices) or "none"
        message = (
            f"expected one of the task's slices ({listed}) and a metric that asks a judge by itself, not as a part of "
            f"a weighted mean, found {column!r}"
        )
        raise InputError([Problem(file=task.source.file, field="--agreement", message=message)])
    name, made = judging[0]
    scale: Mapping[str, float] = getattr(made.setting.options, "scale", {})
    cells = {example.id: dict(example.slices).get(column, "").strip() for example in examples}
    scores = {key: _score(cell, scale) for key, cell in cells.items() if cell}
    problems = [
        Problem(
            file=task.source.file,
            field=column,
            message=f"{key}: expected one of {', '.join(scale)} or a number in [0, 1], found {cells[key]!r}",
        )
        for key, score in scores.items()
        if score is None
    ]
    if len(scores) < FEWEST:
        message = f"expected at least {FEWEST} examples that people judged, found {len(scores)}"
        problems.append(Problem(file=task.source.file, field=column, message=message))
    if problems:
        raise InputError(problems)
    sound = {key: score for key, score in scores.items() if score is not None}
    return Human(column=column, metric=name, scores=sound, categories=tuple(scale.values()))


def _score(cell: str, scale: Mapping[str, float]) -> float | None:
    if cell in scale:
        return scale[cell]
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


def judged_figures(evaluation: "Evaluation", human: Human | None) -> dict[str, Any]:
    """Return what was judged, for people to grade, and how far the judge agrees with those who did."""
    rows = [
        {"id": result.example.id, "answer": result.answer.text, "score": result.score, **result.further}
        for result in evaluation.results
    ]
    return {"judged": rows} | ({} if human is None else {"agreement": _agreement(evaluation, human)})


def _agreement(evaluation: "Evaluation", human: Human) -> dict[str, Any]:
    """Return how far the judge agrees with people; `reason` says why there is no figure, else it is null."""
    from optimizer.agreement import agreement
    from optimizer.dataset import clusters_of

    # An answer that could not be read was shown to no judge: its score is none that people could agree with.
    read = [result for result in evaluation.scored if result.answer.text is not None]
    graded = [result for result in read if result.example.id in human.scores]
    objective = human.metric == evaluation.scorer.objective.name
    scored = [result for result in graded if objective or human.metric in result.further]
    judged = [result.score if objective else result.further[human.metric] for result in scored]
    figures: dict[str, Any] = {"column": human.column, "metric": human.metric}
    try:
        found = agreement(
            [human.scores[result.example.id] for result in scored],
            [score or 0.0 for score in judged],
            seed=0,
            categories=human.categories,
            clusters=clusters_of([result.example for result in scored]),
        )
    except ValueError as error:
        nothing = dict.fromkeys(("measure", "value", "lower", "upper", "same"))
        return {**figures, **nothing, "n": len(scored), "reason": str(error)}
    return {**figures, **dataclasses.asdict(found), "reason": None}


def agreement_line(figures: Mapping[str, Any]) -> str:
    """Return how far the judge agrees with people, in a line."""
    who = f"{figures['metric']} and {figures['column']}"
    if figures["reason"] is not None:
        return f"{who}: no agreement can be told; {figures['reason']}"
    within = ""
    if figures["lower"] is not None:
        within = f" ({figures['lower']:.2f} to {figures['upper']:.2f})"
    measure = {"kappa": "Cohen's kappa", "correlation": "correlation"}[figures["measure"]]
    return (
        f"{who}: {measure} {figures['value']:.2f}{within} on {figures['n']} examples, "
        f"the same on {score_text(figures['same'])} of them"
    )


def warn_of_own_judge(asked: "Mapping[Role, Engagement]", model: "ModelSpec") -> None:
    """Say on stderr where a model judges itself."""
    from optimizer.roles import own_judge, self_preference

    if "judge" in asked and own_judge(asked["judge"].spec, model):
        complain(f"Caution: {self_preference(asked['judge'].spec)}")


def judge_lines(figures: Mapping[str, Any]) -> "Iterator[str]":
    """Yield what the models that metrics ask have used, a line for each of them among some figures."""
    for role in ("judge", "embeddings"):
        if role not in figures:
            continue
        used = figures[role]
        cost = "" if not used["usd"] else f", {ENGLISH.dollars(used['usd'], 4)} US dollars"
        unknown = "" if used["usd"] is not None else ", price not known"
        yield f"{role:<16}{used['calls']} calls for {used['tokens']:,} tokens{cost}{unknown}"
