"""A model of the LLaMA architecture in NumPy, for many endings of one beginning at a time.

A table of 60,000 cells asks each prompt about hundreds of inputs. Here the prompt is read once, and some twenty inputs go
through the model together, each after the same keys and values: 470 tokens a second on two processes of one core, where
llama.cpp compiled for the same machine, four requests at a time, reads 275. Weights are those of a GGUF file, as 32-bit
numbers. Shapes: B inputs, L tokens each, P tokens of the prompt, S keys of an input of its own, g groups of q heads of
d numbers each.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gguf  # type: ignore[import-not-found]  # no dependency of the project
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Cache = list[tuple[Floats, Floats]]

_HIDDEN = np.float32(-1e9)


class _Layer(NamedTuple):
    """Matrices of one layer, (inputs, outputs); the scale of each norm is part of what follows it."""

    attention: Floats
    mixed: Floats
    gate: Floats
    up: Floats
    down: Floats


class Forward:
    """The model."""

    def __init__(self, weights: Path) -> None:
        read = gguf.GGUFReader(weights)
        tensors = {
            each.name: gguf.quants.dequantize(each.data, each.tensor_type).astype(np.float32)
            for each in read.tensors
        }

        def number(name: str) -> float:
            return float(read.fields[f"llama.{name}"].contents())

        self._heads, self._groups = (
            int(number(name)) for name in ("attention.head_count", "attention.head_count_kv")
        )
        self._width = int(number("embedding_length")) // self._heads
        self._epsilon = np.float32(number("attention.layer_norm_rms_epsilon"))
        self._turns = number("rope.freq_base") ** (-np.arange(0, self._width, 2) / self._width)
        self._tokens = tensors["token_embd.weight"]
        self._scale = tensors["output_norm.weight"]
        self._out = tensors.get("output.weight", self._tokens)
        self._layers = [self._layer(tensors, f"blk.{k}") for k in range(int(number("block_count")))]

    def _layer(self, tensors: dict[str, Floats], name: str) -> _Layer:
        q, k, v, mixed, before, gate, up, down, between = (
            tensors[f"{name}.{part}.weight"]
            for part in (
                *("attn_q", "attn_k", "attn_v", "attn_output", "attn_norm"),
                *("ffn_gate", "ffn_up", "ffn_down", "ffn_norm"),
            )
        )
        attention = np.vstack([q / np.sqrt(np.float32(self._width)), k, v]) * before
        matrices = (attention, mixed, gate * between, up * between, down)
        return _Layer(*(np.ascontiguousarray(each.T) for each in matrices))

    def prompt(self, tokens: Sequence[int]) -> Cache:
        """Return keys (g, d, P) and values (g, P, d) of the beginning, by layer."""
        n = len(tokens)
        seen = np.tril(np.ones((1, n, n), dtype=bool))
        _, cache = self.read(np.array([tokens]), np.arange(n)[None], seen, None, None)
        return [(np.ascontiguousarray(k[0].transpose(0, 2, 1)), np.ascontiguousarray(v[0])) for k, v in cache]

    def read(
        self,
        tokens: NDArray[np.int64],
        positions: NDArray[np.int64],
        seen: NDArray[np.bool_],
        prompt: Cache | None,
        before: Cache | None,
    ) -> tuple[Floats, Cache]:
        """Return what the model makes of each token, and the keys and values (B, g, S, d) of the inputs so far.

        Args:
            tokens: (B, L).
            positions: (B, L), counted from the beginning of the prompt.
            seen: Which of an input's own tokens so far each token sees; (B, L, S).
            prompt: What all inputs come after.
            before: What this returned of the tokens before these.

        Returns:
            (B, L, n_embd), before the last norm.
        """
        n, length = tokens.shape
        x: Floats = self._tokens[tokens.ravel()]
        angles = positions.ravel()[:, None] * self._turns
        cosine, sine = (f(angles).astype(np.float32)[:, None] for f in (np.cos, np.sin))
        hidden = np.where(seen, np.float32(0), _HIDDEN)[:, None, None]
        cache: Cache = []
        for k, layer in enumerate(self._layers):
            projected = (self._normed(x) @ layer.attention).reshape(len(x), -1, self._width)
            both = self._heads + self._groups
            turned = _turned(projected[:, :both], cosine, sine)
            queries = turned[:, : self._heads].reshape(n, length, self._groups, -1, self._width)
            keys, values = (
                each.reshape(n, length, self._groups, self._width).transpose(0, 2, 1, 3)
                for each in (turned[:, self._heads :], projected[:, both:])
            )
            if before is not None:
                keys, values = (
                    np.concatenate([old, new], 2) for old, new in zip(before[k], (keys, values), strict=True)
                )
            cache.append((keys, values))
            found = _attention(queries, keys, values, hidden, None if prompt is None else prompt[k])
            x = x + found @ layer.mixed
            normed = self._normed(x)
            gate, up = normed @ layer.gate, normed @ layer.up
            x = x + (gate / (1 + np.exp(-gate)) * up) @ layer.down
        return x.reshape(n, length, -1), cache

    def logits(self, hidden: Floats, tokens: Sequence[int] | None = None) -> Floats:
        """Return logits of all tokens, or of some; hidden is (B, n_embd)."""
        rows = self._out if tokens is None else self._out[list(tokens)]
        found: Floats = (self._normed(hidden) * self._scale) @ rows.T
        return found

    def _normed(self, x: Floats) -> Floats:
        squares = np.einsum("td,td->t", x, x)[:, None] / np.float32(x.shape[1])
        return np.asarray(x / np.sqrt(squares + self._epsilon), dtype=np.float32)


def _turned(x: Floats, cosine: Floats, sine: Floats) -> Floats:
    """Return heads (T, h, d) turned by their positions, in pairs of neighbours, as GGUF files have them."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.empty_like(x)
    turned[..., 0::2] = even * cosine - odd * sine
    turned[..., 1::2] = even * sine + odd * cosine
    return turned


def _attention(
    queries: Floats, keys: Floats, values: Floats, hidden: Floats, prompt: tuple[Floats, Floats] | None
) -> Floats:
    """Return what each token gathers from the prompt and from its own input; (B · L, heads · d).

    Args:
        queries: (B, L, g, q, d).
        keys: (B, g, S, d), as are the values.
        hidden: (B, 1, 1, L, S), added to the weights of the input's own.
        prompt: Keys (g, d, P) and values (g, P, d).
    """
    n, length, g, q, d = queries.shape
    rows = queries.transpose(0, 2, 3, 1, 4)  # B, g, q, L, d
    own = (rows.reshape(n, g, q * length, d) @ keys.transpose(0, 1, 3, 2)).reshape(n, g, q, length, -1)
    own += hidden
    if prompt is None:
        prompt = np.zeros((g, d, 0), dtype=np.float32), np.zeros((g, 0, d), dtype=np.float32)
    flat = np.ascontiguousarray(rows.transpose(1, 0, 2, 3, 4)).reshape(g, -1, d)
    shared = (flat @ prompt[0]).reshape(g, n, q, length, -1)
    most = np.maximum(
        own.max(-1, keepdims=True), shared.max(-1, keepdims=True, initial=_HIDDEN).swapaxes(0, 1)
    )
    shared -= most.swapaxes(0, 1)
    own -= most
    for each in (own, shared):
        np.exp(each, out=each)
    total = own.sum(-1, keepdims=True) + shared.sum(-1, keepdims=True).swapaxes(0, 1)
    found = (own.reshape(n, g, q * length, -1) @ values).reshape(n, g, q, length, d)
    found += (shared.reshape(g, n * q * length, -1) @ prompt[1]).reshape(g, n, q, length, d).swapaxes(0, 1)
    found /= total
    return np.asarray(found.transpose(0, 3, 1, 2, 4).reshape(n * length, -1))
