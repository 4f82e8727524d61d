"""One text for one value, and its hash."""

import subprocess
import sys

import pytest

from optimizer.digest import canonical, derived_seed, digest, pretty, sha256


def test_canonical_json_has_sorted_keys_no_spaces_and_unescaped_letters() -> None:
    assert (
        canonical({"é": [1, 2.5, None], "a": {"z": True, "b": "\n"}})
        == r'{"a":{"b":"\n","z":true},"é":[1,2.5,null]}'
    )


def test_a_tuple_is_a_list() -> None:
    assert canonical(("a", (1,))) == canonical(["a", [1]])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")], {"a": float("nan")}])
def test_nan_and_infinities_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        canonical(value)
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        pretty(value)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), {"a": 1j}])
def test_what_is_no_plain_data_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="is not JSON serializable"):
        digest(value)


def test_pretty_is_the_same_document_for_people() -> None:
    assert pretty({"b": [1], "a": "é"}) == '{\n  "a": "é",\n  "b": [\n    1\n  ]\n}\n'


def test_the_digest_is_the_sha_256_of_the_canonical_text() -> None:
    # FIPS 180-4: the SHA-256 of nothing; and `printf '{"a":1}' | sha256sum`.
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


def test_the_order_of_keys_does_not_matter_and_the_order_of_items_does() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


@pytest.mark.parametrize(
    ("one", "other"), [(1, "1"), (1, True), (None, "null"), ([], {}), (["ab"], ["a", "b"])]
)
def test_values_of_different_kinds_have_different_digests(one: object, other: object) -> None:
    assert digest(one) != digest(other)


def test_half_a_surrogate_pair_has_a_digest() -> None:
    assert digest("\ud800") != digest("\udc00")


def test_a_derived_seed_depends_on_every_part_and_their_order() -> None:
    seeds = [derived_seed(*parts) for parts in ((0,), (0, "a"), ("a", 0), (0, "b"), (1, "a"), (0, "a", 0))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_another_process_finds_the_same_digest_and_seed() -> None:
    program = "from optimizer.digest import *; print(digest({'b': 1, 'a': ['é']}), derived_seed(7, 'x'))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [digest({"a": ["é"], "b": 1}), str(derived_seed(7, "x"))]
