"""The search space: wordings, exclusions, baseline, size, and points that are candidates."""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from optimizer.candidate import Candidate, Demonstration, DemonstrationSet, Instruction, Parameter
from optimizer.completion import CAPABILITIES, Capabilities
from optimizer.composition import compose, parts_of
from optimizer.document import Located
from optimizer.prompt import CallTemplate, Hole, MessageTemplate
from optimizer.space import NO_DEMONSTRATIONS, Exclusion, SearchSpace, needed_capabilities
from optimizer.task import Task
from optimizer.taskfile import DatasetSpec, OutputType, Splits

EVERYTHING = Capabilities(can=frozenset(CAPABILITIES))
ROLE = "You are a careful assistant who follows the instructions exactly."


def make_task(output: OutputType = "label", descriptions: tuple[str, ...] = ("", "")) -> Task:
    labels = ("billing", "shipping") if output == "label" else ()
    return Task(
        name="triage",
        version="1.0",
        description="",
        language="en",
        inputs=("message",),
        target="right_team",
        output=output,
        labels=labels,
        label_descriptions=descriptions if output == "label" else (),
        metric="exact_match",
        metrics=(),
        instruction="Route the message.",
        dataset=DatasetSpec(
            inputs=("message",), target="right_team", splits=Splits(train=1, validation=1, test=1)
        ),
        paths=(Path("triage.jsonl"),),
        source=Located(value={"name": "triage"}, file="triage.yaml", marks={}),
    )


def shown(number: int, *targets: str) -> DemonstrationSet:
    shots = tuple(
        Demonstration(example_id=f"e{number}-{n}", inputs=(("message", f"text {n}"),), target=target)
        for n, target in enumerate(targets)
    )
    return DemonstrationSet(id=f"d{number:04d}", demonstrations=shots, selector="random")


def make_space(
    *,
    styles: tuple[str, ...] = ("direct", "first_person"),
    formats: tuple[str, ...] = ("plain", "json", "choice"),
    capabilities: Capabilities = EVERYTHING,
    parameters: Mapping[str, tuple[Parameter, ...]] | None = None,
) -> SearchSpace:
    task = make_task()
    return SearchSpace(
        task=task,
        instructions=compose(task, ("Who should answer?",), slots=False),
        demonstration_sets=(NO_DEMONSTRATIONS, shown(1, "billing"), shown(2, "shipping", "billing")),
        styles=styles,
        formats=formats,
        model_parameters={"temperature": 0.0, "max_tokens": 16},
        parameters=parameters or {},
        capabilities=capabilities,
    )


def points(space: SearchSpace) -> list[dict[str, Parameter]]:
    combinations = itertools.product(*space.choices.values())
    return [dict(zip(space.choices, values, strict=True)) for values in combinations]


def test_without_slots_the_wordings_are_the_tasks_own_and_the_given_ones() -> None:
    found = compose(make_task(), (" Who? ", "Route the message.", "Who?"), slots=False)
    assert found == (
        Instruction(id="i0000", text="Route the message.", origin="given"),
        Instruction(id="i0001", text="Who?", origin="given"),
    )


def test_compositions_of_one_statement_have_it_and_every_equal_slot_in_common() -> None:
    wordings = compose(make_task(descriptions=("money", "parcels")), ("Who?",), slots=True)
    by_text = {one.text: one for one in wordings}
    plain, given_ = by_text["Route the message."], by_text["Who?"]
    assert parts_of(plain) == {"statement": plain.id, "role": "", "labels": "", "rule": ""}
    parts = {one.id: parts_of(one) for one in wordings}
    assert {found["statement"] for found in parts.values()} == {plain.id, given_.id}
    assert Counter(found["labels"] for found in parts.values()) == {"": 8, "labels": 8, "descriptions": 8}
    assert len({tuple(found.values()) for found in parts.values()}) == len(wordings)
    described = next(one for one in wordings if one.slots == ("role", "descriptions", "rule"))
    assert described.text.startswith(
        f"{ROLE} Route the message. The possible values of right team are:\n- billing: money"
    )
    assert parts_of(described) | {"statement": ""} == {
        "statement": "",
        "role": "role",
        "labels": "descriptions",
        "rule": "rule",
    }


def test_what_candidates_have_in_common_is_told_slot_by_slot() -> None:
    space = replace(make_space(), instructions=compose(make_task(), ("Who?",), slots=True))
    drawn = space.draw(Random(1), 40)
    traits = [space.traits(point) for point in drawn]
    for point, found in zip(drawn, traits, strict=True):
        kept = {name: str(value) for name, value in point.items() if name != "instruction"}
        parts = parts_of(space.candidate(point).instruction)
        assert found == {**kept, **parts}
    assert len({found["statement"] for found in traits}) == 2
    assert len({point["instruction"] for point in drawn}) > 8


def test_slots_are_combined_in_a_fixed_order_with_every_parent() -> None:
    found = compose(make_task(), ("Who?",), slots=True)
    listed = "The possible values of right team are: billing, shipping."
    rule = "Answer with one of billing, shipping and nothing else."
    assert [one.text for one in found[:9]] == [
        "Route the message.",
        "Who?",
        f"Route the message. {rule}",
        f"Route the message. {listed}",
        f"Route the message. {listed} {rule}",
        f"{ROLE} Route the message.",
        f"{ROLE} Route the message. {rule}",
        f"{ROLE} Route the message. {listed}",
        f"{ROLE} Route the message. {listed} {rule}",
    ]
    assert len(found) == 2 * (2 * 2 * 2)
    assert found[2] == Instruction(
        id="i0002", text=f"Route the message. {rule}", origin="composed", parents=("i0000",), slots=("rule",)
    )
    assert found[8].slots == ("role", "labels", "rule")
    assert {one.parents for one in found[9:]} == {("i0001",)}


def test_described_labels_are_a_slot_of_their_own() -> None:
    found = compose(make_task(descriptions=("money", "")), (), slots=True)
    assert len(found) == 2 * 3 * 2
    assert any("- billing: money\n- shipping\n" in one.text for one in found)


@pytest.mark.parametrize(
    ("output", "rule"),
    [
        ("number", "Answer with the number and nothing else."),
        ("text", "Give the answer and nothing else."),
    ],
)
def test_without_labels_there_are_a_role_and_a_rule(output: OutputType, rule: str) -> None:
    texts = [one.text for one in compose(make_task(output), (), slots=True)]
    assert texts == [
        "Route the message.",
        f"Route the message. {rule}",
        f"{ROLE} Route the message.",
        f"{ROLE} Route the message. {rule}",
    ]


def test_the_compositions_of_a_french_task_are_french() -> None:
    french = replace(
        make_task(descriptions=("argent", "")), language="fr-CA", instruction="Classez le message."
    )
    texts = [one.text for one in compose(french, (), slots=True)]
    role = "Vous êtes un assistant attentif qui suit les consignes à la lettre."
    rule = "Répondez uniquement par une de ces étiquettes : billing, shipping."
    listed = "Les valeurs possibles de « right team » sont :"
    assert f"{role} Classez le message. {listed} billing, shipping. {rule}" in texts
    assert any(f"{listed}\n- billing : argent\n- shipping\n" in text for text in texts)
    assert not [text for text in texts if "The possible" in text or "You are" in text or "Answer" in text]
    rules: dict[OutputType, str] = {
        "number": "Répondez uniquement par le nombre.",
        "text": "Donnez uniquement la réponse.",
    }
    for output, said in rules.items():
        other = replace(make_task(output), language="fr", instruction="Lisez.")
        assert [one.text for one in compose(other, (), slots=True)][1] == f"Lisez. {said}"


def test_wordings_and_ids_are_unique_even_where_a_given_one_is_a_composition() -> None:
    rule = "Answer with one of billing, shipping and nothing else."
    found = compose(make_task(descriptions=("a", "b")), (f"Route the message. {rule}",), slots=True)
    assert len({one.text for one in found}) == len(found)
    assert [one.id for one in found] == [f"i{n:04d}" for n in range(len(found))]


@pytest.mark.parametrize(
    ("can", "expected"),
    [
        (
            (),
            {
                ("direct", "json"): "the model lacks json_schema",
                ("direct", "choice"): "the model lacks choice",
                ("first_person", "plain"): "the model lacks prefill",
                ("first_person", "choice"): "the model lacks choice, prefill",
            },
        ),
        (
            ("json_schema",),
            {
                ("direct", "choice"): "the model lacks choice",
                ("first_person", "plain"): "the model lacks prefill",
                ("first_person", "choice"): "the model lacks choice, prefill",
            },
        ),
        (("prefill", "choice"), {("direct", "json"): "the model lacks json_schema"}),
        (CAPABILITIES, {}),
    ],
)
def test_what_a_model_cannot_run_is_listed_with_what_it_lacks(
    can: tuple[str, ...], expected: dict[tuple[str, str], str]
) -> None:
    space = make_space(capabilities=Capabilities(can=frozenset(one for one in CAPABILITIES if one in can)))
    found = {(pair.style, pair.format): pair.reason for pair in space.exclusions}
    mouth = "the format is one JSON object, which cannot start with the words that the style puts into the model's mouth"
    never = {("first_person", "json"): mouth}
    assert found == expected | never
    assert str(Exclusion(style="a", format="b", reason="c")) == "a × b: c"


def test_several_lacks_are_named_together() -> None:
    asking = MessageTemplate(role="user", parts=("?",))
    start = MessageTemplate(role="assistant", parts=("I",))
    template = make_space().render(make_space().baseline)
    assert template is not None
    assert needed_capabilities(template) == frozenset()
    calls = (CallTemplate(messages=(asking, start)), CallTemplate(messages=(asking,)))
    assert needed_capabilities(replace(template, calls=calls)) == {"prefill"}


def test_the_baseline_is_the_tasks_instruction_without_demonstrations_in_the_first_style_and_format() -> None:
    space = make_space(
        styles=("chain_of_thought", "direct"), formats=("inline", "plain"), parameters={"top_p": (0.5,)}
    )
    assert space.baseline == Candidate(
        instruction=Instruction(id="i0000", text="Route the message.", origin="given"),
        demonstrations=NO_DEMONSTRATIONS,
        style="chain_of_thought",
        format="inline",
    )
    template = space.render(space.baseline)
    assert template is not None
    # Room for the reasoning on top of the bound for the answer; nothing of the parameters that are searched.
    assert template.calls[0].parameters == (("max_tokens", 112), ("temperature", 0.0))


@pytest.mark.parametrize("can", [CAPABILITIES, ("json_schema",), ()])
def test_the_size_counts_the_points_that_can_be_rendered(can: tuple[str, ...]) -> None:
    capabilities = Capabilities(can=frozenset(one for one in CAPABILITIES if one in can))
    space = make_space(capabilities=capabilities, parameters={"temperature": (0.0, 0.7)})
    rendered = [point for point in points(space) if space.render(space.candidate(point)) is not None]
    assert len(rendered) == space.size > 0


def test_a_space_in_which_nothing_runs_has_no_points() -> None:
    space = make_space(styles=("first_person",), formats=("json",))
    assert space.size == 0
    assert space.render(space.baseline) is None
    assert space.most_calls == 1


def test_a_point_and_its_candidate_say_the_same() -> None:
    space = make_space(parameters={"top_p": (0.5, 1.0), "temperature": (0.0, 0.7)})
    for point in points(space):
        candidate = space.candidate(point)
        named = {
            "instruction": candidate.instruction.id,
            "demonstrations": candidate.demonstrations.id,
            "style": candidate.style,
            "format": candidate.format,
            **dict(candidate.parameters),
        }
        assert named == point
    assert len({space.candidate(point).digest for point in points(space)}) == len(points(space))


def test_points_are_drawn_evenly_over_the_numbers_of_demonstrations() -> None:
    sets = [shown(k, *("billing", "shipping", "billing", "shipping")[: 1 + k % 3]) for k in range(1, 25)]
    space = replace(make_space(), demonstration_sets=(NO_DEMONSTRATIONS, *sets))
    points = space.draw(Random(0), 2000)
    size = {each.id: each.size for each in space.demonstration_sets}
    sizes = Counter(size[str(point["demonstrations"])] for point in points)
    assert sorted(sizes) == [0, 1, 2, 3]
    assert min(sizes.values()) > 420  # of 500; even over the sets, 80 would have none
    assert {str(point["demonstrations"]) for point in points} == set(size)
    wordings = Counter(point["instruction"] for point in points)
    assert len(wordings) == len(space.instructions)
    assert min(wordings.values()) > 0.8 * 2000 / len(wordings)
    assert points == space.draw(Random(0), 2000)


def test_the_distributions_are_categoricals_over_the_choices() -> None:
    space = make_space(parameters={"temperature": (0.0, 0.7)})
    found = space.distributions()
    assert list(found) == ["instruction", "demonstrations", "style", "format", "temperature"]
    assert {name: one.choices for name, one in found.items()} == space.choices


def test_a_searched_parameter_takes_the_place_of_the_models() -> None:
    space = make_space(parameters={"temperature": (0.7,), "seed": (3,)})
    template = space.render(space.candidate(points(space)[0]))
    assert template is not None
    assert template.calls[0].parameters == (("max_tokens", 16), ("seed", 3), ("temperature", 0.7))


def test_candidates_that_render_alike_share_a_fingerprint() -> None:
    space = make_space()
    one = space.candidate(points(space)[0])
    other = replace(
        one,
        instruction=Instruction(id="i0099", text=one.instruction.text, origin="composed", parents=("i0001",)),
        demonstrations=replace(one.demonstrations, id="d0099", selector="balanced"),
    )
    first, second = space.render(one), space.render(other)
    assert first is not None
    assert second is not None
    assert first.fingerprint == second.fingerprint
    assert one.digest == other.digest


def test_a_name_that_is_no_content_does_not_tell_renderings_apart() -> None:
    space = make_space(parameters={"temperature": (0.0, 0.7)})
    same = replace(space.baseline, parameters=(("temperature", 0.0),))
    first, second = space.render(space.baseline), space.render(same)
    assert first is not None
    assert second is not None
    assert space.baseline.digest != same.digest
    assert first.fingerprint == second.fingerprint


def test_different_points_that_run_have_different_fingerprints() -> None:
    space = make_space()
    rendered = [space.render(space.candidate(point)) for point in points(space)]
    fingerprints = [template.fingerprint for template in rendered if template is not None]
    assert len(set(fingerprints)) == len(fingerprints) == space.size


def test_the_order_of_demonstrations_is_content() -> None:
    space = make_space()
    orders = (("billing", "shipping"), ("shipping", "billing"))
    one, other = (replace(space.baseline, demonstrations=shown(5, *targets)) for targets in orders)
    assert one.digest != other.digest


def test_control_tokens_of_the_model_are_named_in_every_hole() -> None:
    capabilities = Capabilities(can=frozenset(CAPABILITIES), control_tokens=("<|im_end|>",))
    space = make_space(capabilities=capabilities)
    templates = [space.render(space.candidate(point)) for point in points(space)]
    holes = [hole for template in templates if template is not None for hole in template.holes()]
    assert set(holes) == {Hole(name="input:message", neutralise=("<|im_end|>",))}


# ---- A space that grows


def test_a_grown_space_holds_the_old_one_and_ids_go_on() -> None:
    space = make_space()
    more = Instruction(id="", text="Which team?", origin="given", parents=("i0001",))
    grown = space.grown(
        demonstration_sets=(replace(shown(9, "billing", "billing"), id="", parents=("d0002",)),),
        instructions=(more, replace(more, text="Who should answer?")),
    )
    assert grown.instructions == (*space.instructions, replace(more, id="i0002"))
    assert grown.demonstration_sets[:3] == space.demonstration_sets
    assert [(one.id, one.parents) for one in grown.demonstration_sets[3:]] == [("d0003", ("d0002",))]
    assert grown.size == space.size_with(4) // 2 * 3
    for point in points(space):
        assert grown.candidate(point) == space.candidate(point)


def test_a_set_that_is_shown_already_is_not_added_whatever_it_is_called() -> None:
    space = make_space()
    same = replace(space.demonstration_sets[1], id="d0050", selector="swap")
    retrieved = replace(space.demonstration_sets[2], retrieved=1)
    grown = space.grown(demonstration_sets=(same, retrieved, replace(retrieved, selector="other")))
    assert [one.id for one in grown.demonstration_sets] == ["d0000", "d0001", "d0002", "d0003"]
    assert grown.demonstration_sets[3].retrieved == 1


def test_the_number_of_the_empty_set_is_never_given_to_another() -> None:
    space = replace(make_space(), demonstration_sets=())
    assert space.size == 0
    grown = space.grown(demonstration_sets=(shown(7, "billing"),))
    assert [one.id for one in grown.demonstration_sets] == ["d0001"]


# ---- A context that holds less


def long_set(number: int, n: int, retrieved: int = 0) -> DemonstrationSet:
    """Return demonstrations of 400 bytes each, which are 100 tokens as a rule."""
    shots = tuple(
        Demonstration(example_id=f"e{number}-{k}", inputs=(("message", f"{k:0392d}"),), target="shipping")
        for k in range(n)
    )
    return DemonstrationSet(id=f"d{number:04d}", demonstrations=shots, selector="random", retrieved=retrieved)


def limited(context: int | None, *sets: DemonstrationSet, input_bytes: int = 0) -> SearchSpace:
    space = make_space(
        styles=("direct",), formats=("plain",), capabilities=replace(EVERYTHING, context=context)
    )
    return replace(space, demonstration_sets=(NO_DEMONSTRATIONS, *sets), input_bytes=input_bytes)


# Instruction 18 bytes, 16 tokens of answer, 5 tokens for each message: of system, input and two a demonstration.
@pytest.mark.parametrize(
    ("context", "input_bytes", "kept"),
    [
        (None, 0, 3),
        (5 + 16 + 10 + 3 * 110, 0, 3),
        (5 + 16 + 10 + 3 * 110 - 1, 0, 2),
        (5 + 16 + 10 + 3 * 110, 4, 2),
        (5 + 16 + 10 + 110, 0, 1),
    ],
)
@pytest.mark.parametrize("retrieved", [0, 3])
def test_what_does_not_fit_is_dropped_from_the_front(
    context: int | None, input_bytes: int, kept: int, retrieved: int
) -> None:
    whole = long_set(1, 3, retrieved)
    space = limited(context, whole, input_bytes=input_bytes).fitted()
    (_, fit) = space.demonstration_sets
    assert (fit.id, fit.size) == ("d0001", kept)
    if retrieved:
        assert fit.demonstrations == whole.demonstrations
    else:
        assert fit.demonstrations == whole.demonstrations[3 - kept :]
    reason = f"demonstrations d0001: too long for the model's context of {context} tokens, {kept} of 3 kept"
    assert space.left_out == (() if kept == 3 else (reason,))


def test_a_set_of_which_nothing_fits_and_one_that_is_then_like_another_are_left_out() -> None:
    three = long_set(1, 3)
    last = replace(three, id="d0002", demonstrations=three.demonstrations[2:])
    room = "too long for the model's context of"
    assert [one.id for one in limited(141, three, last).fitted().demonstration_sets] == ["d0000", "d0002"]
    none = limited(140, three, last).fitted()
    assert none.demonstration_sets == (NO_DEMONSTRATIONS,)
    assert none.left_out == tuple(
        f"demonstrations {id_}: {room} 140 tokens, left out" for id_ in ("d0001", "d0002")
    )


def test_a_style_that_never_fits_leaves_the_space_and_cuts_no_demonstrations() -> None:
    whole = long_set(1, 3)
    room = 5 + 16 + 10 + 3 * 110
    space = replace(limited(room, whole), styles=("direct", "chain_of_thought"))
    fit = replace(space, input_bytes=0).fitted()
    assert fit.pairs == (("direct", "plain"), ("chain_of_thought", "plain"))
    assert fit.demonstration_sets[1].size == 1  # where the longer of two that fit has room for one
    small = replace(limited(141, long_set(1, 1)), styles=("direct", "list_steps_and_verify")).fitted()
    assert small.pairs == (("direct", "plain"),)
    assert [one.id for one in small.demonstration_sets] == ["d0000", "d0001"]
    reason = "list_steps_and_verify × plain: too long for the model's context of 141 tokens"
    assert small.left_out == (reason,)
    assert small.render(replace(small.start, style="list_steps_and_verify")) is None


def test_the_start_stays_where_it_does_not_fit_itself() -> None:
    space = replace(limited(141, long_set(1, 1)), styles=("list_steps_and_verify", "direct")).fitted()
    assert space.pairs == (("list_steps_and_verify", "plain"), ("direct", "plain"))
    assert [one.id for one in space.demonstration_sets] == ["d0000", "d0001"]
    nothing = replace(limited(10, long_set(1, 1)), styles=("list_steps_and_verify", "direct")).fitted()
    assert len(nothing.pairs) == 2
    assert nothing.demonstration_sets == (NO_DEMONSTRATIONS,)


def test_right_answers_that_hold_what_introduces_an_answer_are_told() -> None:
    space = make_space(styles=("direct", "chain_of_thought"), formats=("plain", "json", "xml"))
    space = replace(space, task=make_task("text"))
    targets = ["money", "Answer: money", "</right_team>x", "a reply", "Answer: money"]
    assert space.misread(targets[:1]) == ()
    (told,) = space.misread(targets)
    assert told == (
        "2 right answers, such as 'Answer: money', are read as something else when written as asked in "
        "chain_of_thought × plain, direct × xml, chain_of_thought × xml"
    )
    (one,) = space.misread(targets[:2])
    assert one.startswith("the right answer 'Answer: money' is read as something else")


def test_what_is_added_later_is_cut_and_the_number_of_a_set_that_left_is_not_given_again() -> None:
    space = limited(141, long_set(1, 1)).fitted()
    short = shown(9, "billing")
    grown = space.grown(demonstration_sets=(long_set(7, 2), replace(long_set(8, 1), retrieved=1), short))
    assert [(one.id, one.size) for one in grown.demonstration_sets] == [
        ("d0000", 0),
        ("d0001", 1),
        ("d0002", 1),
        ("d0003", 1),
        ("d0004", 1),
    ]
    hopeless = limited(60).grown(demonstration_sets=(long_set(7, 1),))
    assert [one.id for one in hopeless.grown(demonstration_sets=(short,)).demonstration_sets] == [
        "d0000",
        "d0002",
    ]


def test_wordings_that_come_later_cut_nothing_that_is_there() -> None:
    space = limited(141, long_set(1, 1)).fitted()
    wordy = Instruction(id="", text="x" * 4000, origin="given")
    assert space.grown(instructions=(wordy,)).demonstration_sets == space.demonstration_sets
