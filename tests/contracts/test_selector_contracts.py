"""What every demonstration selector keeps to."""

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.dataset import Example
from optimizer.demonstrations import SELECTORS, as_demonstration, draw_sets

each = pytest.mark.parametrize("name", list(SELECTORS))
few = settings(max_examples=20, deadline=None)

LABELS = ("red", "green", "blue")


def a_train(n: int = 12) -> tuple[Example, ...]:
    return tuple(
        Example(id=f"e{k:02d}", inputs=(("text", f"text {k}"),), target=LABELS[k % 3], group=None)
        for k in range(n)
    )


def chosen(name: str, train: tuple[Example, ...], size: int, seed: int) -> list[str]:
    return [example.id for example in SELECTORS[name].select(train, size, seed)]


@each
@few
@given(data=st.data())
def test_as_many_as_asked_all_different_and_all_given(name: str, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    size, seed = data.draw(st.integers(1, n)), data.draw(st.integers(0, 2**32 - 1))
    train = a_train(n)
    found = SELECTORS[name].select(train, size, seed)
    assert len(found) == len({example.id for example in found}) == size
    assert all(example in train for example in found)


@each
def test_the_examples_themselves_are_left_as_they_are(name: str) -> None:
    train = list(a_train())
    SELECTORS[name].select(train, 4, 0)
    assert train == list(a_train())


@each
def test_the_same_seed_selects_the_same_in_the_same_order(name: str) -> None:
    assert chosen(name, a_train(), 5, 3) == chosen(name, a_train(), 5, 3)
    assert len({tuple(chosen(name, a_train(), 5, seed)) for seed in range(20)}) > 10


@each
def test_another_process_selects_the_same(name: str) -> None:
    program = f"""
from optimizer.dataset import Example
from optimizer.demonstrations import SELECTORS
train = [Example(id=f"e{{k:02d}}", inputs=(("text", f"text {{k}}"),), target={LABELS!r}[k % 3], group=None) for k in range(12)]
print([e.id for e in SELECTORS[{name!r}].select(train, 5, 3)])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(chosen(name, a_train(), 5, 3))


@each
def test_every_example_and_every_order_can_come(name: str) -> None:
    first = Counter(chosen(name, a_train(6), 2, seed)[0] for seed in range(120))
    assert set(first) == {example.id for example in a_train(6)}
    pairs = {tuple(chosen(name, a_train(2), 2, seed)) for seed in range(30)}
    assert pairs == {("e00", "e01"), ("e01", "e00")}


@each
def test_sets_drawn_from_train_are_different_and_hold_nothing_else(name: str) -> None:
    train = a_train()
    sets = draw_sets(train, sizes=(0, 1, 3), n_sets=8, selectors=(name,), seed=0)
    assert (sets[0].id, sets[0].demonstrations) == ("d0000", ())
    assert [shown.id for shown in sets[1:]] == [f"d{n:04d}" for n in range(1, 9)]
    assert [len(shown.demonstrations) for shown in sets[1:]] == [1, 3] * 4
    assert len({shown.demonstrations for shown in sets}) == 9
    assert {shot for shown in sets for shot in shown.demonstrations} <= {as_demonstration(e) for e in train}
    assert {shown.selector for shown in sets[1:]} == {name}


@each
def test_a_train_that_holds_fewer_sets_gives_fewer(name: str) -> None:
    sets = draw_sets(a_train(2), sizes=(1, 2), n_sets=20, selectors=(name,), seed=0)
    assert len(sets) == 4  # two of one, and two orders of two
    assert [shown.id for shown in sets] == ["d0001", "d0002", "d0003", "d0004"]


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
