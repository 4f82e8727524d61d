from email.utils import formatdate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from optimizer.errors import EndpointError, FilteredError, OverloadedError, RejectedError
from optimizer.retry import (
    CAP_SECONDS,
    FLOOR_SECONDS,
    LONGEST_WAIT_SECONDS,
    Refusal,
    backoff_seconds,
    error_message,
    refusal,
    server_wait_seconds,
    stated_error,
    stated_status,
)

NOW = 1_800_000_000.5
AGAIN, ONE, ALL, FILTER = OverloadedError, RejectedError, EndpointError, FilteredError
SAYS_YES, SAYS_NO = {"x-should-retry": "true"}, {"X-Should-Retry": " False"}

NO_ERROR: tuple[object, ...] = (
    *(None, 1, "error", [], [1, 2], {}, {"error": None}, {"error": ""}, {"error": {}}),
    *({"choices": None}, {"choices": [None]}),
)

laws = settings(max_examples=200, deadline=None)


@pytest.mark.parametrize(
    ("status", "codes", "headers", "accepted", "expected"),
    [
        *((status, (), {}, False, AGAIN) for status in (408, 409, 425, 429, 498)),
        *((status, (), {}, False, AGAIN) for status in (500, 502, 503, 504, 520, 524, 529, 599)),
        *((status, (), {}, False, ONE) for status in (400, 406, 411, 413, 414, 415, 418, 422, 424, 431, 451)),
        *((status, (), {}, False, ALL) for status in (401, 402, 403, 404, 405, 407, 410, 426, 501, 505)),
        *((status, (), {}, False, ALL) for status in (300, 301, 302, 304, 307, 308)),
        # 403 is about one input once the key was good.
        (403, (), {}, True, ONE),
        (403, (), SAYS_YES, True, AGAIN),
        (403, ("insufficient_quota",), {}, True, ALL),
        *((status, (), {}, True, ALL) for status in (401, 402, 404)),
        # A quota is not a rate limit.
        (429, ("rate_limit_exceeded", "tokens"), {}, False, AGAIN),
        (429, ("429", "RESOURCE_EXHAUSTED"), {}, False, AGAIN),
        (429, ("insufficient_quota", "insufficient_quota"), {}, False, ALL),
        (429, ("project_spend_limit_exceeded", "insufficient_quota"), {}, True, ALL),
        (429, ("billing_hard_limit_reached",), SAYS_YES, False, ALL),
        (429, ("exceeded_current_quota_error",), {"retry-after": "1"}, False, ALL),
        (400, ("blocked_api_access",), {}, False, ALL),
        (400, ("Arrearage",), {}, False, ALL),
        (500, ("insufficient_quota",), {}, False, ALL),
        # What some servers say about a key or a model with 400.
        (400, ("invalid_api_key", "invalid_request_error"), {}, False, ALL),
        (400, ("model_decommissioned",), {}, False, ALL),
        (400, ("context_length_exceeded", "invalid_request_error"), {}, False, ONE),
        # OpenRouter: the money is bound by what is in flight, not gone.
        (402, (), {"Retry-After": "2"}, False, AGAIN),
        # A server that knows is believed, except about keys and accounts.
        *((status, (), SAYS_YES, False, AGAIN) for status in (400, 422, 429, 500)),
        *((status, (), SAYS_NO, False, ONE) for status in (400, 408, 409, 429, 500, 503)),
        *((status, (), SAYS_YES, False, ALL) for status in (401, 402, 403, 404, 501)),
        (500, (), {"x-should-retry": "perhaps"}, False, AGAIN),
        (400, (), {"x-should-retry": "1"}, False, ONE),
    ],
)
def test_an_answer_without_a_completion_is_worth_a_wait_or_ends_a_request_or_the_run(
    status: int, codes: tuple[str, ...], headers: dict[str, str], *, accepted: bool, expected: Refusal
) -> None:
    error = dict(zip(("code", "type"), codes, strict=False))

    assert refusal(status, error=error, headers=headers, accepted=accepted) is expected


CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
GEMINI = {"code": 400, "message": "Bad", "status": "INVALID_ARGUMENT"}
AZURE = {"message": "The response was filtered", "innererror": {"code": "ResponsibleAIPolicyViolation"}}


def details(reason: str) -> dict[str, object]:
    return {**GEMINI, "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}, 1]}


def limit(figures: str) -> dict[str, object]:
    return {
        "code": "rate_limit_exceeded",
        "message": f"Rate limit reached on tokens per min: {figures}. Try later.",
    }


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        # A dead key or an empty account, told with 400 in words alone.
        (400, {"type": "invalid_request_error", "message": CREDIT}, ALL),
        (
            400,
            {"message": f'litellm.BadRequestError: AnthropicException - b\'{{"message":"{CREDIT}"}}\''},
            ALL,
        ),
        (400, {"message": "You have reached your specified API usage limits."}, ALL),
        (400, {**GEMINI, "message": "API key expired. Please renew the API key."}, ALL),
        (400, {**GEMINI, "message": "API key not valid. Please pass a valid API key."}, ALL),
        (400, {**GEMINI, "message": "User location is not supported for the API use."}, ALL),
        (400, "Incorrect API key provided: xa***yz.", ALL),
        (
            412,
            {"message": "Account me-1 is suspended, possibly due to reaching the monthly spending limit"},
            ALL,
        ),
        (400, details("API_KEY_INVALID"), ALL),
        (403, details("SERVICE_DISABLED"), ALL),
        (400, details("FIELD_INVALID"), ONE),
        (402, {"message": "Insufficient credits for what is in flight"}, ALL),
        # What repeats the request may say anything.
        (400, {"message": f"Unsupported value: '{CREDIT}'"}, ONE),
        (422, {"detail": [{"input": CREDIT}]}, ONE),
        (500, {"message": CREDIT}, AGAIN),
        # A filter before the model.
        (400, {**AZURE, "code": "content_filter"}, FILTER),
        (400, {"code": "content_policy_violation"}, FILTER),
        (400, AZURE, FILTER),
        (429, {"code": "content_filter"}, AGAIN),
        # A request that no wait makes smaller than the limit.
        (
            429,
            {"code": "rate_limit_exceeded", "message": "Request too large for gpt-4o on tokens per min"},
            ONE,
        ),
        (429, limit("Limit 30000, Requested 41234"), ONE),
        (429, limit("Limit 30,000, Used 29,000, Requested 30,001"), ONE),
        (429, limit("Limit 30000, Used 29000, Requested 30000"), AGAIN),
        (429, limit("Limit 30000, Used 29000, Requested 2000"), AGAIN),
        (429, limit(f"Limit 1, Requested {'9' * 5000}"), AGAIN),
        (429, {"code": "insufficient_quota", "message": "Request too large"}, ALL),
    ],
)
def test_the_words_of_an_error_are_read_where_its_codes_do_not_tell(
    status: int, error: object, expected: Refusal
) -> None:
    assert refusal(status, error=error, accepted=True) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "Key revoked", "code": 403}, ALL),
        (
            {"message": "Key limit exceeded (total limit). Manage it at https://openrouter.ai/settings/keys"},
            ALL,
        ),
        ({"message": "Your API key was reported as leaked.", "status": "PERMISSION_DENIED"}, ALL),
        ({"message": "no", "type": "permission_error"}, ALL),
        ("Your newly created teams doesn't have any credits yet.", ALL),
        ({"message": "Out of call volume quota."}, ALL),
        ({"message": 'Your input was flagged for "violence". No credits were charged.'}, ONE),
        ("Content violates usage guidelines. Your account may be limited.", ONE),
        ({"message": "The prompt holds key words that are not allowed"}, ONE),
        ("<html><title>Blocked</title>Write to the account manager</html>", ONE),
        ({"message": "Forbidden"}, ONE),
        (None, ONE),
    ],
)
def test_403_ends_the_run_after_an_answer_where_it_speaks_of_the_key_and_not_of_the_request(
    error: object, expected: Refusal
) -> None:
    assert refusal(403, error=error, accepted=True) is expected
    assert refusal(403, error=error, accepted=False) is ALL


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, None),
        ("rate_limit_exceeded", None),
        ({}, None),
        ({"code": None, "message": "429"}, None),
        ({"code": "teapot_error"}, None),
        ({"code": 429}, 429),
        ({"code": "503", "type": "rate_limit_error"}, 503),
        ({"code": 502, "status": "x"}, 502),
        *(
            ({"code": code}, None)
            for code in (200, 302, 600, "0429", "４２９", True, 429.0, [429], {"x": 429})
        ),
        ({"code": "rate_limit_exceeded"}, 429),
        ({"type": "Too_Many_Requests"}, 429),
        ({"status": "RESOURCE_EXHAUSTED"}, 429),
        ({"code": "insufficient_quota"}, 429),
        ({"type": "overloaded_error"}, 503),
        ({"type": "server_error", "code": None}, 500),
        ({"type": "invalid_request_error", "code": "invalid_api_key"}, 401),
        ({"code": "context_length_exceeded"}, 400),
    ],
)
def test_the_codes_of_an_error_stand_for_a_status(error: object, expected: int | None) -> None:
    assert stated_status(error) == expected


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ({"error": {"message": "no"}}, {"message": "no"}, "no"),
        ({"error": "model not found"}, "model not found", "model not found"),
        ([{"error": {"message": "Gemini"}}], {"message": "Gemini"}, "Gemini"),
        ({"choices": [{"error": {"message": "cut off"}}]}, {"message": "cut off"}, "cut off"),
        ({"choices": [], "error": {"message": "x"}}, {"message": "x"}, "x"),
        (
            {"object": "error", "message": "m", "code": 400},
            {"object": "error", "message": "m", "code": 400},
            "m",
        ),
        ({"error": {"detail": [{"loc": 1}]}}, {"detail": [{"loc": 1}]}, '[{"loc": 1}]'),
        ({"error": {"code": 7}}, {"code": 7}, ""),
        *((nothing, None, "") for nothing in NO_ERROR),
        ({"choices": [{"message": {"content": "error"}}]}, None, ""),
    ],
)
def test_an_error_is_found_wherever_servers_put_it(answer: object, error: object, message: str) -> None:
    assert stated_error(answer) == error
    assert error_message(error) == message


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "0.001"}, 0.001),
        ({"RETRY-AFTER-MS": "250"}, 0.25),
        ({"retry-after-ms": "1500.5", "retry-after": "1"}, 1.5005),
        ({"retry-after-ms": "20", "retry-after": "3"}, 3),
        ({"retry-after": "86400"}, 86_400),
        # The three forms of an HTTP date, and one that names no zone.
        ({"retry-after": formatdate(NOW + 60, usegmt=True)}, 59.5),
        ({"retry-after": "Friday, 15-Jan-27 08:01:00 GMT"}, 59.5),
        ({"retry-after": "Fri Jan 15 08:01:00 2027"}, 59.5),
        ({"retry-after": "Fri, 15 Jan 2027 08:01:00"}, 59.5),
        ({"retry-after": "Fri, 15 Jan 2027 08:01:00 -0000"}, 59.5),
        ({"retry-after": "Fri, 15 Jan 2027 09:01:00 +0100"}, 59.5),
        ({"retry-after": formatdate(NOW - 60, usegmt=True)}, None),
        # Durations as OpenAI and Groq write them.
        ({"x-ratelimit-reset-requests": "1m30s"}, 90),
        ({"x-ratelimit-reset-tokens": "6ms"}, 0.006),
        ({"x-ratelimit-reset-tokens": "1h2m"}, 3720),
        ({"x-ratelimit-reset-tokens": "7.66s"}, 7.66),
        ({"x-ratelimit-reset-tokens": "8m38.4s"}, 518.4),
        ({"x-ratelimit-reset-requests": "120"}, 120),
        ({"x-ratelimit-reset-requests": "2d"}, 172_800),
        ({"x-ratelimit-reset-requests": "500us"}, 0.0005),
        ({"retry-after": "30s"}, 30),
        # Points in time: Unix seconds, and milliseconds as OpenRouter writes them.
        ({"X-RateLimit-Reset": "1800000030"}, 29.5),
        ({"X-RateLimit-Reset": "1800000030500"}, 30),
        ({"X-RateLimit-Reset": "1799999999"}, None),
        # A limit that is not used up asks for no wait.
        ({"x-ratelimit-reset-requests": "9s", "x-ratelimit-remaining-requests": "99"}, None),
        ({"x-ratelimit-reset-requests": "9s", "x-ratelimit-remaining-requests": "0"}, 9),
        ({"x-ratelimit-reset-requests": "9s", "x-ratelimit-remaining-requests": "-1"}, 9),
        ({"x-ratelimit-reset-requests": "9s", "x-ratelimit-remaining-tokens": "99"}, 9),
        ({"x-ratelimit-reset": "9", "x-ratelimit-remaining": "1"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "4999",
                "x-ratelimit-reset-requests": "12ms",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6.2s",
            },
            6.2,
        ),
        # The longest of several.
        ({"retry-after": "2", "x-ratelimit-reset-tokens": "3s", "x-ratelimit-reset-requests": "1s"}, 3),
        ({"retry-after": "-4", "x-ratelimit-reset-tokens": "3s"}, 3),
        # What asks for none.
        *(({"retry-after": text}, None) for text in ("0", "-1", "nan", "inf", "-inf", "1e3", "1_0", "١", "")),
        *(
            ({"retry-after": text}, None)
            for text in ("soon", "9" * 400, "99999999", "1, 5", "5 s", "s", "1s1")
        ),
        ({"retry-after": "Fri, 99 Foo 2027 08:01:00 GMT"}, None),
        ({"retry-after": "Fri, 15 Jan 99999 08:01:00 GMT"}, None),
        ({"retry-after-ms": "10s"}, None),
        ({"date": "Fri, 15 Jan 2027 08:01:00 GMT", "x-request-id": "7"}, None),
    ],
)
def test_a_wait_is_read_however_a_server_says_it(headers: dict[str, str], expected: float | None) -> None:
    found = server_wait_seconds(headers, now=NOW)

    assert found == (None if expected is None else pytest.approx(expected))


LIMITS = (
    "x-ratelimit-reset",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-remaining",
    "x-ratelimit-remaining-tokens",
)
names = st.sampled_from(("retry-after", "Retry-After-Ms", "x-should-retry", *LIMITS)) | st.text(max_size=8)
keys = st.sampled_from(("error", "code", "type", "status", "choices", "object", "message", "detail"))
texts = st.one_of(
    st.text(max_size=40),
    st.text("0123456789.+-e dhmsuµn:,", max_size=24),
    st.floats().map(str),
    st.integers().map(str),
    st.floats(-1e12, 1e12).map(lambda at: f"{at:f}"),
    st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    st.lists(
        st.sampled_from(["Fri,", "15", "Jan", "2027", "08:01:00", "99:99", "GMT", "+9999", "(", "-"])
    ).map(" ".join),
)


scalars = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)
answers: st.SearchStrategy[object] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=4)
    ),
)


@laws
@given(headers=st.dictionaries(names, texts, max_size=5), now=st.floats(0, 4e9))
@example(headers={"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"}, now=NOW)
@example(headers={"retry-after": "1" * 5000}, now=NOW)
def test_no_header_makes_a_wait_negative_endless_or_an_error(headers: dict[str, str], now: float) -> None:
    wait = server_wait_seconds(headers, now=now)

    assert wait is None or 0 < wait <= LONGEST_WAIT_SECONDS


@laws
@given(
    status=st.integers(100, 999),
    answer=answers,
    headers=st.dictionaries(names, texts, max_size=3),
    accepted=st.booleans(),
)
def test_every_answer_has_a_meaning(
    status: int, answer: object, headers: dict[str, str], *, accepted: bool
) -> None:
    error = stated_error(answer)

    assert refusal(status, error=error, headers=headers, accepted=accepted) in (AGAIN, ONE, ALL, FILTER)
    assert isinstance(error_message(error), str)
    assert stated_status(error) is None or 400 <= (stated_status(error) or 0) < 600


@laws
@given(attempt=st.integers(0, 10**9), spread=st.floats(0, 1, exclude_max=True))
def test_a_wait_lies_between_floor_and_cap(attempt: int, spread: float) -> None:
    wait = backoff_seconds(attempt, spread=spread)

    assert FLOOR_SECONDS <= wait <= CAP_SECONDS
    assert wait <= backoff_seconds(attempt + 1, spread=spread)


@pytest.mark.parametrize(
    ("attempt", "spread", "expected"),
    [(0, 0.5, 0.25), (1, 0.5, 0.5), (3, 0.5, 2), (5, 0.5, 8), (6, 0.5, 15), (60, 0.5, 15), (9, 0.0, 0.05)],
)
def test_waits_double_up_to_the_cap_and_are_drawn_from_all_of_it(
    attempt: int, spread: float, expected: float
) -> None:
    assert backoff_seconds(attempt, spread=spread) == pytest.approx(expected)
