"""`init` makes a sound study of every public data set at hand, with splits that 300 calls can pay for.

Of each some hundred rows: `benchmarks/sixteen_tasks.py` takes all of them, and runs the studies.
"""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from optimizer.commands import main
from optimizer.plan import StudyPlan, load_plan
from optimizer.taskfile import OutputType

if TYPE_CHECKING:
    from tests.output_schemas import checked
else:
    from output_schemas import checked

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "tasks"
CALLS = 300
MOST_ROWS = {"banking77": 800}  # ten rows for each of its labels
USUAL_ROWS = 200


class Expected(NamedTuple):
    output: OutputType
    metric: str
    n_labels: int = 0


LABELS, NUMBER = "accuracy", Expected("number", "numeric")
TEXT, OBJECT = Expected("text", "match"), Expected("json", "json_fields")

TASKS = {
    "ag_news": Expected("label", LABELS, 4),
    "banking77": Expected("label", LABELS, 77),
    "bbh_causal_judgement": Expected("label", LABELS, 2),
    "bbh_date_understanding": Expected("label", LABELS, 6),
    "bbh_navigate": Expected("label", LABELS, 2),
    "bbh_object_counting": NUMBER,
    "facility_support": OBJECT,
    "fr_mgsm": NUMBER,
    "fr_tweet_sentiment": Expected("label", LABELS, 3),
    "gsm8k": NUMBER,
    "hotpotqa_150": TEXT,
    "induction_antonyms": TEXT,
    "induction_larger_animal": TEXT,
    "induction_translation_en_fr": TEXT,
    "restaurant8k": OBJECT,
    "sst2": Expected("label", LABELS, 2),
}


def as_csv(source: Path, target: Path) -> None:
    """Write inputs, answer and id of the rows of all parts; lists and objects as JSON text."""
    meta = json.loads((source / "meta.json").read_text(encoding="utf-8"))
    columns = ["id", *meta["inputs"], meta["output"]]
    lines = [line for part in sorted(source.glob("*.jsonl")) for line in part.read_bytes().splitlines()]
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        most = MOST_ROWS.get(source.name, USUAL_ROWS)
        for row in map(json.loads, Random(0).sample(lines, min(len(lines), most))):
            cells = (row[name] for name in columns)
            writer.writerow(cell if isinstance(cell, str) else json.dumps(cell) for cell in cells)


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Return the command line, run in this process in an empty folder; it must end well."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["optimizer", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        checked(sys.argv, printed.out)
        assert not end.value.code, printed.err
        return printed.out

    return run


@pytest.fixture
def planned(request: pytest.FixtureRequest, command: Callable[..., str]) -> StudyPlan:
    """Return the study that `init` makes of a data set, once `validate` has passed it as it was written."""
    name: str = request.param
    if not (DATA / name).is_dir():
        pytest.skip(f"the public data sets are not beside the repository: there is no {DATA / name}")
    as_csv(DATA / name, Path("data.csv"))
    model = ("--model", "openai_compatible:any", "--base-url", "http://127.0.0.1:9/v1")
    command("init", name, "--data", "data.csv", "--calls", str(CALLS), "--output", ".", *model)
    study = Path("studies", name, "study.yaml")
    command("validate", f"tasks/{name}.yaml", str(study))
    return load_plan(study)


@pytest.mark.slow
@pytest.mark.parametrize(("planned", "expected"), TASKS.items(), indirect=["planned"], ids=list(TASKS))
def test_a_data_set_becomes_a_sound_study_that_its_budget_can_pay_for(
    planned: StudyPlan, expected: Expected
) -> None:
    task, sizes = planned.task, [len(split) for split in (planned.dataset.validation, planned.dataset.test)]
    assert (task.output, task.metric, len(task.labels)) == expected
    assert planned.file.budget.calls == CALLS
    assert planned.bounds.candidates >= 8
    assert min(sizes) >= 24
    assert planned.bounds.test.calls + planned.bounds.confirmation.calls < CALLS
    assert task.language == ("fr" if planned.name.startswith("fr_") else "en")
    assert task.inputs == tuple(json.loads((DATA / planned.name / "meta.json").read_text())["inputs"])
