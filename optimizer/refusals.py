"""What an endpoint refuses for good, as far as it lies in a prompt: a response format that it does not know, a style.

A request may be refused for what its example says, whatever the prompt is; so only those count whose example another prompt
got an answer to. Where of several such requests, of two or more prompts, all of one level of the space were refused, no
candidate with it is tried further. The level of most requests is held to be the cause first, and what it explains speaks
against no other; of levels that came together alone nobody can tell which it is.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optimizer.evaluation import Result
from optimizer.store import StudyStore

Point = Mapping[str, Any]
Level = tuple[str, str]

_KEPT, _REASON = "refused", "refusal"

# Requests of a level that were refused, of so many prompts on so many examples, before it is held to be what is refused.
_LEAST, _PROMPTS, _EXAMPLES = 8, 2, 2

# The same of one prompt, none of whose requests was answered: with two it has lost a confirmation already, if errors are
# as rare as studies allow.
_LEAST_OF_ONE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A level of the space that is refused.

    Attributes:
        factor: Its dimension.
        value: Its id there.
        requests: How many were sent, and refused.
        reason: What the endpoint said to most of the prompts, of each the first time.
    """

    factor: str
    value: str
    requests: int
    reason: str


def sorted_out(results: Iterable[Result]) -> tuple[set[str], dict[str, str]]:
    """Return the examples of some results that were answered, and why others were refused for good."""
    answered, refused = set[str](), dict[str, str]()
    for result in results:
        if result.answer.outcome != "error":
            answered.add(result.example.id)
        elif not result.outage:
            refused[result.example.id] = result.error
    return answered, refused


class _Prompt:
    """One prompt's requests: how many were answered, and the examples of those that were refused."""

    __slots__ = ("answered", "point", "refused")

    def __init__(self, point: Point) -> None:
        self.point = point
        self.answered = 0
        self.refused: set[str] = set()


class Refusals:
    """Tells which prompts an endpoint will refuse.

    Args:
        traits: Gives the levels of a point by factor.
        allowed: Refusals of one prompt that are as many as a trial may have.
        store: Keeps why prompts were refused, and the levels that are, so that another process says the same of them.
    """

    def __init__(
        self, traits: Callable[[Point], Mapping[str, str]], *, allowed: float, store: StudyStore | None = None
    ) -> None:
        self._traits = traits
        self._allowed = allowed
        self._store = store
        self._prompts: dict[int, _Prompt] = {}
        self._answered: set[str] = set()  # examples
        self._any = False
        self._found: dict[Level, Refusal] | None = {}
        self._kept: Mapping[Level, Refusal] = {}
        kept = {} if store is None else store.records(_REASON)
        self._reasons = {
            number: str(row["reason"]) for number, row in kept.items()
        }  # the first, of each prompt
        self._new: dict[int, dict[str, object]] = {}

    def note(
        self, number: int, point: Point, *, answered: Collection[str], refused: Mapping[str, str]
    ) -> None:
        """Take what became of some requests of a prompt.

        Args:
            answered: Examples that it got an answer to.
            refused: Why it got none to others, by example. An outage says nothing of what was asked, and is not among them.
        """
        prompt = self._prompts.setdefault(number, _Prompt(point))
        prompt.answered += len(answered)
        prompt.refused = (prompt.refused | refused.keys()) - set(answered)  # refused once, and answered since
        self._answered.update(answered)
        if refused and number not in self._reasons and (reason := next(filter(None, refused.values()), "")):
            self._reasons[number] = reason
            self._new[number] = {"reason": reason}
        self._any = self._any or bool(refused)
        if self._any:
            self._found = None

    @property
    def found(self) -> Mapping[Level, Refusal]:
        """Return the levels that are refused, those of most requests first."""
        if self._found is None:
            self._found = self._look()
        return self._found

    def bars(self, number: int) -> bool:
        """Return whether a prompt that was asked cannot be chosen, since it is refused or one of its levels is."""
        if not self._any or number not in self._prompts:
            return False
        prompt = self._prompts[number]
        n = len(prompt.refused & self._answered)
        own = n > self._allowed or (n >= _LEAST_OF_ONE and not prompt.answered)
        return own or self.forbids(prompt.point)

    def forbids(self, point: Point) -> bool:
        """Return whether a point has a level that is refused."""
        return bool(self.found) and any(level in self.found for level in self._traits(point).items())

    def keep(self) -> None:
        """Keep with the study why prompts were refused, and the levels that are, where that has changed."""
        if self._store is None:
            return
        self._store.record_all(_REASON, self._new)
        self._new = {}
        if self._any and self._kept != self.found:
            self._store.record(_KEPT, 0, {"levels": [asdict(each) for each in self.found.values()]})
            self._kept = self.found

    def _look(self) -> dict[Level, Refusal]:
        left = {number: set(self._traits(each.point).items()) for number, each in self._prompts.items()}
        fine = {
            level for number, levels in left.items() if self._prompts[number].answered for level in levels
        }
        refused = {number: self._prompts[number].refused & self._answered for number in sorted(left)}
        having: dict[Level, list[int]] = defaultdict(list)
        for number, names in refused.items():
            for level in left[number] - fine if names else ():
                having[level].append(number)
        found: dict[Level, Refusal] = {}
        while True:
            requests = {level: sum(len(refused[n]) for n in numbers) for level, numbers in having.items()}
            worst = min(requests, key=lambda level: (-requests[level], level), default=None)
            if worst is None or requests[worst] < _LEAST:
                return found
            numbers = having.pop(worst)
            examples = set[str]().union(*(refused[n] for n in numbers))
            together = [level for level, others in having.items() if others == numbers]
            if len(numbers) < _PROMPTS or len(examples) < _EXAMPLES or together:
                for level in together:  # nobody can tell which of them it is
                    del having[level]
                continue
            reasons = Counter(self._reasons[n] for n in numbers if n in self._reasons)
            found[worst] = Refusal(
                factor=worst[0],
                value=worst[1],
                requests=requests[worst],
                reason=max(reasons, key=lambda each: (reasons[each], each), default=""),
            )
            gone = set(numbers)
            having = {level: [n for n in others if n not in gone] for level, others in having.items()}


def refused_levels(store: StudyStore) -> list[dict[str, Any]]:
    """Return the levels that a study found refused, as `Refusal` has them; none where all was answered."""
    levels: list[dict[str, Any]] = store.records(_KEPT).get(0, {}).get("levels", [])
    return levels
