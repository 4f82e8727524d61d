"""What an endpoint refuses for good, as far as it lies in a prompt: a response format that it does not know, a style.

A request that is refused for what its example says is refused of every prompt; so only those count whose example another
prompt got an answer to. Of a level of the space nobody was answered, on several examples, and of each prompt that has it
somebody else's were: then no candidate with it is tried further. A prompt that is refused because of one of its levels
says nothing of the others.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optimizer.evaluation import Result
from optimizer.store import StudyStore

Point = Mapping[str, Any]
Level = tuple[str, str]

_KEPT = "refused"

# Requests of a level that were refused, on so many examples, before it is held to be what is refused.
_LEAST, _EXAMPLES = 8, 2

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
        reason: What the endpoint said to one of them, "" where that is not known any more.
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
        self.refused: dict[str, str] = {}


class Refusals:
    """Tells which prompts an endpoint will refuse.

    Args:
        traits: Gives the levels of a point by factor.
        allowed: Refusals of one prompt that are as many as a trial may have.
    """

    def __init__(self, traits: Callable[[Point], Mapping[str, str]], *, allowed: float) -> None:
        self._traits = traits
        self._allowed = allowed
        self._prompts: dict[int, _Prompt] = {}
        self._answered: set[str] = set()  # examples
        self._any = False
        self._found: dict[Level, Refusal] | None = {}
        self._kept: Mapping[Level, Refusal] = {}

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
        prompt.refused |= refused
        for example in prompt.refused.keys() & answered:  # refused once, and answered since
            del prompt.refused[example]
        self._answered.update(answered)
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
        n = sum(example in self._answered for example in prompt.refused)
        own = n > self._allowed or (n >= _LEAST_OF_ONE and not prompt.answered)
        return own or self.forbids(prompt.point)

    def forbids(self, point: Point) -> bool:
        """Return whether a point has a level that is refused."""
        return bool(self.found) and any(level in self.found for level in self._traits(point).items())

    def keep(self, store: StudyStore) -> None:
        """Keep what is refused with the study, where that has changed; the reason that was told first stays."""
        if not self._any or self._kept == self.found:
            return
        reasons = {(each["factor"], each["value"]): each["reason"] for each in refused_levels(store)}
        levels = [
            {**asdict(each), "reason": reasons.get(level) or each.reason}
            for level, each in self.found.items()
        ]
        store.record(_KEPT, 0, {"levels": levels})
        self._kept = self.found

    def _look(self) -> dict[Level, Refusal]:
        left = {number: set(self._traits(each.point).items()) for number, each in self._prompts.items()}
        fine = {
            level for number, levels in left.items() if self._prompts[number].answered for level in levels
        }
        found: dict[Level, Refusal] = {}
        while True:
            requests: dict[Level, int] = defaultdict(int)
            examples: dict[Level, set[str]] = defaultdict(set)
            for number, levels in left.items():
                refused = self._prompts[number].refused.keys() & self._answered
                for level in levels - fine:
                    requests[level] += len(refused)
                    examples[level] |= refused
            enough = [
                level for level, n in requests.items() if n >= _LEAST and len(examples[level]) >= _EXAMPLES
            ]
            if not enough:
                return found
            worst = min(enough, key=lambda level: (-requests[level], level))
            having = [number for number, levels in left.items() if worst in levels]
            reasons = (reason for number in having for reason in self._prompts[number].refused.values())
            found[worst] = Refusal(
                factor=worst[0],
                value=worst[1],
                requests=requests[worst],
                reason=next(filter(None, reasons), ""),
            )
            for number in having:
                del left[number]


def refused_levels(store: StudyStore) -> list[dict[str, Any]]:
    """Return the levels that a study found refused, as `Refusal` has them; none where all was answered."""
    levels: list[dict[str, Any]] = store.records(_KEPT).get(0, {}).get("levels", [])
    return levels
