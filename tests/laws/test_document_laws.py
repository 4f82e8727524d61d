import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.document import Located, load_json, load_yaml, write_atomically

texts = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = st.none() | st.booleans() | st.integers() | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def loaded(text: str, name: str) -> Located:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write_atomically(path, text)
        return load_json(path) if name.endswith(".json") else load_yaml(path)


@settings(max_examples=60, deadline=None)
@given(value=values, indent=st.sampled_from([None, 2]))
def test_json_loads_back_equal(value: object, indent: int | None) -> None:
    found = loaded(json.dumps(value, indent=indent, ensure_ascii=False), "x.json").value
    assert json.dumps(found) == json.dumps(value)  # tells True from 1


@settings(max_examples=60, deadline=None)
@given(value=values, indent=st.sampled_from([None, 2]))
def test_json_is_yaml(value: object, indent: int | None) -> None:
    found = loaded(json.dumps(value, indent=indent), "x.yaml").value
    assert json.dumps(found) == json.dumps(value)


@settings(max_examples=60, deadline=None)
@given(text=texts | st.sampled_from(["012", "true", "~", "", "2026-01-01", "<<", "*x", "&x", "!t", "1e3"]))
def test_quoted_text_stays_text(text: str) -> None:
    located = loaded(f"a: {json.dumps(text)}\n", "x.yaml")
    assert located.value == {"a": text}


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.integers(), min_size=1, max_size=8), gaps=st.data())
def test_each_item_knows_its_line(values: list[int], gaps: st.DataObject) -> None:
    lines, text = [], ""
    for value in values:
        text += "\n" * gaps.draw(st.integers(0, 3))
        lines.append(text.count("\n") + 1)
        text += f"- {value}\n"
    located = loaded(text, "x.yaml")
    assert [located.line((index,)) for index in range(len(values))] == lines


@settings(max_examples=30, deadline=None)
@given(before=texts, after=st.text(st.characters(codec="utf-8")))
def test_what_is_written_is_read_back(before: str, after: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        write_atomically(path, before)
        write_atomically(path, after)
        assert path.read_bytes() == after.encode()
        assert list(Path(folder).iterdir()) == [path]
