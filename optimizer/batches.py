"""Batch after batch of candidates, each scored on the same first examples: the search without race and without pruner.

A batch is recorded before its first ask; each ask depends on what was told before, on the asks of its batch so far and
on a seed of its own; a batch is told as a whole, in trial order. So a process that is killed anywhere leaves a study
that continues as if nothing had happened.
"""

import dataclasses

from optimizer.board import Arm, Board, Reading
from optimizer.calls import NO_TRIAL
from optimizer.errors import IncompleteError
from optimizer.evaluation import Evaluation
from optimizer.history import TrialRecord
from optimizer.refusals import Refusals, sorted_out
from optimizer.study import Study


async def screen_batches(study: Study) -> tuple[TrialRecord, ...]:
    """Return all trials, after screening batch by batch what the budget holds for the search.

    Raises:
        IncompleteError: When the baseline or a whole batch could not be scored.
        InterruptedRunError: After `study.stop`.
        ModelError: When the endpoint is down, or would refuse every request.
    """
    return await _Batches(study).run()


class _Batches:
    """The loop over batches."""

    def __init__(self, study: Study) -> None:
        self.study = study
        allowed = study.plan.file.run.max_error_rate * study.plan.screen
        self._refusals = study.asked.refusals = Refusals(
            study.space.traits, allowed=allowed, store=study.store
        )

    async def run(self) -> tuple[TrialRecord, ...]:
        """Screen until the budget holds no further batch."""
        self._note_earlier()
        await self._screen_baseline()
        self.study.asked.tell(self.study.trials)
        await self._complete_failed()
        self.study.enter("search")
        while True:
            numbers = self._unfinished_batch() or self._next_batch()
            if not numbers or not await self._screen_batch(numbers):
                return self.study.trials

    def _note_earlier(self) -> None:
        """Take what was refused in an earlier process as if it had been in this one."""
        first = {example.id for example in self.study.plan.dataset.validation[: self.study.plan.screen]}
        for row in self.study.trials:
            if row.stage == "confirm":
                continue
            kept = [one for one in self.study.store.scores(row.fingerprint) if one.example in first]
            answered = {one.example for one in kept if one.outcome != "error"}
            refused = {} if row.outage else {one.example: "" for one in kept if one.outcome == "error"}
            self._refusals.note(row.trial, row.point, answered=answered, refused=refused)

    def _note(self, row: TrialRecord, evaluation: Evaluation) -> None:
        answered, refused = sorted_out(evaluation.results)
        self._refusals.note(row.trial, row.point, answered=answered, refused=refused)

    def _completable(self) -> bool:
        """Return whether the budget holds one more candidate, whose calls are counted already, beside the reserve."""
        confirmed = (row.trial for row in self.study.trials if row.stage == "confirm")
        missing = dataclasses.replace(self.study.plan.bounds.candidate, calls=0)
        spent = self.study.without(NO_TRIAL, *confirmed)
        return self.study.plan.bounds.holds(
            spent, self.study.plan.bounds.reserved + missing, ratio=self.study.ratio()
        )

    async def _screen_baseline(self) -> None:
        if self.study.trials:
            return
        candidate = self.study.space.baseline
        template = self.study.space.render(candidate)
        assert template is not None  # the plan was refused otherwise
        evaluation = await self.study.score(
            template, self.study.plan.dataset.validation[: self.study.plan.screen], 0
        )
        row = self.study.row(0, "baseline", candidate, evaluation)
        if row.state == "failed":
            raise IncompleteError(f"the baseline could not be scored: {evaluation.failure}")
        self._note(row, evaluation)
        self.study.keep([row])

    async def _complete_failed(self) -> None:
        """Ask again for what failed in an earlier run; of each trial, exactly the missing examples are sent."""
        for row in self.study.trials:
            if row.state != "failed" or not row.outage or row.stage != "search":
                continue
            if not self._completable():
                return
            candidate = self.study.space.candidate(row.point)
            template = self.study.space.render(candidate)
            assert template is not None  # it was tried before
            examples = self.study.plan.dataset.validation[: self.study.plan.screen]
            evaluation = await self.study.score(template, examples, row.trial)
            self._note(row, evaluation)
            self.study.keep([self.study.row(row.trial, row.stage, candidate, evaluation)])

    def _unfinished_batch(self) -> range | None:
        batches = self.study.store.records("batch")
        if not batches:
            return None
        first = max(batches)
        numbers = range(first, first + int(batches[first]["size"]))
        done = {row.trial for row in self.study.trials}
        return None if batches[first].get("closed") or done.issuperset(numbers) else numbers

    def _next_batch(self) -> range | None:
        # How far tokens and time go is known better after confirmation and test; that is no reason to go on.
        budget = dataclasses.asdict(self.study.plan.budget)
        if self.study.store.records("end").get(0) == budget:
            return None
        size = self.study.plan.bounds.affordable(
            self.study.caller.spent, ratio=self.study.ratio(), most=self.study.plan.file.run.batch
        )
        if size < 1:
            self.study.store.record("end", 0, budget)
            return None
        numbers = range(len(self.study.trials), len(self.study.trials) + size)
        # A confirmation that was interrupted before the budget grew has paid under the first of these numbers.
        self.study.ledger.hand_over(numbers, NO_TRIAL)
        self.study.store.record("batch", numbers.start, {"size": size})
        return numbers

    async def _screen_batch(self, numbers: range) -> bool:
        """Return whether there was anything left to try."""
        asked = self.study.asked.ask(numbers, self._board())
        if len(asked) < len(numbers):
            self.study.store.record("batch", numbers.start, {"size": len(asked), "closed": True})
        if not asked:
            return False
        examples = self.study.plan.dataset.validation[: self.study.plan.screen]
        jobs = [(template, examples, number) for number, _, template in asked]
        evaluations = await self.study.score_all(jobs)
        rows = [self.study.row(n, "search", c, e) for (n, c, _), e in zip(asked, evaluations, strict=True)]
        # One candidate alone may be what fails; of two in a row the endpoint is the likelier cause.
        latest = (*self.study.trials, *rows)[-max(2, len(rows)) :]
        if all(row.state == "failed" and row.outage for row in latest):
            raise IncompleteError(
                f"a whole batch of candidates could not be scored: {evaluations[0].failure}"
            )
        for row, evaluation in zip(rows, evaluations, strict=True):
            self._note(row, evaluation)
        self._refusals.keep()
        self.study.keep(rows)
        return len(asked) == len(numbers)

    def _board(self) -> Board:
        """Return what is known, for a sampler that wants more than Optuna is told."""
        study = self.study
        examples = tuple(example.id for example in study.plan.dataset.validation[: study.plan.screen])
        space = study.space
        board = Board(examples, space.draw, kindred=space.varied, traits=space.traits)
        rows = [row for row in study.trials if row.stage != "confirm"]
        board.enter([Arm(number=row.trial, cost=1, point=row.point) for row in rows])
        for row in rows:
            kept = {
                one.example: Reading(score=one.score, valid=one.outcome == "ok")
                for one in study.store.scores(row.fingerprint)
                if one.score is not None and one.example in set(examples)
            }
            board.take({row.trial: kept})
        return board
