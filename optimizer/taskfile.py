"""The content of a task file, key by key, with the defaults beside it."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

OutputType = Literal["label", "labels", "text", "number", "json"]
InputType = Literal["text", "list", "image"]
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

_STRICT: dict[str, object] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """How the examples are divided: shares that add up to 1, counts, or a file for each split.

    With a test of 0, gains are judged by repeated cross-validation on validation.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    train: int | float | str
    validation: int | float | str
    test: int | float | str

    @property
    def values(self) -> tuple[int | float | str, ...]:
        """Return the three values, in the order train, validation, test."""
        return self.train, self.validation, self.test

    @property
    def kind(self) -> Literal["shares", "counts", "paths", "mixed"]:
        """Return which of the three forms is meant."""
        kinds = {type(value) for value in self.values}
        if kinds == {int}:
            return "counts"
        if kinds == {str}:
            return "paths"
        return "mixed" if str in kinds else "shares"


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSpec:
    """What one column holds that the model may see.

    Attributes:
        type: A text; a list, a JSON array of texts such as retrieved passages; or an image, by URL or by a file.
        optional: Whether a cell may be empty; then neither it nor its caption is shown.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    type: InputType = "text"
    optional: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSpec:
    """Where the examples are and which columns matter; without `splits` their number decides (`optimizer.splits`).

    Several target columns are one answer, an object with a key for each.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    inputs: tuple[str, ...] | dict[str, InputSpec]
    target: str | tuple[str, ...]
    splits: Splits | None = None
    path: str | None = None
    group: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldSpec:
    """What one of several named outputs is."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    type: Literal["label", "labels", "text", "number"]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSpec:
    """What an answer is.

    Attributes:
        schema: JSON Schema of an answer of type json.
        fields: Named outputs of an answer of type json, in place of its schema.
        readers: How an answer is found in a completion, in this order; the usual way of the format unless given.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    type: OutputType
    labels: tuple[str, ...] | dict[str, str] = ()
    schema: dict[str, Any] | None = None
    fields: dict[str, FieldSpec] = field(default_factory=dict)
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricSpec:
    """A metric with its options, a function of one's own, or several metrics with weights.

    Attributes:
        name: Of a metric in `optimizer plugins metrics`.
        args: Its options.
        python: `file.py:function`, beside the task.
        weighted: Metrics and their weights; the score is the mean by weight.
        label: How it is called in results; the name unless given.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    name: str | None = None
    args: dict[str, Any] = field(default_factory=dict)
    python: str | None = None
    weighted: tuple["WeightedSpec", ...] = ()
    label: str | None = None

    @property
    def shown(self) -> str:
        """Return how it is called in results."""
        return self.label or self.name or self.python or "weighted"


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightedSpec:
    """One of several metrics, and what it counts beside the others."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    metric: str | MetricSpec
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineSpec:
    """A prompt that is in use today, in a file of its own.

    Attributes:
        path: Its file, as seen from the task.
        format: Name of an exporter, where neither the file's name nor its content tells which one reads it.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    path: str
    format: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFile:
    """The content of a task file, key by key."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    schema: Literal[1]
    name: str
    dataset: DatasetSpec
    output: OutputSpec
    metric: str | MetricSpec
    instruction: str
    version: str = "1.0"
    description: str = ""
    language: str = "en"
    metrics: tuple[str | MetricSpec, ...] = ()
    slices: tuple[str, ...] = ()
    baseline: str | BaselineSpec | None = None
