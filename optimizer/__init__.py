"""Searches for the best prompt for a task and hands it over frozen.

task + dataset → space → candidate → prompt → calls → answer → evaluation → study → selection → frozen prompt
"""

from optimizer.answer import Answer
from optimizer.errors import OptimizerError
from optimizer.frozen import FrozenPrompt

__all__ = ["Answer", "FrozenPrompt", "OptimizerError"]
