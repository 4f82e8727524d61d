"""MIPROv2 and GEPA of DSPy in the live comparison.

Native: `dspy.Predict` with DSPy's own adapter (ChatAdapter, JSONAdapter where that fails to read an answer) and typed
labels. Harmonised: an adapter that lays an example out as all methods do, and a model held to the labels.

Both get the task's training and validation rows as `trainset` and `valset`. MIPROv2 has no setting in calls: it gets
six candidates of each kind and as many trials as its budget holds by its own arithmetic. What it asks beyond the
budget fails, which it counts as wrong answers and survives. GEPA stops once its calls reach the budget; as it looks only
between iterations, the one under way may end beyond it.
"""

import io
import logging
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from live_rivals_client import THREADS, Client
from live_rivals_tasks import LiveTask, Row, harmonised_messages

if TYPE_CHECKING:
    from dspy import lm15

_Result = TypeVar("_Result")

# What DSPy's layout takes beside the answer itself is about 20 tokens.
NATIVE_TOKENS = 32
PROPOSAL_TOKENS = 256

CANDIDATES, MINIBATCH, FULL_EVERY = 6, 35, 5
# Kept for bootstrapped demonstrations and proposals.
ASIDE = 100


class DSPyRival:
    """One task under one of DSPy's optimizers."""

    def __init__(self, task: LiveTask, search: Client, test: Client, *, harmonised: bool, seed: int) -> None:
        """Configure DSPy for this process.

        Args:
            search: The run that the search is counted in.
            test: The run that the test is counted in.
        """
        import dspy

        self.task = task
        self._test = test
        self._search = search
        self._harmonised = harmonised
        self._seed = seed
        parameters = task.parameters | ({} if harmonised else {"max_tokens": NATIVE_TOKENS})
        choice = list(task.labels) if harmonised else []
        self._lm = _lm(_Engine(search, parameters, choice))
        self._test_lm = _lm(_Engine(test, parameters, choice))
        self._prompt_lm = _lm(_Engine(search, {"max_tokens": PROPOSAL_TOKENS}, []), temperature=1.0)
        adapter = _harmonised_adapter(task) if harmonised else dspy.ChatAdapter()
        dspy.configure(lm=self._lm, adapter=adapter)
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)

    def start(self) -> Any:  # noqa: ANN401  # DSPy ships no types
        """Return the program that the search begins with."""
        import dspy

        kind: Any = Literal[self.task.labels] if self.task.labels else str
        fields = {self.task.input: (str, dspy.InputField()), self.task.target: (kind, dspy.OutputField())}
        return dspy.Predict(dspy.Signature(fields, self.task.instruction))

    def mipro(self, budget: int) -> tuple[Any, float]:
        """Return the program of MIPROv2 and its score on validation."""
        import dspy

        optimizer = dspy.MIPROv2(
            metric=self._right,
            prompt_model=self._prompt_lm,
            task_model=self._lm,
            auto=None,
            num_candidates=CANDIDATES,
            num_threads=THREADS,
            max_errors=10**6,
        )
        program = optimizer.compile(
            self.start(),
            trainset=self._examples(self.task.train),
            valset=self._examples(self.task.validation),
            num_trials=mipro_trials(budget, len(self.task.validation)),
            minibatch_size=MINIBATCH,
            minibatch_full_eval_steps=FULL_EVERY,
            seed=self._seed + 1,  # it takes another seed for 0
        )
        return program, program.score / 100

    def gepa(self, budget: int) -> tuple[Any, float]:
        """Return the program of GEPA and its score on validation."""
        import dspy

        optimizer = dspy.GEPA(
            metric=self._feedback,
            max_metric_calls=10 * budget,
            reflection_lm=self._prompt_lm,
            num_threads=THREADS,
            track_stats=True,
            seed=self._seed,
            gepa_kwargs={"stop_callbacks": lambda _state: self._search.counts()["calls"] >= budget},
        )
        program = optimizer.compile(
            self.start(),
            trainset=self._examples(self.task.train),
            valset=self._examples(self.task.validation),
        )
        return program, max(program.detailed_results.val_aggregate_scores)

    def test_scores(self, program: Any) -> tuple[list[float], int]:  # noqa: ANN401  # DSPy ships no types
        """Return the scores on the test rows, and how many answers could not be read."""
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(lambda row: self._answer(program, row), self.task.test))
        scores = [self.task.right(answer, row) for answer, row in zip(answers, self.task.test, strict=True)]
        return scores, answers.count(None)

    def _answer(self, program: Any, row: Row) -> str | None:  # noqa: ANN401  # DSPy ships no types
        import dspy

        with dspy.context(lm=self._test_lm):
            try:
                return str(getattr(program(**{self.task.input: row.text}), self.task.target))
            except Exception:  # DSPy raises many kinds for an answer that it cannot read
                if self._test.counts()["failed"]:
                    raise
                return None

    def _examples(self, rows: tuple[Row, ...]) -> list[Any]:
        import dspy

        return [
            dspy.Example(**{self.task.input: row.text, self.task.target: row.target}).with_inputs(
                self.task.input
            )
            for row in rows
        ]

    def _right(self, example: Any, prediction: Any, *_others: object) -> float:  # noqa: ANN401
        answer, target = (str(getattr(of, self.task.target)) for of in (prediction, example))
        return float(answer.strip() == target)

    def _feedback(
        self,
        example: Any,  # noqa: ANN401  # DSPy ships no types
        prediction: Any,  # noqa: ANN401
        _trace: object = None,
        _name: object = None,
        _own_trace: object = None,
    ) -> Any:  # noqa: ANN401
        import dspy

        target = getattr(example, self.task.target)
        score = self._right(example, prediction) if hasattr(prediction, self.task.target) else 0.0
        return dspy.Prediction(score=score, feedback=f"The right answer is {target}.")


def mipro_trials(budget: int, n_validation: int, *, aside: int = ASIDE) -> int:
    """Return the most trials whose evaluations fit into the budget, beside the calls kept for other things."""

    def calls(trials: int) -> int:
        full = 1 + trials // FULL_EVERY + bool(trials % FULL_EVERY)
        return aside + n_validation * full + MINIBATCH * trials

    return max(trials for trials in range(1, budget) if trials == 1 or calls(trials) <= budget)


def described(program: Any) -> dict[str, object]:  # noqa: ANN401  # DSPy ships no types
    """Return what a program says to the model."""
    return {
        "instruction": program.signature.instructions,
        "demonstrations": [dict(demo.items()) if hasattr(demo, "items") else demo for demo in program.demos],
    }


def quietly(work: Callable[[], _Result]) -> _Result:
    """Do the work with nothing of DSPy's printed or logged."""
    nowhere, disabled = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(nowhere), redirect_stderr(nowhere), warnings.catch_warnings(action="ignore"):
            return work()
    finally:
        logging.disable(disabled)


def _lm(engine: "_Engine", temperature: float = 0.0) -> Any:  # noqa: ANN401  # DSPy ships no types
    import dspy

    bound = engine.parameters["max_tokens"]
    return dspy.LM(
        "counted", engine=engine, temperature=temperature, max_tokens=bound, cache=False, num_retries=0
    )


class _Engine:
    """DSPy's engine: every request goes to the counting server, once."""

    supports_response_schema = True
    supported_params = frozenset({"temperature", "max_tokens", "stop", "response_format"})

    def __init__(self, client: Client, parameters: dict[str, float | int | str], choice: list[str]) -> None:
        self._client = client
        self._choice = choice
        self.parameters = parameters

    def __deepcopy__(self, _memo: object) -> Self:
        """Return itself: copies of a program share the model."""
        return self

    def complete(self, request: "lm15.Request") -> "lm15.Response":
        """Return the server's answer."""
        from dspy.lm15 import Message, Response, Usage

        answer = self._client.chat(self._body(request))
        (choice,), usage = answer["choices"], answer["usage"]
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant(choice["message"]["content"]),
            finish_reason=choice["finish_reason"],
            usage=Usage(input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"]),
        )

    def close(self) -> None:
        """Do nothing: a request holds nothing open."""

    def _body(self, request: "lm15.Request") -> dict[str, object]:
        config, system = request.config, request.system
        messages = [] if system is None else [{"role": "system", "content": str(system)}]
        for message in request.messages:
            content = "\n".join(part.text for part in message.parts)
            messages.append({"role": message.role, "content": content})
        body: dict[str, object] = {**self.parameters, "messages": messages}
        body |= {
            name: getattr(config, name)
            for name in ("temperature", "max_tokens")
            if getattr(config, name) is not None
        }
        wanted = config.response_format
        if wanted is not None and wanted["type"] != "json_object":
            described = {"name": "answer", "strict": True, "schema": wanted["schema"]}
            body["response_format"] = {"type": "json_schema", "json_schema": described}
        elif self._choice:
            body["structured_outputs"] = {"choice": self._choice}
        return body


def _harmonised_adapter(task: LiveTask) -> Any:  # noqa: ANN401  # DSPy ships no types
    import dspy
    from dspy.utils.exceptions import AdapterParseError

    class Harmonised(dspy.ChatAdapter):  # type: ignore[misc]  # DSPy ships no types
        """An example as all methods lay it out; whatever else is asked keeps DSPy's layout."""

        def format(
            self,
            signature: Any,  # noqa: ANN401
            demos: list[dict[str, Any]],
            inputs: dict[str, Any],
        ) -> list[dict[str, Any]]:
            if task.target not in signature.output_fields:
                found: list[dict[str, Any]] = super().format(signature, demos, inputs)
                return found
            shots = [(str(demo[task.input]), str(demo[task.target])) for demo in demos]
            return harmonised_messages(signature.instructions, shots, inputs[task.input])

        def parse(self, signature: Any, completion: str) -> dict[str, Any]:  # noqa: ANN401
            if task.target not in signature.output_fields:
                found: dict[str, Any] = super().parse(signature, completion)
                return found
            answer = task.reader.read(completion).text
            if answer is None:
                raise AdapterParseError(
                    adapter_name="Harmonised", signature=signature, lm_response=completion
                )
            return {task.target: answer}

    return Harmonised(use_json_adapter_fallback=False)
