"""Tasks made of signatures of DSPy, read back as any other task."""

import enum
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, Optional

import dspy
import pydantic
import pytest

from optimizer.candidate import Candidate, Demonstration, DemonstrationSet, Instruction
from optimizer.errors import InputError
from optimizer.formats import FORMATS, Draft
from optimizer.signatures import TaskFiles, task_files
from optimizer.styles import STYLES
from optimizer.task import Task, load_task


class Team(enum.Enum):
    BILLING = "billing"
    SHIPPING = "shipping"


class Order(pydantic.BaseModel):
    number: int
    state: Literal["late", "lost"]


TRIAGE = dspy.Signature(
    {
        "message": (str, dspy.InputField(desc="what the customer wrote")),
        "team": (Literal["billing", "shipping: late"], dspy.OutputField(desc="who solves it")),
    },
    'Route the message.\n\nBe quick: "now".',
)


def signature_of(annotation: Any) -> Any:
    """Return a signature with one input and an output of a type."""
    fields = {"message": (str, dspy.InputField()), "answer": (annotation, dspy.OutputField())}
    return dspy.Signature(fields, "Answer.")


def made(files: TaskFiles, folder: Path) -> tuple[Task, list[dict[str, Any]]]:
    (folder / "pyproject.toml").touch()
    return load_task(files.write(folder)), [json.loads(line) for line in files.data.rstrip("\n").split("\n")]


def problems_of(signature: Any, examples: Any, **options: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        task_files(signature, examples, **{"name": "triage", **options})
    return str(caught.value).splitlines()


def test_a_signature_and_its_examples_make_a_task(tmp_path: Path) -> None:
    examples = [dspy.Example(message="My money?", team="billing", id="x").with_inputs("message")]
    task, rows = made(task_files(TRIAGE, examples, name="triage", language="fr"), tmp_path)
    assert (task.name, task.language, task.inputs, task.target) == ("triage", "fr", ("message",), "team")
    assert (task.output, task.labels) == ("label", ("billing", "shipping: late"))
    assert task.instruction == 'Route the message.\n\nBe quick: "now".'
    assert task.description == "message: what the customer wrote; team: who solves it"
    assert (task.metric, rows) == ("accuracy", [{"message": "My money?", "team": "billing"}])


@pytest.mark.parametrize(
    ("annotation", "value", "output", "labels", "cell"),
    [
        (Literal["a", "b"], "b", "label", ("a", "b"), "b"),
        (Literal[1, 2], 2, "label", ("1", "2"), "2"),
        (Team, Team.SHIPPING, "label", ("billing", "shipping"), "shipping"),
        (Team, "billing", "label", ("billing", "shipping"), "billing"),
        (bool, True, "label", ("True", "False"), "True"),
        (list[Literal["a", "b"]], ["b", "a"], "labels", ("a", "b"), '["b", "a"]'),
        (set[Literal["a", "b"]], {"b", "a"}, "labels", ("a", "b"), '["a", "b"]'),
        (list[Team], [], "labels", ("billing", "shipping"), "[]"),
        (int, 3, "number", (), 3),
        (float, 0.5, "number", (), 0.5),
        (str, ' "é"\n', "text", (), ' "é"\n'),
        (Order, Order(number=1, state="late"), "json", (), '{"number": 1, "state": "late"}'),
        (dict[str, int], {"a": 1}, "json", (), '{"a": 1}'),
        (list[str], ["a"], "json", (), '["a"]'),
        (list[Order], [{"number": 1, "state": "lost"}], "json", (), '[{"number": 1, "state": "lost"}]'),
        (int | str, "a", "json", (), '"a"'),
    ],
)
def test_the_type_of_an_answer_decides_what_it_is(
    annotation: Any, value: object, output: str, labels: tuple[str, ...], cell: object, tmp_path: Path
) -> None:
    examples = [{"message": "m", "answer": value}]
    task, rows = made(task_files(signature_of(annotation), examples, name="t"), tmp_path)
    assert (task.output, task.labels, rows[0]["answer"]) == (output, labels, cell)
    assert task.canonical_target(str(cell)) is not None
    assert bool(task.schema) == (output == "json")


def test_the_schema_of_a_type_goes_with_its_definitions(tmp_path: Path) -> None:
    examples = [{"message": "m", "answer": [Order(number=1, state="late")]}]
    task, _ = made(task_files(signature_of(list[Order]), examples, name="t"), tmp_path)
    schema = json.loads(task.schema)
    assert (schema["type"], schema["items"]) == ("array", {"$ref": "#/$defs/Order"})
    assert schema["$defs"]["Order"]["required"] == ["number", "state"]


class Node(pydantic.BaseModel):
    """A type that holds itself and another."""

    name: str
    order: Order
    parts: list["Node"] = []


@pytest.mark.parametrize(
    ("annotation", "value", "shown"),
    [
        (Order, {"state": "late", "number": 1}, '{"number": 1, "state": "late"}'),
        (
            Node,
            {"parts": [], "order": {"state": "late", "number": 1}, "name": "n"},
            '{"name": "n", "order": {"number": 1, "state": "late"}, "parts": []}',
        ),
    ],
)
def test_an_answer_of_one_type_is_the_whole_reply_in_every_format_that_lays_out_objects(
    annotation: Any, value: dict[str, Any], shown: str, tmp_path: Path
) -> None:
    signature = signature_of(annotation)
    task, _ = made(task_files(signature, [{"message": "m", "answer": value}], name="t"), tmp_path)
    schema = json.loads(task.schema)
    assert schema["type"] == "object"
    assert "title" not in schema
    definitions = annotation.model_json_schema().get("$defs", {})
    assert schema.get("$defs", {}).keys() == definitions.keys()
    pydantic.TypeAdapter(annotation).validate_json(shown)
    direct = STYLES["direct"]
    for name in ("plain", "json", "xml", "inline", "dspy_chat", "dspy_json"):
        assert FORMATS[name].misfit(task, direct) is None, name
    shot = Demonstration(
        example_id="e", inputs=(("message", "m"),), target=task.canonical_target(json.dumps(value))
    )
    candidate = Candidate(
        instruction=Instruction(id="i0000", text="Answer.", origin="given"),
        demonstrations=DemonstrationSet(id="d0001", demonstrations=(shot,), selector="random"),
        style="direct",
        format="json",
    )
    draft = Draft(task=task, candidate=candidate, style=direct, parameters=(), control_tokens=())
    (call,) = FORMATS["json"].render(draft).calls
    assert call.messages[2].parts == (shown,)
    assert call.constraint is not None
    assert call.constraint.schema()["type"] == "object"


def test_several_plain_outputs_are_columns_of_one_answer(tmp_path: Path) -> None:
    fields = {
        "message": (str, dspy.InputField()),
        "team": (Team, dspy.OutputField()),
        "urgent": (bool, dspy.OutputField()),
        "tags": (list[Literal["a", "b"]], dspy.OutputField()),
        "amount": (float, dspy.OutputField()),
    }
    row = {"message": "m", "team": Team.BILLING, "urgent": False, "tags": ["a"], "amount": 2.5}
    files = task_files(dspy.Signature(fields, "Answer."), [row], name="t")
    task, rows = made(files, tmp_path)
    assert (task.output, task.targets) == ("json", ("team", "urgent", "tags", "amount"))
    assert json.loads(task.schema)["properties"]["urgent"] == {"type": "string", "enum": ["True", "False"]}
    assert rows == [{"message": "m", "team": "billing", "urgent": "False", "tags": '["a"]', "amount": 2.5}]


def test_several_outputs_of_which_one_is_an_object_are_one_column(tmp_path: Path) -> None:
    fields = {
        "message": (str, dspy.InputField()),
        "urgent": (bool, dspy.OutputField()),
        "order": (Order, dspy.OutputField()),
    }
    row = {"message": "m", "urgent": True, "order": Order(number=1, state="late")}
    task, rows = made(task_files(dspy.Signature(fields, "Answer."), [row], name="t"), tmp_path)
    schema = json.loads(task.schema)
    assert (task.target, schema["required"]) == ("answer", ["urgent", "order"])
    assert schema["properties"]["urgent"] == {"type": "boolean"}
    assert json.loads(rows[0]["answer"]) == {"urgent": True, "order": {"number": 1, "state": "late"}}


def test_a_reasoning_before_the_answer_is_left_to_the_styles(tmp_path: Path) -> None:
    signature = dspy.ChainOfThought(TRIAGE).predict.signature
    task, rows = made(task_files(signature, [{"message": "m", "team": "billing"}], name="t"), tmp_path)
    assert (task.target, task.output, rows) == ("team", "label", [{"message": "m", "team": "billing"}])


def test_inputs_are_texts_lists_images_and_may_be_missing(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "question": (str, dspy.InputField()),
        "passages": (list[str], dspy.InputField()),
        "hint": (Optional[str], dspy.InputField()),  # noqa: UP045  # as older programs have it
        "rows": (list[dict[str, int]], dspy.InputField()),
        "year": (int, dspy.InputField()),
        "answer": (str, dspy.OutputField()),
    }
    row = {"question": "q", "passages": ["a", "b"], "rows": [{"x": 1}], "year": 1999, "answer": "x"}
    task, rows = made(task_files(dspy.Signature(fields, "Answer."), [row], name="t"), tmp_path)
    assert [task.kinds[name].type for name in task.inputs] == ["text", "list", "text", "text", "text"]
    assert task.optional == {"hint"}
    assert rows[0] == {
        "question": "q",
        "passages": '["a", "b"]',
        "hint": "",
        "rows": '[{"x": 1}]',
        "year": "1999",
        "answer": "x",
    }


def test_an_image_is_an_image(tmp_path: Path) -> None:
    fields = {"photo": (dspy.Image, dspy.InputField()), "answer": (str, dspy.OutputField())}
    row = {"photo": dspy.Image("https://example.org/a.png"), "answer": "x"}
    task, rows = made(task_files(dspy.Signature(fields, "Answer."), [row], name="t"), tmp_path)
    assert (task.images, rows[0]["photo"]) == (frozenset({"photo"}), "https://example.org/a.png")


def test_a_metric_with_options_is_written_as_it_is(tmp_path: Path) -> None:
    metric = {"name": "exact_match", "label": "right"}
    files = task_files(TRIAGE, [{"message": "m", "team": "billing"}], name="t", metric=metric)
    assert made(files, tmp_path)[0].metric == "right"


@pytest.mark.parametrize(
    "text",
    ["a: b # c", "- x", "'", '"', "a\u2028b", "yes", "é\n\ttab", "{a}", "&x *y !z %", "a\x7fb\x85\U000e0001"],
)
def test_words_that_mean_something_in_yaml_stay_words(text: str, tmp_path: Path) -> None:
    labels: Any = Literal
    signature = dspy.Signature(
        {"yes": (str, dspy.InputField(desc=text)), "null": (labels[text, "other"], dspy.OutputField())},
        f"Say {text}.",
    )
    task, rows = made(task_files(signature, [{"yes": text, "null": text}], name="t"), tmp_path)
    assert (task.inputs, task.target, task.labels) == (("yes",), "null", (text, "other"))
    assert task.instruction == signature.instructions
    assert task.description == f"yes: {text}"
    assert rows == [{"yes": text, "null": text}]


def test_everything_that_is_wrong_with_examples_is_said_at_once() -> None:
    examples: list[dict[str, object]] = [{"message": "m", "team": "sales"}, {"team": "billing"}, {}]
    assert problems_of(TRIAGE, examples) == [
        "examples[0].team: expected one of 'billing', 'shipping: late', found 'sales'",
        "examples[1].message: expected a value, found none",
        "examples[2].message: expected a value, found none",
        "examples[2].team: expected a value, found none",
    ]
    assert problems_of(TRIAGE, []) == ["examples: expected at least one, found none"]
    assert problems_of(signature_of(int), [{"message": "m", "answer": "3"}]) == [
        "examples[0].answer: expected a number, found '3'"
    ]
    assert problems_of(signature_of(list[Team]), [{"message": "m", "answer": "billing"}]) == [
        "examples[0].answer: expected a list, found 'billing'"
    ]


def test_half_of_a_surrogate_pair_is_named_with_its_place() -> None:
    half = "expected text, found half of a surrogate pair in it"
    assert problems_of(
        signature_of(str), [{"message": "m", "answer": "a"}, {"message": "\ud83d", "answer": "b"}]
    ) == [f"examples[1].message: {half}"]
    assert problems_of(signature_of(dict[str, str]), [{"message": "m", "answer": {"a": "\ud83d"}}]) == [
        f"examples[0].answer: {half}"
    ]
    fields = {"message": (str, dspy.InputField(desc="\udc00")), "answer": (str, dspy.OutputField())}
    assert problems_of(dspy.Signature(fields, "Say."), []) == [
        f"signature.message: {half}",
    ]


def test_fields_that_no_task_can_have_are_refused_together() -> None:
    fields = {
        "history": (dspy.History, dspy.InputField()),
        "answer": (Optional[str], dspy.OutputField()),  # noqa: UP045  # as older programs have it
    }
    assert problems_of(dspy.Signature(fields, "Answer."), [], name="two words") == [
        "name: expected up to 64 letters without accents, digits, - and _, found 'two words'",
        "signature.history: expected a type that a table can hold, found dspy.History",
        "signature.answer: expected an answer that is always there, found one that may be None",
    ]


def test_an_input_is_never_lost_to_the_column_of_several_outputs() -> None:
    fields: dict[str, Any] = {
        "answer": (str, dspy.InputField()),
        "right": (bool, dspy.OutputField()),
        "order": (Order, dspy.OutputField()),
    }
    row = {"answer": "a", "right": True, "order": Order(number=1, state="late")}
    assert problems_of(dspy.Signature(fields, "Judge."), [row]) == [
        "signature.answer: expected another name: the outputs together are the column 'answer'"
    ]
    fields["order"] = (str, dspy.OutputField())
    files = task_files(dspy.Signature(fields, "Judge."), [{**row, "order": "x"}], name="t")
    assert json.loads(files.data) == {"answer": "a", "right": "True", "order": "x"}


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (float, float("nan"), "expected a finite number, found nan"),
        (float, float("-inf"), "expected a finite number, found -inf"),
        (list[float], [1.0, float("nan")], "expected finite numbers, found NaN"),
        (dict[str, float], {"a": float("inf")}, "expected finite numbers, found Infinity"),
    ],
)
def test_a_target_that_json_cannot_write_is_refused(annotation: Any, value: object, message: str) -> None:
    examples = [{"message": "m", "answer": value}]
    assert problems_of(signature_of(annotation), examples) == [f"examples[0].answer: {message}"]


def test_a_field_that_is_the_id_of_its_row_is_another_for_each(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "id": (Optional[str], dspy.InputField()),  # noqa: UP045  # as older programs have it
        "text": (str, dspy.InputField()),
        "answer": (str, dspy.OutputField()),
    }
    signature = dspy.Signature(fields, "Answer.")
    row = {"text": "t", "answer": "x"}
    assert problems_of(signature, [{**row, "id": name} for name in ("a", "b", "a", None)]) == [
        "examples[2].id: expected an id of its own, found 'a' again, first in examples[0]",
        "examples[3].id: expected some text, since it is the id of a row, found ''",
    ]
    task, rows = made(task_files(signature, [{**row, "id": "a"}, {**row, "id": "b"}], name="t"), tmp_path)
    assert (task.inputs, [each["id"] for each in rows]) == (("id", "text"), ["a", "b"])


def test_files_that_are_there_are_never_overwritten(tmp_path: Path) -> None:
    files = task_files(TRIAGE, [{"message": "m", "team": "billing"}], name="triage")
    task = files.write(tmp_path)
    task.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        files.write(tmp_path)
    assert [problem.message for problem in caught.value.problems] == ["is there already"] * 2
    assert task.read_text(encoding="utf-8") == "mine"


def test_reading_a_signature_imports_no_dspy() -> None:
    program = "import sys, optimizer.signatures; print([name for name in ('dspy', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
