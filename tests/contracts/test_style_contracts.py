"""What every reasoning style keeps to, in every format that can lay it out."""

from collections.abc import Callable, Iterator
from dataclasses import fields

import pytest

from optimizer.formats import FORMATS, Draft
from optimizer.prompt import Hole, PromptTemplate
from optimizer.styles import STYLES, ReasoningStyle

each = pytest.mark.parametrize("name", list(STYLES))

MakeDraft = Callable[..., Draft]


def renderings(style: ReasoningStyle, make_draft: MakeDraft) -> Iterator[tuple[str, PromptTemplate]]:
    """Yield the style in every format that can lay it out."""
    draft = make_draft(style)
    for name in FORMATS:
        layout = FORMATS[name]
        if layout.misfit(draft.task, style) is None:
            yield name, layout.render(draft)


def literals(template: PromptTemplate) -> str:
    """Return the literal text of all calls, one part a line."""
    messages = (message for call in template.calls for message in call.messages)
    return "\n".join(part for message in messages for part in message.parts if isinstance(part, str))


@each
def test_a_style_is_data(name: str) -> None:
    style = STYLES[name]
    assert type(style) is ReasoningStyle
    values = [getattr(style, field.name) for field in fields(style)]
    assert {type(value) for value in values} <= {str, int, tuple}
    assert {type(turn) for turn in style.follow_ups} <= {str}
    assert style.reasoning_tokens >= 0


@each
def test_a_style_can_be_laid_out_by_some_format(name: str, make_draft: MakeDraft) -> None:
    assert list(renderings(STYLES[name], make_draft)) != []


@each
def test_a_style_takes_as_many_calls_as_it_says(name: str, make_draft: MakeDraft) -> None:
    style = STYLES[name]
    assert style.n_calls == 1 + len(style.follow_ups)
    assert {len(template.calls) for _, template in renderings(style, make_draft)} == {style.n_calls}


@each
def test_the_words_of_a_style_are_shown_as_they_are(name: str, make_draft: MakeDraft) -> None:
    style = STYLES[name]
    for _, template in renderings(style, make_draft):
        text = literals(template)
        # Where the format has a field for the reasoning, its words take the place of the style's.
        own_words = bool(template.answer.field) and style.reasons_while_answering
        assert own_words or style.request in text
        assert style.opener in text
        assert all(turn in text for turn in style.follow_ups)


@each
def test_an_opener_starts_the_models_own_first_turn(name: str, make_draft: MakeDraft) -> None:
    style = STYLES[name]
    for _, template in renderings(style, make_draft):
        first, *later = [call.messages[-1] for call in template.calls]
        assert (first.role == "assistant") == bool(style.opener)
        assert first.role != "assistant" or first.parts == (style.opener,)
        assert {message.role for message in later} <= {"user"}


@each
def test_an_earlier_turn_is_the_opener_and_what_the_model_made_of_it(
    name: str, make_draft: MakeDraft
) -> None:
    style = STYLES[name]
    for _, template in renderings(style, make_draft):
        for call in template.calls[1:]:
            turn = next(one for one in call.messages if Hole(name="completion:0") in one.parts)
            opening = (style.opener,) if style.opener else ()
            assert turn.role == "assistant"
            assert turn.parts == (*opening, Hole(name="completion:0"))


@each
def test_reasoning_gets_room_on_top_of_the_bound_for_the_answer(name: str, make_draft: MakeDraft) -> None:
    style = STYLES[name]
    for _, template in renderings(style, make_draft):
        bounds = [dict(call.parameters)["max_tokens"] for call in template.calls]
        answering = 16 + style.reasoning_tokens * style.reasons_while_answering
        assert bounds == [*[16 + style.reasoning_tokens] * len(style.follow_ups), answering]
