"""The race, driven by a scripted answerer: what it asks, what it spends, whom it keeps."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import example as with_example
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.board import Arm, Board, Point, Reading
from optimizer.racing import (
    CALLS_PER_ARM,
    EASY,
    KINDRED_ARMS,
    PROBES,
    TURNS,
    Bar,
    Doubt,
    Drop,
    Move,
    Open,
    Race,
    Try,
    width,
)

Score = Callable[[int, int], float | None]  # of an arm on the example at a place
STYLES, WORDINGS = 6, 60


@dataclass(kw_only=True)
class Track:
    """Answers a race, and keeps what it asked."""

    score: Score
    examples: int = 40
    pool: int = 10_000
    cost: Callable[[int], int] = lambda _number: 1
    doubt: Callable[[Doubt], frozenset[int]] = lambda _doubt: frozenset()
    barred: Callable[[int], bool] = lambda _number: False
    refuse_after: int = 10_000_000
    kindred: bool = False
    moves: list[Move] = field(default_factory=list)
    asked: list[tuple[int, str]] = field(default_factory=list)
    calls: int = 0

    def __post_init__(self) -> None:
        names = [f"e{k:03d}" for k in range(self.examples)]
        self.board = Board(names, self.propose, kindred=self.kindred)
        self.entered = 0
        self.board.enter([self.arm()])

    def propose(self, rng: Random, n: int) -> list[Point]:
        points = [{"style": f"s{s}", "wording": f"w{w}"} for s in range(STYLES) for w in range(WORDINGS)]
        return list[Point](rng.sample(points, min(n, len(points))))

    def arm(self) -> Arm:
        number, self.entered = self.entered, self.entered + 1
        point = {"style": f"s{number % STYLES}", "wording": f"w{number // STYLES}"} if self.kindred else {}
        return Arm(number=number, cost=self.cost(number), point=point)

    def run(self, calls: int, first: int = 1) -> Race:
        race = Race(self.board, calls=calls, first=first)
        search, answer = race.run(), None
        while True:
            try:
                move = search.send(answer)
            except StopIteration:
                return race
            self.moves.append(move)
            answer = self.answer(move)

    def answer(self, move: Move) -> object:
        if isinstance(move, Open):
            return [self.arm() for _ in range(min(move.most, self.pool - self.entered))]
        if isinstance(move, Doubt):
            return self.doubt(move)
        if isinstance(move, Bar):
            return frozenset(n for n in move.arms if self.barred(n))
        if isinstance(move, Drop):
            return None
        if len(self.asked) >= self.refuse_after:
            return None
        found: dict[int, dict[str, Reading]] = {}
        for number, examples in move.work.items():
            for example in examples:
                self.asked.append((number, example))
                score = self.score(number, int(example[1:]))
                if score is not None:
                    found.setdefault(number, {})[example] = Reading(score=score)
                    self.calls += self.cost(number)
        return found

    @property
    def widths(self) -> list[int]:
        """Return how many arms were asked on each example, in order."""
        per = {example: 0 for _, example in self.asked}
        for _, example in self.asked:
            per[example] += 1
        return [per[example] for example in sorted(per)]


def luck(seed: int, *, best: int = -1, usual: float = 0.5) -> Score:
    """Return scores of equal arms but for one, which is nearly always right."""
    return lambda arm, k: float(Random(f"{seed} {arm} {k}").random() < (0.95 if arm == best else usual))


def always_right(best: int) -> Score:
    """Return scores of arms of which one is right on every example, and the others on none."""
    return lambda arm, _k: float(arm == best)


def prefers(seed: int, label: Callable[[int], int | None], *, good: float = 0.7) -> Score:
    """Return scores of arms that answer one label whatever is asked, or are good; examples ask for two labels in turn."""

    def score(arm: int, k: int) -> float:
        answer = label(arm)
        if answer is None:
            return float(Random(f"{seed} {arm} {k}").random() < good)
        return float(k % 2 == answer)

    return score


def trial_of(track: Track, calls: int, first: int = 1) -> Race:
    """Run a race and check what holds of any."""
    race = track.run(calls, first)
    assert track.calls == race.spent <= calls
    assert len(track.asked) == len(set(track.asked))
    assert sorted(race.ranking) == sorted(arm.number for arm in track.board.arms)
    dropped = [number for move in track.moves if isinstance(move, Drop) for number in move.arms]
    assert len(dropped) == len(set(dropped))
    order = list(dict.fromkeys(example for _, example in track.asked))
    turns = TURNS if track.kindred else 0
    assert [*sorted(order[:turns]), *order[turns:]] == list(track.board.examples[: len(order)])
    return race


@pytest.mark.parametrize("calls", [1, 2, 3, 7, 20, 100, 1000])
@pytest.mark.parametrize("first", [1, 4])
@pytest.mark.parametrize("kindred", [True, False])
def test_no_more_calls_are_spent_than_allowed_and_the_ranking_holds_everybody_once(
    calls: int, first: int, kindred: bool
) -> None:
    track = Track(score=luck(0), kindred=kindred)
    race = trial_of(track, calls, first)
    assert 0 in race.ranking
    if not kindred:
        assert track.entered == width(calls, first, kindred=False)


@with_example(calls=900, first=1, seed=0, holes=0.1, costs=False, kindred=True, pool=10_000, usual=0.9)
@settings(max_examples=40, deadline=None)
@given(
    calls=st.integers(1, 900),
    first=st.integers(1, 5),
    seed=st.integers(0, 1000),
    holes=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    costs=st.booleans(),
    kindred=st.booleans(),
    pool=st.sampled_from([1, 2, 5, 60, 10_000]),
    usual=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_whatever_is_answered_the_books_are_in_order(
    *, calls: int, first: int, seed: int, holes: float, costs: bool, kindred: bool, pool: int, usual: float
) -> None:
    scores = luck(seed, usual=usual)

    def ragged(arm: int, k: int) -> float | None:
        return None if Random(f"hole {seed} {arm} {k}").random() < holes else scores(arm, k)

    track = Track(
        score=ragged,
        kindred=kindred,
        pool=pool,
        cost=(lambda number: 1 + number % 2) if costs else (lambda _number: 1),
        doubt=lambda doubt: frozenset(n for n in doubt.arms if Random(f"{seed} {n}").random() < 0.1),
    )
    trial_of(track, calls, first)


def test_examples_come_one_after_the_other_and_in_blocks_where_several_are_wanted() -> None:
    single, several = Track(score=luck(1)), Track(score=luck(1))
    trial_of(single, 300)
    trial_of(several, 300, first=4)
    sizes = {len(examples) for m in single.moves if isinstance(m, Try) for examples in m.work.values()}
    assert sizes == {1}
    blocks = [max(map(len, m.work.values())) for m in several.moves if isinstance(m, Try)]
    assert blocks[0] == 4
    assert max(blocks) == 4


def test_the_width_halves_until_one_is_left_when_the_calls_are() -> None:
    # Scores that tell everybody apart, so that nobody is spared.
    track = Track(score=lambda arm, k: Random(f"{arm} {k}").random(), examples=400)
    race = trial_of(track, 1000)
    widths = track.widths
    assert widths[0] == width(1000, 1, kindred=False) == 200
    assert widths == sorted(widths, reverse=True)
    assert race.spent >= 985
    assert widths[-1] <= 3
    spent, halved = 0, list[float]()
    for n in widths:
        spent += n
        if n <= 200 / 2 ** (len(halved) + 1):
            halved.append(spent / 1000)
    # By the schedule half are left at (1 / log2 W)^(1 / BEND) of the calls, a quarter at twice that share, ...
    assert halved[0] == pytest.approx((1 / 7.64) ** (1 / 1.2), abs=0.25)
    assert halved == sorted(halved)


def test_an_example_on_which_the_probes_agree_is_spared_the_others() -> None:
    def score(arm: int, k: int) -> float:
        return 1.0 if k % 2 else float(Random(f"{arm} {k}").random() < 0.6)

    track = Track(score=score)
    trial_of(track, 600)
    odd = [n for k, n in enumerate(track.widths) if k % 2]
    even = [n for k, n in enumerate(track.widths) if not k % 2]
    assert set(odd[3:]) == {PROBES}
    assert sum(n > PROBES for n in even[:8]) >= 6  # sometimes they agree by chance


def test_probes_that_are_wrong_throughout_spare_nobody() -> None:
    track = Track(score=lambda arm, k: 0.0)
    trial_of(track, 200)
    widths = track.widths
    assert widths[0] == 40
    assert min(widths[:6]) > PROBES


@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_kin_take_turns_at_the_first_examples_and_whoever_stays_is_asked_all_of_them(first: int) -> None:
    track = Track(score=luck(1), kindred=True)
    race = trial_of(track, 1200, first)
    opening = next(move.work for move in track.moves if isinstance(move, Try))
    begun = [examples[0] for examples in opening.values()]
    assert set(begun) == set(track.board.examples[:TURNS])
    assert min(begun.count(name) for name in begun) > 0.5 * len(begun) / TURNS
    assert {len(examples) for examples in opening.values()} == {first}
    stayed = next(number for number in race.ranking if number in opening)
    asked = {example for number, example in track.asked if number == stayed}
    assert len(asked) > 2 * TURNS
    assert set(track.board.examples[:TURNS]) <= asked


@pytest.mark.parametrize("first", [TURNS, TURNS + 3])
def test_a_block_as_long_as_the_turns_is_the_same_for_everybody(first: int) -> None:
    track = Track(score=luck(1), kindred=True)
    trial_of(track, 3000, first)
    opening = next(move.work for move in track.moves if isinstance(move, Try))
    assert set(opening.values()) == {track.board.examples[:first]}


def test_strangers_take_no_turns() -> None:
    track = Track(score=luck(1))
    trial_of(track, 600)
    opening = next(move.work for move in track.moves if isinstance(move, Try))
    assert set(opening.values()) == {track.board.examples[:1]}


def of_seconds(track: Track) -> tuple[set[int], dict[int, tuple[str, ...]]]:
    """Return the arms that were asked before any was asked again, and what was asked then."""
    begun = set[int]()
    for move in track.moves:
        if isinstance(move, Try):
            if begun & set(move.work):
                return begun, move.work
            begun |= set(move.work)
    return begun, {}


@pytest.mark.parametrize("usual", [0.1, EASY - 0.15, EASY + 0.15, 0.95])
@pytest.mark.parametrize("first", [1, 2])
def test_more_kin_enter_after_the_first_examples_only_where_most_do_badly(usual: float, first: int) -> None:
    track = Track(score=luck(1, usual=usual), kindred=True)
    trial_of(track, 1200, first)
    opening = next(move.work for move in track.moves if isinstance(move, Try))
    assert len(opening) == width(1200, first, kindred=False)
    begun, _ = of_seconds(track)
    assert len(begun) == width(1200, first, kindred=usual < EASY)


def test_kin_of_which_most_do_well_take_no_more_turns_and_are_spared_what_tells_none_apart() -> None:
    easy, hard = (Track(score=luck(1, usual=usual), kindred=True) for usual in (0.95, 0.3))
    for track in (easy, hard):
        trial_of(track, 1200)
    (_, probed), (_, turns) = of_seconds(easy), of_seconds(hard)
    assert len(set(turns.values())) == TURNS
    assert len(set(probed.values())) == 1
    assert len(probed) <= PROBES
    spared, asked = (
        [len(move.work) <= PROBES for move in track.moves if isinstance(move, Try)][1 : TURNS + 1]
        for track in (easy, hard)
    )
    assert sum(spared) > TURNS / 2
    assert not any(asked)


def test_kin_of_which_most_do_well_leave_as_strangers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(usual: float) -> list[tuple[int, str]]:
        track = Track(score=luck(1, usual=usual), kindred=True)
        trial_of(track, 1200)
        return track.asked

    easy, hard = asked(0.8), asked(0.3)
    monkeypatch.setattr("optimizer.racing.BEND", 3.0)
    assert asked(0.8) != easy
    assert asked(0.3) == hard


def test_kin_of_those_that_do_well_enter_where_most_do_well() -> None:
    track = Track(score=luck(1, usual=0.8), kindred=True)
    trial_of(track, 1200)
    opened = [move.most for move in track.moves if isinstance(move, Open)]
    assert opened[0] == width(1200, 1, kindred=False) - 1
    assert 0 < sum(opened[1:]) < opened[0]


def test_kin_that_prefer_the_answer_asked_for_first_do_not_push_out_those_that_are_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(arm: int) -> int | None:
        return None if arm % STYLES == 4 else arm % 2

    def share() -> float:
        """Return the mean share of good arms among those that stay after the first cut."""
        found = list[float]()
        for seed in range(8):
            track = Track(score=prefers(seed, answer), kindred=True)
            trial_of(track, 1200)
            _, stayed = of_seconds(track)
            found.append(sum(number % STYLES == 4 for number in stayed) / len(stayed))
        return sum(found) / len(found)

    in_turn = share()
    monkeypatch.setattr("optimizer.racing.TURNS", 1)
    assert in_turn > 0.25  # they are a sixth of all, and everybody is right half of the time
    assert share() < 0.8 * in_turn


@pytest.mark.parametrize(
    "kindred", [True, False]
)  # of kin the arms that enter after the first examples are refused
def test_a_refusal_ends_the_race(kindred: bool) -> None:
    track = Track(score=luck(2), refuse_after=90, kindred=kindred)
    race = track.run(500)
    assert isinstance(track.moves[-1], Try)
    assert len(track.asked) < 500
    assert sorted(race.ranking) == list(range(track.entered))


def test_a_clearly_better_arm_wins() -> None:
    wins = [Track(score=luck(seed, best=11)).run(400).ranking[0] == 11 for seed in range(12)]
    assert sum(wins) >= 10


def test_where_the_examples_end_with_several_arms_left_the_best_is_first() -> None:
    for best in range(3):
        track = Track(score=always_right(best), examples=9, pool=3)
        race = trial_of(track, 160)
        assert not any(isinstance(move, Drop) for move in track.moves)
        assert race.ranking[0] == best


def test_an_arm_that_gets_no_score_does_not_win() -> None:
    scores = luck(3, best=4)
    track = Track(score=lambda arm, k: None if arm == 4 else scores(arm, k))
    race = trial_of(track, 300)
    assert race.ranking[0] != 4


def test_an_arm_of_two_calls_is_paid_twice() -> None:
    track = Track(score=luck(4), cost=lambda number: 2 if number % 3 else 1)
    race = trial_of(track, 400)
    assert race.spent == sum(2 if number % 3 else 1 for number, _ in track.asked)
    assert race.spent > 360


@pytest.mark.parametrize("kindred", [True, False])
@pytest.mark.parametrize("first", [1, 4])
@pytest.mark.parametrize("calls", [1, 50, 199, 200, 900])
def test_a_race_is_as_wide_as_its_examples_cost(calls: int, first: int, kindred: bool) -> None:
    usual = width(calls, first, kindred=kindred)
    assert width(3 * calls, first, kindred=kindred, cost=3.0) == usual
    assert width(calls, first, kindred=kindred, cost=1.0) == usual
    assert width(3 * calls, first, kindred=kindred, cost=1.5) == width(2 * calls, first, kindred=kindred)


@pytest.mark.parametrize("kindred", [True, False])
@pytest.mark.parametrize("first", [1, 4])
def test_three_calls_for_each_example_and_three_times_the_calls_make_the_same_race(
    first: int, kindred: bool
) -> None:
    one = Track(score=luck(5), kindred=kindred)
    three = Track(score=luck(5), kindred=kindred, cost=lambda _: 3)
    assert trial_of(three, 2700, first).ranking == trial_of(one, 900, first).ranking
    assert three.asked == one.asked


def test_a_race_opens_as_many_arms_as_what_they_cost_on_average_lets_it() -> None:
    board = Board(["e000", "e001"])
    board.enter([Arm(number=0, cost=1, point={})])  # the cheapest
    opened = next(Race(board, calls=300, cost=2.0).run())
    assert opened == Open(most=width(150, 1, kindred=False) - 1)


def test_whom_the_pruner_gives_up_is_dropped_at_once_and_ranks_below_those_who_stay() -> None:
    given_up: list[int] = []

    def doubt(move: Doubt) -> frozenset[int]:
        assert 0 not in move.arms
        if given_up:
            return frozenset()
        given_up.extend([*move.arms[:2], len(track.asked)])
        return frozenset(move.arms[:2])

    track = Track(score=luck(5), doubt=doubt)
    race = trial_of(track, 300)
    first, second, asked = given_up
    place = next(k for k, move in enumerate(track.moves) if isinstance(move, Doubt))
    assert track.moves[place + 1] == Drop(arms=(first, second))
    later = {number for number, _ in track.asked[asked:]}
    assert later.isdisjoint({first, second})
    assert max(map(race.ranking.index, later)) < min(map(race.ranking.index, (first, second)))


@pytest.mark.parametrize("kindred", [True, False])
def test_who_cannot_be_chosen_leaves_at_the_first_cut_and_its_place_is_given_to_others(kindred: bool) -> None:
    track = Track(score=luck(5), kindred=kindred, barred=lambda number: number % 20 > 0)
    race = trial_of(track, 600)
    per = Counter(number for number, _ in track.asked)
    barred = {number for number in per if number % 20}
    assert max(per[number] for number in barred) <= 2
    # Of kin the places that became free are filled again, so they take more arms to find as many that may stay.
    assert (max(per) > width(600, 1, kindred=kindred)) == kindred
    assert sum(per[n] for n in per if n not in barred) > 0.3 * sum(per.values())
    stayed = [number for number in race.ranking if number not in barred]
    assert list(race.ranking[: len(stayed)]) == stayed
    bars = [move.arms for move in track.moves if isinstance(move, Bar)]
    assert bars
    assert all(0 not in arms for arms in bars)


@pytest.mark.parametrize(
    ("pool", "growing", "by_kin"), [(101, False, True), (99, False, False), (99, True, True)]
)
def test_a_race_that_less_than_half_fills_goes_by_own_scores_alone_unless_more_are_made(
    pool: int, growing: bool, by_kin: bool
) -> None:
    track = Track(score=luck(5), kindred=True, pool=pool)
    track.board.growing = growing
    assert width(600, 1, kindred=True) == 200
    trial_of(track, 600)
    # Who goes by kin asks for fresh arms at its first cuts, and has arms take turns at the first examples.
    assert (sum(isinstance(move, Open) for move in track.moves) > 1) == by_kin
    assert (len({example for _, example in track.asked[:80]}) > 1) == by_kin


def test_a_pruner_that_gives_up_everybody_is_not_heeded_unless_the_baseline_is_left() -> None:
    track = Track(score=luck(6), doubt=lambda doubt: frozenset(doubt.arms))
    race = trial_of(track, 100)
    assert race.ranking[0] == 0


def test_everybody_but_the_first_ones_is_dropped_and_once() -> None:
    for kindred in (True, False):
        track = Track(score=luck(7), kindred=kindred)
        race = trial_of(track, 900)
        dropped = [number for move in track.moves if isinstance(move, Drop) for number in move.arms]
        assert set(race.ranking) - set(dropped) == set(race.ranking[: len(race.ranking) - len(dropped)])


def test_a_second_race_keeps_the_better_half_and_asks_for_nothing_it_knows() -> None:
    track = Track(score=luck(8, best=11))
    first = trial_of(track, 300)
    before, entered = set(track.asked), track.entered
    track.calls = 0
    second = track.run(300)
    assert len(track.asked) == len(set(track.asked))
    assert track.calls == second.spent <= 300
    assert entered < track.entered <= entered + width(300, 1, kindred=False)
    assert sorted(second.ranking) == list(range(track.entered))
    assert first.ranking[0] == second.ranking[0] == 11
    assert before < set(track.asked)


def test_a_second_race_of_kin_ranks_everybody_once() -> None:
    for seed in range(4):
        track = Track(score=luck(seed), kindred=True)
        track.run(1000)
        second = track.run(1000)
        assert sorted(second.ranking) == list(range(track.entered))


def test_a_second_race_of_kin_goes_on_by_kin_where_all_have_entered() -> None:
    track = Track(score=luck(2, usual=0.3), kindred=True, pool=300)
    track.run(1000)
    assert track.entered == 300
    moves, known = len(track.moves), set(track.asked)
    second = track.run(996)
    assert sorted(second.ranking) == list(range(300))
    assert second.spent <= 996
    assert len(track.asked) == len(set(track.asked))
    new = [move.work for move in track.moves[moves:] if isinstance(move, Try)]
    assert len(set(new[0].values())) > 1  # they take turns, as in the first
    opening, *later = [move.arms for move in track.moves[moves:] if isinstance(move, Bar)][1:]
    assert len(opening) == width(996, 1, kindred=True) // 2
    assert set().union(*later) - set(opening)  # whoever had left returns by its kin
    assert known < set(track.asked)


def test_kin_of_those_that_do_well_join_a_race_that_is_wide_enough() -> None:
    def score(arm: int, k: int) -> float:
        return float(Random(f"{arm} {k}").random() < (0.9 if arm % STYLES == 2 else 0.3))

    track = Track(score=score, kindred=True)
    race = trial_of(track, 1200)
    opened = [move.most for move in track.moves if isinstance(move, Open)]
    assert len(opened) > 1
    assert sum(number % STYLES == 2 for number in race.ranking[:5]) >= 4
    narrow = Track(score=score, kindred=True)
    trial_of(narrow, CALLS_PER_ARM * (KINDRED_ARMS - 1))
    assert len([move for move in narrow.moves if isinstance(move, Open)]) == 1


def test_the_same_answers_make_the_same_race() -> None:
    for kindred in (True, False):
        tracks = [Track(score=luck(9), kindred=kindred) for _ in range(2)]
        races = [track.run(900) for track in tracks]
        assert tracks[0].moves == tracks[1].moves
        assert races[0].ranking == races[1].ranking
