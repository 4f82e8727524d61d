"""What a task file says of its answers and metrics beyond its shape: what they come to, and what is wrong with it."""

from collections.abc import Iterator, Mapping

from optimizer.answer import reader_problem
from optimizer.conformity import schema_validator
from optimizer.digest import canonical
from optimizer.document import FieldPath, Located
from optimizer.errors import Problem
from optimizer.taskfile import DatasetSpec, FieldSpec, MetricSpec, OutputSpec, TaskFile

_LABELLED = ("label", "labels")


def target_columns(dataset: DatasetSpec) -> tuple[str, ...]:
    """Return the columns that hold the right answer."""
    return (dataset.target,) if isinstance(dataset.target, str) else dataset.target


def output_schema(output: OutputSpec) -> str:
    """Return the JSON Schema of an answer of type json as canonical text, "" where any JSON is one."""
    if output.schema is not None:
        return canonical(output.schema)
    if not output.fields:
        return ""
    return canonical(
        {
            "type": "object",
            "properties": {name: _field_schema(part) for name, part in output.fields.items()},
            "required": list(output.fields),
            "additionalProperties": False,
        }
    )


def _field_schema(part: FieldSpec) -> dict[str, object]:
    if part.type == "number":
        return {"type": "number"}
    one: dict[str, object] = {"type": "string"}
    if part.labels:
        one["enum"] = list(part.labels)
    return {"type": "array", "items": one} if part.type == "labels" else one


def metric_specs(file: TaskFile) -> tuple[MetricSpec, ...]:
    """Return the objective and what is reported beside it, each as a specification."""
    return tuple(
        spec if isinstance(spec, MetricSpec) else MetricSpec(name=spec)
        for spec in (file.metric, *file.metrics)
    )


def located_metrics(file: TaskFile) -> Iterator[tuple[FieldPath, MetricSpec]]:
    """Yield every metric with where it stands, those within others included."""
    places: list[FieldPath] = [("metric",), *(("metrics", n) for n in range(len(file.metrics)))]
    for where, spec in zip(places, metric_specs(file), strict=True):
        yield from _within(where, spec)


def _within(where: FieldPath, spec: MetricSpec) -> Iterator[tuple[FieldPath, MetricSpec]]:
    yield where, spec
    for n, part in enumerate(spec.weighted):
        inner = part.metric if isinstance(part.metric, MetricSpec) else MetricSpec(name=part.metric)
        yield from _within((*where, "weighted", n, "metric"), inner)


def metric_problems(file: TaskFile, source: Located) -> Iterator[Problem]:
    """Yield what is wrong with the form of the metrics."""
    for where, spec in located_metrics(file):
        given = [spec.name is not None, spec.python is not None, bool(spec.weighted)]
        if sum(given) != 1:
            yield source.problem(where, "expected one of name, python and weighted")
        if spec.args and spec.name is None:
            yield source.problem((*where, "args"), "only a metric with a name has options")
        if spec.python is not None and not all(spec.python.rpartition(":")[::2]):
            yield source.problem((*where, "python"), f"expected file.py:function, found {spec.python!r}")
        for n, part in enumerate(spec.weighted):
            if not part.weight > 0:
                yield source.problem(
                    (*where, "weighted", n, "weight"), f"expected more than 0, found {part.weight:g}"
                )
    shown = [spec.shown for spec in metric_specs(file)]
    for n, name in enumerate(shown):
        if name in shown[:n]:
            yield source.problem(("metrics", n - 1), f"expected a label of its own, found {name!r} twice")


def output_problems(file: TaskFile, labels: Mapping[str, str], source: Located) -> Iterator[Problem]:
    """Yield what is wrong with what an answer is said to be."""
    output = file.output
    yield from _label_problems(output, labels, source)
    yield from _json_problems(output, target_columns(file.dataset), source)
    for name, part in output.fields.items():
        if (part.type in _LABELLED) != bool(part.labels):
            message = "the types label and labels have labels, and no other"
            yield source.problem(("output", "fields", name), message)
    for n, reader in enumerate(output.readers):
        if wrong := reader_problem(reader):
            yield source.problem(("output", "readers", n), wrong)


def _json_problems(output: OutputSpec, columns: tuple[str, ...], source: Located) -> Iterator[Problem]:
    if output.type != "json":
        for name in ("schema", "fields"):
            if getattr(output, name):
                yield source.problem(("output", name), f"only the type 'json' has it, found {output.type!r}")
        if len(columns) > 1:
            message = f"several columns are one answer of type json, not {output.type}"
            yield source.problem(("dataset", "target"), message)
    elif output.schema is not None and output.fields:
        yield source.problem(("output", "fields"), "expected a schema or fields, found both")
    elif output.schema is not None and (wrong := _schema_problem(output.schema)):
        yield source.problem(("output", "schema"), wrong)
    elif len(columns) > 1 and output.fields and set(output.fields) != set(columns):
        message = f"expected {', '.join(columns)}, found {', '.join(output.fields)}"
        yield source.problem(("output", "fields"), message)


def _schema_problem(schema: Mapping[str, object]) -> str | None:
    try:
        schema_validator(canonical(schema))
    except ValueError as error:
        return str(error)
    return None


def _label_problems(output: OutputSpec, labels: Mapping[str, str], source: Located) -> Iterator[Problem]:
    where = ("output", "labels")
    if output.type not in _LABELLED:
        if labels:
            yield source.problem(
                where, f"only the types 'label' and 'labels' have labels, found {output.type!r}"
            )
        return
    if len(labels) < 2:
        place = where if labels else ("output",)
        yield source.problem(place, f"expected at least two labels, found {len(labels)}")
        return
    if len(labels) < len(output.labels):
        yield source.problem(where, "expected each label once, found one twice")
        return
    folded: dict[str, str] = {}
    for label in labels:
        twin = folded.setdefault(label.strip().casefold(), label)
        if not label.strip():
            yield source.problem(where, "expected some text for each label, found an empty one")
        elif twin != label:
            yield source.problem(where, f"labels {twin!r} and {label!r} differ only in case or spaces")
