"""A whole study in which what helps is the example most like the input, from search to the file in production."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.commands._prompts import prompt_lines
from optimizer.completion import Request
from optimizer.plan import load_plan
from optimizer.report._messages import calls

if TYPE_CHECKING:
    from optimizer.frozen import FrozenPrompt

ROOT = Path(__file__).resolve().parents[2]

TOPICS = ("apple", "lemon", "grass", "cherry", "canary", "frog")
COLOURS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 30, validation: 30, test: 30}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  demos: {sizes: [0, 2], sets: 8, selectors: [random, nearest]}
  styles: [direct]
  formats: [plain]
  screen: 15
  sampler: {name: tpe}
budget: {calls: 600}
"""


def copies(request: Request) -> str:
    """Answer with the colour of the last demonstration if that is of the same topic, else always red."""
    *before, asked = [message.content for message in request.messages]
    topic = next(word for word in TOPICS if word in asked)
    return before[-1] if len(before) > 2 and topic in before[-2] else "red"


@pytest.fixture
def study(write_study: Callable[..., Path]) -> Path:
    path = write_study(TASK, STUDY, items=90)
    rows = (f"c{n:02d},An {TOPICS[n % 6]} of kind {n},{COLOURS[n % 6 // 2]}\n" for n in range(90))
    path.with_name("data.csv").write_text("id,text,colour\n" + "".join(rows))
    return path


def test_a_retrieved_demonstration_wins_is_frozen_and_ships(
    study: Path, finished: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = finished(load_plan(study), copies)
    frozen: FrozenPrompt = outcome.selection.frozen
    assert outcome.evidence["decision"] == "improved"
    assert frozen.template.retrieval is not None
    assert len(frozen.template.retrieval.pool) == len(frozen.demonstration_ids) == 30
    sentence = "Each input is shown the 2 most alike of 30 training examples, the most alike last."
    assert sentence in list(prompt_lines(frozen))
    assert calls(frozen.template)[0].notes[0] == f"{sentence} They fill ‹shot:…›."

    path = tmp_path / "prompt.json"
    path.write_text(frozen.dumps(), encoding="utf-8")
    program = f"""
import json, sys
sys.path.insert(0, {str(ROOT)!r})
from optimizer import FrozenPrompt
print(json.dumps(FrozenPrompt.load({str(path)!r}).messages(text="A frog of kind 99")))
"""
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    messages = json.loads(result.stdout)
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert all("frog" in messages[k]["content"] for k in (1, 3))
    assert [messages[k]["content"] for k in (2, 4)] == ["blue", "blue"]
