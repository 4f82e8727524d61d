"""The search space: lists per dimension, and the way between a point and a candidate.

Each dimension is an Optuna categorical over ids; a race stores those of parts that grow as numbers. What a model cannot run, a format cannot lay out or a context window
cannot hold leaves the space before the study. A space that has grown is a new one, which holds the old one.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING

from optimizer.candidate import Candidate, DemonstrationSet, Instruction, Parameter
from optimizer.completion import Capabilities, Capability
from optimizer.composition import parts_of
from optimizer.formats import FORMATS, Draft
from optimizer.formats._readback import misread, misread_in_words, suspects
from optimizer.importing import Imported, fitted
from optimizer.length import usual_tokens, utf8_length
from optimizer.prompt import PromptTemplate
from optimizer.styles import STYLES, ReasoningStyle
from optimizer.task import Task

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution

Point = Mapping[str, Parameter]

NO_DEMONSTRATIONS = DemonstrationSet(id="d0000", demonstrations=(), selector="none")


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusion:
    """A pair of style and format that left the space, and why."""

    style: str
    format: str
    reason: str

    def __str__(self) -> str:
        return f"{self.style} × {self.format}: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """A demonstration set that was shortened, or left the space, and why."""

    id: str
    reason: str

    def __str__(self) -> str:
        return f"demonstrations {self.id}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Every candidate of a study.

    Attributes:
        instructions: The wordings; the first is the task's own.
        demonstration_sets: The sets; the baseline has none, whether or not the empty set is among them.
        styles: Names of reasoning styles; the search starts from the first.
        formats: Names of answer formats; the search starts from the first.
        model_parameters: Decoding parameters of every candidate.
        parameters: Further decoding parameters, each with the values to try.
        capabilities: What the model can do.
        input_bytes: Length of the longest example's inputs, in UTF-8.
        cuts: What became of sets that are longer than the model's context, in the order of their ids.
        too_long: Pairs of style and format that the model's context cannot hold even without demonstrations.
        imported: The prompt that is the baseline in place of the start, or None.
    """

    task: Task
    instructions: tuple[Instruction, ...]
    demonstration_sets: tuple[DemonstrationSet, ...]
    styles: tuple[str, ...]
    formats: tuple[str, ...]
    model_parameters: Mapping[str, Parameter]
    parameters: Mapping[str, tuple[Parameter, ...]]
    capabilities: Capabilities
    input_bytes: int = 0
    cuts: tuple[Cut, ...] = ()
    too_long: frozenset[tuple[str, str]] = frozenset()
    imported: Imported | None = None

    @cached_property
    def baseline(self) -> Candidate:
        """Return what every gain is measured against: the imported prompt, or the start where there is none."""
        return self.start if self.imported is None else self.imported.candidate

    @property
    def start(self) -> Candidate:
        """Return the task's instruction without demonstrations, in the first style and format."""
        return Candidate(
            instruction=self.instructions[0],
            demonstrations=NO_DEMONSTRATIONS,
            style=self.styles[0],
            format=self.formats[0],
        )

    @property
    def wordings(self) -> tuple[Instruction, ...]:
        """Return everything that a trial may name as its instruction: the wordings, after what was imported."""
        return self.instructions if self.imported is None else (self.imported.instruction, *self.instructions)

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
    def left_out(self) -> tuple[str, ...]:
        """Return everything that left the space or was shortened, in words."""
        return (*map(str, self.exclusions), *map(str, self.cuts))

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the pairs of style and format that can be run, format by format."""
        excluded = {(pair.style, pair.format) for pair in self.exclusions}
        pairs = ((style, layout) for layout, style in itertools.product(self.formats, self.styles))
        return tuple(pair for pair in pairs if pair not in excluded)

    @property
    def size(self) -> int:
        """Return the number of points that can be run; some may render alike."""
        return self.size_with(len(self.demonstration_sets))

    def size_with(self, n_sets: int) -> int:
        """Return the number of points that could be run with so many demonstration sets."""
        others = (len(values) for values in self.parameters.values())
        return math.prod([len(self.pairs), n_sets, len(self.instructions), *others])

    @property
    def most_calls(self) -> int:
        """Return the most calls that one example takes with any candidate."""
        return max((STYLES[style].n_calls for style, _ in self.pairs), default=1)

    def distributions(self) -> dict[str, "CategoricalDistribution"]:
        """Return the space in Optuna's words."""
        from optuna.distributions import CategoricalDistribution

        return {name: CategoricalDistribution(values) for name, values in self.choices.items()}

    @cached_property
    def opening(self) -> tuple[Point, ...]:
        """Return the points that a screening starts with: every pair of style and format that can be run, once.

        Each has the baseline's wording, the first demonstration set and the first of the other parameters. Layout
        and constraint decide more than wording does, and a pair that is never tried is never known.
        """
        if not all(self.choices.values()):
            return ()
        first = {name: values[0] for name, values in self.choices.items()}
        return tuple({**first, "style": style, "format": layout} for style, layout in self.pairs)

    @property
    def entry(self) -> tuple[Point, ...]:
        """Return the point of the start, if it is not the baseline itself and the space holds it: some has demonstrations."""
        start = {name: values[0] for name, values in self.choices.items() if values} | self.start.point
        inside = all(start.get(name) in values for name, values in self.choices.items())
        runs = (self.start.style, self.start.format) in self.pairs
        return (start,) if self.imported is not None and inside and runs else ()

    @property
    def varied(self) -> bool:
        """Return whether candidates differ in more than one dimension, so that one tells of others."""
        return sum(len(values) > 1 for values in self.choices.values()) > 1

    def traits(self, point: Point) -> dict[str, str]:
        """Return what a candidate at a point has in common with others: its levels, a composed wording's slot by slot."""
        parts = self._parts.get(str(point["instruction"]), {})
        return {**{name: str(value) for name, value in point.items() if name != "instruction"}, **parts}

    @cached_property
    def _parts(self) -> dict[str, dict[str, str]]:
        return {instruction.id: parts_of(instruction) for instruction in self.wordings}

    def draw(self, rng: Random, n: int) -> tuple[Point, ...]:
        """Return `n` points drawn from those that can be run; none where there are none.

        Every dimension is drawn evenly, the demonstrations by their number first: there are many sets of each size and
        one without any.
        """
        pairs, sizes = self.pairs, {shown.size: 0 for shown in self.demonstration_sets}
        sets = [[shown.id for shown in self.demonstration_sets if shown.size == size] for size in sizes]
        return tuple(
            {
                **{name: rng.choice(values) for name, values in self.choices.items()},
                "demonstrations": rng.choice(rng.choice(sets)),
                **dict(zip(("style", "format"), rng.choice(pairs), strict=True)),
            }
            for _ in range(n if pairs else 0)
        )

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

    def style(self, name: str) -> ReasoningStyle:
        """Return a style in the words of the task's language."""
        return STYLES[name].in_language(self.task.language)

    def render(self, candidate: Candidate) -> PromptTemplate | None:
        """Return the candidate's prompt template, or None when it is not in the space."""
        if self.imported is not None and candidate == self.baseline:
            return self.imported.template
        if self._misfit(candidate.style, candidate.format):
            return None
        draft = Draft(
            task=self.task,
            candidate=candidate,
            style=self.style(candidate.style),
            parameters=tuple(sorted({**self.model_parameters, **dict(candidate.parameters)}.items())),
            control_tokens=self.capabilities.control_tokens,
        )
        return FORMATS[candidate.format].render(draft)

    def grown(
        self,
        *,
        demonstration_sets: Sequence[DemonstrationSet] = (),
        instructions: Sequence[Instruction] = (),
    ) -> "SearchSpace":
        """Return a space with more parts, whose ids go on after those in use; the parts it has stay what they are.

        Parts that say the same as one that is there are left out; new sets that are too long are cut, as `fitted` does.
        """
        texts = {instruction.text for instruction in self.instructions}
        wordings = list(self.instructions)
        for instruction in instructions:
            if instruction.text not in texts:
                texts.add(instruction.text)
                wordings.append(dataclasses.replace(instruction, id=_next_id("i", wordings)))
        taken: list[DemonstrationSet | Cut] = [NO_DEMONSTRATIONS, *self.demonstration_sets, *self.cuts]
        added: list[DemonstrationSet] = []
        contents = [shown.content for shown in self.demonstration_sets]
        for shown in demonstration_sets:
            if shown.content not in contents:
                contents.append(shown.content)
                added.append(dataclasses.replace(shown, id=_next_id("d", [*taken, *added])))
        return _with_sets(dataclasses.replace(self, instructions=tuple(wordings)), added)

    def fitted(self) -> "SearchSpace":
        """Return the space as its model is asked: without what a context cannot hold, the imported prompt with its parameters.

        A set fits when its longest rendering does, with the longest wording and input and all that the answer may
        have. One that does not loses demonstrations from the front, which matter least, until it does; where they are
        retrieved, fewer are. It leaves the space when none is left, or when it is then like another. A pair of style and
        format that does not fit even without demonstrations leaves the space before, so that it cuts none of the others'.
        """
        imported = self.imported and fitted(
            self.imported, self.model_parameters, self.capabilities, input_bytes=self.input_bytes
        )
        kept = dataclasses.replace(self, demonstration_sets=(), imported=imported)
        long = frozenset(pair for pair in kept.pairs if not _pair_fits(kept, NO_DEMONSTRATIONS, pair))
        # Where nothing fits, nothing is told by leaving all of it out. The start is what everything is compared with.
        if len(long) < len(kept.pairs):
            long -= {(self.start.style, self.start.format)}
            kept = dataclasses.replace(kept, too_long=long)
        return _with_sets(kept, self.demonstration_sets)

    def misread(self, targets: Iterable[str]) -> tuple[str, ...]:
        """Return, in words, that some right answers are read as something else where they are written as asked."""
        suspected = suspects(self.task, map(self.style, self.styles), targets)
        found = {
            pair: misread(FORMATS[pair[1]], self._draft(*pair), suspected) for pair in self.pairs if suspected
        }
        return tuple(misread_in_words(found))

    def _misfit(self, style_name: str, format_name: str) -> str | None:
        style, layout = self.style(style_name), FORMATS[format_name]
        reason = layout.misfit(self.task, style)
        if reason:
            return f"the format {reason}"
        missing = sorted(needed_capabilities(self._probe(style_name, format_name)) - self.capabilities.can)
        if missing:
            return f"the model lacks {', '.join(missing)}"
        return _room(self) if (style_name, format_name) in self.too_long else None

    def _probe(self, style: str, layout: str) -> PromptTemplate:
        return FORMATS[layout].render(self._draft(style, layout))

    def _draft(self, style: str, layout: str) -> Draft:
        candidate = Candidate(
            instruction=self.instructions[0], demonstrations=NO_DEMONSTRATIONS, style=style, format=layout
        )
        return Draft(
            task=self.task, candidate=candidate, style=self.style(style), parameters=(), control_tokens=()
        )


def _room(space: SearchSpace) -> str:
    return f"too long for the model's context of {space.capabilities.context} tokens"


def _with_sets(space: SearchSpace, sets: Sequence[DemonstrationSet]) -> SearchSpace:
    """Return the space with more sets, each as far as it fits wherever a prompt without demonstrations does."""
    kept, cuts = list(space.demonstration_sets), list(space.cuts)
    room = _room(space)
    pairs = [pair for pair in space.pairs if _pair_fits(space, NO_DEMONSTRATIONS, pair)] if sets else []
    limited = space.capabilities.context is not None
    fits = [(shown, _shortened(space, shown, pairs) if limited else shown) for shown in sets]
    contents = [shown.content for shown in (*kept, *(shown for shown, fit in fits if fit == shown))]
    for shown, fit in fits:
        if fit == shown:
            kept.append(shown)
        elif fit is None or fit.content in contents:
            cuts.append(Cut(id=shown.id, reason=f"{room}, left out"))
        else:
            contents.append(fit.content)
            kept.append(fit)
            cuts.append(Cut(id=shown.id, reason=f"{room}, {fit.size} of {shown.size} kept"))
    return dataclasses.replace(space, demonstration_sets=tuple(kept), cuts=tuple(cuts))


def _shortened(
    space: SearchSpace, shown: DemonstrationSet, pairs: Sequence[tuple[str, str]]
) -> DemonstrationSet | None:
    while shown.size and not _fits(space, shown, pairs):
        if shown.size == 1:
            return None
        if shown.retrieved:
            shown = dataclasses.replace(shown, retrieved=shown.retrieved - 1)
        else:
            shown = dataclasses.replace(shown, demonstrations=shown.demonstrations[1:])
    return shown


def _fits(space: SearchSpace, shown: DemonstrationSet, pairs: Sequence[tuple[str, str]]) -> bool:
    return bool(pairs) and all(_pair_fits(space, shown, pair) for pair in pairs)


def _pair_fits(space: SearchSpace, shown: DemonstrationSet, pair: tuple[str, str]) -> bool:
    if space.capabilities.context is None:
        return True
    wording = max(space.instructions, key=lambda instruction: utf8_length(instruction.text))
    largest = {name: max(values) for name, values in space.parameters.items() if _are_numbers(values)}
    candidate = Candidate(
        instruction=wording,
        demonstrations=shown,
        style=pair[0],
        format=pair[1],
        parameters=tuple(sorted(largest.items())),
    )
    template = space.render(candidate)
    assert template is not None  # the pair can be run
    return usual_tokens(template, space.input_bytes) <= space.capabilities.context


def needed_capabilities(template: PromptTemplate) -> frozenset[Capability]:
    """Return what a model must be able to do to run a template."""
    needed: set[Capability] = set()
    for call in template.calls:
        if call.messages[-1].role == "assistant":
            needed.add("prefill")
        if template.shows_images:
            needed.add("images")
        if call.constraint is not None:
            needed.add(call.constraint.capability)
    return frozenset(needed)


def _next_id(kind: str, parts: Sequence[Instruction | DemonstrationSet | Cut]) -> str:
    return f"{kind}{1 + max((int(part.id[1:]) for part in parts), default=-1):04d}"


def _are_numbers(values: Sequence[Parameter]) -> bool:
    return all(isinstance(value, int | float) for value in values)
