"""A study file, read and checked: its bounds, its identity, its mistakes."""

import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import pytest

from optimizer.calls import Budget
from optimizer.errors import InputError
from optimizer.plan import Bounds, StudyPlan, load_plan

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 9, test: 12}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json, parameters: {temperature: 0}}
search:
  instructions: {given: [Which colour is it?]}
  demos: {sizes: [0, 2], sets: 3}
  styles: [direct, first_person]
  formats: [plain, json]
  screen: 5
budget: {calls: 100}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that writes a study, with some of its text replaced."""
    monkeypatch.chdir(tmp_path)

    def make(*changes: tuple[str, str], rows: int = 27) -> Path:
        (tmp_path / "rules.json").write_text('{"rules": [], "default": "red"}')
        lines = (f"c{n:02d},Item {n},{('red', 'green', 'blue')[n % 3]}\n" for n in range(rows))
        (tmp_path / "data.csv").write_text("id,text,colour\n" + "".join(lines))
        task, study = TASK, STUDY
        for before, after in changes:
            assert before in task + study
            task, study = task.replace(before, after), study.replace(before, after)
        (tmp_path / "task.yaml").write_text(task)
        (tmp_path / "study.yaml").write_text(study)
        return tmp_path / "study.yaml"

    return make


@pytest.fixture
def plan(write: Callable[..., Path]) -> Callable[..., StudyPlan]:
    return lambda *changes, **values: load_plan(write(*changes), **values)


def mistakes(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        load_plan(path)
    return str(refused.value)


def test_the_bounds_are_those_of_a_hand_calculation(plan: Callable[..., StudyPlan]) -> None:
    bounds = plan().bounds
    assert bounds == Bounds(
        budget=100,
        baseline=5,  # 5 screened examples, one call each
        candidate=5,
        confirmation=9,
        test=36,  # 12 examples for baseline, winner, and the baseline's wording in the winner's format
        space=2 * 4 * 3,  # wordings, demonstration sets with the empty one, and three of the four pairs
        smallest_provable=bounds.smallest_provable,
    )
    assert bounds.reserved == 45
    assert bounds.candidates == (100 - 45 - 5) // 5
    assert bounds.least == 55
    # d√n = z·√s + z'·√(s - d²) with d beyond the usual disagreement, so that s = d.
    d, z = bounds.smallest_provable, NormalDist().inv_cdf
    assert d * math.sqrt(12) == pytest.approx(
        z(0.975) * math.sqrt(d) + z(0.8) * math.sqrt(d - d * d), abs=1e-6
    )


def test_no_more_candidates_are_promised_than_the_space_holds(plan: Callable[..., StudyPlan]) -> None:
    assert plan(("calls: 100", "calls: 9000")).bounds.candidates == 24


def test_a_budget_that_holds_the_least_is_enough_and_one_call_less_is_not(write: Callable[..., Path]) -> None:
    assert load_plan(write(("calls: 100", "calls: 55"))).bounds.candidates == 1
    parts = "baseline 5, one candidate 5, confirmation 9, test 36"
    told = mistakes(write(("calls: 100", "calls: 54")))
    assert told.endswith(f"study.yaml:10: budget.calls: expected at least 55 calls ({parts}), found 54")


def test_screening_is_bounded_by_validation(plan: Callable[..., StudyPlan]) -> None:
    chosen = plan(("screen: 5", "screen: 50"))
    assert chosen.screen == 9
    assert chosen.bounds.candidate == 9


def test_attempts_are_twice_the_calls_unless_the_file_says_otherwise(plan: Callable[..., StudyPlan]) -> None:
    assert plan().budget == Budget(calls=100, attempts=200)
    assert plan(("calls: 100", "calls: 100, attempts: 120")).budget == Budget(calls=100, attempts=120)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("screen: 5", "screen: 6"), {"search.screen"}),
        (("[plain, json]", "[plain]"), {"search.formats"}),
        (("[direct, first_person]", "[direct]"), {"search.styles"}),
        (("given: [Which colour is it?]", "given: [Which one?]"), {"search.instructions"}),
        (("sizes: [0, 2]", "sizes: [0, 3]"), {"search.demos"}),
        (("name: rules", "name: other"), {"model"}),
        (("temperature: 0", "temperature: 1"), {"model"}),
        (("budget:", "constraints: {valid: {min: 0.5}}\nbudget:"), {"constraints"}),
        (("instruction: Name", "instruction: Tell"), {"task"}),
        (("train: 6", "train: 5"), {"task", "data"}),
        (("calls: 100", "calls: 200"), set()),
        (("calls: 100}", "calls: 100, attempts: 150}"), set()),
        (("budget:", "run: {batch: 2, concurrency: 3, max_error_rate: 0.1}\nbudget:"), set()),
    ],
)
def test_the_identity_changes_with_what_matters_only(
    plan: Callable[..., StudyPlan], change: tuple[str, str], parts: set[str]
) -> None:
    before, after = plan().identity, plan(change).identity
    assert {name for name in before if before[name] != after[name]} == parts


def test_the_identity_changes_with_the_data_and_not_with_its_order(write: Callable[..., Path]) -> None:
    before = load_plan(write()).identity
    data = write().with_name("data.csv")
    head, *rows = data.read_text().splitlines(keepends=True)
    data.write_text(head + "".join(reversed(rows)))
    assert load_plan(data.with_name("study.yaml")).identity == before
    data.write_text(head + "".join(rows).replace("Item 3,", "Thing 3,"))
    after = load_plan(data.with_name("study.yaml")).identity
    assert {name for name in before if before[name] != after[name]} == {"data"}


def test_a_seed_given_beside_the_file_replaces_that_of_the_search_alone(
    plan: Callable[..., StudyPlan],
) -> None:
    first, other = plan(), plan(seed=7)
    assert (first.seed, other.seed) == (0, 7)
    assert other.dataset == first.dataset
    shown = [[s.demonstrations for s in one.space.demonstration_sets] for one in (first, other, plan(seed=7))]
    assert shown[0] != shown[1] == shown[2]
    written = plan(("  screen: 5", "  screen: 5\n  sampler: {seed: 7}"))
    assert written.identity == other.identity
    assert {n for n in first.identity if first.identity[n] != other.identity[n]} == {"search.sampler"}


def test_results_lie_beside_the_file_or_where_they_are_asked_for(
    plan: Callable[..., StudyPlan], tmp_path: Path
) -> None:
    assert plan().database.resolve() == tmp_path / "study.db"
    assert plan(output=tmp_path / "out").database == tmp_path / "out" / "study.db"
    assert plan().name == tmp_path.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("[plain, json]", "[plane]"),
            "search.formats[0]: no plug-in 'plane' in formats; did you mean 'plain'?",
        ),
        (("[direct, first_person]", "[direkt]"), "did you mean 'direct'?"),
        (("[direct, first_person]", "[]"), "search.styles: expected at least one, found none"),
        (("[plain, json]", "[plain, plain]"), "search.formats: expected each once, found one twice"),
        (("screen: 5", "screen: 0"), "search.screen: expected at least 1, found 0"),
        (
            ("sizes: [0, 2]", "sizes: [0, 7]"),
            "search.demos.sizes: expected at most 6, the size of train, found 7",
        ),
        (("sizes: [0, 2]", "sizes: [-1]"), "search.demos.sizes: expected at least 0, found -1"),
        (("screen: 5", "screen: 5\n  sampler: {name: tpf}"), "search.sampler.name: no plug-in 'tpf'"),
        (("sets: 3", "sets: 3, selectors: [rondom]"), "search.demos.selectors[0]: no plug-in 'rondom'"),
        (("provider: scripted", "provider: script"), "model.provider: no plug-in 'script' in models"),
        (("path: rules.json", "path: none.json"), "none.json cannot be read as rules"),
        (("calls: 100", "calls: 100, attempts: 0"), "budget.attempts: expected at least 1, found 0"),
        (("budget:", "run: {batch: 0}\nbudget:"), "run.batch: expected at least 1, found 0"),
        (("budget:", "run: {max_error_rate: 1}\nbudget:"), "run.max_error_rate: expected a share"),
        (("budget:", "constraints: {valit: {min: 1}}\nbudget:"), "constraints.valit: no plug-in 'valit'"),
        (("budget:", "constraints: {valid: {}}\nbudget:"), "expected min, max or both, found neither"),
        (
            ("metric: accuracy", "metric: tokens"),
            "metric: tokens is a measure: it can be reported, not maximised",
        ),
        (("metric: accuracy", "metric: acuracy"), "did you mean 'accuracy'?"),
        (("name: rules", "name: rules, capabilities: [prefil]"), "did you mean 'prefill'?"),
        (
            ("screen: 5", "screen: 5\n  parameters: {style: [1, 2]}"),
            "search.parameters.style: names a dimension of its own",
        ),
        (
            ("screen: 5", "screen: 5\n  parameters: {temperature: []}"),
            "search.parameters.temperature: expected at",
        ),
        (
            ("screen: 5", "screen: 5\n  parameters: {temperature: [.inf]}"),
            "search.parameters.temperature[0]: ",
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field(
    write: Callable[..., Path], change: tuple[str, str], message: str
) -> None:
    told = mistakes(write(change))
    assert message in told
    assert all(".yaml:" in line for line in told.splitlines())


def test_every_mistake_is_told_at_once(write: Callable[..., Path]) -> None:
    told = mistakes(
        write(
            ("[plain, json]", "[plane]"), ("screen: 5", "screen: 0"), ("metric: accuracy", "metric: tokens")
        )
    )
    assert len(told.splitlines()) == 3


def test_a_baseline_that_cannot_be_laid_out_is_refused_with_the_reason(write: Callable[..., Path]) -> None:
    told = mistakes(write(("[direct, first_person]", "[first_person]"), ("[plain, json]", "[json, plain]")))
    assert "the baseline is the first style and the first format; first_person × json" in told
