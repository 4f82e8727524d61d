"""What a study left behind, as its database tells it: looked at without a call, a lock, or a change.

A study may be running meanwhile; then this is what it has committed so far.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from optimizer.cache import SHARED, Cache
from optimizer.candidate import Demonstration, DemonstrationSet, Instruction
from optimizer.completion import Completion
from optimizer.errors import InputError, Problem
from optimizer.history import TrialRecord
from optimizer.judging import ROLES, account
from optimizer.prompt import PromptTemplate
from optimizer.storage import read_storage
from optimizer.store import MIGRATIONS, ScoreRow, Store, StudyStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call that a study paid for; what its failed attempts were charged is in it.

    Attributes:
        payer: The trial on whose account it is, or one of the numbers beyond all trials.
        role: Of the model that was asked, "" for the one that the study is tuned for.
        usd: 0 where no price is known.
    """

    key: str
    payer: int
    role: str
    prompt_tokens: int
    completion_tokens: int
    usd: float


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The newest study of a database, open to be read.

    Attributes:
        identity: What makes it this study: a digest for each part that must not change.
    """

    path: Path
    identity: Mapping[str, str]
    store: StudyStore
    cache: Cache

    @cached_property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Return the score history, in trial order."""
        return tuple(TrialRecord.from_dict(row) for row in self.store.records("trial").values())

    @cached_property
    def instructions(self) -> Mapping[str, Instruction]:
        """Return every instruction of the space by id."""
        rows = self.store.records("instruction").values()
        return {row["id"]: _worded(row) for row in rows}

    @cached_property
    def demonstrations(self) -> Mapping[str, DemonstrationSet]:
        """Return every demonstration set of the space by id."""
        return {row["id"]: _shown(row) for row in self.store.records("demonstrations").values()}

    @cached_property
    def templates(self) -> Mapping[str, PromptTemplate]:
        """Return what was scored, by fingerprint; nothing of what an older version scored."""
        return {name: PromptTemplate.from_dict(plain) for name, plain in self.store.templates().items()}

    @cached_property
    def scores(self) -> Mapping[str, Mapping[str, ScoreRow]]:
        """Return what became of each example, by fingerprint and by the example's id; test examples are among them."""
        return self.store.all_scores()

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Return every call that the study paid for, those of the models that its metrics asked among them."""
        roles = {self.store.study: "", **{account(self.store.study, role): role for role in ROLES}}
        return tuple(
            Call(role=role, **call)
            for number, role in roles.items()
            for call in self.store.whole.of(number).calls()
        )

    @property
    def openings(self) -> tuple[Mapping[str, Any], ...]:
        """Return the openings of the test, in order, of all studies of the database."""
        return tuple(self.store.whole.records("test"))

    def completions(self, fingerprints: Iterable[str]) -> dict[tuple[str, str], tuple[Completion, ...]]:
        """Return the completions of some templates by fingerprint and example's id, one for each call that was made.

        What is no longer stored whole is left out, as is what an older version scored. What a completion cost depends
        on a price and is not among them.
        """
        wanted = {
            (name, row.example): row.completions
            for name in dict.fromkeys(fingerprints)
            for row in self.scores.get(name, {}).values()
            if row.completions
        }
        keys = list(dict.fromkeys(key for several in wanted.values() for key in several))
        found = self.cache.completions(keys, SHARED)
        missing = [key for key in keys if key not in found]
        found |= self.cache.completions(missing, self.store.study)
        return {
            where: tuple(found[key] for key in several)
            for where, several in wanted.items()
            if all(key in found for key in several)
        }


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Look at the newest study in the database at `path`.

    Raises:
        InputError: When there is no database, it is none of ours, or no study was begun in it.
    """
    with read_storage(path, migrations=len(MIGRATIONS)) as reading:
        store = Store(reading)
        latest = store.latest_study()
        if latest is None:
            raise InputError([Problem(file=str(path), message="no study was begun in this database")])
        number, identity = latest
        yield Archive(path=path, identity=identity, store=store.of(number), cache=Cache(store))


def _worded(row: Mapping[str, Any]) -> Instruction:
    # Studies of before 0.9 did not record what a wording was composed of.
    return Instruction(**{**row, "parents": tuple(row["parents"]), "slots": tuple(row.get("slots", ()))})


def _shown(row: Mapping[str, Any]) -> DemonstrationSet:
    shots = tuple(
        Demonstration(**{**shot, "inputs": tuple((name, value) for name, value in shot["inputs"])})
        for shot in row["demonstrations"]
    )
    # Version 0.2 and earlier knew no set that was made of others.
    return DemonstrationSet(**{**row, "demonstrations": shots, "parents": tuple(row.get("parents", ()))})
