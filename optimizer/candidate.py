"""One point of the search space, identified by its content."""

from dataclasses import dataclass
from typing import Literal

from optimizer.digest import digest

Origin = Literal["given", "composed", "imported"]
Parameter = float | int | str


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """A wording, with its origin.

    Attributes:
        id: Stable within a study, such as `i0003`.
        parents: Ids of the instructions it was made from.
        slots: What a composition adds to the task statement, such as `role`, in the order of the text.
    """

    id: str
    text: str
    origin: Origin
    parents: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstration:
    """A worked example that is shown to the model.

    Attributes:
        reasoning: What is said before the target where a style reasons in the same turn, "" for nothing.
    """

    example_id: str
    inputs: tuple[tuple[str, str], ...]
    target: str
    reasoning: str = ""

    @property
    def content(self) -> list[object]:
        """Return what decides how it is shown, as plain data; ids do not matter."""
        return [list(map(list, self.inputs)), self.target, *([self.reasoning] if self.reasoning else [])]


@dataclass(frozen=True, kw_only=True, slots=True)
class DemonstrationSet:
    """Demonstrations in the order they are shown, or a pool of which each input is shown the most alike.

    Attributes:
        id: Stable within a study, such as `d0007`; `d0000` is the empty set.
        selector: The plug-in that chose them, the operator that made them of their parents, or "none".
        parents: Ids of the sets it was made from.
        retrieved: How many of them are shown with each input; 0 shows all of them with every input.
    """

    id: str
    demonstrations: tuple[Demonstration, ...]
    selector: str
    parents: tuple[str, ...] = ()
    retrieved: int = 0

    @property
    def size(self) -> int:
        """Return how many demonstrations one prompt shows."""
        return self.retrieved or len(self.demonstrations)

    @property
    def content(self) -> list[object]:
        """Return what decides how it is shown, as plain data; ids and origins do not matter."""
        shown: list[object] = [shot.content for shot in self.demonstrations]
        return [{"retrieved": self.retrieved}, *shown] if self.retrieved else shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """instruction × demonstrations × style × format × decoding parameters."""

    instruction: Instruction
    demonstrations: DemonstrationSet
    style: str
    format: str
    parameters: tuple[tuple[str, Parameter], ...] = ()

    @property
    def digest(self) -> str:
        """Return the digest of the content; ids and origins do not matter."""
        shown, parameters = self.demonstrations.content, list(map(list, self.parameters))
        return digest([self.instruction.text, shown, self.style, self.format, parameters])

    @property
    def point(self) -> dict[str, Parameter]:
        """Return where the candidate lies in the space."""
        return {
            "instruction": self.instruction.id,
            "demonstrations": self.demonstrations.id,
            "style": self.style,
            "format": self.format,
            **dict(self.parameters),
        }
