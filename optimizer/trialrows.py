"""A study of Optuna in memory, and its rows in the database.

Samplers look at the study in memory, and what happens to it is written at once, many trials in one transaction. Nothing
is read again: one process at a time holds a database. Optuna's own storage reads all trials that are under way for
every question, of which TPE has several for each trial that it is asked for.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, TrialState

# What samplers note of a study as JSON, by kind ("user" or "system") and key.
Notes = dict[tuple[str, str], str]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a trial ends that was asked for earlier, maybe by another process.

    Attributes:
        value: The value of the trial, None where it failed.
        step: The step at which that value is reported as well, None where it is not.
    """

    trial: "FrozenTrial"
    state: "TrialState"
    value: float | None = None
    step: int | None = None

    @property
    def reported(self) -> dict[int, float]:
        """Return what is still to be reported, by step."""
        if self.value is None or self.step is None or self.step in self.trial.intermediate_values:
            return {}
        return {self.step: self.value}


class MirroredStudy:
    """A study in memory that holds what its rows hold.

    Attributes:
        study: What samplers look at. The id of a trial is its number, whatever its row is known by.
    """

    def __init__(self, stored: "Study") -> None:
        """Read the rows, once."""
        import optuna

        self._stored = stored
        self.study = optuna.create_study(
            study_name=stored.study_name, direction="maximize", pruner=optuna.pruners.NopPruner()
        )
        self._notes = _notes(stored)
        self._remember(self._notes)
        self.study.add_trials(stored.get_trials(deepcopy=False))

    @property
    def trials(self) -> "Sequence[FrozenTrial]":
        """Return all trials in the order of their numbers; they are not to be changed."""
        return self.study.get_trials(deepcopy=False)

    def ask(
        self,
        sampler: "BaseSampler",
        space: "Mapping[str, BaseDistribution]",
        attributes: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    ) -> "FrozenTrial":
        """Return a trial as a sampler wants it, with attributes that follow from its parameters, and write it down."""
        self.study.sampler = sampler
        trial = self.study.ask(fixed_distributions=dict(space))
        for key, value in attributes(trial.params).items():
            trial.set_user_attr(key, value)
        memory = self.study._storage  # noqa: SLF001  # no public way
        for key, value in self.trials[trial.number].system_attrs.items():
            memory.set_trial_system_attr(trial.number, key, _as_stored(value))
        found = self.trials[trial.number]
        self._keep([found])
        return found

    def add(self, trials: "Sequence[FrozenTrial]") -> None:
        """Add some trials, under way or ended, in one transaction."""
        if trials:
            first = len(self.trials)
            self.study.add_trials(trials)
            self._keep(self.trials[first:])

    def end(self, endings: Sequence[Ending]) -> None:
        """End some trials in one transaction.

        `Study.tell` is for the process that asked: it talks to sampler and pruner, which here decide elsewhere.
        """
        from optuna.storages._rdb.models import TrialModel
        from sqlalchemy import select

        if not endings:
            return
        memory, study = self.study._storage, self._stored._study_id  # noqa: SLF001  # no public way
        by_number = {each.trial.number: each for each in endings}
        query = select(TrialModel).where(TrialModel.study_id == study, TrialModel.number.in_(by_number))
        with _session(self._stored) as session:
            rows = session.scalars(query).all()
            assert len(rows) == len(by_number)  # what is in memory is in the database
            for row in rows:
                ending = by_number[row.number]
                row.state, row.datetime_complete = ending.state, datetime.now()  # noqa: DTZ005  # as Optuna does
                if ending.value is not None:
                    session.add(_value(row.trial_id, ending.value))
                for step, value in ending.reported.items():
                    session.add(_report(row.trial_id, step, value))
        for n, each in by_number.items():
            for step, value in each.reported.items():
                memory.set_trial_intermediate_value(n, step, value)
            memory.set_trial_state_values(n, each.state, None if each.value is None else [each.value])

    def _keep(self, trials: "Sequence[FrozenTrial]") -> None:
        """Write new trials down, and what samplers noted of the study meanwhile."""
        notes = _notes(self.study)
        news = {where: value for where, value in notes.items() if self._notes.get(where) != value}
        with _session(self._stored) as session:
            _write(session, self._stored, trials)
            _note(session, self._stored, news)
        self._notes = notes
        self._remember(news)

    def _remember(self, notes: Notes) -> None:
        """Hold notes as they will be read, such as a list where a sampler noted a tuple."""
        memory, study = self.study._storage, self.study._study_id  # noqa: SLF001  # no public way
        for (kind, key), text in notes.items():
            put = memory.set_study_user_attr if kind == "user" else memory.set_study_system_attr
            put(study, key, json.loads(text))


def _notes(study: "Study") -> Notes:
    """Return what was noted of a study."""
    storage, number = study._storage, study._study_id  # noqa: SLF001  # no public way
    kinds = {"user": storage.get_study_user_attrs(number), "system": storage.get_study_system_attrs(number)}
    return {(kind, key): json.dumps(value) for kind, found in kinds.items() for key, value in found.items()}


def _as_stored(value: Any) -> Any:  # noqa: ANN401  # whatever a sampler notes
    return json.loads(json.dumps(value))


def _write(session: Any, study: "Study", trials: "Sequence[FrozenTrial]") -> None:  # noqa: ANN401  # see `_session`
    """Write the rows of some trials."""
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models

    made: list[Any] = [
        models.TrialModel(
            study_id=study._study_id,  # noqa: SLF001  # no public way
            number=trial.number,
            state=trial.state,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
        )
        for trial in trials
    ]
    session.add_all(made)
    session.flush()
    rows = list[Any]()
    for row, trial in zip(made, trials, strict=True):
        rows += [
            models.TrialParamModel(
                trial_id=row.trial_id,
                param_name=name,
                param_value=distribution.to_internal_repr(trial.params[name]),
                distribution_json=distribution_to_json(distribution),
            )
            for name, distribution in trial.distributions.items()
        ]
        for model, attributes in (
            (models.TrialUserAttributeModel, trial.user_attrs),
            (models.TrialSystemAttributeModel, trial.system_attrs),
        ):
            rows += [
                model(trial_id=row.trial_id, key=key, value_json=json.dumps(value))
                for key, value in attributes.items()
            ]
        if trial.value is not None:
            rows.append(_value(row.trial_id, trial.value))
        rows += [_report(row.trial_id, step, value) for step, value in trial.intermediate_values.items()]
    session.add_all(rows)


def _note(session: Any, study: "Study", notes: Notes) -> None:  # noqa: ANN401  # see `_session`
    """Write what was noted of a study, in place of what was noted before."""
    from optuna.storages._rdb import models

    number = study._study_id  # noqa: SLF001  # no public way
    for (kind, key), text in notes.items():
        model = models.StudyUserAttributeModel if kind == "user" else models.StudySystemAttributeModel
        row = session.query(model).filter_by(study_id=number, key=key).one_or_none()
        if row is None:
            session.add(model(study_id=number, key=key, value_json=text))
        else:
            row.value_json = text


def _value(trial_id: int, value: float) -> Any:  # noqa: ANN401  # of Optuna's, which is imported where needed
    from optuna.storages._rdb.models import TrialValueModel

    stored, kind = TrialValueModel.value_to_stored_repr(value)
    return TrialValueModel(trial_id=trial_id, objective=0, value=stored, value_type=kind)


def _report(trial_id: int, step: int, value: float) -> Any:  # noqa: ANN401  # of Optuna's, as well
    from optuna.storages._rdb.models import TrialIntermediateValueModel

    stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return TrialIntermediateValueModel(
        trial_id=trial_id, step=step, intermediate_value=stored, intermediate_value_type=kind
    )


def _session(study: "Study") -> Any:  # noqa: ANN401  # sqlalchemy is imported by the functions that need it
    """Return a transaction on the database of a study."""
    from sqlalchemy.orm import sessionmaker

    engine = study._storage._backend.engine  # type: ignore[attr-defined]  # noqa: SLF001  # behind Optuna's cache
    return sessionmaker(engine).begin()
