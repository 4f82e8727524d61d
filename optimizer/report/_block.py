"""The data of the page's interactive part: examples, prompts, and what each prompt answered, as one JSON text.

Texts are kept once and named by their place. The text is plain ASCII without a character that HTML gives a meaning, so
that it stands in a page as it is, whatever the data say.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optimizer.answer import OUTCOMES
from optimizer.archive import Archive
from optimizer.candidate import Demonstration
from optimizer.completion import Completion
from optimizer.dataset import Example
from optimizer.plan import StudyPlan
from optimizer.prompt import PromptTemplate
from optimizer.report._arms import Answers, Arm
from optimizer.report._messages import reading_in_words
from optimizer.report._telling import Teller
from optimizer.store import ScoreRow

_FINISHED = ("stop", "length", "refused")
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


class Texts:
    """Texts by their places, each kept once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Return where a text is kept."""
        return self._places.setdefault(text, len(self._places))

    @property
    def all(self) -> list[str]:
        """Return the texts in order."""
        return list(self._places)


def block(
    plan: StudyPlan,
    archive: Archive,
    found: Sequence[Arm],
    answers: Answers,
    say: Teller,
    *,
    examples: bool = True,
) -> dict[str, Any]:
    """Return the data of the prompts, and of the examples that were asked about.

    Args:
        found: The prompts, in the order in which they are offered.
        answers: The completions of all of them.
        examples: Whether examples are among it, and what became of them.
    """
    texts = Texts()
    splits = {"test": plan.dataset.test, "validation": plan.dataset.validation}
    asked = {example for rows in archive.scores.values() for example in rows}
    shown = [
        (split, each) for split, rows in splits.items() for each in rows if examples and each.id in asked
    ]
    places = {example.id: place for place, (_, example) in enumerate(shown)}
    return {
        "inputs": list(plan.task.inputs),
        "images": sorted(plan.task.images),
        "kind": plan.task.output,
        "labels": list(plan.task.labels),
        "splits": list(splits),
        "slices": list(plan.task.slices),
        "outcomes": list(OUTCOMES),
        "finished": list(_FINISHED),
        "examples": [_example(split, each, list(splits), texts) for split, each in shown],
        "arms": [_arm(arm, archive, [each for _, each in shown], texts, say) for arm in found],
        "cells": [list(_cells(arm, archive, answers, places, texts)) for arm in found],
        "strings": texts.all,
    }


def embedded(value: object) -> str:
    """Return a value as JSON that stands within a script element as it is."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign, escape in _ESCAPES.items():
        text = text.replace(sign, escape)
    return text


def _example(split: str, example: Example, splits: Sequence[str], texts: Texts) -> list[object]:
    values, slices = dict(example.inputs), dict(example.slices)
    return [
        texts.place(example.id),
        splits.index(split),
        [texts.place(text) for text in values.values()],
        texts.place(example.target),
        [texts.place(value) for value in slices.values()],
    ]


def _arm(
    arm: Arm, archive: Archive, examples: Sequence[Example], texts: Texts, say: Teller
) -> dict[str, object]:
    point = {} if arm.row is None else arm.row.point
    wording = archive.instructions.get(str(point.get("instruction")))
    shown = archive.demonstrations.get(str(point.get("demonstrations")))
    told: dict[str, object] = {
        "fingerprint": arm.fingerprint,
        "name": arm.name,
        "role": arm.role,
        "score": arm.score,
        "about": [f"{name}: {value}" for name, value in point.items()],
        "instruction": "" if wording is None else wording.text,
        "demonstrations": [] if shown is None else [_demonstration(each) for each in shown.demonstrations],
        "calls": [],
    }
    if arm.template is not None:
        told["calls"] = arm.template.to_dict()["calls"]
        told["reading"] = reading_in_words(arm.template.answer, say)
        if arm.template.retrieval is not None:
            mine = archive.scores.get(arm.fingerprint, {})
            told["shots"] = _shots(
                arm.template, [each if each.id in mine else None for each in examples], texts
            )
    return told


def _demonstration(shot: Demonstration) -> str:
    lines = [f"{name}: {value}" for name, value in shot.inputs]
    return "\n".join([*lines, *([shot.reasoning] if shot.reasoning else []), f"→ {shot.target}"])


def _shots(
    template: PromptTemplate, examples: Sequence[Example | None], texts: Texts
) -> dict[str, list[dict[str, int]]]:
    """Return what is shown with each example: places of texts by the ends of their holes' names."""
    retrieval = template.retrieval
    assert retrieval is not None
    wanted = {hole.shot[1] for hole in template.holes() if hole.shot is not None}
    return {
        str(place): [
            {name: texts.place(text) for name, text in shot.items() if name in wanted}
            for shot in retrieval.nearest(example.values)
        ]
        for place, example in enumerate(examples)
        if example is not None
    }


def _cells(
    arm: Arm, archive: Archive, answers: Answers, places: Mapping[str, int], texts: Texts
) -> Iterator[list[object]]:
    for name, row in archive.scores.get(arm.fingerprint, {}).items():
        if name in places:
            yield _cell(places[name], row, answers.get((arm.fingerprint, name)), texts)


def _cell(place: int, row: ScoreRow, calls: Sequence[Completion] | None, texts: Texts) -> list[object]:
    return [
        place,
        OUTCOMES.index(row.outcome) if row.outcome in OUTCOMES else OUTCOMES.index("error"),
        row.score,
        -1 if row.answer is None else texts.place(row.answer),
        int(row.strict),
        texts.place(row.reader),
        None if calls is None else [_completion(each, texts) for each in calls],
    ]


def _completion(each: Completion, texts: Texts) -> list[object]:
    return [
        texts.place(each.text),
        _FINISHED.index(each.finish_reason),
        each.prompt_tokens if each.counted else None,
        each.completion_tokens if each.counted else None,
        round(each.seconds, 6),
    ]
