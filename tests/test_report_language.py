"""The languages of reports: every sentence is known in French, and values are inserted once, as they are."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import optimizer
from optimizer import cautions
from optimizer.cautions import retold
from optimizer.commands._looking import _cell
from optimizer.explanation import in_words, provable_in_words
from optimizer.formats import FORMATS
from optimizer.language import ENGLISH, LANGUAGES, Language, placeholders, script_texts
from optimizer.leaks import HeldOut, Kind, Leak, leak_warnings
from optimizer.significance import compare_aggregate, compare_amounts, compare_paired
from optimizer.styles import STYLES

PACKAGE = Path(optimizer.__file__).parent
FRENCH = Language.of("fr")
# What marks a sentence, and which of its arguments are sentences.
MARKS = {"t": (0,), "mark": (0,), "plural": (1, 2)}


def constants(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an argument can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)


def assigned(tree: ast.AST) -> dict[str, set[str]]:
    """Return the texts that are given to each name in a module."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, set()).update(constants(node.value))
    return found


def sentences(path: Path) -> set[str]:
    """Return the sentences that a module asks for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named, found = assigned(tree), set[str]()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for place in MARKS.get(name, ()):
            for argument in node.args[place : place + 1]:
                found |= (
                    named.get(argument.id, set())
                    if isinstance(argument, ast.Name)
                    else set(constants(argument))
                )
    return found


def asked() -> dict[str, str]:
    """Return every sentence with the file that asks for it."""
    modules = [
        *sorted((PACKAGE / "report").glob("*.py")),
        PACKAGE / "attribution.py",
        PACKAGE / "cautions.py",
        PACKAGE / "explanation.py",
        PACKAGE / "language.py",
    ]
    found = {text: path.name for path in modules for text in sentences(path)}
    for path in sorted((PACKAGE / "report").iterdir()):
        if path.suffix in (".jinja", ".js"):
            found |= dict.fromkeys(script_texts(path.read_text(encoding="utf-8")), path.name)
    return found | plug_ins()


def plug_ins() -> dict[str, str]:
    """Return what the modules of styles and formats say of themselves, with their folders."""
    registries = (STYLES, FORMATS)
    return {registry.about(name): registry.folder for registry in registries for name in registry}


def test_every_sentence_is_known_in_french_and_takes_the_same_values() -> None:
    sentences_asked = asked()
    assert len(sentences_asked) > 100
    missing = {text: file for text, file in sentences_asked.items() if text not in FRENCH.sentences}
    assert not missing, f"without a French sentence: {missing}"
    assert not set(FRENCH.sentences) - set(sentences_asked), "asked for by nobody"
    for text, told in FRENCH.sentences.items():
        assert placeholders(text) == placeholders(told), text
        assert told.strip(), text
        assert (told[0] == " ") == (text[0] == " "), text


def test_french_is_set_as_french_is() -> None:
    for told in FRENCH.sentences.values():
        assert not [sign for sign in ";:!?%»" if f" {sign}" in told], f"a space that breaks: {told}"
        assert "« " not in told
        assert "'" not in told, f"a straight apostrophe: {told}"
        assert not [sign for sign in "“”" if sign in told]
    assert FRENCH.t("Caution: {flag}", flag="x") == "Attention\u00a0: x"


def test_figures_are_written_as_each_language_writes_them() -> None:
    assert [ENGLISH.score(0.5), ENGLISH.percent(0.955), ENGLISH.signed_points(-0.0001)] == [
        "0.500",
        "95.5 %",
        "+0.0",
    ]
    assert [FRENCH.score(0.5), FRENCH.percent(0.955), FRENCH.signed_points(0.062)] == [
        "0,500",
        "95,5\u202f%",
        "+6,2",
    ]
    assert [FRENCH.p(0.0312), FRENCH.p(0.00001)] == ["p\u00a0=\u00a00,0312", "p\u00a0<\u00a00,0001"]
    assert ENGLISH.p(0.00001) == "p < 0.0001"
    assert FRENCH.figure("+1.0 to +11.4") == "+1,0 à +11,4"
    assert FRENCH.figure("14,144") == "14\u202f144"
    assert ENGLISH.figure("14,144") == "14,144"
    assert FRENCH.amount(0.25, "usd") == "0,250000 dollars américains"
    assert ENGLISH.amount(12, "tokens") == "12.0 tokens"
    assert FRENCH.t("{n} prompts", n=12_500) == "12\u202f500 prompts"
    assert ENGLISH.t("{n} prompts", n=12_500) == "12500 prompts"
    assert [ENGLISH.quoted("x"), FRENCH.quoted("x")] == ["“x”", "«\u00a0x\u00a0»"]


@given(
    amount=st.floats(min_value=0, exclude_min=True, max_value=1e9),
    code=st.sampled_from(LANGUAGES),
    digits=st.integers(1, 6),
)
def test_no_amount_above_nothing_is_told_as_zeros_alone_or_with_an_exponent(
    amount: float, code: str, digits: int
) -> None:
    language = Language.of(code)
    figures = (language.dollars(amount, 4), language.decimals(amount, digits), language.brief(amount))
    for told in (*figures, *(language.amount(amount, unit) for unit in ("usd", "tokens"))):
        assert re.search(r"[1-9]", told), told
        assert not re.search(r"\de", told), told
    if code == "en":
        found = [*figures, _cell({"cost_usd": amount}, "cost_usd")]
        assert [float(told.replace(",", "")) for told in found] == pytest.approx([amount] * 4, rel=0.5)


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        *((0.0, "0.0000"), (1.12, "1.1200"), (0.0012, "0.0012"), (0.00012, "0.000120")),
        *((1040.5, "1,040.5000"), (4e-9, "0.00000000400")),
    ],
)
def test_dollars_have_four_digits_after_the_point_unless_that_says_nothing(amount: float, told: str) -> None:
    assert ENGLISH.dollars(amount, 4) == told


def test_a_brief_amount_has_four_digits_that_count_at_most() -> None:
    told = {0.0: "0", 0.25: "0.25", 1234.56: "1235", 12_500.0: "12,500", 2.3e-7: "0.00000023"}
    assert {amount: ENGLISH.brief(amount) for amount in told} == told
    assert FRENCH.brief(12_500.0) == "12\u202f500"


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("exact McNemar test, Tango interval", "test exact de McNemar, intervalle de Tango"),
        (
            "sign-flip test, BCa bootstrap interval, 12 clusters",
            "test par inversion de signes, intervalle bootstrap BCa, 12 groupes",
        ),
        (
            "corrected t test, 10 × 5-fold cross-validation",
            "test t corrigé, 10 fois une validation croisée à 5 plis",
        ),
        ("a {new} test of 3, 4 clusters", "a {new} test of 3, 4 groupes"),
    ],
)
def test_methods_are_named_in_french_as_far_as_they_are_known(method: str, told: str) -> None:
    assert FRENCH.method(method) == told
    assert ENGLISH.method(method) == method


def test_every_method_of_a_comparison_has_a_french_name() -> None:
    rows = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    graded, pairs = [score / 2 for score in rows], ["a", "a", "b", "b", "c", "c", "d", "d"]
    found = [
        *(compare_paired(rows, rows[::-1], seed=0, clusters=groups) for groups in (None, pairs)),
        *(compare_paired(graded, rows, seed=0, clusters=groups) for groups in (None, pairs)),
        compare_amounts(graded * 5, rows * 5, seed=0),
        compare_aggregate(lambda places: (0.2, len(set(places)) / len(rows)), len(rows), seed=0),
    ]
    parts = {part for each in found for part in each.method.split(", ")}
    assert len(parts) > 5
    assert not {part for part in parts if FRENCH.method(part) == part}


def test_none_is_singular_in_french_alone() -> None:
    told = {n: FRENCH.plural(n, "{n} example", "{n} examples") for n in (0, 1, 2)}
    assert told == {0: "0 exemple", 1: "1 exemple", 2: "2 exemples"}
    assert ENGLISH.plural(0, "{n} example", "{n} examples") == "0 examples"


@given(value=st.text(alphabet="{}nafmtile%s\\0.,:; ", max_size=30), code=st.sampled_from(LANGUAGES))
def test_values_are_inserted_once_and_as_they_are(value: str, code: str) -> None:
    language = Language.of(code)
    told = language.t(
        "The baseline is the prompt that was imported from {file} ({format}).", file=value, format="{file}"
    )
    assert told.count("{file}") == 1 + value.count("{file}")
    assert value in told
    assert told.endswith("({file}).")


def test_what_is_not_known_is_told_in_english_and_a_missing_value_is_a_mistake() -> None:
    assert FRENCH.t("No such sentence: {n}.", n=3) == "No such sentence: 3."
    with pytest.raises(KeyError):
        ENGLISH.t("{n} examples")
    with pytest.raises(ValueError, match="expected one of en, fr, found 'de'"):
        Language.of("de")


def test_the_sentences_of_a_script_are_found() -> None:
    source = 'const t = 1; show(t("One \\"two\\"."), t( "{n} of"), at("no"), t(name)); t("{n} of")'
    assert script_texts(source) == ('One "two".', "{n} of")


def evidence(**changes: Any) -> dict[str, Any]:
    """Return the evidence of a winner that is better, with some of it changed."""
    difference = {
        "value": 0.12, "lower": 0.041, "upper": 0.2, "level": 0.95, "p_value": 0.0031, "n": 200, "wins": 34,
        "ties": 156, "losses": 10, "smallest_provable": 0.0931,
    }  # fmt: skip
    return {
        "protocol": "test",
        "decision": "improved",
        "frozen": "winner",
        "reason": "better",
        "candidates": 14,
        "margin": 0.02,
        "difference": {**difference, **changes.pop("difference", {})},
        "test": {"winner": {"score": 0.72}, "baseline": {"score": 0.6}},
        "cross_validation": {"folds": 5, "repeats": 10},
        "validation": {"winner": {"score": 0.8, "n": 60, "estimate": 0.7411}},
        "test_opened": 1,
        "leaks": [],
        "saving": {"unit": "tokens", "winner": 40.0, "baseline": 90.0},
        "guess": {"answer": "red", "score": 0.25},
        "difference_over_guess": {"value": 0.02, "lower": -0.03, "upper": 0.07},
        **changes,
    }


def test_the_verdict_is_told_in_french_from_the_same_figures() -> None:
    assert in_words(evidence(difference_over_guess=None), FRENCH) == [
        (
            "Le meilleur de 14 prompts a été comparé à la référence sur 200 exemples de test que la recherche n’avait "
            "jamais vus\u00a0: 0,720 contre 0,600, soit une différence de +12,0 points."
        ),
        "Le nouveau prompt a été meilleur sur 34 exemples, moins bon sur 10 et égal sur 156.",
        (
            "Avec une confiance de 95\u202f%, la vraie différence se situe entre +4,1 et +20,0 points "
            "(p\u00a0=\u00a00,0031\u00a0: la fréquence à laquelle le hasard seul produirait une différence aussi grande)."
        ),
        "Nous sommes confiants que le nouveau prompt est meilleur\u202f; il est figé.",
        (
            "Sur la validation, le nouveau prompt a obtenu 0,800 sur 60 exemples\u202f; compte tenu de la chance d’être "
            "le meilleur de 14, on en attendait 0,741."
        ),
    ]


def test_nothing_english_is_left_in_a_french_verdict() -> None:
    for reason in ("better", "worse", "no evidence", "same prompt", "cheaper", "no better than guessing"):
        for protocol in ("test", "cross-validation"):
            unsure = reason not in ("better", "worse")
            told = in_words(
                evidence(
                    reason=reason,
                    protocol=protocol,
                    decision="not distinguishable" if unsure else "improved",
                    test_opened=3,
                    infeasible=2,
                    slices=[
                        {
                            "column": "a",
                            "gaps": {"winner": FLAGGED},
                            "values": [{"value": "b", "difference": LOSS}],
                        }
                    ],
                    robustness={"winner": {"typos": {"difference": LOSS, "obedience": OBEYED}}},
                    winner_fingerprint="w",
                ),
                FRENCH,
            )
            assert told
            for said in told:
                assert not {"the", "of", "and", "is", "was", "that"} & set(said.lower().split()), said
    for smallest in (0.04, 0.2, 2.0):
        for test in (True, False):
            for said in provable_in_words(smallest, 40, groups=9, test=test, language=FRENCH):
                assert not re.search(r",\s*:", said), said
                assert not {"the", "of", "and", "is", "can"} & set(said.lower().split()), said


FLAGGED = {"flagged": True, "size": 0.3, "lowest": "x", "highest": "y", "adjusted": 0.01}
LOSS = {"worse": True, "value": -0.2, "n": 30, "adjusted": 0.02}
OBEYED = {"flagged": True, "obeyed": 4, "n": 30, "adjusted": 0.02}


LEAK = (
    "1 test example has near duplicates among examples that the search sees (a ~ b): a gain on test may be memory, not "
    "skill; give each pair one `group` value, or drop one of the two"
)


def test_leaks_and_cautions_of_imported_prompts_are_told_in_french_and_other_texts_as_they_are() -> None:
    found = [
        Leak(kind=kind, example=f"e{k}", split=split, other="t")
        for kind in get_args(Kind)
        for split in get_args(HeldOut)
        for k in range(1 if split == "test" else 2)
    ]
    warnings = leak_warnings(found)
    assert len(warnings) == 6
    for sentence in (*warnings, "the imported prompt does not show 'text'"):
        assert retold(sentence, ENGLISH) == sentence
        told = retold(sentence, FRENCH)
        assert not {"the", "of", "and", "is", "are", "that", "shown"} & set(told.split()), told
    assert retold(LEAK, FRENCH).startswith("1 exemple de test a des quasi-doublons")
    assert "(a ~ b)" in retold(LEAK, FRENCH)
    for other in (
        "2 test examples are near duplicates of training examples",
        LEAK + " x" * 2000,
        LEAK.partition(";")[0] + "; drop one",
        "",
    ):
        assert retold(other, FRENCH) == other
    words = in_words(evidence(leaks=[LEAK]), FRENCH)
    assert any(said.startswith("Attention\u00a0: 1 exemple de test") for said in words)


def test_what_is_said_of_an_imported_prompt_is_what_is_known_in_french() -> None:
    said = set()
    for node in ast.walk(ast.parse((PACKAGE / "importing.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            said.add(
                "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            )
        elif isinstance(node, ast.Constant):
            said.add(str(node.value))
    for template in cautions._IMPORTED:
        assert re.sub(r"\{\w+\}", "{}", template) in said, template
