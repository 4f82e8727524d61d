"""`diff`: how two prompts differ, and the laws of the differences of two texts."""

import os
import pty
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.commands import main
from optimizer.completion import Constraint
from optimizer.differences import (
    MessageDifference,
    edits,
    message_differences,
    reordering,
    setting_changes,
    words,
)
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

WORDS = st.lists(st.sampled_from(["a", "b", "c", " ", "\n", "."]), max_size=12)
FEW = settings(max_examples=60, deadline=None)


@FEW
@given(a=WORDS, b=WORDS)
def test_edits_make_up_both_texts_and_no_more(a: list[str], b: list[str]) -> None:
    found = edits(a, b)
    assert "".join(each.text for each in found if each.kind != "inserted") == "".join(a)
    assert "".join(each.text for each in found if each.kind != "deleted") == "".join(b)
    assert all(each.text for each in found)
    assert (a == b) == all(each.kind == "same" for each in found)
    kinds = [each.kind for each in found]
    assert all(kinds[k] != kinds[k + 1] for k in range(len(kinds) - 1))


PART = st.sampled_from(
    ["Name it. ", "Say which one, please.", Hole(name="input:text"), Hole(name="input:more")]
)
MESSAGE = st.builds(
    MessageTemplate,
    role=st.sampled_from(["system", "user", "assistant"]),
    parts=st.lists(PART, min_size=1, max_size=3).map(tuple),
)

if TYPE_CHECKING:
    from tests.parcels import document, optimizer
else:
    from parcels import document, optimizer

CALLS = st.lists(
    st.builds(CallTemplate, messages=st.lists(MESSAGE, min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=2,
)
TEMPLATES = st.builds(PromptTemplate, calls=CALLS.map(tuple), answer=st.just(AnswerFormat(kind="text")))


def made(found: tuple[MessageDifference, ...], without: str) -> list[tuple[int, str, str]]:
    """Return the messages of one side by call and role."""
    return [
        (each.call, each.role, "".join(edit.text for edit in each.edits if edit.kind != without))
        for each in found
        if {edit.kind for edit in each.edits} != {without}
    ]


def told(template: PromptTemplate) -> list[tuple[int, str, str]]:
    return [
        (number, message.role, "".join(words(message)))
        for number, call in enumerate(template.calls)
        for message in call.messages
    ]


@FEW
@given(a=TEMPLATES, b=TEMPLATES)
def test_the_differences_of_two_prompts_make_up_both(a: PromptTemplate, b: PromptTemplate) -> None:
    found = message_differences(a, b)
    assert made(found, "inserted") == told(a)
    assert made(found, "deleted") == told(b)
    assert any(each.differs for each in found) == (told(a) != told(b))


@FEW
@given(before=st.lists(st.integers(0, 9), unique=True), after=st.lists(st.integers(0, 9), unique=True))
def test_a_reordering_accounts_for_every_id(before: list[int], after: list[int]) -> None:
    a, b = [str(x) for x in before], [str(x) for x in after]
    found = reordering(a, b)
    assert set(found.removed) == set(a) - set(b)
    assert set(found.added) == set(b) - set(a)
    assert len(found.moved) + found.kept == len(set(a) & set(b))
    still = [x for x in b if x in a and x not in found.moved]
    assert still == [x for x in a if x in still]
    assert found.differs == (a != b)


def test_changed_words_are_told_as_the_phrases_they_are() -> None:
    before, after = (
        MessageTemplate(role="system", parts=(text, Hole(name="input:text", lead="Text: ")))
        for text in ("Route it to the right team.", "Route it to the best possible group.")
    )
    found = edits(words(before), words(after))
    assert [(each.kind, each.text) for each in found] == [
        ("same", "Route it to the "),
        ("deleted", "right team"),
        ("inserted", "best possible group"),
        ("same", ".Text: ‹input:text›"),
    ]


def test_every_setting_that_changes_is_told() -> None:
    message = MessageTemplate(role="user", parts=(Hole(name="input:text"),))
    plain = CallTemplate(messages=(message,), parameters=(("temperature", 0),))
    held = CallTemplate(
        messages=(message,), parameters=(("max_tokens", 5),), constraint=Constraint(choice=("a", "b"))
    )
    a = PromptTemplate(calls=(plain,), answer=AnswerFormat(kind="label", labels=("a", "b")))
    b = PromptTemplate(calls=(held, held), answer=AnswerFormat(kind="label", labels=("a",)))
    found = {each.name: (each.before, each.after) for each in setting_changes(a, b)}
    assert found["calls"] == (1, 2)
    assert found["temperature"] == (0, None)
    assert found["call 1 max_tokens"] == (None, 5)
    assert found["call 2 constraint"] == (None, {"choice": ["a", "b"]})
    assert found["reader labels"] == (["a", "b"], ["a"])
    assert setting_changes(a, a) == ()


def test_images_that_begin_alike_and_broken_control_tokens_are_told_apart() -> None:
    def prompt(*parts: str | Hole) -> PromptTemplate:
        call = CallTemplate(messages=(MessageTemplate(role="user", parts=parts),))
        return PromptTemplate(calls=(call,), answer=AnswerFormat(kind="text"))

    def image(end: str) -> Hole:
        return Hole(name=f"image:data:image/png;base64,{'A' * 200}{end}", image=True)

    one, same, other = (prompt(image(end), "What is it?", Hole(name="input:a")) for end in "xxy")
    assert not any(each.differs for each in message_differences(one, same))
    (told,) = message_differences(one, other)
    assert [edit.kind for edit in told.edits] == ["deleted", "inserted", "same"]
    assert all(len(edit.text) < 100 for edit in told.edits)
    tokens, more = ("<|x|>",), ("<|x|>", "<|y|>")
    bare, broken = prompt(Hole(name="input:a")), prompt(Hole(name="input:a", neutralise=tokens))
    (change,) = setting_changes(bare, broken)
    assert (change.name, change.before, change.after) == ("control tokens broken", None, ["<|x|>"])
    assert setting_changes(broken, broken) == ()
    pair = (Hole(name="input:a", neutralise=tokens), Hole(name="input:b", neutralise=more))
    (change,) = setting_changes(prompt(*pair), prompt(*(replace(hole, neutralise=tokens) for hole in pair)))
    assert change.before == {"input:a": ["<|x|>"], "input:b": ["<|x|>", "<|y|>"]}
    assert change.after == ["<|x|>"]


def test_two_trials_are_told_apart_by_all_they_differ_in(parcels: Path) -> None:
    found = document("diff", f"{parcels}#0", f"{parcels}#4")
    assert found["differ"]
    assert found["changes"]["instruction"] == {"a": "i0000", "b": "i0001"}
    assert found["changes"]["format"] == {"a": "plain", "b": "choice"}
    assert found["changes"]["constraint"]["b"] == {"choice": ["billing", "shipping", "returns"]}
    assert len(found["demonstrations"]["added"]) == 2
    assert found["demonstrations"]["removed"] == found["demonstrations"]["moved"] == []
    assert [each["role"] for each in found["messages"] if each["differs"]] == [
        "system",
        *["user", "assistant"] * 2,
    ]
    rows = {row["trial"]: row for row in FrozenPrompt.load(parcels / "prompt.json").history}
    gain = float(str(rows[4]["score"])) - float(str(rows[0]["score"]))
    assert found["difference"]["value"] == pytest.approx(gain)
    assert (found["difference"]["n"], found["difference"]["split"]) == (8, "validation")


def test_the_way_back_is_the_mirror_image(parcels: Path) -> None:
    there = document("diff", f"{parcels}#0", f"{parcels}#4")
    back = document("diff", f"{parcels}#4", f"{parcels}#0")
    assert back["demonstrations"]["removed"] == there["demonstrations"]["added"]
    assert back["difference"]["value"] == -there["difference"]["value"]
    assert (back["difference"]["lower"], back["difference"]["upper"]) == (
        -there["difference"]["upper"],
        -there["difference"]["lower"],
    )


def test_what_changed_is_readable_without_colour(parcels: Path) -> None:
    told = optimizer("diff", f"{parcels}#0", f"{parcels}#4")
    assert told.code == 0
    assert (
        "[-Route the-]{+Which team should answer this+} customer[-'s message to the right team.-]{+?+}"
        in told.out
    )
    assert "user, in B alone" in told.out
    assert "\x1b" not in told.out
    assert "+37.5 points" in told.out


def pieces(reader: int) -> Iterator[bytes]:
    """Yield what was written to a terminal that is closed: it arrives piece by piece, and then with an error or nothing."""
    with suppress(OSError):
        while piece := os.read(reader, 2**16):
            yield piece


@pytest.mark.parametrize("coloured", [True, False])
def test_on_a_terminal_it_is_coloured_unless_that_is_unwanted(
    parcels: Path, monkeypatch: pytest.MonkeyPatch, *, coloured: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not coloured:
        monkeypatch.setenv("NO_COLOR", "1")
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        patch.setattr(sys, "argv", ["optimizer", "diff", f"{parcels}#0", f"{parcels}#2"])
        with pytest.raises(SystemExit) as ended:
            main()
    shown = b"".join(pieces(reader)).decode()
    os.close(reader)
    assert ended.value.code == 0
    assert "[-Route the-]" in shown
    assert ("\x1b[31m" in shown) == coloured


def test_one_prompt_does_not_differ_from_itself(parcels: Path) -> None:
    # What was frozen is the baseline here.
    told = optimizer("diff", parcels, f"{parcels}#baseline", "--exit-code")
    assert told.code == 0
    assert "one and the same prompt" in told.out
    assert not document("diff", parcels / "prompt.json", parcels)["differ"]


def test_the_exit_code_says_whether_they_differ_if_that_is_wanted(parcels: Path) -> None:
    pair = (f"{parcels}#0", f"{parcels}#winner")
    assert optimizer("diff", *pair).code == 0
    assert optimizer("diff", *pair, "--exit-code").code == 1
    assert optimizer("diff", *pair, "--exit-code", "--json").code == 1


def test_frozen_prompts_are_compared_by_their_records(parcels: Path, tmp_path: Path) -> None:
    frozen = FrozenPrompt.load(parcels / "prompt.json")
    records: dict[str, Any] = dict(frozen.records or {})
    scores = [1.0 if k < 5 else score for k, score in enumerate(records["score"])]
    other = replace(frozen, records={**records, "score": scores}, style="another")
    (tmp_path / "a.json").write_text(frozen.dumps())
    (tmp_path / "b.json").write_text(other.dumps())
    found = document("diff", tmp_path / "a.json", tmp_path / "b.json")
    gain = (sum(scores) - sum(records["score"])) / len(scores)
    assert found["difference"]["value"] == pytest.approx(gain)
    assert found["changes"]["style"] == {"a": frozen.style, "b": "another"}
    mixed = document("diff", f"{parcels}#winner", tmp_path / "a.json")["difference"]
    assert (mixed["n"], mixed["split"]) == (24, "test")
    moved = replace(frozen, records={**records, "target": ["0" * 16] * len(scores)})
    (tmp_path / "b.json").write_text(moved.dumps())
    assert document("diff", tmp_path / "a.json", tmp_path / "b.json")["difference"] is None
    assert "nothing is known of which is better" in optimizer("diff", tmp_path / "a.json", f"{parcels}#4").out


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{}#77", "found '77'"),
        ("{}#winer", "did you mean 'winner'?"),
        ("{}/nowhere#1", "there is no such file"),
    ],
)
def test_a_prompt_that_is_not_there_is_told(parcels: Path, name: str, told: str) -> None:
    found = optimizer("diff", f"{parcels}#0", name.format(parcels))
    assert found.code == 2
    assert told in found.err


def test_a_hostile_prompt_only_shows(parcels: Path, tmp_path: Path) -> None:
    frozen = FrozenPrompt.load(parcels / "prompt.json")
    message = MessageTemplate(role="system", parts=("\x1b[2J\u202eevil {+x+}",))
    call = CallTemplate(messages=(message, *frozen.template.calls[0].messages[1:]))
    hostile = replace(frozen, style="\x1b[31m", template=replace(frozen.template, calls=(call,)))
    (tmp_path / "b.json").write_text(hostile.dumps())
    told = optimizer("diff", parcels, tmp_path / "b.json")
    assert told.code == 0
    assert "\x1b" not in told.out
    assert "\u202e" not in told.out
