"""The screening: batch after batch of candidates, each scored on the same first examples, further ones with a pruner.

This is how samplers search that name one candidate at a time. A pruner is asked after each doubling of the examples;
what it keeps is scored on all of them.
"""

from collections.abc import Generator, Sequence
from typing import Any

from optimizer.board import Arm, Board
from optimizer.racing import Bar, Doubt, Drop, Move, Open, Search, Try


def pruner_cautions(name: str | None, *, first: int, examples: int) -> tuple[str, ...]:
    """Return a caution where a pruner is named and never asked: it gives up who was scored on a part of the examples."""
    if name is None or first < examples:
        return ()
    why = f"every candidate is scored on all {examples} validation examples at once"
    remedy = "it takes a test split, and fewer examples in `search.screen`"
    return (f"`search.pruner` ({name}) gives nobody up, because {why}; {remedy}",)


class Screening:
    """One search.

    Args:
        board: What is known; the baseline has entered and been scored.
        batch: Candidates that are asked for before any of them is scored.
        first: Examples of each.
        prune: Whether a pruner decides after that; without one nothing more is asked for.
    """

    def __init__(self, board: Board, *, batch: int, first: int, prune: bool) -> None:
        self.board = board
        self._batch = batch
        self._first = first
        self._prune = prune

    def run(self) -> Search:
        """Screen until no candidate is left or the budget holds no further one."""
        while True:
            fresh: Sequence[Arm] = yield Open(most=self._batch)
            if not fresh:
                return
            self.board.enter(fresh)
            live, n = [arm.number for arm in fresh], min(self._first, len(self.board.examples))
            if not (yield from self._try(live, n)):
                return
            while self._prune and live and n < len(self.board.examples):
                barred: frozenset[int] = yield Bar(arms=tuple(live))
                doubted: frozenset[int] = yield Doubt(arms=tuple(n for n in live if n not in barred))
                gone = barred | doubted
                live = [number for number in live if number not in gone]
                yield Drop(arms=tuple(sorted(gone)), ended=False)
                n = min(2 * n, len(self.board.examples))
                if live and not (yield from self._try(live, n)):
                    return
            yield Drop(arms=tuple(live), ended=True)

    def _try(self, live: Sequence[int], n: int) -> Generator[Move, Any, bool]:
        work = {number: self.board.missing(number, self.board.examples[:n]) for number in live}
        readings = yield Try(work={number: examples for number, examples in work.items() if examples})
        if readings is None:
            return False
        self.board.take(readings)
        return True
