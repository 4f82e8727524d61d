"""Numbers in what models write: separators, signs, formulas in a box, and more figures than a float has."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat, find_number
from optimizer.narrowing import boxed
from optimizer.numerals import is_number, leading_number, stated_number
from optimizer.targets import target_number

NUMBER = AnswerFormat(kind="number")
MARKED = AnswerFormat(kind="number", marker="Answer:")
IN_JSON = AnswerFormat(kind="number", field="answer")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("La réponse est 12,5.", "12.5"),
        ("12,5.", "12.5"),
        ("12,5, bien sûr", "12.5"),
        ("0,5.", "0.5"),
        ("The total is 1,234, which is little", "1234"),
        ("It is 1,234.", "1234"),
        ("It is 1,234.50, all told", "1234.5"),
        ("€ 1.234.567,89.", "1234567.89"),
        ("Der Betrag ist 1.234,50.", "1234.5"),
        ("1.234.567, also", "1234567"),
        ("Cela fait 1 200,50, au total", "1200.5"),
        ("1\u202f234,5.", "1234.5"),
    ],
)
def test_the_comma_or_full_stop_of_the_sentence_is_no_part_of_its_number(text: str, number: str) -> None:
    assert find_number(text) == stated_number(text) == NUMBER.read(text).text == number
    assert MARKED.read(f"Answer: {text}").text == number
    assert target_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["3×4", "3 × 4", "3x4", "3X4", "12÷4", "1.5×10³", "6.02×10^23", "Its area is 12×5 cm", "1920x1080"],
)
def test_a_product_that_nobody_worked_out_is_no_number(text: str) -> None:
    assert stated_number(text) is None
    assert NUMBER.read(text).text is None
    with pytest.raises(ValueError, match=r"expected (a|one) number, found"):
        target_number(text)


def test_a_letter_before_a_figure_makes_it_a_name_and_a_sign_does_not() -> None:
    assert stated_number("2×3=6") == stated_number("2x3=6") == "6"
    assert [stated_number(text) for text in ("B12", "é5", "x4", "fox3")] == [None] * 4


@pytest.mark.parametrize("text", ["1,2,3", "1,234,5", "1234,567", "12,5.3", "1,2,3.", "1234,567,"])
def test_commas_that_could_mean_several_things_are_none(text: str) -> None:
    assert find_number(text) is None
    assert stated_number(text) is None


@given(
    st.integers(0, 10**9),
    st.integers(0, 99),
    st.sampled_from([".", ",", "...", "!", ").", ", then", ". Then", ",\n"]),
)
def test_whatever_mark_ends_a_clause_its_number_is_the_same(whole: int, cents: int, mark: str) -> None:
    english = f"{whole:,}.{cents:02}"
    german = english.translate(str.maketrans(",.", ".,"))
    for written in (english, german, german.replace(".", "\u202f")):
        assert find_number(written + mark) == find_number(f"{whole}.{cents:02}")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-$5", "-5"),
        ("−$5", "-5"),
        ("-€5", "-5"),
        ("-$ 5", "-5"),
        ("+£5", "5"),
        ("$-5", "-5"),
        ("Net: -$5", "-5"),
        ("-$1,200.50", "-1200.5"),
        ("–5", "-5"),
        ("–$5", "-5"),
        ("–1,200.50 €", "-1200.5"),
        ("–1 200,50 €", "-1200.5"),
        ("-$1 200", "-1200"),
        ("Net: –5", "-5"),
    ],
)
def test_a_sign_counts_before_a_currency_and_as_an_en_dash(text: str, number: str) -> None:
    assert find_number(text) == stated_number(text) == leading_number(text) == number
    assert target_number(text) == number
    assert is_number(text) != text.startswith("Net")


@pytest.mark.parametrize("text", ["3-4", "3–5", "3–$5", "$3–$5", "$3-$5", "(3)–5", "pages 3 – 5", "3% –5%"])
def test_the_dash_of_a_range_is_no_sign(text: str) -> None:
    assert stated_number(text) is None
    with pytest.raises(ValueError, match="expected one number"):
        target_number(text)


@pytest.mark.parametrize(("text", "number"), [("A–5", "5"), ("2020–2024", "2024"), ("(a)–$7", "7")])
def test_a_dash_after_a_word_or_a_figure_is_no_sign(text: str, number: str) -> None:
    assert find_number(text) == number


@pytest.mark.parametrize(
    "text", ["(1,200)", "($5)", "$(5)", "(5) USD", "(5 €)", "—5", "— $5", "– 5", "—1,200 apples"]
)
def test_a_target_that_may_be_negative_is_refused_with_both_ways_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"which may be negative; write (\d+) or -\1$"):
        target_number(text)


@pytest.mark.parametrize(
    ("text", "number"), [("(-5)", "-5"), ("(5 apples)", "5"), ("five (5)", "5"), ("5 — no more", "5")]
)
def test_brackets_and_dashes_that_are_no_sign_do_not_matter(text: str, number: str) -> None:
    assert target_number(text) == number


@pytest.mark.parametrize(
    ("box", "number"),
    [
        ("7", "7"),
        ("3{,}200", "3200"),
        (r"1\,200", "1200"),
        (r"1\!\,200\;\ ", "1200"),
        ("12{,}5", "12.5"),
        (r"\$1{,}200.50", "1200.5"),
        (r"-\$5", "-5"),
        (r"50\%", "50"),
        (r"18\text{ m}^2", "18"),
        (r"18\,\mathrm{cm}^{3}", "18"),
        (r"\text{18 dollars}", "18"),
        (r"\textbf{\text{18}}", "18"),
        (r"\mathbf{18}", "18"),
        (r"90^\circ", "90"),
        (r"20^{\circ}\text{C}", "20"),
        (r"\left( 18 \right)", "18"),
        ("x = {18}", "18"),
    ],
)
def test_a_box_is_read_to_its_own_brace_and_its_latex_as_it_looks(box: str, number: str) -> None:
    for text in (
        rf"\boxed{{{box}}}",
        rf"So 2 and 3 make $\boxed{{{box}}}$, for 4 of them.",
        rf"\boxed {{{box}}}",
    ):
        assert stated_number(text) == NUMBER.read(text).text == target_number(text) == number


@pytest.mark.parametrize(
    "box",
    [
        r"\frac{3}{4}",
        r"2\sqrt{3}",
        "10^{6}",
        "10^6",
        r"3 \times 10^{4}",
        r"\mathbf{5}^2",
        r"\text{5}^2",
        r"2\mathrm{e}^{3}",
        r"2\pi",
        r"\frac{\pi}{4}",
        r"5\text{ or }6",
        r"\{5\}",
        "x",
        "",
        r"5 \quad 6",
    ],
)
def test_a_box_that_is_not_worked_out_holds_no_number(box: str) -> None:
    for text in (rf"\boxed{{{box}}}", rf"It is 7, so $\boxed{{{box}}}$", rf"\boxed{{{box}"):
        assert stated_number(text) is None
        assert NUMBER.read(text).outcome == MARKED.read(f"Answer: {text}").outcome == "invalid"
        with pytest.raises(ValueError, match="expected one number, found"):
            target_number(text)


@pytest.mark.parametrize(
    "text",
    [
        r"$\frac{3}{4}$",
        r"$\dfrac{3}{4}$",
        r"\frac34",
        r"\frac{\pi}{4}",
        r"2\sqrt{3}",
        r"\sqrt{3}",
        "10^{6}",
        r"3 \times 4",
        r"3 \cdot 4",
        r"3 \pm 1",
        r"8 \div 2",
    ],
)
def test_a_formula_without_a_box_comes_to_no_number(text: str) -> None:
    assert stated_number(text) is None
    assert MARKED.read(f"Answer: {text}").outcome == "invalid"
    assert stated_number(rf"${text} = 12$") == "12"
    with pytest.raises(ValueError, match=r"expected (a|one) number, found"):
        target_number(text)


def test_the_last_box_counts_and_one_that_is_never_closed_holds_nothing() -> None:
    assert boxed("no box, but braces {5}") is None
    assert boxed(r"\boxed{1} and \boxed{\boxed{2}}") == "2"
    assert boxed(r"\boxed{1} and \boxed{2") == ""
    assert stated_number(r"\boxed{1} and \boxed{2") is None
    assert stated_number(r"\boxed{5}, to be put in \boxed") == "5"
    assert NUMBER.read(r"so \boxed{12", "length").outcome == "truncated"


@given(
    st.lists(st.sampled_from([*r"\{}^$%,;! 5a~", r"\text{", r"\boxed{", r"^\circ"]), max_size=30).map("".join)
)
def test_what_a_box_holds_has_neither_macros_nor_powers(text: str) -> None:
    inside = boxed(rf"\boxed{{{text}}}")
    assert inside is not None
    assert not {"\\", "^"} & set(inside)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12345678901234567890", "12345678901234567890"),
        ("12345678901234567891", "12345678901234567891"),
        ("-12345678901234567891", "-12345678901234567891"),
        ("12,345,678,901,234,567,891", "12345678901234567891"),
        ("12345678901234567891.00", "12345678901234567891"),
        ("0" * 5000 + "12345678901234567891", "12345678901234567891"),
        ("9007199254740993", "9007199254740993"),
        ("10000000000000000", "1e+16"),
        ("1e16", "1e+16"),
    ],
)
def test_a_whole_number_of_many_figures_keeps_them_all(text: str, number: str) -> None:
    assert find_number(text) == find_number(number) == target_number(text) == number


@given(st.integers(-(10**40), 10**40), st.integers(1, 9))
def test_two_whole_numbers_are_never_one(number: int, more: int) -> None:
    assert find_number(str(number)) != find_number(str(number + more))
    assert find_number(f"{number:,}") == find_number(str(number))


def test_a_whole_number_of_many_figures_is_exact_in_json_too() -> None:
    for text in ("12345678901234567890", "12345678901234567891"):
        assert IN_JSON.read(f'{{"answer": {text}}}').text == text
        assert find_number(repr(int(text))) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The area is 5 m^{2}.", "5"),
        (r"It covers $25 \mathrm{~cm}^2$", "25"),
        ("It falls with 9.8 m s^{-2}", "9.8"),
        ("It falls with 9.8 m/s^2.", "9.8"),
        (r"So it is 12 \text{ ft}^{3} in all", "12"),
        ("12 units^2", "12"),
        ("x^2 = 4", "4"),
        ("Since R^2 is 0.93, it fits", "0.93"),
        ("kg m^2 s^{-1} is 7", "7"),
    ],
)
def test_the_power_of_a_unit_is_no_number_of_its_own(text: str, number: str) -> None:
    assert find_number(text) == stated_number(text) == NUMBER.read(text).text == number
    assert MARKED.read(f"Answer: {text}").text == number


@pytest.mark.parametrize("text", ["It is 3x^{2}", "The answer is 3 x^2", "e^{-1}", "2^{10}", "10^2"])
def test_a_power_that_nobody_worked_out_is_none(text: str) -> None:
    assert stated_number(text) is None
    assert NUMBER.read(text).text is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 million", "3000000"),
        ("3 Thousand", "3000"),
        ("$1.2 billion", "1200000000"),
        ("1.2bn", "1200000000"),
        ("2.5k", "2500"),
        ("2.5K", "2500"),
        ("5 k", "5000"),
        ("4 mn", "4000000"),
        ("1,2 Mio. €", "1200000"),
        ("2 milliards d'euros", "2000000000"),
        ("1,5 Milliarden", "1500000000"),
        ("12 mille", "12000"),
        ("2 trillion", "2000000000000"),
        ("3 hundred thousand", "300000"),
        ("2 lakh", "200000"),
        ("5 crore", "50000000"),
        ("$5m", "5000000"),
        ("$5B", "5000000000"),
        ("5 M€", "5000000"),
        ("5 Md€", "5000000000"),
        ("-$1.2 billion", "-1200000000"),
        ("minus 2.5 million", "-2500000"),
        ("**3** million", "3000000"),
        (r"3 \text{ million}", "3000000"),
        ("0.1 million", "100000"),
        ("1.1 thousand", "1100"),
        ("1234567890.1234567891 billion", "1234567890123456789.1"),
        ("1e3 k", "1000000"),
    ],
)
def test_a_number_is_multiplied_by_the_word_behind_it(text: str, number: str) -> None:
    assert find_number(text) == stated_number(text) == find_number(number)
    assert MARKED.read(f"Answer: {text} or so").text == target_number(text) == find_number(number)


@pytest.mark.parametrize(
    "text",
    [
        "5 m",
        "5 M",
        "5 km",
        "5 K",
        "5 b",
        "$5 B",
        "5 millionths",
        "5 millionaires",
        "5 - k",
        "5 * k",
        "5 k-means",
        "5k^2",
    ],
)
def test_a_unit_or_another_word_behind_a_number_is_no_scale(text: str) -> None:
    assert leading_number(text) == "5"


@given(
    st.integers(-(10**9), 10**9), st.integers(0, 12), st.sampled_from([("k", 3), ("million", 6), ("bn", 9)])
)
def test_a_scale_rounds_nothing(number: int, places: int, scale: tuple[str, int]) -> None:
    word, power = scale
    written = format(Decimal(number).scaleb(-places), "f")
    exact = format(Decimal(number).scaleb(power - places), "f")
    assert find_number(f"{written} {word}") == find_number(exact)


@pytest.mark.parametrize(
    "text", ["1 million 200 thousand", "3 or 4 million", "3 million to 4 million", "3-4 million"]
)
def test_two_numbers_with_a_scale_are_none(text: str) -> None:
    assert stated_number(text) is None
    with pytest.raises(ValueError, match="expected one number"):
        target_number(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("minus 5", "-5"),
        ("Minus $5", "-5"),
        ("It is minus 5 °C.", "-5"),
        ("moins 12,5", "-12.5"),
        ("au moins 5", "5"),
        ("plus ou moins 5", "5"),
        ("plus or minus 5", "5"),
        ("minus -5", "-5"),
        ("It is the starting value minus 5", "5"),
        ("So: **minus 5**", "-5"),
    ],
)
def test_minus_in_words_is_a_sign_where_it_takes_nothing_off(text: str, number: str) -> None:
    assert find_number(text) == stated_number(text) == target_number(text) == number


@pytest.mark.parametrize("text", ["7 minus 5", "(3) minus 5", "7 moins 5", "7 plus 5"])
def test_a_sum_in_words_that_nobody_worked_out_is_none(text: str) -> None:
    assert stated_number(text) is None
    assert stated_number(f"{text} = 2") == "2"
