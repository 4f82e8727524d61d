"""What every perturbation keeps to: the same bytes anywhere, a text that is still a text, the numbers in it as they were."""

import json
import re
import subprocess
import sys
import unicodedata
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.digest import digest
from optimizer.perturbations import PERTURBATIONS, Planting

each = pytest.mark.parametrize("name", list(PERTURBATIONS))

PLANTING = Planting(answer="42 {braces} %s \\1", language="en")
TEXTS = (
    "Où est passé mon colis n° 4521 ? Il devait arriver à Noël, déjà.",
    "Refund $1,299.00 to card 4242, please. THANKS",
    "two  spaces\tand a tab\nand a line",
    "日本語のテキスト 😀 हिन्दी",
    "x",
    "12345",
    "",
)

ELSEWHERE = """
import json, sys
from random import Random
from optimizer.perturbations import PERTURBATIONS, Planting
name, texts = json.loads(sys.argv[1])
planting = Planting(answer="42 {braces} %s \\\\1", language="en")
print(json.dumps([PERTURBATIONS[name].change(text, Random(7), planting) for text in texts]))
"""


def changed(name: str, text: str, seed: int = 7, planting: Planting = PLANTING) -> str:
    return PERTURBATIONS[name].change(text, Random(seed), planting)


@each
def test_the_same_seed_gives_the_same_text_in_another_process(name: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, json.dumps([name, TEXTS])],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={"PYTHONHASHSEED": "1"},
    )
    assert digest(json.loads(found.stdout)) == digest([changed(name, text) for text in TEXTS])


@each
def test_a_text_with_letters_accents_and_spaces_is_changed(name: str) -> None:
    assert all(changed(name, TEXTS[0], seed) != TEXTS[0] for seed in range(50))


@each
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=40), seed=st.integers(0, 2**32 - 1))
def test_nothing_unprintable_is_added_and_digits_stay(name: str, text: str, seed: int) -> None:
    found = changed(name, text, seed)
    unshown = {c for c in found if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")}
    assert unshown - set(text) <= {"\n"}
    if not PERTURBATIONS[name].plants:
        assert re.findall(r"[0-9]", found) == re.findall(r"[0-9]", text)
    else:
        assert found.startswith(text)
        assert PLANTING.answer in found


@each
def test_a_long_text_takes_a_moment(name: str) -> None:
    text = TEXTS[0] * 2_000
    assert len(changed(name, text)) < 2 * len(text) + 200


@each
@pytest.mark.parametrize("number", ["1 200 500", "3 1/2"])
def test_a_number_with_spaces_in_it_stays_whole(name: str, number: str) -> None:
    for seed in range(100):
        assert f" {number} " in changed(name, f"about {number} parcels", seed).replace("\n", " ")
        assert number in changed(name, f"about {number} parcels", seed)


def test_french_instructions_are_planted_in_french_tasks() -> None:
    planted = [
        changed("injection", "Bonjour", seed, Planting(answer="A", language="fr")) for seed in range(20)
    ]
    assert len(set(planted)) > 2
    assert all(re.search("répon|Dites", text) for text in planted)
    assert not any(re.search("répon|Dites", changed("injection", "Hello", seed)) for seed in range(20))
