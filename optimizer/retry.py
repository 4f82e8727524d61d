"""What an error of an endpoint means: whether another attempt is worth it, and after how long.

Tables and arithmetic alone: whoever sends keeps the clock and the deadline.
"""

import email.utils
import json
import math
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC

from optimizer.errors import EndpointError, FilteredError, OverloadedError, RejectedError

# Wait before the second attempt, and the longest wait before any, in seconds.
BASE_SECONDS = 0.5
CAP_SECONDS = 30.0
# Never none at all: a server that is down is not asked again within the same breath.
FLOOR_SECONDS = 0.05
# No limit of a provider is reset later than a month from now; what says so is not a wait.
LONGEST_WAIT_SECONDS = 31 * 86_400.0

# Below 500. 425: sent too early in the connection. 498: no capacity just now (Groq).
_RETRIED = frozenset({408, 409, 425, 429, 498})
# Wrong key, empty account, not allowed, wrong address or method, a proxy that wants a password, a model withdrawn.
_FINAL_FOR_ENDPOINT = frozenset({401, 402, 403, 404, 405, 407, 410, 421, 426, 501, 505})

# An empty account or a bound on spending, which no wait fills; most come as 429, beside the type insufficient_quota.
# OpenAI, then Anthropic (429), Moonshot (429), Groq (400), Alibaba (400). Gemini calls its rate limits quota:
# its resource_exhausted is none of these.
_QUOTA = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "credit_balance_exhausted"}
    | {
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    }
    | {"enforced_spend_limit_reached", "exceeded_current_quota_error", "blocked_api_access", "arrearage"}
)
# Told about a key or a model by some with 400, where others say 401, 403 or 404.
_KEY_OR_MODEL = frozenset(
    {"invalid_api_key", "account_deactivated", "authentication_error", "unsupported_country_region_territory"}
    | {"model_not_found", "model_decommissioned", "deploymentnotfound"}
    # Google, in the reason of a detail.
    | {"api_key_invalid", "api_key_service_blocked", "access_token_expired"}
    | {"billing_disabled", "service_disabled", "consumer_invalid", "consumer_suspended"}
)
# The same in words alone: Anthropic, Gemini, xAI, Fireworks. Where a message begins, or one that a proxy quotes: further
# on it may repeat what it was sent.
_WORDS = (
    *("your credit balance is too low", "you have reached your specified api usage limits"),
    *("this organization has been disabled", r"account \S+ is suspended"),
    *("(?:incorrect|invalid|expired) api key", "api key (?:is )?(?:not valid|not found|expired|invalid)"),
    *("user location is not supported", "gemini api free tier is not available"),
)
_KEY_OR_ACCOUNT = re.compile(
    rf"""(?:\A|exception - |"message": ?")\W*(?:error: )?(?:{"|".join(_WORDS)})""", re.IGNORECASE
)
# What a 403 speaks of that is lasting, unless it speaks of the request: a key that was revoked or has its limit.
_LASTING = re.compile(
    r"(?<![a-z])(?:keys?|accounts?|quotas?|limits?|credits?|balance|billing|subscription|permissions?)(?![a-z])",
    re.IGNORECASE,
)
_OF_REQUEST = re.compile(
    r"\b(?:content|inputs?|prompts?|flagged|moderat\w+|safety|unsafe|harmful|inappropriate|guidelines?|sensitive)\b",
    re.IGNORECASE,
)
# Azure, and Azure behind a proxy: a filter refused the prompt.
_FILTERED = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})
# OpenAI's 429 for a request that no wait makes smaller than the limit.
_TOO_LARGE = re.compile(r"\s*request too large\b", re.IGNORECASE)
_FIGURE = r"([0-9][0-9,]{0,19})(?![0-9])"
_OF_LIMIT = re.compile(rf"\blimit:? {_FIGURE}, (?:used:? [0-9,]+, )?requested:? {_FIGURE}", re.IGNORECASE)

# What an error object means that comes with status 200, as proxies send it once the model has begun.
_STATUS_OF_CODE = {
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "rate_limit_reached_error"), 429),
    **dict.fromkeys(("too_many_requests", "resource_exhausted", "slow_down", *_QUOTA), 429),
    **dict.fromkeys(("overloaded_error", "engine_overloaded_error", "server_is_overloaded"), 503),
    **dict.fromkeys(("service_unavailable", "service_unavailable_error", "unavailable"), 503),
    **dict.fromkeys(("server_error", "internal_server_error", "api_error"), 500),
    **dict.fromkeys(("context_length_exceeded", "content_policy_violation", "invalid_request_error"), 400),
    **dict.fromkeys(_KEY_OR_MODEL, 401),
    "permission_error": 403,
    "not_found_error": 404,
}

_STATUS = re.compile(r"[45][0-9]{2}")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|us|µs|ns|[dhms]))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|[dhms])")
_UNIT_SECONDS = {
    "d": 86_400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
# A number of seconds above the first is a point in Unix time (9 September 2001 or later), above the second in ms.
_UNIX_SECONDS, _UNIX_MILLISECONDS = 1e9, 1e11
# No header worth reading is longer; an endless one costs nothing.
_MOST_CHARACTERS = 64

Refusal = type[OverloadedError] | type[RejectedError] | type[EndpointError]


def refusal(
    status: int, *, error: object = None, headers: Mapping[str, str] | None = None, accepted: bool = False
) -> Refusal:
    """Return what an answer without a completion means: wait, give up this request, or give up the endpoint.

    A server that says `x-should-retry` decides between the first two; nothing overrides the third.

    Args:
        status: HTTP status, of an answer that is no success.
        error: The error in its body, see `stated_error`; its codes are looked at and, where there are none, its words.
        headers: Its headers, in any case.
        accepted: Whether the endpoint has answered an earlier request. Then 403 is about this one, unless it speaks
            of the key: moderating proxies send it for an input they do not like, with a key that is good.
    """
    found, said = {*_codes(error), *_details(error)}, error_message(error)
    stated = _stated_kind(status, found, said)
    if stated is not None:
        return stated
    known = _lower(headers or {})
    if status == 402 and "retry-after" in known:  # OpenRouter: what is in flight may cost more than is left
        return OverloadedError
    of_request = status == 403 and accepted and not _is_lasting(" ".join([*found, said]))
    if status < 400 or (status in _FINAL_FOR_ENDPOINT and not of_request):
        return EndpointError
    told = known.get("x-should-retry", "").strip().lower()
    if told in ("true", "false"):
        return OverloadedError if told == "true" else RejectedError
    return OverloadedError if status >= 500 or status in _RETRIED else RejectedError


def stated_error(answer: object) -> object:
    """Return the error in the JSON of an answer, or None: OpenAI's, in a list (Gemini), in a choice (OpenRouter)."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, Mapping):
        return None
    if answer.get("object") == "error":  # vLLM
        return answer
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return answer.get("error") or (first.get("error") if isinstance(first, Mapping) else None) or None


def error_message(error: object) -> str:
    """Return what an error says: OpenAI's `message`, FastAPI's `detail`, Ollama's bare text, or a page."""
    if isinstance(error, Mapping):
        said = next((error[key] for key in ("message", "detail", "error") if error.get(key)), "")
        return said if isinstance(said, str) else json.dumps(said, default=str)
    return error if isinstance(error, str) else ""


def stated_status(error: object) -> int | None:
    """Return the HTTP status that an error stands for by its codes, or None when they are not known."""
    for code in _codes(error):
        if _STATUS.fullmatch(code):
            return int(code)
        if code in _STATUS_OF_CODE:
            return _STATUS_OF_CODE[code]
    return None


def server_wait_seconds(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return how long the endpoint asked to wait, or None when it did not say; above 0, without a cap.

    Of several waits the longest counts, since an earlier attempt would meet the limit that is reset last. A limit
    that is not used up (`x-ratelimit-remaining-...` above 0) asks for none. What cannot be read asks for none.

    Args:
        headers: Of the answer, in any case: `retry-after-ms`, `retry-after` in seconds or as a date,
            `x-ratelimit-reset` and `x-ratelimit-reset-...` as a duration or a point in time.
        now: Unix time.
    """
    known = _lower(headers)
    milliseconds = _number(known.get("retry-after-ms", ""))
    waits = [None if milliseconds is None else milliseconds / 1000, _wait(known.get("retry-after", ""), now)]
    for name, text in known.items():
        if name.startswith("x-ratelimit-reset"):
            remaining = _number(known.get(name.replace("-reset", "-remaining", 1), ""))
            if remaining is None or remaining <= 0:
                waits.append(_wait(text, now))
    return max(
        (wait for wait in waits if wait is not None and 0 < wait <= LONGEST_WAIT_SECONDS), default=None
    )


def backoff_seconds(attempt: int, *, spread: float) -> float:
    """Return the wait after a failed attempt: exponential, capped, with full jitter, at least the floor.

    Full jitter draws from all of [0, ceiling): of the ways to spread, it needs the fewest calls until many clients
    that failed together are served (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Args:
        attempt: How many attempts failed before this one, from 0.
        spread: The draw, in [0, 1).
    """
    ceiling = min(CAP_SECONDS, math.ldexp(BASE_SECONDS, min(attempt, 64)))
    return max(FLOOR_SECONDS, spread * ceiling)


def _codes(error: object) -> list[str]:
    """Return what an error calls itself, in lower case, the most exact first."""
    if not isinstance(error, Mapping):
        return []
    named = (error.get(key) for key in ("code", "status", "type"))
    return [str(name).lower() for name in named if isinstance(name, str | int)]


def _stated_kind(status: int, found: AbstractSet[str], said: str) -> Refusal | None:
    """Return what the codes and words of an error decide whatever else it comes with, or None."""
    of_key = bool(found & _KEY_OR_MODEL) or _KEY_OR_ACCOUNT.search(said) is not None
    if found & _QUOTA or (400 <= status < 500 and of_key):
        return EndpointError
    if status == 400 and found & _FILTERED:
        return FilteredError
    return RejectedError if status == 429 and _is_too_large(said) else None


def _details(error: object) -> list[str]:
    """Return what the parts of an error call themselves, in lower case: Google's details, Azure's inner error."""
    if not isinstance(error, Mapping):
        return []
    details, inner = error.get("details"), error.get("innererror")
    parts = [*(details if isinstance(details, list) else []), inner]
    named = [part.get(key) for part in parts if isinstance(part, Mapping) for key in ("reason", "code")]
    return [name.lower() for name in named if isinstance(name, str)]


def _is_lasting(said: str) -> bool:
    """Return whether a refusal speaks of the key or the account, and not of what was sent; a page says neither."""
    return not ("<html" in said.lower() or _OF_REQUEST.search(said)) and _LASTING.search(said) is not None


def _is_too_large(said: str) -> bool:
    """Return whether a rate limit is one that this request alone exceeds."""
    found = _OF_LIMIT.search(said)
    limit, requested = (int(n.replace(",", "")) for n in found.groups()) if found else (0, 0)
    return requested > limit or _TOO_LARGE.match(said) is not None


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): text for name, text in headers.items()}


def _wait(text: str, now: float) -> float | None:
    """Return the seconds from now that a header names, as a number, a duration such as `1m30s`, or a date."""
    number = _number(text)
    if number is not None:
        if number < _UNIX_SECONDS:
            return number
        return number / (1000 if number >= _UNIX_MILLISECONDS else 1) - now
    duration = _duration(text)
    if duration is not None:
        return duration
    date = _date(text)
    return None if date is None else date - now


def _number(text: str) -> float | None:
    """Return a plain decimal number that is not negative: `float` alone would read `nan`, `inf` and `1_0` too."""
    text = text.strip()
    return float(text) if len(text) <= _MOST_CHARACTERS and _NUMBER.fullmatch(text) else None


def _duration(text: str) -> float | None:
    text = text.strip().lower()
    if len(text) > _MOST_CHARACTERS or not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))


def _date(text: str) -> float | None:
    """Return the Unix time of an HTTP date of any of its three forms; one without a zone is in UTC, as HTTP says."""
    if len(text) > _MOST_CHARACTERS:
        return None
    try:
        date = email.utils.parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
