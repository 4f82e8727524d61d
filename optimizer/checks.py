"""What can be wrong with a study and its task beyond the shape of their files: names, numbers, sizes, the model."""

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Literal, TypeVar

from optimizer.completion import ANSWER_BOUNDS, CAPABILITIES
from optimizer.config import Bound, StudyConfig
from optimizer.dataset import Dataset
from optimizer.demonstrations import SELECTORS
from optimizer.document import FieldPath, Located
from optimizer.errors import InputError, PluginError, Problem
from optimizer.formats import FORMATS
from optimizer.metrics import METRICS
from optimizer.models import (
    KNOWN_PARAMETERS,
    MODELS,
    RESERVED_PARAMETERS,
    ModelSpec,
    parameter_problem,
    parameter_problems,
)
from optimizer.perturbations import PERTURBATIONS
from optimizer.pricing import price_of
from optimizer.pruners import PRUNERS
from optimizer.registry import Registry, did_you_mean
from optimizer.roles import located, role_models
from optimizer.samplers import MOST_PARTS, SAMPLERS
from optimizer.schema import meant
from optimizer.scoring import declared, unfit
from optimizer.slices import SLICE_GAP
from optimizer.space import SearchSpace
from optimizer.styles import STYLES
from optimizer.task import Task

T = TypeVar("T")

# A share of more than this is one in percent; just above 1 it is a slip of another kind.
_FEWEST_PERCENT = 2

# How alike a parameter must be to a known one to be a slip: `temprature` is 0.95, `min_tokens` and `max_tokens` 0.8.
_SLIP = 0.85


def config_problems(file: StudyConfig, source: Located) -> list[Problem]:
    """Return the mistakes in a study file that its shape does not show."""
    problems = [
        *_plugin_problems(file, source),
        *_number_problems(file, source),
        *_demos_problems(file, source),
        *_robustness_problems(file, source),
        *_model_problems(("model",), file.model, source),
        *(p for role, spec in role_models(file).items() for p in _model_problems((role,), spec, source)),
        *_price_problems(file, source),
        *_answer_bound_problems(file, source),
    ]
    # Where the model itself is mistaken, its price is not the next thing to look at.
    if not {problem.field for problem in problems} & {"model.provider", "model.name", "model.base_url"}:
        problems += _unknown_price_problems(file, source)
    return problems


def located_model(file: StudyConfig, source: Located) -> ModelSpec:
    """Return the study's model with its path, where it names one, resolved from the study file.

    Raises:
        ValueError: When the path leads outside the project.
    """
    return located(file.model, source)


def task_problems(task: Task) -> list[Problem]:
    """Return the mistakes in the metrics that a task names."""
    try:
        found = declared(task)
    except InputError as error:
        return list(error.problems)
    problems = []
    for n, (name, made) in enumerate(found.items()):
        where: FieldPath = ("metrics", n - 1) if n else ("metric",)
        if message := unfit(made, task):
            problems.append(task.source.problem(where, message))
        if where == ("metric",) and made.metric.kind == "measure":
            problems.append(
                task.source.problem(where, f"{name} is a measure: it can be reported, not maximised")
            )
    return problems


def size_problems(file: StudyConfig, dataset: Dataset, source: Located) -> list[Problem]:
    """Return a mistake when more demonstrations are asked for than there are training examples."""
    largest, n_train = max(file.search.demos.sizes, default=0), len(dataset.train)
    if largest <= n_train:
        return []
    message = f"expected at most {n_train}, the size of train, found {largest}"
    return [source.problem(("search", "demos", "sizes"), message)]


def part_problems(space: SearchSpace, source: Located, *, to_come: int) -> list[Problem]:
    """Return a mistake for each kind of part of which candidates that race cannot have as many; of the sets some are to come."""
    # Numbers of sets count the empty one, wanted or not, and those that no context holds.
    ids = [*(each.id for each in space.demonstration_sets), *(cut.id for cut in space.cuts)]
    last = max((int(id_[1:]) for id_ in ids), default=0)
    wordings, sets = len(space.instructions), 1 + last + to_come
    found = (
        (("instructions",), wordings, "wordings, composed ones included", "give fewer or compose none"),
        (("demos", "sets"), sets, "demonstration sets, the empty one included", "draw fewer"),
    )
    return [
        source.problem(
            ("search", *where),
            f"expected at most {MOST_PARTS:,} {what}, where candidates race, found {n:,}; {remedy}",
        )
        for where, n, what, remedy in found
        if n > MOST_PARTS
    ]


def _plugin_problems(file: StudyConfig, source: Located) -> list[Problem]:
    search = file.search
    return [
        *_unknown(STYLES, search.styles, source, ("search", "styles")),
        *_unknown(FORMATS, search.formats, source, ("search", "formats")),
        *_unknown(SELECTORS, search.demos.selectors, source, ("search", "demos", "selectors")),
        *(problem for name in file.constraints for problem in _constraint_problems(file, name, source)),
        *_pareto_problems(file, source),
        *_unknown(SAMPLERS, [search.sampler.name], source, ("search", "sampler", "name"), numbered=False),
        *_unknown(
            PRUNERS,
            [] if search.pruner is None else [search.pruner.name],
            source,
            ("search", "pruner", "name"),
            numbered=False,
        ),
    ]


def _pareto_problems(file: StudyConfig, source: Located) -> list[Problem]:
    problems = _unknown(METRICS, file.pareto, source, ("pareto",))
    for n, name in enumerate(file.pareto):
        where = ("pareto", n)
        if name in file.pareto[:n]:
            problems.append(source.problem(where, f"expected each measure once, found {name} again"))
        elif name in METRICS and METRICS[name].kind != "measure":
            known = ", ".join(sorted(each for each in METRICS if METRICS[each].kind == "measure"))
            problems.append(source.problem(where, f"expected a measure, one of {known}, found {name}"))
    return problems


def _constraint_problems(file: StudyConfig, name: str, source: Located) -> list[Problem]:
    where = ("constraints", name)
    problems = [] if name == SLICE_GAP else _unknown(METRICS, [name], source, where, numbered=False)
    bound = file.constraints[name]
    if bound.min is None and bound.max is None:
        problems.append(source.problem(where, "expected min, max or both, found neither"))
    return problems or _impossible_bounds(name, bound, source)


def _impossible_bounds(name: str, bound: Bound, source: Located) -> list[Problem]:
    """Return what is wrong with a constraint that nothing could meet, or anything would."""
    where = ("constraints", name)
    is_share = name == SLICE_GAP or METRICS[name].kind != "measure" or METRICS[name].unit == "share"
    problems = []
    for side, value in (("min", bound.min), ("max", bound.max)):
        if value is None or (value >= 0 and not (is_share and value > 1)):
            continue
        expected = "a number from 0 to 1" if is_share else "at least 0"
        percent = f"; did you mean {value / 100:g}?" if is_share and _FEWEST_PERCENT <= value <= 100 else ""
        problems.append(source.problem((*where, side), f"expected {expected}, found {value:g}{percent}"))
    if bound.min is not None and bound.max is not None and bound.min > bound.max:
        message = f"expected min to be at most max, found min {bound.min:g} and max {bound.max:g}"
        problems.append(source.problem(where, message))
    return problems


def _unknown(
    registry: Registry[T], names: Iterable[str], source: Located, where: FieldPath, *, numbered: bool = True
) -> list[Problem]:
    problems = []
    for n, name in enumerate(names):
        path = (*where, n) if numbered else where
        try:
            registry[name]
        except PluginError as error:
            problems.append(source.problem(path, str(error)))
    return problems


def _number_problems(file: StudyConfig, source: Located) -> list[Problem]:
    search, run = file.search, file.run
    problems = [
        source.problem(where, f"expected at least {least}, found {value}")
        for where, value, least in (
            (("search", "screen"), 1 if search.screen is None else search.screen, 1),
            (("search", "demos", "sets"), search.demos.sets, 0),
            (("search", "demos", "scout"), search.demos.scout, 0),
            (("search", "demos", "sizes"), min(search.demos.sizes, default=0), 0),
            (("budget", "calls"), file.budget.calls, 1),
            (("budget", "attempts"), 1 if file.budget.attempts is None else file.budget.attempts, 1),
            (("budget", "tokens"), 1 if file.budget.tokens is None else file.budget.tokens, 1),
            (("budget", "judge_calls"), 1 if file.budget.judge_calls is None else file.budget.judge_calls, 1),
            (("run", "batch"), run.batch, 1),
            (("run", "concurrency"), 1 if run.concurrency == "auto" else run.concurrency, 1),
        )
        if value < least
    ]
    if not 0 <= run.max_error_rate < 1:
        message = f"expected a share of at least 0 and below 1, found {run.max_error_rate}"
        problems.append(source.problem(("run", "max_error_rate"), message))
    if not 0 <= file.selection.margin < 1:
        message = f"expected a difference of at least 0 and below 1, found {file.selection.margin}"
        problems.append(source.problem(("selection", "margin"), message))
    return problems + _amount_problems(file, source) + _list_problems(file, source)


def _demos_problems(file: StudyConfig, source: Located) -> list[Problem]:
    """Return a mistake when no candidate could have demonstrations and none may lack them, or scouting finds out nothing."""
    demos, where = file.search.demos, ("search", "demos")
    if demos.sets == 0 and demos.sizes and min(demos.sizes) > 0:
        message = (
            "expected at least 1, because no candidate may lack demonstrations, found 0; or add 0 to `sizes`"
        )
        return [source.problem((*where, "sets"), message)]
    blind = [name for name in demos.selectors if name in SELECTORS and SELECTORS[name].needs is not None]
    if not blind or demos.scout != 0 or not any(size > 0 for size in demos.sizes):
        return []
    message = f"expected at least 1, because {blind[0]} goes by what these calls find out, found 0"
    return [source.problem((*where, "scout"), message)]


def _robustness_problems(file: StudyConfig, source: Located) -> list[Problem]:
    spec, where = file.robustness, ("robustness",)
    if spec is None:
        return []
    problems = _unknown(PERTURBATIONS, spec.perturbations, source, (*where, "perturbations"))
    problems += [
        source.problem((*where, name), f"expected at least {least}, found {value}")
        for name, value, least in (("examples", spec.examples, 1), ("repeats", spec.repeats, 0))
        if value < least
    ]
    if len(set(spec.perturbations)) < len(spec.perturbations):
        problems.append(source.problem((*where, "perturbations"), "expected each once, found one twice"))
    if not spec.perturbations and not spec.repeats:
        problems.append(source.problem(where, "expected perturbations, repeats or both, found neither"))
    return problems


def _amount_problems(file: StudyConfig, source: Located) -> list[Problem]:
    budget, run = file.budget, file.run
    amounts: dict[FieldPath, float | None] = {
        ("budget", "usd"): budget.usd,
        ("budget", "seconds"): budget.seconds,
        ("run", "requests_per_minute"): run.requests_per_minute,
        ("run", "deadline_seconds"): run.deadline_seconds,
    }
    problems = [
        source.problem(where, f"expected more than 0, found {amount}")
        for where, amount in amounts.items()
        if amount is not None and amount <= 0
    ]
    if budget.attempts is not None and 1 <= budget.attempts < budget.calls:
        message = f"expected at least {budget.calls}, the number of calls, found {budget.attempts}"
        problems.append(source.problem(("budget", "attempts"), message))
    return problems


def _price_problems(file: StudyConfig, source: Located) -> list[Problem]:
    problems = []
    models = [spec.name for spec in (file.model, *role_models(file).values())]
    for name, price in file.budget.prices.items():
        where = ("budget", "prices", name)
        if name not in models:
            message = f"{name!r} is no model of this study{meant(name, models)}"
            problems.append(source.problem(where, message))
        problems += [
            source.problem((*where, side), f"expected at least 0, found {amount}")
            for side, amount in (("input", price.input), ("output", price.output))
            if amount < 0
        ]
    return problems


def _answer_bound_problems(file: StudyConfig, source: Located) -> list[Problem]:
    """Return what keeps a call from having a largest cost in tokens or money, where the budget counts in these."""
    if file.budget.tokens is None and file.budget.usd is None:
        return []
    if any(name in file.model.parameters for name in ANSWER_BOUNDS):
        return []
    message = "a budget in tokens or money needs max_tokens, which bounds an answer"
    return [source.problem(("model", "parameters"), message)]


def _unknown_price_problems(file: StudyConfig, source: Located) -> list[Problem]:
    """Return mistakes where money is counted and the model has no known price: it is never taken for nothing."""
    counted = {("budget", "usd"): file.budget.usd, ("constraints", "cost"): file.constraints.get("cost")}
    wanted = [where for where, value in counted.items() if value is not None]
    if not wanted:
        return []
    model, tier = file.model, "service_tier"
    unknown = [
        value
        for value in dict.fromkeys((model.parameters.get(tier), *file.search.parameters.get(tier, ())))
        if price_of(
            model.name,
            base_url=model.base_url,
            free=MODELS[model.provider].free,
            overrides=file.budget.prices,
            service_tier=value,
        )
        is None
    ]
    if not unknown:
        return []
    what = repr(model.name) + ("" if unknown[0] is None else f" with {tier} {unknown[0]!r}")
    message = (
        f"the price of {what} is not known; state it in US dollars per million tokens, "
        f"`budget.prices: {{{model.name}: {{input: ..., output: ...}}}}`"
    )
    return [source.problem(where, message) for where in wanted]


def _list_problems(file: StudyConfig, source: Located) -> list[Problem]:
    search = file.search
    lists: dict[FieldPath, tuple[object, ...]] = {
        ("search", "styles"): search.styles,
        ("search", "formats"): search.formats,
        ("search", "demos", "sizes"): search.demos.sizes,
        **{("search", "parameters", name): values for name, values in search.parameters.items()},
    }
    if any(size > 0 for size in search.demos.sizes):
        lists[("search", "demos", "selectors")] = search.demos.selectors
    problems = []
    for where, values in lists.items():
        if not values:
            problems.append(source.problem(where, "expected at least one, found none"))
        if len(set(values)) < len(values):
            problems.append(source.problem(where, "expected each once, found one twice"))
    taken = dict.fromkeys(
        ("instruction", "demonstrations", "style", "format"), "names a dimension of its own"
    )
    taken |= dict.fromkeys(RESERVED_PARAMETERS, "set by the prompt, not by a parameter")
    where = ("search", "parameters")
    problems += [
        source.problem((*where, name), taken[name]) for name in sorted(search.parameters) if name in taken
    ]
    return problems + [
        source.problem((*where, name, n), message)
        for name, values in search.parameters.items()
        if name not in taken
        for n, value in enumerate(values)
        if (message := parameter_problem(name, value))
    ]


def parameter_cautions(file: StudyConfig) -> tuple[str, ...]:
    """Return which parameters are not known, and are passed on as they are, though one with nearly their name is."""
    specs = (file.model, *role_models(file).values())
    named = dict.fromkeys([name for spec in specs for name in spec.parameters] + [*file.search.parameters])
    near = {name: difflib.get_close_matches(name, KNOWN_PARAMETERS, n=1, cutoff=_SLIP) for name in named}
    return tuple(
        f"the parameter {name!r} is not known here and is passed on as it is; did you mean {found[0]!r}?"
        for name, found in near.items()
        if found and name not in KNOWN_PARAMETERS
    )


def _model_problems(where: FieldPath, spec: ModelSpec, source: Located) -> list[Problem]:
    unknown = _unknown(MODELS, [spec.provider], source, (*where, "provider"), numbered=False)
    unknown += [
        source.problem(
            (*where, "capabilities", n), f"unknown capability {name!r}{did_you_mean(name, CAPABILITIES)}"
        )
        for n, name in enumerate(spec.capabilities or ())
        if name not in CAPABILITIES
    ]
    if unknown:
        return unknown
    wanted: Literal["text", "vectors"] = "vectors" if where == ("embeddings",) else "text"
    if wanted not in (gives := MODELS[spec.provider].gives):
        message = f"expected a provider of {wanted}, found {spec.provider}, which gives {', '.join(gives)}"
        return [source.problem((*where, "provider"), message)]
    try:
        model = located(spec, source)
    except ValueError as error:
        return [source.problem((*where, "path"), str(error))]
    messages = dict.fromkeys([*MODELS[model.provider].problems(model), *parameter_problems(model)])
    return [_model_problem(where, source, message) for message in messages]


def _model_problem(where: FieldPath, source: Located, message: str) -> Problem:
    """Return what a provider says of a model, in the field that its message begins with, if it does with one."""
    name, _, rest = message.partition(": ")
    fields = {field.name for field in dataclasses.fields(ModelSpec)}
    if name.partition(".")[0] not in fields:
        return source.problem(where, message)
    return source.problem((*where, *name.split(".", 1)), rest)
