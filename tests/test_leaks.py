"""What the search sees of the held-out examples is found, exactly, and templates are not cried at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.candidate import Demonstration, DemonstrationSet, Instruction, Origin
from optimizer.dataset import Dataset, Example
from optimizer.duplicates import NEAR
from optimizer.leaks import Leak, leak_warnings, leaks
from optimizer.plan import load_plan

STUDY = Path(__file__).parents[1] / "studies" / "support_triage" / "study.yaml"

PARCEL = "my parcel went to the wrong house and nobody there will open the door to me"  # 16 words
KETTLE = "the kettle trips the fuse as soon as its lid is shut"
CHARACTERS = "".join(map(chr, range(0x4E00, 0x4E00 + 104)))  # all different, so 104 of them have 100 5-grams

Texts = Mapping[str, str] | Sequence[str]


def example(id_: str, text: str, group: str | None = None) -> Example:
    return Example(id=id_, inputs=(("text", text),), target="x", group=group)


def dataset(*, train: Texts = (), validation: Texts = (), test: Texts = ()) -> Dataset:
    splits = {"train": train, "validation": validation, "test": test}
    rows = {
        name: texts if isinstance(texts, Mapping) else {f"{name}-{n}": text for n, text in enumerate(texts)}
        for name, texts in splits.items()
    }
    made = {name: tuple(example(*row) for row in some.items()) for name, some in rows.items()}
    return Dataset(**made, warnings=())


def wording(
    text: str, id_: str = "i0000", *, origin: Origin = "given", parents: tuple[str, ...] = ()
) -> Instruction:
    return Instruction(id=id_, text=text, origin=origin, parents=parents)


def shown(*texts: str) -> DemonstrationSet:
    shots = [
        Demonstration(example_id=f"shot-{n}", inputs=(("text", text),), target="x")
        for n, text in enumerate(texts)
    ]
    return DemonstrationSet(id="d0001", demonstrations=tuple(shots), selector="random")


def pairs(found: Sequence[Leak]) -> set[tuple[str, str]]:
    return {(leak.example, leak.other) for leak in found}


def grams(text: str) -> set[str]:
    return {text[n : n + 5] for n in range(len(text) - 4)} or {text}


def replaced(text: str, place: int, character: str = "!") -> str:
    return text[:place] + character + text[place + 1 :]


@pytest.mark.parametrize(
    ("held_out", "seen"), [("test", "train"), ("test", "validation"), ("validation", "train")]
)
def test_one_changed_letter_in_a_hundred_is_a_near_duplicate(held_out: str, seen: str) -> None:
    splits = {held_out: {"a": CHARACTERS}, seen: {"b": replaced(CHARACTERS, 50)}}
    (leak,) = leaks(dataset(**splits), (), ())
    assert (leak.kind, leak.example, leak.split, leak.other) == ("near duplicate", "a", held_out, "b")
    assert leak.similarity == pytest.approx(95 / 105)  # by hand: 5 of 100 grams differ on either side


@pytest.mark.parametrize(("n_characters", "near"), [(99, True), (98, False)])
def test_a_similarity_of_exactly_nine_tenths_is_near(n_characters: int, near: bool) -> None:
    # By hand: 90 of 100 grams in common, or 89 of 99.
    text = CHARACTERS[:n_characters]
    assert bool(leaks(dataset(train=[text], test=[replaced(text, 50)]), (), ())) == near


@pytest.mark.parametrize("n_grams", range(1, 31))
def test_one_character_more_is_near_from_nine_grams_on(n_grams: int) -> None:
    # By hand: n of n + 1 grams in common.
    text = CHARACTERS[: n_grams + 4]
    for train, test in ((text, text + "!"), (text + "!", text)):
        assert bool(leaks(dataset(train=[train], test=[test]), (), ())) == (n_grams >= 9)


@pytest.mark.parametrize(("one", "other"), [("abcd", "abce"), ("ab", "a"), ("3", "4"), ("", "abcd")])
def test_texts_shorter_than_a_gram_are_compared_as_a_whole(one: str, other: str) -> None:
    assert leaks(dataset(train=[one], test=[other]), (), ()) == ()


def test_case_spaces_and_width_make_no_difference() -> None:
    train = {"a": CHARACTERS + " Hello  there\n"}
    (leak,) = leaks(dataset(train=train, test={"b": CHARACTERS + "　ＨＥＬＬＯ there"}), (), ())
    assert leak.similarity == 1


def test_all_inputs_count() -> None:
    subjects = [(("subject", word), ("text", PARCEL)) for word in ("Where is my order?", "I am locked out")]
    first, second = (Example(id=i[0][1], inputs=i, target="x", group=None) for i in subjects)
    assert leaks(Dataset(train=(first,), validation=(), test=(second,), warnings=()), (), ()) == ()


def test_examples_of_one_split_are_no_leak() -> None:
    for split in ("train", "validation", "test"):
        assert leaks(dataset(**{split: [CHARACTERS, replaced(CHARACTERS, 50)]}), (), ()) == ()


TEMPLATES = {
    "a long question, one number": "Here is a number that somebody typed into a form on a web page, long after "
    "midnight and with one eye shut. Say whether it is a prime number or not, and give no reason: {n}",
    "a short question, one number": "Is this number a prime number: {n}",
    "the number in the middle": "A customer whose account has the number {n} says that the parcel which was sent to "
    "the old address has not come back to the shop yet, and asks for the price of the goods and of the postage.",
    "two numbers": "The first train leaves the station at minute {n} and needs an hour to get to the sea, and the "
    "second, which is a good deal faster than the first one is, leaves it at minute {m}; say which is there first.",
    "few fillers of two gaps": "Somebody who is known to us by the name of {name} says that the parcel with the goods was "
    "left in front of the door of the house on the corner, which is {color}, as nobody was there to open the door.",
    "few fillers beside a number": "Somebody who is known to us by the name of {name} says that the parcel with the goods "
    "was left in front of the door of a house on the corner, that nobody was there, and that it cost {cost}.",
    "a greeting and a farewell": "Dear team of the shop, thank you for reading this, I do hope that you can help: "
    "{text}. I look forward to hearing from you soon, and remain with many kind regards a customer of many years.",
}


def templated(template: str, n: int) -> str:
    """Return the template with its gaps filled; of numbers there are many, of names and colors few."""
    name = ("Ada", "Bo", "Cy", "Di", "Ed", "Flo")[n % 6]
    color = ("blue", "red", "green", "pink", "grey", "black", "white", "brown", "teal", "lime")[n // 6 % 10]
    return template.format(n=n, m=(n * 7) % 61, cost=n % 25, name=name, color=color, text=f"{name} {color}")


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_is_no_leak(template: str) -> None:
    train, validation, test = ([templated(template, n) for n in range(k, k + 20)] for k in (0, 20, 40))
    instruction = wording(
        f"Answer. {template.format(n='N', m='M', cost='C', name='NN', color='some color', text='...')}"
    )
    assert leaks(dataset(train=train, validation=validation, test=test), [instruction], [shown(*train)]) == ()


def test_a_near_duplicate_within_a_template_is_found() -> None:
    template = TEMPLATES["a greeting and a farewell"]
    train = [templated(template, n) for n in range(30)] + [template.format(text=PARCEL + " " + KETTLE)]
    test = [templated(template, n) for n in range(30, 50)] + [template.format(text=PARCEL + ", " + KETTLE)]
    (leak,) = leaks(dataset(train=train, test=test), (), ())
    assert (leak.example, leak.other) == ("test-20", "train-30")


def test_five_copies_among_a_hundred_examples_are_copies_and_twenty_are_a_template() -> None:
    others = [" ".join(Random(n).choices("abcdefghijkl", k=30)) for n in range(100)]
    for n_copies, n_found in ((4, 4), (19, 0)):
        copies = [f"{PARCEL} {KETTLE} {number}" for number in range(n_copies)]
        found = leaks(dataset(train=others + copies, test=[f"{PARCEL} {KETTLE} x"]), (), ())
        assert len(found) == n_found


def test_the_members_of_a_group_make_no_template() -> None:
    test = [example(f"t{n}", f"{PARCEL} {n}", group="g") for n in range(9)]
    data = Dataset(train=(), validation=(), test=tuple(test), warnings=())
    assert pairs(leaks(data, [wording(PARCEL)], ())) == {(f"t{n}", "i0000") for n in range(9)}


@pytest.mark.parametrize(
    ("text", "instruction", "found"),
    [
        (PARCEL, "Such as: nobody there will open the door to me. Answer.", True),
        (PARCEL, "Such as NOBODY, there: will “open” the\n door to ＭＥ", True),
        (PARCEL, "Such as: there will open the door to me. Answer.", False),  # 7 words
        (PARCEL, "me to door the open will there nobody house wrong the to", False),
        ("I can’t sign in.", "If somebody says I can't sign in, it is the account.", True),
        ("I can't sign in.", "If somebody can't sign in, it is the account.", False),
        ("Sign in.", "To sign in is a matter of the account.", False),  # 2 words occur in any text
        ("sign in now", "resign in now here", False),
        ("?!", "Answer the question. ?!", False),
    ],
)
@pytest.mark.parametrize("split", ["test", "validation"])
def test_words_of_an_example_in_a_wording(split: str, text: str, instruction: str, found: bool) -> None:
    expected = [Leak(kind="in a wording", example="a", split=split, other="i0000")] if found else []  # type: ignore[arg-type]
    assert leaks(dataset(**{split: {"a": text}}), [wording(instruction)], ()) == tuple(expected)


def test_words_of_training_examples_may_be_in_a_wording() -> None:
    assert leaks(dataset(train=[PARCEL]), [wording(PARCEL)], ()) == ()


def test_a_composition_is_not_reported_beside_what_it_was_made_from() -> None:
    instructions = [
        wording(f"Be careful. {PARCEL}", "i0002", origin="composed", parents=("i0001",)),
        wording(f"Be careful. {PARCEL} Answer.", "i0003", origin="composed", parents=("i0002",)),
        wording(PARCEL, "i0001"),
        wording("Sort.", "i0004"),
        wording(f"Sort. {KETTLE}", "i0005", origin="composed", parents=("i0004",)),
    ]
    found = leaks(dataset(test={"a": PARCEL, "b": KETTLE}), instructions, ())
    assert pairs(found) == {("a", "i0001"), ("b", "i0005")}


@pytest.mark.parametrize(
    ("text", "shot", "found"),
    [
        (PARCEL, f"Good evening. {PARCEL}! And then: {KETTLE}, which is worse.", True),  # all of it, in more
        (PARCEL, "Hm, the wrong house and nobody there will open the door to me.", True),  # 5 of 9 runs
        (PARCEL, "Hm, and nobody there will open the door to me.", False),  # 2 of 9 runs
        (f"{PARCEL} {KETTLE}", f"{PARCEL} {KETTLE}.", True),  # a near duplicate
        ("it is still not here", "it is still not here, and neither is the bill", False),  # is said every day
        (PARCEL, KETTLE, False),
    ],
)
@pytest.mark.parametrize("split", ["test", "validation"])
def test_an_example_in_a_demonstration(split: str, text: str, shot: str, found: bool) -> None:
    expected = [Leak(kind="in a demonstration", example="a", split=split, other="shot-0")] if found else []  # type: ignore[arg-type]
    assert leaks(dataset(**{split: {"a": text}}), (), [shown(shot)]) == tuple(expected)


def test_a_demonstration_in_many_sets_is_one_leak() -> None:
    assert len(leaks(dataset(test=[PARCEL]), (), [shown(PARCEL), shown(PARCEL, KETTLE)])) == 1


def test_leaks_of_test_come_first_then_the_ids_decide() -> None:
    near = {f"{name}{n}": replaced(CHARACTERS, 20 + n, name) for n, name in enumerate("cab")}
    data = dataset(
        train={"t": CHARACTERS}, validation=near, test={"z": replaced(CHARACTERS, 40), "y": PARCEL}
    )
    order = [(leak.split, leak.example, leak.other) for leak in leaks(data, [wording(PARCEL)], ())]
    assert order == [
        ("test", "y", "i0000"),
        ("test", "z", "t"),
        ("validation", "a1", "t"),
        ("validation", "b2", "t"),
        ("validation", "c0", "t"),
    ]


def test_nothing_is_found_in_nothing() -> None:
    assert leaks(dataset(), (), ()) == ()
    assert leak_warnings(()) == ()


def test_warnings_count_the_examples_and_name_three_pairs() -> None:
    near = [
        Leak(kind="near duplicate", example=f"e{n // 2}", split="test", other=f"t{n}", similarity=0.95)
        for n in range(4)
    ]
    others = [
        Leak(kind="near duplicate", example="v1", split="validation", other="t1", similarity=0.95),
        Leak(kind="in a wording", example="e1", split="test", other="i0003"),
        Leak(kind="in a demonstration", example="e\x1b[31m", split="test", other="t1"),
    ]
    memory, pair = "may be memory, not skill", "give each pair one `group` value, or drop one of the two"
    assert leak_warnings([*others, *near]) == (
        f"2 test examples have near duplicates among examples that the search sees (e0 ~ t0, e0 ~ t1, e1 ~ t2, ...): a gain on test {memory}; {pair}",
        f"1 test example is quoted in wordings (e1 in i0003): a gain on test {memory}; word the instructions in words of their own",
        f"1 test example is shown as demonstrations, nearly or in large part (e\\x1b[31m in t1): a gain on test {memory}; {pair}",
        f"1 validation example has near duplicates among training examples (v1 ~ t1): a gain on validation {memory}; {pair}",
    )


def test_the_support_messages_of_this_project_have_no_leak() -> None:
    plan = load_plan(STUDY)
    assert leaks(plan.dataset, plan.space.instructions, plan.space.demonstration_sets) == ()


def some_texts(seed: int, n: int) -> list[str]:
    random = Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [
        " ".join("".join(random.choices(letters, k=random.randint(1, 9))) for _ in range(40))
        for _ in range(n)
    ]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 20), place=st.floats(0, 1), character=st.characters())
def test_a_planted_near_duplicate_is_always_found(seed: int, n: int, place: float, character: str) -> None:
    texts = some_texts(seed, 2 * n)
    planted = replaced(texts[0], int(place * (len(texts[0]) - 1)), character)
    found = leaks(dataset(train=texts[:n], test=[*texts[n:], planted]), (), ())
    assert pairs(found) == {(f"test-{n}", "train-0")}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 20))
def test_unrelated_texts_are_never_a_leak(seed: int, n: int) -> None:
    texts = some_texts(seed, 5 * n)
    parts = [texts[k::5] for k in range(5)]
    data = dataset(train=parts[0], validation=parts[1], test=parts[2])
    assert leaks(data, [wording(text) for text in parts[3]], [shown(*parts[4])]) == ()


edits = st.lists(st.tuples(st.integers(0, 79), st.sampled_from("abcde ")), max_size=3)
families = st.lists(
    st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 2), st.sampled_from([4, 12, 30, 80]), edits),
    max_size=14,
)


def relatives(rows: list[tuple[int, int, int, list[tuple[int, str]]]]) -> list[dict[str, str]]:
    """Return three splits of texts that were made of three texts by cutting and by changing letters."""
    bases = ["".join(Random(seed).choices("abcde", k=80)) for seed in range(3)]
    splits: list[dict[str, str]] = [{}, {}, {}]
    for n, (split, base, length, changes) in enumerate(rows):
        text = bases[base][:length]
        for place, letter in changes:
            text = replaced(text, place, letter) if place < length else text
        splits[split][f"e{n}"] = " ".join(text.split())
    return splits


@settings(max_examples=150, deadline=None)
@given(rows=families)
def test_the_search_finds_exactly_the_pairs_that_looking_at_all_of_them_finds(
    rows: list[tuple[int, int, int, list[tuple[int, str]]]],
) -> None:
    train, validation, test = splits = relatives(rows)
    expected = {}
    for held_out, seen in ((test, train), (test, validation), (validation, train)):
        for (one, a), (other, b) in ((x, y) for x in held_out.items() for y in seen.items()):
            similarity = len(grams(a) & grams(b)) / len(grams(a) | grams(b))
            if similarity >= NEAR:
                expected[one, other] = similarity
    found = leaks(dataset(**dict(zip(("train", "validation", "test"), splits, strict=True))), (), ())
    assert {(leak.example, leak.other): leak.similarity for leak in found} == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(rows=families, random=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    rows: list[tuple[int, int, int, list[tuple[int, str]]]], random: Random
) -> None:
    splits = relatives(rows)
    sets = [shown(*splits[0].values())]
    instructions = [wording(text, f"i{n}") for n, text in enumerate(splits[1].values())]
    shuffled = [dict(random.sample(list(split.items()), len(split))) for split in splits]
    one, other = (
        dataset(**dict(zip(("train", "validation", "test"), some, strict=True)))
        for some in (splits, shuffled)
    )
    assert leaks(one, instructions, sets) == leaks(other, instructions, sets)
