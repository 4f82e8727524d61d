"""The wordings of a study: what is given, and what composing it of slots makes of it."""

import itertools

from optimizer.candidate import Instruction
from optimizer.task import Task

_ROLE = "You are a careful assistant who follows the instructions exactly."

# What may fill each slot of a composition.
SLOTS = {"role": ("role",), "labels": ("labels", "descriptions"), "rule": ("rule",)}


def compose(task: Task, given: tuple[str, ...], *, slots: bool) -> tuple[Instruction, ...]:
    """Return the wordings of a study: the task's own, the given ones and, with `slots`, their compositions.

    A composition is one choice per slot: a role or none, the task statement, the labels (not shown, listed, or with
    their descriptions), an answer rule or none. Equal texts appear once.
    """
    statements = dict.fromkeys([task.instruction, *(text.strip() for text in given)])
    instructions = [
        Instruction(id=f"i{n:04d}", text=text, origin="given") for n, text in enumerate(statements)
    ]
    known = set(statements)
    if slots:
        roles, rules = {"": "", "role": _ROLE}, {"": "", "rule": _answer_rule(task)}
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
    noun = task.target.replace("_", " ")
    listed = f"The possible values of {noun} are: {', '.join(task.labels)}."
    if not any(task.label_descriptions):
        return {"": "", "labels": listed}
    pairs = zip(task.labels, task.label_descriptions, strict=True)
    described = "\n".join(f"- {label}: {text}" if text else f"- {label}" for label, text in pairs)
    return {"": "", "labels": listed, "descriptions": f"The possible values of {noun} are:\n{described}\n"}


def _answer_rule(task: Task) -> str:
    if task.output == "label":
        return f"Answer with one of {', '.join(task.labels)} and nothing else."
    return (
        "Answer with the number and nothing else."
        if task.output == "number"
        else "Give the answer and nothing else."
    )
