"""Right answers that are read as something else: those that hold what a style or format introduces an answer by."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from optimizer.candidate import Demonstration, DemonstrationSet
from optimizer.document import clipped
from optimizer.formats import Draft, Format
from optimizer.styles import ReasoningStyle
from optimizer.task import Task

_MOST = 200  # targets that are looked at


def suspects(task: Task, styles: Iterable[ReasoningStyle], targets: Iterable[str]) -> list[str]:
    """Return the targets that hold a marker, a tag or a header, each once; the others are not looked at."""
    name = task.target.casefold()
    marks = {f"<{name}", f"</{name}", "<reasoning", "</reasoning", "<think", "</think", "[[ ##"}
    marks |= {style.marker.rstrip(" :").casefold() for style in styles if style.marker}
    found = (each for each in dict.fromkeys(targets) if any(mark in each.casefold() for mark in marks))
    return [each for each, _ in zip(found, range(_MOST), strict=False)]


def misread(layout: Format, draft: Draft, targets: Sequence[str]) -> list[str]:
    """Return the targets that are not read out of the reply that a demonstration of them shows."""
    inputs = tuple((name, "") for name in draft.task.inputs)
    shots = tuple(
        Demonstration(example_id=str(n), inputs=inputs, target=each) for n, each in enumerate(targets)
    )
    # A pool has the replies of all of its demonstrations.
    shown = DemonstrationSet(id="", demonstrations=shots, selector="none", retrieved=1)
    template = layout.render(replace(draft, candidate=replace(draft.candidate, demonstrations=shown)))
    replies = [] if template.retrieval is None else [shot.reply for shot in template.retrieval.pool]
    opener = draft.style.opener if draft.style.n_calls == 1 else ""
    read = [template.answer.read(reply.removeprefix(opener)).text for reply in replies]
    return [
        each
        for each, found in zip(targets, read, strict=True)
        if found is None or found.strip() != each.strip()
    ]


def misread_in_words(found: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[str]:
    """Yield a sentence where some targets are misread.

    Args:
        found: They, by pair of style and format.
    """
    wrong = list(dict.fromkeys(target for each in found.values() for target in each))
    if not wrong:
        return
    one = repr(clipped(wrong[0]))
    many = (
        f"{len(wrong)} right answers, such as {one}, are" if len(wrong) > 1 else f"the right answer {one} is"
    )
    where = ", ".join(f"{style} × {layout}" for (style, layout), each in found.items() if each)
    yield f"{many} read as something else when written as asked in {where}"
