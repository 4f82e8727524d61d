"""The page of evidence: what it says, that text stays text, and that its figures are those of the terminal."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from optimizer.answer import AnswerFormat
from optimizer.commands._tables import evidence_lines
from optimizer.completion import Constraint
from optimizer.explanation import in_words
from optimizer.frozen import FrozenPrompt
from optimizer.language import ENGLISH
from optimizer.power import smallest_provable_difference
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.report import page
from optimizer.report._tables import tables
from optimizer.report._telling import Teller

HOSTILE = (
    "\"'><img src=x onerror=alert(1)></style></title></table><script>alert(1)</script>{{ 7 * 7 }}{% raw %}&lt;"
    "\u2028\u202eevil\u200b\x1b[2J\x00\ud800"
)
VOID = {"meta", "line", "circle", "img", "br", "link", "input"}

TEMPLATE = PromptTemplate(
    calls=(
        CallTemplate(
            messages=(
                MessageTemplate(role="system", parts=("Name the colour.",)),
                MessageTemplate(
                    role="user", parts=("\n  Text: ", Hole(name="input:text", neutralise=("<|x|>",)))
                ),
            ),
            parameters=(("temperature", 0.7),),
            constraint=Constraint(choice=(" red", " green")),
        ),
    ),
    answer=AnswerFormat(kind="label", labels=("red", "green")),
)
BASELINE = "b" * 64


class Read(HTMLParser):
    """A page taken apart as a browser would: elements with their attributes, and text.

    Attributes:
        shown: Text outside the style sheet, pieces parted by a line break.
        style: The style sheet.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.comments: list[str] = []
        self.open: list[str] = []
        self.pieces: list[str] = []
        self.style = ""
        self.feed(html)
        self.close()
        self.shown = "\n".join(self.pieces)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        elif data.strip():
            self.pieces.append(data)

    def attributes(self, name: str) -> list[str]:
        return [value or "" for _, attributes in self.elements for key, value in attributes if key == name]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [dict(attributes) for name, attributes in self.elements if name == tag]


def difference(**changes: Any) -> dict[str, Any]:
    return {
        "value": 0.12,
        "lower": 0.041,
        "upper": 0.2,
        "level": 0.95,
        "p_value": 0.0031,
        "n": 200,
        "wins": 34,
        "ties": 156,
        "losses": 10,
        "method": "exact McNemar test, Tango interval",
        "smallest_provable": 0.0931,
        **changes,
    }


def arm(score: float, **changes: Any) -> dict[str, Any]:
    return {
        "score": score,
        "n": 200,
        "lower": score - 0.07,
        "upper": score + 0.06,
        "invalid": 3,
        "errors": 1,
        "outcomes": {"ok": 196, "truncated": 2, "refused": 1, "error": 1, "invalid": 0},
        "metrics": {"macro_f1": score - 0.01, "tokens": 73.702, "valid": 0.985},
        **changes,
    }


def evidence(**changes: Any) -> dict[str, Any]:
    """Return the evidence of a winner that is better, with some of it changed."""
    found = {
        "protocol": "test",
        "decision": "improved",
        "frozen": "winner",
        "reason": "better",
        "candidates": 14,
        "margin": 0.02,
        "metric": "accuracy",
        "difference": difference(**changes.pop("difference", {})),
        "difference_over_format": difference(
            value=0.03, lower=-0.02, upper=0.081, p_value=0.2101, wins=16, losses=10, ties=174
        ),
        "difference_over_guess": None,
        "guess": None,
        "test": {"baseline": arm(0.6), "wording": arm(0.69), "winner": arm(0.72)},
        "validation": {
            "baseline": {
                "score": 0.55,
                "n": 20,
                "lower": 0.34,
                "upper": 0.74,
                "errors": 0,
                "estimate": 0.561,
            },
            "winner": {"score": 0.8, "n": 60, "lower": 0.68, "upper": 0.88, "errors": 0, "estimate": 0.7411},
        },
        "test_opened": 1,
        "test_openings": [{"opening": 1, "prompts": [BASELINE, TEMPLATE.fingerprint, "c" * 64]}],
        "leaks": [],
        "saving": {
            "unit": "tokens",
            "baseline": 73.7,
            "winner": 68.7,
            "value": -5.0,
            "lower": -6.1,
            "upper": -3.9,
            "level": 0.95,
            "p_value": 0.00001,
        },
        "groups": None,
        "smallest_provable_difference": 0.0817,
        "frozen_digest": f"{changes.get('frozen', 'winner') == 'winner':064d}",
        "winner_fingerprint": TEMPLATE.fingerprint,
        "baseline_fingerprint": BASELINE,
        **changes,
    }
    return {**found, "in_words": in_words(found)}


def cross_validated(**changes: Any) -> dict[str, Any]:
    """Return the evidence of a choice without a test split."""
    found = evidence(
        protocol="cross-validation",
        cross_validation={
            "folds": 5,
            "repeats": 10,
            "n": 60,
            "baseline": 0.617,
            "chosen": 0.731,
            "picked": {TEMPLATE.fingerprint: 45, "d" * 64: 5},
        },
        difference={"n": 60, "method": "corrected t test, 10 × 5-fold cross-validation"},
        test_opened=0,
        **changes,
    )
    return {k: v for k, v in found.items() if k not in ("test", "difference_over_format", "test_openings")}


WORSE = evidence(
    decision="worse",
    frozen="baseline",
    reason="worse",
    difference={"value": -0.12, "lower": -0.2, "upper": -0.04, "wins": 10, "losses": 34},
)
UNDECIDED = evidence(
    decision="not distinguishable",
    frozen="baseline",
    reason="no evidence",
    difference={"value": 0.04, "lower": -0.02, "upper": 0.1, "wins": 20, "losses": 12, "ties": 168},
)
GUESSING = evidence(
    decision="not distinguishable",
    frozen="baseline",
    reason="no better than guessing",
    guess={"answer": "billing", "score": 0.1639},
    difference_over_guess=difference(value=0.012, lower=-0.03, upper=0.05, method="sign-flip test"),
)
CHEAPER = evidence(decision="not distinguishable", reason="cheaper")
SAME = evidence(
    decision="not distinguishable",
    frozen="baseline",
    reason="same prompt",
    winner_fingerprint=BASELINE,
    difference={"value": 0.0, "lower": -0.02, "upper": 0.02, "p_value": 1.0, "wins": 0, "losses": 0},
)
OPENED_AGAIN = evidence(
    difference={"level": 1 - 0.05 / 2},
    test_opened=2,
    test_openings=[
        {"opening": 1, "prompts": [BASELINE, "e" * 64]},
        {"opening": 2, "prompts": [BASELINE, TEMPLATE.fingerprint, "c" * 64]},
    ],
    leaks=["2 test examples are near duplicates of training examples"],
    groups=120,
)
ALL = {
    "better": evidence(),
    "worse": WORSE,
    "no evidence": UNDECIDED,
    "no better than guessing": GUESSING,
    "cheaper": CHEAPER,
    "same prompt": SAME,
    "opened again": OPENED_AGAIN,
    "cross-validation": cross_validated(),
    "in money": evidence(saving={**evidence()["saving"], "unit": "usd"}),
}


def trial(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "trial": number,
        "state": "complete",
        "stage": "search",
        "digest": f"{number:064d}",
        "instruction_id": f"i{number:04d}",
        "demonstrations_id": "d0000",
        "style": "direct",
        "format": "choice",
        "n": 20,
        "score": 0.5,
        "lower": 0.3,
        "upper": 0.7,
        "valid": 0.95,
        "errors": 0,
        "calls": 20,
        "cached": 0,
        "prompt_tokens": 1128,
        "completion_tokens": 216,
        "cost_usd": 0.0,
        "parents": "",
        **changes,
    }


CONFIRMED = {"digest": f"{1:064d}", "n": 60, "score": 0.8, "lower": 0.68, "upper": 0.88}
HISTORY = (trial(2, stage="confirm", **CONFIRMED), trial(1), trial(0, stage="baseline", format="plain"))


def prompt(found: dict[str, Any] | None = None, **changes: Any) -> FrozenPrompt:
    """Return a frozen prompt with some evidence; that of a winner that is better unless another is given."""
    values: dict[str, Any] = {
        "name": "colours",
        "template": TEMPLATE,
        "style": "direct",
        "format": "choice",
        "capabilities": ("choice",),
        "demonstration_ids": (),
        "model": {"provider": "scripted", "name": "rules"},
        "task": {
            "name": "colours",
            "version": "1.0",
            "metric": "accuracy",
            "fingerprint": "f" * 64,
            "dataset": {
                "fingerprint": "a" * 64,
                "splits": {"train": 30, "validation": 60, "test": 200},
                "seed": 0,
            },
        },
        "evidence": evidence() if found is None else found,
        "history": HISTORY,
        "tool_versions": {"python": "3.11", "optuna": "5.0.0"},
        **changes,
    }
    return FrozenPrompt(**values)


def shown(found: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return the text of a page; spaces that hold words together count as spaces."""
    return Read(page(prompt(found, **changes))).shown.replace("\u00a0", " ")


def heading(found: dict[str, Any]) -> tuple[str, str]:
    """Return the heading of a page and the decision below it."""
    html = page(prompt(found))
    first = re.search(r"<h1>(.*?)</h1>", html)
    second = re.search(r'<p class="decision[a-z ]*">(.*?)</p>', html)
    assert first is not None
    return first[1], "" if second is None else second[1]


@pytest.mark.parametrize(
    ("name", "said", "decided"),
    [
        ("better", "The new prompt is better than the baseline", "improved, the new prompt is frozen"),
        ("worse", "The new prompt is worse than the baseline", "worse, the baseline is frozen"),
        (
            "no evidence",
            "The data cannot tell the new prompt from the baseline",
            "not distinguishable, the baseline is frozen",
        ),
        (
            "no better than guessing",
            "The gain is no more than guessing would bring",
            "not distinguishable, the baseline is frozen",
        ),
        (
            "cheaper",
            "The new prompt is not shown to be better, but it is cheaper",
            "not distinguishable, the new prompt is frozen",
        ),
        (
            "same prompt",
            "No new prompt is expected to do better than the baseline",
            "not distinguishable, the baseline is frozen",
        ),
        (
            "cross-validation",
            "The new prompt is better than the baseline",
            "improved, the new prompt is frozen",
        ),
    ],
)
def test_the_decision_is_the_heading_in_plain_words(name: str, said: str, decided: str) -> None:
    assert heading(ALL[name]) == (said, decided)


@pytest.mark.parametrize("name", ALL)
def test_every_sentence_of_the_evidence_is_said(name: str) -> None:
    text = " ".join(shown(ALL[name]).split())
    for sentence in ALL[name]["in_words"]:
        assert " ".join(sentence.removeprefix("Caution: ").split()) in text


def test_figures_in_sentences_stay_with_what_they_belong_to_at_the_end_of_a_line() -> None:
    html = page(prompt())
    assert "With 95\u00a0% confidence" in html
    assert "(p\u00a0=\u00a00.0031: how often" in html


@pytest.mark.parametrize("name", ALL)
def test_every_number_of_the_terminal_is_on_the_page(name: str) -> None:
    number = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
    in_terminal = set(number.findall("\n".join(evidence_lines(ALL[name]))))
    assert len(in_terminal) > 5
    assert in_terminal - set(number.findall(shown(ALL[name]))) == set()


def test_the_page_follows_the_thread_from_decision_to_provenance() -> None:
    text = shown(OPENED_AGAIN)
    order = (
        "The new prompt is better than the baseline",
        "The best of 14 prompts was compared",
        "Gain of the new prompt, in points",
        "Scores on the test examples: accuracy",
        "Is the difference real?",
        "How the test was used",
        "Cautions",
        "What the search said, and what came of it",
        "Cost of an example",
        "Name the colour.",
        "Every trial of the search",
        "Where this prompt comes from",
        "Words of this page",
    )
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_every_opening_of_the_test_is_listed_with_its_prompts_and_each_further_one_is_called_so() -> None:
    text = re.sub(r"\s+(?=,)", "", " ".join(shown(OPENED_AGAIN).split()))
    again = f"{'b' * 12} (baseline), {TEMPLATE.fingerprint[:12]} (winner), {'c' * 12} (baseline's wording, winner's format)"
    assert f"Opened for {'b' * 12} (baseline), {'e' * 12} Opened again for {again}" in text


def test_examples_are_not_counted_as_better_or_worse_than_a_guess() -> None:
    html = page(prompt(GUESSING))
    table = html.partition('class="differences"')[2].partition("</table>")[0]
    rows = [
        re.findall(r"<t[hd][^>]*>([^<]*)<", row) for row in table.partition("<tbody>")[2].split("</tr>")[:-1]
    ]
    headings = re.findall(r"<th [^>]*>([^<]*)<", table.partition("</thead>")[0])
    counted = slice(headings.index("better"), headings.index("worse") + 1)
    assert {row[0]: row[counted] for row in rows} == {
        "over the baseline": ["34", "156", "10"],
        "over its wording, winner&#39;s format": ["16", "174", "10"],
        "over it, unreadable answers guessed": ["–", "–", "–"],
    }


def test_what_made_the_prompt_is_told_by_the_name_of_the_command() -> None:
    told = shown(tool_versions={"numpy": "2.4", "promptstudy": "0.7.0", "python": "3.11"})
    assert "optimizer (promptstudy 0.7.0), numpy 2.4, python 3.11" in told


def test_leaks_are_cautions_and_where_there_are_none_there_is_no_such_section() -> None:
    assert "2 test examples are near duplicates of training examples" in shown(OPENED_AGAIN)
    assert "Caution" not in shown()


def test_cross_validation_is_told_without_a_test() -> None:
    text = shown(ALL["cross-validation"])
    assert "Scores of cross-validation: accuracy" in text
    assert "choice, judged on examples held out" in text
    assert "There was no test split to open" in text
    assert "45 of 50 times" in text
    assert "The test was opened" not in text
    assert "held-out score" in text


def test_the_prompt_is_shown_as_it_is_sent_with_its_holes_marked() -> None:
    html = page(prompt())
    assert "<code>\n  Text: <mark>‹input:text›</mark></code>" in html
    # A space that is part of what is answered would be overlooked.
    assert '<code class="choice">&#34; red&#34;</code>' in html
    assert "The server must hold the answer to one of:" in html
    assert "the server must continue it" not in html
    assert "temperature 0.7" in html
    assert "In what fills ‹input:text›, the control tokens of the model are broken" in html
    assert "The answer is read as a label, one of red, green." in html


def frozen_trials(found: FrozenPrompt) -> list[str]:
    """Return the trials that a page marks as the frozen prompt."""
    table = page(found).partition('class="history"')[2].partition("</table>")[0]
    return re.findall(r'<tr class="frozen">\s*<th scope="row">(\d+) <span class="tag">frozen', table)


def test_trials_are_in_order_and_those_of_the_frozen_prompt_are_marked() -> None:
    table = page(prompt()).partition('class="history"')[2].partition("</table>")[0]
    assert re.findall(r'<th scope="row">(\d+)', table) == ["0", "1", "2"]
    assert frozen_trials(prompt()) == ["1", "2"]
    assert frozen_trials(prompt(WORSE)) == ["0"]


def test_where_the_evidence_does_not_name_the_frozen_candidate_no_trial_is_marked() -> None:
    older = {key: value for key, value in evidence().items() if key != "frozen_digest"}
    assert frozen_trials(prompt(older)) == []


def test_decoding_parameters_and_failures_have_columns_where_there_are_any() -> None:
    text = shown(history=(trial(0, temperature=0.3), trial(1, state="failed", score=None, cost_usd=0.02)))
    assert {"parameter temperature", "0.3", "failed", "0.020000 US dollars"} <= set(text.split("\n"))
    assert not {"state", "cost", "parents"} & set(shown(evidence(saving=None)).split("\n"))


def test_a_prompt_without_evidence_says_so_and_is_shown() -> None:
    text = shown({}, history=())
    assert "Nothing is known of how good this prompt is" in text
    assert "This prompt was frozen without evidence" in text
    assert "Name the colour." in text
    assert "<svg" not in page(prompt({}, history=()))


@pytest.mark.parametrize("name", ["better", "no better than guessing", "cross-validation"])
def test_whatever_an_older_prompt_lacks_the_rest_is_shown(name: str) -> None:
    for key in ALL[name]:
        found = {k: v for k, v in ALL[name].items() if k != key}
        assert "Name the colour." in shown(found)
    older = {
        k: v for k, v in evidence().items() if k not in ("protocol", "reason", "frozen", "in_words", "saving")
    }
    assert heading(older) == (
        "The new prompt is better than the baseline",
        "improved, the new prompt is frozen",
    )
    assert "This prompt was frozen without its evidence in words" in shown(older)


def changed(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """Return a document with every leaf replaced, its shape and its keys kept."""
    if isinstance(value, dict):
        return {key: changed(each, leaf) for key, each in value.items()}
    return [changed(each, leaf) for each in value] if isinstance(value, list | tuple) else leaf(value)


@pytest.mark.parametrize(
    "junk", [None, True, "", "text", -1, 10**400, 1e308, [], {}, [[]], float("nan")], ids=repr
)
@pytest.mark.parametrize("name", ["better", "no better than guessing", "cross-validation"])
def test_figures_that_are_none_are_left_out(name: str, junk: Any) -> None:
    found = prompt(
        changed(ALL[name], lambda _: junk) | {"leaks": junk}, history=tuple(changed(HISTORY, lambda _: junk))
    )
    # A number that JSON cannot hold has no checksum, and so never comes from a file.
    if junk != junk:  # noqa: PLR0124  # NaN alone is no equal of itself
        with pytest.raises(ValueError, match="not JSON compliant"):
            page(found)
        return
    assert "Name the colour." in Read(page(found)).shown


def filled(text: str, *, keep_decision: bool) -> FrozenPrompt:
    """Return a prompt with one text in the place of every other, names of keys that are free included."""

    def leaf(value: Any) -> Any:
        return text if isinstance(value, str) else value

    found = changed(GUESSING, leaf) | {"leaks": [text], "guess": {"answer": text, "score": 0.1}}
    if keep_decision:
        kept = ("protocol", "decision", "frozen", "reason", "winner_fingerprint", "baseline_fingerprint")
        found |= {key: GUESSING[key] for key in kept}
    found["test"]["winner"]["metrics"] = {text: 0.5}
    found["test"]["winner"]["outcomes"] = {text: 4}
    call = CallTemplate(
        messages=(
            MessageTemplate(role="user", parts=(text, Hole(name=f"input:{text}", neutralise=(text,)))),
        ),
        parameters=((text, text),),
        constraint=Constraint(choice=(text,)),
    )
    schema = CallTemplate(messages=call.messages, constraint=Constraint(json_schema=json.dumps({"a": text})))
    return FrozenPrompt(
        name=text,
        template=PromptTemplate(
            calls=(call, schema), answer=AnswerFormat(kind="label", labels=(text,), field=text, marker=text)
        ),
        style=text,
        format=text,
        capabilities=(text,),
        demonstration_ids=(text,),
        model={"provider": text, "name": text},
        task={
            "name": text,
            "version": text,
            "metric": text,
            "dataset": {"splits": {text: 3}, "fingerprint": text},
        },
        evidence=found,
        history=tuple({**changed(row, leaf), text: text} for row in HISTORY),
        tool_versions={text: text},
    )


@pytest.mark.parametrize("keep_decision", [True, False])
def test_text_in_any_field_makes_no_element_no_attribute_and_no_comment(keep_decision: bool) -> None:
    plain, hostile = (Read(page(filled(text, keep_decision=keep_decision))) for text in ("zzz", HOSTILE))
    assert hostile.elements == plain.elements
    assert hostile.comments == plain.comments == []
    assert hostile.style == plain.style
    assert hostile.shown.count("\"'><img src=") == plain.shown.count("zzz") > 30
    assert "{{ 7 * 7 }}" in hostile.shown


def test_what_turns_text_round_or_drives_a_screen_is_shown_as_a_replacement() -> None:
    html = page(filled(HOSTILE, keep_decision=True))
    assert "\ufffd\ufffdevil\ufffd\ufffd[2J\ufffd\ufffd" in html
    unshown = {c for c in html if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert unshown == set()
    html.encode("utf-8")


@pytest.mark.parametrize("name", ALL)
def test_the_page_holds_everything_and_runs_and_loads_nothing(name: str) -> None:
    html = page(prompt(ALL[name]))
    read = Read(html)
    assert {"script", "link", "img", "iframe", "object", "base", "form"} & {
        tag for tag, _ in read.elements
    } == set()
    assert [key for _, attributes in read.elements for key, _ in attributes if key.startswith("on")] == []
    assert read.attributes("src") + read.attributes("href") + read.attributes("style") == []
    assert re.search(r"url\(|@import|https?:", html) is None
    digest = base64.b64encode(hashlib.sha256(read.style.encode()).digest()).decode()
    policy = next(meta["content"] for meta in read.all("meta") if "http-equiv" in meta)
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    # The policy comes before all that it governs.
    tags = [tag for tag, _ in read.elements]
    assert tags[:4] == ["html", "head", "meta", "meta"]
    assert tags.count("style") == 1


@pytest.mark.parametrize("name", ALL)
def test_the_page_can_be_read_by_everyone(name: str) -> None:
    read = Read(page(prompt(ALL[name])))
    assert read.open == []
    assert read.all("html") == [{"lang": "en"}]
    tags = Counter(tag for tag, _ in read.elements)
    assert (
        tags["h1"]
        == tags["main"]
        == tags["header"]
        == tags["footer"]
        == tags["title"] - len(read.all("svg"))
        == 1
    )
    assert tags["caption"] == tags["table"]
    assert all(cell.get("scope") in ("row", "col") for cell in read.all("th"))
    assert all(chart["role"] == "img" for chart in read.all("svg"))
    # A baseline that is the winner as well has no gain to draw.
    assert tags["desc"] == tags["svg"] == (1 if name == "same prompt" else 2)
    ids = read.attributes("id")
    assert len(ids) == len(set(ids))
    assert {one for names in read.attributes("aria-labelledby") for one in names.split()} <= set(ids)


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_every_colour_of_text_stands_out_from_what_is_behind_it() -> None:
    style = Read(page(prompt())).style
    themes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", theme))
        for theme in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    coloured = [theme for theme in themes if "paper" in theme]
    assert len(coloured) == 2
    for theme in coloured:
        for text in ("ink", "soft", "accent"):
            assert contrast(theme[text], theme["paper"]) >= 4.5
            assert contrast(theme[text], theme["wash"]) >= 4.5


@pytest.mark.parametrize(
    ("values", "first", "last"),
    [
        pytest.param(
            {"value": 0.0, "lower": 0.0, "upper": 0.0}, "no difference", "+6.0", id="no difference at all"
        ),
        pytest.param(
            {"value": 1.0, "lower": 0.9, "upper": 1.0}, "no difference", "+100.0", id="all that is possible"
        ),
        pytest.param({"value": -1.0, "lower": -1.0, "upper": 1.0}, "-100.0", "+100.0", id="nothing is known"),
        pytest.param({"value": 0.004, "lower": -0.011, "upper": 0.019}, "-2.0", "+4.0", id="many examples"),
    ],
)
def test_the_axis_of_gains_holds_every_value_and_none(
    values: dict[str, float], first: str, last: str
) -> None:
    html = page(prompt(evidence(difference=values, difference_over_format=None)))
    chart = html[html.index('aria-labelledby="differences-title') :].partition("</svg>")[0]
    ticks = re.findall(r'class="tick"[^>]*>([^<]+)<', chart)
    assert (ticks[0], ticks[-1]) == (first, last)
    assert "no difference" in ticks
    places = [float(place) for place in re.findall(r'(?:x1|cx|x)="(-?[\d.]+)%"', chart)]
    assert all(0 <= place <= 100 for place in places)


def test_an_impossible_score_is_in_the_table_and_not_in_the_chart() -> None:
    found = evidence(test={"baseline": arm(0.6), "wording": arm(0.69), "winner": arm(7.0)})
    html = page(prompt(found))
    assert "7.000" in html
    assert html.partition("</svg>")[0].count("<circle") == 2


def test_the_same_prompt_gives_the_same_page_in_every_process() -> None:
    found = prompt(OPENED_AGAIN)
    program = "import sys; from optimizer.frozen import FrozenPrompt as F; from optimizer.report import page; print(page(F.loads(sys.stdin.read())), end='')"
    pages = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=found.dumps(),
            env={"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8", "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert pages == {page(found)}


def test_chance_is_told_of_losses_alone_on_slices_and_with_perturbed_inputs() -> None:
    """The test of a slice and of a perturbation asks for a loss; of a gain its p value is 1 and says nothing."""

    def told(value: float, p_value: float) -> dict[str, Any]:
        return {
            "value": value,
            "lower": value - 0.1,
            "upper": value + 0.1,
            "adjusted": p_value,
            "worse": False,
        }

    def shown_with(*gains: tuple[float, float]) -> str:
        scores = {name: {"n": 9, "score": 0.5, "lower": 0.2, "upper": 0.8} for name in ("baseline", "winner")}
        values = [
            {"value": f"v{k}", "scores": scores, "difference": told(*gain)} for k, gain in enumerate(gains)
        ]
        upset = {"n": 9, "clean": 0.5, "score": 0.5, "obedience": None}
        arms = {f"p{k}": {**upset, "difference": told(*gain)} for k, gain in enumerate(gains)}
        robustness = {"perturbations": list(arms), "baseline": arms, "winner": arms, "consistency": None}
        column = {"column": "kind", "values": values, "gaps": {}}
        return shown(evidence(slices=[column], robustness=robustness))

    both = shown_with((-0.3, 0.0421), (0.0, 0.987), (0.4, 0.987))
    assert both.count("p = 0.0421") == 3
    assert "p = 0.987" not in both
    assert both.count("how often chance alone would bring a loss as large as this") == 2
    assert "a difference as large as this, allowing" not in both
    assert "bring a loss as large" not in shown_with((0.0, 0.987), (0.4, 0.987))


def test_what_could_be_proven_is_told_of_the_examples_with_a_score_and_the_confidence_asked_of_them() -> None:
    def told(**changes: Any) -> str:
        found = re.search(r"The [^.]* can prove a gain of [^.]*\.\d points", shown(evidence(**changes)))
        return "" if found is None else found[0]

    def proven(n: int, level: float = 0.95) -> str:
        return f"The {n} test examples can prove a gain of {100 * smallest_provable_difference(n, level=level):.1f}"

    assert told().startswith("The 200 test examples can prove a gain of 8.2 points")  # as it was planned
    assert told(difference={"n": 120}).startswith(proven(120))
    assert told(difference={"level": 0.975}).startswith(proven(200, 0.975))
    # Of groups the sizes are not known.
    assert told(groups=50, difference={"n": 120}).startswith("The 200 test examples in 50 groups")
    assert told(groups=50, difference={"level": 0.975}) == ""
    assert told(difference={"n": 10**300}) == ""


def test_differences_by_a_stand_in_are_headed_by_its_name() -> None:
    scores = {"n": 30, "score": 0.7, "lower": 0.6, "upper": 0.8}
    loss = {
        "value": -0.1,
        "lower": -0.2,
        "upper": 0.1,
        "adjusted": 0.3,
        "p_value": 0.3,
        "n": 30,
        "worse": False,
    }
    value = {
        "value": "x",
        "scores": {"baseline": {**scores, "score": 0.6}, "winner": scores},
        "difference": loss,
    }
    column = {"column": "kind", "values": [value], "left_out": 0, "gaps": {}}
    asked = {"n": 30, "clean": 0.6, "score": 0.7, "difference": loss, "obedience": None}
    found = evidence(
        metric="macro_f1",
        slices=[column],
        robustness={
            "perturbations": ["typos"],
            "baseline": {"typos": asked},
            "winner": {"typos": asked},
            "consistency": {"repeats": 1, "n": 1, "share": 1.0},
        },
    )
    assert "difference in" not in shown(found)
    named = shown({**found, "stand_in": "labels_f1"})
    assert named.count("difference in labels_f1") == 2
    assert named.count("macro_f1 has no score of a single example") == 2
    assert "Asked again 1 more time, the winner gave one and the same answer to 100 % of 1 example." in named
    lines = "\n".join(evidence_lines({**found, "stand_in": "labels_f1"}))
    assert "difference in labels_f1" in lines
    assert "macro_f1 has no score of a single example" in lines


def test_a_baseline_that_is_the_winner_has_no_gain() -> None:
    found = {
        **SAME,
        "difference_over_guess": difference(value=-0.119),
        "guess": {"answer": "red", "score": 0.2},
    }
    for text in (shown(found), "\n".join(evidence_lines(found))):
        assert "guessed" not in text.casefold()
        assert "Gain of the new prompt" not in text
        assert "gain over" not in text


def test_other_measures_are_told_in_their_units() -> None:
    measured = {
        "cost": 0.00025, "output_tokens": 1.375, "refusal": 0.125, "strict": 0.5833, "answer_length": 1234.5,
        "accuracy": 0.8125, "own": 0.5,
    }  # fmt: skip
    test = {name: arm(0.6, metrics=measured) for name in ("baseline", "wording", "winner")}
    found = tables(prompt(evidence(test=test)), Teller(ENGLISH))["measures"]
    told = {row.cells[0]: row.cells[1] for row in found.rows}
    assert told == {
        "cost": "0.000250 US dollars",
        "output_tokens": "1.4 tokens",
        "refusal": "12.5 %",
        "strict": "58.3 %",
        "answer_length": "1234.5 characters",
        "accuracy": "0.812",
        "own": "0.500",
    }


def test_slices_that_begin_alike_are_told_apart_on_the_page() -> None:
    scores = {"n": 30, "score": 0.7, "lower": 0.6, "upper": 0.8}
    names = [f"{'x' * 30}{k}{'y' * 30}" for k in range(2)]
    values = [{"value": name, "scores": {"baseline": scores}, "difference": None} for name in names]
    gap = {"size": 0.1, "highest": names[0], "lowest": names[1], "adjusted": 0.5, "flagged": False}
    column = {"column": "kind", "values": values, "left_out": 0, "gaps": {"baseline": gap}}
    text = shown(evidence(slices=[column]))
    assert all(text.count(name) >= 2 for name in names)


def test_joiners_within_words_and_emoji_are_text() -> None:
    html = page(prompt(evidence(leaks=["می\u200cخواهم 👩\u200d🚀 \u202e"])))
    assert "می\u200cخواهم 👩\u200d🚀 \ufffd" in html
