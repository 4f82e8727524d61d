"""Task texts: a proposal as the YAML that a person goes on with, commented where there is something to choose."""

import json
from collections.abc import Iterator, Mapping

from optimizer.kinds import Kind
from optimizer.proposal import Proposal
from optimizer.taskfile import InputSpec, Splits

# Keywords of JSON Schema, which need no quotes; a key of the data might mean something else to YAML.
_PLAIN = frozenset({"type", "properties", "required", "additionalProperties", "items", "enum", "uniqueItems"})


def task_text(
    proposal: Proposal, splits: Splits, *, name: str, data: str, baseline: str | None = None
) -> str:
    """Return the content of a task file.

    Args:
        data: The table as it is seen from the file.
        baseline: The file with the prompt in use today, likewise; without it the instruction is the baseline.
    """
    targets = [quoted(target) for target in proposal.targets]
    target = targets[0] if len(targets) == 1 else f"[{', '.join(targets)}]"
    group = (
        f"\n  group: {quoted(proposal.group)}    # rows with one value stay in one split"
        if proposal.group
        else ""
    )
    language = "" if proposal.language == "en" else f"\nlanguage: {proposal.language}"
    return f"""\
# yaml-language-server: $schema=../.optimizer/schemas/task.json
schema: 1
name: {quoted(name)}{language}
dataset:
  path: {quoted(data)}
  inputs: {_inputs(proposal.inputs)}
  target: {target}    # {"the column of right answers" if len(targets) == 1 else "one answer, an object of these"}{group}
  # Counts. Shares that add up to 1 do as well; with a test of 0, repeated cross-validation judges the choice.
  splits: {{train: {splits.train}, validation: {splits.validation}, test: {splits.test}}}
  seed: 0    # decides which examples are in which split
output:
  type: {proposal.answer.type}    # label, labels, number, text or json{_output(proposal.answer)}
# What is maximised, and what is reported beside it; `optimizer plugins metrics` lists them.
metric: {proposal.metric}
metrics: [{", ".join(proposal.metrics)}]
{_begun_with(proposal.instruction, baseline)}"""


def _begun_with(instruction: str, baseline: str | None) -> str:
    if baseline is None:
        comment = "# The baseline: the wording that every gain is measured against. Put what you use today."
        return f"{comment}\ninstruction: {quoted(instruction)}\n"
    return f"""\
# The prompt in use today, which every gain is measured against, and the wording that the search starts from.
baseline: {quoted(baseline)}
instruction: {quoted(instruction)}
"""


def _inputs(inputs: Mapping[str, InputSpec]) -> str:
    if all(spec == InputSpec() for spec in inputs.values()):
        return f"[{', '.join(map(quoted, inputs))}]    # the columns that the model reads"
    lines = [f"\n    {quoted(name)}: {_input(spec)}" for name, spec in inputs.items()]
    return "   # the columns that the model reads" + "".join(lines)


def _input(spec: InputSpec) -> str:
    optional = ", optional: true" if spec.optional else ""
    return f"{{type: {spec.type}{optional}}}"


def _output(answer: Kind) -> str:
    if answer.labels:
        listed = "".join(f"\n    - {quoted(label)}" for label in answer.labels)
        comment = '# Written as `"label": what it means`, without the dash, they tell the search more.'
        return f"\n  {comment}\n  labels:{listed}"
    if answer.fields:
        lines = [f"\n    {quoted(name)}: {_field(kind)}" for name, kind in answer.fields]
        return "\n  fields:" + "".join(lines)
    if answer.schema:
        lines = [f"\n    {line}" for line in _block(answer.schema)]
        return (
            "\n  # A JSON Schema: what a model that can be held to a form is held to.\n  schema:"
            + "".join(lines)
        )
    return ""


def _field(kind: Kind) -> str:
    labels = f", labels: [{', '.join(map(quoted, kind.labels))}]" if kind.labels else ""
    return f"{{type: {kind.type}{labels}}}"


def _block(value: Mapping[str, object]) -> Iterator[str]:
    """Yield a mapping as lines of YAML, a line for each key that holds no further mapping."""
    for key, part in value.items():
        name = key if key in _PLAIN else quoted(key)
        if isinstance(part, Mapping) and part:
            yield f"{name}:"
            yield from (f"  {line}" for line in _block(part))
        else:
            yield f"{name}: {_flow(part)}"


def _flow(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def quoted(text: str) -> str:
    """Return a text as YAML in quotes, so that `no`, `012` and a date stay text, on one line that only shows."""
    written = json.dumps(text, ensure_ascii=False)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in written)
