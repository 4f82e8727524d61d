"""Comparisons of many: each figure against an independent computation, and how often chance alone is taken for more."""

import gzip
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from optimizer.answer import Answer
from optimizer.commands._looking import table_lines
from optimizer.commands._matrix import _cheapest, _fastest, matrix_lines, scores_csv, sentences
from optimizer.commands._tune import transfer_lines
from optimizer.commands.compare import _say
from optimizer.comparison import Cell, Comparison, Contender, Usage, compare_evaluations, compare_recorded
from optimizer.completion import Completion
from optimizer.dataset import Example
from optimizer.elision import told_apart, width
from optimizer.errors import InputError
from optimizer.evaluation import Evaluation, Result, Scorer
from optimizer.gradebook import Gradebook, read_gradebook
from optimizer.plan import load_examples
from optimizer.significance import Interval, PairedComparison, compare_paired, wilson
from optimizer.ties import against_baseline, against_best
from optimizer.transfer import Transfer, transfers

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 9, test: 6}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search: {styles: [direct], formats: [plain]}
budget: {calls: 700}
"""


def book_of(
    rows: Mapping[str, Sequence[float]], groups: dict[str, str] | None = None, model: str = ""
) -> Gradebook:
    scores = {
        (name, model): {f"e{k:03d}": float(score) for k, score in enumerate(row)}
        for name, row in rows.items()
    }
    return Gradebook(file="scores.csv", scores=scores, groups=groups or {})


def normal(difference: float, *, spread: float = 1.0) -> PairedComparison:
    """Return a comparison whose test and interval are those of a normal difference, scaled down into [-1, 1]."""
    half = 1.96 * spread
    return PairedComparison(
        n=100,
        difference=difference / 100,
        interval=Interval(lower=(difference - half) / 100, upper=(difference + half) / 100, level=0.95),
        p_value=math.erfc(abs(difference) / spread / math.sqrt(2)),
        method="normal",
    )


# ---- Against independent computations --------------------------------------------------------------------------------


def test_gains_are_exact_mcnemar_tests_corrected_by_holm() -> None:
    rng = np.random.default_rng(3)
    rows = {
        f"p{k}": (rng.random(80) < share).astype(int).tolist()
        for k, share in enumerate((0.5, 0.55, 0.7, 0.9))
    }
    found = compare_recorded(book_of(rows))
    expected = []
    for name in ("p1", "p2", "p3"):
        pairs = list(zip(rows["p0"], rows[name], strict=True))
        table = [[pairs.count((a, b)) for b in (0, 1)] for a in (0, 1)]
        expected.append(float(reference_mcnemar(table, exact=True).pvalue))
    _, adjusted, _, _ = multipletests(expected, method="holm")
    contests = [cell.gain for cell in found.cells[1:]]
    assert [c.comparison.p_value for c in contests if c] == pytest.approx(expected)
    assert [c.adjusted for c in contests if c] == pytest.approx(list(adjusted))
    assert found.cells[0].gain is None
    assert [c.decision for c in contests if c][-1] == "better"
    for name, cell in zip(rows, found.cells, strict=True):
        assert cell.contender.score == pytest.approx(np.mean(rows[name]))
        assert cell.contender.interval == wilson(sum(rows[name]), 80)


def test_the_best_is_compared_with_each_other_at_the_price_of_having_been_chosen() -> None:
    rows = {"a": [1] * 30 + [0] * 10, "b": [1] * 20 + [0] * 20, "c": [1] * 28 + [0] * 12}
    found = compare_recorded(book_of(rows))
    assert found.cells[found.best].name == "a"
    raw = [binomtest(0, 10, 0.5).pvalue, binomtest(0, 2, 0.5).pvalue]
    _, adjusted, _, _ = multipletests([min(1.0, 1.5 * p) for p in raw], method="holm")
    behind = [cell.behind for cell in found.cells]
    assert behind[0] is None
    assert [b.adjusted for b in behind[1:] if b] == pytest.approx(list(adjusted))
    assert [cell.name for cell in found.ties] == ["a", "c"]
    assert [cell.name for cell in found.ranked] == ["a", "c", "b"]


def test_of_two_the_choice_costs_nothing() -> None:
    comparison = compare_paired([0] * 12 + [1] * 20, [1] * 32, seed=0)
    (contest,) = against_best([comparison])
    assert contest.adjusted == comparison.p_value
    assert against_baseline([comparison]) == (contest,)
    assert (against_best([]), against_baseline([])) == ((), ())


def test_relatives_are_counted_together() -> None:
    # Ten families of eight stand or fall together: eighty examples that tell as much as ten.
    rows = {"a": [1] * 40 + [0] * 40, "b": [1] * 64 + [0] * 16}
    groups = {f"e{k:03d}": f"g{k // 8}" for k in range(80)}
    alone, grouped = compare_recorded(book_of(rows)), compare_recorded(book_of(rows, groups))
    gains = [found.cells[1].gain for found in (alone, grouped)]
    assert [gain.decision for gain in gains if gain] == ["better", "not distinguishable"]
    # Three families of ten changed, all for the better: 2 of 2^3 patterns of signs are as extreme.
    assert gains[1] is not None
    assert gains[1].comparison.p_value == pytest.approx(2 / 2**3)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([0, 1]), min_size=6, max_size=6), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_every_cell_has_its_place_whatever_the_scores(rows: list[list[int]], baseline: int) -> None:
    at = min(baseline, len(rows) - 1)
    found = compare_recorded(book_of({f"p{k}": row for k, row in enumerate(rows)}), baseline=at)
    scores = [cell.contender.score for cell in found.cells]
    assert scores[found.best] == max(scores)
    assert [cell.gain is None for cell in found.cells] == [k == at for k in range(len(rows))]
    assert [cell.behind is None for cell in found.cells] == [k == found.best for k in range(len(rows))]
    assert found.cells[found.best] in found.ties
    for cell in found.cells:
        assert cell.tied or cell.contender.score < max(scores)
        for contest in (cell.gain, cell.behind):
            assert contest is None or contest.adjusted >= contest.comparison.p_value
    # The highest scores are the front where nothing else is known.
    assert [cell.front for cell in found.cells] == [score == max(scores) for score in scores]


# ---- How often chance is taken for more ------------------------------------------------------------------------------


def rate(looks: Sequence[bool]) -> float:
    return sum(looks) / len(looks)


def test_among_equals_hardly_ever_is_one_called_better_or_worse() -> None:
    k, looks = 6, 3000
    draws = np.random.default_rng(11).normal(size=(looks, k))
    naive, chosen, named = [], [], []
    for row in draws:
        best = int(row.argmax())
        behind = [normal(value - row[best], spread=2**0.5) for j, value in enumerate(row) if j != best]
        naive.append(any(each.decision == "worse" for each in against_baseline(behind)))
        chosen.append(any(each.decision == "worse" for each in against_best(behind)))
        gains = against_baseline([normal(value - row[0], spread=2**0.5) for value in row[1:]])
        named.append(any(each.decision != "not distinguishable" for each in gains))
    noise = 3 * (0.05 * 0.95 / looks) ** 0.5
    assert rate(chosen) <= 0.05 + noise
    assert rate(named) <= 0.05 + noise
    # Not for nothing: with Holm alone the choice of the best by the same scores doubles the error.
    assert rate(naive) > 0.07
    assert rate(chosen) > 0.02


def test_equals_of_the_best_are_kept_whatever_lies_far_behind() -> None:
    looks, far = 2000, np.array([0, 0, 0, -9, -9, -9])
    draws = np.random.default_rng(12).normal(size=(looks, len(far))) + far
    lost = []
    for row in draws:
        best = int(row.argmax())
        others = [j for j in range(len(far)) if j != best]
        behind = against_best([normal(row[j] - row[best], spread=2**0.5) for j in others])
        worse = {j for j, each in zip(others, behind, strict=True) if each.decision == "worse"}
        assert {3, 4, 5} <= worse
        lost.append(bool(worse & {0, 1, 2}))
    assert rate(lost) <= 0.05 + 3 * (0.05 * 0.95 / looks) ** 0.5


def test_recorded_scores_of_equals_are_told_apart_in_few_tables() -> None:
    rng, looks, wrong = np.random.default_rng(5), 150, []
    for _ in range(looks):
        ease = rng.random(40)
        rows = {f"p{k}": (rng.random(40) < ease).astype(int).tolist() for k in range(4)}
        found = compare_recorded(book_of(rows))
        gains = [cell.gain for cell in found.cells if cell.gain]
        apart = any(gain.decision != "not distinguishable" for gain in gains)
        wrong.append(apart or len(found.ties) < 4)
    assert rate(wrong) <= 0.1 + 3 * (0.1 * 0.9 / looks) ** 0.5  # two families, each at 0.05


def test_the_least_p_value_says_how_many_can_be_told_apart() -> None:
    draw = compare_paired([0] * 60, [1] * 60, seed=0)
    assert against_best([draw] * 4)[0].adjusted == pytest.approx(draw.p_value * 4 * 5 / 2)
    least = replace(draw, p_value=1 / 1000)  # of 2,000 resamples
    assert against_best([least] * 11)[0].adjusted == pytest.approx(0.066)


# ---- Evaluations -----------------------------------------------------------------------------------------------------


@pytest.fixture
def scorer_and_examples(write_study: Callable[..., Path]) -> tuple[Scorer, tuple[Example, ...]]:
    path = write_study(TASK, STUDY, items=21)
    task, dataset = load_examples(path.with_name("task.yaml"))
    return Scorer.of(task), dataset.test


def evaluation_of(
    scorer: Scorer, examples: Sequence[Example], answers: Sequence[str | None], **used: float
) -> Evaluation:
    """Return an evaluation of some answers; an empty one could not be read, None was never given."""
    results = []
    for k, (example, text) in enumerate(zip(examples, answers, strict=True)):
        if text is None:
            answer, score = Answer(text=None, outcome="error"), None
        else:
            answer = Answer(text=text or None, outcome="ok" if text else "invalid")
            score = float(text == example.target)
        done = Completion(
            text=text or "",
            prompt_tokens=10,
            completion_tokens=2,
            seconds=used.get("seconds", 0.0) * (k + 1),
            cost_usd=used.get("cost"),
        )
        results.append(
            Result(
                example=example,
                answer=answer,
                score=score,
                completions=() if text is None else (done,),
                error="" if text is not None else "no answer",
            )
        )
    return Evaluation(fingerprint="f", results=tuple(results), scorer=scorer)


def test_what_one_cell_was_not_answered_counts_for_none(
    scorer_and_examples: tuple[Scorer, tuple[Example, ...]],
) -> None:
    scorer, examples = scorer_and_examples
    right = [example.target for example in examples]
    whole = evaluation_of(scorer, examples, right, seconds=1.0, cost=0.001)
    # The first was never answered, the second cannot be read.
    part = evaluation_of(scorer, examples, [None, "", *right[2:]], seconds=0.5)
    found = compare_evaluations([("p", "a", whole), ("p", "b", part)], examples, scorer)
    assert found is not None
    assert found.left_out == (examples[0].id,)
    assert len(found.examples) == 5
    first, second = (cell.contender for cell in found.cells)
    assert (first.score, second.score) == (1.0, 0.8)
    assert first.usage is not None
    assert second.usage is not None
    # Of the shared examples, which are the second to the sixth.
    assert (first.usage.seconds, first.usage.seconds_mean) == (4.0, 4.0)
    assert (first.usage.tokens_in, first.usage.tokens_out) == (10.0, 2.0)
    assert first.usage.cost == pytest.approx(0.001)
    assert second.usage.cost is None
    assert (second.usage.invalid, second.usage.strict, second.usage.errors) == (0.2, 0.8, 1)
    assert second.scores.keys() == {example.id for example in examples[1:]}
    assert found.cells[1].gain is not None
    assert found.cells[1].gain.comparison.n == 5
    # Dearer and slower, but better; the other might cost nothing.
    assert [cell.front for cell in found.cells] == [True, True]
    assert any("1 of 6 examples are left out" in said for said in sentences(found))


def test_without_a_shared_example_there_is_no_comparison(
    scorer_and_examples: tuple[Scorer, tuple[Example, ...]],
) -> None:
    scorer, examples = scorer_and_examples
    right = [example.target for example in examples]
    one = evaluation_of(scorer, examples, [*right[:3], None, None, None])
    other = evaluation_of(scorer, examples, [None, None, None, *right[3:]])
    assert compare_evaluations([("p", "a", one), ("p", "b", other)], examples, scorer) is None


def test_what_has_no_score_takes_nothing_from_the_others(
    scorer_and_examples: tuple[Scorer, tuple[Example, ...]],
) -> None:
    scorer, examples = scorer_and_examples
    right = [example.target for example in examples]
    whole = evaluation_of(scorer, examples, right)
    wrong = evaluation_of(scorer, examples, ["", *right[1:]])
    nothing = evaluation_of(scorer, examples, [None] * 6)
    rows: list[tuple[str, str, Evaluation | str]] = [("p", "gone", "wrong key."), ("p", "a", whole)]
    rows += [("p", "b", wrong), ("p", "refusing", nothing)]
    found = compare_evaluations(rows, examples, scorer, baseline=2)
    assert found is not None
    assert (found.examples, found.left_out) == (tuple(example.id for example in examples), ())
    assert [cell.name for cell in found.cells] == ["p@a", "p@b"]
    assert found.cells[found.baseline].name == "p@b"
    assert found.cells[0].gain is not None
    assert [(each.name, each.reason, each.baseline) for each in found.absent] == [
        ("p@gone", "wrong key.", False),
        ("p@refusing", "6 of 6 examples failed; no answer", False),
    ]
    lines = list(matrix_lines(found))
    assert lines[3:5] == [
        f"   p      {model:<8}  no score: it is not compared, and why is said below"
        for model in ("gone", "refusing")
    ]
    said = sentences(found)
    assert said[-2].startswith(
        "p@gone has no score and takes no part: wrong key. Once that is mended the same command"
    )
    assert json.loads(json.dumps(found.figures))["absent"][1] == {
        "cell": "p@refusing",
        "prompt": "p",
        "model": "refusing",
        "reason": "6 of 6 examples failed; no answer",
    }
    # Without the one that the others were to be compared with, they are with the first that has a score.
    found = compare_evaluations(rows, examples, scorer)
    assert found is not None
    assert found.cells[found.baseline].name == "p@a"
    assert "The others were to be compared with it; they are compared with p@a in its place." in sentences(
        found
    )
    assert compare_evaluations([rows[0], rows[3]], examples, scorer) is None


def test_tokens_that_some_answer_does_not_state_are_not_known(
    scorer_and_examples: tuple[Scorer, tuple[Example, ...]],
) -> None:
    scorer, examples = scorer_and_examples
    whole = evaluation_of(scorer, examples, [example.target for example in examples])
    first, *others = whole.results
    untold = replace(first, completions=(Completion(text="red"),))
    part = replace(whole, results=(untold, *others))
    found = compare_evaluations([("p", "a", whole), ("p", "b", part)], examples, scorer)
    assert found is not None
    used = [cell.contender.usage for cell in found.cells]
    assert [each and (each.tokens_in, each.tokens_out) for each in used] == [(10.0, 2.0), (None, None)]
    lines = list(matrix_lines(found))
    assert [line.split()[-3] for line in lines[1:3]] == ["10+2", "-"]


def test_what_travels_is_compared_with_the_prompt_that_was_tuned_for_the_model(
    scorer_and_examples: tuple[Scorer, tuple[Example, ...]],
) -> None:
    scorer, examples = scorer_and_examples
    right = [example.target for example in examples]
    wrong = ["red" if target != "red" else "blue" for target in right]
    best = evaluation_of(scorer, examples, right)
    worst = replace(evaluation_of(scorer, examples, wrong), fingerprint="g")
    found = {("a", "a"): best, ("b", "a"): worst, ("a", "b"): best, ("b", "b"): best, ("a", "c"): worst}
    moved = {(each.prompt, each.model): each for each in transfers(found, examples, scorer)}
    assert {pair for pair, each in moved.items() if each.loss} == {("b", "a")}
    assert {pair for pair, each in moved.items() if each.same} == {("a", "a"), ("a", "b"), ("b", "b")}
    loss = moved["b", "a"].loss
    assert loss is not None
    assert (loss.comparison.difference, loss.adjusted, loss.decision) == (-1.0, 2 / 2**6, "worse")
    lines = list(transfer_lines(tuple(moved.values()), {"b@c": "the model lacks choice"}))
    assert lines[0].split() == ["tuned", "for", "a", "b", "c"]
    assert lines[1].split() == ["a", "1.000", "own", "1.000", "same", "0.000"]
    assert lines[2].split() == ["b", "0.000", "-100.0", "worse", "1.000", "own", "-"]
    assert lines[-1] == "- b@c cannot be asked: the model lacks choice"
    many = [replace(moved["b", "a"], prompt="p" * 40, model=f"{k}" + "m" * 40) for k in range(7)]
    assert max(map(len, transfer_lines(many, {}))) <= 120


# ---- Recorded scores -------------------------------------------------------------------------------------------------


def test_a_column_of_models_makes_cells_of_both(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv.gz"
    text = "prompt_id,model,example_id,score,style\np,m,e1,1,x\np,n,e1,0.5,y\np,m,e2,0,x\np,n,e2,1,y\np,n,e3,1,y\n"
    path.write_bytes(gzip.compress(text.encode()))
    book = read_gradebook(path)
    found = compare_recorded(book, baseline=1)
    assert [cell.name for cell in found.cells] == ["p@m", "p@n"]
    assert (found.examples, found.left_out) == (("e1", "e2"), ("e3",))
    assert [cell.contender.score for cell in found.cells] == [0.5, 0.75]
    assert found.cells[1].gain is None
    lines = tmp_path / "scores.jsonl"
    rows = [
        {"prompt_id": "p", "example_id": "e", "score": 1},
        {"prompt_id": "q", "example_id": "e", "score": 0},
    ]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [cell.name for cell in compare_recorded(read_gradebook(lines)).cells] == ["p", "q"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "prompt_id,example_id,scor\np,e,1\n",
            ["scores.csv:1: score: expected a column of this name, found none; did you mean 'scor'?"],
        ),
        ("prompt_id,example_id,score\n", ["scores.csv: expected at least one score, found none"]),
        (
            "prompt_id,model,example_id,score\np,m,e,1.5\np,,f,1\np,m,e,1\n",
            [
                "scores.csv:2: score: expected a score in [0, 1], found 1.5",
                "scores.csv:3: model: expected some text, found none",
                "scores.csv:4: example_id: expected one score of 'p' on this example, found another on line 2",
            ],
        ),
        (
            "prompt_id,example_id,score,group\np,e,1,a\nq,e,1,b\n",
            ["scores.csv:3: group: expected 'a' as in the other rows of this example, found 'b'"],
        ),
        (
            "prompt_id,example_id,score\np,e,1\nq,f,1\n",
            ["scores.csv: example_id: expected an example that every prompt has a score for, found none"],
        ),
    ],
)
def test_every_mistake_of_a_table_is_told(
    tmp_path: Path, content: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "scores.csv"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_gradebook(path)
    assert [str(problem) for problem in caught.value.problems] == told


# ---- Words -----------------------------------------------------------------------------------------------------------


def test_the_table_fits_a_terminal_and_marks_best_and_ties() -> None:
    rows = {"a very long name of a prompt indeed": [1] * 40, "b\nc": [1] * 39 + [0], "d": [0] * 40}
    found = compare_recorded(book_of(rows, model="an even longer name of a model"), baseline=2)
    head, *lines = matrix_lines(found)
    assert head.split() == ["prompt", "model", "score", "95", "%", "interval", "gain"]
    assert all(len(line) <= 120 for line in (head, *lines))
    assert [line[0] for line in lines[:3]] == ["*", "≈", " "]
    assert "a very long…mpt indeed an even lon…of a model" in lines[0]
    assert lines[1].split()[1:3] == ["b", "c"]
    assert "+100.0 better" in lines[0]
    assert lines[2].endswith("baseline")
    said = " ".join(sentences(found))
    assert "The data cannot tell it from b" in said
    assert "Compared with d@an even longer name of a model, 2 better." in said


LONG = st.builds(
    lambda front, middle, back: front + middle + back,
    st.sampled_from(["", "customer_support_triage_", "openai/gpt-4o-mini-"]),
    st.text(alphabet="ab \n…(2)", max_size=30),
    st.sampled_from(["", "_v1", "_v2", "-2024-07-18-preview-of-it"]),
)


@given(names=st.lists(LONG, max_size=6), longest=st.integers(5, 24))
def test_no_two_names_of_a_table_look_alike(names: list[str], longest: int) -> None:
    shown = told_apart(names, longest)
    assert list(shown) == list(dict.fromkeys(names))
    assert len(set(shown.values())) == len(shown)
    lines = {name: " ".join(name.split()) for name in names}
    for name, text in shown.items():
        assert "\n" not in text
        if len(lines[name]) <= longest and list(lines.values()).count(lines[name]) == 1:
            assert text == lines[name] or text.startswith(f"{lines[name]} (")


@given(ends=st.sets(st.text(alphabet="0123456789ab", min_size=1, max_size=6), min_size=2, max_size=5))
def test_names_that_differ_at_their_ends_alone_are_short_and_told_apart(ends: set[str]) -> None:
    shown = told_apart(["customer_support_triage_" + end for end in sorted(ends)], 22)
    assert len(set(shown.values())) == len(ends)
    assert {len(text) for text in shown.values()} == {22}


def test_what_is_alike_without_its_middle_stands_in_full_and_what_is_alike_in_full_is_numbered() -> None:
    names = ["openai/gpt-4o-2024-07-18-preview", "openai/gpt-4o-2025-07-18-preview", "a  b", "a b"]
    assert list(told_apart(names, 22).values()) == [*names[:2], "a b", "a b (2)"]


@pytest.mark.parametrize("apart", ["end", "middle"])
def test_rows_of_prompts_and_models_with_a_common_beginning_are_told_apart(apart: str) -> None:
    names = {
        "end": ("customer_support_triage_v1", "customer_support_triage_v2"),
        "middle": ("customer_support_v1_of_the_triage", "customer_support_v2_of_the_triage"),
    }[apart]
    models = ("openai/gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini-2025-01-01")
    row = {f"e{k}": float(k % 2) for k in range(20)}
    scores = {(name, model): row for name in names for model in models}
    head, *lines = matrix_lines(compare_recorded(Gradebook(file="", scores=scores, groups={})))
    shown = [line[: head.index("  score")][2:] for line in lines[:4]]
    assert len(set(shown)) == 4
    if apart == "middle":
        assert all(any(name in line for name in names) for line in shown)
    moved = [
        Transfer(prompt=one, model=other, score=0.5, same=one == other, loss=None)
        for one in models
        for other in models
    ]
    head, *lines = transfer_lines(moved, {})
    assert len(set(head.split()[2:])) == 2
    assert [line.split()[0] for line in lines[:2]] == head.split()[2:]


def test_what_a_comparison_used_is_told_however_little_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    found = compare_recorded(book_of({"a": [1, 0], "b": [1, 1]}))
    known = {"calls": 2, "prompt_tokens": 9, "cached": 0, "usd": 0.0000123}
    _say(found, [], {"asked": {"a": {"spent": known}}})
    assert "used 2 calls, 0.0000123 US dollars; 0 answers from the store" in capsys.readouterr().out
    free, unknown = {**known, "usd": 0.0}, {**known, "usd": None}
    for used, told in (
        ((known, unknown), ", at least 0.0000123 US dollars, the price of 1 cell not known"),
        ((unknown, unknown, free), ", the price of 2 cells not known"),
        # All of it came from the store, or was refused.
        ((known, {**unknown, "prompt_tokens": 0}), ", 0.0000123 US dollars"),
        ((free,), ""),
    ):
        _say(found, [], {"asked": {str(k): {"spent": each} for k, each in enumerate(used)}})
        assert f"used {2 * len(used)} calls{told}; 0 answers" in capsys.readouterr().out


def test_sentences_name_the_cheapest_and_the_fastest_of_those_that_tie(
    scorer_and_examples: tuple[Scorer, tuple[Example, ...]],
) -> None:
    scorer, examples = scorer_and_examples
    right = [example.target for example in examples]

    def said(*cells: Evaluation) -> str:
        rows = [("p", name, cell) for name, cell in zip("abc", cells, strict=False)]
        found = compare_evaluations(rows, examples, scorer)
        assert found is not None
        return " ".join(sentences(found))

    dear = evaluation_of(scorer, examples, right, seconds=1.0, cost=0.002)
    cheap = evaluation_of(scorer, examples, right, seconds=2.0, cost=0.001)
    unpriced = evaluation_of(scorer, examples, right, seconds=3.0)
    told = said(dear, cheap, unpriced)
    assert "The data cannot tell it from p@b and p@c; that does not say they are equal." in told
    assert (
        "The cheapest of these (1 without a known price) is p@b, at 1.00 US dollars for 1,000 examples."
        in told
    )
    assert "The fastest of these is p@a, at 3.50 seconds an example (median)." in told
    assert "No price is known of any of these." in said(unpriced, unpriced)
    assert "All of these cost the same, 2.00 US dollars for 1,000 examples." in said(dear, dear)
    assert "It costs 2.00 US dollars for 1,000 examples. It takes 3.50 seconds" in said(dear)


def test_the_file_of_scores_has_an_example_a_row_and_a_cell_a_column() -> None:
    scores = {("p", "m"): {"e2": 1.0, "e1": 0.25}, ("q,r", "m"): {"e1": 1.0}}
    found = compare_recorded(Gradebook(file="", scores=scores, groups={}))
    assert scores_csv(found) == 'example_id,p@m,"q,r@m"\ne1,0.25,1.0\ne2,1.0,\n'


def test_the_figures_are_plain_json() -> None:
    found: Comparison = compare_recorded(book_of({"a": [1, 0, 0.5], "b": [1, 1, 1]}))
    figures = json.loads(json.dumps(found.figures, allow_nan=False))
    assert figures["best"] == "b"
    assert figures["baseline"] == "a"
    assert figures["cells"][0]["gain"] is None
    assert figures["cells"][1]["gain"]["decision"] == "not distinguishable"
    assert figures["cells"][1]["behind"] is None


def cell(name: str, cost: float, seconds: float) -> Cell:
    usage = Usage(
        invalid=0, strict=1, tokens_in=1, tokens_out=1, seconds=seconds, seconds_mean=seconds, cost=cost,
        errors=0, outcomes={},
    )  # fmt: skip
    contender = Contender(prompt=name, model="m", score=1.0, interval=None, scores={}, usage=usage)
    return Cell(contender=contender, gain=None, behind=None, front=True)


def test_of_several_that_cost_or_take_the_least_all_are_named() -> None:
    cells = [cell("a", 0.09996, 0.5), cell("b", 0.09996, 0.5), cell("z", 0.5, 0.5)]
    assert list(_cheapest(cells)) == [
        "The cheapest of these are a@m and b@m, at 100 US dollars for 1,000 examples."
    ]
    assert list(_fastest(cells)) == ["All of these take the same time, 0.500 seconds an example (median)."]
    one, *_ = cells
    assert list(_fastest([one, cell("c", 0.1, 0.7)])) == [
        "The fastest of these is a@m, at 0.500 seconds an example (median)."
    ]


def test_wide_characters_and_marks_keep_the_columns() -> None:
    rows = {"出荷の問い合わせ": [1, 1], "e\u0301tat": [1, 0], "plain": [0, 0]}
    _, *lines = matrix_lines(compare_recorded(book_of(rows)))
    ends = {width(line.split("  0.")[0].split("  1.")[0]) for line in lines[:3]}
    assert len(ends) == 1
    table = list(table_lines(("a", "b"), [("出荷", "x"), ("ab", "y")]))
    assert table == ["a     b", "出荷  x", "ab    y"]
