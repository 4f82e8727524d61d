"""Whether a failed call is tried again, is given up, or shows that the endpoint is down.

Pure: every `now` is in seconds of one monotonic clock.
"""

from typing import Literal

from optimizer.errors import TransientError, UnreachableError

# After how long no further attempt of a call is begun, unless the study says otherwise. Longer than most outages.
DEADLINE_SECONDS = 300.0

# How long an endpoint is tried that has not answered once, or with pages alone: most likely its address is wrong, or it is
# not started.
CONTACT_SECONDS = 10.0

# The reason of an answer that is a page for people, as a proxy sends it.
PAGE = "a web page"

# What a gateway says in the place of an endpoint that is down.
GATEWAY = frozenset({"502", "503", "504", "529", PAGE})

# Failures in a row, with no completion between, that are no chance: of a kind that speaks of the endpoint, and of kinds
# that single requests may cause as well, such as a 500, a time-out or a reset.
FAILED_IN_A_ROW = {"endpoint": 3, "any": 16}

# again: after a wait. error: this call has no answer. errors: nor have all that wait. outage: the endpoint is down.
Verdict = Literal["again", "error", "errors", "outage"]


class Patience:
    """Judges failures by what else was served.

    Attributes:
        deadline_seconds: After how long no further attempt of a call is begun.
        expects_more: Whether new calls come whenever some are given up, so that giving up what waits would end nothing.
    """

    def __init__(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self.deadline_seconds = deadline_seconds
        self.expects_more = False
        self._served_at: float | None = None  # when the latest request was sent that has its completion
        self._failed_at: list[float] = []  # since the last completion
        self._failed_keys: set[str] = set()  # of the calls concerned
        # Since the last completion, too: calls that are to wait longer than they may, and when all that waited was given up.
        self._put_off_keys: set[str] = set()
        self._given_up_at: float | None = None

    @property
    def n_failed(self) -> int:
        """Return how many attempts have failed in a row, with no completion between."""
        return len(self._failed_at)

    @property
    def exhausted(self) -> bool:
        """Return whether so many have failed in a row, of whatever kind, that single requests should find out."""
        return self.n_failed >= FAILED_IN_A_ROW["any"]

    def served(self, sent_at: float) -> None:
        """Take note of a completion, of a request that was sent then."""
        self._served_at = max(sent_at, self._served_at or 0.0)
        self._put_off_keys.clear()
        self._given_up_at = None
        self._forget()

    def failed(self, key: str, now: float, *, asked: float | None = None) -> None:
        """Take note of a failed attempt of a call, after which the endpoint asked to wait so many seconds."""
        self._failed_at.append(now)
        self._failed_keys.add(key)
        if (asked or 0.0) > self.deadline_seconds:
            self._put_off_keys.add(key)

    def silent_seconds(self, now: float) -> float:
        """Return how long nothing but failures came."""
        return now - self._failed_at[0] if self._failed_at else 0.0

    def verdict(
        self, error: TransientError, *, wait: float, first_sent: float, first_failed: float, now: float
    ) -> Verdict:
        """Return what follows for a call whose attempt has failed, which `failed` was told before.

        Args:
            wait: Seconds before the next attempt could be made.
            first_sent: When the first attempt of the call was sent.
            first_failed: When the first attempt of the call was known to have failed.
        """
        if self._over(error, now):
            return "outage"
        unsent = isinstance(error, UnreachableError) and not error.billable  # no request is the cause of that
        of_endpoint = unsent or error.reason in GATEWAY or error.reason == "429"
        quick = (unsent or error.reason == PAGE) and self._served_at is None
        patience = min(CONTACT_SECONDS if quick else self.deadline_seconds, self.deadline_seconds)
        many = self.n_failed >= FAILED_IN_A_ROW["endpoint" if of_endpoint else "any"]
        lasting = many and self.silent_seconds(now) > patience
        if now + wait <= first_sent + patience and not lasting:
            return "again"
        # What was sent before the first failure may still be finished by a server that is shutting down.
        silent = self._served_at is None or self._served_at <= first_failed
        # A gateway's answer to one call alone may be that call's: a 504 for an answer that takes too long.
        several = unsent or len(self._failed_keys) > 1
        if of_endpoint and silent and several and (error.retry_after_seconds or 0.0) <= self.deadline_seconds:
            return "outage"
        if not lasting or of_endpoint:
            return "error"
        # An endpoint that is down is not told from requests it cannot take; what waits is judged anew later.
        self._forget()
        self._given_up_at = now
        return "errors"

    def _over(self, error: TransientError, now: float) -> bool:
        """Return whether it shows, deadline of this call or not, that nothing is to be had of the endpoint for long."""
        few = FAILED_IN_A_ROW["endpoint"]
        if (error.retry_after_seconds or 0.0) > self.deadline_seconds and len(self._put_off_keys) >= few:
            return True  # as where the requests of a day are used up
        lasting = self._given_up_at is not None and now - self._given_up_at > self.deadline_seconds
        return self.expects_more and lasting and self.n_failed >= few

    def _forget(self) -> None:
        self._failed_at.clear()
        self._failed_keys.clear()
