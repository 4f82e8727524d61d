"""The race: many arms on few examples, few arms on many, and examples that tell nobody apart on nobody.

A search says what it wants next and is told; it knows neither models nor tables, so a study and a replay of recorded
scores run the very same one. What it does depends on nothing but what it is told.

Every arm is scored on the examples in one order. After each example as many arms stay as the calls spent so far leave
room for: w = W · 2^(-log2(W) · (spent / calls)^`BEND`), so that one is left when the calls are. That is successive
halving (Karnin, Koren and Somekh 2013) with a cut after every example in place of log2(W) rounds: an arm that is
going to leave costs no further call, and a bend above 1 keeps more of them while little is known of each.

Two things stretch the calls. An example is first tried on the best `PROBES` arms, and where these all score alike the
others are spared it: on recorded tables almost half of all examples tell no two good prompts apart. And arms are
ranked by posterior means with example effects, so that those who were lucky with easy examples are not ahead.

Where arms are made of parts, the many places at the beginning go to those of whom the scores of all their kin let the
most be expected: to some that were never scored, and again to some that had left. Where most arms do badly a good one is
rare, and more of them enter once the first examples tell so.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import Any

import numpy as np

from optimizer.board import Arm, Board, Readings

# Calls an arm, probes, and the bend of the schedule, chosen on recorded tables (docs/design/search.md). 4 to 5 calls an
# arm, 3 to 6 probes and bends of 1.0 to 1.5 differed there by less than the noise; a bend of 0.8 was worse. An example
# took one call there: where it takes more, so many times the calls make the same race.
CALLS_PER_ARM = 5
PROBES = 4
BEND = 1.2

# The same where arms have factors in common: more of them pay, because each tells of its kin. These are not flat: 2 or
# 4 calls an arm and a bend of 2 were worse, so some of the gain may be luck with those tables. As long as there are
# at least so many places they go by what all scores say of an arm, later, when its own say more, by these alone.
KINDRED_CALLS_PER_ARM = 3
KINDRED_BEND = 1.6
KINDRED_ARMS = 40

# Share of a race's places that there are arms for when it opens, below which it goes by their own scores alone: then there are
# so few that each can be asked, and kin tell less of them than that (docs/design/search.md). Where new ones are made as it
# runs, they take the other places, and only kin tell which are worth one.
CROWDED = 0.5

# Kin take turns at so many of the first examples. Asked for the same one, all that prefer its answer are ranked first, and
# with them all their kin, or an example that is too hard for anybody tells nothing and costs as many calls as there are arms.
TURNS = 8

# Mean score of all arms, once each has one, from which a race is left as it opened and turns end. There most prompts are good
# and most examples tell none of them apart; these can be spared only when all arms are asked for the same ones.
EASY = 0.65

# Below this many arms every cut is made as soon as it is due; above, once it takes off a part that matters.
_FEW = 12
_CUT = 0.92


@dataclass(frozen=True, kw_only=True, slots=True)
class Open:
    """Wants up to so many fresh arms; is told a sequence of `Arm`, fewer or none where no more can be had."""

    most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """Wants some arms scored on some examples; is told `Readings`, or None where the budget does not hold them.

    An example without a score, for whatever reason, is left out of what is told.
    """

    work: dict[int, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """Asks which of some arms a pruner gives up; is told their numbers. The baseline is not among those asked for."""

    arms: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """Tells that some arms leave the search, given up or, where `ended`, scored on all they were meant to be."""

    arms: tuple[int, ...]
    ended: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """Asks which of some arms cannot be chosen, whatever they score, or are refused; is told their numbers.

    The baseline is not among them.
    """

    arms: tuple[int, ...]


Move = Open | Try | Doubt | Bar | Drop
Search = Generator[Move, Any, None]


def width(calls: int, first: int, *, kindred: bool, cost: float = 1.0) -> int:
    """Return how many arms a race of so many calls opens with, when each is scored on `first` examples at least.

    Args:
        kindred: Whether it is how many may be in it where they are kin and most do badly; a race opens as that of strangers does.
        cost: Calls that an example takes, on average over the arms that may enter.
    """
    scores = int(calls / cost)
    each = KINDRED_CALLS_PER_ARM if kindred and scores // CALLS_PER_ARM >= KINDRED_ARMS else CALLS_PER_ARM
    return max(2, scores // max(each, 2 * first))


class Race:
    """One race.

    Args:
        board: What is known; the baseline has entered, and so may others have, with their scores.
        calls: Calls that may be spent. What they bring is counted here; those that brought no score are to be added to
            `spent` by whoever made them.
        first: Examples that are asked for at once.
        cost: Calls that an example takes, on average over the arms that may enter; None takes it from those that have.
    """

    def __init__(self, board: Board, *, calls: int, first: int = 1, cost: float | None = None) -> None:
        self.board = board
        self.calls = calls
        self.spent = 0
        self._first = first
        self._cost = fmean(arm.cost for arm in board.arms) if cost is None else cost
        self._turning = 0  # examples that are taken in turns
        self._begins: dict[int, int] = {}  # at which of them each arm begins
        self._live: list[int] = [arm.number for arm in board.arms]
        self._gone: list[int] = []  # in the order in which they left
        self._resting: list[int] = []  # those that may come back
        self._given_up: set[int] = set()  # by the pruner in this race, or since they cannot be chosen
        self._position = 0
        self._bend = BEND
        self._wide = 0  # arms that may be in the race where most do badly
        self._asked = set[tuple[int, str]]()  # what got no score is not asked again when turns end
        self._crowded = False

    @property
    def ranking(self) -> tuple[int, ...]:
        """Return the arms of the race, best first: those still in it, then those that left it later before earlier."""
        return (*self._live, *self._resting, *reversed(self._gone))

    def run(self) -> Search:
        """Race until one arm is left, all examples were asked, or the calls are spent."""
        yield from self._fill()
        yield from self._race()
        self._rank()  # several may be left, and those of the last blocks were never cut
        if self._resting:
            yield Drop(arms=tuple(self._resting))

    def _race(self) -> Search:
        start = len(self._live)
        if self._shares(start):
            self._bend = KINDRED_BEND
            self._turning = min(TURNS, len(self.board.examples)) if self._first < TURNS else 0
        while self._position < len(self.board.examples) and len(self._live) > 1:
            block = self._block()
            if not block:
                return
            if not (yield from self._score(block)):
                return
            if self._position == 0 and self._turning:
                if not (yield from self._widen(block)):
                    return
                start = len(self._live)
            self._position += len(block)
            before = len(self._live)
            yield from self._bar()
            wanted = self._places(start)
            freed = len(self._live) < before and self._shares(wanted)
            narrow = wanted < len(self._live) and (
                len(self._live) <= _FEW or wanted <= _CUT * len(self._live)
            )
            if narrow or freed:
                goes_on = self._position < len(self.board.examples)  # whoever enters now is asked something
                yield from self._gather(wanted) if goes_on and self._shares(wanted) else self._cut(wanted)
            if not self._resting:
                yield from self._doubt()

    def _shares(self, places: int) -> bool:
        wide = int(self.calls / self._cost) // CALLS_PER_ARM >= KINDRED_ARMS
        return self.board.kindred and wide and places >= KINDRED_ARMS and self._crowded

    def _widen(self, block: tuple[str, ...]) -> Generator[Move, Any, bool]:
        """Let more arms enter where most do badly, and go on as among strangers where most do well."""
        if self.board.mean() >= EASY:
            self._turning, self._bend = len(block), BEND
        elif self._wide > len(self._live):
            fresh: Sequence[Arm] = yield Open(most=self._wide - len(self._live))
            self.board.enter(fresh)
            self._live += [arm.number for arm in fresh]
            wanted = self._turns(block)
            return self._price(wanted) <= self.calls - self.spent and (yield from self._ask(wanted))
        return True

    def _gather(self, places: int) -> Search:
        """Let those race on of whom the most is expected by their kin, whether they were in the race or not."""
        outlook = self.board.outlook()
        fresh = [(-mean, len(outlook.arms), None) for mean, _ in outlook.points]
        known = [
            (-mean, k, number)
            for k, (number, mean) in enumerate(outlook.arms.items())
            if number not in self._given_up
        ]
        best = sorted([*known, *fresh], key=lambda each: each[:2])[:places]
        arms = [number for _, _, number in best if number is not None]
        opened: Sequence[Arm] = yield Open(most=len(best) - len(arms))
        self.board.enter(opened)
        before = self._live + self._resting
        self._live = arms + [arm.number for arm in opened]
        self._resting = [number for number in before if number not in set(self._live)]
        self._gone = [number for number in self._gone if number not in set(self._live)]

    def _fill(self) -> Search:
        """Let fresh arms enter; of those that were there before, the better half of the places is theirs."""
        yield from self._bar()  # of those that were there before
        places, self._wide = (
            width(self.calls, self._first, kindred=kindred, cost=self._cost)
            for kindred in (False, self.board.kindred)
        )
        half = max(1, self._wide // 2)
        if len(self._live) > half:
            self._rank()
            self._gone = list(reversed(self._live[half:]))
            self._live = self._live[:half]
        fresh: Sequence[Arm] = yield Open(most=places - len(self._live))
        self.board.enter(fresh)
        self._live += [arm.number for arm in fresh]
        there = len(self._live) + len(self._gone)
        self._crowded = self.board.growing or there >= CROWDED * self._wide

    def _block(self) -> tuple[str, ...]:
        """Return the next examples, as many as the calls hold for every arm in the race."""
        end = self._position + self._first
        if self._position < self._turning:
            end = min(end, self._turning)
        block = self.board.examples[self._position : end]
        while block and self._price(self._turns(block)) > self.calls - self.spent:
            block = block[:-1]
        return block

    def _score(self, block: tuple[str, ...]) -> Generator[Move, Any, bool]:
        """Score the block on the probes, then on the others what tells the probes apart.

        As long as some arm has no score, or none of the probes ever had a success, they say nothing of the others.
        """
        if self._position < self._turning:
            return (yield from self._ask(self._turns(block)))
        probes, others = self._live[:PROBES], self._live[PROBES:]
        if not self.board.can_speak(probes, others):
            return (yield from self._try(self._live, block))
        if not (yield from self._try(probes, block)):
            return False
        telling = tuple(example for example in block if not self._agreed(probes, example))
        return (yield from self._try(others, telling))

    def _agreed(self, probes: Sequence[int], example: str) -> bool:
        known = self.board.on(probes, example)
        return len(known) == PROBES and bool((known == known[0]).all())  # NaN equals nothing

    def _turns(self, block: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
        """Return for each arm which examples the next block is: where turns are taken, each begins at a place of its own."""
        if self._position >= self._turning:
            return dict.fromkeys(self._live, block)
        first, start = self.board.examples[: self._turning], self._position
        for number in self._live:
            if number not in self._begins:
                # Drawn, so that it has nothing to do with what an arm is; by its number, so that it is the same again.
                self._begins[number] = Random(number).randrange(len(first))
        turns = range(start, start + len(block))
        return {n: tuple(first[(self._begins[n] + k) % len(first)] for k in turns) for n in self._live}

    def _try(self, arms: Sequence[int], examples: tuple[str, ...]) -> Generator[Move, Any, bool]:
        return (yield from self._ask(dict.fromkeys(arms, examples)))

    def _ask(self, wanted: Mapping[int, tuple[str, ...]]) -> Generator[Move, Any, bool]:
        missing = {number: self._missing(number, examples) for number, examples in wanted.items()}
        work = {number: found for number, found in missing.items() if found}
        if not work:
            return True
        readings: Readings | None = yield Try(work=work)
        if readings is None:
            return False
        self._asked |= {(number, example) for number, examples in work.items() for example in examples}
        self.spent += self.board.take(readings)
        return True

    def _missing(self, number: int, examples: Sequence[str]) -> tuple[str, ...]:
        """Return those of some examples that an arm has no score for, and was not asked for in this race."""
        return tuple(
            each for each in self.board.missing(number, examples) if (number, each) not in self._asked
        )

    def _price(self, wanted: Mapping[int, tuple[str, ...]]) -> int:
        rows = self.board.rows(list(wanted))
        return sum(
            self.board.arms[row].cost * len(self._missing(n, examples))
            for row, (n, examples) in zip(rows, wanted.items(), strict=True)
        )

    def _places(self, start: int) -> int:
        share: float = min(1.0, self.spent / self.calls) ** self._bend
        return max(1, math.ceil(start * math.exp2(-math.log2(max(2, start)) * share)))

    def _rank(self) -> None:
        """Sort the arms in the race, best first; equals keep their order, and so do all where none has a score."""
        if np.isnan(self.board.scores[self.board.rows(self._live)]).all():
            return
        means = self.board.own(self._live).means
        self._live = [self._live[k] for k in np.argsort(-means, kind="stable")]

    def _cut(self, places: int) -> Search:
        self._rank()
        dropped = (*self._live[places:], *self._resting)
        self._live, self._resting = self._live[:places], []
        self._gone += reversed(dropped)
        yield Drop(arms=dropped)

    def _bar(self) -> Search:
        """Let those leave that cannot be chosen: a place is worth more to others."""
        first = self.board.arms[0].number
        asked = tuple(number for number in (*self._live, *self._resting) if number != first)
        if not asked:
            return
        gone: frozenset[int] = yield Bar(arms=asked)
        if gone:
            self._given_up |= gone
            self._live, self._resting = (
                [number for number in numbers if number not in gone]
                for numbers in (self._live, self._resting)
            )
            barred = tuple(number for number in asked if number in gone)
            self._gone[:0] = reversed(barred)
            yield Drop(arms=barred)

    def _doubt(self) -> Search:
        asked = tuple(n for n in self._live if n != self.board.arms[0].number)
        gone: frozenset[int] = yield Doubt(arms=asked)
        if gone and len(gone) < len(self._live):
            self._given_up |= gone
            self._live = [number for number in self._live if number not in gone]
            self._gone += [number for number in reversed(asked) if number in gone]
            yield Drop(arms=tuple(n for n in asked if n in gone))
