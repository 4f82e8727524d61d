"""The mistakes in a study file beyond its shape: budgets, prices and the pace of a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.checks import config_problems, parameter_cautions
from optimizer.config import StudyConfig
from optimizer.document import load_yaml
from optimizer.errors import InputError
from optimizer.schema import read

STUDY = """schema: 1
task: task.yaml
model:
  provider: openai_compatible
  name: gpt-5-mini
  base_url: https://api.openai.com/v1
  parameters: {temperature: 0, max_tokens: 12}
search:
  styles: [direct]
  formats: [plain]
budget: {calls: 100}
"""
BUDGET = "budget: {calls: 100}"
ADDRESS = "https://api.openai.com/v1"
UNBOUNDED = ("temperature: 0, max_tokens: 12", "temperature: 0")

Change = tuple[str, str]
Told = Callable[..., list[str]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Return a function that gives what is said of a study with some of its text replaced, without the file."""
    monkeypatch.chdir(tmp_path)
    path = Path("study.yaml")

    def mistakes(*changes: Change) -> list[str]:
        text = STUDY
        for before, after in changes:
            assert text.count(before) == 1, (before, text)
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")
        source = load_yaml(path)
        problems = config_problems(read(source, StudyConfig), source)
        return [str(problem).removeprefix("study.yaml:") for problem in problems]

    return mistakes


@pytest.fixture
def cautioned(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Return a function that gives what to know of the parameters of a study with some of its text replaced."""

    def cautions(change: Change) -> tuple[str, ...]:
        path = tmp_path / "cautioned.yaml"
        path.write_text(STUDY.replace(*change), encoding="utf-8")
        return parameter_cautions(read(load_yaml(path), StudyConfig))

    return cautions


def budget(keys: str) -> Change:
    return (BUDGET, f"budget: {{calls: 100, {keys}}}")


def run(keys: str) -> Change:
    return (BUDGET, f"{BUDGET}\nrun: {{{keys}}}")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param((BUDGET, BUDGET), id="calls-alone"),
        pytest.param(budget("attempts: 100"), id="as-many-attempts-as-calls"),
        pytest.param(budget("tokens: 1, usd: 0.01, seconds: 0.5"), id="every-bound"),
        pytest.param(budget("tokens: null, usd: null, seconds: null"), id="no-bound"),
        pytest.param(
            budget("usd: 1, prices: {gpt-5-mini: {input: 0, output: 0}}"), id="a-stated-price-of-zero"
        ),
        pytest.param(budget("prices: {gpt-5-mini: {input: 1, output: 2.5}}"), id="a-price-and-no-money"),
        pytest.param(run("requests_per_minute: 0.5, deadline_seconds: 1"), id="a-slow-run"),
        pytest.param(run("requests_per_minute: null"), id="no-pace"),
    ],
)
def test_a_sound_budget_and_pace_are_taken(told: Told, change: Change) -> None:
    assert told(change) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (budget("tokens: 0"), "11: budget.tokens: expected at least 1, found 0"),
        (budget("tokens: -5"), "11: budget.tokens: expected at least 1, found -5"),
        (budget("usd: 0"), "11: budget.usd: expected more than 0, found 0.0"),
        (budget("usd: -1.5"), "11: budget.usd: expected more than 0, found -1.5"),
        (budget("seconds: 0"), "11: budget.seconds: expected more than 0, found 0.0"),
        (budget("attempts: 0"), "11: budget.attempts: expected at least 1, found 0"),
        (
            budget("attempts: 99"),
            "11: budget.attempts: expected at least 100, the number of calls, found 99",
        ),
        (
            run("requests_per_minute: 0"),
            "12: run.requests_per_minute: expected more than 0, found 0.0",
        ),
        (
            run("deadline_seconds: -1"),
            "12: run.deadline_seconds: expected more than 0, found -1.0",
        ),
        (
            budget("prices: {gpt-5-mini: {input: -1, output: 2}}"),
            "11: budget.prices.gpt-5-mini.input: expected at least 0, found -1.0",
        ),
        (
            budget("prices: {gpt5-mini: {input: 1, output: 2}}"),
            "11: budget.prices.gpt5-mini: 'gpt5-mini' is no model of this study; did you mean 'gpt-5-mini'?",
        ),
        (
            budget("prices: {claude: {input: 1, output: 2}}"),
            "11: budget.prices.claude: 'claude' is no model of this study",
        ),
    ],
)
def test_a_number_that_bounds_nothing_is_named(told: Told, change: Change, message: str) -> None:
    assert told(change) == [message]


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    ("change", "field"),
    [
        (budget("usd: VALUE"), "budget.usd"),
        (budget("seconds: VALUE"), "budget.seconds"),
        (budget("prices: {gpt-5-mini: {input: VALUE, output: 1}}"), "budget.prices.gpt-5-mini.input"),
        (budget("prices: {gpt-5-mini: {input: 1, output: VALUE}}"), "budget.prices.gpt-5-mini.output"),
        (run("requests_per_minute: VALUE"), "run.requests_per_minute"),
        (run("deadline_seconds: VALUE"), "run.deadline_seconds"),
    ],
)
def test_no_number_is_infinite(told: Told, change: Change, field: str, value: str) -> None:
    with pytest.raises(InputError) as refused:
        told((change[0], change[1].replace("VALUE", value)))
    assert str(refused.value).endswith(f"{field}: expected a finite number, found {value}")


def test_all_mistakes_are_told_at_once(told: Told) -> None:
    wrong = "attempts: 5, tokens: 0, usd: 0, seconds: 0, prices: {gpt: {input: -1, output: -1}}"
    fields = [message.split(": ")[1] for message in told(budget(wrong), UNBOUNDED)]
    assert sorted(fields) == [
        "budget.attempts",
        "budget.prices.gpt",
        "budget.prices.gpt.input",
        "budget.prices.gpt.output",
        "budget.seconds",
        "budget.tokens",
        "budget.usd",
        "model.parameters",
    ]


@pytest.mark.parametrize("bound", ["tokens: 1000", "usd: 1", "tokens: 1000, usd: 1"])
@pytest.mark.parametrize("without", [UNBOUNDED, ("  parameters: {temperature: 0, max_tokens: 12}\n", "")])
def test_a_budget_in_tokens_or_money_needs_a_bound_of_the_answer(
    told: Told, bound: str, without: Change
) -> None:
    [message] = told(budget(bound), without)
    expected = "model.parameters: a budget in tokens or money needs max_tokens, which bounds an answer"
    assert message.partition(": ")[2] == expected


@pytest.mark.parametrize("bound", ["attempts: 150", "seconds: 60"])
def test_a_budget_in_calls_or_time_needs_none(told: Told, bound: str) -> None:
    assert told(budget(bound), UNBOUNDED) == []


def test_the_newer_name_bounds_an_answer_as_well(told: Told) -> None:
    assert told(budget("usd: 1"), ("max_tokens", "max_completion_tokens")) == []


@pytest.mark.parametrize("bound", ["tokens: 1000", "seconds: 60"])
@pytest.mark.parametrize(("value", "found"), [("0", "0"), ("-3", "-3"), ("12.5", "12.5"), ("many", "'many'")])
def test_what_bounds_an_answer_is_a_positive_whole_number(
    told: Told, value: str, found: str, bound: str
) -> None:
    messages = told(budget(bound), ("max_tokens: 12", f"max_tokens: {value}"))
    expected = f"7: model.parameters.max_tokens: expected a whole number of at least 1, found {found}"
    assert messages == [expected]


def test_parameters_that_the_search_varies_are_checked_one_by_one(told: Told) -> None:
    varied = (
        "formats: [plain]",
        "formats: [plain]\n  parameters: {temperature: [0, hot, 3], stream: [true]}",
    )
    assert sorted(told(varied)) == [
        "11: search.parameters.stream: set by the prompt, not by a parameter",
        "11: search.parameters.temperature[1]: expected a number from 0 to 2, found 'hot'",
        "11: search.parameters.temperature[2]: expected a number from 0 to 2, found 3",
    ]


def test_a_parameter_that_is_a_switch_is_told_to_be_none_or_the_prompts(told: Told) -> None:
    assert told(("max_tokens: 12", "max_tokens: 12, stream: true, logprobs: true, n: true")) == [
        "7: model.parameters.logprobs: expected a number or text, found true",
        "7: model.parameters.n: set by the prompt, not by a parameter",
        "7: model.parameters.stream: set by the prompt, not by a parameter",
    ]


@pytest.mark.parametrize(
    ("name", "near"), [("temprature", "temperature"), ("max_tokenz", "max_tokens"), ("stops", "stop")]
)
def test_a_parameter_that_nearly_has_a_known_name_is_passed_on_with_a_caution(
    told: Told, cautioned: Callable[..., tuple[str, ...]], name: str, near: str
) -> None:
    change = ("max_tokens: 12", f"max_tokens: 12, {name}: 1")
    assert told(change) == []
    assert cautioned(change) == (
        f"the parameter '{name}' is not known here and is passed on as it is; did you mean '{near}'?",
    )


@pytest.mark.parametrize(
    "name", ["repetition_penalty", "min_tokens", "reasoning_effort", "service_tier", "top_k"]
)
def test_a_parameter_of_a_server_is_no_slip(cautioned: Callable[..., tuple[str, ...]], name: str) -> None:
    assert cautioned(("max_tokens: 12", f"max_tokens: 12, {name}: 1")) == ()


def constraint(text: str) -> Change:
    return (BUDGET, f"constraints: {{{text}}}\n{BUDGET}")


@pytest.mark.parametrize(
    "text",
    [
        "valid: {min: 0, max: 1}",
        "valid: {min: 0.95}",
        "tokens: {max: 400}",
        "seconds: {min: 0, max: 2.5}",
        "slice_gap: {max: 0.2}",
        "accuracy: {min: 0.5, max: 0.5}",
    ],
)
def test_a_constraint_that_can_be_met_is_taken(told: Told, text: str) -> None:
    assert told(constraint(text)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("valid: {min: 95}", "valid.min: expected a number from 0 to 1, found 95; did you mean 0.95?"),
        ("accuracy: {min: 1.5}", "accuracy.min: expected a number from 0 to 1, found 1.5"),
        ("truncated: {max: -0.1}", "truncated.max: expected a number from 0 to 1, found -0.1"),
        ("slice_gap: {max: 10}", "slice_gap.max: expected a number from 0 to 1, found 10; did you mean 0.1?"),
        ("valid: {min: 1200}", "valid.min: expected a number from 0 to 1, found 1200"),
        ("seconds: {max: -1}", "seconds.max: expected at least 0, found -1"),
        (
            "valid: {min: 0.9, max: 0.2}",
            "valid: expected min to be at most max, found min 0.9 and max 0.2",
        ),
        (
            "tokens: {min: 9, max: 8}",
            "tokens: expected min to be at most max, found min 9 and max 8",
        ),
    ],
)
def test_a_constraint_that_nothing_can_meet_is_named(told: Told, text: str, message: str) -> None:
    assert told(constraint(text)) == [f"11: constraints.{message}"]


def test_bounds_that_the_search_varies_are_positive_whole_numbers(told: Told) -> None:
    varied = ("formats: [plain]", "formats: [plain]\n  parameters: {max_tokens: [8, 0, none]}")
    assert told(budget("tokens: 1000"), varied) == [
        "11: search.parameters.max_tokens[1]: expected a whole number of at least 1, found 0",
        "11: search.parameters.max_tokens[2]: expected a whole number of at least 1, found 'none'",
    ]


@pytest.mark.parametrize(
    ("change", "what", "name"),
    [
        (("gpt-5-mini", "gpt-99"), "'gpt-99'", "gpt-99"),
        ((ADDRESS, "http://127.0.0.1:8000/v1"), "'gpt-5-mini'", "gpt-5-mini"),
        (
            ("max_tokens: 12", "max_tokens: 12, service_tier: priority"),
            "'gpt-5-mini' with service_tier 'priority'",
            "gpt-5-mini",
        ),
        (
            ("formats: [plain]", "formats: [plain]\n  parameters: {service_tier: [default, priority]}"),
            "'gpt-5-mini' with service_tier 'priority'",
            "gpt-5-mini",
        ),
    ],
)
def test_an_unknown_price_is_a_mistake_where_money_is_counted(
    told: Told, change: Change, what: str, name: str
) -> None:
    assert told(change) == []
    [message] = told(budget("usd: 1"), change)
    assert message.partition(": ")[2] == (
        f"budget.usd: the price of {what} is not known; state it in US dollars per million tokens, "
        f"`budget.prices: {{{name}: {{input: ..., output: ...}}}}`"
    )
    assert told(budget(f"usd: 1, prices: {{{name}: {{input: 1, output: 2}}}}"), change) == []
    limit = ("budget:", "constraints: {cost: {max: 0.01}}\nbudget:")
    [message] = told(limit, change)
    assert f"constraints.cost: the price of {what} is not known; " in message
    assert len(told(limit, budget("usd: 1"), change)) == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ((ADDRESS, "ftp://nowhere"), "model.base_url"),
        (("  base_url: https://api.openai.com/v1\n", ""), "model.base_url"),
        (("openai_compatible", "openai_compatibel"), "model.provider"),
        (("name: gpt-5-mini", 'name: ""'), "model.name"),
    ],
)
def test_the_price_of_a_model_that_is_itself_mistaken_is_not_asked_for(
    told: Told, change: Change, field: str
) -> None:
    messages = told(budget("usd: 1"), change)
    assert [message.split(": ")[1] for message in messages] == [field]
