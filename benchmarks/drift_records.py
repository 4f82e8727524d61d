"""What the embedded model says to every example under each condition, kept in a folder: for `drift.py`.

A file of lines for each prompt and condition; a line is appended as soon as there is an answer, so that the same
command goes on with what is missing.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from drift_prompts import MODEL, Material, template

from optimizer.completion import Completion, FinishReason, Request
from optimizer.errors import RejectedError
from optimizer.models import Connection, ModelSpec
from optimizer.models.embedded import EMBEDDED

Condition = Literal["frozen", "again", "sampled", "hot", "small", "cut"]

# Temperature of each condition, and how many answers to each example are drawn.
CONDITIONS: Mapping[Condition, tuple[float, int]] = {
    "frozen": (0.0, 1),
    "again": (0.0, 1),
    "sampled": (0.7, 4),
    "hot": (1.0, 2),
    "small": (0.0, 1),
    "cut": (0.0, 1),
}
# What only those requests are asked again under that do not fit.
SMALLER: tuple[Condition, ...] = ("small", "cut")
# Of the server in the condition `small`, and what is left of a request in the condition `cut`, in tokens. llama.cpp
# rounds a context up to a multiple of this.
CONTEXT = 256
# A context that nearly everything fits into is hardly another one; with fewer there is no such case.
_LEAST_LONGER = 0.1


@dataclass(frozen=True, kw_only=True)
class Said:
    """What came of one request.

    Attributes:
        completion: None where the server refused the request.
    """

    completion: Completion | None


Answers = dict[tuple[Condition, str], list[Said]]


def recorded(stuff: Material, folder: Path, *, threads: int) -> tuple[Answers, float]:
    """Return the answers of all conditions, asking for what is missing, and the seconds that all of it took."""
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_record(stuff, folder, threads))
    return _read(folder, stuff)


async def _record(stuff: Material, folder: Path, threads: int) -> None:
    # A prompt that was read is in the server's cache, so all draws of one example come together.
    await _asked(stuff, folder, ("frozen", "sampled", "hot"), threads, order=0)
    await _asked(stuff, folder, ("again",), threads, order=1)  # another process of the server, another order
    known = _own(folder)
    longer = sum(_excess(stuff, known["frozen", item.id][0]) > 0 for item in stuff.pool)
    if longer >= _LEAST_LONGER * len(stuff.pool):
        await _asked(stuff, folder, ("small",), threads, order=2)
        await _asked(stuff, folder, ("cut",), threads, order=3)


async def _asked(
    stuff: Material, folder: Path, conditions: Sequence[Condition], threads: int, *, order: int
) -> None:
    """Ask one server for what is missing of some conditions."""
    known = _own(folder)
    missing = [
        (condition, item, n)
        for item in random.Random(order).sample(stuff.pool, len(stuff.pool))
        for condition in conditions
        if condition not in SMALLER or _excess(stuff, known["frozen", item.id][0]) > 0
        for n in range(len(known.get((condition, item.id), ())), CONDITIONS[condition][1])
    ]
    if not missing:
        return
    options = {"threads": threads, "slots": 1} | ({"context": CONTEXT} if "small" in conditions else {})
    async with EMBEDDED.connect(ModelSpec(provider="embedded", name=MODEL, options=options)) as connection:
        for condition, item, n in missing:
            asked = template(stuff, CONDITIONS[condition][0]).request({"text": item.text})
            if condition == "cut":
                (before,) = known["frozen", item.id]
                asked = _cut(asked, before, _excess(stuff, before))
            started = time.monotonic()
            # One seed for all examples would draw the same quantile for each of them.
            seed = random.Random(f"{condition} {item.id} {n}").getrandbits(31)
            said = await _one(connection, asked, seed=seed)
            _append(folder / f"{condition}.jsonl", item.id, said, time.monotonic() - started)


def _excess(stuff: Material, before: Said) -> int:
    """Return by how many tokens a request and the longest answer exceed the small context."""
    assert before.completion is not None  # the large context holds all
    return before.completion.prompt_tokens + stuff.setting.max_tokens - CONTEXT


def _cut(asked: Request, before: Said, excess: int) -> Request:
    """Return what a server that drops the oldest turns makes of a request that is so much too long."""
    assert before.completion is not None  # the large context holds all
    turns = asked.messages
    pairs = 1 + int(excess // (2 * before.completion.prompt_tokens / len(turns)))
    return replace(asked, messages=(turns[0], *turns[1 + 2 * pairs :]))


async def _one(connection: Connection, asked: Request, *, seed: int) -> Said:
    if dict(asked.parameters)["temperature"]:
        asked = replace(asked, parameters=tuple(sorted({**dict(asked.parameters), "seed": seed}.items())))
    try:
        return Said(completion=await connection.model.complete(asked))
    except RejectedError:
        return Said(completion=None)


def _append(path: Path, name: str, said: Said, seconds: float) -> None:
    found = said.completion
    told = {"refused": True} if found is None else _plain(found)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(
            json.dumps({"id": name, "seconds": round(seconds, 4), **told}, ensure_ascii=False) + "\n"
        )


def _plain(found: Completion) -> dict[str, object]:
    return {
        "text": found.text,
        "finish_reason": found.finish_reason,
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
    }


def _read(folder: Path, stuff: Material) -> tuple[Answers, float]:
    """Return all answers; what the smaller context holds is answered as ever."""
    found = _own(folder)
    seconds = sum(
        cast(float, row["seconds"]) for name in CONDITIONS for row in _rows(folder / f"{name}.jsonl")
    )
    for condition in SMALLER:
        if any(name == condition for name, _ in found):
            for item in stuff.pool:
                found.setdefault((condition, item.id), found["again", item.id])
    return found, seconds


def _own(folder: Path) -> Answers:
    found: Answers = {}
    for condition in CONDITIONS:
        for row in _rows(folder / f"{condition}.jsonl"):
            found.setdefault((condition, str(row["id"])), []).append(_said(row))
    return found


def _rows(path: Path) -> Iterable[dict[str, object]]:
    """Yield the lines that are whole; a kill may have left half of the last one."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            yield json.loads(line)


def _said(row: Mapping[str, object]) -> Said:
    if row.get("refused"):
        return Said(completion=None)
    return Said(
        completion=Completion(
            text=str(row["text"]),
            finish_reason=cast(FinishReason, row["finish_reason"]),
            prompt_tokens=cast(int, row["prompt_tokens"]),
            completion_tokens=cast(int, row["completion_tokens"]),
        )
    )
