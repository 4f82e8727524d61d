"""What each prompt is made of, choice by choice: as its trial says, and a composed wording slot by slot."""

from collections.abc import Mapping

from optimizer.candidate import Instruction
from optimizer.composition import SLOTS, parts_of
from optimizer.history import TrialRecord
from optimizer.report._language import mark

# What a composed wording is beyond its statement and its slots.
COMPOSITION = "composition"
OWN = ""  # the level of a decoding parameter that a prompt leaves as the model has it

KINDS = {
    "style": mark("style"),
    "format": mark("format"),
    "instruction": mark("wording"),
    "demonstrations": mark("demonstrations"),
    "role": mark("role"),
    "labels": mark("labels"),
    "rule": mark("answer rule"),
}


def levels(
    rows: Mapping[str, TrialRecord], instructions: Mapping[str, Instruction]
) -> dict[str, dict[str, str]]:
    """Return the level of each prompt by choice, the same choices for all.

    Where wordings are composed, `instruction` is the statement, each slot is a choice, and so is `COMPOSITION`.
    """
    names = sorted({name for row in rows.values() for name in row.point})
    wordings = {arm: instructions.get(str(row.point["instruction"])) for arm, row in rows.items()}
    composed = any(wording is not None and wording.slots for wording in wordings.values())
    return {
        arm: {
            **{name: str(row.point.get(name, OWN)) for name in names},
            **(_parts(wordings[arm]) if composed else {}),
        }
        for arm, row in rows.items()
    }


def _parts(wording: Instruction | None) -> dict[str, str]:
    if wording is None:
        return {COMPOSITION: "", **dict.fromkeys(SLOTS, "")}
    parts = parts_of(wording)
    return {"instruction": parts.pop("statement"), COMPOSITION: wording.id, **parts}
