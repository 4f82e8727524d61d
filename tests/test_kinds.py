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
from optimizer.targets import target_number
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
        ([f"{n},{part}" for n in range(1, 31) for part in ("000", "500", "750")] * 4, "number"),
        ([f"{n},{part} €" for n in range(1, 31) for part in ("00", "50", "99")] * 4, "number"),
        ([f"-{n},{part} %" for n in range(1, 10) for part in range(1, 10)] * 4, "number"),
        ([f"{n},5" for n in range(20)] * 5, "number"),
        ([*([f"{n},000" for n in range(1, 31)] * 3), *["N/A"] * 20], "text"),
        (
            [
                f"{month} {n}, {year}"
                for month in ("Jan", "Feb", "Mar")
                for n in range(1, 9)
                for year in (2023, 2024)
            ],
            "text",
        ),
        (
            [f"{name}, {first}" for name in ("Doe", "Roe", "Poe") for first in ("Jane", "John", "Ann")] * 5,
            "label",
        ),
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


@pytest.mark.parametrize(
    "written",
    [
        "{}2,50 €",
        "€{}2,50",
        "{}2,5 %",
        "-{}2,50",
        "−€{}2,5",
        "{} 219,38 €",
        "{}\u202f219,38\u00a0€",
        "{}.219,38 €",
    ],
)
def test_amounts_with_a_decimal_comma_may_have_signs_units_and_groups(tmp_path: Path, written: str) -> None:
    values = [written.format(n) for n in range(1, 31)]
    found = kind(tmp_path, values)
    assert found.type == "number"
    assert "some with a decimal comma" in found.why
    for value in values:
        target_number(value)


@pytest.mark.parametrize(
    ("written", "read", "meant"), [("{}.500 €", "12.5", "12500"), ("-{}.250", "-12.25", "-12250")]
)
def test_a_point_that_may_stand_between_thousands_is_told(
    tmp_path: Path, written: str, read: str, meant: str
) -> None:
    values = [written.format(n) for n in range(12, 42)]
    caution = (
        f"Caution: {values[0]} is read as {read}; write {meant} where the point stands between thousands"
    )
    for column_of in (values, [*values, "870"]):
        assert kind(tmp_path, column_of).type == "number"
        assert caution in kind(tmp_path, column_of).why
    assert "Caution" not in kind(tmp_path, [*values, "12.5"]).why
    assert "Caution" not in kind(tmp_path, [f"0.{n}" for n in range(100, 140)]).why


def test_figures_in_groups_are_numbers_beside_others_and_may_be_codes_alone(tmp_path: Path) -> None:
    groups = [f"{n} 219" for n in range(1, 31)]
    assert kind(tmp_path, groups).type == "text"
    assert "may be codes; `number` is the alternative" in kind(tmp_path, groups).why
    assert kind(tmp_path, [*groups, "870"]).type == "number"
    assert kind(tmp_path, [f"{n} 219 €" for n in range(1, 31)]).type == "number"
    unclear = kind(tmp_path, [*(f"{n}2,5 €" for n in range(1, 31)), "1.250 €"])
    assert (unclear.type, "1.250 € would be read otherwise" in unclear.why) == ("text", True)


@pytest.mark.parametrize("values", [["0.0", "1.0"] * 10, [0.0, 1.0] * 10, ["3.0", "4.0", "5.0"] * 10])
def test_labels_as_pandas_writes_them_are_labels_with_a_caution(tmp_path: Path, values: list[object]) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"{ENGLISH} {n}", "label": value} for n, value in enumerate(values)
    ]
    found = propose(table_of(tmp_path, rows), Wanted())
    assert (found.answer.type, found.metric) == ("label", "accuracy")
    (caution,) = [one for one in found.choices if one.field == "caution"]
    assert f"write {caution.value[0]} for {caution.value} in the data" in caution.why


def test_one_number_written_in_two_ways_is_no_two_labels(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"{ENGLISH} {n}", "label": [0, 1, 1, 1.0][n % 4]} for n in range(40)
    ]
    with pytest.raises(InputError) as error:
        propose(table_of(tmp_path, rows), Wanted())
    expected = "d.jsonl:4: label: expected one way to write a number, found '1' and '1.0'; write 1"
    assert str(error.value) == expected


def test_halves_are_numbers_and_may_be_labels(tmp_path: Path) -> None:
    found = kind(tmp_path, ["0.5", "1.0", "1.5"] * 10)
    assert (found.type, "`label` and `text` are the alternatives" in found.why) == ("number", True)


def test_lists_as_python_shows_them_are_refused_with_what_to_write(tmp_path: Path) -> None:
    tags = ["['billing', 'tech']", "['tech']", "[]"]
    rows: list[dict[str, object]] = [{"text": f"{ENGLISH} {n}", "tags": tags[n % 3]} for n in range(30)]
    with pytest.raises(InputError) as error:
        propose(table_of(tmp_path, rows), Wanted())
    assert str(error.value).startswith("d.jsonl:1: tags: expected lists as JSON")
    assert '["billing", "tech"] or billing; tech' in str(error.value)
    assert kind(tmp_path, ["[draft]", "[final]"] * 10).type == "label"


def test_of_a_list_of_objects_it_is_said_that_it_is_one_field_and_its_keys_are_named(tmp_path: Path) -> None:
    for text, told in (
        (ENGLISH, "It is a list of objects with the keys type, value."),
        (FRENCH, "C’est une liste d’objets avec les clés type, value."),
    ):
        rows: list[dict[str, object]] = [
            {"text": f"{text} {n}", "found": [{"type": "ab"[n % 2], "value": f"w{n}"}]} for n in range(20)
        ]
        found = propose(table_of(tmp_path, rows), Wanted())
        assert found.instruction.endswith(told)
        assert found.alternative.endswith(told)
        (why,) = [one.why for one in found.choices if one.field == "metric"]
        assert "a list is one field, right with all of its items in their order, else wrong" in why
    objects = [{"type": "ab"[n % 2], "value": f"w{n}"} for n in range(20)]
    assert "list" not in metric_of([column(tmp_path, objects)], kind(tmp_path, objects))[2]


@pytest.mark.parametrize(
    "sentence",
    [
        "はい、{}日以内であればどの商品でも返品できます。",
        "收到商品后{}天内可以无条件退货。",
        "คุณสามารถคืนสินค้าได้ภายใน {} วัน",
    ],
)
def test_long_answers_without_spaces_are_judged_by_their_characters(tmp_path: Path, sentence: str) -> None:
    values = [sentence.format(n) for n in range(30)]
    assert kind(tmp_path, values).type == "text"
    assert column(tmp_path, values).words > 5
    assert metric_of([column(tmp_path, values)], kind(tmp_path, values))[0] == "ngram_similarity"
    names = [f"東京{n}" for n in range(30)]
    assert metric_of([column(tmp_path, names)], kind(tmp_path, names))[0] == "match"


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
    "texts",
    [
        pytest.param(
            [
                "El pedido no llegó a tiempo y la empresa no responde a los correos que se enviaron",
                "Se rompió la pantalla de mi teléfono después de una semana",
            ],
            id="es",
        ),
        pytest.param(
            [
                "O pedido não chegou a tempo e a empresa não responde aos emails que enviei",
                "Quero saber o estado do meu cartão, que se perdeu no banco",
            ],
            id="pt",
        ),
        pytest.param(
            [
                "La spedizione non è arrivata e il servizio clienti non risponde alle mail",
                "Vorrei sapere se la mia carta è attiva, il conto è stato aperto da un mese",
            ],
            id="it",
        ),
        pytest.param(
            [
                "La comanda no ha arribat i el servei de la botiga no respon",
                "Vull saber l'estat de la meva targeta que es va perdre",
            ],
            id="ca",
        ),
        pytest.param(
            [
                "Comanda nu a ajuns la timp si nu se raspunde la telefon",
                "Un produs de calitate slaba, nu il recomand",
            ],
            id="ro",
        ),
        pytest.param(
            [
                "De bestelling is niet op tijd aangekomen en de klantenservice antwoordt niet",
                "Je kunt een product van slechte kwaliteit terugsturen, ik raad het niet aan",
            ],
            id="nl",
        ),
        pytest.param(
            ["Ordren er ikke kommet til tiden", "Et dårligt produkt, jeg vil have de penge tilbage"], id="da"
        ),
    ],
)
def test_languages_that_share_frequent_words_with_french_are_not_taken_for_it(texts: list[str]) -> None:
    assert language_of(texts * 10) == "en"


@pytest.mark.parametrize(
    "texts",
    [
        ["Où est ma carte ?", "Le colis est perdu"],
        [
            "Film nul, je me suis ennuyé",
            "Un chef-d’œuvre, à voir absolument",
            "Le pire restaurant de la ville",
        ],
        ["Pierre a 3 pommes et il en achète 5. Combien en a-t-il ?"],
    ],
)
def test_short_french_texts_are_french(texts: list[str]) -> None:
    assert language_of(texts) == "fr"


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
