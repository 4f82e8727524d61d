"""Sets made of others: always different, from train, within the limits, with their origin."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.candidate import Demonstration, DemonstrationSet
from optimizer.dataset import Example
from optimizer.demonstrations import as_demonstration
from optimizer.variation import OPERATORS, Operator, vary

laws = settings(max_examples=100, deadline=None)


def a_train(n: int) -> tuple[Example, ...]:
    return tuple(
        Example(id=f"e{k}", inputs=(("text", f"text {k}"),), target=f"t{k % 3}", group=None) for k in range(n)
    )


def a_set(*places: int, retrieved: int = 0) -> DemonstrationSet:
    shots = tuple(as_demonstration(a_train(12)[k]) for k in places)
    return DemonstrationSet(id="d0007", demonstrations=shots, selector="random", retrieved=retrieved)


def ids(shown: DemonstrationSet) -> list[str]:
    return [shot.example_id for shot in shown.demonstrations]


@laws
@given(
    places=st.lists(st.integers(0, 7), unique=True, max_size=6),
    n=st.integers(8, 10),
    seed=st.integers(0, 2**32 - 1),
    most=st.integers(0, 8),
    operators=st.lists(st.sampled_from(OPERATORS), min_size=1, unique=True),
    data=st.data(),
)
def test_a_child_differs_within_the_limits_and_is_of_train_alone(
    places: list[int], n: int, seed: int, most: int, operators: list[Operator], data: st.DataObject
) -> None:
    parent = a_set(*places)
    least = data.draw(st.integers(0, most))
    child = vary(parent, a_train(n), seed, most=most, least=least, operators=operators)
    assert child == vary(parent, a_train(n), seed, most=most, least=least, operators=operators)
    if child is None:
        return
    assert child.content != parent.content
    assert len(set(ids(child))) == len(ids(child))
    assert set(child.demonstrations) <= {as_demonstration(example) for example in a_train(n)}
    assert child.selector in operators
    assert (child.id, child.parents) == ("", ("d0007",))
    step = {"add": 1, "drop": -1}.get(child.selector, 0)
    assert child.size - parent.size == step
    assert not step or least <= child.size <= most
    if child.selector == "reorder":
        assert Counter(ids(child)) == Counter(ids(parent))
    if child.selector == "swap":
        assert len(set(ids(child)) - set(ids(parent))) == 1


@pytest.mark.parametrize(
    ("operator", "places", "n", "most"),
    [
        pytest.param("add", (0, 1), 12, 2, id="add-full"),
        pytest.param("add", (0, 1), 2, 8, id="add-nothing-left"),
        pytest.param("drop", (), 12, 8, id="drop-empty"),
        pytest.param("swap", (), 12, 8, id="swap-empty"),
        pytest.param("swap", (0, 1), 2, 8, id="swap-nothing-left"),
        pytest.param("reorder", (3,), 12, 8, id="reorder-one"),
    ],
)
def test_what_cannot_be_done_gives_no_child(
    operator: Operator, places: tuple[int, ...], n: int, most: int
) -> None:
    assert vary(a_set(*places), a_train(n), 0, most=most, operators=(operator,)) is None


def test_an_operator_that_cannot_work_leaves_its_place_to_one_that_can() -> None:
    children = [vary(a_set(), a_train(5), seed, most=3) for seed in range(20)]
    assert {child.selector for child in children if child is not None} == {"add"}
    assert None not in children


def test_every_operator_and_every_place_comes() -> None:
    children = [vary(a_set(0, 1), a_train(4), seed, most=3) for seed in range(300)]
    shown = {(child.selector, tuple(ids(child))) for child in children if child is not None}
    # Two more at three places, one of two dropped, one of two swapped for one of two, and one other order.
    assert Counter(operator for operator, _ in shown) == {"add": 6, "drop": 2, "swap": 4, "reorder": 1}


def test_moving_among_those_that_say_the_same_is_no_change() -> None:
    same = tuple(Demonstration(example_id=f"e{k}", inputs=(("text", "x"),), target="t") for k in range(3))
    parent = DemonstrationSet(id="d0001", demonstrations=same, selector="random")
    assert vary(parent, a_train(4), 0, most=8, operators=("reorder",)) is None


def test_a_reasoning_stays_with_its_demonstration() -> None:
    shots = tuple(
        Demonstration(example_id=f"e{k}", inputs=(("text", f"text {k}"),), target="t", reasoning=f"so {k}")
        for k in range(3)
    )
    parent = DemonstrationSet(id="d0001", demonstrations=shots, selector="bootstrapped")
    child = vary(parent, a_train(9), 1, most=8, operators=("reorder",))
    assert child is not None
    assert set(child.demonstrations) == set(shots)


def test_where_demonstrations_are_retrieved_their_number_varies_and_the_pool_stays() -> None:
    parent = a_set(*range(6), retrieved=2)
    children = [vary(parent, a_train(12), seed, most=4) for seed in range(30)]
    assert {(c.retrieved, c.selector) for c in children if c is not None} == {(1, "drop"), (3, "add")}
    assert all(c is not None and c.demonstrations == parent.demonstrations for c in children)
    assert vary(a_set(0, 1, retrieved=1), a_train(12), 0, most=1) is None
