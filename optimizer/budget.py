"""What a study may use, what it has used, and the arithmetic of both."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

# Requests that calls may take on average, and those that any may take, however few: five minutes of an endpoint that is
# busy take some 80 beside those that are answered, and it is the deadline of a call that is to end them.
_ATTEMPTS, _LEAST_ATTEMPTS = 4, 400


def attempts_for(calls: int) -> int:
    """Return how many requests so many calls may take where nothing else is stated."""
    return max(_ATTEMPTS * calls, _LEAST_ATTEMPTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Hard limits of one study; None sets no bound.

    Attributes:
        calls: Logical calls.
        attempts: Requests on the wire, retries and re-sent calls included.
        tokens: Tokens read and written, those of unusable answers included.
        usd: US dollars, by the price that the caller was given.
        seconds: Time spent running, over all processes.
    """

    calls: int
    attempts: int
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None

    def after(self, attempts: int) -> "Budget":
        """Return these limits with their attempts counted from those that were made already."""
        return dataclasses.replace(self, attempts=self.attempts + attempts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """What some work takes at most, in the three units that can be planned.

    Attributes:
        least_tokens: Tokens below which no tokenizer gets.
        least_usd: What those cost.
    """

    calls: int = 0
    tokens: float = 0.0
    usd: float = 0.0
    least_tokens: float = 0.0
    least_usd: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return self._with(other, 1)

    def __mul__(self, n: int) -> "Amount":
        return Amount()._with(self, n)

    def _with(self, other: "Amount", n: int) -> "Amount":
        sums = {f.name: getattr(self, f.name) + n * getattr(other, f.name) for f in dataclasses.fields(self)}
        return Amount(**sums)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What a study has used so far, by this process and those before it.

    Attributes:
        cached: Answers that this process took from the store.
        usd: Charged, or 0 where no price is known.
        lost_in_flight: Attempts that a killed process never heard of again; a provider may have billed them.
        lost_tokens: Upper bound of the tokens of those attempts. They are not charged to the budget.
        lost_usd: What those cost; 0 without a budget in dollars.
        failures: Failed attempts by reason; all but the last of each call were retried.
        damaged: Stored answers that could not be read and are asked again.
    """

    calls: int = 0
    attempts: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    lost_in_flight: int = 0
    lost_tokens: int = 0
    lost_usd: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)
    damaged: int = 0

    @property
    def tokens(self) -> int:
        """Return tokens read and written."""
        return self.prompt_tokens + self.completion_tokens

    def to_dict(self) -> dict[str, object]:
        """Return the figures as plain data."""
        figures = dataclasses.asdict(self)
        return {**figures, "seconds": round(self.seconds, 1), "failures": dict(sorted(self.failures.items()))}
