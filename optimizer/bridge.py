"""Any model of ours as DSPy's language model: its programs, optimizers and `Evaluate` on our calls.

    with dspy_lm(caller, name="triage") as lm, dspy.context(lm=lm):
        result = await asyncio.to_thread(evaluate, program)

DSPy takes whatever an example raises for a wrong answer: `Evaluate` scores it 0.0, and an optimizer learns from
that. No setting of its own tells a failed call from a bad answer: `max_errors=1` also stops at the first answer that
cannot be read, and says no cause. So a call that fails ends the block: the program is left by an exception that no
`except Exception` takes for an answer, nothing more is sent, and what was raised by the model comes out of the block,
whatever the program made of it. Completions that were paid for are in the store, and the same program run again goes
on from them. What the model itself got wrong, an answer that cannot be read, stays DSPy's to score;
`Evaluate(max_errors=len(devset) + 1)` lets it score all of them.

DSPy's own cache and retries are off: both belong to the model. The same call twice has one completion; DSPy asks for
another one with `rollout_id` or `n`.
"""

import asyncio
import dataclasses
import itertools
import json
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from optimizer.completion import Capabilities, Completion, Constraint, Message, Model, Request, Role
from optimizer.errors import InterruptedRunError, RejectedError

if TYPE_CHECKING:
    import dspy
    from dspy import lm15

Parameter = float | int | str

# Fields of DSPy's configuration that are parameters of the same name.
_PARAMETERS = frozenset({"temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty"})
# Those that `_parameters` and `_constraint` read themselves.
_READ = frozenset({"max_tokens", "stop", "extensions", "response_format"})

# DSPy's roles; what it calls developer is a later message of the system.
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "developer": "system"}

# DSPy's words for why a model stopped, where they differ from ours.
_FINISH_REASONS = {"refused": "content_filter"}

# How far apart the answers to one call with `n` lie in `Request.repeat`, so that none is that of another rollout.
_ROLLOUTS = 2**32

_JSON_OBJECT = "there is no JSON mode without a schema here; the prompt alone asks for JSON"


class _StopError(BaseException):
    """Ends a program; no Exception, so that nothing takes it for a wrong answer. Its cause says why."""


class _Samples:
    """Which answer to one DSPy call is asked for next."""

    def __init__(self, rollout: object) -> None:
        self._rollout = 0 if rollout is None else rollout
        self._candidates = itertools.count()

    def next(self) -> int:
        """Return the `repeat` of the next request.

        Raises:
            RejectedError: When the rollout is no number that tells requests apart.
        """
        rollout = self._rollout
        if not isinstance(rollout, int) or isinstance(rollout, bool) or not 0 <= rollout < _ROLLOUTS:
            raise RejectedError(
                f"rollout_id: expected an integer from 0 to {_ROLLOUTS - 1}, found {rollout!r}"
            )
        return rollout + _ROLLOUTS * next(self._candidates)


# An engine is not told the rollout, and is called once for each of `n` answers; the callback of the call knows both.
_SAMPLES: ContextVar[_Samples | None] = ContextVar("_SAMPLES", default=None)


@contextmanager
def dspy_lm(
    model: Model,
    *,
    name: str,
    capabilities: Capabilities | None = None,
    parameters: Mapping[str, Parameter] | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
) -> "Iterator[dspy.LM]":
    """Yield a `dspy.LM` whose calls are the model's, until the block ends.

    DSPy's synchronous calls come from threads other than the loop's and wait there; `acall` works on any loop.

    Args:
        name: Tells the model from others in DSPy's history and records.
        capabilities: What the model can do; DSPy asks for JSON of a schema only where it can.
        parameters: Decoding parameters in the words of the OpenAI chat API; a program's own take their place.
        loop: The loop that the model lives on, when it is not the running one.

    Raises:
        ModelError: When a call failed, be it refused because it holds more than text.
        BudgetError: When the budget ended.
        InterruptedRunError: When the run is stopping. Whatever else a call raised comes out as well.
        RuntimeError: When a program was called synchronously on the loop's own thread, where it would wait for itself.
    """
    line = _Line(model, loop or asyncio.get_running_loop(), name, parameters or {})
    try:
        yield _language_model(line, capabilities or Capabilities())
    except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
        raise
    except BaseException:  # whatever DSPy made of a call that failed
        if line.failure is None:
            raise
    finally:
        line.close()
    if line.failure is not None:
        raise line.failure from line.failure.__cause__  # the detour through DSPy is nobody's concern


def _language_model(line: "_Line", capabilities: Capabilities) -> "dspy.LM":
    import dspy

    return dspy.LM(
        line.name,
        temperature=line.parameters.get("temperature"),
        max_tokens=line.parameters.get(line.bound),
        engine=_Engine(line, capabilities),
        async_engine=_AsyncEngine(line),
        callbacks=[_Callback(line)],
        cache=False,
        num_retries=0,
    )


class _Line:
    """From DSPy's threads to the model's loop. The first failure is kept, and nothing is sent after it."""

    def __init__(
        self, model: Model, loop: asyncio.AbstractEventLoop, name: str, parameters: Mapping[str, Parameter]
    ) -> None:
        self._model = model
        self._loop = loop
        # DSPy has rules of its own for models with OpenAI's names, which it looks for after the last slash.
        self.name = f"optimizer:{name.replace('/', ':')}"
        self.parameters = parameters
        self.bound = "max_completion_tokens" if "max_completion_tokens" in parameters else "max_tokens"
        self.failure: Exception | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._under_way: set[Future[Completion]] = set()

    def close(self) -> None:
        """Send nothing more and wait for nothing; what a Caller has sent it finishes and commits."""
        with self._lock:
            self._closed = True
            under_way = list(self._under_way)
        if not self._loop.is_closed():
            for future in under_way:
                future.cancel()

    def fail(self, error: Exception) -> None:
        """Keep an error, unless there was one before."""
        with self._lock:
            if self.failure is None and not self._closed:
                self.failure = error

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Turn whatever a call raises into the end of the program."""
        try:
            yield
        except CancelledError as error:  # of this block, or of a loop that ends
            self.fail(InterruptedRunError("stopped"))
            raise _StopError("stopped") from error
        except Exception as error:
            self.fail(error)
            raise _StopError(str(error)) from error

    def submit(self, request: Request) -> "Future[Completion]":
        """Return the completion to come, from a thread that is not the loop's."""
        with self._lock:
            self._refuse_when_over()
            if not self._loop.is_running():
                raise RuntimeError("the event loop of the model does not run")
            future = asyncio.run_coroutine_threadsafe(self._model.complete(request), self._loop)
            self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    def wait(self, request: Request) -> Completion:
        """Return the completion, on a thread that may wait.

        Raises:
            RuntimeError: On the thread of the loop.
        """
        if _running_loop() is self._loop:
            raise RuntimeError(
                "a DSPy program called synchronously on the thread of the model's event loop would wait for itself;"
                " use `await program.acall(...)` or `await asyncio.to_thread(program, ...)`"
            )
        return self.submit(request).result()

    async def complete(self, request: Request) -> Completion:
        """Return the completion, on any loop."""
        if _running_loop() is not self._loop:
            return await asyncio.wrap_future(self.submit(request))
        with self._lock:
            self._refuse_when_over()
        return await self._model.complete(request)

    def request(self, asked: "lm15.Request") -> Request:
        """Return DSPy's request as one of ours.

        Raises:
            RejectedError: When it holds what a request of ours cannot carry.
        """
        if asked.tools:
            raise RejectedError("tools cannot be carried; DSPy's adapters can describe them in the prompt")
        samples = _SAMPLES.get()
        return Request(
            messages=tuple(_messages(asked)),
            parameters=_parameters(asked.config, self.parameters, self.bound),
            constraint=_constraint(asked.config.response_format),
            repeat=0 if samples is None else samples.next(),
        )

    def _refuse_when_over(self) -> None:
        if self.failure is not None:
            raise _StopError(f"after a failure: {self.failure}") from self.failure
        if self._closed:
            raise _StopError(f"{self.name} is closed: the `with` block of dspy_lm has ended")


class _Engine:
    """DSPy's engine for synchronous calls: one attempt each, from any thread but the loop's."""

    def __init__(self, line: _Line, capabilities: Capabilities) -> None:
        self._line = line
        # Names that DSPy asks an engine for.
        self.supports_response_schema = "json_schema" in capabilities.can
        formats = {"response_format"} if self.supports_response_schema else set()
        self.supported_params = _PARAMETERS | {"max_tokens", "stop"} | formats

    def __deepcopy__(self, _memo: object) -> Self:
        """Return itself: copies of a program share the model."""
        return self

    def complete(self, request: "lm15.Request") -> "lm15.Response":
        """Return DSPy's response to its request."""
        with self._line.stopping():
            return _response(request, self._line.wait(self._line.request(request)))

    def stream(self, request: "lm15.Request") -> Iterator[Any]:
        """Return the whole response as a stream of one piece."""
        from dspy.lm15 import response_to_events

        yield from response_to_events(self.complete(request))

    def close(self) -> None:
        """Do nothing: the model is another's."""


class _AsyncEngine:
    """DSPy's engine for asynchronous calls, on any loop."""

    def __init__(self, line: _Line) -> None:
        self._line = line

    def __deepcopy__(self, _memo: object) -> Self:
        """Return itself: copies of a program share the model."""
        return self

    async def complete(self, request: "lm15.Request") -> "lm15.Response":
        """Return DSPy's response to its request."""
        with self._line.stopping():
            return _response(request, await self._line.complete(self._line.request(request)))

    async def stream(self, request: "lm15.Request") -> AsyncIterator[Any]:
        """Yield the whole response as a stream of one piece."""
        from dspy.lm15 import response_to_events

        for event in response_to_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """Do nothing: the model is another's."""


class _Callback:
    """Hears of each call of the `dspy.LM` before and after it."""

    def __init__(self, line: _Line) -> None:
        self._line = line

    def __deepcopy__(self, _memo: object) -> Self:
        """Return itself: copies of a program share the model."""
        return self

    def on_lm_start(self, call_id: str, instance: "dspy.LM", inputs: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Note which rollout is asked for; the engine is not told."""
        _SAMPLES.set(_Samples({**instance.kwargs, **inputs.get("kwargs", {})}.get("rollout_id")))

    def on_lm_end(self, call_id: str, outputs: object, exception: object = None) -> None:  # noqa: ARG002
        """Keep what DSPy itself refused to send: that is no answer either."""
        _SAMPLES.set(None)
        if isinstance(exception, Exception):
            self._line.fail(exception)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _messages(asked: "lm15.Request") -> Iterator[Message]:
    if asked.system is not None:
        plain = isinstance(asked.system, str)
        yield Message(role="system", content=asked.system if plain else _text(asked.system))
    for message in asked.messages:
        content = _text(message.parts)  # first: what tools returned has a role that is none of ours
        yield Message(role=_ROLES[message.role], content=content)


def _text(parts: Iterable[Any]) -> str:
    """Return the text of a message.

    Raises:
        RejectedError: When it holds anything else, as the results of tools and images are.
    """
    others = sorted({part.type for part in parts if part.type != "text"})
    if others:
        raise RejectedError(f"a message holds {', '.join(others)}; only text can be carried")
    return "\n".join(part.text for part in parts)


def _parameters(
    config: "lm15.Config",
    defaults: Mapping[str, Parameter],
    bound: str,
) -> tuple[tuple[str, Parameter], ...]:
    """Return the parameters of a request, sorted: the model's, with those of the program in their place.

    `temperature` and the bound of tokens are the program's alone, because `dspy.LM` was given the model's.
    """
    stated = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    stated = {name: value for name, value in stated.items() if value is not None and value != ()}
    unknown = sorted(stated.keys() - _PARAMETERS - _READ)
    if unknown:
        raise RejectedError(
            f"{', '.join(unknown)}: cannot be carried; what the endpoint takes goes to dspy_lm"
        )
    parameters = {name: value for name, value in defaults.items() if name not in ("temperature", bound)}
    parameters |= {name: value for name, value in stated.items() if name in _PARAMETERS}
    parameters |= {bound: stated["max_tokens"]} if "max_tokens" in stated else {}
    parameters |= {"stop": _one_stop(stated["stop"])} if "stop" in stated else {}
    for name, value in stated.get("extensions", {}).items():
        if not isinstance(value, float | int | str):
            raise RejectedError(f"{name}: expected a number or a text, found {type(value).__name__}")
        parameters[name] = value
    return tuple(sorted(parameters.items()))


def _one_stop(stop: tuple[str, ...]) -> str:
    if len(stop) > 1:
        raise RejectedError(f"stop: only one text can be carried, found {len(stop)}")
    return stop[0]


def _constraint(response_format: Mapping[str, Any] | None) -> Constraint | None:
    """Return what the answer is held to; JSON of no schema is left to the prompt, and the response says so."""
    if response_format is None or response_format["type"] == "json_object":
        return None
    # Not sorted: a model writes the fields in the order of the schema, the reasoning before the answer.
    return Constraint(json_schema=json.dumps(response_format["schema"], ensure_ascii=False, allow_nan=False))


def _response(asked: "lm15.Request", completion: Completion) -> "lm15.Response":
    from dspy.lm15 import Adaptation, Message, Response, Usage

    dropped = (asked.config.response_format or {}).get("type") == "json_object"
    field = "config.response_format"
    return Response(
        id=None,
        model=asked.model,
        message=Message.assistant(completion.text),
        finish_reason=_FINISH_REASONS.get(completion.finish_reason, completion.finish_reason),
        usage=Usage(input_tokens=completion.prompt_tokens, output_tokens=completion.completion_tokens),
        adaptations=(Adaptation(field, "dropped", _JSON_OBJECT, "json_object"),) if dropped else (),
    )
