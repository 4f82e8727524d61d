"""What a study found, as files: each is written whole or not at all."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optimizer.archive import Archive
    from optimizer.conclusion import Selection
    from optimizer.plan import StudyPlan

# The prompts on a front, beside the study, under the names that they are given.
_FRONT, _OURS = "front", re.compile(r"(winner|baseline|trial-\d{4,})\.json")


def write_results(plan: "StudyPlan", selection: "Selection") -> list[str]:
    """Write the results of a study whose database is there, and return the paths.

    Raises:
        StorageError: When one cannot be written.
    """
    from optimizer.archive import open_archive
    from optimizer.conclusion import artifacts
    from optimizer.document import write_atomically
    from optimizer.errors import StorageError

    files = []
    # The prompt itself comes first: it is what the study was run for.
    with open_archive(plan.database) as archive:
        for texts in (artifacts(plan, selection).items(), _further(plan, selection, archive)):
            for name, text in texts:
                path = plan.folder / name
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(path, text)
                except OSError as error:
                    message = f"{path} cannot be written ({error.strerror}); the same command writes it"
                    raise StorageError(message) from error
                files.append(str(path))
    return files


def _further(plan: "StudyPlan", selection: "Selection", archive: "Archive") -> "Iterator[tuple[str, str]]":
    """Yield name and text of what is made of the study's database: the page, and the prompts on the front."""
    from optimizer.report import front_prompts, study_page, task_language

    yield "report.html", study_page(plan, selection.frozen, archive, task_language(plan))
    front = front_prompts(plan, selection.frozen, archive)
    for path in (plan.folder / _FRONT).glob("*.json"):
        if _OURS.fullmatch(path.name) and path.name not in front:  # it was on an earlier front
            path.unlink()
    for name, prompt in front.items():
        yield f"{_FRONT}/{name}", prompt.dumps()
