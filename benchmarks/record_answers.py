"""Answers of the embedded model to one prompt about many inputs, computed together (`forward.py`).

Layout and tokens come from llama.cpp's server with the same weights, so that both are those of a study. A choice is decided
as a study puts it to that server: at every step by the tokens that the texts are written with, or the end of the turn where
one of them is whole, and no others.
"""

import json
import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from forward import Cache, Floats, Forward

from optimizer.completion import Request

# Tokens that go through the model together. Fewer are slower, above all where answers are longer than a token.
TOGETHER = 1024
_END = ("<|im_end|>", "<|endoftext|>")


class Words:
    """Texts to tokens and back, by a llama.cpp server in this process."""

    def __init__(self, weights: Path) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(weights)
        parameters.hostnames, parameters.port = ["127.0.0.1"], 0
        parameters.n_ctx, parameters.ui, parameters.verbosity = 512, False, -1
        self._server = xllamacpp.Server(parameters)
        self._texts: dict[tuple[int, ...], str] = {}
        self.end = frozenset(token for text in _END for token in self.tokens(text))
        (self.end_of_turn,) = self.tokens(_END[0])

    def of(self, request: Request) -> list[int]:
        """Return the tokens of a request, up to where the answer begins."""
        laid_out = self._sent("/apply-template", {"messages": [each.to_dict() for each in request.messages]})
        return self.tokens(laid_out["prompt"])

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, in which markup is markup."""
        asked = {"content": text, "add_special": True, "parse_special": True}
        return list(self._sent("/tokenize", asked)["tokens"])

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of some tokens."""
        key = tuple(tokens)
        if key not in self._texts:
            self._texts[key] = self._sent("/detokenize", {"tokens": list(key)})["content"]
        return self._texts[key]

    def _sent(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        url, data = f"{self._server.listening_address}{path}", json.dumps(body, ensure_ascii=False).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310  # loopback
        with urllib.request.urlopen(request) as response:  # noqa: S310  # loopback
            found: dict[str, Any] = json.load(response)
        return found


def answers(model: Forward, words: Words, requests: Sequence[Request]) -> list[tuple[str, bool]]:
    """Return the answer to each request, and whether it was cut off; all have the same constraint and parameters."""
    read = [words.of(request) for request in requests]
    shared = _shared(read)
    prompt = model.prompt(read[0][:shared])
    order = sorted(range(len(read)), key=lambda k: len(read[k]))
    found: dict[int, tuple[str, bool]] = {}
    while order:
        longest, n = len(read[order[-1]]) - shared, 0
        while n < len(order) and (n + 1) * longest <= max(TOGETHER, longest):
            n += 1
        batch, order = order[-n:], order[:-n]
        written = _written(model, words, prompt, shared, [read[k][shared:] for k in batch], requests[0])
        found |= dict(zip(batch, written, strict=True))
    return [found[k] for k in range(len(read))]


def _shared(read: Sequence[list[int]]) -> int:
    """Return how many tokens all begin with; each keeps one of its own at least."""
    least = min(map(len, read)) - 1
    return next((k for k in range(least) if len({tokens[k] for tokens in read}) > 1), least)


def _written(
    model: Forward, words: Words, prompt: Cache, shared: int, endings: list[list[int]], request: Request
) -> list[tuple[str, bool]]:
    n, lengths = len(endings), np.array([len(each) for each in endings])
    longest = int(lengths.max())
    tokens = np.array([each + [0] * (longest - len(each)) for each in endings])
    place = np.arange(longest)
    positions = np.broadcast_to(shared + place, tokens.shape)
    seen = np.broadcast_to(np.tril(np.ones((longest, longest), dtype=bool)), (n, longest, longest))
    hidden, cache = model.read(tokens, positions, seen, prompt, None)
    last = hidden[np.arange(n), lengths - 1]
    own = place < lengths[:, None]  # which columns of the cache are tokens of the input
    choices = _choices(words, request)
    texts: list[list[int]] = [[] for _ in endings]
    unfinished = np.arange(n)  # the rows of all that follows
    bound = int(dict(request.parameters)["max_tokens"])
    for step in range(bound):
        chosen = np.array(_next(model, last, [texts[k] for k in unfinished], choices, words.end_of_turn))
        for k, token in zip(unfinished, chosen, strict=True):
            texts[k] += [int(token)] if token not in words.end else []
        on = np.array([token not in words.end for token in chosen])
        on &= np.array([choices is None or bool(_following(choices, texts[k])) for k in unfinished])
        unfinished, chosen = unfinished[on], chosen[on]
        if not len(unfinished) or step == bound - 1:
            break
        own = np.column_stack([own[on], np.ones(len(unfinished), dtype=bool)])
        positions = (shared + lengths[unfinished] + step)[:, None]
        cache = [(keys[on], values[on]) for keys, values in cache]
        hidden, cache = model.read(chosen[:, None], positions, own[:, None], prompt, cache)
        last = hidden[:, 0]
    return [(words.text(each), k in unfinished) for k, each in enumerate(texts)]


def _choices(words: Words, request: Request) -> list[list[int]] | None:
    if request.constraint is None:
        return None
    return [words.tokens(text) for text in request.constraint.choice]


def _following(choices: list[list[int]], text: list[int]) -> set[int]:
    """Return the tokens that a text may go on with."""
    return {each[len(text)] for each in choices if each[: len(text)] == text and len(each) > len(text)}


def _next(
    model: Forward, last: Floats, texts: list[list[int]], choices: list[list[int]] | None, end: int
) -> list[int]:
    """Return the next token of each."""
    if choices is None:
        return [int(token) for token in model.logits(last).argmax(1)]
    alphabet = sorted({end, *(token for each in choices for token in each)})
    logits = model.logits(last, alphabet)
    found = []
    for row, text in zip(logits, texts, strict=True):
        by_token = dict(zip(alphabet, row.tolist(), strict=True))
        allowed = _following(choices, text) | ({end} if text in choices else set())
        found.append(max(sorted(allowed), key=by_token.__getitem__))
    return found
