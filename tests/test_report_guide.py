"""The guide: what it tells, that it is the same each time, and that text from data starts no markup in it."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from optimizer.answer import AnswerFormat
from optimizer.archive import open_archive
from optimizer.completion import Constraint, Request
from optimizer.frozen import FrozenPrompt
from optimizer.language import Language
from optimizer.plan import StudyPlan, load_plan
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.report._guide import guide
from optimizer.report._guide_prompt import prompt_section, use_section
from optimizer.report._markdown import block, code, plain, sentence, table
from optimizer.report._telling import Teller

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])

HOSTILE = (
    "<script>alert(1)</script> | `code` ``two`` **bold** [link](http://a.example) ![image](//b.example/x.png) "
    "www.c.example https://d.example mailto:e@f.example &lt; \\ $x$ ~~gone~~ {{ hole }} {n} <!-- --> @all #1 "
    "\u202eturned\u2028line\x1b[31m"
)
LINES = f"{HOSTILE}\n\n# Heading\n\n- item\n1. item\n> quote\n---\n```\nfence\n~~~~\n| a | b |\n| --- | --- |\n\t<div>"

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 8, validation: 16, test: 16}}
output: {type: text}
metric: exact_match
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [WORDING], compose: false}
  demos: {sizes: [0, 2], sets: 1, selectors: [random]}
  styles: [direct]
  formats: [plain, json]
  screen: 8
  sampler: {name: random_search, seed: 0}
budget: {calls: 700}
"""


def kinds(text: str) -> Counter[str]:
    """Return how many tokens of each kind a Markdown text has, those within lines included."""
    return Counter(token.type for token in tokens(text))


def tokens(text: str) -> Iterator[Token]:
    for token in PARSER.parse(text):
        yield token
        yield from token.children or ()


def squeezed(text: str) -> str:
    return " ".join(plain(text).split())


texts = st.text(alphabet="`|*_[]()<>!\\&#+-=.:/ab1 \n\t~@$^{}w\x00\u202e", max_size=40) | st.sampled_from(
    [HOSTILE, LINES]
)


@given(text=texts)
def test_a_sentence_is_one_paragraph_of_text_alone(text: str) -> None:
    told = kinds(f"- {sentence(text)}x")
    assert set(told) <= {
        *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
        *("paragraph_open", "paragraph_close", "inline", "text", "text_special"),
    }
    shown = "".join(
        token.content for token in tokens(f"- {sentence(text)}x") if token.type in ("text", "text_special")
    )
    assert shown == (f"{squeezed(text)}x")
    assert told["paragraph_open"] == 1


@given(text=texts)
def test_a_quote_is_one_piece_of_code_in_one_line(text: str) -> None:
    made = code(text, longest=10_000)
    found = [token for token in tokens(f"x {made} x") if token.type == "code_inline"]
    assert [token.content for token in found] == [squeezed(text) or " "]
    assert "\n" not in made
    assert len(code(text)) < 400


@given(text=texts)
def test_a_block_holds_its_lines_and_ends_where_it_ends(text: str) -> None:
    found = PARSER.parse(f"{block(text)}\n\nafter")
    assert [token.type for token in found] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert found[0].content == f"{plain(text)}\n"


@given(cells=st.lists(texts, min_size=2, max_size=2))
def test_a_cell_ends_no_row(cells: list[str]) -> None:
    made = table(["a", "b"], [[sentence(cells[0]), code(cells[1])]])
    assert kinds(made)["td_open"] == 2
    assert kinds(made)["tr_open"] == 2
    assert kinds(made)["html_inline"] == 0


def said(request: Request) -> str:
    """Answer right where JSON is asked for, but for one example in sixteen; else something hostile."""
    text = "\n".join(message.content for message in request.messages)
    number = int(re.findall(r"Item (\d+)", text)[-1])
    right = f"colour {number} | `x`"
    wanted = ("JSON" in text) == bool(number % 16)
    answer = right if wanted else HOSTILE
    return f'{{"colour": {_quoted(answer)}}}' if "JSON" in text else answer


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\x1b", "\\u001b") + '"'


@pytest.fixture
def study(write_study: Callable[..., Path], finished: Callable[..., Any]) -> tuple[StudyPlan, FrozenPrompt]:
    path = write_study(TASK, STUDY, ("WORDING", _quoted(LINES.replace("\n", " "))), items=40)
    rows = [f'c{n:02d},"Item {n} {LINES}",colour {n} | `x`\n' for n in range(40)]
    path.with_name("data.csv").write_text("id,text,colour\n" + "".join(rows), encoding="utf-8")
    plan = load_plan(path)
    return plan, finished(plan, said).selection.frozen


SECTIONS = {
    "en": (
        *("What works and what does not", "The prompt to ship", "How to use it", "Where it fails"),
        *("What was tried in vain", "Score against cost", "Open questions", "How this was measured"),
    ),
    "fr": (
        *(
            "Ce qui marche et ce qui ne marche pas",
            "Le prompt à livrer",
            "Comment l’utiliser",
            "Où il échoue",
        ),
        *(
            "Ce qui a été essayé en vain",
            "Le score face au coût",
            "Questions ouvertes",
            "Comment cela a été mesuré",
        ),
    ),
}


def test_a_hostile_study_is_told_as_text_in_both_languages(study: tuple[StudyPlan, FrozenPrompt]) -> None:
    plan, frozen = study
    for language, headings in SECTIONS.items():
        with open_archive(plan.database) as archive:
            told = guide(plan, frozen, archive, Language.of(language))
            assert told == guide(plan, frozen, archive, Language.of(language))
        found = list(tokens(told))
        shown = kinds(told)
        for kind in (
            "html_block",
            "html_inline",
            "link_open",
            "image",
            "s_open",
            "em_open",
            "hr",
            "blockquote_open",
        ):
            assert not shown[kind], kind
        assert not [
            token for token in found if token.type == "heading_open" and token.tag not in ("h1", "h2", "h3")
        ]
        titles = [
            found[k + 1].content for k, token in enumerate(found) if token.tag == "h2" and token.nesting == 1
        ]
        assert tuple(titles) == headings
        assert not re.search("[\u202e\u2028\x1b]", told)
        check_prompt_and_code(frozen, found)
        check_failures(plan, frozen, told)


def check_prompt_and_code(frozen: FrozenPrompt, found: list[Token]) -> None:
    """Check that the prompt stands in the guide whole, and that the code in it runs as far as code can."""
    fences = [token for token in found if token.type == "fence"]
    (python,) = [token.content for token in fences if token.info == "python"]
    compile(python, "guide", "exec")
    shown = [token.content.removesuffix("\n") for token in fences if token.info == "text"]
    messages = [message for call in frozen.template.calls for message in call.messages]
    assert len(shown) == len(messages)
    for text, message in zip(shown, messages, strict=True):
        literal = [plain(part) for part in message.parts if isinstance(part, str)]
        assert all(part in text for part in literal)


def check_failures(plan: StudyPlan, frozen: FrozenPrompt, told: str) -> None:
    """Check that every example that got worse is named, up to eight of them, against an independent count."""
    with open_archive(plan.database) as archive:
        mine = archive.scores[frozen.fingerprint]
        theirs = archive.scores[str(frozen.evidence["baseline_fingerprint"])]
    test = [example.id for example in plan.dataset.test]
    lost = [one for one in test if (theirs[one].score or 0) > (mine[one].score or 0)]
    assert lost
    listed = re.findall(r"^- `(c\d\d)`: `text`: `", told, re.MULTILINE)
    assert listed == sorted(lost)[:8]


def test_where_the_data_changed_since_no_example_is_told(study: tuple[StudyPlan, FrozenPrompt]) -> None:
    plan, frozen = study
    data = plan.folder / "data.csv"
    data.write_text(data.read_text(encoding="utf-8").replace("colour 1 |", "colour one |"), encoding="utf-8")
    changed = load_plan(plan.folder / "study.yaml")
    with open_archive(plan.database) as archive:
        told = guide(changed, frozen, archive, Language.of("en"))
    assert "since the study ran, the data have changed" in told
    assert not re.search(r"^- `c\d\d`", told, re.MULTILINE)


def prompts(*calls: CallTemplate) -> FrozenPrompt:
    """Return a frozen prompt of some calls, read as a label."""
    return FrozenPrompt(
        name="colours",
        template=PromptTemplate(calls=calls, answer=AnswerFormat(kind="label", labels=("red", "green"))),
        style="first_person",
        format="choice",
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "scripted", "name": "rules"},
        task={},
        evidence={},
        history=(),
        tool_versions={},
    )


ASKED = MessageTemplate(role="user", parts=(Hole(name="input:text"),))
BEGUN = MessageTemplate(role="assistant", parts=("I think this is",))
HELD = Constraint(choice=(" red", "green"))


@pytest.mark.parametrize(
    ("call", "constrained", "begun"),
    [
        pytest.param(CallTemplate(messages=(ASKED, BEGUN), constraint=HELD), True, True, id="both"),
        pytest.param(CallTemplate(messages=(ASKED,), constraint=HELD), True, False, id="a constraint"),
        pytest.param(CallTemplate(messages=(ASKED, BEGUN)), False, True, id="a beginning"),
        pytest.param(CallTemplate(messages=(ASKED,)), False, False, id="neither"),
    ],
)
def test_the_code_names_all_that_was_scored_beside_the_messages(
    call: CallTemplate, constrained: bool, begun: bool
) -> None:
    frozen, say = prompts(call), Teller(Language.of("en"))
    used, shown = ("\n\n".join(section(frozen, say)) for section in (use_section, prompt_section))
    (code_shown,) = [token.content for token in tokens(used) if token.type == "fence"]
    compile(code_shown, "guide", "exec")
    assert ("must hold the answer to request.constraint" in code_shown) == constrained
    assert ("the server must continue it" in code_shown) == begun
    assert ("which was never scored" in used) == constrained
    assert ("the beginning of the model's own turn: the server must continue it" in used) == begun
    assert ("the beginning of the model's own turn: the server must continue it" in shown) == begun
    # The space before a choice is part of it.
    assert ('must hold the answer to one of: `" red"`, `green`' in shown) == constrained


def test_of_two_calls_the_code_says_of_each_what_it_takes() -> None:
    frozen = prompts(CallTemplate(messages=(ASKED,)), CallTemplate(messages=(ASKED,), constraint=HELD))
    used = "\n\n".join(use_section(frozen, Teller(Language.of("en"))))
    first, _, second = used.partition("request = prompt.request(answer_1, **inputs)")
    assert "request.constraint" not in first
    assert "request.constraint" in second.partition("print(")[0]


def test_confusions_that_are_not_listed_are_counted(
    write_study: Callable[..., Path], finished: Callable[..., Any]
) -> None:
    labels = [f"k{n}" for n in range(12)]
    path = write_study(
        LABELS.replace('[red, green, "b|`l`ue"]', f"[{', '.join(labels)}]"),
        STUDY,
        ("WORDING", "Which colour is it?"),
        ("formats: [plain, json]", "formats: [plain]"),
        items=32,
    )
    rows = [f"c{n:02d},Item {n} is here,{labels[n % 12]},a\n" for n in range(32)]
    path.with_name("data.csv").write_text("id,text,colour,kind\n" + "".join(rows), encoding="utf-8")
    plan = load_plan(path)
    frozen = finished(plan, lambda _: "k0").selection.frozen
    with open_archive(plan.database) as archive:
        told = guide(plan, frozen, archive, Language.of("en"))
    targets = Counter(example.target for example in plan.dataset.validation if example.target != "k0")
    confused = {name: int(n) for name, n in re.findall(r"^- `(k\d+)` → `k0`: (\d+)$", told, re.MULTILINE)}
    assert len(confused) == 8
    left = sum(targets.values()) - sum(confused.values())
    assert f"\n\nAnd {len(targets) - 8} more, of {left} examples together.\n\n" in told
    assert f"\n\nAnd {sum(targets.values()) - 8} more.\n\n" in told  # examples that are not right


@pytest.mark.parametrize("kept", ["winner", "baseline"])
def test_slices_are_told_over_the_baseline_only_where_the_new_prompt_is_frozen(
    study: tuple[StudyPlan, FrozenPrompt], kept: str
) -> None:
    plan, frozen = study
    scores = {
        name: {"score": score, "lower": 0.1, "upper": 0.9, "n": 8}
        for name, score in (("baseline", 0.5), ("winner", 0.25))
    }
    loss = {"value": -0.25, "lower": -0.4, "upper": -0.1, "worse": True}
    slices = [{"column": "kind", "values": [{"value": "x", "scores": scores, "difference": loss}]}]
    told = dataclasses.replace(frozen, evidence={**frozen.evidence, "frozen": kept, "slices": slices})
    with open_archive(plan.database) as archive:
        text = guide(plan, told, archive, Language.of("en"))
    (row,) = [line for line in text.splitlines() if line.startswith("| `kind` = `x` |")]
    assert (" 0.250 " if kept == "winner" else " 0.500 ") in row
    new = kept == "winner"
    assert ("-25.0 points (worse)" in row.replace("\\", "")) == new
    assert row.count("|") == (5 if new else 4)
    assert ("over the baseline |" in text) == new


LABELS = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 8, validation: 24, test: 0}}
output: {type: label, labels: [red, green, "b|`l`ue"]}
metric: accuracy
slices: [kind]
instruction: Name the colour.
"""


def test_a_study_of_labels_without_a_test_is_told_by_slices_and_by_what_is_taken_for_what(
    write_study: Callable[..., Path], finished: Callable[..., Any]
) -> None:
    path = write_study(
        LABELS,
        STUDY,
        ("WORDING", "Which colour is it?"),
        ("formats: [plain, json]", "formats: [plain]"),
        items=32,
    )
    rows = [
        f"c{n:02d},Item {n} is here,{('red', 'green', 'b|`l`ue')[n % 3]},<b>{n % 2}</b> | x\n"
        for n in range(32)
    ]
    path.with_name("data.csv").write_text("id,text,colour,kind\n" + "".join(rows), encoding="utf-8")
    plan = load_plan(path)
    frozen = finished(plan, lambda _: "red").selection.frozen
    with open_archive(plan.database) as archive:
        told = guide(plan, frozen, archive, Language.of("en"))
    assert "Of 24 validation examples 16 are not right with it." in told
    assert "- ``b|`l`ue`` → `red`: 8" in told
    assert "| `kind` = `<b>0</b> \\| x` |" in told
    assert (
        "- Caution: the baseline never answers “green”, “b\\|\\`l\\`ue”, which would be right for 16 of 24"
        in told
    )
    assert "| “red” | 8 | 8 | 24 |" in told
    assert "These are test examples" not in told
    assert "Examples that are not right:" in told
    assert not kinds(told)["html_inline"]
