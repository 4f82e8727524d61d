"""Canonical JSON and its SHA-256: the only place that hashes."""

import hashlib
import json
from collections.abc import Iterable


def canonical(value: object) -> str:
    """Return the one JSON text of a plain value: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: For NaN or an infinity, which JSON cannot carry.
        TypeError: For anything that is not plain JSON data.
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def pretty(value: object) -> str:
    """Return the canonical document as people read it: indented by two, with a final newline."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, as 64 hex digits."""
    return sha256(canonical(value).encode("utf-8", "surrogatepass"))


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes, as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(chunks: Iterable[bytes]) -> str:
    """Return the SHA-256 of the bytes of some chunks together, as 64 hex digits."""
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return found.hexdigest()


def derived_seed(*parts: object) -> int:
    """Return a seed in [0, 2**32) that depends on all parts and on nothing else."""
    return int(digest(list(parts))[:8], 16)
