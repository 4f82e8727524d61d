"""Demonstration selectors: ordered sets of worked examples, from the training split only.

A selector is one of two kinds. One that needs nothing is a function of (train, size, seed) decorated with
`@selector`. One that needs to know what the model does with training examples is decorated with `@scouted(...)`,
which names the kind of evidence, and takes it as a fourth argument: frozen data that `optimizer.scouting` gathers
before the search. Evidence may be missing for some examples or for all, such as those that the model did not answer;
a selector then falls back on a draw. Either returns examples, or demonstrations where it has more to show than they do.

With `retrieves=True` what is returned is the pool, of at least `size`, of which each input is shown the `size` most
alike, chosen anew for each; otherwise exactly `size` are returned, in the order they are shown.
"""

import dataclasses
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optimizer.candidate import Demonstration, DemonstrationSet
from optimizer.dataset import Example
from optimizer.digest import canonical, derived_seed
from optimizer.registry import Registry

Need = Literal["answers", "reasoned", "one_shots"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What the model made of a training example, shown no demonstration.

    Attributes:
        score: In [0, 1].
        text: The answer that was read, or None where none could be.
        reasoning: What it said before its answer, "" for nothing.
    """

    example_id: str
    score: float
    text: str | None
    reasoning: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class OneShot:
    """How the model does on other training examples when it is shown this one alone.

    Attributes:
        score: Mean over `n` examples, in [0, 1]; None where there are none.
        winner: Whether it was accepted as the best of its cluster; the only one of a cluster is so without a score.
    """

    example_id: str
    score: float | None
    n: int
    winner: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What was found out on train before the search; what no selector of the study needs is empty.

    Attributes:
        answers: Attempts with the baseline prompt.
        reasoned: Attempts in a style that reasons before it answers, or else with the baseline prompt.
        one_shots: Every training example that was tried as the only demonstration.
    """

    answers: tuple[Attempt, ...] = ()
    reasoned: tuple[Attempt, ...] = ()
    one_shots: tuple[OneShot, ...] = ()

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Evidence":
        """Return the evidence that `dataclasses.asdict` took apart."""
        answers, reasoned = (
            tuple(Attempt(**each) for each in value[name]) for name in ("answers", "reasoned")
        )
        return cls(
            answers=answers,
            reasoned=reasoned,
            one_shots=tuple(OneShot(**each) for each in value["one_shots"]),
        )


NO_EVIDENCE = Evidence()

Chosen = Sequence[Example] | Sequence[Demonstration]
Select = Callable[[Sequence[Example], int, int], Chosen]
SelectBy = Callable[[Sequence[Example], int, int, Evidence], Chosen]

# Draws for one set before it is taken that no further different set exists.
_TRIES = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class DemonstrationSelector:
    """One way to choose demonstrations.

    Attributes:
        select: (training examples, size, seed, evidence) to different ones of the examples, each as it is shown.
        needs: The evidence it goes by, or None.
        retrieves: Whether what it selects is a pool that each input is shown a part of.
    """

    select: Callable[[Sequence[Example], int, int, Evidence], tuple[Demonstration, ...]]
    needs: Need | None = None
    retrieves: bool = False


SELECTORS: Registry[DemonstrationSelector] = Registry("optimizer.demonstrations", DemonstrationSelector)


def selector(select: Select) -> DemonstrationSelector:
    """Make a selector of a function that needs no evidence."""
    return DemonstrationSelector(select=lambda train, size, seed, _: _shown(select(train, size, seed)))


def retriever(select: Select) -> DemonstrationSelector:
    """Make a selector of a function that returns the pool from which demonstrations are retrieved."""
    return DemonstrationSelector(
        select=lambda train, size, seed, _: _shown(select(train, size, seed)), retrieves=True
    )


def scouted(needs: Need) -> Callable[[SelectBy], DemonstrationSelector]:
    """Make a selector of a function that goes by evidence."""
    return lambda select: DemonstrationSelector(
        select=lambda train, size, seed, evidence: _shown(select(train, size, seed, evidence)), needs=needs
    )


def draw_sets(
    train: Sequence[Example],
    *,
    sizes: Sequence[int],
    n_sets: int,
    selectors: Sequence[str],
    seed: int,
    evidence: Evidence | None = None,
) -> tuple[DemonstrationSet, ...]:
    """Return `n_sets` different sets, dealt evenly over sizes and selectors, and the empty set if 0 is a size.

    A size and selector that have no further set leave their turns to the others of their kind; when none has, fewer
    are returned. Before there is evidence, the turns of selectors that need it are left out; with it the same sets
    come first, those chosen by evidence come after them, and ids go on.
    """
    kinds = [(size, name) for size in sizes if size > 0 for name in selectors]
    turns = [(n, *kinds[n % len(kinds)]) for n in range(n_sets if kinds else 0)]
    sets = [DemonstrationSet(id="d0000", demonstrations=(), selector="none")] if 0 in sizes else []
    first = 1 - len(sets)  # the empty set, there or not, has number 0
    known: set[str] = set()
    for given in (None,) if evidence is None else (None, evidence):
        own = [turn for turn in turns if (SELECTORS[turn[2]].needs is None) == (given is None)]
        for shown in _dealt(train, own, given or NO_EVIDENCE, known, seed):
            sets.append(dataclasses.replace(shown, id=f"d{first + len(sets):04d}"))
    return tuple(sets)


def as_demonstration(example: Example) -> Demonstration:
    """Return an example as it is shown."""
    return Demonstration(example_id=example.id, inputs=example.inputs, target=example.target)


def taking_turns(tiers: Sequence[Sequence[Example]], size: int) -> list[Example]:
    """Return `size` examples, those of earlier tiers first; within a tier the target that was shown least comes next.

    Equal ones come in their order, so where every target is unique a tier is taken as it stands.
    """
    chosen: list[Example] = []
    shown: Counter[str] = Counter()
    for tier in tiers:
        left = list(tier)
        while left and len(chosen) < size:
            place = min(range(len(left)), key=lambda k: (shown[left[k].target], k))
            chosen.append(left.pop(place))
            shown[chosen[-1].target] += 1
    return chosen


def _shown(chosen: Chosen) -> tuple[Demonstration, ...]:
    return tuple(each if isinstance(each, Demonstration) else as_demonstration(each) for each in chosen)


def _dealt(
    train: Sequence[Example],
    turns: Sequence[tuple[int, int, str]],
    evidence: Evidence,
    known: set[str],
    seed: int,
) -> Iterator[DemonstrationSet]:
    """Yield a set for each turn (number, size, selector), as long as there are different ones."""
    open_kinds = list(dict.fromkeys((size, name) for _, size, name in turns))
    # As many further turns as could be left over: each is taken by a kind that still has sets, in their order.
    spare = itertools.count(1 + max((n for n, _, _ in turns), default=0))
    waiting = deque(turns)
    while waiting and open_kinds:
        n, size, name = waiting.popleft()
        if (size, name) in open_kinds:
            drawn = _draw(train, size, name, evidence, known, derived_seed(seed, "demonstrations", n))
            if drawn is not None:
                yield drawn
                continue
            open_kinds.remove((size, name))
        if open_kinds:
            n = next(spare)
            waiting.append((n, *open_kinds[n % len(open_kinds)]))


def _draw(
    train: Sequence[Example], size: int, name: str, evidence: Evidence, known: set[str], seed: int
) -> DemonstrationSet | None:
    how = SELECTORS[name]
    for n in range(_TRIES):
        drawn = DemonstrationSet(
            id="",
            demonstrations=how.select(train, size, derived_seed(seed, n), evidence),
            selector=name,
            retrieved=size if how.retrieves else 0,
        )
        content = canonical(drawn.content)
        if drawn.demonstrations and content not in known:
            known.add(content)
            return drawn
    return None
