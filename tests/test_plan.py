"""A study file, read and checked: its bounds, its identity, its mistakes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.budget import Budget
from optimizer.demonstrations import NO_EVIDENCE
from optimizer.errors import InputError
from optimizer.plan import StudyPlan, load_plan
from optimizer.plantext import plan_in_words

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
  sampler: {name: tpe}
budget: {calls: 100}
"""


@pytest.fixture
def write(
    write_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Return a function that writes a study, with some of its text replaced."""
    monkeypatch.chdir(tmp_path)
    return lambda *changes: write_study(TASK, STUDY, *changes, items=27, folder=".")


@pytest.fixture
def plan(write: Callable[..., Path]) -> Callable[..., StudyPlan]:
    return lambda *changes, **values: load_plan(write(*changes), **values)


def mistakes(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        load_plan(path)
    return str(refused.value)


def test_one_kind_of_file_in_place_of_another_is_told_in_one_sentence(write: Callable[..., Path]) -> None:
    study = write()
    assert mistakes(study.with_name("task.yaml")).endswith("task.yaml: expected a study, found a task")
    study.write_text(study.read_text().replace("task: task.yaml", "task: study.yaml"))
    assert mistakes(study).endswith("study.yaml: expected a task, found a study")
    frozen = study.with_name("prompt.json")
    frozen.write_text('{"calls": [], "answer": {}, "evidence": {}}')
    assert mistakes(frozen).endswith("prompt.json: expected a study, found a frozen prompt")


def test_a_number_in_quotes_is_told_as_that(write: Callable[..., Path]) -> None:
    assert "schema: expected 1, found '1': write 1 without quotes" in mistakes(
        write(("schema: 1\ntask:", 'schema: "1"\ntask:'))
    )


def test_a_wording_with_a_place_for_an_input_is_told_to_be_sent_as_it_stands(
    plan: Callable[..., StudyPlan],
) -> None:
    changes = (
        ("Name the colour.", "Name the colour of {text}."),
        ("Which colour is it?", "'Is ${text} red or {blue}?'"),
    )
    cautions = [said for said in plan_in_words(plan(*changes)) if "as it stands" in said]
    assert [said.partition(";")[0] for said in cautions] == [
        "Caution: the task's instruction holds {text}",
        "Caution: search.instructions.given[0] holds ${text}",
    ]
    assert not [said for said in plan_in_words(plan()) if "as it stands" in said]


def test_the_calls_of_each_phase_are_counted_by_hand(plan: Callable[..., StudyPlan]) -> None:
    bounds = plan().bounds
    assert bounds.budget == Budget(calls=100, attempts=200)
    assert bounds.baseline.calls == bounds.candidate.calls == 5  # screened examples, one call each
    assert bounds.confirmation.calls == 9
    assert (
        bounds.test.calls == 36
    )  # 12 for baseline, winner, and the baseline's wording in the winner's format
    assert bounds.space == 2 * 4 * 3  # wordings, sets with the empty one, and three of the four pairs
    assert bounds.reserved.calls == 45
    assert bounds.candidates == (100 - 45 - 5) // 5
    assert bounds.least.calls == 55


def test_no_more_candidates_are_promised_than_the_space_holds(plan: Callable[..., StudyPlan]) -> None:
    assert plan(("calls: 100", "calls: 9000")).bounds.candidates == 24


def test_a_budget_that_holds_the_least_is_enough_and_one_call_less_is_not(write: Callable[..., Path]) -> None:
    assert load_plan(write(("calls: 100", "calls: 55"))).bounds.candidates == 1
    parts = "baseline 5, one candidate 5, confirmation 9, test 36"
    told = mistakes(write(("calls: 100", "calls: 54")))
    assert told.endswith(f"study.yaml:11: budget.calls: expected at least 55 calls ({parts}), found 54")


def test_screening_is_bounded_by_validation(plan: Callable[..., StudyPlan]) -> None:
    chosen = plan(("screen: 5", "screen: 50"))
    assert chosen.screen == 9
    assert chosen.bounds.candidate.calls == 9


@pytest.mark.parametrize(
    ("written", "budget"),
    [
        ("calls: 100", Budget(calls=100, attempts=200)),
        ("calls: 100, attempts: 120", Budget(calls=100, attempts=120)),
        ("calls: 100, tokens: 90000", Budget(calls=100, attempts=200, tokens=90000)),
        (
            "calls: 100, tokens: null, usd: 2, seconds: 60",
            Budget(calls=100, attempts=200, usd=2.0, seconds=60.0),
        ),
    ],
)
def test_the_budget_is_what_the_file_says_with_twice_as_many_attempts_as_calls(
    plan: Callable[..., StudyPlan], written: str, budget: Budget
) -> None:
    chosen = plan(("calls: 100", written), ANSWER)
    assert chosen.budget == budget
    assert chosen.bounds.budget == budget


# What bounds an answer, which budgets in tokens and money need.
ANSWER = ("temperature: 0", "temperature: 0, max_tokens: 8")


@pytest.mark.parametrize("unit", ["tokens", "usd"])
def test_a_budget_in_tokens_or_money_that_cannot_hold_the_least_is_refused_with_what_would(
    write: Callable[..., Path], unit: str
) -> None:
    priced = "calls: 100, UNIT: 1, prices: {rules: {input: 1000000, output: 1000000}}"
    told = mistakes(write(("calls: 100", priced.replace("UNIT", unit)), ANSWER))
    assert f"study.yaml:11: budget.{unit}: expected at least about " in told
    words = told.partition("about ")[2].split()[0].replace(",", "")
    enough = f"{unit}: {int(float(words)) + 1}"
    bounds = load_plan(write(("calls: 100", priced.replace("UNIT: 1", enough)), ANSWER)).bounds
    assert list(bounds.shortages()) == []


def test_a_price_is_the_stated_one_or_nothing_for_a_model_of_rules(plan: Callable[..., StudyPlan]) -> None:
    free = plan().price
    stated = plan(("calls: 100", "calls: 100, prices: {rules: {input: 3, output: 5}}")).price
    assert free is not None
    assert stated is not None
    assert (free(1000, 10), stated(1000, 10)) == (0.0, (3000 + 50) / 1e6)


def test_a_price_that_nobody_publishes_is_not_known(plan: Callable[..., StudyPlan]) -> None:
    own = (
        "scripted, name: rules, path: rules.json",
        "openai_compatible, name: m, base_url: 'http://[::1]/v1'",
    )
    assert plan(own).price is None


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
        (("budget:", "pareto: [cost, seconds]\nbudget:"), set()),
        (("instruction: Name", "instruction: Tell"), {"task"}),
        (("train: 6", "train: 5"), {"task", "data"}),
        (("calls: 100", "calls: 200"), set()),
        (("calls: 100}", "calls: 100, attempts: 150}"), set()),
        (("calls: 100}", "calls: 100, seconds: 9, prices: {rules: {input: 1, output: 2}}}"), set()),
        (("budget:", "run: {batch: 2, concurrency: 3, max_error_rate: 0.1}\nbudget:"), set()),
        (("budget:", "run: {requests_per_minute: 60, deadline_seconds: 5}\nbudget:"), set()),
    ],
)
def test_the_identity_changes_with_what_matters_only(
    plan: Callable[..., StudyPlan], change: tuple[str, str], parts: set[str]
) -> None:
    before, after = plan().identity, plan(change).identity
    assert {name for name in before if before[name] != after[name]} == parts


def test_the_identity_changes_with_what_the_model_must_call_itself(plan: Callable[..., StudyPlan]) -> None:
    own = "provider: openai_compatible, name: m, base_url: 'http://[::1]/v1'"
    other = ("provider: scripted, name: rules, path: rules.json", own)
    before, after = plan(other).identity, plan((other[0], f"{own}, expect_model: m")).identity
    assert {name for name in before if before[name] != after[name]} == {"model"}


def test_the_identity_changes_with_the_data_and_not_with_its_order(write: Callable[..., Path]) -> None:
    before = load_plan(write()).identity
    data = write().with_name("data.csv")
    head, *rows = data.read_text().splitlines(keepends=True)
    data.write_text(head + "".join(reversed(rows)))
    assert load_plan(data.with_name("study.yaml")).identity == before
    data.write_text(head + "".join(rows).replace("Item 3 is", "Thing 3 is"))
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
    written = plan(("{name: tpe}", "{name: tpe, seed: 7}"))
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
            ("sizes: [0, 2], sets: 3", "sizes: [2], sets: 0"),
            "search.demos.sets: expected at least 1, because no candidate may lack demonstrations, found 0; or add 0",
        ),
        (
            ("sizes: [0, 2], sets: 3", "sizes: [1, 2], sets: 0, selectors: [hard]"),
            "search.demos.sets: expected at least 1, because no candidate may lack demonstrations, found 0; or add 0",
        ),
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
        (("sets: 3", "sets: 3, scout: -1"), "search.demos.scout: expected at least 0, found -1"),
        (
            ("sets: 3", "sets: 3, selectors: [random, hard], scout: 0"),
            "search.demos.scout: expected at least 1, because hard goes by what these calls find out, found 0",
        ),
        (("name: rules", "name: rules, context: 0"), "model.context: expected at least 1, found 0"),
        (("{name: tpe}", "{name: tpf}"), "search.sampler.name: no plug-in 'tpf'"),
        (("sets: 3", "sets: 3, selectors: [rondom]"), "search.demos.selectors[0]: no plug-in 'rondom'"),
        (("provider: scripted", "provider: script"), "model.provider: no plug-in 'script' in models"),
        (("path: rules.json", "path: none.json"), "none.json cannot be read as rules"),
        (("calls: 100", "calls: 100, attempts: 0"), "budget.attempts: expected at least 1, found 0"),
        (("calls: 100", "calls: 100, tokens: 9000"), "needs max_tokens, which bounds an answer"),
        (("calls: 100", "calls: 100, seconds: 0"), "budget.seconds: expected more than 0, found 0.0"),
        (("calls: 100", "calls: 100, token: 9"), "budget: unknown field 'token'; did you mean 'tokens'?"),
        (("name: rules", "name: rules, expect_model: m"), "model.expect_model: the provider scripted takes"),
        (("budget:", "run: {deadline_seconds: 0}\nbudget:"), "run.deadline_seconds: expected more than 0"),
        (("budget:", "run: {batch: 0}\nbudget:"), "run.batch: expected at least 1, found 0"),
        (("budget:", "run: {max_error_rate: 1}\nbudget:"), "run.max_error_rate: expected a share"),
        (("budget:", "constraints: {valit: {min: 1}}\nbudget:"), "constraints.valit: no plug-in 'valit'"),
        (("budget:", "constraints: {valid: {}}\nbudget:"), "expected min, max or both, found neither"),
        (
            ("budget:", "pareto: [cots]\nbudget:"),
            "pareto[0]: no plug-in 'cots' in metrics; did you mean 'cost'",
        ),
        (
            ("budget:", "pareto: [cost, accuracy]\nbudget:"),
            "pareto[1]: expected a measure, one of answer_length",
        ),
        (
            ("budget:", "pareto: [cost, cost]\nbudget:"),
            "pareto[1]: expected each measure once, found cost again",
        ),
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


RACE = ("sampler: {name: tpe}", "sampler: {name: joint}")


def wordings(n: int, more: str = "") -> tuple[str, str]:
    """Return what gives a study so many wordings, the task's own included."""
    given = ", ".join(f"Wording {k}." for k in range(1, n))
    return ("given: [Which colour is it?]", f"given: [{given}]{more}")


def test_no_more_wordings_race_than_have_a_number(write: Callable[..., Path]) -> None:
    least = ("sizes: [0, 2], sets: 3", "sizes: [0]")
    assert load_plan(write(RACE, least, wordings(4096))).bounds.space == 4096 * 3
    told = mistakes(write(RACE, least, wordings(4097)))
    expected = "search.instructions: expected at most 4,096 wordings, composed ones included"
    remedy = "give fewer or compose none"
    assert f"{expected}, where candidates race, found 4,097; {remedy}" in told
    assert "study.yaml:" in told
    assert expected in mistakes(write(RACE, least, wordings(1100, ", compose: true")))
    # Without a race they are no numbers.
    assert load_plan(write(least, wordings(4097))).bounds.space == 4097 * 3


@pytest.mark.parametrize("sizes", ["[0, 2]", "[2]"])
def test_no_more_sets_race_than_have_a_number(write: Callable[..., Path], sizes: str) -> None:
    def drawn(n: int) -> Path:
        return write(RACE, ("sizes: [0, 2], sets: 3", f"sizes: {sizes}, sets: {n}, selectors: [hard]"))

    assert load_plan(drawn(4095)).bounds.candidates > 0
    told = mistakes(drawn(4096))
    assert "search.demos.sets: expected at most 4,096 demonstration sets, the empty one included" in told
    assert "where candidates race, found 4,097; draw fewer" in told


@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        pytest.param((), False, id="a-screening"),
        pytest.param((("screen: 5", "screen: 8"),), False, id="one-example-is-left"),
        pytest.param((("screen: 5", "screen: 9"),), True, id="screened-on-all-of-validation"),
        pytest.param((("screen: 5", "screen: 90"),), True, id="and-on-more"),
        pytest.param((RACE,), False, id="a-race"),
        pytest.param(
            (("validation: 9, test: 12", "validation: 21, test: 0"), ("calls: 100", "calls: 900")),
            True,
            id="no-test",
        ),
    ],
)
def test_a_pruner_that_can_give_nobody_up_is_told(
    plan: Callable[..., StudyPlan], changes: tuple[tuple[str, str], ...], idle: bool
) -> None:
    pruner = ("budget:", "  pruner: {name: paired_test}\nbudget:")
    cautions = [said for said in plan_in_words(plan(pruner, *changes)) if "pruner" in said]
    assert len(cautions) == idle
    if idle:
        assert cautions[0].startswith("Caution: `search.pruner` (paired_test) gives nobody up, because every")
    assert not [said for said in plan_in_words(plan(*changes)) if "pruner" in said]


@pytest.mark.parametrize("batch", [1, 8, 50])
def test_what_a_study_needs_at_least_holds_one_candidate_however_large_a_batch_is(
    write: Callable[..., Path], batch: int
) -> None:
    run = ("budget: {calls: 100}", f"run: {{batch: {batch}}}\nbudget: {{calls: CALLS}}")
    assert load_plan(write(run, ("CALLS", "55"))).bounds.candidates == 1
    assert "expected at least 55 calls" in mistakes(write(run, ("CALLS", "54")))
    told = (Path(__file__).parent.parent / "docs" / "batches.md").read_text(encoding="utf-8")
    assert "one candidate, however large `run.batch` is" in " ".join(told.split())


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


# ---- Demonstrations that are chosen by what is found out, and those that are too long

SCOUTED = (
    ("sets: 3", "sets: 6, selectors: [random, hard, winners], scout: 20"),
    ("calls: 100", "calls: 900"),
)


def test_a_study_without_selectors_that_need_it_scouts_nothing(plan: Callable[..., StudyPlan]) -> None:
    found = plan(("sets: 3", "sets: 3, selectors: [random, nearest]"))
    assert (found.scouting.most_calls, found.bounds.scouting.calls) == (0, 0)
    assert found.scouted(NO_EVIDENCE).demonstration_sets == found.space.demonstration_sets


def test_scouting_is_bounded_and_paid_for_before_anything_else(plan: Callable[..., StudyPlan]) -> None:
    found = plan(*SCOUTED)
    # Ten calls for each kind of evidence, of which the six training examples take six.
    assert found.scouting.most_calls == found.bounds.scouting.calls == 6 + 10
    assert found.bounds.least.calls == 16 + 55
    assert [shown.id for shown in found.space.demonstration_sets] == ["d0000", "d0001", "d0002"]
    assert found.bounds.space == 2 * (3 + 4) * 3  # wordings, sets with those to come, pairs
    told = "scouting 16, baseline 5, one candidate 5, confirmation 9, test 36"
    with pytest.raises(InputError, match=rf"expected at least 71 calls \({told}\), found 70"):
        plan(SCOUTED[0], ("calls: 100", "calls: 70"))


def test_an_answer_of_scouting_is_counted_once_in_all_the_calls_of_its_style(
    plan: Callable[..., StudyPlan],
) -> None:
    long = ("[direct, first_person]", "[direct, list_steps_and_verify]")
    found = plan(*SCOUTED, long, ANSWER)
    assert found.bounds.call.calls == 3
    assert found.bounds.scouting.calls == found.scouting.most_calls == 6 + 10
    assert found.bounds.scouting.tokens == found.bounds.call.tokens * 16
    several = plan(*SCOUTED, ("[direct, first_person]", "[self_check]"), ("[plain, json]", "[plain]"), ANSWER)
    assert several.bounds.scouting.calls == several.scouting.most_calls == 2 * several.scouting.most_answers
    assert several.bounds.scouting.tokens == several.bounds.call.tokens * several.scouting.most_answers


def test_what_is_chosen_by_evidence_goes_on_after_what_is_known(plan: Callable[..., StudyPlan]) -> None:
    found = plan(*SCOUTED)
    grown = found.scouted(NO_EVIDENCE)
    assert grown.demonstration_sets[:3] == found.space.demonstration_sets
    assert [(shown.id, shown.selector) for shown in grown.demonstration_sets[3:]] == [
        ("d0003", "hard"),
        ("d0004", "winners"),
        ("d0005", "hard"),
        ("d0006", "winners"),
    ]


def test_a_study_may_have_nothing_but_what_is_still_to_be_chosen(plan: Callable[..., StudyPlan]) -> None:
    found = plan(("sizes: [0, 2], sets: 3", "sizes: [2], sets: 3, selectors: [hard]"))
    assert (found.space.size, found.space.opening) == (0, ())
    assert found.bounds.space == found.scouted(NO_EVIDENCE).size == 2 * 3 * 3
    assert found.bounds.candidate.calls == 5


def test_sets_that_no_context_holds_are_shortened_or_left_out_and_listed(
    plan: Callable[..., StudyPlan],
) -> None:
    whole = plan(("sizes: [0, 2], sets: 3", "sizes: [0, 1, 5], sets: 2"))
    # By hand, with two demonstrations more than one: 4 x 5 tokens of messages, and their texts at 4 bytes each.
    tight = plan(
        ("sizes: [0, 2], sets: 3", "sizes: [0, 1, 5], sets: 2"),
        ("name: rules", "name: rules, context: 75"),
        ("[direct, first_person]", "[direct]"),
        ("[plain, json]", "[plain]"),
    )
    assert whole.space.left_out[1:] == ()
    (cut,) = tight.space.left_out
    assert cut.startswith("demonstrations d0002: too long for the model's context of 75 tokens, ")
    kept = tight.space.demonstration_sets[2].demonstrations
    assert kept == whole.space.demonstration_sets[2].demonstrations[5 - len(kept) :]
    assert cut.endswith(f"{len(kept)} of 5 kept")
    assert 0 < len(kept) < 5


def test_a_context_changes_which_study_it_is(plan: Callable[..., StudyPlan]) -> None:
    before, after = plan().identity, plan(("name: rules", "name: rules, context: 9000")).identity
    assert {name for name in before if before[name] != after[name]} == {"model"}
