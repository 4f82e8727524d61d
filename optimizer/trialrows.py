"""Trials written into Optuna's tables many at a time: what Optuna does with a transaction and a dozen queries for each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, TrialState


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


def add_trials(study: "Study", trials: Sequence["FrozenTrial"]) -> None:
    """Add some trials, under way or ended, in one transaction.

    Optuna's own way is a transaction and a dozen queries for each, and `Study.ask` reads all that are under way before
    it: a race, all of whose arms are under way at once, would take a minute to ask for a thousand of them.
    """
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models
    from sqlalchemy import func, select

    number, rows = study._study_id, list[Any]()  # noqa: SLF001  # no public way
    with _session(study) as session:
        n = session.scalar(
            select(func.count()).select_from(models.TrialModel).where(models.TrialModel.study_id == number)
        )
        made: list[Any] = [
            models.TrialModel(
                study_id=number,
                number=n + k,
                state=t.state,
                datetime_start=t.datetime_start,
                datetime_complete=t.datetime_complete,
            )
            for k, t in enumerate(trials)
        ]
        session.add_all(made)
        session.flush()
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
            rows += _attributes(row.trial_id, trial.user_attrs)
            if trial.value is not None:
                rows.append(_value(row.trial_id, trial.value))
            rows += [_report(row.trial_id, step, v) for step, v in trial.intermediate_values.items()]
        session.add_all(rows)


def describe_trial(study: "Study", trial_id: int, attributes: Mapping[str, Any]) -> None:
    """Give a trial attributes that it does not have yet, in one transaction."""
    with _session(study) as session:
        session.add_all(_attributes(trial_id, attributes))


def end_trials(study: "Study", endings: Sequence[Ending]) -> None:
    """End some trials in one transaction.

    `Study.tell` is for the process that asked: it reads each trial twice more, and talks to sampler and pruner, which
    here decide elsewhere.
    """
    from optuna.storages._rdb.models import TrialModel
    from sqlalchemy import select

    by_id = {each.trial._trial_id: each for each in endings}  # noqa: SLF001  # no public way
    with _session(study) as session:
        for row in session.scalars(select(TrialModel).where(TrialModel.trial_id.in_(by_id))).all():
            ending, number = by_id[row.trial_id], row.trial_id
            row.state, row.datetime_complete = ending.state, datetime.now()  # noqa: DTZ005  # as Optuna does
            if ending.value is None:
                continue
            session.add(_value(number, ending.value))
            if ending.step is not None and ending.step not in ending.trial.intermediate_values:
                session.add(_report(number, ending.step, ending.value))


def _attributes(trial_id: int, attributes: Mapping[str, Any]) -> list[Any]:
    from optuna.storages._rdb.models import TrialUserAttributeModel

    return [
        TrialUserAttributeModel(trial_id=trial_id, key=key, value_json=json.dumps(value))
        for key, value in attributes.items()
    ]


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
