"""The words of the styles: well written in both languages, chosen by the task's language, and told in the docs."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.answer import AnswerFormat, AnswerKind
from optimizer.digest import digest
from optimizer.plan import load_plan
from optimizer.plantext import plan_in_words
from optimizer.styles import STYLES, ReasoningStyle

PAGE = Path(__file__).resolve().parents[1] / "docs" / "styles.md"
ROW = re.compile(r"^\| `(\w+)` \| .+? \| (\d) \| (\d+) / (\d+) \| (yes|no) \| (.+) \|$", re.MULTILINE)
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{5})")

TASK = """
schema: 1
name: couleurs
language: en
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 4, validation: 12, test: 12}}
output: {type: label, labels: [red, green, blue]}
metric: exact_match
instruction: De quelle couleur est-ce ?
"""
STUDY = """
schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json, parameters: {max_tokens: 8}}
search:
  styles: [direct, chain_of_thought, step_back]
  formats: [plain, json]
  demos: {sizes: [0]}
budget: {calls: 400}
"""

Write = Callable[..., Path]

each = pytest.mark.parametrize("name", list(STYLES))


def texts(style: ReasoningStyle) -> list[str]:
    """Return what a style says to the model, in sentences."""
    return [text for text in (style.request, style.field_request, *style.follow_ups) if text]


@each
def test_what_is_said_in_english_is_whole_sentences(name: str) -> None:
    for text in texts(STYLES[name]):
        assert re.fullmatch(r"[A-Z][^\n]*\.", text)
        assert not re.search(r"  | [.,:;!?]|[^\x20-\x7e]", text)


@each
def test_what_is_said_in_french_keeps_to_vous_and_to_the_rules_of_french_print(name: str) -> None:
    style = STYLES[name].in_language("fr")
    for text in texts(style):
        assert re.fullmatch(r"[A-ZÉ][^\n]*\.", text)
        assert re.search(r"\w+ez\b", text)
    for text in (*texts(style), style.opener, style.marker):
        assert not re.search(r"\b(?:tu|te|toi|ton|ta|tes)\b|\bt’", text, re.IGNORECASE)
        # A space before each mark of two parts and inside guillemets, none before the others; curved apostrophes.
        assert not re.search(r"[^ ][:;!?»]|«[^ ]|[:;!?»«]\w| [.,]|  |['\"]", text)
        assert not re.search("[^\x20-\x7e’«»À-ÿœŒ]", text)


@each
@pytest.mark.parametrize("code", ["fr", "fr-CA", "FR", "fr_FR", " fr ", "fr-Latn-CH"])
def test_every_tag_of_french_takes_french(name: str, code: str) -> None:
    style = STYLES[name]
    assert style.in_language(code) == style.translations.get("fr", style)
    assert style.speaks(code)


@each
@pytest.mark.parametrize("code", ["en", "EN", "en-GB", "de", "frr", "", "french"])
def test_every_other_tag_takes_english_and_only_what_is_english_is_spoken(name: str, code: str) -> None:
    style = STYLES[name]
    assert style.in_language(code) is style
    assert style.speaks(code) == (code.lower().startswith("en") or name == "direct")


def test_a_style_without_translations_stays_what_it_is() -> None:
    style = ReasoningStyle(request="Think.")
    assert style.in_language("fr") is style
    assert not style.speaks("fr")


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (ReasoningStyle(), "no words"),
        (ReasoningStyle(request="Pensez.", follow_ups=("Alors ?",)), "request, 1 follow-ups"),
        (ReasoningStyle(request="Pensez.", marker="Réponse :", opener="Bon."), "request, opener, marker"),
    ],
)
def test_a_translation_of_another_course_is_refused(other: ReasoningStyle, found: str) -> None:
    with pytest.raises(ValueError) as caught:
        ReasoningStyle(request="Think.", marker="Answer:", translations={"fr": other})
    expected = f"translations['fr']: expected what the style has, request, marker, found {found}"
    assert str(caught.value) == expected


def test_the_english_words_that_were_measured_stay_what_they_are() -> None:
    # Part of the fingerprints of prompts that exist. A better wording is a style of its own.
    kept = ("direct", "chain_of_thought", "first_person")
    words = {name: [*texts(STYLES[name]), STYLES[name].opener, STYLES[name].marker] for name in kept}
    room = {name: STYLES[name].reasoning_tokens for name in kept}
    assert digest([words, room]) == "49f9dc6cc8a26ccb987502880b961a528b1d37e01e5ded0f0ba47fe90cfab538"


@pytest.mark.parametrize(
    "said",
    [
        "C’est une réponse courte.\nRéponse : deux mots",
        "RÉPONSE : un\n\nNon. réponse : deux mots\n",
        "Réponse :\ndeux mots",
    ],
)
def test_a_french_answer_is_what_follows_its_last_marker(said: str) -> None:
    marker = STYLES["chain_of_thought"].in_language("fr").marker
    assert AnswerFormat(kind="text", marker=marker).read(said).text == "deux mots"


@pytest.mark.parametrize("space", ["", " ", "\u00a0", "\u202f"], ids=["none", "plain", "no-break", "narrow"])
@pytest.mark.parametrize(
    ("kind", "answer"), [("label", "rouge"), ("text", "rouge et vert"), ("number", "12.5")]
)
def test_a_french_answer_is_read_whatever_space_is_before_the_colon(
    kind: AnswerKind, answer: str, space: str
) -> None:
    marker = STYLES["contrastive"].in_language("fr").marker
    said = f"Rouge ou vert, 7 ou 12, et plutôt rouge.\nRéponse{space}: {answer}"
    assert AnswerFormat(kind=kind, labels=("rouge", "vert"), marker=marker).read(said).text == answer


@pytest.mark.parametrize(
    ("language", "shown"),
    [
        ("en", "Think step by step"),
        ("fr", "Raisonnez étape par étape"),
        ("fr-CA", "Raisonnez étape par étape"),
    ],
)
def test_the_prompts_of_a_study_speak_the_language_of_its_task(
    language: str, shown: str, write_study: Write
) -> None:
    plan = load_plan(write_study(TASK, STUDY, ("language: en", f"language: {language}"), items=28))
    space = plan.space
    templates = {
        str(point["style"]): space.render(space.candidate(point)) for point in reversed(space.opening)
    }
    assert set(templates) == {"direct", "chain_of_thought", "step_back"}
    for name, template in templates.items():
        assert template is not None
        style = STYLES[name].in_language(language)
        assert space.style(name) == style
        assert template.answer.marker == style.marker
        said = [str(part) for call in template.calls for message in call.messages for part in message.parts]
        assert all(any(text in part for part in said) for text in texts(style))
        assert (shown in " ".join(said)) == (name == "chain_of_thought")
        most = max(int(dict(call.parameters)["max_tokens"]) for call in template.calls)
        assert most == 8 + style.reasoning_tokens
    assert not [said for said in plan_in_words(plan) if "language" in said]


def test_a_study_in_a_language_without_words_is_told_which_styles_ask_in_english(write_study: Write) -> None:
    plan = load_plan(write_study(TASK, STUDY, ("language: en", "language: de"), items=28))
    expected = "Caution: the task's language is 'de'; chain_of_thought, step_back will ask in English."
    assert plan_in_words(plan)[-1] == expected


def test_the_page_of_styles_tells_of_each_what_it_is() -> None:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    found = [(name, int(calls), int(en), int(fr), held) for name, calls, en, fr, held, _ in rows]
    styles = {name: STYLES[name] for name in STYLES}
    assert found == [
        (
            name,
            style.n_calls,
            style.reasoning_tokens,
            style.in_language("fr").reasoning_tokens,
            "no" if style.reasons_while_answering else "yes",
        )
        for name, style in styles.items()
    ]


def test_the_page_of_styles_names_the_sources_that_the_styles_name() -> None:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    for name, *_, source in rows:
        told = importlib.import_module(f"optimizer.styles.{name}").__doc__ or ""
        assert set(ARXIV.findall(source)) == set(ARXIV.findall(told))
        assert bool(ARXIV.findall(told)) == (name != "direct")
