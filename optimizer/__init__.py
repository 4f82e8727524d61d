"""Searches for the best prompt for a task and hands it over frozen.

task + dataset → space → candidate → prompt → calls → answer → evaluation → study → selection → frozen prompt
"""

from os import PathLike
from typing import TYPE_CHECKING

from optimizer.answer import Answer
from optimizer.errors import OptimizerError
from optimizer.frozen import FrozenPrompt

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Answer", "FrozenPrompt", "OptimizerError", "load_history"]


def load_history(path: str | PathLike[str]) -> "DataFrame":
    """Return the score history of a study as a table of pandas, a row for each trial.

    Args:
        path: A study's folder, its file or database, its frozen prompt, or a history in CSV or Parquet.

    Raises:
        InputError: When there is no history there.
    """
    from optimizer.historytable import load_history as load

    return load(path)
