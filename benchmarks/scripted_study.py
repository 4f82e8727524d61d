"""The whole product on a model that is right by chance: from study file to verdict, on virtual time, in no time.

The answer to a request is drawn by a digest of all of it: the same request has the same answer, another prompt is
another draw. So no prompt is better than another, and every gain is chance.
"""

import dataclasses
import importlib.util
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from optimizer.completion import Request
from optimizer.conclusion import Selection
from optimizer.digest import canonical
from optimizer.models import Connection, ModelSpec, scripted
from optimizer.models.scripted import Scripted
from optimizer.plan import load_plan
from optimizer.selection import optimize
from optimizer.study import open_study

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from optimizer.history import TrialRecord

ROOT = Path(__file__).resolve().parents[1]
# The inputs of a request, demonstrations first; the last one is asked about.
_REVIEW = re.compile(r"Review \d+ of collection \d+\.")

TASK = """schema: 1
name: reviews
dataset:
  inputs: [review]
  target: label
  splits: {train: train.csv, validation: validation.csv, test: test.csv}
output: {type: label, labels: [negative, positive]}
metric: accuracy
instruction: Say whether the review is negative or positive.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a study came to.

    Attributes:
        calls: Requests that the model answered before the test.
    """

    selection: Selection
    trials: tuple["TrialRecord", ...]
    calls: int


def studied(
    labels: Mapping[str, str],
    sizes: tuple[int, int, int],
    study: str,
    right: Callable[[Request], bool],
    *,
    seed: int,
) -> Outcome:
    """Return what the product finds, in a folder that is gone afterwards.

    Args:
        labels: Label of each review, `negative` or `positive`.
        sizes: Of train, validation and test, in the order of the reviews.
        study: The study file, whose task is `task.yaml` and whose model is the provider `scripted` with `rules.json`.
        right: Whether the model answers a request right.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [f"r{n:04d},{review},{label}\n" for n, (review, label) in enumerate(labels.items())]
        for split, size in zip(("train", "validation", "test"), sizes, strict=True):
            mine, rows = rows[:size], rows[size:]
            (folder / f"{split}.csv").write_text("id,review,label\n" + "".join(mine), encoding="utf-8")
        (folder / "rules.json").write_text('{"rules": [], "default": ""}', encoding="utf-8")
        (folder / "task.yaml").write_text(TASK, encoding="utf-8")
        (folder / "study.yaml").write_text(study, encoding="utf-8")
        plan = load_plan(folder / "study.yaml", seed=seed)

        def script(request: Request) -> str:
            truth = labels[asked_about(request)]
            return said(request, truth if right(request) else _other(truth))

        async def work() -> Outcome:
            async with open_study(plan) as opened:
                selection = await optimize(opened)
                tested = {example.values["review"] for example in plan.dataset.test}
                calls = sum(asked_about(request) not in tested for request in model.requests)
                return Outcome(selection=selection, trials=opened.trials, calls=calls)

        model = Scripted(script)
        with _connected(model):
            outcome: Outcome = _virtual(work())
    # An answer that could not be read would be wrong under some prompts more often than under others.
    assert all(row.valid == 1 and row.errors == 0 for row in outcome.trials)
    return outcome


def asked_about(request: Request) -> str:
    """Return the review that a request is about."""
    found: list[str] = _REVIEW.findall("\n".join(message.content for message in request.messages))
    return found[-1]


def said(request: Request, label: str) -> str:
    """Return a completion that says a label as the request wants it said."""
    if request.constraint is None or request.constraint.choice:
        return label
    fields = cast(dict[str, object], request.constraint.schema()["properties"])
    return canonical({name: label if name == "label" else "It reads like that." for name in fields})


def _other(label: str) -> str:
    return "positive" if label == "negative" else "negative"


@contextmanager
def _connected(model: Scripted) -> Iterator[None]:
    """Have a model answer for the provider `scripted` in the block."""
    provider = scripted.SCRIPTED

    @asynccontextmanager
    async def connect(spec: ModelSpec) -> AsyncIterator[Connection]:
        identity = {"provider": "scripted", "name": spec.name}
        yield Connection(model=model, identity=identity, capabilities=provider.capabilities(spec))

    scripted.SCRIPTED = dataclasses.replace(provider, connect=connect)
    try:
        yield
    finally:
        scripted.SCRIPTED = provider


def _virtual(main: "Coroutine[Any, Any, Outcome]") -> Outcome:
    """Return what a coroutine returns on the virtual clock of the tests."""
    spec = importlib.util.spec_from_file_location("virtual_clock", ROOT / "tests" / "virtual_clock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    outcome: Outcome = module.run_virtual(main)
    return outcome
