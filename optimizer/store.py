"""Our own tables beside Optuna's: completions, calls, scores, trials, instructions, demonstrations.

Everything paid for passes through here and is committed before it is used. Values are JSON text; a row that cannot
be read back is a miss, never an error and never code.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from optimizer.completion import Completion
from optimizer.digest import canonical
from optimizer.storage import Storage

_METADATA = sa.MetaData()

_COMPLETIONS = sa.Table(
    "ps_completion",
    _METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("completion", sa.Text, nullable=False),
)
_CALLS = sa.Table(
    "ps_call",
    _METADATA,
    sa.Column("study", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("payer", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
)
_STUDIES = sa.Table(
    "ps_study",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
)
_SCORES = sa.Table(
    "ps_score",
    _METADATA,
    sa.Column("study", sa.Integer, primary_key=True),
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("example", sa.Text, primary_key=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("answer", sa.Text),
    sa.Column("score", sa.Float),
)
_ROWS = sa.Table(  # what a study keeps by name: batches, trials, instructions, demonstration sets, test openings, the model
    "ps_record",
    _METADATA,
    sa.Column("study", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
)
_MIGRATIONS = sa.Table("ps_migration", _METADATA, sa.Column("name", sa.Text, primary_key=True))


def _m001_first_tables(connection: sa.Connection) -> None:
    _METADATA.create_all(connection, tables=[_COMPLETIONS, _CALLS, _STUDIES, _SCORES, _ROWS])


# Applied in order, each once, by name. Never edited after a release; a change is a new function at the end.
MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_m001_first_tables,)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRow:
    """One example's result as stored."""

    example: str
    outcome: str
    answer: str | None
    score: float | None


class Store:
    """The tables of one database."""

    def __init__(self, storage: Storage) -> None:
        self._engine = storage.engine
        with self._engine.begin() as connection:
            _METADATA.create_all(connection, tables=[_MIGRATIONS])
            applied = set(connection.execute(sa.select(_MIGRATIONS.c.name)).scalars())
            for migration in MIGRATIONS:
                if migration.__name__ not in applied:
                    migration(connection)
                    connection.execute(_MIGRATIONS.insert().values(name=migration.__name__))

    def completion(self, key: str) -> Completion | None:
        """Return the stored completion, or None when there is none that can be read."""
        with self._engine.connect() as connection:
            # As bytes: the driver would raise on a damaged text before it could be told from a sound one.
            content = sa.cast(_COMPLETIONS.c.completion, sa.LargeBinary)
            return _completion(
                connection.execute(sa.select(content).where(_COMPLETIONS.c.key == key)).scalar()
            )

    def keep_completion(self, key: str, completion: Completion) -> None:
        """Commit a completion; an earlier one of the same key is replaced."""
        fields = {name: getattr(completion, name) for name in Completion.__slots__}
        with self._engine.begin() as connection:
            row = {"key": key, "completion": canonical(fields)}
            connection.execute(_COMPLETIONS.insert().prefix_with("OR REPLACE").values(row))

    def latest_study(self) -> tuple[int, dict[str, str]] | None:
        """Return number and identity of the newest study, or None when there is none."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(_STUDIES).order_by(_STUDIES.c.id.desc()).limit(1)).first()
        return None if row is None else (row.id, json.loads(row.identity))

    def add_study(self, name: str, identity: Mapping[str, str]) -> int:
        """Return the number of a new study."""
        with self._engine.begin() as connection:
            row = {"name": name, "identity": canonical(dict(identity))}
            key = connection.execute(_STUDIES.insert().values(row)).inserted_primary_key
        assert key is not None  # SQLite always tells it
        return int(key[0])

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of a kind of every study, in order."""
        query = sa.select(_ROWS.c.content).where(_ROWS.c.kind == kind)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_ROWS.c.study, _ROWS.c.number)).scalars()
            return [json.loads(content) for content in rows]

    def of(self, study: int) -> "StudyStore":
        """Return the tables as one study sees them."""
        return StudyStore(self, self._engine, study)


class StudyStore:
    """What one study has stored.

    Attributes:
        whole: The tables of all studies; completions are shared.
    """

    def __init__(self, whole: Store, engine: sa.Engine, study: int) -> None:
        self.whole = whole
        self._engine = engine
        self.study = study

    def calls(self) -> tuple[int, int]:
        """Return logical calls and attempts so far."""
        counts = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(_CALLS.c.attempts), 0))
        with self._engine.connect() as connection:
            calls, attempts = connection.execute(counts.where(_CALLS.c.study == self.study)).one()
        return int(calls), int(attempts)

    def attempt(self, key: str, payer: int) -> None:
        """Record, before it is sent, that a call is made; a further attempt belongs to the same call."""
        row = {"study": self.study, "key": key, "payer": payer, "attempts": 1}
        with self._engine.begin() as connection:
            made = connection.execute(self._call(_CALLS.update(), key).values(attempts=_CALLS.c.attempts + 1))
            if made.rowcount == 0:
                connection.execute(_CALLS.insert().values(row))

    def knows(self, key: str) -> bool:
        """Return whether this study has made, or begun, a call."""
        with self._engine.connect() as connection:
            return connection.execute(self._call(sa.select(_CALLS.c.key), key)).first() is not None

    def share(self, key: str, payer: int) -> None:
        """Record that a trial used a call; the earliest trial that uses it is the one that pays."""
        changed = self._call(_CALLS.update(), key).where(_CALLS.c.payer > payer).values(payer=payer)
        with self._engine.begin() as connection:
            connection.execute(changed)

    def paid_by(self, payer: int) -> int:
        """Return how many calls a trial pays for."""
        query = sa.select(sa.func.count()).where(_CALLS.c.study == self.study, _CALLS.c.payer == payer)
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def keep_scores(self, fingerprint: str, rows: Sequence[ScoreRow]) -> None:
        """Commit the results of one template on some examples."""
        values = [
            {
                "study": self.study,
                "fingerprint": fingerprint,
                "example": row.example,
                "outcome": row.outcome,
                "answer": row.answer,
                "score": row.score,
            }
            for row in rows
        ]
        with self._engine.begin() as connection:
            connection.execute(_SCORES.insert().prefix_with("OR REPLACE"), values)

    def scores(self, fingerprint: str) -> tuple[ScoreRow, ...]:
        """Return the stored results of one template, by example."""
        query = sa.select(_SCORES).where(_SCORES.c.study == self.study, _SCORES.c.fingerprint == fingerprint)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_SCORES.c.example)).all()
        return tuple(
            ScoreRow(example=r.example, outcome=r.outcome, answer=r.answer, score=r.score) for r in rows
        )

    def record(self, kind: str, number: int, content: Mapping[str, object]) -> None:
        """Commit one record; an earlier one of that kind and number is replaced."""
        self.record_all(kind, {number: content})

    def record_all(self, kind: str, contents: Mapping[int, Mapping[str, object]]) -> None:
        """Commit several records in one transaction."""
        rows = [
            {"study": self.study, "kind": kind, "number": number, "content": canonical(dict(content))}
            for number, content in contents.items()
        ]
        with self._engine.begin() as connection:
            connection.execute(_ROWS.insert().prefix_with("OR REPLACE"), rows)

    def records(self, kind: str) -> dict[int, dict[str, Any]]:
        """Return all records of a kind by number, in order."""
        query = sa.select(_ROWS.c.number, _ROWS.c.content).where(
            _ROWS.c.study == self.study, _ROWS.c.kind == kind
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_ROWS.c.number)).all()
        return {row.number: json.loads(row.content) for row in rows}

    def _call(self, statement: Any, key: str) -> Any:  # noqa: ANN401  # select and update share no typed base
        return statement.where(_CALLS.c.study == self.study, _CALLS.c.key == key)


def _completion(content: bytes | None) -> Completion | None:
    if content is None:
        return None
    try:
        completion = Completion(**json.loads(content.decode("utf-8")))
    except (ValueError, TypeError, RecursionError):  # damaged or planted: ask again
        return None
    return completion if _sound(completion) else None


def _sound(completion: Completion) -> bool:
    """Return whether the fields, which come from a file, are of the types that they are declared to be."""
    values: dict[str, object] = {name: getattr(completion, name) for name in Completion.__slots__}
    cost = values["cost_usd"]
    return (
        _is_text(values["text"])
        and values["finish_reason"] in ("stop", "length", "refused")
        and _is_count(values["prompt_tokens"])
        and _is_count(values["completion_tokens"])
        and _is_amount(values["seconds"])
        and (cost is None or _is_amount(cost))
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
