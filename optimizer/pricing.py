"""What a model's tokens cost: as the study states it, nothing on this machine, or as the provider publishes it.

Published prices are those that the package `genai_prices` ships; none is ever fetched. They make an upper figure:
discounts for cached input and for batches are not counted, tokens read are taken to enter the provider's cache where
that costs more, and a price that changes with the hour is that of the dearest one. Not counted either, because no
completion tells of them: searches that a model makes by itself, surcharges for a region, and the dearer hosts that a
router may choose.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

# (tokens read, tokens written) -> US dollars for one call; never falls when either grows.
Price = Callable[[int, int], float]

# At the first three, whoever deploys a model chooses its name, and the address may be a proxy or a server of one's
# own; of the last, only the price of short prompts is published.
_UNSURE_PROVIDERS = frozenset({"azure", "databricks", "modal", "zhipuai"})

# The other tiers cost more than the published standard; flex costs less, auto is the standard unless the account
# says otherwise.
_STANDARD_TIERS = frozenset({None, "auto", "default", "flex"})

# Stands for calls of several tiers, whose price together is not known.
_MIXED = "mixed"

# Billed on top of tokens read and written, and told by no completion.
_UNTOLD = ("output_reasoning_mtok", "output_citation_mtok")


class PerMillion(Protocol):
    """What a million tokens cost, in US dollars; at least 0."""

    @property
    def input(self) -> float:
        """Return the price of tokens read."""

    @property
    def output(self) -> float:
        """Return the price of tokens written."""


def price_of(
    name: str,
    *,
    base_url: str | None,
    free: bool,
    overrides: Mapping[str, PerMillion],
    service_tier: float | str | None = None,
) -> Price | None:
    """Return what calls of a model cost, or None when no price is known, which is not the same as nothing.

    Args:
        name: The model, as its provider knows it.
        base_url: Address of the endpoint. Published prices hold at the provider's own address alone: elsewhere a
            model of a famous name is someone else's to bill.
        free: Whether the model runs on this machine or is none.
        overrides: Stated prices by model name; they come first.
        service_tier: The request's parameter of that name; the dearer tiers have no price but a stated one.
    """
    if (stated := overrides.get(name)) is not None:
        return lambda read, written: (read * stated.input + written * stated.output) / 1e6
    if free:
        return lambda _read, _written: 0.0
    if base_url is None or service_tier not in _STANDARD_TIERS:
        return None
    return _published_price(name, base_url)


def common_tier(calls: Iterable[Mapping[str, float | int | str]]) -> float | str | None:
    """Return the service tier that the parameters of some calls state, one without a known price where they disagree."""
    stated = {parameters.get("service_tier") for parameters in calls}
    return stated.pop() if len(stated) == 1 else _MIXED


def _published_price(name: str, base_url: str) -> Price | None:
    from genai_prices import Usage

    model = _published_model(name, base_url)
    rates = [] if model is None else _rates(model)
    if not rates or not all(map(_tells_all, rates)):
        return None
    enters_cache = any(rate.cache_write_mtok is not None for rate in rates)

    def price(read: int, written: int) -> float:
        usages = [Usage(input_tokens=read, output_tokens=written)]
        if enters_cache:
            usages.append(Usage(input_tokens=read, cache_write_tokens=read, output_tokens=written))
        return float(max(rate.calc_price(usage)["total_price"] for rate in rates for usage in usages))

    return price


def _published_model(name: str, base_url: str) -> "ModelInfo | None":
    """Return the model of this name at the provider whose address this is."""
    from genai_prices import Usage, calc_price

    origin, path = _origin_and_path(base_url)
    try:
        found = calc_price(Usage(), name, provider_api_url=origin + path)
    except LookupError:
        return None
    if found.provider.id in _UNSURE_PROVIDERS:
        return None
    # The library is content with the beginning of a host: `api.openai.com.elsewhere.example` would do.
    matched = re.match(found.provider.api_pattern, origin + path)
    whole = matched is not None and (matched.end() >= len(origin) or matched[0].endswith("."))
    return found.model if whole else None


def _origin_and_path(base_url: str) -> tuple[str, str]:
    """Return scheme and host, with a port that is not the usual one, and the path; empty texts for no address.

    The path has no dots: the library would take a host in it, as proxies have them, for that of the address.
    """
    try:
        url = urlsplit(base_url)
        port = "" if url.port in (None, 443) else f":{url.port}"
    except ValueError:
        return "", ""
    return f"{url.scheme}://{url.hostname or ''}{port}", url.path.replace(".", "")


def _rates(model: "ModelInfo") -> "list[ModelPrice]":
    """Return every price that a model has in the next 24 hours; some change with the half hour."""
    now = datetime.now(tz=UTC)
    rates: list[ModelPrice] = []
    for n in range(48):
        rate = model.get_prices(now + timedelta(minutes=30 * n))
        if rate not in rates:
            rates.append(rate)
    return rates


def _tells_all(rate: "ModelPrice") -> bool:
    """Return whether tokens read and written decide the price; where one has none, it is unknown and not zero."""
    known = rate.input_mtok is not None and rate.output_mtok is not None
    return known and all(getattr(rate, unit) is None for unit in _UNTOLD)
