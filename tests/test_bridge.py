"""DSPy's programs, optimizers and `Evaluate` on any model of ours: what is sent, what comes back, what a failure does."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import dspy
import pytest
from dspy import lm15

from optimizer.bridge import dspy_lm
from optimizer.budget import Budget
from optimizer.calls import Caller
from optimizer.completion import Capabilities, Completion, Message, Model, Request
from optimizer.errors import (
    BrokenAnswerError,
    BudgetError,
    EndpointError,
    InterruptedRunError,
    OutageError,
    OverloadedError,
    RejectedError,
    StorageError,
    UnreachableError,
)
from optimizer.ledger import Ledger
from optimizer.models import Connection
from optimizer.models.scripted import Scripted
from optimizer.pacing import Pace
from optimizer.storage import open_storage
from optimizer.store import Store

T = TypeVar("T")

COLOURS = [("grass", "green"), ("sky", "blue"), ("snow", "white"), ("coal", "black")]
DEVSET = [
    dspy.Example(thing=f"{thing} {n}", colour=colour).with_inputs("thing")
    for n in range(5)
    for thing, colour in COLOURS
]
HOLDS_SCHEMAS = Capabilities(can=frozenset({"json_schema"}))


@pytest.fixture(autouse=True)
def dspy_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Prove for every test that DSPy's own cache, which is opened when it is first used, is not."""
    folder = tmp_path / "dspy"
    monkeypatch.setenv("DSPY_CACHEDIR", str(folder))
    yield
    assert not folder.exists()


class Colour(dspy.Signature):  # type: ignore[misc]  # DSPy ships no types
    """Name the colour of the thing."""

    thing: str = dspy.InputField()
    colour: str = dspy.OutputField()


class Unstable:
    """A model that answers well, and from one request on fails with an error, which it counts."""

    def __init__(self, error: Exception, *, after: int = 0, seconds: float = 0.0) -> None:
        self._error = error
        self._after = after
        self._seconds = seconds
        self.n_sent = 0

    async def complete(self, request: Request) -> Completion:
        self.n_sent += 1
        failing = self.n_sent > self._after
        await asyncio.sleep(self._seconds)
        if failing:
            raise self._error
        return Completion(text=right(request))


def in_chat(**fields: str) -> str:
    """Return an answer in the words of DSPy's ChatAdapter."""
    return (
        "".join(f"[[ ## {name} ## ]]\n{text}\n\n" for name, text in fields.items()) + "[[ ## completed ## ]]"
    )


def right(request: Request) -> str:
    """Return the right colour, with whatever else is asked for."""
    asked = request.messages[-1].content
    colour = next(colour for thing, colour in COLOURS if thing in asked)
    wanted = re.findall(r"`\[\[ ## (\w+) ## \]\]`", asked.rpartition("Respond with")[2])
    return in_chat(
        **{name: colour if name == "colour" else "by looking" for name in wanted if name != "completed"}
    )


def in_json(request: Request) -> str:
    return json.dumps({"reasoning": "by looking", "colour": "green"})


def same(example: Any, prediction: Any, trace: object = None) -> bool:
    return bool(example.colour == prediction.colour)


def bridged(work: Callable[[], T], model: Model, **options: Any) -> T:
    """Return what DSPy code makes with a model; it runs beside the model's loop, as it should."""

    async def run() -> T:
        with dspy_lm(model, name="scripted", **options) as lm, dspy.context(lm=lm):
            return await asyncio.to_thread(work)

    return asyncio.run(run())


def with_lm(model: Model, loop: asyncio.AbstractEventLoop, work: Callable[[Any], T]) -> T:
    """Return what is made of a `dspy.LM` on the thread of the test, the model living on a loop elsewhere."""
    with dspy_lm(model, name="scripted", loop=loop) as lm, dspy.context(lm=lm):
        return work(lm)


def predict(signature: Any = Colour, **config: Any) -> Any:
    return dspy.Predict(signature, **config)(thing="grass")


# ---- What is sent, and what comes back ------------------------------------------------------------------------------


def test_a_program_is_answered_by_the_model() -> None:
    assert bridged(predict, Scripted(right)).colour == "green"


def test_what_is_sent_is_what_the_adapter_wrote() -> None:
    model = Scripted(right)
    bridged(predict, model)
    written = dspy.ChatAdapter().format(Colour, [], {"thing": "grass"})
    assert model.requests == [Request(messages=tuple(Message(**message) for message in written))]


def test_a_chain_of_thought_reasons_before_it_answers() -> None:
    prediction = bridged(lambda: dspy.ChainOfThought(Colour)(thing="sky"), Scripted(right))
    assert (prediction.reasoning, prediction.colour) == ("by looking", "blue")


def test_a_demonstration_is_a_turn_of_the_conversation() -> None:
    def shown() -> object:
        program = dspy.Predict(Colour)
        program.demos = [dspy.Example(thing="snow", colour="white")]
        return program(thing="grass")

    model = Scripted(right)
    bridged(shown, model)
    roles = [message.role for message in model.requests[0].messages]
    assert roles == ["system", "user", "assistant", "user"]


def test_an_answer_that_the_chat_adapter_cannot_read_is_asked_for_as_json() -> None:
    model = Scripted(in_json)
    assert bridged(predict, model).colour == "green"
    assert len(model.requests) == 2


def test_a_schema_is_sent_where_the_model_can_be_held_to_one_with_its_fields_in_order() -> None:
    def with_json() -> object:
        with dspy.context(adapter=dspy.JSONAdapter()):
            return dspy.ChainOfThought(Colour)(thing="grass")

    model = Scripted(in_json)
    bridged(with_json, model, capabilities=HOLDS_SCHEMAS)
    constraint = model.requests[0].constraint
    assert constraint is not None
    assert list(json.loads(constraint.json_schema or "")["properties"]) == ["reasoning", "colour"]


def test_no_schema_is_sent_to_a_model_that_cannot_be_held_to_one() -> None:
    def with_json() -> object:
        with dspy.context(adapter=dspy.JSONAdapter()):
            return predict()

    model = Scripted(in_json)
    bridged(with_json, model)
    assert model.requests[0].constraint is None


def test_json_without_a_schema_is_left_to_the_prompt_and_dspy_is_told() -> None:
    async def run() -> tuple[Any, Any]:
        with dspy_lm(model, name="scripted", capabilities=HOLDS_SCHEMAS) as lm:
            with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
                prediction = await dspy.Predict("thing -> colours: dict[str, str]").acall(thing="flag")
            return prediction, lm.history[-1]

    model = Scripted(lambda _: '{"colours": {"left": "blue"}}')
    prediction, entry = asyncio.run(run())
    assert prediction.colours == {"left": "blue"}
    assert model.requests[0].constraint is None
    assert [(each.field, each.action) for each in entry["adaptations"]] == [
        ("config.response_format", "dropped")
    ]


@pytest.mark.parametrize(
    ("given", "config", "sent"),
    [
        pytest.param({}, {}, (), id="nothing"),
        pytest.param(
            {"seed": 7, "temperature": 0.5}, {}, (("seed", 7), ("temperature", 0.5)), id="the-model's"
        ),
        pytest.param(
            {"temperature": 0.5},
            {"temperature": 1.0, "max_tokens": 9, "stop": "\n"},
            (("max_tokens", 9), ("stop", "\n"), ("temperature", 1.0)),
            id="the-program's-first",
        ),
        pytest.param({"max_tokens": 64}, {}, (("max_tokens", 64),), id="bound"),
        pytest.param(
            {"max_completion_tokens": 64},
            {"max_tokens": 9},
            (("max_completion_tokens", 9),),
            id="bound-by-its-name",
        ),
        pytest.param({"temperature": 0.5}, {"temperature": None}, (), id="taken-back"),
        pytest.param({"min_p": 0.1}, {"top_p": 0.9}, (("min_p", 0.1), ("top_p", 0.9)), id="unknown-to-dspy"),
        pytest.param({}, {"verbosity": "low"}, (("verbosity", "low"),), id="carried-by-name"),
    ],
)
def test_parameters_are_sent_sorted(given: dict[str, Any], config: dict[str, Any], sent: object) -> None:
    model = Scripted(right)
    bridged(lambda: predict(**config), model, parameters=given)
    assert model.requests[0].parameters == sent


@pytest.mark.parametrize("name", ["gpt-5-mini", "openai/o3", "smollm2-135m"])
def test_rules_that_dspy_has_for_the_models_of_one_provider_are_not_applied(name: str) -> None:
    async def run() -> Any:
        few = {"temperature": 0, "max_tokens": 16}
        with dspy_lm(Scripted(right), name=name, parameters=few) as lm, dspy.context(lm=lm):
            return await dspy.Predict(Colour).acall(thing="snow")

    assert asyncio.run(run()).colour == "white"


def test_an_instruction_in_the_middle_of_a_conversation_is_one_of_the_system() -> None:
    async def run() -> None:
        with dspy_lm(model, name="scripted") as lm:
            turns = (
                lm15.Message.user("Hi"),
                lm15.Message.developer("Be brief."),
                lm15.Message.user(["A", "B"]),
            )
            await lm.acall(request=lm15.Request(model=lm.model, system="You help.", messages=turns))

    model = Scripted(lambda _: "Hello")
    asyncio.run(run())
    said = [(message.role, message.content) for message in model.requests[0].messages]
    assert said == [("system", "You help."), ("user", "Hi"), ("system", "Be brief."), ("user", "A\nB")]


def test_tokens_are_passed_back() -> None:
    def counted() -> Any:
        with dspy.track_usage() as tracker:
            predict()
        return tracker.get_total_tokens()

    model = Scripted(lambda request: Completion(text=right(request), prompt_tokens=20, completion_tokens=3))
    (usage,) = bridged(counted, model).values()
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (20, 3, 23)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("stop", "stop"), ("length", "length"), ("refused", "content_filter")]
)
def test_dspy_hears_why_the_model_stopped(ours: Literal["stop", "length", "refused"], theirs: str) -> None:
    async def run() -> Any:
        with dspy_lm(Scripted(lambda _: Completion(text="No", finish_reason=ours)), name="scripted") as lm:
            return await lm.acall(request=lm15.Request(model=lm.model, messages=(lm15.Message.user("Hi"),)))

    response = asyncio.run(run())
    assert (response.finish_reason, response.text) == (theirs, "No")


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_stream_holds_the_whole_answer_in_one_piece(asynchronous: bool) -> None:
    async def run() -> list[Any]:
        with dspy_lm(Scripted(right), name="scripted") as lm, dspy.context(lm=lm):
            program = dspy.streamify(dspy.Predict(Colour), is_async_program=asynchronous)
            return [piece async for piece in program(thing="snow")]

    pieces = asyncio.run(run())
    assert "white" in str(pieces[0])
    assert pieces[-1].colour == "white"


def test_copies_of_a_program_share_the_model() -> None:
    async def run() -> Any:
        with dspy_lm(Scripted(right), name="scripted") as lm:
            program = dspy.ChainOfThought(Colour)
            program.set_lm(lm)
            return await program.deepcopy().acall(thing="coal")

    assert asyncio.run(run()).colour == "black"


# ---- The same thing again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configs", "repeats"),
    [
        pytest.param([{}, {}], [0, 0], id="none"),
        pytest.param([{"rollout_id": 0}, {"rollout_id": 3}, {}], [0, 3, 0], id="rollouts"),
        pytest.param([{"n": 3}], [0, 2**32, 2**33], id="n"),
        pytest.param([{"n": 2, "rollout_id": 1}, {"rollout_id": 2}], [1, 2**32 + 1, 2], id="both"),
    ],
)
def test_another_answer_is_another_repeat(configs: list[dict[str, int]], repeats: list[int]) -> None:
    def ask() -> None:
        for config in configs:
            predict(temperature=1.0, **config)

    model = Scripted(right)
    bridged(ask, model)
    assert [request.repeat for request in model.requests] == repeats


def test_a_copy_with_a_rollout_asks_for_its_own_answers() -> None:
    def best() -> Any:
        return dspy.BestOfN(dspy.Predict(Colour), N=3, reward_fn=lambda *_: 0.0, threshold=1.0)(thing="coal")

    model = Scripted(right)
    bridged(best, model)
    assert [request.repeat for request in model.requests] == [0, 1, 2]


def test_all_answers_of_one_call_come_back() -> None:
    answers = iter(["green", "olive", "lime"])
    completions = bridged(lambda: predict(n=3), Scripted(lambda _: in_chat(colour=next(answers)))).completions
    assert completions.colour == ["green", "olive", "lime"]


# ---- What cannot be carried -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"stop": ["a", "b"]}, "stop: only one text can be carried, found 2"),
        ({"logprobs": True}, "logprobs: cannot be carried"),
        ({"reasoning_effort": "low"}, "reasoning: cannot be carried"),
        ({"logit_bias": {"5": 1}}, "logit_bias: expected a number or a text, found dict"),
        ({"rollout_id": "a"}, "rollout_id: expected an integer from 0 to 4294967295, found 'a'"),
        ({"rollout_id": -1}, "rollout_id: expected an integer from 0 to 4294967295, found -1"),
    ],
)
def test_an_option_that_cannot_be_carried_is_refused_by_name(config: dict[str, Any], said: str) -> None:
    model = Scripted(right)
    with pytest.raises(RejectedError) as refusal:
        bridged(lambda: predict(**config), model)
    assert said in str(refusal.value)
    assert model.requests == []


def test_an_image_is_refused() -> None:
    picture = dspy.Image("data:image/png;base64,iVBORw0KGgo=")
    with pytest.raises(RejectedError, match="a message holds image; only text can be carried"):
        bridged(lambda: dspy.Predict("picture: dspy.Image -> colour")(picture=picture), Scripted(right))


def test_tools_are_refused() -> None:
    async def run() -> None:
        with dspy_lm(Scripted(right), name="scripted") as lm:
            messages, tool = (lm15.Message.user("Hi"),), lm15.FunctionTool(name="look", description="Looks.")
            await lm.acall(request=lm15.Request(model=lm.model, messages=messages, tools=(tool,)))

    with pytest.raises(RejectedError, match="tools cannot be carried"):
        asyncio.run(run())


def test_what_dspy_itself_refuses_to_send_comes_out_too() -> None:
    evaluate = dspy.Evaluate(devset=DEVSET[:3], metric=same, num_threads=1)
    with pytest.raises(dspy.LMError, match="nonsense"):
        bridged(lambda: evaluate(dspy.Predict(Colour, nonsense=1)), Scripted(right))


# ---- A failure is never a score -------------------------------------------------------------------------------------

FAILURES = [
    UnreachableError("gone", reason="reset"),
    OverloadedError("busy", reason="429"),
    BrokenAnswerError("half an answer", reason="no JSON"),
    RejectedError("too long"),
    EndpointError("wrong key"),
    OutageError("down"),
    StorageError("disk full"),
    BudgetError("spent"),
    InterruptedRunError("stopped"),
    ValueError("a mistake in the model itself"),
]


@pytest.mark.parametrize("n_threads", [1, 4])
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_failed_call_ends_an_evaluation_without_a_score(error: Exception, n_threads: int) -> None:
    model = Unstable(error, after=6)
    evaluate = dspy.Evaluate(devset=DEVSET, metric=same, num_threads=n_threads)
    scores = []
    with pytest.raises(type(error)) as failure:
        bridged(lambda: scores.append(evaluate(dspy.Predict(Colour)).score), model)
    assert failure.value is error
    assert scores == []


@pytest.mark.parametrize("n_threads", [1, 4])
def test_nothing_is_sent_after_a_failure(n_threads: int) -> None:
    model = Unstable(OutageError("down"), after=6, seconds=0.005)
    evaluate = dspy.Evaluate(devset=DEVSET, metric=same, num_threads=n_threads)
    with pytest.raises(OutageError):
        bridged(lambda: evaluate(dspy.Predict(Colour)), model)
    assert model.n_sent < 7 + n_threads


@pytest.mark.parametrize(
    "compiled",
    [
        pytest.param(
            lambda: dspy.BootstrapFewShot(metric=same).compile(dspy.Predict(Colour), trainset=DEVSET),
            id="few",
        ),
        pytest.param(
            lambda: dspy.MIPROv2(metric=same, auto="light", num_threads=2).compile(
                dspy.Predict(Colour), trainset=DEVSET
            ),
            id="mipro",
        ),
        pytest.param(
            lambda: dspy.SIMBA(metric=same, bsize=8, max_steps=1, num_threads=2).compile(
                dspy.Predict(Colour), trainset=DEVSET
            ),
            id="simba",
        ),
    ],
)
def test_an_optimizer_learns_nothing_from_a_failure(compiled: Callable[[], object]) -> None:
    programs: list[object] = []
    with pytest.raises(OutageError):
        bridged(lambda: programs.append(compiled()), Unstable(OutageError("down"), after=2))
    assert programs == []


def test_a_program_cannot_take_a_failure_for_an_answer() -> None:
    class Careless(dspy.Module):  # type: ignore[misc]  # DSPy ships no types
        def __init__(self) -> None:
            super().__init__()
            self.colour = dspy.Predict(Colour)

        def forward(self, thing: str) -> Any:
            try:
                return self.colour(thing=thing)
            except Exception:  # noqa: BLE001 - what programs do
                return dspy.Prediction(colour="green")

    with pytest.raises(OutageError):
        bridged(lambda: Careless()(thing="grass"), Unstable(OutageError("down")))


def test_a_failure_that_a_program_hides_all_the_same_comes_out_at_the_end() -> None:
    def hiding() -> str:
        with contextlib.suppress(BaseException):
            predict()
        return "green"

    with pytest.raises(OutageError):
        bridged(hiding, Unstable(OutageError("down")))


def test_a_failure_comes_out_of_a_group_of_tasks_as_itself() -> None:
    async def run() -> None:
        with dspy_lm(Unstable(OutageError("down")), name="scripted") as lm, dspy.context(lm=lm):
            async with asyncio.TaskGroup() as tasks:
                for thing, _ in COLOURS:
                    tasks.create_task(dspy.Predict(Colour).acall(thing=thing))

    with pytest.raises(OutageError):
        asyncio.run(run())


def test_an_answer_that_cannot_be_read_is_the_models_own_and_dspy_scores_it() -> None:
    evaluate = dspy.Evaluate(devset=DEVSET, metric=same, num_threads=2, max_errors=len(DEVSET) + 1)
    model = Scripted(lambda request: "no idea" if "coal" in request.messages[-1].content else right(request))
    assert bridged(lambda: evaluate(dspy.Predict(Colour)), model).score == 75.0


def test_what_a_program_raises_by_itself_is_left_alone() -> None:
    with pytest.raises(ZeroDivisionError):
        bridged(lambda: 1 // 0, Scripted(right))


def test_an_interrupt_is_left_alone() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with loop_of_its_own() as loop, pytest.raises(KeyboardInterrupt):
        with_lm(Scripted(right), loop, lambda _: interrupted())


# ---- Threads and loops ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def loop_of_its_own() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread for the length of a block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_synchronous_call_on_the_thread_of_the_loop_is_an_error_and_no_deadlock() -> None:
    async def run() -> None:
        with dspy_lm(Scripted(right), name="scripted") as lm, dspy.context(lm=lm):
            predict()

    with pytest.raises(RuntimeError, match=r"would wait for itself; use `await program.acall\(...\)`"):
        asyncio.run(run())


def test_a_program_without_a_loop_uses_the_one_it_is_given() -> None:
    with loop_of_its_own() as loop:
        assert with_lm(Scripted(right), loop, lambda _: predict()).colour == "green"


def test_an_asynchronous_call_on_another_loop_is_handed_over() -> None:
    loops = []

    class Placed(Scripted):
        async def complete(self, request: Request) -> Completion:
            loops.append(asyncio.get_running_loop())
            return await super().complete(request)

    async def ask(lm: object) -> Any:
        with dspy.context(lm=lm):
            return await dspy.Predict(Colour).acall(thing="snow")

    with loop_of_its_own() as loop, dspy_lm(Placed(right), name="scripted", loop=loop) as lm:
        assert asyncio.run(ask(lm)).colour == "white"
        assert loops == [loop]


def test_without_a_loop_there_is_no_model() -> None:
    with pytest.raises(RuntimeError), dspy_lm(Scripted(right), name="scripted"):
        pass


def test_a_loop_that_does_not_run_is_an_error_and_no_deadlock() -> None:
    loop = asyncio.new_event_loop()
    try:
        with (
            pytest.raises(RuntimeError, match="does not run"),
            dspy_lm(Scripted(right), name="x", loop=loop) as lm,
        ):
            lm("Hi")
    finally:
        loop.close()


def test_a_model_is_closed_with_its_block() -> None:
    with loop_of_its_own() as loop:
        lm = with_lm(Scripted(right), loop, lambda lm: lm)
        with pytest.raises(BaseException, match="optimizer:scripted is closed"):
            lm("Hi")


def test_a_thread_that_is_left_waiting_is_let_go_when_the_block_ends() -> None:
    asked = threading.Event()

    class Endless:
        async def complete(self, request: Request) -> Completion:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    def leave_waiting(lm: Any) -> threading.Thread:
        thread = threading.Thread(target=quietly, args=(lm, "Hi"))
        thread.start()
        assert asked.wait(5)
        return thread

    def quietly(lm: Any, prompt: str) -> None:
        with contextlib.suppress(BaseException):
            lm(prompt)

    with loop_of_its_own() as loop:
        thread = with_lm(Endless(), loop, leave_waiting)
        thread.join(5)
        assert not thread.is_alive()


def test_the_bridge_does_not_load_dspy_before_it_is_used() -> None:
    program = "import sys, optimizer.bridge; sys.exit('dspy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# ---- On a Caller ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def a_caller(path: Path, model: Model, *, calls: int = 1000) -> AsyncIterator[Caller]:
    """Open the one study of a database, as often as one likes."""
    with open_storage(path) as storage:
        store = Store(storage)
        latest = store.latest_study()
        number = latest[0] if latest else store.add_study("colours", {})
        connection = Connection(model=model, identity={"name": "scripted"}, capabilities=Capabilities())
        budget = Budget(calls=calls, attempts=2 * calls)
        caller = Caller(connection, Ledger(store, number), budget=budget, pace=Pace(start=8, most=8))
        try:
            yield caller
        finally:
            await caller.close()


def called(work: Callable[[], T], path: Path, model: Model, *, calls: int = 1000) -> T:
    """Return what DSPy code makes with a model behind a Caller."""

    async def run() -> T:
        async with a_caller(path, model, calls=calls) as caller:
            with dspy_lm(caller, name="scripted") as lm, dspy.context(lm=lm):
                return await asyncio.to_thread(work)

    return asyncio.run(run())


def bootstrapped() -> Any:
    teacher = dspy.BootstrapFewShot(metric=same, max_bootstrapped_demos=2, max_labeled_demos=2)
    program = teacher.compile(dspy.ChainOfThought(Colour), trainset=DEVSET)
    return dspy.Evaluate(devset=DEVSET, metric=same, num_threads=4)(program).score


def test_the_same_program_again_sends_nothing(tmp_path: Path) -> None:
    first, again = Scripted(right), Scripted(right)
    assert called(bootstrapped, tmp_path / "study.db", first) == 100.0
    assert called(bootstrapped, tmp_path / "study.db", again) == 100.0
    assert len(first.requests) > len(DEVSET)
    assert again.requests == []


def test_a_program_that_was_stopped_by_an_outage_goes_on_from_there(tmp_path: Path) -> None:
    first, again = Unstable(EndpointError("empty account"), after=11), Scripted(right)
    with pytest.raises(EndpointError):
        called(bootstrapped, tmp_path / "study.db", first)
    assert called(bootstrapped, tmp_path / "study.db", again) == 100.0
    whole = Scripted(right)
    called(bootstrapped, tmp_path / "other.db", whole)
    assert len(again.requests) == len(whole.requests) - 11


@pytest.mark.parametrize("n_threads", [1, 8])
def test_the_budget_holds(n_threads: int, tmp_path: Path) -> None:
    model = Scripted(right)
    evaluate = dspy.Evaluate(devset=DEVSET, metric=same, num_threads=n_threads)
    with pytest.raises(BudgetError, match="the budget of 12 calls is spent"):
        called(lambda: evaluate(dspy.Predict(Colour)), tmp_path / "study.db", model, calls=12)
    assert len(model.requests) == 12


def test_another_answer_is_paid_for_and_stored_as_one(tmp_path: Path) -> None:
    def thrice() -> list[str]:
        return [predict(temperature=1.0, rollout_id=n).colour for n in (0, 1, 0)]

    answers = iter(["green", "olive"])
    model = Scripted(lambda _: in_chat(colour=next(answers)))
    assert called(thrice, tmp_path / "study.db", model) == ["green", "olive", "green"]
    assert called(thrice, tmp_path / "study.db", model) == ["green", "olive", "green"]


def test_a_failing_model_is_retried_by_the_caller_alone(tmp_path: Path) -> None:
    class Hiccup(Scripted):
        failed = False

        async def complete(self, request: Request) -> Completion:
            if not self.failed:
                self.failed = True
                raise BrokenAnswerError("half an answer", reason="no JSON")
            return await super().complete(request)

    assert called(predict, tmp_path / "study.db", Hiccup(right)).colour == "green"
