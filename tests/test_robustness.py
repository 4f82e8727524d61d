"""Robustness: what is asked, what counts as obeying, and how often a sound prompt is flagged."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from optimizer import slices
from optimizer.answer import Answer
from optimizer.commands._tables import _robustness_lines
from optimizer.completion import Completion
from optimizer.config import RobustnessSpec
from optimizer.dataset import Example
from optimizer.document import Located
from optimizer.evaluation import Evaluation, Result, Scorer
from optimizer.evidence import Pairing
from optimizer.flags import loss_p_value, slice_figures, worse
from optimizer.robustness import (
    ACCIDENT,
    Obedience,
    adjusted,
    alike,
    obedience,
    probes_of,
    says,
    share_interval,
    wrong_answer,
)
from optimizer.significance import binomial_tail
from optimizer.task import Task
from optimizer.taskfile import DatasetSpec, InputSpec, OutputType

LABELS = ("red", "green", "blue")
WORLDS = 400
MOST_FLAGS = 33  # of 400 at 5 %: exceeded once in a thousand times
ALL = ("typos", "case", "whitespace", "accents", "injection")


def a_task(output: OutputType = "label", **changes: object) -> Task:
    spec = DatasetSpec(inputs=("text", "passages", "photo"), target="colour", path="data.csv")
    task = Task(
        name="colours",
        version="1.0",
        description="",
        language="en",
        inputs=("text", "passages", "photo"),
        kinds={"text": InputSpec(), "passages": InputSpec(type="list"), "photo": InputSpec(type="image")},
        target="colour",
        output=output,
        labels=LABELS if output in ("label", "labels") else (),
        label_descriptions=("", "", "") if output in ("label", "labels") else (),
        metric="exact_match",
        metrics=(),
        instruction="Name the colour.",
        dataset=spec,
        paths=(Path("data.csv"),),
        source=Located(value={}, file="task.yaml", marks={}),
    )
    return dataclasses.replace(task, **changes)  # type: ignore[arg-type]  # any field


def an_example(n: int, target: str = "red", text: str = "Où est l’objet numéro 7 ?") -> Example:
    inputs = (("text", text), ("passages", "[1] déjà vu"), ("photo", "https://example.org/a.png"))
    return Example(id=f"e{n}", inputs=inputs, target=target, group=None)


def an_evaluation(
    answers: Mapping[int, str | None], task: Task, scores: dict[int, float] | None = None
) -> Evaluation:
    results = tuple(
        Result(
            example=an_example(n),
            answer=Answer(
                text=text, outcome="ok" if text is not None else "invalid", strict=text is not None
            ),
            score=float(text == "red") if scores is None else scores[n],
            completions=(Completion(text=text or "I cannot say"),),
        )
        for n, text in answers.items()
    )
    return Evaluation(fingerprint="f", results=results, scorer=Scorer.of(task))


def test_each_probe_takes_the_first_examples_that_change_and_leaves_lists_and_images_alone() -> None:
    task, plain = a_task(), "plain text 12"
    examples = [an_example(n, text=plain if n % 2 else "Où est-il passé ?") for n in range(10)]
    probes = probes_of(RobustnessSpec(perturbations=ALL, examples=4, repeats=2), task, examples, seed=1)
    assert [probe.perturbation for probe in probes.probes] == list(ALL)
    found = {probe.perturbation: probe for probe in probes.probes}
    assert [e.id for e in found["typos"].examples] == ["e0", "e1", "e2", "e3"]
    assert [e.id for e in found["accents"].examples] == ["e0", "e2", "e4", "e6"]
    assert [e.id for e in probes.repeated] == ["e0", "e1", "e2", "e3"]
    for probe in probes.probes:
        for example in probe.examples:
            original = examples[int(example.id[1:])]
            assert example.inputs[1:] == original.inputs[1:]
            assert example.inputs[0] != original.inputs[0]
            assert example.target == original.target
    assert set(found["injection"].planted) == {"e0", "e1", "e2", "e3"}
    assert not found["typos"].planted


def test_probes_depend_on_the_seed_and_the_example_alone() -> None:
    spec, task = RobustnessSpec(perturbations=("typos", "injection"), examples=3), a_task()
    examples = [an_example(n) for n in range(6)]
    first = probes_of(spec, task, examples, seed=1)
    assert first == probes_of(spec, task, examples, seed=1)
    assert first != probes_of(spec, task, examples, seed=2)
    other = probes_of(spec, task, examples[::-1], seed=1)
    assert {e.id: e for e in other.probes[0].examples} == {
        e.id: e
        for e in probes_of(RobustnessSpec(perturbations=("typos",), examples=6), task, examples, seed=1)
        .probes[0]
        .examples
        if e.id in ("e3", "e4", "e5")
    }


def test_nothing_is_asked_where_the_study_does_not_say_so() -> None:
    assert probes_of(None, a_task(), [an_example(0)], seed=0).probes == ()


@pytest.mark.parametrize(
    ("output", "target"),
    [("label", "red"), ("labels", '["green"]'), ("number", "12345"), ("text", "a text"), ("json", '{"a":1}')],
)
def test_a_planted_answer_is_a_wrong_one(output: OutputType, target: str) -> None:
    task = a_task(output)
    planted = {wrong_answer(an_example(0, target), task, seed=seed) for seed in range(30)}
    assert len(planted) > 1
    assert target not in planted
    if task.labels:
        assert planted <= set(LABELS)


@pytest.mark.parametrize(
    ("output", "planted", "answer", "written", "obeys"),
    [
        ("label", "blue", "blue", "Blue.", True),
        ("label", "blue", "red", "red, not blue", False),
        ("label", "blue", None, "blue or red", False),
        ("labels", "blue", '["blue"]', "blue", True),
        ("labels", "blue", '["red", "blue"]', "red, blue", False),
        ("number", "40961", "40961", "It is 40,961", True),
        ("number", "40961", "4", "4, not 40961", False),
        ("text", "velmorin", "Velmorin.", "Velmorin.", True),
        ("text", "velmorin", "It asks to answer velmorin", "It asks to answer velmorin", False),
        ("json", "velmorin", '{"a":["velmorin"]}', '{"a": ["velmorin"]}', True),
        ("json", "velmorin", None, "velmorin", True),
        ("json", "velmorin", '{"a":"b"}', '{"a": "b"}', False),
    ],
)
def test_an_answer_obeys_if_it_is_the_planted_one(
    output: OutputType, planted: str, answer: str | None, written: str, obeys: bool
) -> None:
    read = Answer(text=answer, outcome="ok" if answer is not None else "invalid", strict=answer is not None)
    result = Result(example=an_example(0), answer=read, score=0.0, completions=(Completion(text=written),))
    assert says(result, planted, a_task(output)) is obeys


def test_who_gave_the_planted_answer_anyway_is_not_counted() -> None:
    task = a_task()
    clean = an_evaluation({0: "blue", 1: "red", 2: "red", 3: None}, task)
    told = an_evaluation({0: "blue", 1: "blue", 2: "red", 3: "blue"}, task)
    found = obedience(clean, told, dict.fromkeys(("e0", "e1", "e2", "e3"), "blue"), task)
    assert (found.n, found.obeyed) == (3, 2)
    assert found.p_value == pytest.approx(3 * ACCIDENT**2 * (1 - ACCIDENT) + ACCIDENT**3)


def test_answers_are_alike_only_if_all_of_them_are() -> None:
    task = a_task()
    first, second = (
        an_evaluation({0: "red", 1: "red", 2: None, 3: "red"}, task),
        an_evaluation({0: "red", 1: "blue", 2: None}, task),
    )
    assert [(example.id, same) for example, same in alike([first, second])] == [
        ("e0", True),
        ("e1", False),
        ("e2", True),
    ]


def grouped(turned: Sequence[bool], size: int) -> Obedience:
    """Return how a prompt obeys groups of one size, of which each turns to the planted answer as a whole or not at all."""
    task, n = a_task(), size * len(turned)

    def answered(texts: Mapping[int, str | None]) -> Evaluation:
        found = an_evaluation(texts, task)
        results = tuple(
            dataclasses.replace(result, example=dataclasses.replace(result.example, group=f"g{k // size}"))
            for k, result in enumerate(found.results)
        )
        return dataclasses.replace(found, results=results)

    clean = answered(dict.fromkeys(range(n), "red"))
    told = answered({k: "blue" if turned[k // size] else "red" for k in range(n)})
    return obedience(clean, told, {f"e{k}": "blue" for k in range(n)}, task)


def test_examples_of_one_group_are_no_evidence_of_their_own_that_a_prompt_obeys() -> None:
    one = grouped([True, False, False], 10)
    assert (one.n, one.obeyed) == (30, 10)
    assert one.p_value == pytest.approx(1 - (1 - ACCIDENT) ** 3)  # one of three, whatever their sizes
    assert one.interval is not None
    assert one.interval.upper - one.interval.lower > 0.7
    assert grouped([True, True, True], 10).p_value == pytest.approx(ACCIDENT**3)
    alone = Obedience(rows=tuple((an_example(n), n < 4) for n in range(30)))
    assert alone.p_value == pytest.approx(binomial_tail(4, 30, ACCIDENT))
    thirds = Obedience(rows=tuple((e, n % 3 == 0) for n, (e, _) in enumerate(grouped([True] * 3, 3).rows)))
    assert thirds.p_value == pytest.approx(1 - (1 - ACCIDENT) ** 3)  # three thirds are one


@pytest.mark.parametrize(("groups", "size"), [(3, 10), (10, 3), (15, 2)])
def test_a_sound_prompt_obeys_groups_of_examples_in_one_study_of_twenty_at_most(
    groups: int, size: int
) -> None:
    """One answer in twenty falls for what is planted, and those of a group fall together."""
    rng = np.random.default_rng(7)
    flags = sum(grouped((rng.random(groups) < ACCIDENT).tolist(), size).p_value < 0.05 for _ in range(WORLDS))
    assert flags <= MOST_FLAGS
    assert grouped([True] * groups, size).p_value < 0.05


def test_the_interval_of_a_share_counts_groups_together() -> None:
    rows = grouped([True, True, False], 10).rows
    alone = share_interval(tuple((dataclasses.replace(e, group=None), yes) for e, yes in rows))
    together = share_interval(rows)
    assert alone is not None
    assert together is not None
    assert together.lower < alone.lower < 2 / 3 < alone.upper < together.upper
    assert share_interval(()) is None


@pytest.fixture
def flagged() -> Callable[..., bool]:
    """Return whether a prompt is flagged by five perturbations of 30 examples, one of which plants an answer."""
    task = a_task()

    def run(rng: np.random.Generator, *, right: float, after: float, noise: float, obeys: float) -> bool:
        clean = {n: rng.random() < right for n in range(30)}
        examples = tuple(an_example(n) for n in range(30))
        p_values, losses = {}, {}
        pairing = Pairing(examples=examples, scorer=Scorer.of(task), seed=0)
        before = an_evaluation({n: "red" if ok else "green" for n, ok in clean.items()}, task)
        for name in ALL:
            told = {
                n: "blue"
                if name == "injection" and rng.random() < obeys
                else ("red" if rng.random() < after else "green")
                if rng.random() < noise
                else ("red" if ok else "green")
                for n, ok in clean.items()
            }
            asked = an_evaluation(told, task)
            loss = pairing.by_example(before, asked)
            assert loss is not None
            losses[name], p_values[name] = loss, loss_p_value(loss)
            if name == "injection":
                planted = {e.id: "blue" for e in examples}
                p_values["obeys"] = obedience(before, asked, planted, task).p_value
        worth = adjusted(p_values)
        return worth["obeys"] < 0.05 or any(worse(losses[name], worth[name]) for name in ALL)

    return run


def test_a_sound_prompt_is_flagged_in_one_of_twenty_studies_at_most(flagged: Callable[..., bool]) -> None:
    """A fifth of its answers are drawn anew with every perturbation, and one in 25 falls for what is planted."""
    rng = np.random.default_rng(3)
    assert sum(flagged(rng, right=0.7, after=0.7, noise=0.2, obeys=0.04) for _ in range(WORLDS)) <= MOST_FLAGS


def test_a_prompt_that_obeys_or_breaks_is_flagged(flagged: Callable[..., bool]) -> None:
    rng = np.random.default_rng(4)
    assert sum(flagged(rng, right=0.7, after=0.7, noise=0.1, obeys=0.4) for _ in range(100)) >= 95
    assert sum(flagged(rng, right=0.9, after=0.2, noise=0.6, obeys=0.0) for _ in range(100)) >= 95


def test_a_slice_on_which_the_winner_is_no_worse_is_flagged_in_one_of_twenty_studies_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slices, "PERMUTATIONS", 19)  # the gap of one prompt is judged elsewhere
    task, rng, flags, found = a_task(), np.random.default_rng(5), 0, 0
    for world in range(WORLDS):
        sliced = [
            dataclasses.replace(an_example(n), slices=(("language", ("en", "fr", "de")[n % 3]),))
            for n in range(60)
        ]
        ease = rng.random(60)
        for broken in (False, True) if world < 100 else (False,):
            answers = [
                [
                    rng.random() < (0.1 if broken and arm and n % 3 == 1 else 0.3 + 0.7 * ease[n])
                    for n in range(60)
                ]
                for arm in (0, 1)
            ]
            sides = {
                name: Evaluation(
                    fingerprint=name,
                    results=tuple(
                        Result(
                            example=e,
                            answer=Answer(text="red", outcome="ok"),
                            score=float(ok),
                            completions=(),
                        )
                        for e, ok in zip(sliced, row, strict=True)
                    ),
                    scorer=Scorer.of(task),
                )
                for name, row in zip(("baseline", "winner"), answers, strict=True)
            }
            figures = slice_figures(sides, seed=world)
            values = figures[0]["values"]
            assert isinstance(values, list)
            worse_on = [value["value"] for value in values if value["difference"]["worse"]]
            flags += bool(worse_on) and not broken
            found += worse_on == ["fr"] and broken
    assert flags <= MOST_FLAGS
    assert found >= 80


def test_chance_is_told_of_losses_alone_on_the_terminal() -> None:
    def told(value: float) -> str:
        loss = {
            "value": value,
            "lower": value - 0.1,
            "upper": value + 0.1,
            "adjusted": 0.4321,
            "worse": False,
        }
        figures = {"n": 9, "clean": 0.5, "score": 0.5, "difference": loss, "obedience": None}
        found = {"perturbations": ["typos"], "baseline": {"typos": figures}, "winner": {"typos": figures}}
        evidence = {"winner_fingerprint": "w", "baseline_fingerprint": "b"}
        return "\n".join(_robustness_lines({**evidence, "robustness": {**found, "consistency": None}}))

    assert told(-0.2).count("p = 0.432") == 2
    assert "p = " not in told(0.0) + told(0.2)
    assert "+20.0 points (+10.0 to +30.0)" in told(0.2)
