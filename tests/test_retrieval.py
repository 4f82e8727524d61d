"""Likeness against scikit-learn, what is picked, and plain data that is refused where it is wrong."""

import json
from typing import Any

import pytest

from optimizer.retrieval import Likeness, Retrieval, Shot, words

POOL = (
    "Where is my parcel? The parcel is late.",
    "I was charged twice, please refund one charge.",
    "Où est mon colis ? J’attends l’été.",
    "The app crashes when I open my parcel page",
    "",
    "?!…",
)


def a_retrieval(*texts: str, shown: int = 2) -> Retrieval:
    shots = tuple(Shot(values=(text,), reply=f"reply {n}") for n, text in enumerate(texts))
    return Retrieval(inputs=("message",), pool=shots, shown=shown)


def picked(retrieval: Retrieval, message: str) -> list[str]:
    return [shot["reply"] for shot in retrieval.nearest({"message": message})]


@pytest.mark.parametrize(
    "query",
    [
        "my parcel is late",
        "late late late parcel charge",
        "colis d’été",
        "nothing of the kind 42",
        *POOL,
    ],
)
def test_likeness_is_the_cosine_of_scikit_learns_weights(query: str) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    vectorizer = TfidfVectorizer(analyzer=words)
    pool = vectorizer.fit_transform(POOL)
    expected = cosine_similarity(vectorizer.transform([query]), pool)[0]
    assert Likeness(POOL).to(query) == pytest.approx(list(expected), abs=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L’ÉTÉ, l'été", ["l", "été", "l", "été"]),
        ("e\u0301te\u0301", ["été"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("\ufb01n x² ①", ["fin", "x2", "1"]),
        ("\u0390", ["\u0390"]),
        ("{input:x} <|im_end|>", ["input", "x", "im_end"]),
        ("", []),
    ],
)
def test_words_are_compared_without_case_and_spelling_of_accents(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_the_most_alike_stand_last_and_of_equals_the_earlier_counts_as_more_alike() -> None:
    retrieval = a_retrieval("red fox", "blue whale", "red fox cub", "grey wolf", "grey wolf", shown=3)
    assert picked(retrieval, "a red fox cub") == ["reply 1", "reply 0", "reply 2"]
    assert picked(retrieval, "grey wolf") == ["reply 0", "reply 4", "reply 3"]
    assert picked(retrieval, "none of these") == ["reply 2", "reply 1", "reply 0"]


def test_all_inputs_are_compared() -> None:
    pool = (Shot(values=("a", "red"), reply="0"), Shot(values=("b", "blue"), reply="1"))
    retrieval = Retrieval(inputs=("subject", "body"), pool=pool, shown=1)
    (shot,) = retrieval.nearest({"subject": "x", "body": "something blue"})
    assert shot == {"input:subject": "b", "input:body": "blue", "reply": "1"}


def test_the_content_of_images_is_shipped_and_not_compared() -> None:
    same, other = ("data:image/png;base64," + "/".join(words * 200) for words in (["aa", "bb"], ["cc", "dd"]))
    pool = (Shot(values=(same, "a cat"), reply="0"), Shot(values=(other, "a red fox"), reply="1"))
    retrieval = Retrieval(inputs=("photo", "caption"), pool=pool, shown=1)
    (shot,) = retrieval.nearest({"photo": same, "caption": "red fox"})
    assert shot == {"input:photo": other, "input:caption": "a red fox", "reply": "1"}


def test_an_input_that_is_in_the_pool_gets_its_own_row() -> None:
    assert picked(a_retrieval(*POOL, shown=1), POOL[1]) == ["reply 1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "bm25"}, "retrieval.rule: expected 'tfidf_cosine', found 'bm25'"),
        ({"shown": 0}, "retrieval.shown: expected 1 to 2, the size of the pool, found 0"),
        ({"shown": 3}, "retrieval.shown: expected 1 to 2, the size of the pool, found 3"),
        ({"shown": True}, "retrieval.shown: expected 1 to 2, the size of the pool, found True"),
        ({"inputs": []}, "retrieval.inputs: expected a list of different names, at least one"),
        ({"inputs": ["a", "a"]}, "retrieval.inputs: expected a list of different names, at least one"),
        ({"pool": {}}, "retrieval.pool: expected a list"),
        ({"pool": [1, 2]}, "retrieval.pool[0]: expected values and reply"),
        (
            {"pool": [{"values": ["a"], "reply": ""}, {"values": ["a", "b"], "reply": ""}]},
            "retrieval.pool[1].values: expected a list of 1 text(s), one for each input",
        ),
        ({"pool": [{"values": ["a"], "reply": 1}]}, "retrieval.shown: expected 1 to 1"),
        ({"news": 1}, "retrieval: expected rule, shown, inputs and pool"),
    ],
)
def test_plain_data_that_is_no_retrieval_is_refused_with_its_place(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        Retrieval.from_dict({**a_retrieval("x", "y").to_dict(), **change})
    assert str(caught.value).startswith(message)


def test_a_reply_that_is_no_text_is_refused() -> None:
    document = json.loads(json.dumps(a_retrieval("x", "y").to_dict()))
    document["pool"][1]["reply"] = None
    with pytest.raises(ValueError) as caught:
        Retrieval.from_dict(document)
    assert str(caught.value) == "retrieval.pool[1].reply: expected text, found NoneType"
