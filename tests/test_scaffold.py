"""A task and a study made of a table: what is written, what it comes to, what is refused."""

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.columns import Wanted
from optimizer.document import load_yaml, write_atomically
from optimizer.errors import InputError, StorageError
from optimizer.models import ModelSpec
from optimizer.plan import StudyPlan, load_plan
from optimizer.plantext import plan_in_words
from optimizer.scaffold import Scaffold, Wishes, scaffold

ENDPOINT = ModelSpec(provider="openai_compatible", name="any", base_url="http://127.0.0.1:9/v1")
ANY = Wanted()
Row = dict[str, object]

# Each would drive something: a terminal, a spreadsheet, a template, a shell, YAML, JSON, a chat, Python, the disk.
HOSTILE = (
    *(
        "\x1b[2J",
        "\u202eevil",
        "=cmd|' /C calc'!A0",
        "{{7*7}}",
        "{message}",
        "${HOME}",
        "$(touch pwned)",
        "`touch x`",
    ),
    *(
        '"',
        "'",
        '\\"',
        "- a\n- b",
        "a: b",
        "# no comment",
        "*alias",
        "&anchor",
        "!!python/object",
        "%TAG",
        "---",
        "<<",
    ),
    *(
        "[",
        "}",
        "\\",
        "\\u0000",
        "<|im_start|>",
        "__import__('os')",
        "../../etc/passwd",
        "file:///etc/passwd",
        "\u2028",
    ),
    *(
        "\x85",
        "\ufeff",
        "👩‍👩‍👧",
        "\U0010ffff",
        "é" * 30,
        "null",
        "~",
        "no",
        "012",
        "1e3",
        "2024-05-01",
        "\t",
        "a\r\nb",
    ),
)


def wishes(root: Path, data: Path, **changes: object) -> Wishes:
    stated: dict[str, object] = {"name": "made", "model": ENDPOINT, "columns": ANY, **changes}
    return Wishes(root=root, data=data, **stated)  # type: ignore[arg-type]


def table(path: Path, rows: Sequence[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def mail(n: int, labels: Sequence[str] = ("sales", "billing")) -> list[Row]:
    """Return messages that are no near duplicates of each other."""
    return [
        {"message": f"Case {k}: " + " ".join(f"word{(k * 7 + j * j) % 997}" for j in range(9)), "team": label}
        for k in range(n)
        for label in [labels[k % len(labels)]]
    ]


def sizes(plan: StudyPlan) -> tuple[int, int, int]:
    return len(plan.dataset.train), len(plan.dataset.validation), len(plan.dataset.test)


def said(made: Scaffold, field: str) -> str:
    return " | ".join(f"{one.value}: {one.why}" for one in made.choices if one.field == field)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(asked: Wishes) -> str:
    """Return what is said, and see to it that nothing was written."""
    before = contents(asked.root) if asked.root.is_dir() else {}
    with pytest.raises(InputError) as error:
        scaffold(asked)
    assert (contents(asked.root) if asked.root.is_dir() else {}) == before
    return str(error.value)


@pytest.mark.parametrize(
    ("n", "calls", "split", "budget"),
    [
        (12, None, (2, 10, 0), 330),
        (45, None, (13, 32, 0), 1060),
        (90, None, (22, 31, 37), 900),
        (2000, None, (100, 300, 500), 5100),
        (2000, 600, (100, 60, 100), 600),
        (90, 100, (22, 11, 0), 100),
    ],
)
def test_a_table_of_any_size_becomes_a_study_that_its_budget_can_pay_for(
    tmp_path: Path, n: int, calls: int | None, split: tuple[int, int, int], budget: int
) -> None:
    made = scaffold(wishes(tmp_path, table(tmp_path / "data.jsonl", mail(n)), calls=calls))
    plan = load_plan(made.study)
    assert (sizes(plan), plan.budget.calls) == (split, budget)
    assert plan.bounds.candidates >= 8
    assert max(plan.file.search.demos.sizes) <= split[0]
    assert made.in_words == plan_in_words(plan)
    assert said(made, "splits").startswith("train {}, validation {}, test {}: ".format(*split))
    assert f"{budget} calls" in said(made, "budget")


def test_too_few_examples_for_a_test_are_cross_validated_and_told(tmp_path: Path) -> None:
    made = scaffold(wishes(tmp_path, table(tmp_path / "data.jsonl", mail(45))))
    assert "45 examples are too few for a test split, so the choice is judged by repeated" in said(
        made, "splits"
    )
    assert made.in_words[0].startswith("Cross-validation on 32 examples can prove a gain of ")
    assert made.in_words[1].startswith("That is too little")


def test_a_small_budget_says_what_would_use_all_of_the_data(tmp_path: Path) -> None:
    data = table(tmp_path / "data.jsonl", mail(90))
    some = said(scaffold(wishes(tmp_path, data, calls=200)), "splits")
    assert (
        "for want of budget; --calls 900 pays for validation 31, test 37; 15 examples are in no split" in some
    )
    none = said(scaffold(wishes(tmp_path, data, calls=100, force=True)), "splits")
    assert "the budget cannot pay for a test split" in none


def test_groups_stay_together_and_too_large_ones_leave_no_test(tmp_path: Path) -> None:
    rows: list[Row] = [{**row, "who": f"p{k // 3}"} for k, row in enumerate(mail(90))]
    asked = wishes(tmp_path, table(tmp_path / "data.jsonl", rows), columns=Wanted(group="who"))
    made = scaffold(asked)
    plan = load_plan(made.study)
    assert plan.task.dataset.group == "who"
    assert {example.group for example in plan.dataset.test}.isdisjoint(e.group for e in plan.dataset.train)
    assert "in 1" in made.in_words[0]
    assert "groups" in made.in_words[0]
    for k, row in enumerate(rows):
        row["who"] = "" if k % 9 == 0 else "most"
    table(asked.data, rows)
    again = scaffold(wishes(tmp_path, asked.data, columns=Wanted(group="who"), force=True))
    assert sizes(load_plan(again.study))[2] == 0
    assert "the groups of rows that belong together are too large for a test split" in said(again, "splits")


def test_groups_that_cannot_be_divided_are_refused_with_the_place(tmp_path: Path) -> None:
    rows: list[Row] = [{**row, "who": "all"} for row in mail(90)]
    asked = wishes(tmp_path, table(tmp_path / "data.jsonl", rows), columns=Wanted(group="who"))
    message = refused(asked)
    place = f"{tmp_path}/tasks/made.yaml (not written): dataset.splits.train: "
    assert f"{place}expected at least 1 example in train, found 0" in message
    assert "rows that belong together are never divided, and here too many do" in message


def test_labels_that_yaml_reads_as_something_else_stay_text(tmp_path: Path) -> None:
    labels = ("no", "012", "2024-05-01", "null", "1e3", "~")
    made = scaffold(wishes(tmp_path, table(tmp_path / "data.jsonl", mail(60, labels))))
    assert set(load_plan(made.study).task.labels) == set(labels)
    text = made.task.read_text(encoding="utf-8")
    assert all(f'    - "{label}"\n' in text for label in labels)


def test_french_texts_and_names_are_kept_as_they_are(tmp_path: Path) -> None:
    rows: list[Row] = [
        {
            "réclamation": f"L’écran n’affiche plus rien, réf. {k * 37}",
            "catégorie": ("panne", "facturé à tort")[k % 2],
        }
        for k in range(45)
    ]
    made = scaffold(wishes(tmp_path, table(tmp_path / "data.jsonl", rows)))
    task = load_plan(made.study).task
    assert (task.inputs, task.target) == (("réclamation",), "catégorie")
    assert task.labels == ("panne", "facturé à tort")
    assert task.language == "fr"
    assert task.instruction.startswith("Classez « réclamation » selon « catégorie ». Répondez par une seule")
    assert '    - "facturé à tort"\n' in made.task.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_texts_in_every_place(tmp_path: Path, text: str) -> None:
    column = text if text.strip() else "blank"
    rows: list[Row] = [
        {f"message {column}": f"{text} in case {k}, said they", column: ("ham", f"spam {text}")[k % 2]}
        for k in range(30)
    ]
    wanted = Wanted(targets=(column,))
    made = scaffold(wishes(tmp_path, table(tmp_path / "data.jsonl", rows), columns=wanted))
    plan = load_plan(made.study)
    assert (plan.task.inputs, plan.task.target) == ((f"message {column}",), column)
    shown = "".join(f"{one.field}{one.value}{one.why}" for one in made.choices)
    if plan.task.output == "label":
        assert set(plan.task.labels) == {"ham", f"spam {text}"}
    else:
        assert len(text.splitlines()) > 1
    assert shown.isprintable()
    assert {path.name for path in tmp_path.iterdir()} == {".optimizer", "data.jsonl", "studies", "tasks"}
    for path in (made.task, made.study):
        assert all(one.isprintable() or one == "\n" for one in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("keys", [HOSTILE[:24], HOSTILE[24:]])
def test_hostile_texts_are_texts_in_every_schema(tmp_path: Path, keys: tuple[str, ...]) -> None:
    rows: list[Row] = [
        {"message": f"The text in case {k}", "found": {key: [keys[k % 2], str(k)] for key in keys}}
        for k in range(30)
    ]
    made = scaffold(
        wishes(tmp_path, table(tmp_path / "data.jsonl", rows), columns=Wanted(targets=("found",)))
    )
    plan = load_plan(made.study)
    assert json.loads(plan.task.schema)["required"] == list(keys)
    assert all(one.isprintable() or one == "\n" for one in made.task.read_text(encoding="utf-8"))


def test_lists_gaps_and_several_targets_are_written_as_they_are_read(tmp_path: Path) -> None:
    rows: list[Row] = [
        {
            "message": f"The text in case {k}",
            "parts: of it": [f"a{k}", "b"],
            "note": f"a note on {k}" if k % 2 else None,
            "team": ("sales", "no")[k % 2],
            "the price": k + 0.5,
            "tags": ["x", "y: z"][: 1 + k % 2],
        }
        for k in range(30)
    ]
    asked = Wanted(targets=("team", "the price", "tags"))
    made = scaffold(wishes(tmp_path, table(tmp_path / "data.jsonl", rows), columns=asked))
    task = load_plan(made.study).task
    assert {name: (spec.type, spec.optional) for name, spec in task.kinds.items()} == {
        "message": ("text", False),
        "parts: of it": ("list", False),
        "note": ("text", True),
    }
    assert (task.targets, task.output, task.metric) == (asked.targets, "json", "json_fields")
    assert "1 of 30" not in said(made, "optional")
    assert "note: empty in 15 of 30 rows" in said(made, "optional")


def test_a_column_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    lines = [json.dumps({"said": row["message"], "\ud800": row["team"]}) for row in mail(20)]
    data.write_text("\n".join(lines), encoding="utf-8")
    assert "dataset.target: text holds half of a surrogate pair" in refused(wishes(tmp_path, data))


def test_data_outside_the_project_are_copied_byte_for_byte(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere" / "Export.final.jsonl.gz"
    table(tmp_path / "plain.jsonl", mail(20))
    outside.parent.mkdir()
    outside.write_bytes(gzip.compress((tmp_path / "plain.jsonl").read_bytes()))
    root = tmp_path / "project"
    made = scaffold(wishes(root, outside))
    assert (root / "datasets" / "made.jsonl.gz").read_bytes() == outside.read_bytes()
    assert "copied, because it lies outside the project" in said(made, "data")
    assert set(contents(root)) == {
        *(".optimizer/schemas/study.json", ".optimizer/schemas/task.json"),
        *("datasets/made.jsonl.gz", "studies/made/study.yaml", "tasks/made.yaml"),
    }
    assert sizes(load_plan(made.study)) == (6, 14, 0)


def test_data_in_the_project_are_used_where_they_lie(tmp_path: Path) -> None:
    made = scaffold(wishes(tmp_path, table(tmp_path / "raw" / "mail, 2024.jsonl", mail(20))))
    assert load_plan(made.study).task.dataset.path == "../raw/mail, 2024.jsonl"
    assert not (tmp_path / "datasets").exists()
    assert "used where it lies" in said(made, "data")


def prompt_file(
    path: Path, text: str = "Where does this belong? Say sales or billing.\n\n{{message}}"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"role": "user", "content": text}]), encoding="utf-8")
    return path


def test_the_prompt_in_use_becomes_the_baseline_and_is_copied_where_it_lies_outside(tmp_path: Path) -> None:
    used = prompt_file(tmp_path / "mine" / "today.json")
    made = scaffold(wishes(tmp_path / "project", table(tmp_path / "mail.jsonl", mail(200)), baseline=used))
    copy = tmp_path / "project" / "prompts" / "today.json"
    assert copy.read_bytes() == used.read_bytes()
    assert copy in made.files
    assert said(made, "baseline") == "prompts/today.json: copied, because it lies outside the project"
    assert "beside the prompt in use" in said(made, "instruction")
    plan = load_plan(made.study)
    assert plan.imported is not None
    assert (plan.imported.file, plan.imported.format) == ("../prompts/today.json", "openai_messages")
    assert any("The baseline is the prompt in ../prompts/today.json" in each for each in made.in_words)
    assert "measured against. Put what" not in made.task.read_text(encoding="utf-8")


def test_a_prompt_in_the_project_is_named_where_it_lies(tmp_path: Path) -> None:
    used = prompt_file(tmp_path / "prompts" / "in use" / "heute \u00fc.json")
    made = scaffold(wishes(tmp_path, table(tmp_path / "mail.jsonl", mail(200)), baseline=used))
    assert said(made, "baseline") == "prompts/in use/heute ü.json: used where it lies"
    assert used not in made.files
    assert load_plan(made.study).imported is not None


def test_a_prompt_that_cannot_be_the_baseline_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    data = table(tmp_path / "mail.jsonl", mail(200))
    before = contents(tmp_path)
    absent = wishes(tmp_path, data, baseline=tmp_path / "none.json", name="no name")
    assert "NAME: expected a name" in refused(absent)
    assert "--baseline: expected a file, found none at " in refused(absent)
    assert contents(tmp_path) == before
    blind = prompt_file(tmp_path / "blind.json", "Say sales or billing.")
    before = contents(tmp_path)
    told = refused(wishes(tmp_path, data, baseline=blind))
    assert "made.yaml (not written): baseline: " in told
    assert contents(tmp_path) == before
    taken = prompt_file(tmp_path / "project" / "prompts" / "blind.json")
    assert "blind.json: is there already" in refused(wishes(tmp_path / "project", data, baseline=blind))
    assert "message" in taken.read_text()


def test_a_file_in_the_way_is_named_and_kept_unless_it_is_to_be_overwritten(tmp_path: Path) -> None:
    root, data = tmp_path / "project", table(tmp_path / "data.jsonl", mail(20))
    made = scaffold(wishes(root, data))
    made.task.write_text("mine", encoding="utf-8")
    message = refused(wishes(root, data))
    for name in ("tasks/made.yaml", "studies/made/study.yaml", "datasets/made.jsonl"):
        assert f"{root / name}: is there already; --force overwrites it, another NAME keeps it" in message
    assert made.task.read_text(encoding="utf-8") == "mine"
    scaffold(wishes(root, data, force=True))
    assert load_plan(made.study).task.name == "made"


def test_a_link_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    root, data = tmp_path / "project", table(tmp_path / "data.jsonl", mail(20))
    root.mkdir()
    (tmp_path / "other").mkdir()
    (root / "datasets").symlink_to(tmp_path / "other")
    assert "expected a file of this project, found a link" in refused(wishes(root, data, force=True))
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", "é", "-a", ".", "a.b", "a" * 65, "a\n"])
def test_a_name_that_is_no_plain_name_is_refused(tmp_path: Path, name: str) -> None:
    data = table(tmp_path / "data.jsonl", mail(20))
    assert "NAME: expected a name of up to 64 letters" in refused(wishes(tmp_path, data, name=name))


def test_the_mistakes_of_wishes_and_table_are_told_at_once(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("text,label\none\n", encoding="utf-8")
    message = refused(wishes(tmp_path, data, name="a b", calls=5))
    assert "NAME: " in message
    assert "--calls: expected at least 90: " in message
    assert f"{data}:2: expected 2 fields, found 1" in message
    assert "cannot be read" in refused(wishes(tmp_path, tmp_path / "none.csv"))
    assert "expected a .csv, .tsv, .jsonl, .json or .parquet file" in refused(
        wishes(tmp_path, tmp_path / "data.xlsx")
    )
    assert "expected a folder, found a file" in refused(wishes(data, data))


def test_a_mistake_of_the_rows_names_the_table_of_the_user(tmp_path: Path) -> None:
    rows = mail(30)
    rows[4]["team"] = " "
    rows[9] = {**rows[8], "team": "billing"}
    data = table(tmp_path / "data.jsonl", rows)
    message = refused(wishes(tmp_path, data))
    assert f"{data}:5: team: expected a target, found an empty one" in message
    assert f"{data}:10: team: expected 'sales' as for the same inputs on line 9, found 'billing'" in message
    assert "optimizer-init" not in message


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ModelSpec(provider="embeded", name="x"), "no plug-in 'embeded' in models; did you mean 'embedded'?"),
        (ModelSpec(provider="openai_compatible", name="x"), "model.base_url: missing; expected an address"),
        (
            ModelSpec(provider="openai_compatible", name="", base_url="http://127.0.0.1:9"),
            "expected the name of a model",
        ),
    ],
)
def test_a_model_that_cannot_be_is_refused(tmp_path: Path, model: ModelSpec, message: str) -> None:
    told = refused(wishes(tmp_path, table(tmp_path / "data.jsonl", mail(20)), model=model))
    assert message in told
    assert told.startswith(f"{tmp_path}/studies/made/study.yaml (not written):")


def test_openai_itself_gets_room_for_thoughts_and_no_temperature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MADE_UP_KEY", "made-up")
    url = "https://api.openai.com/v1"
    model = ModelSpec(provider="openai_compatible", name="gpt", base_url=url, api_key_env="MADE_UP_KEY")
    data = table(tmp_path / "data.jsonl", mail(20))
    plan = load_plan(scaffold(wishes(tmp_path, data, model=model)).study)
    assert set(plan.file.model.parameters) == {"max_completion_tokens"}
    assert (plan.file.model.base_url, plan.file.model.api_key_env) == (url, "MADE_UP_KEY")
    other = load_plan(scaffold(wishes(tmp_path, data, force=True)).study)
    assert other.file.model.parameters == {"temperature": 0, "max_tokens": 11}
    assert b"made-up" not in b"".join(contents(tmp_path).values())


@pytest.mark.parametrize("kind", ["label", "number", "text"])
def test_every_output_becomes_a_study_with_what_can_answer_it(tmp_path: Path, kind: str) -> None:
    rows = mail(40)
    values: dict[str, Sequence[object]] = {
        "label": ["a", "b"] * 20,
        "number": [k + 0.5 for k in range(40)],
        "text": [f"x{k}" for k in range(40)],
    }
    for row, value in zip(rows, values[kind], strict=True):
        row["team"] = value
    plan = load_plan(scaffold(wishes(tmp_path, table(tmp_path / "data.jsonl", rows))).study)
    assert plan.task.output == kind
    assert plan.space.exclusions == ()
    assert plan.file.search.formats == ("plain", "inline", "json")


def test_the_first_line_of_each_file_names_the_schema_that_describes_it(tmp_path: Path) -> None:
    made = scaffold(wishes(tmp_path, table(tmp_path / "data.jsonl", mail(20))))
    for path in (made.task, made.study):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        schema = (path.parent / first.rpartition("$schema=")[2]).resolve()
        assert schema in [file.resolve() for file in made.files]
        described = set(json.loads(schema.read_text(encoding="utf-8"))["properties"])
        value = load_yaml(path).value
        assert isinstance(value, dict)
        assert set(value) <= described


def test_what_cannot_be_written_leaves_nothing_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, real = table(tmp_path / "data.jsonl", mail(20)), write_atomically
    root = tmp_path / "project"

    def full(path: Path, text: str) -> None:
        if path == root / "studies" / "made" / "study.yaml":
            raise OSError(28, "No space left on device")
        real(path, text)

    monkeypatch.setattr("optimizer.scaffold.write_atomically", full)
    with pytest.raises(StorageError, match=r"study\.yaml cannot be written: No space left on device"):
        scaffold(wishes(root, data))
    assert contents(root) == {}


# Sound cells: some text, and no NUL, which no table may hold. Labels are told apart without regard to case and spaces.
cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
    str.strip
)
pairs = st.lists(cells, min_size=2, max_size=2, unique_by=lambda text: text.strip().casefold())


def as_csv(path: Path, rows: Sequence[Row]) -> Path:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(stream.getvalue().encode())
    return path


def written(folder: str, rows: Sequence[Row], suffix: str) -> Path:
    path = Path(folder) / f"data{suffix}"
    return as_csv(path, rows) if suffix == ".csv" else table(path, rows)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    columns=st.lists(cells.filter(lambda name: name != "id"), min_size=2, max_size=2, unique=True),
    labels=pairs,
    texts=st.lists(cells, min_size=1, max_size=5),
    n=st.integers(20, 70),
    suffix=st.sampled_from([".csv", ".jsonl"]),
)
def test_any_texts_with_two_labels_become_a_sound_study(
    columns: list[str], labels: list[str], texts: list[str], n: int, suffix: str
) -> None:
    name, target = columns
    rows: list[Row] = [{name: f"{k} {texts[k % len(texts)]} {k}", target: labels[k % 2]} for k in range(n)]
    with tempfile.TemporaryDirectory() as folder:
        made = scaffold(
            wishes(Path(folder), written(folder, rows, suffix), columns=Wanted(targets=(target,)))
        )
        plan = load_plan(made.study)
        assert plan.bounds.candidates >= 8
        assert (plan.task.inputs, plan.task.target) == ((name,), target)
        examples = (*plan.dataset.train, *plan.dataset.validation, *plan.dataset.test)
        assert {example.values[name] for example in examples} == {row[name] for row in rows}
        if plan.task.output == "label":
            assert set(plan.task.labels) == set(labels)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_table_gives_a_sound_study_or_a_clear_mistake(data: st.DataObject) -> None:
    anything = st.text(st.characters(codec="utf-8"), max_size=12)
    columns = data.draw(st.lists(anything, min_size=2, max_size=3, unique=True))
    labels = data.draw(st.lists(anything, min_size=2, max_size=2, unique=True))
    n = data.draw(st.integers(10, 70))
    texts = data.draw(st.lists(anything, min_size=n, max_size=n, unique=data.draw(st.booleans())))
    rows: list[Row] = [
        {**dict.fromkeys(columns, text), columns[-1]: labels[k % 2]} for k, text in enumerate(texts)
    ]
    wanted = data.draw(st.sampled_from([ANY, Wanted(targets=(columns[-1],)), Wanted(group=columns[0])]))
    with tempfile.TemporaryDirectory() as folder:
        path, made = written(folder, rows, data.draw(st.sampled_from([".csv", ".jsonl"]))), None
        with suppress(InputError):
            made = scaffold(wishes(Path(folder), path, columns=wanted))
        if made is None:
            assert set(contents(Path(folder))) == {path.name}
        else:
            assert load_plan(made.study).bounds.candidates > 0


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("few", [True, False])
def test_rows_without_one_of_several_targets_that_is_a_list_have_no_such_key(
    tmp_path: Path, suffix: str, few: bool
) -> None:
    rows: list[Row] = []
    for k in range(30):
        tags = ["x", "y"][: 1 + k % 2] if few else [f"x{k}", f"y{k}"]
        cell = None if k % 5 == 0 else tags if suffix == ".jsonl" else json.dumps(tags)
        rows.append({"message": f"The text in case {k}", "team": ("sales", "no")[k % 2], "tags": cell})
    data = (table if suffix == ".jsonl" else as_csv)(tmp_path / f"data{suffix}", rows)
    made = scaffold(wishes(tmp_path, data, columns=Wanted(targets=("team", "tags"))))
    dataset = load_plan(made.study).dataset
    found = [json.loads(example.target) for example in dataset.train + dataset.validation + dataset.test]
    assert sum(set(one) == {"team"} for one in found) == 6
    assert all(one["tags"] for one in found if "tags" in one)
