"""Exporters: a frozen prompt as a file of another tool. Lossless, or refused with the reason.

Each file of the folder knows one format: what it can carry, how it is written, how it is read back. That a file which
was written says what the prompt says is proven by `optimizer.exporting`, which reads it again and compares messages.
Reading never runs, looks up or fetches what a file names.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optimizer.dataset import Example
from optimizer.errors import InputError, Problem
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, PromptTemplate
from optimizer.registry import Registry

# What not every format has words for. Without the first three a prompt is another one, and it is refused; without the
# next three it is less than it was, which `--allow-lossy` allows; the last two are preconditions on its inputs.
Feature = Literal[
    "calls", "retrieval", "images", "prefill", "choice", "json_schema", "neutralise", "optional"
]

ESSENTIAL: tuple[Feature, ...] = ("calls", "retrieval", "images")
CONDITIONAL: tuple[Feature, ...] = ("neutralise", "optional")
EVERYTHING: frozenset[Feature] = frozenset((*ESSENTIAL, "prefill", "choice", "json_schema", *CONDITIONAL))


@dataclass(frozen=True, kw_only=True, slots=True)
class Precondition:
    """What inputs must be like for a file to give the messages that were scored.

    Attributes:
        text: The condition, as in "no input contains <|im_start|>".
        holds: Whether some inputs keep it.
    """

    text: str
    holds: Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """What a prompt was made of, for formats that lay it out anew: no frozen prompt holds it apart from its messages.

    Attributes:
        instruction: The wording alone.
        demonstrations: The training examples that it shows, in their order.
        targets: Names of what is asked for.
    """

    instruction: str
    demonstrations: tuple[Example, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipment:
    """A prompt on its way into a file.

    Attributes:
        frozen: The prompt.
        wording: What it was made of, None where that is not at hand.
        examples: What it is sent or tested with, where a format has a place for that; often none.
        preconditions: What the file must say that its inputs have to be like.
        losses: What the format leaves out, as `--allow-lossy` allowed; the file says so, and has no score then.
    """

    frozen: FrozenPrompt
    wording: Wording | None = None
    examples: tuple[Example, ...] = ()
    preconditions: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()

    @property
    def call(self) -> CallTemplate:
        """Return the only call."""
        (call,) = self.frozen.template.calls
        return call

    @property
    def provenance(self) -> dict[str, object]:
        """Return what every file says of where it comes from, in plain data."""
        frozen, test = self.frozen, self.frozen.evidence.get("test")
        found: dict[str, object] = {
            "name": frozen.name,
            "fingerprint": frozen.fingerprint,
            "model": dict(frozen.model),
            "task": {key: frozen.task[key] for key in ("name", "version", "metric") if key in frozen.task},
            "style": frozen.style,
            "format": frozen.format,
            "answer": frozen.template.answer.to_dict(),
        }
        side = test.get(frozen_side(frozen)) if isinstance(test, Mapping) else None
        # What the format lacks was there when the score was made: it is none of this file's.
        if isinstance(side, Mapping) and not self.losses:
            found["test"] = {key: side.get(key) for key in ("score", "lower", "upper", "n")}
        found |= {"preconditions": list(self.preconditions)} if self.preconditions else {}
        return found | ({"lossy": list(self.losses)} if self.losses else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What a prompt is filled with: texts for its inputs, and the completions so far."""

    inputs: Mapping[str, str]
    completions: tuple[str, ...] = ()


# The messages of some cases, by a file's texts; as `FrozenPrompt.messages` gives them.
Render = Callable[[Sequence[str], Sequence[Case]], list[list[dict[str, Any]]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exporter:
    """One format of files.

    Attributes:
        suffix: What the file name ends with, such as `.openai.json`.
        write: Makes the texts of the files, one for most formats; what `--allow-lossy` lets go is left out.
        carries: What the format has words for.
        problems: Why the words of one prompt cannot be carried, a sentence each; none for most.
        preconditions: What inputs must be like, beyond what `carries` says.
        read: Makes the template of a file's text, for the check and for whoever imports it, given the names of inputs
            that are holes where a file does not declare its own; the reader of the answer is one of plain text where
            the file does not say. Raises `ValueError` for what is no such file. None where it cannot be read back.
        render: Makes the messages of cases by the written texts, where `read` cannot; None where it can.
        structural: Whether the file holds the parts of the prompt and not its words, which its tool lays out anew.
        of_rows: Whether the file holds what is sent for the given examples, and nothing for others.
    """

    suffix: str
    write: Callable[[Shipment], Iterable[str]]
    carries: frozenset[Feature] = frozenset()
    problems: Callable[[FrozenPrompt], Iterable[str]] = lambda _: ()
    preconditions: Callable[[FrozenPrompt], Iterable[Precondition]] = lambda _: ()
    read: Callable[[str, Sequence[str]], PromptTemplate] | None = None
    render: Render | None = None
    structural: bool = False
    of_rows: bool = False


class LossyExportError(InputError):
    """The format cannot carry this prompt whole.

    Args:
        reasons: What it cannot carry, and why.
        instead: Formats that can.
        avoidable: Whether the file may be written with what is lost.
    """

    def __init__(self, reasons: Sequence[str], *, instead: Sequence[str], avoidable: bool = False) -> None:
        others = f"; formats that can carry it: {', '.join(instead)}" if instead else ""
        others += (
            "; --allow-lossy writes it all the same, and the file says what is lost" if avoidable else ""
        )
        super().__init__([Problem(file="", message=f"{reason}{others}") for reason in reasons])


EXPORTERS: Registry[Exporter] = Registry("optimizer.exporters", Exporter)


def features(frozen: FrozenPrompt) -> dict[Feature, str]:
    """Return what a prompt asks of a format, each with a clause that says so."""
    template, found = frozen.template, dict[Feature, str]()
    holes = template.holes()
    if len(template.calls) > 1:
        found["calls"] = f"the prompt makes {len(template.calls)} calls"
    if template.retrieval is not None:
        found["retrieval"] = "the prompt picks its demonstrations for each input"
    if template.shows_images:
        found["images"] = "the prompt shows images"
    if any(call.messages[-1].role == "assistant" for call in template.calls):
        found["prefill"] = "the prompt starts the model's own turn"
    constraints = [call.constraint for call in template.calls if call.constraint is not None]
    for constraint in constraints:
        shape = "a list of texts" if constraint.choice else "a JSON Schema"
        name: Feature = "choice" if constraint.choice else "json_schema"
        found[name] = f"the answer is constrained to {shape}"
    if any(hole.neutralise for hole in holes):
        found["neutralise"] = "control tokens in the inputs are broken"
    if any(hole.lead or hole.tail for hole in holes):
        found["optional"] = "the caption of an empty input is left out"
    return found


def input_preconditions(frozen: FrozenPrompt, carries: frozenset[Feature]) -> list[Precondition]:
    """Return what the inputs of a prompt must be like in a format that carries just these."""
    holes, asked = frozen.template.holes(), set(features(frozen)) - carries
    found: list[Precondition] = []
    if "neutralise" in asked:
        tokens = sorted({token for hole in holes for token in hole.neutralise})
        found.append(
            Precondition(
                text=f"no input contains a control token of the model: {' '.join(tokens)}",
                holds=lambda inputs: not any(token in text for text in inputs.values() for token in tokens),
            )
        )
    if "optional" in asked:
        names = list(dict.fromkeys(_input(hole) for hole in holes if hole.lead or hole.tail))
        found.append(
            Precondition(
                text=f"no optional input is empty: {', '.join(names)}",
                holds=lambda inputs: all(inputs.get(name) for name in names),
            )
        )
    return found


def frozen_side(frozen: FrozenPrompt) -> str:
    """Return which prompt of the comparison was frozen: "winner" or "baseline", or "" where the evidence does not tell.

    Evidence of version 0.2 and earlier names none, and the fingerprints that it has tell it.
    """
    sides = ("baseline", "winner")  # the baseline first: where nothing beat it, it is the winner as well
    said = frozen.evidence.get("frozen")
    if said in sides:
        return str(said)
    return next((s for s in sides if frozen.evidence.get(f"{s}_fingerprint") == frozen.fingerprint), "")


def _input(hole: Hole) -> str:
    return hole.name.partition(":")[2]
