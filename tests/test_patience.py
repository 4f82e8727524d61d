"""When a failed call is tried again, given up, or shows that the endpoint is down."""

import pytest

from optimizer.errors import BrokenAnswerError, OverloadedError, TransientError, UnreachableError
from optimizer.patience import CONTACT_SECONDS, FAILED_IN_A_ROW, PAGE, Patience, Verdict

REFUSED = UnreachableError("no", reason="refused")
TIMED_OUT = UnreachableError("no", reason="time-out", billable=True)
PAGED = BrokenAnswerError("no", reason=PAGE)
BROKEN = BrokenAnswerError("no", reason="no JSON", billable=True)


def overloaded(reason: str, wait: float | None = None) -> OverloadedError:
    return OverloadedError("no", reason=reason, retry_after_seconds=wait)


def judged(
    error: TransientError,
    *,
    failures: list[float],
    served: float | None = None,
    first_sent: float = 0.0,
    now: float,
) -> Verdict:
    """Return the verdict on a call that failed first at the first of these failures, with a deadline of 100 s."""
    patience = Patience(100.0)
    if served is not None:
        patience.served(served)
    for n, moment in enumerate(failures):
        patience.failed(f"call {n}", moment)
    return patience.verdict(error, wait=1.0, first_sent=first_sent, first_failed=failures[0], now=now)


ENDPOINT = [
    REFUSED,
    PAGED,
    overloaded("429"),
    *(overloaded(status) for status in ("502", "503", "504", "529")),
]
ANY = [TIMED_OUT, BROKEN, overloaded("500"), overloaded("408")]


def named(error: TransientError) -> str:
    return error.reason


@pytest.mark.parametrize("error", [*ENDPOINT, *ANY], ids=named)
def test_a_call_is_tried_again_before_its_deadline(error: TransientError) -> None:
    assert judged(error, failures=[1.0, 50.0], served=0.5, now=50.0) == "again"
    assert judged(error, failures=[1.0, 99.0], served=0.5, now=99.0) == "again"
    assert judged(error, failures=[1.0, 99.1], served=0.5, now=99.1) != "again"


@pytest.mark.parametrize("error", ENDPOINT, ids=named)
def test_an_endpoint_that_served_nothing_since_is_down(error: TransientError) -> None:
    failures = [1.0, 50.0, 101.5]
    assert judged(error, failures=failures, served=0.5, now=101.5) == "outage"
    assert judged(error, failures=failures, served=1.5, now=101.5) == "error"


@pytest.mark.parametrize("error", ANY, ids=named)
def test_what_one_request_may_cause_is_no_outage(error: TransientError) -> None:
    assert judged(error, failures=[1.0, 50.0, 101.5], served=0.5, now=101.5) == "error"


@pytest.mark.parametrize("error", ANY, ids=named)
def test_many_failures_for_a_whole_deadline_give_up_all_that_waits(error: TransientError) -> None:
    failures = [1.0 + n for n in range(FAILED_IN_A_ROW["any"])]
    assert judged(error, failures=failures, first_sent=90.0, now=100.0) == "again"
    assert judged(error, failures=failures, first_sent=90.0, now=101.5) == "errors"


def test_what_was_given_up_together_is_judged_anew() -> None:
    patience = Patience(100.0)
    for _ in range(FAILED_IN_A_ROW["any"]):
        patience.failed("a", 0.0)
    assert patience.exhausted
    assert patience.verdict(BROKEN, wait=1.0, first_sent=0.0, first_failed=0.0, now=101.0) == "errors"
    assert patience.n_failed == 0
    assert patience.silent_seconds(101.0) == 0.0


def test_an_endpoint_that_never_answered_is_given_up_early() -> None:
    late = CONTACT_SECONDS + 1
    assert judged(REFUSED, failures=[0.1, 5.0, late], now=late) == "outage"
    assert judged(PAGED, failures=[0.1, 5.0, late], now=late) == "outage"
    assert judged(PAGED, failures=[0.1], now=late) == "error", (
        "it may be this request that is answered with a page"
    )
    assert judged(REFUSED, failures=[0.1, 5.0, late], served=0.05, now=late) == "again"
    assert judged(PAGED, failures=[0.1, 5.0, late], served=0.05, now=late) == "again"
    assert judged(TIMED_OUT, failures=[0.1, 5.0, late], now=late) == "again"


def test_a_deadline_shorter_than_the_early_end_holds() -> None:
    patience = Patience(2.0)
    patience.failed("a", 0.1)
    assert patience.verdict(REFUSED, wait=0.1, first_sent=0.0, first_failed=0.1, now=0.1) == "again"
    assert patience.verdict(REFUSED, wait=0.1, first_sent=0.0, first_failed=0.1, now=2.0) == "outage"


def test_a_wait_beyond_the_deadline_gives_up_the_call_alone() -> None:
    patience = Patience(100.0)
    patience.failed("a", 1.0)
    asked = overloaded("429", 3600.0)
    assert patience.verdict(asked, wait=3600.0, first_sent=0.0, first_failed=1.0, now=1.0) == "error"


def test_a_completion_ends_the_silence() -> None:
    patience = Patience(100.0)
    patience.failed("a", 1.0)
    patience.failed("b", 2.0)
    assert (patience.n_failed, patience.silent_seconds(11.0)) == (2, 10.0)
    patience.served(3.0)
    assert (patience.n_failed, patience.silent_seconds(11.0)) == (0, 0.0)


@pytest.mark.parametrize("error", [overloaded("504"), overloaded("429")], ids=named)
def test_one_call_alone_makes_no_outage_of_what_a_gateway_says(error: TransientError) -> None:
    patience = Patience(100.0)
    patience.served(0.5)
    for moment in (1.0, 50.0, 101.5):
        patience.failed("a", moment)
    assert patience.verdict(error, wait=1.0, first_sent=0.0, first_failed=1.0, now=101.5) == "error"
    patience.failed("b", 101.6)
    assert patience.verdict(error, wait=1.0, first_sent=0.0, first_failed=1.0, now=101.6) == "outage"


def test_a_wait_beyond_the_deadline_for_several_calls_is_an_outage_until_something_is_served() -> None:
    patience, asked = Patience(100.0), overloaded("429", 3600.0)

    def verdict(key: str, now: float) -> Verdict:
        patience.failed(key, now, asked=3600.0)
        return patience.verdict(asked, wait=3600.0, first_sent=now, first_failed=now, now=now)

    assert [verdict(key, 1.0) for key in "aaaaab"] == ["error"] * 6
    patience.served(0.5)
    assert [verdict(key, 2.0) for key in "cde"] == ["error", "error", "outage"]


@pytest.mark.parametrize("more", [True, False])
def test_a_silence_that_outlasts_one_giving_up_is_an_outage_where_new_calls_come_for_those(
    more: bool,
) -> None:
    patience = Patience(100.0)
    patience.expects_more = more

    def verdict(now: float) -> Verdict:
        return patience.verdict(TIMED_OUT, wait=1.0, first_sent=now, first_failed=now, now=now)

    for _ in range(FAILED_IN_A_ROW["any"]):
        patience.failed("a", 0.0)
    assert verdict(101.0) == "errors"
    for moment in (150.0, 190.0, 201.0):
        patience.failed("b", moment)
        assert verdict(moment) == "again"
    patience.failed("c", 202.0)
    assert verdict(202.0) == ("outage" if more else "again")
    patience.served(202.0)
    for moment in (203.0, 204.0, 205.0):
        patience.failed("d", moment)
    assert verdict(205.0) == "again"
