"""The account of one study: every call it began, what became of it, who pays, and what it cost.

Changes are collected and committed together. What is begun is committed before it is sent, and what is answered is
committed before it is used; a process that is killed in between leaves calls marked as sent, which the next one
counts as lost in flight and sends again as the same calls.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from optimizer.budget import Spent
from optimizer.cache import SHARED, Cache
from optimizer.completion import Completion
from optimizer.store import CALLS, FAILURES, RUNS, Store

# shared: takes and gives. private: takes and gives none. refresh: takes none and replaces what others have.
CacheMode = Literal["shared", "private", "refresh"]

_CHARGED = ("prompt_tokens", "completion_tokens", "usd")

_BEGIN = sa.text(
    "INSERT INTO ps_call (study, key, payer, state, attempts, bound_tokens, bound_usd,"
    " prompt_tokens, completion_tokens, usd, wasted_tokens, lost, lost_tokens, lost_usd)"
    " VALUES (:study, :key, :payer, 'sent', 1, :bound_tokens, :bound_usd, 0, 0, 0, 0, 0, 0, 0)"
    " ON CONFLICT (study, key) DO UPDATE SET state = 'sent', attempts = ps_call.attempts + 1,"
    " bound_tokens = excluded.bound_tokens, bound_usd = excluded.bound_usd"
)
_SETTLE = sa.text(
    "UPDATE ps_call SET state = :state, prompt_tokens = prompt_tokens + :prompt_tokens,"
    " completion_tokens = completion_tokens + :completion_tokens, usd = usd + :usd,"
    " wasted_tokens = wasted_tokens + :wasted_tokens"
    " WHERE study = :study AND key = :key"
)
_SHARE = sa.text("UPDATE ps_call SET payer = :payer WHERE study = :study AND key = :key AND payer > :payer")
_CLOCK = sa.text("UPDATE ps_run SET seconds = :seconds WHERE number = :number")

# Made once: to make a statement takes longer than to carry it out.
_ACCOUNT = sa.select(
    sa.func.count(), *(sa.func.coalesce(sa.func.sum(CALLS.c[name]), 0) for name in _CHARGED)
).where(CALLS.c.study == sa.bindparam("study"), CALLS.c.payer == sa.bindparam("payer"))
_RATIO = sa.select(
    sa.func.sum(CALLS.c.prompt_tokens + CALLS.c.completion_tokens - CALLS.c.wasted_tokens),
    sa.func.sum(CALLS.c.bound_tokens),
).where(CALLS.c.study == sa.bindparam("study"), CALLS.c.state == "done")
# Of answers that were charged more than was reserved, the tokens written: what failed attempts were charged is in both
# figures that these are the smaller one of, so it makes them too great at most.
_OVERRUN = sa.text(
    "SELECT coalesce(max(min(completion_tokens, prompt_tokens + completion_tokens - wasted_tokens)), 0)"
    " FROM ps_call WHERE study = :study AND state = 'done'"
    " AND (prompt_tokens + completion_tokens - wasted_tokens > bound_tokens"
    " OR (wasted_tokens = 0 AND bound_usd > 0 AND usd > bound_usd))"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """What one attempt is charged, or may be at most: tokens read, tokens written, US dollars."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Return tokens read and written."""
        return self.prompt_tokens + self.completion_tokens


class Ledger:
    """The account of one study; one process at a time keeps it.

    Args:
        model: The model's name, as `cache ls` shows it.
        cache: Which completions of other studies are taken, and whether its own are theirs to take.
    """

    def __init__(self, store: Store, study: int, *, model: str = "", cache: CacheMode = "shared") -> None:
        self.study = study
        self._engine = store.engine
        self._cache = Cache(store)
        self._model = model
        self._mode = cache
        self._begun: list[dict[str, Any]] = []
        self._new: set[str] = set()
        self._settled: list[dict[str, Any]] = []
        self._shared: list[dict[str, Any]] = []
        self._failed: list[dict[str, Any]] = []
        self._answered: dict[str, Completion] = {}
        self._tallied: tuple[Counter[int], Counter[int | None]] | None = None
        self._load()

    def _load(self) -> None:
        mine = CALLS.c.study == self.study
        with self._engine.begin() as connection:
            lost = CALLS.update().where(mine, CALLS.c.state == "sent")
            connection.execute(
                lost.values(
                    state="lost",
                    lost=CALLS.c.lost + 1,
                    lost_tokens=CALLS.c.lost_tokens + CALLS.c.bound_tokens,
                    lost_usd=CALLS.c.lost_usd + CALLS.c.bound_usd,
                )
            )
            rows = connection.execute(sa.select(CALLS.c.key, CALLS.c.payer, CALLS.c.state).where(mine)).all()
            totals = (
                "attempts",
                "prompt_tokens",
                "completion_tokens",
                "usd",
                "lost",
                "lost_tokens",
                "lost_usd",
            )
            sums = sa.select(*(sa.func.coalesce(sa.func.sum(CALLS.c[name]), 0) for name in totals))
            values = connection.execute(sums.where(mine)).one()
            reasons = sa.select(FAILURES.c.reason, sa.func.count()).where(FAILURES.c.study == self.study)
            failures = connection.execute(reasons.group_by(FAILURES.c.reason)).all()
            past = sa.select(sa.func.coalesce(sa.func.sum(RUNS.c.seconds), 0.0))
            self._past_seconds = float(
                connection.execute(past.where(RUNS.c.study == self.study)).scalar_one()
            )
            run = connection.execute(
                RUNS.insert().values(study=self.study, started_at=time.time(), seconds=0.0)
            )
        assert run.inserted_primary_key is not None  # the database numbers the rows
        self._run = int(run.inserted_primary_key[0])
        self._payers = {row.key: int(row.payer) for row in rows}
        self._done = {row.key for row in rows if row.state == "done"}
        self._totals: dict[str, Any] = dict(zip(totals, values, strict=True))
        self._failures = Counter({reason: int(n) for reason, n in failures})
        self._seconds = 0.0
        self._keeps_own = self._mode == "private" or self._cache.holds(self.study)

    @property
    def calls(self) -> int:
        """Return how many calls were begun."""
        return len(self._payers)

    @property
    def unanswered(self) -> int:
        """Return how many calls were begun and have no answer."""
        return len(self._payers) - len(self._done)

    @property
    def attempts(self) -> int:
        """Return how many requests were sent, or were about to be."""
        return int(self._totals["attempts"])

    @property
    def charged(self) -> Charge:
        """Return what was charged; what was lost in flight is not in it."""
        return Charge(**{name: self._totals[name] for name in _CHARGED})

    @property
    def seconds(self) -> float:
        """Return how long the study was run, this process included, as of the last `clock`."""
        return self._past_seconds + self._seconds

    def spent(self, *, cached: int = 0) -> Spent:
        """Return all figures; `cached` is how many answers this process took from the store."""
        totals = self._totals
        return Spent(
            calls=self.calls,
            attempts=self.attempts,
            cached=cached,
            prompt_tokens=int(totals["prompt_tokens"]),
            completion_tokens=int(totals["completion_tokens"]),
            usd=float(totals["usd"]),
            seconds=self.seconds,
            lost_in_flight=int(totals["lost"]),
            lost_tokens=int(totals["lost_tokens"]),
            lost_usd=float(totals["lost_usd"]),
            failures=dict(self._failures),
            damaged=self._cache.damaged,
        )

    def token_ratio(self) -> float | None:
        """Return tokens charged for a unit of their upper bound, over all answered calls; None before there are any.

        What failed attempts were charged is left out: it says nothing of the next call, and depends on chance.
        """
        with self._engine.connect() as connection:
            row = connection.execute(_RATIO, {"study": self.study}).one()
        charged, bound = tuple(row)
        return charged / bound if bound else None

    def overrun(self) -> int:
        """Return the most tokens written by an answer that was charged more than was reserved; 0 where none was."""
        with self._engine.connect() as connection:
            return int(connection.execute(_OVERRUN, {"study": self.study}).scalar_one())

    def begun(self, key: str) -> bool:
        """Return whether this study has begun a call, in this process or an earlier one."""
        return key in self._payers

    def answered(self, key: str) -> bool:
        """Return whether this study itself got the answer of a call."""
        return key in self._done

    def completions(self, keys: Sequence[str]) -> dict[str, Completion]:
        """Return the stored completions that this study may use, by key."""
        found = self._cache.completions(keys, self.study) if self._keeps_own else {}
        allowed = [key for key in keys if key not in found and (self._mode == "shared" or key in self._done)]
        return {**self._cache.completions(allowed, SHARED), **found} if allowed else found

    def begin(self, key: str, payer: int, most: Charge) -> None:
        """Reserve one attempt of a call, which may be charged `most`."""
        if key not in self._payers:
            self._payers[key] = payer
            self._new.add(key)
        self._done.discard(key)
        self._tallied = None
        self._totals["attempts"] += 1
        row = {"study": self.study, "key": key, "payer": payer}
        self._begun.append({**row, "bound_tokens": most.tokens, "bound_usd": most.usd})

    def settle(self, key: str, charge: Charge, completion: Completion | None) -> None:
        """Charge an attempt that ended, with the completion if it brought one."""
        if completion is not None:
            self._done.add(key)
            self._tallied = None
            self._answered[key] = completion
        for name in _CHARGED:
            self._totals[name] += getattr(charge, name)
        self._settled.append(
            {
                "study": self.study,
                "key": key,
                "state": "failed" if completion is None else "done",
                "prompt_tokens": charge.prompt_tokens,
                "completion_tokens": charge.completion_tokens,
                "usd": charge.usd,
                "wasted_tokens": charge.tokens if completion is None else 0,
            }
        )

    def fail(self, key: str, reason: str, message: str) -> None:
        """Note a failed attempt."""
        self._failures[reason] += 1
        message = message.encode("utf-8", "replace").decode()  # a provider may quote half a character
        row = {"study": self.study, "key": key, "payer": self._payers[key]}
        self._failed.append({**row, "reason": reason, "message": message, "failed_at": time.time()})

    def share(self, key: str, payer: int) -> None:
        """Note that a trial used a call of this study; the earliest trial that uses it is the one that pays."""
        if self._payers.get(key, payer) > payer:
            self._payers[key] = payer
            self._tallied = None
            self._shared.append({"study": self.study, "key": key, "payer": payer})

    def clock(self, seconds: float) -> None:
        """Note how long this process has run the study."""
        self._seconds = seconds

    def failures(self) -> list[tuple[int, str, int]]:
        """Return failed attempts as payer, reason and number, in the order of payers."""
        columns = (FAILURES.c.payer, FAILURES.c.reason)
        query = sa.select(*columns, sa.func.count()).where(FAILURES.c.study == self.study)
        with self._engine.connect() as connection:
            rows = connection.execute(query.group_by(*columns).order_by(*columns)).all()
        return [(int(payer), str(reason), int(n)) for payer, reason, n in rows]

    def commit(self) -> None:
        """Write all that was noted since the last commit, in one transaction.

        Raises:
            sqlalchemy.exc.DBAPIError: When it cannot be written; nothing of it is then.
        """
        try:
            self._write_all()
        except Exception:
            self._withdraw()
            raise
        for pending in (self._begun, self._settled, self._shared, self._failed):
            pending.clear()
        self._answered.clear()
        self._new.clear()

    def _withdraw(self) -> None:
        """Take back what was begun: not committed, it is not sent. What was answered is still to be written."""
        self._totals["attempts"] -= len(self._begun)
        for key in self._new:
            del self._payers[key]
        self._new.clear()
        self._begun.clear()
        self._tallied = None

    def _write_all(self) -> None:
        with self._engine.begin() as connection:
            _write(connection, _SETTLE, self._settled)
            scope = self.study if self._mode == "private" else SHARED
            self._cache.keep(connection, self._answered, model=self._model, scope=scope)
            _write(connection, _BEGIN, self._begun)
            _write(connection, _SHARE, self._shared)
            _write(connection, FAILURES.insert(), self._failed)
            connection.execute(_CLOCK, {"seconds": self._seconds, "number": self._run})

    def account(self, payer: int) -> tuple[int, Charge]:
        """Return how many calls a trial pays for, and what they were charged."""
        with self._engine.connect() as connection:
            calls, *charged = connection.execute(_ACCOUNT, {"study": self.study, "payer": payer}).one()
        return int(calls), Charge(**dict(zip(_CHARGED, charged, strict=True)))

    def tally(self, payer: int) -> tuple[int, int]:
        """Return how many calls a trial pays for, and how many of them were answered."""
        if self._tallied is None:  # of all trials at once, since many are asked for one after the other
            payers = self._payers
            self._tallied = Counter(payers.values()), Counter(payers.get(key) for key in self._done)
        begun, answered = self._tallied
        return begun[payer], answered[payer]

    def hand_over(self, payers: Sequence[int], payer: int) -> None:
        """Put all calls of some trials on another account, as when their numbers are given to other trials."""
        mine = (CALLS.c.study == self.study) & CALLS.c.payer.in_(payers)
        with self._engine.begin() as connection:
            connection.execute(CALLS.update().where(mine).values(payer=payer))
        taken = set(payers)
        self._payers = {key: payer if old in taken else old for key, old in self._payers.items()}
        self._tallied = None


def _write(connection: sa.Connection, statement: sa.Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)
