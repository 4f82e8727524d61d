"""Completions in the database: content-addressed, checked when read, shared by all studies unless one keeps its own.

A row that cannot be read back, because it was cut, altered or planted, is a miss, never an error and never code.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from optimizer.completion import Completion
from optimizer.digest import canonical, sha256
from optimizer.errors import BrokenAnswerError
from optimizer.store import COMPLETIONS, Store

# The scope of completions that every study may use; a study that shares none keeps its own under its number.
SHARED = 0

# Keys asked for in one query; a database takes some thousands of parameters.
_KEYS = 500

# What of a completion is stored: all that came over the wire. What it cost depends on a price that may change.
_STORED = ("text", "finish_reason", "prompt_tokens", "completion_tokens", "seconds")

# As bytes: the driver would raise on a damaged text before it could be told from a sound one. Rows are numbered, so
# that one whose key is damaged can be deleted too.
_ROWS: Any = sa.select(
    sa.literal_column("ps_completion.rowid").label("number"),
    (COMPLETIONS.c.scope != SHARED).label("private"),
    *(
        sa.cast(COMPLETIONS.c[name], sa.LargeBinary).label(name)
        for name in ("key", "model", "completion", "checksum")
    ),
    sa.cast(COMPLETIONS.c.stored_at, sa.Float).label("stored_at"),
)

# Made once: to make a statement takes longer than to carry it out.
_OF_KEYS = _ROWS.where(
    COMPLETIONS.c.key.in_(sa.bindparam("keys", expanding=True)), COMPLETIONS.c.scope == sa.bindparam("scope")
)

_KEEP_COMPLETION = sa.text(
    "INSERT INTO ps_completion (scope, key, model, completion, checksum, stored_at)"
    " VALUES (:scope, :key, :model, :completion, :checksum, :stored_at)"
    " ON CONFLICT (scope, key) DO UPDATE SET model = excluded.model, completion = excluded.completion,"
    " checksum = excluded.checksum, stored_at = excluded.stored_at"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCompletions:
    """What is stored of one model's completions.

    Attributes:
        model: Provider and name.
        private: How many belong to one study alone.
        prompt_tokens: Tokens read for them.
        completion_tokens: Tokens written.
        n_bytes: Length of their texts as stored.
        oldest: When the first of them was stored, in seconds of Unix time.
        newest: When the last of them was stored.
    """

    model: str
    n: int
    private: int
    prompt_tokens: int
    completion_tokens: int
    n_bytes: int
    oldest: float
    newest: float

    def __add__(self, other: "ModelCompletions") -> "ModelCompletions":
        return ModelCompletions(
            model=self.model,
            n=self.n + other.n,
            private=self.private + other.private,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            n_bytes=self.n_bytes + other.n_bytes,
            oldest=min(self.oldest, other.oldest),
            newest=max(self.newest, other.newest),
        )


class Cache:
    """The completions of one database."""

    def __init__(self, store: Store) -> None:
        self._engine = store.engine
        self._damaged: set[tuple[int, bytes]] = set()

    @property
    def damaged(self) -> int:
        """Return how many rows that were looked up could not be read."""
        return len(self._damaged)

    def completions(self, keys: Sequence[str], scope: int) -> dict[str, Completion]:
        """Return the stored completions of a scope by key; a row that cannot be read is left out and counted."""
        found: dict[str, Completion] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(keys), _KEYS):
                wanted = {"keys": keys[start : start + _KEYS], "scope": scope}
                for row in connection.execute(_OF_KEYS, wanted):
                    completion = _completion(row)
                    if completion is None:
                        self._damaged.add((scope, row.key))
                    else:
                        found[row.key.decode()] = completion
        return found

    def holds(self, scope: int) -> bool:
        """Return whether a scope has any completion."""
        with self._engine.connect() as connection:
            query = sa.select(COMPLETIONS.c.key).where(COMPLETIONS.c.scope == scope).limit(1)
            return connection.execute(query).first() is not None

    def keep(
        self, connection: sa.Connection, completions: Mapping[str, Completion], *, model: str, scope: int
    ) -> None:
        """Write completions in a transaction; earlier ones of the same scope and key are replaced."""
        now = time.time()
        rows = []
        for key, completion in completions.items():
            text = canonical({name: getattr(completion, name) for name in _STORED})
            rows.append(
                {
                    "scope": scope,
                    "key": key,
                    "model": model,
                    "completion": text,
                    "checksum": _checksum(key, model, now, text.encode()),
                    "stored_at": now,
                }
            )
        if rows:
            connection.execute(_KEEP_COMPLETION, rows)

    def models(self) -> list[ModelCompletions]:
        """Return what is stored of completions, model by model; rows that cannot be read are left out."""
        models: dict[str, ModelCompletions] = {}
        for row, completion in self._readable():
            if completion is None:
                continue
            name = row.model.decode()
            one = ModelCompletions(
                model=name,
                n=1,
                private=int(row.private),
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                n_bytes=len(row.completion),
                oldest=row.stored_at,
                newest=row.stored_at,
            )
            models[name] = models[name] + one if name in models else one
        return [models[name] for name in sorted(models)]

    def damaged_keys(self) -> list[str]:
        """Return the keys of completions that cannot be read: cut, altered, or of another kind."""
        return [
            row.key.decode(errors="replace") for row, completion in self._readable() if completion is None
        ]

    def clear(self, *, model: str | None = None, damaged_only: bool = False) -> int:
        """Delete completions, of one model or those that cannot be read alone, and return how many.

        What is deleted leaves no trace in the file.
        """
        wanted = None if model is None else model.encode("utf-8", "surrogateescape")
        doomed = [
            {"doomed": row.number}
            for row, completion in self._readable()
            if wanted in (None, row.model) and not (damaged_only and completion is not None)
        ]
        if doomed:
            at = sa.literal_column("ps_completion.rowid") == sa.bindparam("doomed")
            with self._engine.begin() as connection:
                connection.execute(COMPLETIONS.delete().where(at), doomed)
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM")
        return len(doomed)

    def _readable(self) -> Iterator[tuple[Any, Completion | None]]:
        with self._engine.connect() as connection:
            for row in connection.execute(_ROWS.order_by(COMPLETIONS.c.scope, COMPLETIONS.c.key)):
                yield row, _completion(row)


def storable(completion: Completion) -> Completion:
    """Return the completion with a replacement character for each half of a surrogate pair.

    JSON can carry halves, and a text that ended in the middle of a character may have one; a database takes none.

    Raises:
        BrokenAnswerError: When a field has no value that could be stored, which only a plug-in can bring about.
    """
    if not completion.text.isascii():
        whole = completion.text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        completion = dataclasses.replace(completion, text=whole)
    if not _sound(completion):
        raise BrokenAnswerError(
            "the model returned a completion that cannot be stored", reason="no completion"
        )
    return completion


def _checksum(key: str, model: str, stored_at: float, content: bytes) -> str:
    """Return what tells a row that was altered, or moved to another key."""
    return sha256(canonical([key, model, stored_at]).encode() + b"\n" + content)


def _completion(row: Any) -> Completion | None:  # noqa: ANN401  # a row has no type of its own
    try:
        sealed = _checksum(row.key.decode(), row.model.decode(), row.stored_at, row.completion)
        if row.checksum != sealed.encode():
            return None
        fields = json.loads(row.completion)
        completion = Completion(**fields) if set(fields) == set(_STORED) else None
    except (ValueError, TypeError, RecursionError):  # damaged or planted: ask again
        return None
    return completion if completion is not None and _sound(completion) else None


def _sound(completion: Completion) -> bool:
    """Return whether the fields, which come from a file, are of the types that they are declared to be."""
    values: dict[str, object] = {name: getattr(completion, name) for name in _STORED}
    return (
        _is_text(values["text"])
        and values["finish_reason"] in ("stop", "length", "refused")
        and _is_count(values["prompt_tokens"])
        and _is_count(values["completion_tokens"])
        and _is_amount(values["seconds"])
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_amount(value: object) -> bool:
    # A whole number may have more digits than a float can hold.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max
