"""What a search knows: scores by arm and example, what is missing, what may be expected."""

from random import Random

import numpy as np
import pytest

from optimizer.board import MOST_KIN, Arm, Board, Point, Reading

EXAMPLES = ("a", "b", "c", "d")


def arm(number: int, cost: int = 1, **point: str) -> Arm:
    return Arm(number=number, cost=cost, point=point)


def readings(**scores: float) -> dict[str, Reading]:
    return {example: Reading(score=score) for example, score in scores.items()}


def filled(rows: list[list[float]], points: list[Point] | None = None) -> Board:
    """Return a board of arms with these scores, NaN for none."""
    board = Board([f"e{k:03d}" for k in range(len(rows[0]))])
    at = [{} for _ in rows] if points is None else points
    board.enter([Arm(number=k, cost=1, point=point) for k, point in enumerate(at)])
    for number, row in enumerate(rows):
        known = {e: Reading(score=s) for e, s in zip(board.examples, row, strict=True) if not np.isnan(s)}
        board.take({number: known})
    return board


def test_scores_stand_by_arm_and_example_and_what_is_missing_is_told() -> None:
    board = Board(EXAMPLES)
    board.enter([arm(0), arm(7)])
    assert board.n_scored == 0
    board.take({7: readings(d=1.0, a=0.5)})
    assert board.n_scored == 1
    assert np.array_equal(board.scores, [[np.nan] * 4, [0.5, np.nan, np.nan, 1.0]], equal_nan=True)
    assert board.missing(7, ("d", "c", "b")) == ("c", "b")
    assert board.missing(0, EXAMPLES) == EXAMPLES
    assert np.array_equal(board.on([7, 0], "a"), [0.5, np.nan], equal_nan=True)


def test_an_arm_of_two_calls_takes_two_for_each_example() -> None:
    board = Board(EXAMPLES)
    board.enter([arm(0), arm(1, cost=2)])
    assert board.take({0: readings(a=1.0), 1: readings(a=1.0, b=0.0, c=0.0)}) == 1 + 2 * 3
    assert board.take({0: {}}) == 0


def test_more_arms_enter_than_there_was_room_for_and_nothing_is_lost() -> None:
    board = Board(EXAMPLES)
    for number in range(200):
        board.enter([arm(number)])
        board.take({number: readings(b=number / 200)})
    assert board.scores.shape == (200, 4)
    assert board.on(range(200), "b").tolist() == [number / 200 for number in range(200)]


def test_arms_can_speak_of_others_once_each_had_a_success_and_none_is_unknown() -> None:
    board = Board(EXAMPLES)
    board.enter([arm(k) for k in range(3)])
    assert not board.can_speak([0], [1, 2])
    board.take({0: readings(a=0.0), 1: readings(a=1.0), 2: readings(a=0.0)})
    assert not board.can_speak([0], [1, 2])  # dead so far
    assert board.can_speak([1], [0, 2])
    board.enter([arm(3)])
    assert not board.can_speak([1], [0, 2, 3])


def test_estimates_are_of_arms_with_a_score_and_lie_between_0_and_1() -> None:
    nan = float("nan")
    board = filled([[1, 1, 1, 1], [0, 0, 0, 0], [nan] * 4])
    estimates = board.estimates()
    assert sorted(estimates) == [0, 1]
    assert 1 >= estimates[0] > estimates[1] >= 0
    assert Board(EXAMPLES).estimates() == {}


def test_an_arm_that_was_spared_what_all_others_fail_is_not_thought_better() -> None:
    rng = Random(0)
    rows = [[float(rng.random() < 0.5) for _ in range(20)] + [0.0] * 20 for _ in range(12)]
    rows[0][20:] = [float("nan")] * 20
    board = filled(rows)
    others = [n for n in range(1, 12) if abs(sum(rows[n][:20]) - sum(rows[0][:20])) <= 1]
    assert others
    for other in others:
        assert board.estimates()[0] == pytest.approx(board.estimates()[other], abs=0.06)


def test_the_best_come_first_equals_as_they_are_given_and_those_without_a_score_last() -> None:
    nothing = [np.nan] * 4
    board = filled([[0, 0, 0, 1], nothing, [1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 0, 1]])
    assert board.best_first((3, 1, 0, 2, 4)) == (2, 4, 3, 0, 1)
    assert board.best_first((0, 1, 3)) == (0, 3, 1)


def test_one_right_answer_to_a_hard_example_is_not_ahead_of_many() -> None:
    nan, n = float("nan"), 60
    leaders = [[0.0, 0.0, *[float(k != leader) for k in range(n - 2)]] for leader in range(3)]
    lucky = [[1.0, *[nan] * (n - 1)] for _ in range(5)]
    poor = [[nan, nan, *[0.0] * 4, *[nan] * (n - 6)] for _ in range(40)]
    unlucky = [[0.0, *[nan] * (n - 1)] for _ in range(20)]
    board = filled([*leaders, *lucky, *poor, *unlucky])
    estimates, ranking = board.estimates(), (2, 0, 1, *range(3, 68))
    assert max(estimates, key=lambda number: estimates[number]) in range(3, 8)
    assert set(board.best_first(ranking)[:3]) == {0, 1, 2}
    assert board.best_first(()) == ()


def test_points_are_expected_to_score_like_their_kin() -> None:
    points: list[Point] = [{"style": style, "wording": w} for style in ("good", "bad") for w in "abcd"]
    rng = Random(1)
    rows = [[float(rng.random() < (0.9 if p["style"] == "good" else 0.2)) for _ in range(30)] for p in points]
    found = filled(rows, points).shared([{"style": "bad", "wording": "e"}, {"style": "good", "wording": "e"}])
    assert len(found.means) == 10
    assert found.means[9] > found.means[8] + 0.2
    assert found.deviations[9] > found.deviations[0]


def test_whether_an_answer_can_be_read_is_modelled_apart() -> None:
    points: list[Point] = [{"format": f, "wording": w} for f in ("read", "torn") for w in "abcdef"]
    rng = Random(2)
    board = Board([f"e{k}" for k in range(20)])
    board.enter([Arm(number=k, cost=1, point=p) for k, p in enumerate(points)])
    for number, point in enumerate(points):
        torn = point["format"] == "torn"
        board.take(
            {
                number: {
                    e: Reading(score=0.0 if torn else float(rng.random() < 0.7), valid=not torn)
                    for e in board.examples
                }
            }
        )
    means = board.shared([{"format": "torn", "wording": "g"}, {"format": "read", "wording": "g"}]).means
    assert means[12] < 0.3
    assert means[13] > 0.4
    assert means[6:12].max() < 0.2


def test_of_many_arms_those_of_the_most_scores_are_compared() -> None:
    rng = Random(3)
    n = MOST_KIN + 30
    rows = [[float(rng.random() < 0.5), float(k >= 30) if k >= 30 else float("nan")] for k in range(n)]
    found = filled(rows, [{"wording": f"w{k}"} for k in range(n)]).shared()
    assert np.isneginf(found.means[:30]).all()
    assert np.isfinite(found.means[30:]).all()


def test_arms_are_told_of_each_other_by_what_the_board_is_told_to_compare() -> None:
    """Every wording has a name of its own; only those of one statement have something in common."""
    wordings: list[Point] = [
        {"wording": f"{statement}{k}"} for statement in ("good", "bad") for k in range(6)
    ]

    def expected(board: Board) -> dict[str, float]:
        board.enter([Arm(number=k, cost=1, point=point) for k, point in enumerate(wordings) if k % 6 < 4])
        for number in [arm.number for arm in board.arms]:
            board.take({number: readings(**dict.fromkeys("abcd", float(number < 6)))})
        return {point["wording"]: mean for mean, point in board.outlook().points}

    alone = expected(Board(EXAMPLES, lambda _rng, _n: wordings, kindred=True))
    told = expected(
        Board(
            EXAMPLES,
            lambda _rng, _n: wordings,
            kindred=True,
            traits=lambda point: {"statement": str(point["wording"])[:-1]},
        )
    )
    assert alone["good5"] == alone["bad5"]
    assert told["good5"] > told["bad5"] + 0.2


def test_the_outlook_ranks_points_that_were_not_tried_and_is_the_same_until_more_is_known() -> None:
    points: list[Point] = [{"style": style, "wording": w} for style in ("good", "bad") for w in "abcdef"]
    board = Board(EXAMPLES, lambda _rng, n: points[:n], kindred=True)
    board.enter([Arm(number=k, cost=1, point=points[k]) for k in (0, 1, 6, 7)])
    for number in (0, 1):
        board.take({number: readings(a=1.0, b=1.0, c=1.0), number + 6: readings(a=0.0, b=0.0, c=0.0)})
    outlook = board.outlook()
    assert board.outlook() is outlook
    assert set(outlook.arms) == {0, 1, 6, 7}
    means = [mean for mean, _ in outlook.points]
    assert means == sorted(means, reverse=True)
    assert {point["style"] for _, point in outlook.points[:4]} == {"good"}
    board.take({0: readings(d=0.0)})
    assert board.outlook() is not outlook


def test_the_outlook_has_each_point_once_and_none_that_entered_or_was_asked_for() -> None:
    points: list[Point] = [{"style": style, "wording": w} for style in ("good", "bad") for w in "abc"]
    board = Board(EXAMPLES, lambda rng, n: rng.choices(points, k=n), kindred=True)
    board.enter([Arm(number=k, cost=1, point=points[k]) for k in (0, 3)])
    board.take({0: readings(a=1.0, b=1.0), 3: readings(a=0.0, b=0.0)})
    assert [point["style"] for _, point in board.outlook().points] == ["good", "good", "bad", "bad"]
    board.claim(points[1])
    board.take({0: readings(c=1.0)})
    assert sorted(str(point) for _, point in board.outlook().points) == sorted(
        str(point) for point in (points[2], *points[4:])
    )
    assert board.has_entered(points[1])
    assert not board.has_entered(points[2])
