"""The frozen prompt's own file, read by `FrozenPrompt.load`. Carries everything."""

from optimizer.exporters import exporter
from optimizer.frozen import FrozenPrompt


@exporter(".prompt.json")
def native(frozen: FrozenPrompt) -> str:
    """Return the text of `prompt.json`."""
    return frozen.dumps()
