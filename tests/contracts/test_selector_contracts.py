"""What every demonstration selector keeps to."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.candidate import DemonstrationSet
from optimizer.dataset import Example
from optimizer.demonstrations import (
    NO_EVIDENCE,
    SELECTORS,
    Attempt,
    Evidence,
    OneShot,
    as_demonstration,
    draw_sets,
    taking_turns,
)

each = pytest.mark.parametrize("name", list(SELECTORS))
each_that_draws = pytest.mark.parametrize("name", [n for n in SELECTORS if not SELECTORS[n].retrieves])
each_that_goes_by = pytest.mark.parametrize("name", [n for n in SELECTORS if SELECTORS[n].needs])
few = settings(max_examples=20, deadline=None)

LABELS = ("red", "green", "blue")


def a_train(n: int = 12) -> tuple[Example, ...]:
    return tuple(
        Example(id=f"e{k:02d}", inputs=(("text", f"text {k}"),), target=LABELS[k % 3], group=None)
        for k in range(n)
    )


def evidence_on(train: tuple[Example, ...], scores: list[float]) -> Evidence:
    """Return evidence of every kind on the first examples."""
    known = list(zip(train, scores, strict=False))
    return Evidence(
        answers=tuple(Attempt(example_id=e.id, score=score, text=e.target) for e, score in known),
        reasoned=tuple(
            Attempt(example_id=e.id, score=score, text=e.target, reasoning=f"so {e.id}") for e, score in known
        ),
        one_shots=tuple(
            OneShot(example_id=e.id, score=score, n=3, winner=score == 1.0) for e, score in known
        ),
    )


evidences = st.one_of(
    st.just(NO_EVIDENCE),
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=14).map(
        lambda scores: evidence_on(a_train(14), scores)
    ),
)


def chosen(
    name: str, train: tuple[Example, ...], size: int, seed: int, evidence: Evidence = NO_EVIDENCE
) -> list[str]:
    return [shot.example_id for shot in SELECTORS[name].select(train, size, seed, evidence)]


def test_the_content_of_images_is_not_compared() -> None:
    captions = [f"{animal} {k}" for k in range(6) for animal in ("a red fox", "a blue whale")]
    images = [f"data:image/png;base64,{'/'.join('abc'[k % 3] * 9 for _ in range(99))}" for k in range(12)]
    bare = [
        Example(id=f"e{k:02d}", inputs=(("text", text),), target="x", group=None)
        for k, text in enumerate(captions)
    ]
    shown = [
        replace(each, inputs=(("photo", image), *each.inputs))
        for each, image in zip(bare, images, strict=True)
    ]
    for seed in range(10):
        assert chosen("diverse", tuple(shown), 4, seed) == chosen("diverse", tuple(bare), 4, seed)


@each
@few
@given(data=st.data())
def test_as_many_as_asked_all_different_and_all_given(name: str, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    size, seed = data.draw(st.integers(1, n)), data.draw(st.integers(0, 2**32 - 1))
    train = a_train(n)
    found = SELECTORS[name].select(train, size, seed, data.draw(evidences))
    ids = [shot.example_id for shot in found]
    assert len(ids) == len(set(ids)) >= size
    assert len(ids) == size or SELECTORS[name].retrieves
    shown = {example.id: as_demonstration(example) for example in train}
    assert all(
        (shot.inputs, shot.target) == (shown[shot.example_id].inputs, shown[shot.example_id].target)
        for shot in found
    )


@each
def test_the_examples_themselves_are_left_as_they_are(name: str) -> None:
    train = list(a_train())
    SELECTORS[name].select(train, 4, 0, evidence_on(a_train(), [1.0, 0.0] * 3))
    assert train == list(a_train())


@each
def test_the_same_seed_selects_the_same_in_the_same_order(name: str) -> None:
    evidence = evidence_on(a_train(), [1.0, 0.0, 0.5] * 3)
    assert chosen(name, a_train(), 5, 3, evidence) == chosen(name, a_train(), 5, 3, evidence)


@each_that_draws
def test_other_seeds_select_others(name: str) -> None:
    assert len({tuple(chosen(name, a_train(), 5, seed)) for seed in range(20)}) > 10


@each
def test_another_process_selects_the_same(name: str) -> None:
    program = f"""
import json
from optimizer.dataset import Example
from optimizer.demonstrations import SELECTORS, Evidence, Attempt, OneShot
train = [Example(id=f"e{{k:02d}}", inputs=(("text", f"text {{k}}"),), target={LABELS!r}[k % 3], group=None) for k in range(12)]
evidence = {evidence_on(a_train(), [0.0, 1.0, 0.5, 1.0])!r}
print(json.dumps([shot.example_id for shot in SELECTORS[{name!r}].select(train, 5, 3, evidence)]))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    evidence = evidence_on(a_train(), [0.0, 1.0, 0.5, 1.0])
    assert json.loads(result.stdout) == chosen(name, a_train(), 5, 3, evidence)


@each_that_draws
def test_without_evidence_every_example_and_every_order_can_come(name: str) -> None:
    first = Counter(chosen(name, a_train(6), 2, seed)[0] for seed in range(120))
    assert set(first) == {example.id for example in a_train(6)}
    pairs = {tuple(chosen(name, a_train(2), 2, seed)) for seed in range(30)}
    assert pairs == {("e00", "e01"), ("e01", "e00")}


@each
def test_texts_without_words_and_repeated_ones_are_examples_like_others(name: str) -> None:
    train = tuple(
        Example(id=f"e{k}", inputs=(("text", text),), target="red", group=None)
        for k, text in enumerate(["", "?!", "same", "same", "same"])
    )
    assert set(chosen(name, train, 5, 1)) == {example.id for example in train}


@each
def test_sets_drawn_from_train_are_different_and_hold_nothing_else(name: str) -> None:
    train = a_train()
    sets = draw_sets(train, sizes=(0, 1, 3), n_sets=8, selectors=(name,), seed=0, evidence=NO_EVIDENCE)
    assert (sets[0].id, sets[0].demonstrations) == ("d0000", ())
    assert [shown.id for shown in sets[1:]] == [f"d{n:04d}" for n in range(1, len(sets))]
    assert len({json.dumps(shown.content) for shown in sets}) == len(sets)
    assert {shot.example_id for shown in sets for shot in shown.demonstrations} <= {e.id for e in train}
    assert {shown.selector for shown in sets[1:]} == {name}
    # A pool is the same for every seed, so there is one set of each size.
    expected = [1, 3] if SELECTORS[name].retrieves else [1, 3] * 4
    assert [shown.size for shown in sets[1:]] == expected


@each_that_draws
def test_a_train_that_holds_fewer_sets_gives_fewer(name: str) -> None:
    sets = draw_sets(a_train(2), sizes=(1, 2), n_sets=20, selectors=(name,), seed=0, evidence=NO_EVIDENCE)
    assert len(sets) == 4  # two of one, and two orders of two
    assert [shown.id for shown in sets] == ["d0001", "d0002", "d0003", "d0004"]


@each_that_goes_by
def test_sets_that_go_by_evidence_come_after_the_others_which_stay_what_they_are(name: str) -> None:
    def drawn(evidence: Evidence | None) -> tuple[DemonstrationSet, ...]:
        return draw_sets(
            a_train(), sizes=(0, 2), n_sets=6, selectors=("random", name), seed=4, evidence=evidence
        )

    before, after = drawn(None), drawn(evidence_on(a_train(), [1.0] * 5))
    assert [shown.selector for shown in before] == ["none", "random", "random", "random"]
    assert after[:4] == before
    assert [(shown.id, shown.selector) for shown in after[4:]] == [(f"d{n:04d}", name) for n in (4, 5, 6)]


def test_balanced_deals_target_by_target() -> None:
    train = a_train()
    by_id = {example.id: example.target for example in train}
    for seed in range(10):
        targets = [by_id[one] for one in chosen("balanced", train, 6, seed)]
        assert sorted(targets[:3]) == sorted(targets[3:]) == sorted(LABELS)


def test_an_order_of_its_own_is_a_set_of_its_own() -> None:
    sets = draw_sets(a_train(3), sizes=(3,), n_sets=6, selectors=("random",), seed=1)
    assert len(sets) == 6
    assert len({frozenset(shown.demonstrations) for shown in sets}) == 1


def test_turns_that_a_selector_cannot_take_go_to_the_others() -> None:
    sets = draw_sets(a_train(), sizes=(2,), n_sets=6, selectors=("nearest", "random"), seed=0)
    assert Counter(shown.selector for shown in sets) == {"nearest": 1, "random": 5}


def test_earlier_tiers_come_first_and_targets_take_turns_within_one() -> None:
    train = a_train(9)  # red, green, blue, red, ...
    reds, others = [train[0], train[3]], [train[6], train[1], train[4], train[2]]
    found = taking_turns([reds, others], 5)
    assert [example.id for example in found] == ["e00", "e03", "e01", "e02", "e04"]


# ---- Each by what it is for


def test_diverse_covers_groups_of_like_texts() -> None:
    words = ["parcel late delivery", "refund charge invoice", "crash error screen", "password login account"]
    train = tuple(
        Example(id=f"e{g}{k}", inputs=(("text", f"{group} {k}"),), target=f"free text {g} {k}", group=None)
        for g, group in enumerate(words)
        for k in range(6)
    )
    covered = [len({id_[1] for id_ in chosen("diverse", train, 4, seed)}) for seed in range(20)]
    by_chance = [len({id_[1] for id_ in chosen("random", train, 4, seed)}) for seed in range(20)]
    assert sum(covered) >= 78  # of 80
    assert sum(by_chance) < 60


def test_diverse_deals_targets_evenly_where_they_repeat() -> None:
    by_id = {example.id: example.target for example in a_train()}
    for seed in range(10):
        assert sorted(by_id[one] for one in chosen("diverse", a_train(), 6, seed)) == sorted(LABELS * 2)


def test_hard_takes_what_is_sometimes_right_then_what_is_wrong() -> None:
    train = a_train(8)
    evidence = evidence_on(train, [1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 0.5, 1.0])
    for seed in range(10):
        found = chosen("hard", train, 6, seed, evidence)
        assert (set(found[:2]), set(found[2:4])) == ({"e02", "e06"}, {"e01", "e04"})


def test_hard_counts_an_example_that_two_prompts_answer_differently_as_sometimes_right() -> None:
    wrong, right = (evidence_on(a_train(4), [score] * 4) for score in (0.0, 1.0))
    evidence = Evidence(answers=wrong.answers, reasoned=right.reasoned[1:2])
    assert chosen("hard", a_train(4), 1, 0, evidence) == ["e01"]


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_hard_is_a_balanced_draw_where_all_are_alike(score: float) -> None:
    evidence = evidence_on(a_train(), [score] * 12)
    assert len({tuple(chosen("hard", a_train(), 3, seed, evidence)) for seed in range(20)}) > 10
    by_id = {example.id: example.target for example in a_train()}
    assert sorted(by_id[one] for one in chosen("hard", a_train(), 3, 0, evidence)) == sorted(LABELS)


def test_winners_come_first_then_the_best_of_the_others() -> None:
    evidence = evidence_on(a_train(6), [0.5, 1.0, 0.0, 1.0])
    for seed in range(10):
        found = chosen("winners", a_train(6), 5, seed, evidence)
        assert (set(found[:2]), found[2:4]) == ({"e01", "e03"}, ["e00", "e02"])


def test_bootstrapped_shows_right_answers_with_their_reasoning_and_fills_up_without() -> None:
    train = a_train(5)
    evidence = evidence_on(train, [1.0, 0.0, 1.0, 0.5])
    for seed in range(10):
        found = SELECTORS["bootstrapped"].select(train, 4, seed, evidence)
        assert {(shot.example_id, shot.reasoning) for shot in found[:2]} == {
            ("e00", "so e00"),
            ("e02", "so e02"),
        }
        assert [shot.reasoning for shot in found[2:]] == ["", ""]


def test_nearest_carries_all_of_a_small_train_and_a_balanced_part_of_a_large_one() -> None:
    assert chosen("nearest", a_train(), 2, 0) == [example.id for example in a_train()]
    large = chosen("nearest", a_train(600), 2, 0)
    assert len(large) == 200
    assert max(Counter(int(id_[1:]) % 3 for id_ in large).values()) == 67
