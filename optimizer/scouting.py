"""What is found out on training examples before the search, for the demonstration selectors that go by evidence.

A study makes a `Scouting`, reserves its `most_calls`, and awaits `gather` with what scores a template on examples. All
of it happens on train: its examples are what is scored and what is shown. Equal completions give equal evidence, and
asking again sends equal requests, so a study that is resumed gets its answers from the store.

The calls are dealt evenly over the kinds of evidence that the study's selectors need. With n training examples, a
share of s calls, and c calls for an example (the number of turns of the style at hand), they take at most:

    answers     c x min(n, s // c)      the prompt that the search starts from on the first training examples
    reasoned    c x min(n, s // c)      the same in a style that reasons; nothing beside `answers` where none does
    one_shots   c x (s // c)            nothing where that is too little to compare two examples
"""

import asyncio
import dataclasses
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from optimizer.candidate import Candidate, Demonstration, DemonstrationSet
from optimizer.dataset import Example, clusters_of
from optimizer.demonstrations import SELECTORS, Attempt, Evidence, Need, OneShot, as_demonstration
from optimizer.evaluation import Evaluation, Result
from optimizer.length import MOST_TOKEN_BYTES
from optimizer.prompt import PromptTemplate
from optimizer.retrieval import Likeness, compared
from optimizer.space import SearchSpace
from optimizer.styles import STYLES

Score = Callable[[PromptTemplate, Sequence[Example]], Awaitable[Evaluation]]

_NEEDS: tuple[Need, ...] = ("answers", "reasoned", "one_shots")

# Examples tried for each winner: enough to choose from, few enough that each is scored more than once or twice.
_TRIED = 4

# Scores that each example tried is worth on average; with fewer, fewer are tried.
_SCORES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Scouting:
    """What is to be found out, and for how many calls at most.

    Attributes:
        space: Of the study; its start is what is asked, and its model what limits the rendering.
        selectors: Names of the study's selectors.
        size: How many demonstrations its largest set has: so many winners are looked for.
        n_sets: How many sets are drawn by the evidence at most.
        calls: Most calls.
        seed: Decides which training examples are tried as demonstrations.
    """

    space: SearchSpace
    train: tuple[Example, ...]
    selectors: tuple[str, ...]
    size: int
    n_sets: int
    calls: int
    seed: int

    @property
    def needs(self) -> tuple[Need, ...]:
        """Return the kinds of evidence that some selector goes by, in their order."""
        needed = {SELECTORS[name].needs for name in self.selectors}
        return tuple(need for need in _NEEDS if need in needed) if self.size else ()

    @property
    def most_calls(self) -> int:
        """Return how many calls `gather` makes at most, never more than `calls`; 0 where nothing is needed."""
        return sum(calls * answers for calls, answers in self._asked())

    @property
    def most_answers(self) -> int:
        """Return how many answers it gets at most; one may take several calls."""
        return sum(answers for _, answers in self._asked())

    def _asked(self) -> Iterator[tuple[int, int]]:
        """Yield, for each kind of evidence, the calls of an answer and how many answers there are at most."""
        needs = self.needs
        for need in needs:
            candidate = self._reasoned if need == "reasoned" else self._start
            if need == "reasoned" and "answers" in needs and candidate == self._start:
                continue  # the same requests
            n = self._race.most_scores if need == "one_shots" else self._n_attempts(candidate)
            yield STYLES[candidate.style].n_calls, n

    @property
    def longest(self) -> tuple[DemonstrationSet, ...]:
        """Return a set as long as the longest that can be made of train; none where no demonstrations are shown.

        The model's own words, where they are shown, are taken to be as long as their bound lets them be.
        """
        if not self.size:
            return ()
        said = ""
        if "reasoned" in self.needs and (tokens := self.space.style(self._reasoned.style).reasoning_tokens):
            said = "x" * (MOST_TOKEN_BYTES * tokens)
        ranked = sorted(
            self.train, key=lambda e: len(f"{_text(e)}{e.target}".encode("utf-8", "surrogatepass"))
        )
        shots = [as_demonstration(example) for example in ranked[len(ranked) - self.size :]]
        shown = tuple(dataclasses.replace(shot, reasoning=said) for shot in shots)
        return (DemonstrationSet(id="", demonstrations=shown, selector="none"),)

    async def gather(self, score: Score) -> Evidence:
        """Return the evidence. Examples without a score, because the model did not answer, are no part of it.

        Raises:
            OptimizerError: What `score` raises, once everything that was under way beside it has ended.
        """
        needs = self.needs
        answers = await self._attempts(self._start, score) if "answers" in needs else ()
        same = "answers" in needs and self._reasoned == self._start
        reasoned = answers if same and "reasoned" in needs else ()
        if "reasoned" in needs and not same:
            reasoned = await self._attempts(self._reasoned, score)
        one_shots = await self._race.run(self._shown, score) if "one_shots" in needs else ()
        return Evidence(answers=answers, reasoned=reasoned, one_shots=one_shots)

    async def _attempts(self, candidate: Candidate, score: Score) -> tuple[Attempt, ...]:
        template = self._rendered(candidate)
        evaluation = await score(template, self.train[: self._n_attempts(candidate)])
        found = (_attempt(template, result) for result in evaluation.results)
        return tuple(attempt for attempt in found if attempt is not None)

    def _n_attempts(self, candidate: Candidate) -> int:
        return min(len(self.train), self._share // STYLES[candidate.style].n_calls)

    @property
    def _share(self) -> int:
        return self.calls // max(1, len(self.needs))

    @property
    def _start(self) -> Candidate:
        # The baseline, unless that was imported: it has no place for demonstrations, nor another style.
        return self.space.start

    @property
    def _reasoned(self) -> Candidate:
        """Return the start in the first style that reasons and answers in one turn; itself where none does."""
        first = self._start
        for style, layout in sorted(self.space.pairs, key=lambda pair: pair[1] != first.format):
            if STYLES[style].reasons_in_one_turn:
                return dataclasses.replace(first, style=style, format=layout)
        return first

    @property
    def _race(self) -> "_Race":
        return _race(self.train, self.size, self._share // STYLES[self._start.style].n_calls, self.seed)

    def _shown(self, example: Example) -> PromptTemplate:
        shown = DemonstrationSet(id="", demonstrations=(as_demonstration(example),), selector="one_shots")
        return self._rendered(dataclasses.replace(self._start, demonstrations=shown))

    def _rendered(self, candidate: Candidate) -> PromptTemplate:
        template = self.space.render(candidate)
        assert template is not None  # a study whose start cannot be run is refused before
        return template


@dataclass(frozen=True, kw_only=True, slots=True)
class _Race:
    """Successive rejects in several clusters at once: the best one-shot demonstration of each.

    This is the multi-bandit algorithm of Bubeck, Wang and Viswanathan (2013, arXiv:1205.3181), which TRIPLE uses for
    demonstrations: in each phase every one still in the race is scored on further probes, then the one that is
    furthest behind the leader of its cluster is out; the last of a cluster is its winner and costs no more. All are
    scored on the same probes in the same order.

    Attributes:
        clusters: The examples that are tried.
        probes: The examples they are scored on, in order, none of which is tried.
        scores: How many scores all of them get at most.
    """

    clusters: tuple[tuple[Example, ...], ...]
    probes: tuple[Example, ...]
    scores: int

    @property
    def most_scores(self) -> int:
        """Return how many scores are asked for at most."""
        return self.scores if self.clusters else 0

    async def run(self, shown: Callable[[Example], PromptTemplate], score: Score) -> tuple[OneShot, ...]:
        """Return all that were tried, cluster by cluster."""
        known: dict[str, list[float]] = {example.id: [] for each in self.clusters for example in each}
        racing = [list(cluster) for cluster in self.clusters]
        so_far = 0
        for upto in self._phases():
            left = [example for cluster in racing if len(cluster) > 1 for example in cluster]
            if not left:
                break
            if upto > so_far:
                probes = self.probes[so_far:upto]
                jobs = [score(shown(example), probes) for example in left]
                outcomes = await asyncio.gather(*jobs, return_exceptions=True)
                for example, outcome in zip(left, outcomes, strict=True):
                    if isinstance(outcome, BaseException):
                        raise outcome
                    known[example.id] += outcome.scores.values()
                so_far = upto
            _reject(racing, known)
        winners = {example.id for cluster in racing for example in cluster}
        return tuple(
            OneShot(example_id=id_, score=_mean(scores), n=len(scores), winner=id_ in winners)
            for id_, scores in known.items()
        )

    def _phases(self) -> list[int]:
        """Return up to which probe each phase goes, so that one example fewer is left after each."""
        n = sum(map(len, self.clusters))
        if not n:
            return []
        scale = (self.scores - n) / (0.5 + sum(1 / k for k in range(2, n + 1)))
        upto = (math.ceil(scale / (n + 1 - phase)) for phase in range(1, n))
        return [min(each, len(self.probes)) for each in upto]


def _reject(racing: list[list[Example]], known: Mapping[str, Sequence[float]]) -> None:
    """Take out the one that is furthest behind the leader of its cluster; of equals the last.

    One that has no score, because the model did not answer, counts as level with its leader.
    """
    worst: tuple[float, int, int] | None = None
    for place, cluster in enumerate(racing):
        if len(cluster) > 1:
            means = [_mean(known[example.id]) for example in cluster]
            lead = max((mean for mean in means if mean is not None), default=0.0)
            behind = [0.0 if mean is None else lead - mean for mean in means]
            n = max(range(len(cluster)), key=lambda k: (behind[k], k))
            worst = max(worst or (0.0, 0, 0), (behind[n], place, n))
    if worst is not None:
        racing[worst[1]].pop(worst[2])


def _mean(scores: Sequence[float]) -> float | None:
    return sum(scores) / len(scores) if scores else None


def _race(train: Sequence[Example], size: int, scores: int, seed: int) -> _Race:
    """Return a race for `size` winners, or for as many as train and the scores allow: half of train stays to score on.

    Those tried cover train, and so do the first of them, which are the middles of the clusters; each of the others
    joins the likest middle of its own target, where there is one. None is scored on what is its equal or of its group:
    a prompt that shows the very answer is no better for it.
    """
    relatives = _relatives(train)
    n = min(len(set(relatives.values())) // 2, scores // _SCORES, _TRIED * size)
    n_clusters = min(size, n // 2)
    if n_clusters < 1:
        return _Race(clusters=(), probes=(), scores=0)
    chosen = SELECTORS["diverse"].select(train, n, seed, Evidence())
    by_id = {example.id: example for example in train}
    tried = [by_id[shot.example_id] for shot in chosen]
    middles = [[example] for example in tried[:n_clusters]]
    likeness = Likeness([_text(cluster[0]) for cluster in middles])
    for example in tried[n_clusters:]:
        near = likeness.to(_text(example))
        rank = [(middles[k][0].target == example.target, near[k], -k) for k in range(n_clusters)]
        middles[rank.index(max(rank))].append(example)
    taken = {relatives[example.id] for example in tried}
    probes = tuple(example for example in train if relatives[example.id] not in taken)
    return _Race(clusters=tuple(map(tuple, middles)), probes=probes, scores=scores)


def _relatives(train: Sequence[Example]) -> dict[str, str]:
    """Return, for each example by id, what names it and all that are of its group."""
    names = clusters_of(train)
    return {e.id: e.id if names is None else names[k] for k, e in enumerate(train)}


def _text(example: Example | Demonstration) -> str:
    return compared([text for _, text in example.inputs])


def _attempt(template: PromptTemplate, result: Result) -> Attempt | None:
    if result.score is None:
        return None
    said = template.answer.reasoning(result.completions[-1].text)
    # Blank lines part one demonstration from the next where all stand in one message.
    reasoning = "\n".join(line for line in said.splitlines() if line.strip())
    return Attempt(
        example_id=result.example.id, score=result.score, text=result.answer.text, reasoning=reasoning
    )
