"""What every reasoning style keeps to, in each of its languages and in every format that can lay it out."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace

import pytest

from optimizer.formats import FORMATS, Draft
from optimizer.prompt import Hole, PromptTemplate
from optimizer.styles import STYLES, ReasoningStyle
from optimizer.taskfile import OutputType

LANGUAGES = ("en", "fr")
OUTPUTS: tuple[OutputType, ...] = ("label", "text", "number")

each = pytest.mark.parametrize("name", list(STYLES))
spoken = pytest.mark.parametrize(
    "style",
    [
        pytest.param(STYLES[name].in_language(language), id=f"{name}-{language}")
        for name in STYLES
        for language in LANGUAGES
    ],
)

MakeDraft = Callable[..., Draft]


def renderings(
    style: ReasoningStyle, make_draft: MakeDraft, output: OutputType = "label"
) -> Iterator[tuple[str, PromptTemplate]]:
    """Yield the style in every format that can lay it out."""
    draft = make_draft(style, output=output)
    for name in FORMATS:
        layout = FORMATS[name]
        if layout.misfit(draft.task, style) is None:
            yield name, layout.render(draft)


def literals(template: PromptTemplate) -> str:
    """Return the literal text of all calls, one part a line."""
    messages = (message for call in template.calls for message in call.messages)
    return "\n".join(part for message in messages for part in message.parts if isinstance(part, str))


def names(parts: Sequence[str | Hole]) -> list[str]:
    """Return the names of the holes among the parts of a message, in their order."""
    return [part.name for part in parts if isinstance(part, Hole)]


@each
def test_a_style_is_data(name: str) -> None:
    style = STYLES[name]
    assert type(style) is ReasoningStyle
    for words in (style, *style.translations.values()):
        values = [getattr(words, field.name) for field in fields(words) if field.name != "translations"]
        assert {type(value) for value in values} <= {str, int, tuple}
        assert {type(turn) for turn in words.follow_ups} <= {str}
    assert isinstance(hash(style), int)


@each
def test_a_style_with_words_has_them_in_every_language_of_the_project(name: str) -> None:
    style = STYLES[name]
    assert all(style.speaks(language) for language in LANGUAGES)
    spoken = [style.in_language(language) for language in LANGUAGES]
    assert len({one.follow_ups for one in spoken}) == (len(LANGUAGES) if style.follow_ups else 1)
    for words in ("request", "field_request", "opener", "marker"):
        texts = {getattr(one, words) for one in spoken}
        assert len(texts) == (len(LANGUAGES) if getattr(style, words) else 1)


@each
def test_a_translation_has_at_least_the_room_of_the_english_words(name: str) -> None:
    style = STYLES[name]
    # French takes about 1.15 times the bytes of English, and a token of it has three bytes where English has four.
    assert style.in_language("fr").reasoning_tokens == style.reasoning_tokens * 3 // 2


@spoken
def test_a_call_that_reasons_has_room_to_and_one_that_does_not_has_none(style: ReasoningStyle) -> None:
    if style.reasons_while_answering:
        assert style.reasoning_tokens > 0
    if style.reasoning_tokens:
        assert style.reasons_while_answering or style.follow_ups


@spoken
def test_what_introduces_the_answer_is_asked_for_to_the_letter_and_last(style: ReasoningStyle) -> None:
    if style.marker:
        asked = (style.request, *style.follow_ups)[-1]
        assert re.findall(r'(?:"|« )(.+?)(?:"| »)\.$', asked) == [style.marker]
        assert style.marker not in style.field_request


@spoken
def test_a_style_can_be_laid_out_by_some_format(style: ReasoningStyle, make_draft: MakeDraft) -> None:
    assert list(renderings(style, make_draft)) != []


@spoken
def test_a_style_takes_as_many_calls_as_it_says(style: ReasoningStyle, make_draft: MakeDraft) -> None:
    assert style.n_calls == 1 + len(style.follow_ups)
    assert {len(template.calls) for _, template in renderings(style, make_draft)} == {style.n_calls}


@spoken
def test_the_words_of_a_style_are_shown_as_they_are(style: ReasoningStyle, make_draft: MakeDraft) -> None:
    for _, template in renderings(style, make_draft):
        text = literals(template)
        # A format that has a field for the reasoning introduces the answer in its own way.
        own_way = style.reasons_while_answering and template.answer.marker != style.marker
        shown, not_shown = style.request, style.field_request
        if own_way:
            shown, not_shown = not_shown, shown
        assert shown in text
        assert not not_shown or not_shown not in text
        assert style.opener in text
        assert all(turn in text for turn in style.follow_ups)


@spoken
def test_an_opener_starts_the_models_own_first_turn(style: ReasoningStyle, make_draft: MakeDraft) -> None:
    for _, template in renderings(style, make_draft):
        first, *later = [call.messages[-1] for call in template.calls]
        assert (first.role == "assistant") == bool(style.opener)
        assert first.role != "assistant" or first.parts == (style.opener,)
        assert {message.role for message in later} <= {"user"}


@spoken
def test_an_earlier_turn_is_the_opener_and_what_the_model_made_of_it(
    style: ReasoningStyle, make_draft: MakeDraft
) -> None:
    for _, template in renderings(style, make_draft):
        for call in template.calls[1:]:
            turn = next(one for one in call.messages if "completion:0" in names(one.parts))
            *opening, said = turn.parts
            assert turn.role == "assistant"
            assert opening == ([style.opener] if style.opener else [])
            assert names([said]) == ["completion:0"]


@spoken
def test_every_input_is_shown_exactly_once_in_every_call(
    style: ReasoningStyle, make_draft: MakeDraft
) -> None:
    inputs = [f"input:{name}" for name in make_draft(style).task.inputs]
    for _, template in renderings(style, make_draft):
        for n, call in enumerate(template.calls):
            holes = names([part for message in call.messages for part in message.parts])
            assert holes == [*inputs, *(f"completion:{k}" for k in range(n))]


@spoken
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("reasoning", ["", "Billing or order: 12, hence so."])
def test_a_demonstration_is_read_as_its_target_in_every_format(
    style: ReasoningStyle, output: OutputType, reasoning: str, make_draft: MakeDraft
) -> None:
    draft = make_draft(style, output=output)
    sets = draft.candidate.demonstrations
    shots = tuple(replace(shot, reasoning=reasoning) for shot in sets.demonstrations)
    # Where demonstrations are retrieved, their replies are told one by one.
    shown = replace(sets, demonstrations=shots, retrieved=len(shots))
    draft = replace(draft, candidate=replace(draft.candidate, demonstrations=shown))
    for name in FORMATS:
        if FORMATS[name].misfit(draft.task, style) is not None:
            continue
        template = FORMATS[name].render(draft)
        assert template.retrieval is not None
        for shot, held in zip(shots, template.retrieval.pool, strict=True):
            # What a provider hands on is the text after the model's own first words.
            answer = template.answer.read(held.reply.removeprefix(f"{style.opener} "))
            assert (answer.text, answer.outcome) == (shot.target, "ok")


@spoken
def test_reasoning_gets_room_on_top_of_the_bound_for_the_answer(
    style: ReasoningStyle, make_draft: MakeDraft
) -> None:
    asked = [style.reasoning_tokens] * len(style.follow_ups)
    asked.append(style.reasoning_tokens if style.reasons_while_answering else 0)
    for name, template in renderings(style, make_draft):
        bounds = [int(dict(call.parameters)["max_tokens"]) for call in template.calls]
        # A format may have room for a frame around the answer as well, the same in every call.
        others = {bound - reasoning for bound, reasoning in zip(bounds, asked, strict=True)}
        assert len(others) == 1
        assert min(others) >= 16
        assert name != "plain" or others == {16}
