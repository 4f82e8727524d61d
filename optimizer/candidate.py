"""One point of the search space, identified by its content."""

from dataclasses import dataclass
from typing import Literal

from optimizer.digest import digest

Origin = Literal["given", "composed"]
Parameter = float | int | str


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """A wording, with its origin.

    Attributes:
        id: Stable within a study, such as `i0003`.
        parents: Ids of the instructions it was made from.
    """

    id: str
    text: str
    origin: Origin
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstration:
    """A worked example that is shown to the model."""

    example_id: str
    inputs: tuple[tuple[str, str], ...]
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DemonstrationSet:
    """Demonstrations in the order they are shown.

    Attributes:
        id: Stable within a study, such as `d0007`; `d0000` is the empty set.
        selector: The plug-in that chose them, or "none".
    """

    id: str
    demonstrations: tuple[Demonstration, ...]
    selector: str


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
        shown = [[list(map(list, shot.inputs)), shot.target] for shot in self.demonstrations.demonstrations]
        return digest(
            [self.instruction.text, shown, self.style, self.format, list(map(list, self.parameters))]
        )
