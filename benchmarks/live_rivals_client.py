"""One run at the counting server, as the harness speaks to it."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from live_rivals_tasks import LiveTask, Row

from optimizer.completion import Capability
from optimizer.models import chat_body
from optimizer.prompt import PromptTemplate

# What the server does, said in the words of vLLM where OpenAI has none.
CAN: frozenset[Capability] = frozenset({"prefill", "json_schema", "choice"})
NAME = "smollm2-135m"
# As many requests at a time as a llama.cpp server behind it has slots; the counting server lets no more through than its own.
THREADS = 4
TIMEOUT_SECONDS = 600


class SpentError(Exception):
    """The budget of the run is spent."""


class Client:
    """One run."""

    def __init__(self, server: str, key: str) -> None:
        self.url = f"{server.rstrip('/')}/runs/{key}"

    def begin(self, *, budget: int | None = None, bank: Sequence[str] | None = None, seed: int = 0) -> None:
        """Begin the run anew, with nothing counted."""
        _sent(self.url, {"budget": budget, "bank": None if bank is None else list(bank), "seed": seed})

    def counts(self) -> dict[str, Any]:
        """Return what the run has asked so far."""
        return _sent(self.url, None)

    def chat(self, body: Mapping[str, object]) -> dict[str, Any]:
        """Return the answer to a chat body.

        Raises:
            SpentError: When the budget is spent.
            RuntimeError: When the server answers another error.
        """
        return _sent(f"{self.url}/v1/chat/completions", {"model": NAME, **body})

    def answers(self, prompt: PromptTemplate, task: LiveTask, rows: Sequence[Row]) -> list[str | None]:
        """Return what the prompt's reader finds for each row, None where it finds nothing."""
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(lambda row: self._answer(prompt, task, row), rows))

    def scores(self, prompt: PromptTemplate, task: LiveTask, rows: Sequence[Row]) -> list[float]:
        """Return the score of each row."""
        answers = self.answers(prompt, task, rows)
        return [task.right(answer, row) for answer, row in zip(answers, rows, strict=True)]

    def _answer(self, prompt: PromptTemplate, task: LiveTask, row: Row) -> str | None:
        texts: list[str] = []
        reason = "stop"
        for _ in prompt.calls:
            request = prompt.request({task.input: row.text}, texts)
            choice = self.chat(chat_body(request, name=NAME, can=CAN))["choices"][0]
            texts.append(choice["message"]["content"].removeprefix(request.prefill))
            reason = choice["finish_reason"]
        return prompt.answer.read(texts[-1], "length" if reason == "length" else "stop").text


def _sent(url: str, body: Mapping[str, object] | None) -> dict[str, Any]:
    """Return the JSON of an answer; without a body it is asked for with GET."""
    data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310  # loopback
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310  # loopback
            found: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        said = error.read().decode("utf-8", "replace")
        if error.code == 429:
            raise SpentError(said) from error
        raise RuntimeError(f"{error.code}: {said}") from error
    return found
