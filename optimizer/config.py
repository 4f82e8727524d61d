"""The content of a study file, key by key, with the defaults beside it."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from optimizer.models import ModelSpec

# What a study does where its file does not say otherwise, and what a replay of recorded scores does.
SCREEN = 20  # examples of the baseline, and of each candidate where they do not race
FIRST = 1  # examples at once in a race
FIRST_LOCAL = 4  # the same where reading a prompt for the first time takes a model longer than an answer
BATCH = 8
SAMPLER = "joint"
PRUNER: str | None = None
# Two rounds over fifty training examples, which is what a usual train has, or eight winners out of 25.
SCOUT = 100

_STRICT: dict[str, object] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True, slots=True)
class InstructionsSpec:
    """Where wordings come from: given, and composed from slots."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    given: tuple[str, ...] = ()
    compose: bool = False
    propose: Literal[0] = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DemosSpec:
    """How many demonstration sets of which sizes are drawn, and how.

    Attributes:
        scout: Calls, at most, that find out on train what some selectors choose by; without such a selector, none.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    sizes: tuple[int, ...] = (0,)
    sets: int = 12
    selectors: tuple[str, ...] = ("random",)
    scout: int = SCOUT


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerSpec:
    """Which sampler, and the seed from which all randomness of the study flows."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    name: str = SAMPLER
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PrunerSpec:
    """Which pruner."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpec:
    """The dimensions of the space and how it is searched.

    Attributes:
        screen: Examples that a candidate is scored on at once; null lets the sampler and the model decide.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    styles: tuple[str, ...]
    formats: tuple[str, ...]
    instructions: InstructionsSpec = InstructionsSpec()
    demos: DemosSpec = DemosSpec()
    parameters: dict[str, tuple[bool | int | float | str, ...]] = field(default_factory=dict)
    screen: int | None = None
    sampler: SamplerSpec = SamplerSpec()
    pruner: PrunerSpec | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """Where a measure must lie."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    min: float | None = None
    max: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether a value lies within."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceSpec:
    """What a model costs, in US dollars for a million tokens."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    input: float
    output: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetSpec:
    """What the study may use at most; null sets no bound.

    Attributes:
        calls: Logical calls; a retry belongs to the call it repeats.
        attempts: Requests on the wire; twice the calls unless given.
        tokens: Tokens read and written, wasted answers included.
        usd: Money, by the published prices or those in `prices`.
        seconds: Time spent running, over all runs of the study.
        prices: Prices by model name, in place of the published ones.
        judge_calls: Calls of each model that metrics ask, which are on accounts of their own; unless given, what the
            answers to all `calls` could take.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    calls: int
    attempts: int | None = None
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None
    prices: dict[str, PriceSpec] = field(default_factory=dict)
    judge_calls: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """How the study is run. `batch` decides what each ask knows of the others, `max_error_rate` which trials fail.

    Attributes:
        concurrency: Most requests under way at once; auto lets the endpoint's answers decide.
        requests_per_minute: Most requests sent in any minute, or null.
        deadline_seconds: After how long no further attempt of a call is begun; one under way has a bound of its own.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    batch: int = BATCH
    concurrency: int | Literal["auto"] = "auto"
    max_error_rate: float = 0.02
    requests_per_minute: float | None = None
    deadline_seconds: float = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionSpec:
    """How the winner is judged.

    Attributes:
        margin: How much worse than the baseline, in score units, a winner may be at worst and still be frozen for
            being cheaper. Stated before the run; 0 never freezes one for that.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    margin: float = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class RobustnessSpec:
    """What baseline and winner are asked after the test, to find out what upsets them.

    Attributes:
        perturbations: What is done to the inputs; names of `optimizer plugins perturbations`.
        examples: Judging examples, at most, that each of them is tried on.
        repeats: How many more times the winner is asked the same, to see whether it answers alike.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    perturbations: tuple[str, ...] = ()
    examples: int = 30
    repeats: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyConfig:
    """The content of a study file, key by key.

    Attributes:
        judge: The model that metrics such as `llm_judge` ask.
        embeddings: The model that gives vectors to metrics that compare meanings.
        pareto: Measures against which the front of prompts is drawn afterwards; they decide nothing.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    schema: Literal[1]
    task: str
    model: ModelSpec
    search: SearchSpec
    budget: BudgetSpec
    judge: ModelSpec | None = None
    embeddings: ModelSpec | None = None
    proposer: None = None
    pareto: tuple[str, ...] = ()
    constraints: dict[str, Bound] = field(default_factory=dict)
    selection: SelectionSpec = SelectionSpec()
    robustness: RobustnessSpec | None = None
    run: RunSpec = RunSpec()
    storage: None = None
