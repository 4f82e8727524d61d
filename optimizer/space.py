"""The search space: lists per dimension, and the way between a point and a candidate.

The pool is closed: every part of every candidate is known before the first trial, and each dimension is an Optuna
categorical over ids. What a model cannot run, or a format cannot lay out, leaves the space before the study.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from optimizer.candidate import Candidate, DemonstrationSet, Instruction, Parameter
from optimizer.completion import Capabilities, Capability
from optimizer.formats import FORMATS, Draft
from optimizer.prompt import PromptTemplate
from optimizer.styles import STYLES
from optimizer.task import Task

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution

Point = Mapping[str, Parameter]

NO_DEMONSTRATIONS = DemonstrationSet(id="d0000", demonstrations=(), selector="none")

_ROLE = "You are a careful assistant who follows the instructions exactly."


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusion:
    """A pair of style and format that left the space, and why."""

    style: str
    format: str
    reason: str

    def __str__(self) -> str:
        return f"{self.style} × {self.format}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Every candidate of a study.

    Attributes:
        instructions: The wordings; the first is the baseline's.
        demonstration_sets: The sets; the baseline has none, whether or not the empty set is among them.
        styles: Names of reasoning styles; the first is the baseline's.
        formats: Names of answer formats; the first is the baseline's.
        model_parameters: Decoding parameters of every candidate.
        parameters: Further decoding parameters, each with the values to try.
        capabilities: What the model can do.
    """

    task: Task
    instructions: tuple[Instruction, ...]
    demonstration_sets: tuple[DemonstrationSet, ...]
    styles: tuple[str, ...]
    formats: tuple[str, ...]
    model_parameters: Mapping[str, Parameter]
    parameters: Mapping[str, tuple[Parameter, ...]]
    capabilities: Capabilities

    @property
    def baseline(self) -> Candidate:
        """Return the task's instruction without demonstrations, in the first style and format."""
        return Candidate(
            instruction=self.instructions[0],
            demonstrations=NO_DEMONSTRATIONS,
            style=self.styles[0],
            format=self.formats[0],
        )

    @cached_property
    def choices(self) -> dict[str, tuple[Parameter, ...]]:
        """Return the values of each dimension, in a fixed order."""
        return {
            "instruction": tuple(instruction.id for instruction in self.instructions),
            "demonstrations": tuple(shown.id for shown in self.demonstration_sets),
            "style": self.styles,
            "format": self.formats,
            **{name: tuple(values) for name, values in sorted(self.parameters.items())},
        }

    @cached_property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """Return the pairs of style and format that no candidate can have."""
        pairs = itertools.product(self.styles, self.formats)
        found = ((style, name, self._misfit(style, name)) for style, name in pairs)
        return tuple(Exclusion(style=s, format=f, reason=reason) for s, f, reason in found if reason)

    @property
    def size(self) -> int:
        """Return the number of points that can be run; some may render alike."""
        pairs = len(self.styles) * len(self.formats) - len(self.exclusions)
        others = (len(values) for name, values in self.choices.items() if name not in ("style", "format"))
        size = pairs
        for n in others:
            size *= n
        return size

    @property
    def most_calls(self) -> int:
        """Return the most calls that one example takes with any candidate."""
        excluded = {(pair.style, pair.format) for pair in self.exclusions}
        runnable = {s for s, f in itertools.product(self.styles, self.formats) if (s, f) not in excluded}
        return max((STYLES[style].n_calls for style in runnable), default=1)

    def distributions(self) -> dict[str, "CategoricalDistribution"]:
        """Return the space in Optuna's words."""
        from optuna.distributions import CategoricalDistribution

        return {name: CategoricalDistribution(values) for name, values in self.choices.items()}

    @cached_property
    def opening(self) -> tuple[Point, ...]:
        """Return the points that a search starts with: every pair of style and format that can be run, once.

        Each has the baseline's wording, the first demonstration set and the first of the other parameters. Layout
        and constraint decide more than wording does, and a pair that is never tried is never known.
        """
        excluded = {(pair.style, pair.format) for pair in self.exclusions}
        first = {name: values[0] for name, values in self.choices.items()}
        pairs = itertools.product(self.formats, self.styles)
        return tuple({**first, "style": s, "format": f} for f, s in pairs if (s, f) not in excluded)

    def candidate(self, point: Point) -> Candidate:
        """Return the candidate at a point."""
        instructions = {instruction.id: instruction for instruction in self.instructions}
        sets = {shown.id: shown for shown in self.demonstration_sets}
        return Candidate(
            instruction=instructions[str(point["instruction"])],
            demonstrations=sets[str(point["demonstrations"])],
            style=str(point["style"]),
            format=str(point["format"]),
            parameters=tuple((name, point[name]) for name in sorted(self.parameters)),
        )

    def render(self, candidate: Candidate) -> PromptTemplate | None:
        """Return the candidate's prompt template, or None when it is not in the space."""
        if self._misfit(candidate.style, candidate.format):
            return None
        draft = Draft(
            task=self.task,
            candidate=candidate,
            style=STYLES[candidate.style],
            parameters=tuple(sorted({**self.model_parameters, **dict(candidate.parameters)}.items())),
            control_tokens=self.capabilities.control_tokens,
        )
        return FORMATS[candidate.format].render(draft)

    def _misfit(self, style_name: str, format_name: str) -> str | None:
        style, layout = STYLES[style_name], FORMATS[format_name]
        reason = layout.misfit(self.task, style)
        if reason:
            return reason
        missing = sorted(needed_capabilities(self._probe(style_name, format_name)) - self.capabilities.can)
        return f"the model lacks {', '.join(missing)}" if missing else None

    def _probe(self, style: str, layout: str) -> PromptTemplate:
        candidate = Candidate(
            instruction=self.instructions[0], demonstrations=NO_DEMONSTRATIONS, style=style, format=layout
        )
        draft = Draft(
            task=self.task, candidate=candidate, style=STYLES[style], parameters=(), control_tokens=()
        )
        return FORMATS[layout].render(draft)


def needed_capabilities(template: PromptTemplate) -> frozenset[Capability]:
    """Return what a model must be able to do to run a template."""
    needed: set[Capability] = set()
    for call in template.calls:
        if call.messages[-1].role == "assistant":
            needed.add("prefill")
        if call.constraint is not None:
            needed.add(call.constraint.capability)
    return frozenset(needed)


def compose(task: Task, given: tuple[str, ...], *, slots: bool) -> tuple[Instruction, ...]:
    """Return the wordings of a study: the task's own, the given ones and, with `slots`, their compositions.

    A composition is one choice per slot: a role or none, the task statement, the labels (not shown, listed, or with
    their descriptions), an answer rule or none. Equal texts appear once.
    """
    statements = dict.fromkeys([task.instruction, *(text.strip() for text in given)])
    instructions = [
        Instruction(id=f"i{n:04d}", text=text, origin="given") for n, text in enumerate(statements)
    ]
    known = set(statements)
    if slots:
        for parent, role, labels, rule in itertools.product(
            tuple(instructions), ("", _ROLE), _label_slots(task), ("", _answer_rule(task))
        ):
            text = " ".join(part for part in (role, parent.text, labels, rule) if part)
            if text not in known:
                known.add(text)
                number = f"i{len(instructions):04d}"
                composed = Instruction(id=number, text=text, origin="composed", parents=(parent.id,))
                instructions.append(composed)
    return tuple(instructions)


def _label_slots(task: Task) -> tuple[str, ...]:
    if task.output != "label":
        return ("",)
    noun = task.target.replace("_", " ")
    listed = f"The possible values of {noun} are: {', '.join(task.labels)}."
    if not any(task.label_descriptions):
        return "", listed
    pairs = zip(task.labels, task.label_descriptions, strict=True)
    described = "\n".join(f"- {label}: {text}" if text else f"- {label}" for label, text in pairs)
    return "", listed, f"The possible values of {noun} are:\n{described}\n"


def _answer_rule(task: Task) -> str:
    if task.output == "label":
        return f"Answer with one of {', '.join(task.labels)} and nothing else."
    return (
        "Answer with the number and nothing else."
        if task.output == "number"
        else "Give the answer and nothing else."
    )
