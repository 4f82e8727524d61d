"""Options that say which model a frozen prompt asks, and what is known of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.commands._judges import model_spec

if TYPE_CHECKING:
    from optimizer.models import ModelSpec

Model = Annotated[
    str | None, typer.Option(metavar="PROVIDER:NAME", help="A model; the prompt's own without it.")
]
ModelPath = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A file that the provider reads, such as a GGUF.")
]
CapabilityNames = Annotated[
    list[str] | None,
    typer.Option(
        "--capability", metavar="NAME", help="What the model can do, in place of the provider's defaults."
    ),
]
TimeoutSeconds = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Most seconds that one request may take.")
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stated:
    """What the command line states of a model, None where it leaves it to the prompt.

    Attributes:
        name: Provider and name.
    """

    name: str | None
    base_url: str | None
    api_key_env: str | None
    path: Path | None
    capabilities: list[str] | None
    timeout_seconds: int | None

    def over(self, own: "ModelSpec | None") -> "ModelSpec":
        """Return the model that is asked: the one that is named, or the prompt's own, with what is stated of it."""
        from optimizer.rescoring import restated

        named = model_spec(self.name, None, None) or own
        assert named is not None  # one of both is there
        # The time that is stated is the whole wait, so nothing of a study's may cut it shorter.
        kept = {name: value for name, value in named.options.items() if name != "read_seconds"}
        seconds = self.timeout_seconds
        return restated(
            named,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            path=None if self.path is None else str(self.path),
            capabilities=None if self.capabilities is None else tuple(self.capabilities),
            options=None if seconds is None else {**kept, "timeout_seconds": seconds},
        )
