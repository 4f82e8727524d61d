"""What the values of a target say an answer is, in which language it is asked for, and how."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from optimizer.columns import Column, Wanted, columns_of
from optimizer.errors import InputError
from optimizer.kinds import Kind, kind_of_answer, metric_of
from optimizer.proposal import propose
from optimizer.shapes import schema_of
from optimizer.table import Table, read_table
from optimizer.wording import Asked, language_of, wordings

FRENCH = "Les canes de Janet pondent des œufs, et elle en mange trois avec son petit déjeuner."
ENGLISH = "The ducks of Janet lay eggs, and she eats three of them with her breakfast."


def table_of(folder: Path, rows: Sequence[dict[str, object]]) -> Table:
    path = folder / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_table(path, "d.jsonl")


def column(folder: Path, values: Sequence[object], name: str = "y") -> Column:
    return columns_of(table_of(folder, [{name: value} for value in values]))[name]


def kind(folder: Path, values: Sequence[object]) -> Kind:
    return kind_of_answer([column(folder, values)])


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([["a", "b"], ["b"], []] * 5, ("b", "a")),
        (['["a", "b"]', '["b"]', "[]"] * 5, ("b", "a")),
        (["a; b", "b", ""] * 5, ("b", "a")),
        (["a|b", "b", "a"] * 5, ("a", "b")),
        (["a, b", "b", "a, c", "c"] * 5, ("a", "b", "c")),
    ],
)
def test_several_labels_in_a_cell_are_labels(
    tmp_path: Path, values: list[object], labels: tuple[str, ...]
) -> None:
    found = kind(tmp_path, values)
    assert (found.type, found.labels) == ("labels", labels)
    assert metric_of([column(tmp_path, values)], found)[0] == "jaccard"


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["Lyon, France", "Nice, France", "Rome, Italy"] * 5, "label"),
        ([f"I came, I saw, I left {n}" for n in range(30)], "text"),
        ([[f"w{n}", f"w{n + 1}"] for n in range(30)], "json"),
        ([["a", "a"], ["b"]] * 10, "json"),
        ([[1, 2], [3]] * 10, "json"),
        ([{"a": n} for n in range(10)], "json"),
        ([json.dumps({"a": n}) for n in range(10)], "json"),
        (["{", "[x"] * 10, "label"),
        ([f"l{n}" for n in range(77)] * 10, "label"),
        ([f"l{n}" for n in range(77)] * 9, "text"),
        ([f"l{n}" for n in range(101)] * 10, "text"),
    ],
)
def test_what_only_looks_like_labels_is_something_else(
    tmp_path: Path, values: list[object], type_: str
) -> None:
    assert kind(tmp_path, values).type == type_


def test_what_is_picked_from_the_inputs_is_no_label_where_there_are_many(tmp_path: Path) -> None:
    def rows(n_values: int) -> list[dict[str, object]]:
        return [{"pair": f"w{n % n_values}, v{n}", "larger": f"W{n % n_values}"} for n in range(600)]

    for n_values, output in ((40, "text"), (20, "label")):
        assert propose(table_of(tmp_path, rows(n_values)), Wanted()).answer.type == output
    columns = columns_of(table_of(tmp_path, rows(40)))
    assert kind_of_answer([columns["larger"]]).type == "label"


@pytest.mark.parametrize(
    ("first", "type_"),
    [
        (4_000_123_400_005_678, "text"),
        (-4_000_123_400_005_678, "text"),
        (400_012_340_000_567, "number"),
    ],
)
def test_whole_numbers_of_more_figures_than_an_amount_has_are_identifiers(
    tmp_path: Path, first: int, type_: str
) -> None:
    for values in ([first + 7 * n for n in range(30)], [f"{first + 7 * n:,}" for n in range(30)]):
        found = kind(tmp_path, values)
        assert found.type == type_
        assert ("more than 15 figures" in found.why) == (type_ == "text")
    assert kind(tmp_path, [n + 0.1234567890123456 for n in range(30)]).type == "number"


def test_amounts_with_a_sign_before_the_currency_are_numbers(tmp_path: Path) -> None:
    assert kind(tmp_path, [f"-${n}.50" for n in range(30)]).type == "number"
    assert kind(tmp_path, [f"–{n + 1}" for n in range(30)]).type == "number"


def test_long_answers_are_judged_by_their_words(tmp_path: Path) -> None:
    short = [f"some thing {n}" for n in range(30)]
    for values, metric in ((short, "match"), ([f"{ENGLISH} {n}" for n in range(30)], "token_f1")):
        assert metric_of([column(tmp_path, values)], kind(tmp_path, values))[0] == metric


def test_the_shape_of_objects_is_their_keys_and_what_these_hold() -> None:
    values: list[object] = [
        {
            "n": n,
            "mood": "ab"[n % 2],
            "tags": ["x", "y"][: n % 3],
            "who": f"w{n}",
            **({"ok": True} if n % 2 else {}),
        }
        for n in range(12)
    ]
    assert schema_of(values) == {
        "type": "object",
        "properties": {
            "n": {"type": "number"},
            "mood": {"type": "string", "enum": ["a", "b"]},
            "tags": {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}},
            "who": {"type": "string"},
            "ok": {"type": "boolean"},
        },
        "required": ["n", "mood", "tags", "who"],
        "additionalProperties": False,
    }
    assert schema_of([{str(n): n} for n in range(50)]) == {"type": "object"}
    assert schema_of([1, "a"]) == schema_of([None]) == schema_of([]) == {}
    assert schema_of([True, 1]) == {}
    assert schema_of([[], []]) == {"type": "array"}


def test_several_targets_are_one_answer(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"message": f"{ENGLISH} {n}", "team": "ab"[n % 2], "price": n + 0.5, "tags": "x; y" if n % 2 else "x"}
        for n in range(20)
    ]
    table = table_of(tmp_path, rows)
    for targets in (("team,price", "tags"), ("team", "price", "tags")):
        found = propose(table, Wanted(targets=targets))
        assert found.targets == ("team", "price", "tags")
        assert [(name, part.type) for name, part in found.answer.fields] == [
            ("team", "label"),
            ("price", "number"),
            ("tags", "labels"),
        ]
        assert found.metric == "json_fields"
        assert "an object with the keys team, price, tags" in found.instruction
    with pytest.raises(InputError, match="expected each column once"):
        propose(table, Wanted(targets=("team", "team")))


def test_a_target_that_is_empty_in_some_rows_is_not_required(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"message": f"{ENGLISH} {n}", "team": "ab"[n % 2], "who": f"name {n}" if n % 2 else None}
        for n in range(20)
    ]
    answer = propose(table_of(tmp_path, rows), Wanted(targets=("team", "who"))).answer
    assert answer.fields == ()
    assert answer.schema["required"] == ["team"]
    assert answer.keys == ("team", "who")


def test_the_language_is_told_by_frequent_words() -> None:
    assert language_of([FRENCH] * 3) == "fr"
    assert language_of([ENGLISH] * 3) == "en"
    assert language_of([ENGLISH, ENGLISH, FRENCH]) == "en"
    assert language_of(["unsupported", "weaponry", "Die Enten legen Eier"]) == "en"
    assert language_of([]) == "en"


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        (
            Asked(inputs=("text",), target="label", output="label", labels=("neutre", "positif")),
            "Classez le texte. Répondez par une seule de ces étiquettes : neutre, positif.",
        ),
        (
            Asked(inputs=("question", "extrait"), target="prix", output="number"),
            "Lisez la question et « extrait » et donnez la valeur de « prix », sous forme de nombre.",
        ),
        (
            Asked(inputs=("text",), target="output", output="json", keys=("nom", "date")),
            "Lisez le texte et répondez en JSON : un objet avec les clés nom, date.",
        ),
        (
            Asked(inputs=("avis",), target="themes", output="labels", labels=("a", "b")),
            "Lisez l’avis et donnez toutes les étiquettes qui conviennent, parmi : a, b.",
        ),
    ],
)
def test_french_data_are_asked_about_in_french(asked: Asked, first: str) -> None:
    assert wordings(asked, "fr")[0] == first
    assert wordings(asked, "fr")[1] != first
    assert len(set(wordings(asked, "en")) | {first}) == 3
