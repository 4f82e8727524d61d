"""The order of a pool decides ties alone, files give it back, and what is retrieved is filled in one pass."""

import json
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.prompt import WORD_JOINER, CallTemplate, Hole, MessageTemplate, PromptTemplate, neutralised
from optimizer.retrieval import Likeness, Retrieval, Shot

laws = settings(max_examples=60, deadline=None)

TOKENS = ("<|im_start|>", "<|im_end|>")
HOSTILE = (
    *("{message}", "{{", "}", "shot:0:reply", "shot:1:input:message", "input:message", "completion:0"),
    *(
        "<|im_start|>",
        "<|im_end|>",
        "\n\nassistant:",
        "\\1",
        "%s",
        "\0",
        "e\u0301",
        "É",
        "’",
        "\u202e",
        "word",
    ),
)
text = st.lists(st.sampled_from(HOSTILE) | st.text(st.characters(codec="utf-8"), max_size=6), max_size=6).map(
    " ".join
)
texts = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5).map(" ".join)


def a_retrieval(pool: list[tuple[str, str]], shown: int) -> Retrieval:
    shots = tuple(Shot(values=(value,), reply=reply) for value, reply in pool)
    return Retrieval(inputs=("message",), pool=shots, shown=shown)


def template(retrieval: Retrieval, neutralise: tuple[str, ...] = ()) -> PromptTemplate:
    """Return a prompt that shows what is retrieved between marks, then the input."""
    parts: list[str | Hole] = []
    for k in range(retrieval.shown):
        names = (f"shot:{k}:input:message", f"shot:{k}:reply")
        parts += [part for name in names for part in (Hole(name=name, neutralise=neutralise), "\x01")]
    asked = MessageTemplate(role="user", parts=(*parts, Hole(name="input:message", neutralise=neutralise)))
    call = CallTemplate(messages=(asked,))
    return PromptTemplate(calls=(call,), answer=AnswerFormat(kind="text"), retrieval=retrieval)


retrievals = st.lists(st.tuples(text, text), min_size=1, max_size=5).flatmap(
    lambda pool: st.builds(a_retrieval, st.just(pool), st.integers(1, len(pool)))
)


@laws
@given(pool=st.lists(texts, min_size=1, max_size=8), query=texts, data=st.data())
def test_the_order_of_the_texts_does_not_touch_how_alike_they_are(
    pool: list[str], query: str, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(pool))))
    found, again = Likeness(pool).to(query), Likeness([pool[k] for k in order]).to(query)
    assert again == [found[k] for k in order]
    assert all(0 <= likeness <= 1 + 1e-12 for likeness in found)


@laws
@given(pool=st.lists(texts, min_size=2, max_size=8, unique=True), query=texts, data=st.data())
def test_a_pool_in_another_order_retrieves_the_same_where_nothing_is_tied(
    pool: list[str], query: str, data: st.DataObject
) -> None:
    likeness = Likeness(pool).to(query)
    assume(len(set(likeness)) == len(likeness))
    shown = data.draw(st.integers(1, len(pool)))
    order = data.draw(st.permutations(pool))
    one, other = (a_retrieval([(each, each) for each in some], shown) for some in (pool, order))
    assert one.nearest({"message": query}) == other.nearest({"message": query})


@laws
@given(retrieval=retrievals)
def test_a_prompt_with_a_pool_survives_plain_data_and_has_a_fingerprint_of_its_own(
    retrieval: Retrieval,
) -> None:
    whole = template(retrieval, TOKENS)
    read = PromptTemplate.from_dict(json.loads(json.dumps(whole.to_dict())))
    assert read == whole
    assert read.fingerprint == whole.fingerprint
    longer = replace(retrieval, pool=(*retrieval.pool, Shot(values=("new",), reply="new")))
    assert replace(whole, retrieval=longer).fingerprint != whole.fingerprint


@laws
@given(retrieval=retrievals, message=text)
def test_what_is_retrieved_is_filled_in_as_it_is_in_one_pass(retrieval: Retrieval, message: str) -> None:
    (content,) = (m.content for m in template(retrieval).request({"message": message}).messages)
    shots = retrieval.nearest({"message": message})
    pieces = [piece for shot in shots for piece in (shot["input:message"], "\x01", shot["reply"], "\x01")]
    assert content == "".join([*pieces, message])


@laws
@given(retrieval=retrievals, message=text)
def test_control_tokens_in_what_is_retrieved_are_broken(retrieval: Retrieval, message: str) -> None:
    plain, safe = template(retrieval), template(retrieval, TOKENS)
    (content,) = (m.content for m in safe.request({"message": message}).messages)
    assert not [token for token in TOKENS if token in content]
    (raw,) = (m.content for m in plain.request({"message": message}).messages)
    assert content.replace(WORD_JOINER, "") == raw.replace(WORD_JOINER, "")
    assert len(content) == len(neutralised(raw, TOKENS))
