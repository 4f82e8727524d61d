"""What calls cost: stated, free, published at the provider's own address, or unknown."""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers
from genai_prices.types import ConditionalPrice, TieredPrices
from hypothesis import given
from hypothesis import strategies as st

from optimizer.pricing import Price, price_of

OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com/v1"
OPENROUTER = "https://openrouter.ai/api/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai"
DEEPSEEK = "https://api.deepseek.com"
PERPLEXITY = "https://api.perplexity.ai"

# Plain, tiered by the length of the prompt, dearer where a prompt enters the cache, and with a fee for each request.
KNOWN = (
    pytest.param("gpt-5-mini", OPENAI, id="plain"),
    pytest.param("openai/gpt-5-mini", OPENROUTER, id="router"),
    pytest.param("gemini-2.5-pro", GOOGLE, id="tiers"),
    pytest.param("claude-sonnet-4-5", ANTHROPIC, id="tiers-and-cache"),
    pytest.param("gpt-6-sol", OPENAI, id="cache"),
    pytest.param("deepseek-chat", DEEPSEEK, id="hours"),
    pytest.param("sonar", PERPLEXITY, id="requests"),
)


@dataclass(frozen=True, kw_only=True)
class Stated:
    input: float
    output: float


def published(name: str, base_url: str | None, service_tier: str | None = None) -> Price | None:
    return price_of(name, base_url=base_url, free=False, overrides={}, service_tier=service_tier)


def known(name: str, base_url: str) -> Price:
    price = published(name, base_url)
    assert price is not None
    return price


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("gpt-5-mini", OPENAI),
        ("gpt-5-mini", "https://api.openai.com"),
        ("gpt-5-mini", "https://api.openai.com:443/v1/"),
        ("gpt-5-mini-2025-08-07", OPENAI),
        ("gpt-4o-mini", OPENAI),
        ("openai/gpt-5-mini", OPENROUTER),
        ("gemini-2.5-pro", GOOGLE),
        ("mistral-small-latest", "https://api.mistral.ai/v1"),
        ("kimi-k2", "https://api.moonshot.ai/v1"),
        ("llama-3.1-8b-instant", "https://api.groq.com/openai/v1"),
    ],
)
@pytest.mark.parametrize("tokens", [(0, 0), (1, 1), (517, 12), (250_000, 4_000)], ids=str)
def test_a_published_price_is_that_of_the_library(name: str, base_url: str, tokens: tuple[int, int]) -> None:
    read, written = tokens
    usage = Usage(input_tokens=read, output_tokens=written)
    expected = calc_price(usage, name, provider_api_url=base_url).total_price
    assert known(name, base_url)(read, written) == float(expected)


def test_a_published_price_is_that_of_a_hand_calculation() -> None:
    # GPT-5 mini: 0.25 dollars for a million tokens read, 2 dollars for a million written.
    assert known("gpt-5-mini", OPENAI)(1000, 100) == pytest.approx(0.00025 + 0.0002)


def test_a_price_changes_with_the_length_of_the_prompt() -> None:
    # Gemini 2.5 Pro: 1.25 and 10 dollars up to 200,000 tokens read, 2.5 and 15 above, for all tokens of the call.
    price = known("gemini-2.5-pro", GOOGLE)
    assert price(200_000, 1000) == pytest.approx(0.25 + 0.01)
    assert price(200_001, 1000) == pytest.approx(0.5000025 + 0.015)


def test_tokens_read_are_taken_to_enter_the_cache_where_that_costs_more() -> None:
    usage = Usage(input_tokens=1000, cache_write_tokens=1000, output_tokens=10)
    expected = calc_price(usage, "gpt-6-sol", provider_api_url=OPENAI).total_price
    plain = calc_price(Usage(input_tokens=1000, output_tokens=10), "gpt-6-sol", provider_api_url=OPENAI)
    assert known("gpt-6-sol", OPENAI)(1000, 10) == float(expected) > float(plain.total_price)


def test_a_price_that_changes_with_the_hour_is_that_of_the_dearest() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    now = datetime.now(tz=UTC)
    every = [
        calc_price(
            usage,
            "deepseek-v4-pro",
            provider_api_url=DEEPSEEK,
            genai_request_timestamp=now + timedelta(hours=n),
        ).total_price
        for n in range(24)
    ]
    assert min(every) < max(every)
    assert known("deepseek-v4-pro", DEEPSEEK)(1000, 100) == float(max(every))


@pytest.mark.parametrize(
    "base_url",
    [
        None,
        "",
        "not an address",
        "http://[",
        "http://127.0.0.1:8000/v1",
        "http://localhost:11434/v1",
        "https://models.example.org/v1",
        "https://api.openai.com.example.org/v1",
        "https://api.openai.community/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com:none/v1",
        "http://api.openai.com/v1",
        "https://gateway.example.org/api.openai.com/v1",
        "https://user:pass@gateway.example.org/https://api.openai.com/v1",
        "https://me.openai.azure.com/openai/v1",
        "https://proxy.azure-api.net/v1",
    ],
)
def test_a_model_of_a_famous_name_has_no_price_elsewhere(base_url: str | None) -> None:
    assert published("gpt-5-mini", base_url) is None


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("gemini-2.5-pro", "https://gateway.example.org/generativelanguage.googleapis.com/v1beta/openai"),
        ("moonshotai/kimi-k3", "https://me--vllm.modal.run/v1"),
        ("databricks-gpt-oss-120b", "https://me.cloud.databricks.com/serving-endpoints"),
        ("glm-5", "https://open.bigmodel.cn/api/paas/v4"),
    ],
)
def test_a_price_that_may_be_too_low_is_none(name: str, base_url: str) -> None:
    assert published(name, base_url) is None


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        pytest.param("gpt-99", OPENAI, id="unknown"),
        pytest.param("", OPENAI, id="empty"),
        pytest.param("claude-sonnet-4-5", OPENAI, id="of-another-provider"),
        pytest.param("ft:gpt-4.1-mini-2025-04-14:acme::x", OPENAI, id="tuned"),
        pytest.param("text-embedding-3-small", OPENAI, id="no-price-of-writing"),
        pytest.param("gemma-3", GOOGLE, id="listed-without-a-price"),
        pytest.param("sonar-deep-research", PERPLEXITY, id="billed-by-what-no-completion-tells"),
    ],
)
def test_a_model_without_a_price_for_both_kinds_of_tokens_has_none(name: str, base_url: str) -> None:
    assert published(name, base_url) is None


@pytest.mark.parametrize(
    ("service_tier", "has_one"),
    [(None, True), ("auto", True), ("default", True), ("flex", True), ("priority", False), ("fast", False)],
)
def test_the_dearer_service_tiers_have_no_published_price(service_tier: str | None, *, has_one: bool) -> None:
    assert (published("gpt-5-mini", OPENAI, service_tier) is not None) == has_one


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("base_url", [None, OPENAI, "http://127.0.0.1:8000/v1"])
def test_a_stated_price_comes_first(base_url: str | None, *, free: bool) -> None:
    stated = {"gpt-5-mini": Stated(input=3, output=15)}
    price = price_of("gpt-5-mini", base_url=base_url, free=free, overrides=stated, service_tier="priority")
    assert price is not None
    assert price(1_000_000, 0) == 3
    assert price(0, 1_000_000) == 15
    assert price(1000, 100) == pytest.approx(0.003 + 0.0015)
    assert price(0, 0) == 0


def test_a_price_stated_for_another_model_changes_nothing() -> None:
    stated = {"gpt-5-mini": Stated(input=3, output=15)}
    assert price_of("mine", base_url=None, free=False, overrides=stated) is None


def test_a_stated_price_of_zero_is_zero_and_not_unknown() -> None:
    price = price_of("mine", base_url=None, free=False, overrides={"mine": Stated(input=0, output=0)})
    assert price is not None
    assert price(10**9, 10**9) == 0


def test_what_runs_on_this_machine_costs_nothing() -> None:
    price = price_of("smollm2-135m", base_url=None, free=True, overrides={})
    assert price is not None
    assert price(10**9, 10**9) == 0


@pytest.mark.parametrize(("name", "base_url"), KNOWN)
@given(
    read=st.integers(0, 2**20), written=st.integers(0, 2**17), more=st.integers(0, 2**20), grows=st.booleans()
)
def test_a_published_price_never_falls_when_either_count_grows(
    name: str, base_url: str, *, read: int, written: int, more: int, grows: bool
) -> None:
    price = known(name, base_url)
    longer = price(read + more, written) if grows else price(read, written + more)
    assert 0 <= price(read, written) <= longer


@given(
    rates=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
    counts=st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)),
    more=st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)),
)
def test_a_stated_price_never_falls_when_either_count_grows(
    rates: tuple[float, float], counts: tuple[int, int], more: tuple[int, int]
) -> None:
    stated = {"mine": Stated(input=rates[0], output=rates[1])}
    price = price_of("mine", base_url=None, free=False, overrides=stated)
    assert price is not None
    assert 0 <= price(*counts) <= price(counts[0] + more[0], counts[1] + more[1])


def test_no_published_price_falls_with_the_length_of_the_prompt() -> None:
    # What the law above rests on, for every model that the library knows.
    falling = [
        (provider.id, model.id)
        for provider in providers
        for model in provider.models
        for each in (
            model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
        )
        for tiered in vars(each.prices).values()
        if isinstance(tiered, TieredPrices)
        and [tiered.base, *(tier.price for tier in tiered.tiers)]
        != sorted([tiered.base, *(tier.price for tier in tiered.tiers)])
    ]
    assert falling == []


def test_prices_come_from_no_network() -> None:
    program = """
import json, sys, threading, time
used = []
def refuse(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.client.")):
        used.append(event)
        raise OSError("no network")
sys.addaudithook(refuse)
from optimizer.pricing import price_of
before = "genai_prices" in sys.modules
price = price_of("gpt-5-mini", base_url="https://api.openai.com/v1", free=False, overrides={})
costs = [price(1000 * n, 10) for n in range(100)]
import genai_prices.data_snapshot as snapshots
print(json.dumps({
    "imported early": before,
    "used": used,
    "threads": threading.active_count(),
    "updated": snapshots.get_snapshot().from_auto_update,
    "costs": costs[1],
}))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == {
        "imported early": False,
        "used": [],
        "threads": 1,
        "updated": False,
        "costs": pytest.approx(0.00025 + 0.00002),
    }
