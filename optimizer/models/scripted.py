"""A model that follows rules: for tests and for trying the product without a model.

The file named by `path:` holds `{"rules": [{"contains": "...", "reply": "..."}], "default": "..."}`. The first rule
whose text occurs in the last message of the user decides; the completion of a constrained call is the first label
that the reply names, or the first of all.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from optimizer.completion import CAPABILITIES, Capabilities, Completion, Request
from optimizer.digest import digest
from optimizer.models import Connection, ModelSpec, Provider, stated

Script = Callable[[Request], Completion | str]

_DEFAULTS = Capabilities(can=frozenset(CAPABILITIES))


class Scripted:
    """A model whose completions a function makes.

    Attributes:
        requests: What it was asked, as far as it remembers.
    """

    def __init__(self, script: Script, *, remembers: bool = True) -> None:
        self._script = script
        self._remembers = remembers
        self.requests: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        """Return what the script says; a text counts four characters as a token."""
        if self._remembers:
            self.requests.append(request)
        made = self._script(request)
        if isinstance(made, Completion):
            return made
        read = sum(len(message.content) for message in request.messages)
        return Completion(text=made, prompt_tokens=read // 4, completion_tokens=len(made) // 4)


class _Rules(NamedTuple):
    rules: list[tuple[str, str]]
    default: str

    def reply(self, request: Request) -> str:
        asked = next((m.content for m in reversed(request.messages) if m.role == "user"), "")
        reply = next((reply for text, reply in self.rules if text in asked), self.default)
        if request.constraint is not None and request.constraint.choice:
            return next((c for c in request.constraint.choice if c in reply), request.constraint.choice[0])
        return reply


def _read(path: Path) -> _Rules:
    """Return the rules in a file.

    Raises:
        ValueError: When the file is of another form.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or set(document) != {"rules", "default"}:
        raise ValueError("expected rules and default")
    try:
        rules = [(str(rule["contains"]), str(rule["reply"])) for rule in document["rules"]]
    except (TypeError, KeyError):
        raise ValueError("expected contains and reply in each rule") from None
    return _Rules(rules, str(document["default"]))


def _problems(spec: ModelSpec) -> list[str]:
    if spec.expect_model:
        return ["expect_model: the provider scripted takes none"]
    if spec.context is not None and spec.context < 1:
        return [f"context: expected at least 1, found {spec.context}"]
    if spec.path is None:
        return ["scripted needs path, a JSON file of rules"]
    try:
        _read(Path(spec.path))
    except (OSError, ValueError) as error:
        return [f"path: {Path(spec.path).name} cannot be read as rules: {_told(error)}"]
    return []


def _told(error: OSError | ValueError) -> str:
    """Return what went wrong, without the path of this machine that an OSError shows."""
    return (error.strerror or "it cannot be opened") if isinstance(error, OSError) else str(error)


def _identity(spec: ModelSpec) -> dict[str, object]:
    rules = _read(Path(spec.path or ""))
    return {"provider": "scripted", "name": spec.name, "rules": digest([rules.rules, rules.default])}


@asynccontextmanager
async def _connect(spec: ModelSpec) -> AsyncIterator[Connection]:
    rules = _read(Path(spec.path or ""))
    # It may be asked millions of times, and nobody looks.
    model = Scripted(rules.reply, remembers=False)
    yield Connection(model=model, identity=_identity(spec), capabilities=stated(spec, _DEFAULTS))


SCRIPTED = Provider(
    defaults=lambda _spec: _DEFAULTS,
    problems=_problems,
    identity=_identity,
    connect=_connect,
    free=True,
    gives=("text", "vectors"),  # a reply may be the JSON list of one
)
