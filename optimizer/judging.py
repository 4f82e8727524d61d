"""The models that a task's metrics ask, each behind a caller and on an account of its own.

They share the study's database, so their answers are committed before they are used and never paid for twice; what
they cost is no cost of the prompt that is judged.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import get_args

from optimizer.ballot import Referee
from optimizer.budget import Budget
from optimizer.calls import Caller
from optimizer.config import PriceSpec
from optimizer.lanes import Lanes
from optimizer.ledger import CacheMode, Ledger
from optimizer.metrics import Role
from optimizer.models import MODELS, Connection, ModelSpec, counts_thoughts
from optimizer.pacing import Pace, Pacing
from optimizer.patience import DEADLINE_SECONDS
from optimizer.pricing import Price, price_of
from optimizer.scoring import Prepared
from optimizer.store import Store

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, kw_only=True, slots=True)
class Engagement:
    """A model that is to be asked, and how often at most.

    Attributes:
        spec: The model, its file, if it has one, found.
        budget: The hard limits of its account.
        prices: Prices by model name, in place of the published ones.
    """

    spec: ModelSpec
    budget: Budget
    prices: Mapping[str, PriceSpec] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """How they are called.

    Attributes:
        pace: From a model's slots, and whether it runs on this machine, to how many requests may be under way.
        cache: Which completions of other studies are taken.
        deadline_seconds: After how long no further attempt of a call is begun.
        lanes: Connections and paces that are shared with other studies; None shares nothing.
        anew: Whether attempts of earlier processes take nothing from those that a budget holds.
    """

    pace: Callable[[int, bool], Pace]
    cache: CacheMode = "shared"
    deadline_seconds: float = DEADLINE_SECONDS
    lanes: Lanes | None = None
    anew: bool = False

    def connect(self, spec: ModelSpec) -> AbstractAsyncContextManager[Connection]:
        """Return the connection to a model, for the length of an `async with`."""
        return MODELS[spec.provider].connect(spec) if self.lanes is None else self.lanes.connect(spec)

    def caller(
        self, spec: ModelSpec, connection: Connection, ledger: Ledger, budget: Budget, price: Price | None
    ) -> Caller:
        """Return the one way to a model that is open."""
        slots = connection.capabilities.slots
        pace: Pacing
        if self.lanes is None:
            pace = self.pace(slots, MODELS[spec.provider].free)
        else:
            pace = self.lanes.lane(spec, slots=slots)
        return Caller(
            connection, ledger, budget=budget, pace=pace, price=price, deadline_seconds=self.deadline_seconds
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """The models that metrics ask, open.

    Attributes:
        models: What the metrics are handed.
        callers: Behind each of them.
        budgets: Calls that each may take.
        identities: What tells each from every other model, by its role.
        priced: The roles whose price is known.
    """

    models: Mapping[Role, Referee] = field(default_factory=dict)
    callers: Mapping[Role, Caller] = field(default_factory=dict)
    budgets: Mapping[Role, int] = field(default_factory=dict)
    identities: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    priced: frozenset[Role] = frozenset()

    def stop(self) -> None:
        """Send nothing more; requests under way are finished and committed."""
        for caller in self.callers.values():
            caller.stop()

    def figures(self) -> dict[str, dict[str, object]]:
        """Return what each has used, by role, as `--json` shows it; dollars are null where no price is known."""
        found: dict[str, dict[str, object]] = {}
        for role, caller in self.callers.items():
            spent = caller.spent
            found[role] = {
                "calls": spent.calls,
                "budget": self.budgets[role],
                "cached": spent.cached,
                "tokens": spent.tokens,
                "usd": spent.usd if role in self.priced else None,
                "retried": sum(spent.failures.values()),
                "lost_in_flight": spent.lost_in_flight,
            }
        return found


def asks(metrics: Iterable[Prepared]) -> dict[Role, int]:
    """Return how many calls of each model some metrics take for one answer at most, in the order of the roles."""
    found = dict.fromkeys(ROLES, 0)
    for prepared in metrics:
        for role in prepared.metric.needs:
            found[role] += prepared.metric.asks(prepared.setting)
        for role, n in asks(part for _, part in prepared.parts).items():
            found[role] += n
    return {role: n for role, n in found.items() if n}


@asynccontextmanager
async def open_bench(
    store: Store, study: int, engagements: Mapping[Role, Engagement], terms: Terms
) -> AsyncIterator[Bench]:
    """Open the models that a study's metrics ask.

    Raises:
        ModelError: When one cannot be started or reached.
    """
    callers: dict[Role, Caller] = {}
    models: dict[Role, Referee] = {}
    identities: dict[str, Mapping[str, object]] = {}
    priced = set[Role]()
    async with AsyncExitStack() as stack:
        for role, engaged in engagements.items():
            spec, provider = engaged.spec, MODELS[engaged.spec.provider]
            connection = await stack.enter_async_context(terms.connect(spec))
            price = price_of(
                spec.name,
                base_url=spec.base_url,
                free=provider.free,
                overrides=engaged.prices,
                service_tier=spec.parameters.get("service_tier"),
            )
            model = f"{spec.provider}:{spec.name}"
            ledger = Ledger(store, account(study, role), model=model, cache=terms.cache)
            budget = engaged.budget.after(ledger.attempts) if terms.anew else engaged.budget
            caller = callers[role] = terms.caller(spec, connection, ledger, budget, price)
            stack.push_async_callback(caller.close)
            models[role] = Referee(
                model=caller,
                capabilities=connection.capabilities,
                parameters=tuple(sorted(spec.parameters.items())),
                counts_thoughts=counts_thoughts(spec.base_url),
            )
            identities[role] = connection.identity
            priced |= {role} if price is not None else set()
        budgets = {role: engaged.budget.calls for role, engaged in engagements.items()}
        yield Bench(
            models=models, callers=callers, budgets=budgets, identities=identities, priced=frozenset(priced)
        )


def account(study: int, role: Role) -> int:
    """Return the number of an account that no study has and no other role of any study: studies count from 1."""
    return -(study * len(ROLES) + ROLES.index(role))
