"""What a table is taken for, and what of it a budget pays for."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.columns import Wanted
from optimizer.errors import InputError
from optimizer.proposal import Proposal, affordable_splits, calls_needed, propose, without_test
from optimizer.table import read_table
from optimizer.taskfile import InputSpec

ANY = Wanted()
TEXTS = ("Nobody can log in today", "Where is my parcel please", "How do I change colours")


def write(folder: Path, rows: Sequence[dict[str, object]]) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def proposed(folder: Path, rows: Sequence[dict[str, object]], wanted: Wanted = ANY) -> Proposal:
    return propose(read_table(write(folder, rows), "data.jsonl"), wanted)


def texts(n: int) -> list[str]:
    return [f"{TEXTS[k % 3]}, number {k}" for k in range(n)]


def rows(column: str, values: Sequence[object], **others: Sequence[object]) -> list[dict[str, object]]:
    """Return rows of a text, a column of values, and other columns."""
    table = {"message": texts(len(values)), **others, column: values}
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]


def why(proposal: Proposal, field: str) -> str:
    return " | ".join(f"{one.value}: {one.why}" for one in proposal.choices if one.field == field)


def refused(folder: Path, table: Sequence[dict[str, object]], wanted: Wanted = ANY) -> str:
    with pytest.raises(InputError) as error:
        proposed(folder, table, wanted)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "output", "labels"),
    [
        (["b", "a", "c"] * 15, "label", ("a", "b", "c")),
        (["rare"] * 9 + ["often"] * 36, "label", ("often", "rare")),
        (["yes", "no"] * 10, "label", ("no", "yes")),
        (["012", "007"] * 10, "label", ("007", "012")),
        (["true", "null"] * 10, "label", ("null", "true")),
        (["2024-05-01", "2024-05-02"] * 10, "label", ("2024-05-01", "2024-05-02")),
        ([0, 1] * 10, "label", ("0", "1")),
        (["-1", "0", "1"] * 10, "label", ("-1", "0", "1")),
        ([str(k) for k in range(11)] * 5, "number", ()),
        ([f"{k}.5" for k in range(2)] * 10, "number", ()),
        ([f"${k},200.50" for k in range(1, 31)], "number", ()),
        ([f"{k} %" for k in range(30)], "number", ()),
        ([f"{k:03d}" for k in range(30)], "text", ()),  # codes: 012 is not 12
        ([f"{k},5" for k in range(30)], "number", ()),
        ([*(f"{k},5" for k in range(30)), "1,250"], "text", ()),  # one and a quarter, or a thousand
        ([f"2024-05-{k:02d}" for k in range(1, 31)], "text", ()),
        ([f"-${k}" for k in range(1, 31)], "number", ()),
        ([f"({k})" for k in range(1, 31)], "text", ()),  # of whichever sign
        ([f"place {k}" for k in range(30)], "text", ()),
        ([f"l{k}" for k in range(20)] * 3, "label", tuple(sorted(f"l{k}" for k in range(20)))),
        ([f"l{k}" for k in range(21)] * 3, "text", ()),
        ([f"l{k}" for k in range(8)] * 2, "text", ()),  # two of each are chance
        (["a" * 61, "b"] * 10, "text", ()),
        (["a\nb", "b"] * 10, "text", ()),
    ],
)
def test_the_values_of_the_target_say_what_an_answer_is(
    tmp_path: Path, values: list[object], output: str, labels: tuple[str, ...]
) -> None:
    found = proposed(tmp_path, rows("label", values))
    assert (found.answer.type, found.answer.labels) == (output, labels)
    assert found.metric == {"label": "accuracy", "number": "numeric", "text": "match"}[output]
    beside = {"label": ("macro_f1", "valid"), "number": ("valid",), "text": ("exact_match", "valid")}
    assert found.metrics == beside[output]
    assert why(found, "output")


def test_whole_numbers_taken_for_labels_and_a_decimal_comma_are_told(tmp_path: Path) -> None:
    assert "taken for labels, not for amounts" in why(
        proposed(tmp_path, rows("label", [1, 2] * 10)), "output"
    )
    comma = proposed(tmp_path, rows("label", [f"{k},5" for k in range(30)]))
    assert (comma.answer.type, "some with a decimal comma" in why(comma, "output")) == ("number", True)
    unclear = proposed(tmp_path, rows("label", [*(f"{k},5" for k in range(29)), "1,250"]))
    assert unclear.answer.type == "text"
    assert "1,250 would be read otherwise; write 12.5 for 12,5" in why(unclear, "output")


def test_a_frequent_label_is_what_a_prompt_must_beat(tmp_path: Path) -> None:
    said = why(proposed(tmp_path, rows("spam", ["no"] * 45 + ["yes"] * 5)), "metric")
    assert said.startswith("accuracy: ")
    assert "Always answering 'no' scores 90 %, so a prompt must beat that" in said
    assert "`metric: macro_f1`" in said
    assert "Always" not in why(proposed(tmp_path, rows("spam", ["no"] * 35 + ["yes"] * 15)), "metric")


def test_long_answers_are_told_to_be_hardly_ever_met(tmp_path: Path) -> None:
    said = why(proposed(tmp_path, rows("answer", texts(30))), "metric")
    assert "answers of 7 words are hardly ever met" in said


def test_a_label_that_comes_once_is_kept_and_told_with_its_line(tmp_path: Path) -> None:
    found = proposed(tmp_path, rows("label", [*["urgent", "routine"] * 15, "urgnet"]))
    assert found.answer.labels == ("routine", "urgent", "urgnet")
    said = why(found, "caution")
    assert (
        said == "urgnet: comes once, on line 31; did you mean 'urgent'? It cannot be both learned and tested"
    )


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        (("label", "other"), "label"),
        (("other", "Gold-Label"), "Gold-Label"),
        (("category", "label"), "label"),
        (("ticket_category", "category"), "category"),
        (("Catégorie", "other"), "Catégorie"),
        (("réponse", "other"), "réponse"),
        (("one", "urgency"), "urgency"),
        (("label_id", "urgency"), "urgency"),
    ],
)
def test_the_target_is_found_by_its_name_else_last(
    tmp_path: Path, columns: tuple[str, str], target: str
) -> None:
    table = rows(columns[1], ["a", "b"] * 10, **{columns[0]: ["c", "d"] * 10})
    found = proposed(tmp_path, table)
    assert found.targets == (target,)
    assert "--target names another" in why(found, "target")


def test_the_last_column_with_few_values_comes_before_the_last(tmp_path: Path) -> None:
    table = rows("note", texts(20), mood=["good", "bad"] * 10)
    assert proposed(tmp_path, table).targets == ("mood",)
    assert proposed(tmp_path, rows("note", texts(20))).targets == ("note",)


def test_other_columns_that_may_be_the_target_are_named(tmp_path: Path) -> None:
    table = rows("label", ["a", "b"] * 10, category=["c", "d"] * 10)
    assert "category might be as well" in why(proposed(tmp_path, table), "target")


def test_free_text_is_read_and_what_is_about_the_row_is_left_out_with_a_reason(tmp_path: Path) -> None:
    n = 20
    table = rows(
        "team",
        ["a", "b"] * 10,
        id=[f"x{k}" for k in range(n)],
        copy=[f"x{k}" for k in range(n)],
        subject=texts(n)[::-1],
        channel=["mail", "phone"] * 10,
        created=[f"2024-05-{k + 1:02d} 10:00" for k in range(n)],
        customer_id=["ann", "bob", "cem", "dan"] * 5,
        language=["en"] * n,
        explanation=[f"because of {text}" for text in texts(n)],
        notes=[None, *texts(n - 1)],
        rare=["once in a while", *[None] * (n - 1)],
        parts=[{"a": k} for k in range(n)],
        photo=[f"https://example.org/{k}.JPG?size=2" for k in range(n)],
        tags=[["list", str(k)] for k in range(n)],
        passages=[["first", str(k)] for k in range(n)],
    )
    found = proposed(tmp_path, table)
    assert tuple(found.inputs) == ("message", "subject", "notes", "rare", "passages")
    assert found.inputs["notes"] == InputSpec(optional=True)
    assert found.inputs["passages"] == InputSpec(type="list")
    assert "notes: empty in 1 of 20 rows" in why(found, "optional")
    left = {one.value: one.why for one in found.choices if one.field == "left out"}
    reasons = {
        "copy": "is the same as the id",
        "channel": "is short and may be about the row",
        "created": "holds numbers, dates or codes",
        "customer_id": "names the row",
        "language": "is the same in every row",
        "explanation": "may give the answer away",
        "parts": "holds objects",
        "photo": "names images, which a model is shown where the task says `type: image`",
        "tags": "by its name may give the answer away",
    }
    assert set(left) == set(reasons)
    for name, reason in reasons.items():
        assert reason in left[name], name
    assert "--group customer_id keeps them in one split" in left["customer_id"]


def test_a_column_of_few_values_that_says_the_answer_is_left_out(tmp_path: Path) -> None:
    moods = ["very negative mood here", "rather neutral mood here", "very positive mood here"]
    table = rows(
        "label",
        ["0", "1", "2"] * 10,
        label_text=moods * 10,
        product=["the red shirt", "the blue shirt"] * 15,
        passages=[[f"page {n % 3}"] for n in range(30)],
    )
    found = proposed(tmp_path, table)
    assert tuple(found.inputs) == ("message", "product")
    left = {one.value: one.why for one in found.choices if one.field == "left out"}
    reason = (
        "may give the answer away: it has few values, each with one answer in every row; --inputs names all"
    )
    assert set(left) == {"label_text", "passages"}
    assert all(why.startswith(reason) for why in left.values())
    # Where nothing else is there to read, it is read and told.
    alone: list[dict[str, object]] = [{"label_text": moods[k % 3], "label": "012"[k % 3]} for k in range(30)]
    found = proposed(tmp_path, alone)
    assert tuple(found.inputs) == ("label_text",)
    assert "may give the answer away" in why(found, "inputs")


def test_without_free_text_the_longest_column_is_read_and_in_doubt(tmp_path: Path) -> None:
    table: list[dict[str, object]] = [
        {"a": "x", "word": f"w{'x' * k}", "label": "ab"[k % 2]} for k in range(20)
    ]
    found = proposed(tmp_path, table)
    assert tuple(found.inputs) == ("word",)
    assert "no column holds free text" in why(found, "inputs")
    sums: list[dict[str, object]] = [{"sum": f"{k}+{k}", "label": 2 * k} for k in range(20)]
    assert tuple(proposed(tmp_path, sums).inputs) == ("sum",)
    series: list[dict[str, object]] = [{"series": f"{k} {k + 1} {k + 2}", "label": k + 3} for k in range(20)]
    assert "3 words or more" in why(proposed(tmp_path, series), "inputs")


def test_what_is_asked_for_is_taken(tmp_path: Path) -> None:
    table = rows("label", ["a", "b"] * 10, channel=["mail", "phone"] * 10, customer=["ann", "bob"] * 10)
    found = proposed(tmp_path, table, Wanted(targets=("channel",), inputs=("label",), group="customer"))
    assert (found.targets, tuple(found.inputs), found.group) == (("channel",), ("label",), "customer")
    assert why(found, "left out") == "message: not asked for"
    assert "never divided" in why(found, "group")


@pytest.mark.parametrize(
    ("table", "wanted", "message"),
    [
        ([], Wanted(), "expected at least one example, found none"),
        (rows("label", ["a", "b"] * 4), Wanted(), "expected at least 10 examples, found 8"),
        (
            rows("label", ["a"] * 20),
            Wanted(),
            "data.jsonl: label: expected different answers, found 'a' in every row",
        ),
        (
            rows("label", [" "] * 20),
            Wanted(targets=("label",)),
            "label: expected different answers, found none",
        ),
        (
            rows("label", ["a", "b"] * 10),
            Wanted(targets=("lable",)),
            "lable: expected a column of this name, found none; did you mean 'label'?",
        ),
        (rows("label", ["a", "b"] * 10), Wanted(inputs=("text",)), "text: expected a column of this name"),
        (rows("label", ["a", "b"] * 10), Wanted(group="who"), "who: expected a column of this name"),
        (
            rows("label", ["a", "b"] * 10),
            Wanted(targets=("label",), inputs=("label",)),
            "--inputs: the target 'label' is also an input: the model would see the answer",
        ),
        (
            rows("label", ["a", "b"] * 10),
            Wanted(inputs=("message", "message")),
            "--inputs: expected each column once, found one twice",
        ),
        (
            rows("label", ["a", "b"] * 10),
            Wanted(targets=("label",), group="label"),
            "--group: expected a column besides the target",
        ),
        (
            [{"label": "ab"[k % 2]} for k in range(20)],
            Wanted(),
            "--inputs: expected a column for the model to read",
        ),
        (
            rows("label", ["a", "b"] * 10),
            Wanted(inputs=("message", "label")),
            "--target: expected a column of right answers, found none",
        ),
        (
            rows("label", [*["Spam", "ham"] * 10, "spam "]),
            Wanted(),
            "data.jsonl:21: label: expected 'Spam', found 'spam ', which differs only in case or spaces",
        ),
    ],
)
def test_what_cannot_be_a_task_is_refused(
    tmp_path: Path, table: list[dict[str, object]], wanted: Wanted, message: str
) -> None:
    assert message in refused(tmp_path, table, wanted)


def test_labels_that_are_alike_and_those_that_are_missing_are_told_at_once(tmp_path: Path) -> None:
    found = refused(tmp_path, rows("label", [*["tech", "billing"] * 15, "Tech", "", "tech", None]))
    assert found.splitlines() == [
        "data.jsonl:31: label: expected 'tech', found 'Tech', which differs only in case or spaces",
        "data.jsonl:32: label: expected a label, found none",
        "data.jsonl:34: label: expected a label, found none",
    ]


def test_every_mistake_is_told_at_once_and_fifty_at_most(tmp_path: Path) -> None:
    wanted = Wanted(targets=("one",), inputs=("two",), group="three")
    assert (
        refused(tmp_path, rows("label", ["a", "b"] * 10), wanted).count("expected a column of this name") == 3
    )
    path = tmp_path / "bad.jsonl"
    path.write_text('{"a": 1}\n' + "[]\n" * 60, encoding="utf-8")
    with pytest.raises(InputError) as error:
        propose(read_table(path, "bad.jsonl"), Wanted())
    assert len(error.value.problems) == 51
    assert "and 10 more mistakes" in str(error.value)


@pytest.mark.parametrize(
    ("target", "values", "instruction", "alternative"),
    [
        (
            "support_team",
            ["sales", "billing"] * 10,
            "Classify the message: which support team? Answer with one of billing, sales.",
            "Which support team fits the message best?",
        ),
        (
            "label",
            ["sales", "billing"] * 10,
            "Classify the message. Answer with one of billing, sales.",
            "Which label fits the message best?",
        ),
        (
            "price",
            [k + 0.5 for k in range(20)],
            "Read the message and give the price, as a number.",
            "What is the price for the message?",
        ),
        (
            "answer",
            [f"thing {k}" for k in range(20)],
            "Read the message and give the right answer.",
            "What is the right answer for the message?",
        ),
    ],
)
def test_wordings_are_made_of_the_names_of_the_columns(
    tmp_path: Path, target: str, values: list[object], instruction: str, alternative: str
) -> None:
    found = proposed(tmp_path, rows(target, values), Wanted(targets=(target,)))
    assert (found.instruction, found.alternative) == (instruction, alternative)


def test_several_inputs_are_all_named_in_the_wording(tmp_path: Path) -> None:
    table = rows("team", ["a", "b"] * 10, mail_subject=texts(20), body=texts(20))
    wording = proposed(tmp_path, table).instruction
    assert wording.startswith("Classify the message, the mail subject and the body: which team?")


@pytest.mark.parametrize(
    ("n", "calls", "counts"),
    [
        (12, None, (2, 10, 0)),  # 30 % for train would leave validation fewer than it needs
        (45, None, (13, 32, 0)),
        (90, None, (22, 31, 37)),
        (2000, None, (100, 300, 500)),
        (2000, 600, (100, 60, 100)),
        (90, 600, (22, 31, 37)),
        (90, 200, (22, 20, 33)),
        (90, 120, (22, 13, 0)),  # a test of 20 shows hardly anything
        (45, 120, (13, 13, 0)),
    ],
)
def test_splits_are_the_usual_ones_as_far_as_a_budget_pays(
    n: int, calls: int | None, counts: tuple[int, int, int]
) -> None:
    assert affordable_splits(n, calls).values == counts


def test_a_small_validation_is_searched_and_a_large_one_confirmed() -> None:
    assert calls_needed(10, 0, screen=10) == 330  # baseline and 32 candidates on all 10
    assert calls_needed(31, 37, screen=20) == 900  # 33 × 20 screened, 4 × 31 confirmed, 3 × 37 tested
    assert calls_needed(300, 500, screen=20) == 5100  # a quarter of 3600 confirms 3 × 300; 3 × 500 tested


@given(st.integers(10, 5000), st.none() | st.integers(90, 20_000))
def test_what_a_budget_is_divided_for_it_can_pay_for(n: int, calls: int | None) -> None:
    for splits in (affordable_splits(n, calls), without_test(n, calls)):
        train, validation, test = (int(value) for value in splits.values)
        assert train >= 0
        assert train + validation + test <= n
        screen = min(20, validation)
        least = screen * 2 + validation + 3 * test if test else validation * 9
        assert least <= (calls or calls_needed(validation, test, screen=screen))
        assert validation >= (5 if test else 10)
        assert test == 0 or test >= 24
