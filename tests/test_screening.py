"""Batches of candidates: what is asked for, in which order, and when it ends."""

import itertools
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from optimizer.board import Arm, Board, Reading
from optimizer.racing import Bar, Doubt, Drop, Move, Open, Try
from optimizer.screening import Screening

EXAMPLES = tuple(f"e{k:02d}" for k in range(30))


def screened(
    *,
    n: int = 7,
    batch: int = 3,
    first: int = 8,
    prune: bool = True,
    calls: int = 10_000,
    gone: Callable[[int, int], bool] = lambda _number, _n: False,
    barred: AbstractSet[int] = frozenset(),
) -> tuple[list[Move], Board]:
    """Return all moves of a screening whose pruner gives up whom `gone` says, by number and scores."""
    board = Board(EXAMPLES)
    board.enter([Arm(number=0, cost=1, point={})])
    board.take({0: {example: Reading(score=1.0) for example in EXAMPLES[:first]}})
    search, moves, left = Screening(board, batch=batch, first=first, prune=prune).run(), list[Move](), calls
    numbers = iter(range(1, n + 1))
    answer: object = None
    while True:
        try:
            move = search.send(answer)
        except StopIteration:
            return moves, board
        moves.append(move)
        if isinstance(move, Open):
            answer = [Arm(number=n, cost=1, point={}) for n in itertools.islice(numbers, move.most)]
        elif isinstance(move, Try):
            price = sum(map(len, move.work.values()))
            left -= price
            answer = (
                None
                if left < 0
                else {k: {e: Reading(score=0.5) for e in examples} for k, examples in move.work.items()}
            )
        elif isinstance(move, Bar):
            answer = frozenset(move.arms) & barred
        elif isinstance(move, Doubt):
            scored = {k: len(EXAMPLES) - len(board.missing(k, EXAMPLES)) for k in move.arms}
            answer = frozenset(k for k in move.arms if gone(k, scored[k]))
        else:
            answer = None


def test_without_a_pruner_every_candidate_is_scored_on_the_first_examples_and_ends() -> None:
    moves, _ = screened(prune=False)
    assert [type(move) for move in moves] == [Open, Try, Drop] * 3 + [Open]
    tried = [move.work for move in moves if isinstance(move, Try)]
    assert [list(work) for work in tried] == [[1, 2, 3], [4, 5, 6], [7]]
    assert all(examples == EXAMPLES[:8] for work in tried for examples in work.values())
    assert [move.arms for move in moves if isinstance(move, Drop)] == [(1, 2, 3), (4, 5, 6), (7,)]
    assert all(move.ended for move in moves if isinstance(move, Drop))


def test_with_a_pruner_examples_double_until_all_are_asked_of_whom_it_keeps() -> None:
    moves, board = screened(n=3, gone=lambda number, n: (number, n) in {(1, 8), (3, 16)})
    sizes = {k: len(EXAMPLES) - len(board.missing(k, EXAMPLES)) for k in (1, 2, 3)}
    assert sizes == {1: 8, 2: 30, 3: 16}
    assert [move.arms for move in moves if isinstance(move, Doubt)] == [(1, 2, 3), (2, 3)]
    dropped = {k: move.ended for move in moves if isinstance(move, Drop) for k in move.arms}
    assert dropped == {1: False, 3: False, 2: True}


def test_who_cannot_be_chosen_is_asked_no_more_and_the_pruner_is_not_asked_about_it() -> None:
    moves, board = screened(n=3, barred={2})
    assert {k: len(EXAMPLES) - len(board.missing(k, EXAMPLES)) for k in (1, 2, 3)} == {1: 30, 2: 8, 3: 30}
    assert {move.arms for move in moves if isinstance(move, Doubt)} == {(1, 3)}
    dropped = {k: move.ended for move in moves if isinstance(move, Drop) for k in move.arms}
    assert dropped == {1: True, 2: False, 3: True}


def test_nothing_is_asked_twice() -> None:
    moves, _ = screened(gone=lambda number, _n: number % 2 == 0)
    asked = [(k, e) for m in moves if isinstance(m, Try) for k, examples in m.work.items() for e in examples]
    assert len(asked) == len(set(asked))


def test_it_ends_where_a_whole_batch_is_given_up_or_the_budget_is_spent() -> None:
    moves, _ = screened(n=3, gone=lambda _number, _n: True)
    assert [type(move) for move in moves] == [Open, Try, Bar, Doubt, Drop, Drop, Open]
    moves, _ = screened(calls=30)
    assert [type(move) for move in moves] == [Open, Try, Bar, Doubt, Drop, Try]


def test_where_the_first_examples_are_all_there_are_no_pruner_is_asked() -> None:
    moves, _ = screened(first=30)
    assert not any(isinstance(move, Doubt) for move in moves)
