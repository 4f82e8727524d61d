"""Frozen prompts for the tests of exported files: some of hostile words, by a seeded generator, and how they compare.

`tests/conftest.py` loads this before the modules of tests are imported, which then import from `hostile_prompts`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint, Role
from optimizer.dataset import Example
from optimizer.exporters import EXPORTERS, Exporter, LossyExportError, Shipment, input_preconditions
from optimizer.exporting import export
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

__all__ = ["ANY_TEXT", "Files", "Message", "Render", "dialogue", "example", "frozen_as", "frozen_of", "hole", "message", "text_of"]  # fmt: skip

ROLES: tuple[Role, ...] = ("system", "user", "assistant")
ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)

Message = dict[str, Any]
# Makes the messages of a file's text for inputs, as the library does whose format it is.
Render = Callable[[str, Mapping[str, str]], list[Message]]


# ---- Prompts ---------------------------------------------------------------------------------------------------------


def frozen_as(template: PromptTemplate, **given: Any) -> FrozenPrompt:
    """Return the frozen prompt of a template, of which all that is not given is plain."""
    plain = {
        "name": "triage",
        "style": "direct",
        "format": "plain",
        "capabilities": (),
        "demonstration_ids": (),
        "model": {"provider": "openai_compatible", "name": "a-model"},
        "task": {"name": "triage"},
        "evidence": {},
        "history": (),
        "tool_versions": {},
    }
    return FrozenPrompt(template=template, **plain | given)


def frozen_of(
    *messages: MessageTemplate,
    parameters: tuple[tuple[str, Any], ...] = (),
    constraint: Constraint | None = None,
    answer: AnswerFormat | None = None,
    **given: Any,
) -> FrozenPrompt:
    """Return a frozen prompt of one call, whose answer is plain text where no other is given."""
    call = CallTemplate(messages=messages, parameters=parameters, constraint=constraint)
    return frozen_as(
        PromptTemplate(calls=(call,), answer=answer or AnswerFormat(kind="text")),
        **given,
    )


def message(role: Role, *parts: str | Hole) -> MessageTemplate:
    return MessageTemplate(role=role, parts=parts)


def hole(name: str, **more: Any) -> Hole:
    return Hole(name=f"input:{name}", **more)


def example(name: str, target: str = "words", **inputs: str) -> Example:
    return Example(id=name, inputs=tuple(inputs.items()), target=target, group=None)


def text_of(rng: Random, signs: Sequence[str]) -> str:
    return "".join(rng.choice(signs) for _ in range(rng.randint(0, 5)))


def dialogue(rng: Random, signs: Sequence[str], names: Sequence[str]) -> tuple[MessageTemplate, ...]:
    """Return up to four messages of any role, made of signs and of holes for inputs with these names."""
    found = []
    for _ in range(rng.randint(1, 4)):
        parts: list[str | Hole] = [text_of(rng, signs)]
        for _ in range(rng.randint(0, 3)):
            lead, tail = (text_of(rng, signs) if rng.random() < 0.2 else "" for _ in range(2))
            tokens = ("<|end|>",) if rng.random() < 0.2 else ()
            parts += [
                hole(rng.choice(names), lead=lead, tail=tail, neutralise=tokens),
                text_of(rng, signs),
            ]
        found.append(message(rng.choice(ROLES), *parts))
    return tuple(found)


# ---- Comparisons -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one format, which has one file for a prompt and can be read."""

    name: str

    @property
    def exporter(self) -> Exporter:
        return EXPORTERS[self.name]

    def text(self, frozen: FrozenPrompt, *examples: Example) -> str:
        """Return the file of a prompt, also where it would be refused."""
        (text,) = self.exporter.write(Shipment(frozen=frozen, examples=examples))
        return text

    def written(self, frozen: FrozenPrompt) -> str | None:
        """Return the file of a prompt, or None where it is refused."""
        return None if list(self.exporter.problems(frozen)) else self.text(frozen)

    def read(self, text: str) -> PromptTemplate:
        assert self.exporter.read is not None
        return self.exporter.read(text, ())

    def holds(self, frozen: FrozenPrompt, inputs: Mapping[str, str]) -> bool:
        """Return whether inputs are such that the file is the prompt."""
        conditions = [
            *input_preconditions(frozen, self.exporter.carries),
            *self.exporter.preconditions(frozen),
        ]
        return all(condition.holds(inputs) for condition in conditions)

    @staticmethod
    def contents(template: PromptTemplate, inputs: Mapping[str, str]) -> list[Message]:
        return [each.to_dict() for each in template.request(inputs).messages]

    @staticmethod
    def fillings(frozen: FrozenPrompt, words: Callable[[], str]) -> Iterator[dict[str, str]]:
        """Yield inputs that are harmless, and three times inputs of words."""
        yield dict.fromkeys(frozen.inputs, "words")
        for _ in range(3):
            yield {name: words() for name in frozen.inputs}

    def check_messages(
        self,
        prompts: Iterable[FrozenPrompt],
        filled: Callable[[FrozenPrompt], Iterable[Mapping[str, str]]],
        render: Render,
    ) -> Counter[str]:
        """Check that the library, and our reader, make the messages of every prompt that is carried.

        Return how many prompts were `carried` and `refused`, and how many inputs `filled` them or were `unfit`.
        """
        n = Counter[str]()
        for frozen in prompts:
            text = self.written(frozen)
            if text is None:
                n["refused"] += 1
                continue
            n["carried"] += 1
            assert text.endswith("\n"), text
            template = self.read(text)
            for inputs in filled(frozen):
                if not self.holds(frozen, inputs):
                    n["unfit"] += 1
                    continue
                n["filled"] += 1
                own, theirs, read = (
                    frozen.messages(**inputs),
                    render(text, inputs),
                    self.contents(template, inputs),
                )
                assert theirs == own, (text, inputs, theirs, own)
                assert read == own, (text, inputs, read, own)
        return n

    def check_lossy(self, prompts: Iterable[FrozenPrompt]) -> int:
        """Check that what a file lets go on purpose is told; return of how many prompts a file lets something go."""
        n_lossy = 0
        for frozen in prompts:
            if self.written(frozen) is not None:
                continue
            try:
                found = export(frozen, self.name, allow_lossy=True)
            except LossyExportError:  # no message is left
                continue
            n_lossy += 1
            told = {loss.removesuffix(f", which {self.name} cannot carry") for loss in found.losses}
            problems = set(self.exporter.problems(frozen))
            assert problems <= told, (problems, told)
            (text,) = found.texts
            assert text.count("# Not carried: ") == len(found.losses), (text, found.losses)
        return n_lossy

    def check_names(
        self, names: Iterable[str], unnameable: Iterable[str], render: Render, *, value: str, reason: str
    ) -> None:
        """Check that inputs of some names reach the library, and that those of others are refused with the reason."""
        for name in names:
            frozen = frozen_of(message("user", "x", hole(name)))
            own, theirs = frozen.messages(**{name: value}), render(self.written(frozen) or "", {name: value})
            assert theirs == own, (name, theirs, own)
        for name in unnameable:
            frozen = frozen_of(message("user", "x", hole(name)))
            problems = list(self.exporter.problems(frozen))
            assert any(reason in problem for problem in problems), (name, problems)
            with pytest.raises(LossyExportError, match=reason):
                export(frozen, self.name, allow_lossy=True)
