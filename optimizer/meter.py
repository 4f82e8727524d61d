"""What an attempt may cost, what it did cost, and whether the budget holds another one."""

import dataclasses
import functools
from collections.abc import Iterable

from optimizer.budget import Budget
from optimizer.completion import Completion, Request
from optimizer.errors import BudgetError, TransientError
from optimizer.ledger import Charge, Ledger
from optimizer.pricing import Price


class Meter:
    """Holds a study to its budget.

    Args:
        price: US dollars from tokens read and written, or None where no price is known.
    """

    def __init__(self, ledger: Ledger, budget: Budget, price: Price | None = None) -> None:
        self.budget = budget
        self._ledger = ledger
        self._overrun = ledger.overrun()
        # A published price takes a while to look up, and the answers of a task are much of a length.
        self._price = None if price is None else functools.lru_cache(maxsize=4096)(price)

    def most(self, request: Request) -> Charge:
        """Return upper bounds of what one attempt may be charged."""
        read, written = request.most_tokens
        if self.budget.usd is None:
            return Charge(prompt_tokens=read, completion_tokens=written or 0)
        return self._charged(read, written or 0)

    def charge(self, outcome: Completion | Exception, most: Charge) -> Charge:
        """Return what an attempt is charged: what its answer says, or the upper bound where it does not say.

        From an answer on that was charged more than its bound, as where thoughts are not held by it, every other may be.
        """
        read: int | None
        written: int | None
        if isinstance(outcome, Completion):
            # No token read, or a text without a token written, is a figure that was not stated.
            read = outcome.prompt_tokens or None
            written = outcome.completion_tokens or (None if outcome.text else 0)
        elif isinstance(outcome, TransientError) and outcome.billable:
            read, written = outcome.prompt_tokens, outcome.completion_tokens
        else:
            return Charge()
        expected = self._expected(most)
        charge = self._charged(
            expected.prompt_tokens if read is None else read,
            expected.completion_tokens if written is None else written,
        )
        if charge.tokens > most.tokens or (self.budget.usd is not None and charge.usd > most.usd):
            self._overrun = max(self._overrun, charge.completion_tokens)
        return charge

    def priced(self, completion: Completion, *, key: str, cached: bool) -> Completion:
        """Return the completion with what it costs, where it is stored, and whether another study paid for it."""
        cost = completion.cost_at(self._price)
        return dataclasses.replace(completion, cost_usd=cost, cached=cached, key=key)

    def seconds_left(self) -> float | None:
        """Return how long the study may still be run, 0 or more; None without a bound."""
        seconds = self.budget.seconds
        return None if seconds is None else max(0.0, seconds - self._ledger.seconds)

    def refusal(self, key: str, request: Request) -> BudgetError | None:
        """Return why the budget will never hold a call again, or None."""
        budget, ledger = self.budget, self._ledger
        if ledger.calls >= budget.calls and not ledger.begun(key):
            return BudgetError(f"the budget of {budget.calls} calls is spent")
        if ledger.attempts >= budget.attempts:
            return BudgetError(f"the budget of {budget.attempts} attempts is spent")
        if budget.seconds is not None and ledger.seconds >= budget.seconds:
            return BudgetError(f"the budget of {budget.seconds:g} seconds is spent")
        if (budget.tokens is not None or budget.usd is not None) and request.most_tokens[1] is None:
            return BudgetError("a budget in tokens or money needs max_tokens, which bounds an answer")
        return None

    def shortage(self, reserved: Iterable[Charge]) -> BudgetError | None:
        """Return why the budget does not hold all that is under way, each attempt at what it may be charged, or None."""
        budget, charged = self.budget, self._ledger.charged
        if budget.tokens is None and budget.usd is None:
            return None
        most = [self._expected(each) for each in reserved]
        tokens, usd = sum(each.tokens for each in most), sum(each.usd for each in most)
        short = "what is left of the budget cannot hold one more call"
        if budget.tokens is not None and charged.tokens + tokens > budget.tokens:
            left = max(0, budget.tokens - charged.tokens)
            return BudgetError(f"{short}: {left:,} of {budget.tokens:,} tokens, and it may take {tokens:,}")
        if budget.usd is not None and charged.usd + usd > budget.usd:
            left_usd = max(0.0, budget.usd - charged.usd)
            told = f"{left_usd:.4g} of {budget.usd:g} US dollars, and it may cost {usd:.4g}"
            return BudgetError(f"{short}: {told}")
        return None

    def _expected(self, most: Charge) -> Charge:
        """Return what an attempt may be charged, where answers were longer than their bound."""
        if most.completion_tokens >= self._overrun:
            return most
        if self.budget.usd is None:
            return dataclasses.replace(most, completion_tokens=self._overrun)
        return self._charged(most.prompt_tokens, self._overrun)

    def _charged(self, read: int, written: int) -> Charge:
        usd = 0.0 if self._price is None else self._price(read, written)
        return Charge(prompt_tokens=read, completion_tokens=written, usd=usd)
