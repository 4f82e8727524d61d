"""The models that are compared: named on the command line, or listed in a YAML file."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from optimizer.config import PriceSpec
from optimizer.digest import canonical
from optimizer.document import Located, load_yaml
from optimizer.errors import InputError, PluginError, Problem
from optimizer.models import MODELS, ModelSpec
from optimizer.roles import located
from optimizer.schema import read


@dataclass(frozen=True, kw_only=True, slots=True)
class RivalSpec(ModelSpec):
    """One of the `models:` of a file: all that the `model:` of a study says, so that none of it is said in two places.

    Attributes:
        label: What it is called in tables; its name without it.
        price: What it costs, in place of the published price.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    label: str | None = None
    price: PriceSpec | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RivalsFile:
    """The content of a file of models."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    models: tuple[RivalSpec, ...]
    schema: Literal[1] = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Rival:
    """A model that is compared.

    Attributes:
        label: What it is called, other than any other.
        price: As it is stated, or None.
    """

    label: str
    spec: ModelSpec
    price: PriceSpec | None = None


def rivals(models: Iterable[str]) -> tuple[Rival, ...]:
    """Return the models that texts name, each PROVIDER:NAME or a YAML file of several.

    Raises:
        InputError: With every mistake found.
    """
    found: list[tuple[str, ModelSpec, PriceSpec | None]] = []
    problems: list[Problem] = []
    for text in models:
        try:
            found += _of_file(Path(text)) if is_file_of_models(text) else [_of_name(text)]
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    labels = unique(label for label, _, _ in found)
    return tuple(
        Rival(label=label, spec=spec, price=price)
        for label, (_, spec, price) in zip(labels, found, strict=True)
    )


def is_file_of_models(text: str) -> bool:
    """Return whether a text means a file of models, and not a model."""
    return text.lower().endswith((".yaml", ".yml"))


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of which no two are alike: the second of a name gets -2, the third -3."""
    found: list[str] = []
    for name in names:
        number, label = 2, name
        while label in found:
            number, label = number + 1, f"{name}-{number}"
        found.append(label)
    return tuple(found)


def siblings(models: Sequence[Rival]) -> frozenset[str]:
    """Return the labels of models that are one model served in several ways, such as with another context.

    Their answers are kept under one key, because the same weights answer. What differs between them, how long they take
    and what they cannot hold, would be lost if one took the answers of another.
    """
    ways: dict[tuple[str, ...], set[str]] = {}
    for rival in models:
        served = canonical([rival.spec.options, rival.spec.context])
        ways.setdefault(_weights(rival.spec), set()).add(served)
    return frozenset(rival.label for rival in models if len(ways[_weights(rival.spec)]) > 1)


def _weights(spec: ModelSpec) -> tuple[str, ...]:
    return (spec.provider, spec.name, spec.base_url or "", spec.path or "")


def _of_name(text: str) -> tuple[str, ModelSpec, None]:
    provider, _, name = text.partition(":")
    if not name:
        message = f"expected PROVIDER:NAME or a YAML file of models, found {text!r}"
        raise InputError([Problem(file="", field="--models", message=message)])
    spec = ModelSpec(provider=provider, name=name)
    problems = [Problem(file="", field="--models", message=f"{text}: {told}") for told in _told(spec)]
    if problems:
        raise InputError(problems)
    return name, spec, None


def _of_file(path: Path) -> list[tuple[str, ModelSpec, PriceSpec | None]]:
    source = load_yaml(path)
    file = read(source, RivalsFile)
    problems: list[Problem] = []
    if not file.models:
        problems.append(source.problem(("models",), "expected at least one model, found none"))
    found = []
    for k, entry in enumerate(file.models):
        named = {each.name: getattr(entry, each.name) for each in dataclasses.fields(ModelSpec)}
        spec, wrong = _located(ModelSpec(**named), source, k)
        problems += [*wrong, *_price_problems(entry, source, k)]
        if entry.label is not None and not entry.label.strip():
            problems.append(source.problem(("models", k, "label"), "expected some text, found none"))
        found.append((entry.label or entry.name, spec, entry.price))
    if problems:
        raise InputError(problems)
    return found


def _located(spec: ModelSpec, source: Located, k: int) -> tuple[ModelSpec, list[Problem]]:
    try:
        spec = located(spec, source)
    except ValueError as error:
        return spec, [source.problem(("models", k, "path"), str(error))]
    return spec, [source.problem(("models", k), told) for told in _told(spec)]


def _told(spec: ModelSpec) -> list[str]:
    """Return every mistake in a model."""
    try:
        provider = MODELS[spec.provider]
    except PluginError as error:
        return [str(error)]
    if "text" not in provider.gives:
        return [f"expected a provider of text, found {spec.provider}"]
    return provider.problems(spec)


def _price_problems(entry: RivalSpec, source: Located, k: int) -> Iterator[Problem]:
    for name in ("input", "output") if entry.price is not None else ():
        amount = getattr(entry.price, name)
        if not 0 <= amount < math.inf:
            where = ("models", k, "price", name)
            yield source.problem(where, f"expected at least 0, found {amount}")
