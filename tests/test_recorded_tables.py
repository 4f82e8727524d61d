"""The recordings that `benchmarks/recorded_replay.py` searches on, how it divides them, and MIPROv2's search on one."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from optimizer.recorded import RecordedScores

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RECORDINGS = sorted((BENCHMARKS / "results" / "recorded").glob("*.json"))


@pytest.fixture(scope="module")
def replay() -> Iterator[ModuleType]:
    """Return the benchmark as a module; it finds what lies beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import recorded_replay

        yield recorded_replay


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_what_is_recorded_of_a_prompt_is_a_score_on_every_example(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    instructions, sets = len(document["instructions"]), len(document["demonstrations"])
    assert document["task"] == path.stem
    assert set(document["scores"]) <= {f"i{i:02} d{k:02}" for i in range(instructions) for k in range(sets)}
    assert {len(row) for row in document["scores"].values()} == {len(set(document["examples"]))}
    assert set("".join(document["scores"].values())) == {"0", "1"}
    shown = {each for ids in document["demonstrations"] for each in ids}
    assert not shown & set(document["examples"])


def test_a_search_sees_one_half_of_the_examples_and_is_tested_on_the_other(replay: ModuleType) -> None:
    rows = {
        "i00 d00": "1100110010",
        "i00 d01": "0101010101",
        "i01 d00": "1111100000",
        "i01 d01": "0000000001",
    }
    document = {"examples": [f"x{k}" for k in range(10)], "scores": rows}
    first, again, other = (replay.divided(document, seed) for seed in (3, 3, 4))
    assert first == again
    assert set(first.scores["i00 d00"]) != set(other.scores["i00 d00"])
    assert first.baseline == "i00 d00"
    assert first.factors["i01 d00"] == {"instruction": "i01", "demonstrations": "d00"}
    for name, row in rows.items():
        seen = first.scores[name]
        assert len(seen) == 5
        assert all(float(row[int(example[1:])]) == score for example, score in seen.items())
        both = (statistics.fmean(seen.values()) + first.test_scores[name]) / 2
        assert both == pytest.approx(row.count("1") / len(row))


@pytest.mark.slow
def test_the_search_of_miprov2_runs_on_a_table_within_its_calls(replay: ModuleType) -> None:
    examples = [f"e{k:02}" for k in range(60)]
    names = [f"i{i:02} d{k:02}" for i in range(2) for k in range(3)]
    table = RecordedScores(
        baseline=names[0],
        scores={
            name: {example: float(name == "i01 d02" or n % 4 == 0) for n, example in enumerate(examples)}
            for name in names
        },
        factors={name: {"instruction": name[:3], "demonstrations": name[4:]} for name in names},
        test_scores=dict.fromkeys(names, 0.0),
    )
    chosen, calls = replay.mipro_choice(table, calls=1500, seed=0)
    assert chosen == "i01 d02"
    assert 1400 < calls <= 1500
