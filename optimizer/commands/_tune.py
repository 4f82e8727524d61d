"""`compare --tune`: a study for each model under one budget, then every tuned prompt on every model."""

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.commands import complain, report_error
from optimizer.commands._batch import carried_out, watched
from optimizer.commands._judges import engaged
from optimizer.commands._lineup import asked_cells, shown_cells
from optimizer.commands._writing import write_results
from optimizer.elision import told_apart
from optimizer.explanation import score_text, signed_points

if TYPE_CHECKING:
    from optimizer.comparing import Scored
    from optimizer.comparison import Comparison
    from optimizer.conclusion import Selection
    from optimizer.evaluation import Evaluation
    from optimizer.ledger import CacheMode
    from optimizer.plan import StudyPlan
    from optimizer.rivals import Rival
    from optimizer.runs import Batch, Outcome
    from optimizer.transfer import Journey, Transfer

# Models side by side in the table: a row then has 120 columns at most, unless names need more to differ, and
# `0.000 -100.0 worse` its place.
_SIDE, _NAME, _CELL = 5, 18, 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """Studies for several models, found sound.

    Attributes:
        reserved: Calls that are set aside for asking each prompt of the other models.
        folder: Where all results lie.
    """

    models: "tuple[Rival, ...]"
    plans: "tuple[StudyPlan, ...]"
    calls: int | None
    reserved: int
    folder: Path

    @property
    def split(self) -> str:
        """Return the examples that judge: the test, or validation where there is none."""
        return "test" if self.plans[0].dataset.test else "validation"

    def batch(self, cache: "CacheMode") -> "Batch":
        """Return the studies under the budget that is left for them.

        Raises:
            InputError: When it does not hold what they need at least.
        """
        from optimizer.runs import Batch, usual_parallel
        from optimizer.sharing import Shared

        left = None if self.calls is None else self.calls - self.reserved
        return Batch(self.plans, Shared(calls=left), parallel=usual_parallel(self.plans), cache=cache)

    @property
    def in_words(self) -> str:
        """Return what is asked, in a line."""
        total = sum(plan.budget.calls for plan in self.plans) + self.reserved
        most = total if self.calls is None else min(total, self.calls)
        return (
            f"{self.plans[0].task.name}: {len(self.plans)} studies and their prompts on each other's models, {most:,} calls"
            f" at most, of which {self.reserved:,} are set aside for the latter"
        )


def tuning_of(
    study: Path, models: Sequence[str], output: Path | None, *, calls: int | None, concurrency: str | None
) -> Tuning:
    """Return the studies of several models.

    Raises:
        InputError: With every mistake found.
    """
    from optimizer.commands._calling import with_concurrency
    from optimizer.errors import InputError, Problem
    from optimizer.rivals import rivals
    from optimizer.tuning import plans_for

    found = rivals(models)
    if len(found) < 2:
        message = f"expected at least two models to tune for, found {len(found)}"
        raise InputError([Problem(file="", field="--models", message=message)])
    folder = study.parent / "compare" if output is None else output
    plans = tuple(with_concurrency(plan, concurrency) for plan in plans_for(study, found, folder))
    reserved = _reserved(plans)
    if calls is not None and calls <= reserved:
        message = f"expected more than the {reserved} that asking each prompt of the other models takes, found {calls}"
        raise InputError([Problem(file="", field="--calls", message=message)])
    return Tuning(models=found, plans=plans, calls=calls, reserved=reserved, folder=folder)


def _reserved(plans: "Sequence[StudyPlan]") -> int:
    """Return how many calls it takes at most to ask the prompt of each study of the models of the others."""
    judged = len(plans[0].dataset.test or plans[0].dataset.validation)
    imported = plans[0].imported
    own = 0 if imported is None else len(imported.template.calls)
    most = max(own, *(plan.space.most_calls for plan in plans))
    return len(plans) * (len(plans) - 1) * judged * most


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """What tuning for several models came to.

    Attributes:
        comparison: Every prompt on every model; None where too little was answered.
        codes: Exit codes of all that is missing.
        figures: What `--json` shows beside the comparison.
    """

    comparison: "Comparison | None"
    transfers: "tuple[Transfer, ...]"
    codes: tuple[int, ...]
    figures: Mapping[str, Any]


def carry_out(tuning: Tuning, *, cache: "CacheMode", quiet: bool) -> Tuned:
    """Run the studies, ask each prompt of the other models, and compare.

    Raises:
        InterruptedRunError: When it was stopped; the same command goes on.
    """
    from optimizer.errors import InterruptedRunError
    from optimizer.transfer import journey

    batch = tuning.batch(cache)
    batch.keep = write_results
    if not quiet:
        complain(tuning.in_words)
    with watched(batch.plans, quiet=quiet) as watcher:
        batch.watch, batch.ended = watcher, watcher.ended
        outcomes = asyncio.run(carried_out(batch))
    for outcome in outcomes:
        if isinstance(outcome.error, InterruptedRunError):
            raise outcome.error
    labelled = zip(tuning.models, outcomes, strict=True)
    tuned = {rival.label: each.selection for rival, each in labelled if each.selection is not None}
    failed = [each.error for each in outcomes if each.error is not None]
    if not tuned:
        return Tuned(
            comparison=None,
            transfers=(),
            codes=tuple(map(report_error, failed)),
            figures=_figures(tuning, outcomes, None, ()),
        )
    travels = journey(tuned, tuning.models, tuning.plans[0].task)
    scored = _ask(tuning, travels, cache=cache, quiet=quiet)
    return _together(tuning, outcomes, tuned, travels, scored)


def _ask(tuning: Tuning, travels: "Journey", *, cache: "CacheMode", quiet: bool) -> "tuple[Scored, ...]":
    """Return what became of each prompt on the models of the others, the calls recorded as over where none is missing."""
    from optimizer.comparing import Terms, open_comparing
    from optimizer.rescoring import located_roles, store_of
    from optimizer.rivals import siblings

    if not travels.asked:
        return ()
    plan = tuning.plans[0]
    examples = getattr(plan.dataset, tuning.split)
    terms = Terms(
        task=plan.task,
        examples=examples,
        run=plan.file.run,
        cache=cache,
        database=store_of(plan.folder),
        asked=engaged(plan.task, located_roles((plan.file, plan.source)), answers=len(examples)),
        apart=siblings(tuning.models),
    )
    with open_comparing(travels.asked, terms) as comparing:
        with shown_cells(quiet=quiet) as comparing.watch:
            scored = asyncio.run(asked_cells(comparing))
        if all(each.evaluation is not None and not each.evaluation.n_errors for each in scored):
            comparing.finish(scored)
    return scored


def _together(
    tuning: Tuning,
    outcomes: "Sequence[Outcome]",
    tuned: "Mapping[str, Selection]",
    travels: "Journey",
    scored: "Sequence[Scored]",
) -> Tuned:
    from optimizer.comparison import compare_evaluations
    from optimizer.transfer import own_evaluation, transfers

    answered: dict[tuple[str, str], Evaluation] = {
        (each.seat.prompt, each.seat.rival.label): each.evaluation
        for each in scored
        if each.evaluation is not None
    }
    known = travels.evaluations(answered)
    failed = {
        (each.seat.prompt, each.seat.rival.label): str(each.error)
        for each in scored
        if each.error is not None
    }
    failed |= {pair: failed[other] for pair, other in travels.twins.items() if other in failed}
    order = [(prompt, rival.label) for rival in tuning.models for prompt in tuned]
    found = {pair: known.get(pair, failed.get(pair, "")) for pair in order if pair in known or pair in failed}
    scorer = own_evaluation(next(iter(tuned.values()))).scorer
    examples = getattr(tuning.plans[0].dataset, tuning.split)
    first = next(label for label in tuned)
    comparison = compare_evaluations(
        [(*pair, each) for pair, each in found.items()],
        examples,
        scorer,
        baseline=list(found).index((first, first)),
    )
    shared = () if comparison is None else comparison.examples
    travelled = {pair: known[pair] for pair in order if pair in known and known[pair].scored}
    moved = transfers(travelled, [each for each in examples if each.id in shared], scorer) if shared else ()
    errors = [*(each.error for each in outcomes), *(each.error for each in scored)]
    codes = [report_error(error) for error in errors if error is not None]
    missing = sum(each.evaluation.n_errors for each in scored if each.evaluation is not None)
    if missing:
        complain(f"error: {missing} answers are missing; the same command asks for them again")
    return Tuned(
        comparison=comparison,
        transfers=moved,
        codes=(*codes, *([3] if missing or comparison is None else [])),
        figures=_figures(tuning, outcomes, travels, scored) | {"transfer": [each.figures for each in moved]},
    )


def _figures(
    tuning: Tuning, outcomes: "Sequence[Outcome]", travels: "Journey | None", scored: "Sequence[Scored]"
) -> dict[str, Any]:
    """Return what each study came to, and what it took to ask the prompts of the other models."""
    studies = {
        rival.label: {
            "folder": str(outcome.plan.folder),
            "decision": None if outcome.selection is None else outcome.selection.decision,
            "fingerprint": None if outcome.selection is None else outcome.selection.frozen.fingerprint,
            "calls": outcome.figures.get("calls", 0),
            "budget": outcome.plan.budget.calls,
            "error": None if outcome.error is None else str(outcome.error),
        }
        for rival, outcome in zip(tuning.models, outcomes, strict=True)
    }
    barred = {} if travels is None else {"@".join(pair): reason for pair, reason in travels.barred.items()}
    asked = {each.seat.name: {"spent": each.used} for each in scored}
    return {
        "task": tuning.plans[0].task.name,
        "split": tuning.split,
        "studies": studies,
        "asked": asked,
        "barred": barred,
        "calls": tuning.calls,
        "reserved": tuning.reserved,
    }


def transfer_lines(transfers: "Sequence[Transfer]", barred: Mapping[str, str]) -> Iterator[str]:
    """Yield the matrix: a tuned prompt a row, a model a column; what each loses against the prompt of the model."""
    cells = {(each.prompt, each.model): each for each in transfers}
    prompts = list(dict.fromkeys(each.prompt for each in transfers))
    models = list(dict.fromkeys(each.model for each in transfers))
    shown = told_apart((*prompts, *models), _NAME)
    first = max([_NAME, *(len(shown[prompt]) for prompt in prompts)])
    other = max([_CELL, *(len(shown[model]) + 2 for model in models)])
    for start in range(0, len(models), _SIDE):
        part = models[start : start + _SIDE]
        yield (f"{'tuned for':<{first}}  " + "".join(f"{shown[model]:<{other}}" for model in part)).rstrip()
        for prompt in prompts:
            told = (_told(cells.get((prompt, model)), own=prompt == model) for model in part)
            yield (f"{shown[prompt]:<{first}}  " + "".join(f"{each:<{other}}" for each in told)).rstrip()
    yield "columns: the model that is asked; points against the prompt that was tuned for it, corrected for all"
    for pair, reason in barred.items():
        yield f"- {pair} cannot be asked: {reason}"


def _told(cell: "Transfer | None", *, own: bool) -> str:
    if cell is None:
        return "-"
    if cell.loss is None:
        return f"{score_text(cell.score)} {'own' if own else 'same' if cell.same else ''}"
    word = {"better": "better", "worse": "worse"}.get(cell.loss.decision, "")
    return f"{score_text(cell.score)} {signed_points(cell.loss.comparison.difference)} {word}"


def rehearsed(tuning: Tuning, cache: "CacheMode") -> dict[str, Any]:
    """Return the calls that each study and the rest may make, without making any.

    Raises:
        InputError: When the budget does not hold what the studies need at least.
    """
    batch = tuning.batch(cache)
    shares = zip(tuning.models, batch.plans, strict=True)
    return {
        "studies": {rival.label: plan.budget.calls for rival, plan in shares},
        "reserved": tuning.reserved,
        "in_words": dataclasses.replace(tuning, plans=tuple(batch.plans)).in_words,
    }
