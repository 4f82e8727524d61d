"""The cells of a comparison: what keeps one from being asked, and whether it keeps the next one as well."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optimizer.answer import AnswerFormat
from optimizer.comparing import Progress, Scored, Terms, open_comparing
from optimizer.completion import Request
from optimizer.config import RunSpec
from optimizer.errors import BudgetError, EndpointError, OptimizerError, OverloadedError, StudyBusyError
from optimizer.frozen import FrozenPrompt
from optimizer.lineup import entrants, seats
from optimizer.models import ModelSpec
from optimizer.models.scripted import Scripted
from optimizer.plan import load_examples
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.rescoring import store_of
from optimizer.rivals import Rival
from optimizer.storage import open_storage

if TYPE_CHECKING:
    from tests.virtual_clock import RunVirtual

Watch = Callable[[Progress], None]

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 9, test: 6}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""


def prompt(words: str) -> FrozenPrompt:
    ask = MessageTemplate(role="user", parts=(words, Hole(name="input:text")))
    reader = AnswerFormat(kind="label", labels=("red", "green", "blue"))
    return FrozenPrompt(
        name=words,
        template=PromptTemplate(calls=(CallTemplate(messages=(ask,)),), answer=reader),
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "scripted", "name": "rules"},
        task={},
        evidence={},
        history=(),
        tool_versions={},
    )


@pytest.fixture
def compare(
    write_study: Callable[..., Path], play: Callable[..., None], run_virtual: "RunVirtual"
) -> Callable[..., tuple[Scored, ...]]:
    """Return a function that asks a script with the prompts `first` and `second`."""
    path = write_study(TASK, "", items=21)
    (path.parents[1] / "pyproject.toml").touch()
    task, dataset = load_examples(path.with_name("task.yaml"))
    spec = ModelSpec(provider="scripted", name="rules", path=str(path.with_name("rules.json")))
    model = Rival(label="m", spec=spec)
    places = seats(entrants([prompt("first"), prompt("second")]), [model], task)
    terms = Terms(task=task, examples=dataset.test, run=RunSpec(), cache="private", database=store_of(path))

    def run(script: Callable[[Request], str], watch: Watch = lambda _: None) -> tuple[Scored, ...]:
        play(Scripted(script))
        with open_comparing(places, terms) as comparing:
            comparing.watch = watch
            found = run_virtual(comparing.run())
            # Between the last cell and the end nobody else gets at the store, either.
            with pytest.raises(StudyBusyError), open_storage(terms.database):
                pass
            comparing.finish(found)
        return found

    return run


def failing(request: Request, error: OptimizerError) -> str:
    """Answer the first prompt about some items alone."""
    said = request.messages[-1].content
    if said.startswith("first") and not said.endswith(("0 is here", "1 is here")):
        raise error
    return "red"


def test_a_budget_that_one_prompt_used_up_takes_nothing_from_the_next(
    compare: Callable[..., tuple[Scored, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optimizer.budget._LEAST_ATTEMPTS", 20)
    first, second = compare(lambda request: failing(request, OverloadedError("busy", reason="HTTP 503")))
    assert isinstance(first.error, BudgetError)
    assert second.evaluation is not None
    assert second.evaluation.n_errors == 0


def test_an_endpoint_that_refuses_one_prompt_for_good_is_not_asked_with_the_next(
    compare: Callable[..., tuple[Scored, ...]],
) -> None:
    first, second = compare(lambda request: failing(request, EndpointError("wrong key")))
    assert isinstance(first.error, EndpointError)
    assert second.error is first.error


def test_whoever_watched_may_be_gone(compare: Callable[..., tuple[Scored, ...]]) -> None:
    def gone(_: Progress) -> None:
        raise BrokenPipeError

    found = compare(lambda _: "red", gone)
    assert [each.error for each in found] == [None, None]
