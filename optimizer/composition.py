"""The wordings of a study: what is given, and what composing it of slots makes of it."""

import itertools
import re

from optimizer.candidate import Instruction
from optimizer.task import Task

_ROLE = "You are a careful assistant who follows the instructions exactly."
_ROLE_IN_FRENCH = "Vous êtes un assistant attentif qui suit les consignes à la lettre."

# What may fill each slot of a composition.
SLOTS = {"role": ("role",), "labels": ("labels", "descriptions"), "rule": ("rule",)}


def is_french(language: str) -> bool:
    """Return whether a language tag ("fr", "fr-CA", "fr_FR") names French."""
    return re.split("[-_]", language.strip().casefold())[0] == "fr"


def compose(task: Task, given: tuple[str, ...], *, slots: bool) -> tuple[Instruction, ...]:
    """Return the wordings of a study: the task's own, the given ones and, with `slots`, their compositions.

    A composition is one choice per slot: a role or none, the task statement, the labels (not shown, listed, or with
    their descriptions), an answer rule or none. All of them are French where the task is, and English otherwise. Equal
    texts appear once.
    """
    statements = dict.fromkeys([task.instruction, *(text.strip() for text in given)])
    instructions = [
        Instruction(id=f"i{n:04d}", text=text, origin="given") for n, text in enumerate(statements)
    ]
    known = set(statements)
    if slots:
        roles = {"": "", "role": _ROLE_IN_FRENCH if is_french(task.language) else _ROLE}
        rules = {"": "", "rule": _answer_rule(task)}
        labels = _label_slots(task)
        for parent, *names in itertools.product(tuple(instructions), roles, labels, rules):
            parts = (roles[names[0]], parent.text, labels[names[1]], rules[names[2]])
            text = " ".join(part for part in parts if part)
            if text not in known:
                known.add(text)
                number = f"i{len(instructions):04d}"
                filled = tuple(name for name in names if name)
                instructions.append(
                    Instruction(id=number, text=text, origin="composed", parents=(parent.id,), slots=filled)
                )
    return tuple(instructions)


def parts_of(instruction: Instruction) -> dict[str, str]:
    """Return the task statement of a wording, by id, and for each slot what fills it, "" for nothing."""
    composed = instruction.origin == "composed"
    return {
        "statement": instruction.parents[0] if composed else instruction.id,
        **{
            slot: next((name for name in fillings if name in instruction.slots), "")
            for slot, fillings in SLOTS.items()
        },
    }


def _label_slots(task: Task) -> dict[str, str]:
    if task.output != "label":
        return {"": ""}
    noun, french = task.target.replace("_", " "), is_french(task.language)
    values = (
        f"Les valeurs possibles de « {noun} » sont :" if french else f"The possible values of {noun} are:"
    )
    listed = f"{values} {', '.join(task.labels)}."
    if not any(task.label_descriptions):
        return {"": "", "labels": listed}
    colon = " : " if french else ": "
    pairs = zip(task.labels, task.label_descriptions, strict=True)
    described = "\n".join(f"- {label}{colon}{text}" if text else f"- {label}" for label, text in pairs)
    return {"": "", "labels": listed, "descriptions": f"{values}\n{described}\n"}


def _answer_rule(task: Task) -> str:
    french, labels = is_french(task.language), ", ".join(task.labels)
    if task.output == "label":
        one = f"Répondez uniquement par une de ces étiquettes : {labels}."
        return one if french else f"Answer with one of {labels} and nothing else."
    if task.output == "number":
        return "Répondez uniquement par le nombre." if french else "Answer with the number and nothing else."
    return "Donnez uniquement la réponse." if french else "Give the answer and nothing else."
