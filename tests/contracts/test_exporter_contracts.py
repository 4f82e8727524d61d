"""What every exporter keeps to: the same bytes, and the very messages or a refusal with the reason."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint
from optimizer.dataset import Example
from optimizer.errors import InputError
from optimizer.exporters import (
    CONDITIONAL,
    ESSENTIAL,
    EXPORTERS,
    LossyExportError,
    Shipment,
    Wording,
    features,
)
from optimizer.exporting import Export, carriers, export
from optimizer.formats import FORMATS, Draft
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.retrieval import Retrieval, Shot
from optimizer.styles import ReasoningStyle
from optimizer.taskfile import OutputType

Pair = tuple[str, ReasoningStyle, OutputType]
MakeFrozen = Callable[[PromptTemplate], FrozenPrompt]

each = pytest.mark.parametrize("name", list(EXPORTERS))

READER = AnswerFormat(kind="text")
TURN = MessageTemplate(role="assistant", parts=("I think",))

# A process for each export takes long; those formats have tests that run many prompts in one.
SLOW = {"python_module"}

# Pieces that the syntax of some format is made of, and that it has to carry as they are.
PIECES = (
    "{{", "}}", "{", "}", "{%", "%}", "{#", "#}", "{{a}}", "{a}", "{{ b }}", "{{{{raw}}}}", "${a}", "$a", "\\", "\\{{", '"',
    "'", "`", "---", "+++", "system:", "user:", "# User", "<<<dotprompt:role:system>>>", '{{role "system"}}', "file://a",
    "\n", "\n\n", "\r", "\u2028", "\x85", "\t", " ", "<b>", "&amp;", "é", "😀", "a", "b", "null", "#", ":", "- ", "|", ">",
)  # fmt: skip
HOSTILE = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(codec="utf-8"), max_size=4), max_size=6
).map("".join)


def one_call(*parts: str | Hole, constraint: Constraint | None = None) -> PromptTemplate:
    messages = (MessageTemplate(role="system", parts=("Obey.",)), MessageTemplate(role="user", parts=parts))
    call = CallTemplate(messages=messages, parameters=(("temperature", 0.5),), constraint=constraint)
    return PromptTemplate(calls=(call,), answer=READER)


def exported(frozen: FrozenPrompt, name: str, *, allow_lossy: bool = False) -> Export:
    """Return what is written with two rows at hand, and with what the prompt was made of."""
    rows = [
        Example(id=f"r{n}", inputs=tuple((name, text) for name in frozen.inputs), target="x", group=None)
        for n, text in enumerate(("plain", 'a "b" {c}\nd'))
    ]
    wording = Wording(instruction="Obey.", demonstrations=(), targets=("answer",))
    return export(frozen, name, rows, wording=wording, allow_lossy=allow_lossy)


def carried(frozen: FrozenPrompt, name: str, *, allow_lossy: bool = False) -> Export | None:
    """Return what was written, or None where it was refused with a reason."""
    try:
        return exported(frozen, name, allow_lossy=allow_lossy)
    except LossyExportError:
        return None


@pytest.fixture
def frozen(pair: Pair, make_draft: Callable[..., Draft], make_frozen: MakeFrozen) -> FrozenPrompt:
    """Every style in every format, frozen."""
    layout, style, output = pair
    return make_frozen(FORMATS[layout].render(make_draft(style, output=output)))


@pytest.mark.parametrize(
    ("evidence", "score"),
    [
        ({}, None),
        ({"baseline_fingerprint": "it", "winner_fingerprint": "other"}, 0.25),
        ({"baseline_fingerprint": "other", "winner_fingerprint": "it"}, 0.75),
        ({"baseline_fingerprint": "it", "winner_fingerprint": "it"}, 0.25),
        ({"baseline_fingerprint": "other", "winner_fingerprint": "another"}, None),
        ({"frozen": "winner"}, 0.75),
        ({"frozen": "front", "winner_fingerprint": "other"}, None),
    ],
)
def test_the_score_that_is_stated_is_that_of_the_prompt_which_was_frozen(
    make_frozen: MakeFrozen, evidence: dict[str, object], score: float | None
) -> None:
    frozen = make_frozen(one_call("Name the colour."))
    found = {name: frozen.fingerprint if value == "it" else value for name, value in evidence.items()}
    found["test"] = {"baseline": {"score": 0.25, "n": 40}, "winner": {"score": 0.75, "n": 40}}
    provenance = Shipment(frozen=replace(frozen, evidence=found)).provenance
    assert provenance.get("test") == (
        None if score is None else {"score": score, "lower": None, "upper": None, "n": 40}
    )


@each
def test_a_suffix_tells_the_format(name: str) -> None:
    suffixes = [EXPORTERS[other].suffix for other in EXPORTERS]
    assert re.fullmatch(r"(\.\w+)+", EXPORTERS[name].suffix)
    assert suffixes.count(EXPORTERS[name].suffix) == 1


@each
def test_messages_can_be_had_from_what_is_written(name: str) -> None:
    found = EXPORTERS[name]
    assert found.structural or found.read or found.render


def test_every_format_carries_every_prompt_or_says_why_not(frozen: FrozenPrompt) -> None:
    asked, able = features(frozen), carriers(frozen)
    for name in EXPORTERS:
        if name in SLOW and int(frozen.fingerprint[:2], 16) % 16:
            continue
        lacking = [asked[each] for each in asked if each not in EXPORTERS[name].carries | set(CONDITIONAL)]
        if name in able or (EXPORTERS[name].structural and not lacking):
            found = exported(frozen, name)
            assert found.losses == ()
            assert found.n_cases > 100 or EXPORTERS[name].structural or EXPORTERS[name].of_rows
            assert all(text.endswith("\n") for text in found.texts)
            assert not EXPORTERS[name].suffix.endswith(".json") or isinstance(
                json.loads(found.texts[0]), dict
            )
            continue
        with pytest.raises(LossyExportError) as caught:
            exported(frozen, name)
        assert all(reason in str(caught.value) for reason in lacking)
        assert f"formats that can carry it: {', '.join(able)}" in str(caught.value)


@each
def test_the_same_prompt_is_the_same_bytes(name: str, make_frozen: MakeFrozen) -> None:
    frozen = make_frozen(one_call("Text: ", Hole(name="input:b"), " or ", Hole(name="input:a")))
    assert exported(frozen, name) == exported(frozen, name)


def test_the_native_file_carries_everything(frozen: FrozenPrompt) -> None:
    read = FrozenPrompt.loads(export(frozen, "native").texts[0])
    assert read == frozen
    assert read.fingerprint == frozen.fingerprint


@each
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(literals=st.lists(HOSTILE, min_size=3, max_size=3))
def test_hostile_words_are_carried_exactly_or_refused(
    name: str, literals: list[str], make_frozen: MakeFrozen
) -> None:
    if name in SLOW and sum(map(len, literals)) % 8:
        return
    first, second = Hole(name="input:a"), Hole(name="input:b")
    frozen = make_frozen(one_call(literals[0], first, literals[1], second, literals[2]))
    found = carried(frozen, name)
    assert found is None or found.losses == ()


@each
def test_what_is_no_such_file_is_said_to_be_none(name: str) -> None:
    read = EXPORTERS[name].read
    if read is None:
        return
    for text in ("\x00", "{", "[]", "{}", "null", '{"messages": 3}', "---\n: [", "[" * 100_000):
        try:
            read(text, ("a",))
        except (ValueError, InputError):
            continue
        except RecursionError:
            pytest.fail(f"{name} recurses on {text[:20]!r}")


CASES = {
    "calls": PromptTemplate(calls=(one_call("a").calls[0], one_call("b").calls[0]), answer=READER),
    "prefill": PromptTemplate(
        calls=(CallTemplate(messages=(*one_call("a").calls[0].messages, TURN)),), answer=READER
    ),
    "choice": one_call("a", constraint=Constraint(choice=("a", "b"))),
    "json_schema": one_call("a", constraint=Constraint(json_schema='{"type":"object"}')),
    "images": one_call("See ", Hole(name="input:a", image=True)),
    "retrieval": replace(
        one_call(Hole(name="shot:0:reply"), Hole(name="input:a")),
        retrieval=Retrieval(inputs=("a",), pool=(Shot(values=("x",), reply="1"),), shown=1),
    ),
}


@each
@pytest.mark.parametrize("feature", list(CASES))
def test_what_a_format_has_no_words_for_is_refused_and_only_lost_on_purpose(
    name: str, feature: str, make_frozen: MakeFrozen
) -> None:
    frozen = scored(make_frozen(CASES[feature]))
    assert list(features(frozen)) == [feature]
    if feature in EXPORTERS[name].carries:
        assert exported(frozen, name).losses == ()
        return
    with pytest.raises(LossyExportError) as caught:
        exported(frozen, name)
    assert f"{name} has no words for" in str(caught.value)
    assert caught.value.exit_code == 2
    of_rows = EXPORTERS[name].of_rows
    assert ("--allow-lossy" in str(caught.value)) == (feature not in ESSENTIAL and not of_rows)
    lossy = carried(frozen, name, allow_lossy=True)
    if feature in ESSENTIAL or of_rows:  # rows have no place for the record
        assert lossy is None
        return
    assert lossy is not None
    assert any(f"{name} has no words for" in loss for loss in lossy.losses)
    shipment = Shipment(frozen=frozen, losses=lossy.losses)
    assert shipment.provenance["lossy"] == list(lossy.losses)
    # Answers of what is left were never scored.
    assert not any(SCORE in text for text in lossy.texts)


SCORE = "0.4375"


def scored(frozen: FrozenPrompt) -> FrozenPrompt:
    """Return a prompt with a score on the test that is found again in any text."""
    return replace(
        frozen, evidence={"frozen": "winner", "test": {"winner": {"score": float(SCORE), "n": 64}}}
    )


@each
def test_only_a_file_of_the_words_that_were_scored_states_their_score(
    name: str, make_frozen: MakeFrozen
) -> None:
    found = exported(scored(make_frozen(one_call("Text: ", Hole(name="input:a")))), name)
    stated = any(SCORE[:5] in text for text in found.texts)
    # A dotprompt, a prompty and a promptfoo carry it in their provenance; lines of requests have no place for it.
    assert stated == (not EXPORTERS[name].structural and not EXPORTERS[name].of_rows)


@each
def test_inputs_that_would_not_be_what_was_scored_are_told_beforehand(
    name: str, make_frozen: MakeFrozen
) -> None:
    hole = Hole(name="input:a", neutralise=("<|im_start|>", "<|im_end|>"), lead="Context: ", tail=".\n")
    found = carried(make_frozen(one_call("Text: ", hole)), name)
    told = "; ".join(found.preconditions) if found else ""
    for feature, words in (
        ("neutralise", "no input contains a control token of the model: <|im_end|> <|im_start|>"),
        ("optional", "no optional input is empty: a"),
    ):
        assert found is None or (words in told) == (feature not in EXPORTERS[name].carries)
    plain = carried(make_frozen(one_call("Text: ", Hole(name="input:a"))), name)
    assert plain is not None
