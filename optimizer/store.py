"""Our own tables beside Optuna's, all of them; and of these, studies, scores, and what a study keeps by name.

Values are JSON text, never code.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from optimizer.digest import canonical
from optimizer.storage import Reading, Storage

_METADATA = sa.MetaData()

COMPLETIONS = sa.Table(
    "ps_completion",
    _METADATA,
    sa.Column("scope", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("completion", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
    sa.Column("stored_at", sa.Float, nullable=False),
)
CALLS = sa.Table(
    "ps_call",
    _METADATA,
    sa.Column("study", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("payer", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("bound_tokens", sa.Integer, nullable=False),
    sa.Column("bound_usd", sa.Float, nullable=False),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("completion_tokens", sa.Integer, nullable=False),
    sa.Column("usd", sa.Float, nullable=False),
    sa.Column("wasted_tokens", sa.Integer, nullable=False),
    sa.Column("lost", sa.Integer, nullable=False),
    sa.Column("lost_tokens", sa.Integer, nullable=False),
    sa.Column("lost_usd", sa.Float, nullable=False),
)
FAILURES = sa.Table(
    "ps_failure",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("study", sa.Integer, nullable=False, index=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("payer", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("failed_at", sa.Float, nullable=False),
)
RUNS = sa.Table(
    "ps_run",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("study", sa.Integer, nullable=False, index=True),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
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
    sa.Column("strict", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("reader", sa.Text, nullable=False, server_default=""),
    sa.Column("completions", sa.Text, nullable=False, server_default=""),
)
_TEMPLATES = sa.Table(  # what was scored, as it was rendered: what wrote it may render otherwise later
    "ps_template",
    _METADATA,
    sa.Column("study", sa.Integer, primary_key=True),
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
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

# Made once: to make a statement takes longer than to carry it out.
_KEEP_TEMPLATES = _TEMPLATES.insert().prefix_with("OR IGNORE")
_KEEP_SCORES = _SCORES.insert().prefix_with("OR REPLACE")
_KEEP_ROWS = _ROWS.insert().prefix_with("OR REPLACE")
_SCORES_OF_ONE = (
    sa.select(_SCORES)
    .where(_SCORES.c.study == sa.bindparam("of"), _SCORES.c.fingerprint == sa.bindparam("arm"))
    .order_by(_SCORES.c.example)
)


def _m001_first_tables(connection: sa.Connection) -> None:
    _METADATA.create_all(connection, tables=[_STUDIES, _SCORES, _ROWS])


def _m002_accounts(connection: sa.Connection) -> None:
    # What the first tables held is keyed by less than the full body and cannot be found again.
    for name in ("ps_completion", "ps_call"):
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
    _METADATA.create_all(connection, tables=[COMPLETIONS, CALLS, FAILURES, RUNS])


def _m003_how_answers_were_read(connection: sa.Connection) -> None:
    _add_to_scores(connection, {"strict": "BOOLEAN NOT NULL DEFAULT 1", "reader": "TEXT NOT NULL DEFAULT ''"})


def _m004_what_was_scored(connection: sa.Connection) -> None:
    _METADATA.create_all(connection, tables=[_TEMPLATES])
    _add_to_scores(connection, {"completions": "TEXT NOT NULL DEFAULT ''"})


def _add_to_scores(connection: sa.Connection, columns: Mapping[str, str]) -> None:
    known = {column["name"] for column in sa.inspect(connection).get_columns(_SCORES.name)}
    for name, kind in columns.items():
        if name not in known:  # a new database has them from the first
            connection.exec_driver_sql(f"ALTER TABLE {_SCORES.name} ADD COLUMN {name} {kind}")


# Applied in order, each once, by name. Never edited after a release; a change is a new function at the end.
MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (
    _m001_first_tables,
    _m002_accounts,
    _m003_how_answers_were_read,
    _m004_what_was_scored,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRow:
    """One example's result as stored.

    Attributes:
        strict: Whether the answer came in exactly the form that was asked for.
        reader: What found it in the completion.
        completions: Under which keys the completions of its calls are stored; none of what an older version scored.
    """

    example: str
    outcome: str
    answer: str | None
    score: float | None
    strict: bool = True
    reader: str = ""
    completions: tuple[str, ...] = ()


class Store:
    """The tables of one database.

    Attributes:
        engine: The open database.
    """

    def __init__(self, storage: Storage | Reading) -> None:
        self.engine = storage.engine
        with self.engine.begin() as connection:
            known = sa.inspect(connection).has_table(_MIGRATIONS.name)
            applied = set(connection.execute(sa.select(_MIGRATIONS.c.name)).scalars()) if known else set()
            if all(migration.__name__ in applied for migration in MIGRATIONS):
                return
        with self.engine.begin() as connection:
            # The driver begins no transaction before a change of tables, and half a migration cannot be taken up.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            _METADATA.create_all(connection, tables=[_MIGRATIONS])
            applied = set(connection.execute(sa.select(_MIGRATIONS.c.name)).scalars())
            for migration in MIGRATIONS:
                if migration.__name__ not in applied:
                    migration(connection)
                    connection.execute(_MIGRATIONS.insert().values(name=migration.__name__))

    def latest_study(self) -> tuple[int, dict[str, str]] | None:
        """Return number and identity of the newest study, or None when there is none."""
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(_STUDIES).order_by(_STUDIES.c.id.desc()).limit(1)).first()
        return None if row is None else (row.id, json.loads(row.identity))

    def newest(self, identity: Mapping[str, str]) -> int | None:
        """Return the number of the newest study of an identity, or None when there is none."""
        query = sa.select(sa.func.max(_STUDIES.c.id)).where(_STUDIES.c.identity == canonical(dict(identity)))
        with self.engine.connect() as connection:
            number = connection.execute(query).scalar_one()
        return None if number is None else int(number)

    def add_study(self, name: str, identity: Mapping[str, str]) -> int:
        """Return the number of a new study."""
        with self.engine.begin() as connection:
            row = {"name": name, "identity": canonical(dict(identity))}
            key = connection.execute(_STUDIES.insert().values(row)).inserted_primary_key
        assert key is not None  # SQLite always tells it
        return int(key[0])

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of a kind of every study, in order."""
        query = sa.select(_ROWS.c.content).where(_ROWS.c.kind == kind)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(_ROWS.c.study, _ROWS.c.number)).scalars()
            return [json.loads(content) for content in rows]

    def of(self, study: int) -> "StudyStore":
        """Return the tables as one study sees them."""
        return StudyStore(self, self.engine, study)


class StudyStore:
    """What one study has stored.

    Attributes:
        whole: The tables of all studies; completions are shared.
    """

    def __init__(self, whole: Store, engine: sa.Engine, study: int) -> None:
        self.whole = whole
        self._engine = engine
        self.study = study

    def keep_scores(
        self,
        rows: Mapping[tuple[str, str], ScoreRow],
        templates: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        """Commit results by fingerprint of the template and example, in one transaction.

        Args:
            templates: What was scored, by fingerprint; what is known is left as it is.
        """
        shown = [
            {"study": self.study, "fingerprint": fingerprint, "content": canonical(dict(template))}
            for fingerprint, template in (templates or {}).items()
        ]
        values = [
            {
                "study": self.study,
                "fingerprint": fingerprint,
                "example": row.example,
                "outcome": row.outcome,
                "answer": row.answer,
                "score": row.score,
                "strict": row.strict,
                "reader": row.reader,
                "completions": " ".join(row.completions),
            }
            for (fingerprint, _), row in rows.items()
        ]
        if not values:
            return
        with self._engine.begin() as connection:
            if shown:
                connection.execute(_KEEP_TEMPLATES, shown)
            connection.execute(_KEEP_SCORES, values)

    def scored(self) -> dict[str, set[str]]:
        """Return the examples with a score, by fingerprint."""
        query = sa.select(_SCORES.c.fingerprint, _SCORES.c.example).where(
            _SCORES.c.study == self.study, _SCORES.c.score.is_not(None)
        )
        found: dict[str, set[str]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                found.setdefault(row.fingerprint, set()).add(row.example)
        return found

    def templates(self) -> dict[str, dict[str, Any]]:
        """Return what was scored, by fingerprint."""
        query = sa.select(_TEMPLATES.c.fingerprint, _TEMPLATES.c.content)
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(_TEMPLATES.c.study == self.study)).all()
        return {row.fingerprint: json.loads(row.content) for row in rows}

    def scores(self, fingerprint: str) -> tuple[ScoreRow, ...]:
        """Return the stored results of one template, by example."""
        with self._engine.connect() as connection:
            rows = connection.execute(_SCORES_OF_ONE, {"of": self.study, "arm": fingerprint})
            return tuple(map(_score_row, rows))

    def all_scores(self) -> dict[str, dict[str, ScoreRow]]:
        """Return the stored results by fingerprint and example."""
        query = sa.select(_SCORES).where(_SCORES.c.study == self.study)
        found: dict[str, dict[str, ScoreRow]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query.order_by(_SCORES.c.fingerprint, _SCORES.c.example)):
                found.setdefault(row.fingerprint, {})[row.example] = _score_row(row)
        return found

    def calls(self) -> list[dict[str, Any]]:
        """Return every call that was begun: key, payer, and what it was charged."""
        columns = (CALLS.c[name] for name in ("key", "payer", "prompt_tokens", "completion_tokens", "usd"))
        query = sa.select(*columns).where(CALLS.c.study == self.study).order_by(CALLS.c.key)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def record(self, kind: str, number: int, content: Mapping[str, object]) -> None:
        """Commit one record; an earlier one of that kind and number is replaced."""
        self.record_all(kind, {number: content})

    def record_all(self, kind: str, contents: Mapping[int, Mapping[str, object]]) -> None:
        """Commit several records in one transaction."""
        if not contents:
            return
        with self._engine.begin() as connection:
            self._write(connection, {kind: contents})

    def fold(self, contents: Mapping[str, Mapping[int, Mapping[str, object]]]) -> None:
        """Commit records by kind and number that sum up the calls so far, and drop these, in one transaction.

        Completions stay, and answer the same requests as before.
        """
        with self._engine.begin() as connection:
            self._write(connection, contents)
            for table in (CALLS, FAILURES):
                connection.execute(table.delete().where(table.c.study == self.study))

    def rewind(
        self, first: Mapping[str, int], contents: Mapping[str, Mapping[int, Mapping[str, object]]]
    ) -> None:
        """Drop the records of some kinds from a number on, and commit others, in one transaction."""
        with self._engine.begin() as connection:
            for kind, number in first.items():
                doomed = (_ROWS.c.kind == kind) & (_ROWS.c.number >= number)
                connection.execute(_ROWS.delete().where(_ROWS.c.study == self.study, doomed))
            self._write(connection, contents)

    def _write(
        self, connection: sa.Connection, contents: Mapping[str, Mapping[int, Mapping[str, object]]]
    ) -> None:
        rows = [
            {"study": self.study, "kind": kind, "number": number, "content": canonical(dict(content))}
            for kind, numbered in contents.items()
            for number, content in numbered.items()
        ]
        connection.execute(_KEEP_ROWS, rows)

    def records(self, kind: str) -> dict[int, dict[str, Any]]:
        """Return all records of a kind by number, in order."""
        query = sa.select(_ROWS.c.number, _ROWS.c.content).where(
            _ROWS.c.study == self.study, _ROWS.c.kind == kind
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_ROWS.c.number)).all()
        return {row.number: json.loads(row.content) for row in rows}


def _score_row(row: Any) -> ScoreRow:  # noqa: ANN401  # a row has no type of its own
    return ScoreRow(
        example=row.example,
        outcome=row.outcome,
        answer=row.answer,
        score=row.score,
        strict=row.strict,
        reader=row.reader,
        completions=tuple(row.completions.split()),
    )
