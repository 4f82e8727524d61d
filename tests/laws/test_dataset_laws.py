"""Laws of splits: nobody in two of them, relatives together, sizes as asked, the order of rows of no matter."""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.dataset import Dataset, Example, load_dataset
from optimizer.document import Located
from optimizer.task import Task
from optimizer.taskfile import DatasetSpec, Splits

LABELS = ("red", "green", "blue")
SHARES = Splits(train=0.2, validation=0.4, test=0.4)


class Row(NamedTuple):
    text: str
    color: str
    source: str = ""


def load(rows: Sequence[Row], *, splits: Splits = SHARES, seed: int = 0) -> Dataset:
    spec = DatasetSpec(
        inputs=("text",), target="color", splits=splits, path="d.jsonl", group="source", seed=seed
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d.jsonl")
        path.write_text("".join(json.dumps(row._asdict()) + "\n" for row in rows), encoding="utf-8")
        task = Task(
            name="colors",
            version="1",
            description="",
            language="en",
            inputs=("text",),
            target="color",
            output="label",
            labels=LABELS,
            label_descriptions=("", "", ""),
            metric="accuracy",
            metrics=(),
            instruction="Name the color.",
            dataset=spec,
            paths=(path,),
            source=Located(value={}, file="task.yaml", marks={}),
        )
        return load_dataset(task)


def splits_of(dataset: Dataset) -> tuple[tuple[Example, ...], ...]:
    return dataset.train, dataset.validation, dataset.test


def singles(labels: Sequence[str]) -> list[Row]:
    return [Row(text=f"row {n}", color=label) for n, label in enumerate(labels)]


@st.composite
def related_rows(draw: st.DrawFn) -> list[Row]:
    """Few texts, written in several ways, and few groups; beside them enough single rows for every minimum."""
    numbers = draw(st.lists(st.integers(0, 30), max_size=40))
    rows = singles([LABELS[n % 3] for n in range(45)])
    for n in numbers:
        text = draw(st.sampled_from([f"twin {n}", f"TWIN {n}", f" twin  {n}\n"]))
        rows.append(
            Row(text=text, color=LABELS[n % 3], source=draw(st.sampled_from(["", "", "p", "q", "r"])))
        )
    return rows


seeds = st.integers(0, 2**32)
labels = st.lists(st.sampled_from(LABELS), min_size=20, max_size=60)
skewed = st.lists(st.sampled_from(["red"] * 8 + ["green", "blue"]), min_size=20, max_size=60)


@st.composite
def counts_for(draw: st.DrawFn, n: int) -> tuple[int, int, int]:
    test = draw(st.integers(6, n - 5))
    validation = draw(st.integers(5, n - test))
    return draw(st.integers(0, n - test - validation)), validation, test


@settings(max_examples=40, deadline=None)
@given(related_rows(), seeds, seeds)
def test_the_order_of_rows_never_matters(rows: list[Row], seed: int, order: int) -> None:
    shuffled = Random(order).sample(rows, len(rows))
    here, there = load(rows, seed=seed), load(shuffled, seed=seed)
    assert here == there
    assert here.digest == there.digest


@settings(max_examples=40, deadline=None)
@given(related_rows(), seeds)
def test_every_example_is_in_one_split_and_its_relatives_are_too(rows: list[Row], seed: int) -> None:
    splits = splits_of(load(rows, seed=seed))
    ids = [example.id for split in splits for example in split]
    assert len(ids) == len(set(ids)) == len(rows)
    for relatives in (
        [{" ".join(example.values["text"].casefold().split()) for example in split} for split in splits],
        [{example.group for example in split} - {None} for split in splits],
    ):
        assert sum(map(len, relatives)) == len(set().union(*relatives))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), seeds)
def test_what_differs_in_a_letter_is_in_one_split(chance: int, seed: int) -> None:
    random = Random(chance)
    bases = ["".join(random.choices("abcdefghijklmnopqrst ", k=120)) for _ in range(20)]
    texts = {
        base: [base[:n] + "z" + base[n + 1 :] for n in random.sample(range(120), 2)] for base in bases[:10]
    }
    rows = [Row(text=text, color="red") for base in bases for text in (base, *texts.get(base, ()))]
    home = {e.values["text"]: n for n, split in enumerate(splits_of(load(rows, seed=seed))) for e in split}
    for base, others in texts.items():
        assert {home[other] for other in others} == {home[base]}


@settings(max_examples=40, deadline=None)
@given(related_rows())
def test_rows_of_one_source_share_one_group(rows: list[Row]) -> None:
    groups = {example.values["text"]: example.group for split in splits_of(load(rows)) for example in split}
    for source in ("p", "q", "r"):
        assert len({groups[row.text] for row in rows if row.source == source}) <= 1


@settings(max_examples=40, deadline=None)
@given(st.data(), labels | skewed, seeds)
def test_counts_are_exact_and_each_label_has_its_share(
    data: st.DataObject, given: list[str], seed: int
) -> None:
    counts = data.draw(counts_for(len(given)))
    dataset = load(
        singles(given), splits=Splits(train=counts[0], validation=counts[1], test=counts[2]), seed=seed
    )
    splits = splits_of(dataset)
    assert tuple(map(len, splits)) == counts
    for label, n in Counter(given).items():
        for split, count in zip(splits, counts, strict=True):
            found = sum(example.target == label for example in split)
            assert abs(found - n * count / len(given)) < 2


@settings(max_examples=40, deadline=None)
@given(labels | skewed, seeds)
def test_shares_are_exact_but_for_rounding_and_leave_nobody_out(given: list[str], seed: int) -> None:
    dataset = load(singles(given), seed=seed)
    assert sum(map(len, splits_of(dataset))) == len(given)
    for split, share in zip(splits_of(dataset), SHARES.values, strict=True):
        assert abs(len(split) - float(share) * len(given)) < 1


@settings(max_examples=40, deadline=None)
@given(labels | skewed, seeds)
def test_every_prefix_is_balanced_as_long_as_all_labels_have_examples(given: list[str], seed: int) -> None:
    for split in splits_of(load(singles(given), seed=seed)):
        left = Counter(example.target for example in split)
        dealt = Counter(dict.fromkeys(left, 0))
        for example in split:
            dealt[example.target] += 1
            with_some_left = [dealt[label] for label in left if dealt[label] < left[label]] or [0]
            assert max(with_some_left) - min(with_some_left) <= 1
            if all(dealt[label] <= min(left.values()) for label in left):
                assert max(dealt.values()) - min(dealt.values()) <= 1


@settings(max_examples=40, deadline=None)
@given(labels, seeds)
def test_a_smaller_test_is_a_part_of_a_larger_one_within_each_label(given: list[str], seed: int) -> None:
    small = load(singles(given), splits=Splits(train=0, validation=5, test=6), seed=seed)
    large = load(singles(given), splits=Splits(train=0, validation=5, test=12), seed=seed)
    for label in LABELS:
        fewer, more = ({e.id for e in dataset.test if e.target == label} for dataset in (small, large))
        assert fewer <= more or more <= fewer
