"""The frozen prompt's own file, read by `FrozenPrompt.load`. Carries everything."""

from collections.abc import Sequence

from optimizer.exporters import EVERYTHING, Exporter, Shipment
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import PromptTemplate


def _read(text: str, inputs: Sequence[str]) -> PromptTemplate:
    del inputs  # the file declares its own
    return FrozenPrompt.loads(text).template


def _write(shipment: Shipment) -> tuple[str]:
    """Return the text of `prompt.json`."""
    return (shipment.frozen.dumps(),)


native = Exporter(suffix=".prompt.json", write=_write, carries=EVERYTHING, read=_read)
