"""Values as Python source that people can read: texts broken where their lines end, and nothing in them but themselves."""

import json
from collections.abc import Iterator

_WIDTH = 100

# A text no longer than this stays on its line, whatever line ends it has.
_SHORT = 40

# Brackets within brackets: no Python takes 200 of them.
_DEEPEST = 40


def literal(value: object, *, indent: int = 0, depth: int = 0) -> str:
    """Return the source of a text, number, truth value, None, or a list, tuple or dict with texts as keys of such.

    Args:
        indent: How far the line that it begins in is indented.
        depth: In how many others it stands.
    """
    if isinstance(value, str):
        return _text(value, indent)
    if not isinstance(value, list | tuple | dict) or not value:
        return repr(value)
    short = _short(value) if depth < _DEEPEST else f"json.loads({_quoted(json.dumps(value))})"
    if short is not None and (depth >= _DEEPEST or len(short) + indent <= _WIDTH):
        return short
    inner = " " * (indent + 4)
    if isinstance(value, dict):
        items = [
            f"{_key(key)}: {literal(each, indent=indent + 4, depth=depth + 1)}" for key, each in value.items()
        ]
        return "\n".join(["{", *(f"{inner}{item}," for item in items), " " * indent + "}"])
    items = [literal(each, indent=indent + 4, depth=depth + 1) for each in value]
    first, last = "()" if isinstance(value, tuple) else "[]"
    return "\n".join([first, *(f"{inner}{item}," for item in items), " " * indent + last])


def quoted_in_docstring(text: str) -> str:
    """Return a text as it can stand on one line of a docstring."""
    # Escapes are shown as such: no docstring may hold half of a surrogate pair.
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return shown.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def _short(value: object) -> str | None:
    """Return a value on one line, or None where it is long for certain."""
    if isinstance(value, str):
        return _quoted(value) if len(value) < (_SHORT if "\n" in value[:-1] else _WIDTH) else None
    if isinstance(value, dict):
        items = [(_key(key), _short(each)) for key, each in value.items()]
        parts = [f"{key}: {each}" for key, each in items if each is not None]
        return f"{{{', '.join(parts)}}}" if len(parts) == len(value) else None
    if isinstance(value, list | tuple):
        parts = [each for each in map(_short, value) if each is not None]
        if len(parts) < len(value):
            return None
        inside = ", ".join(parts)
        single = "," if len(parts) == 1 else ""
        return f"({inside}{single})" if isinstance(value, tuple) else f"[{inside}]"
    return repr(value)


def _key(key: object) -> str:
    return _quoted(key) if isinstance(key, str) else repr(key)


def _quoted(text: str) -> str:
    shown = repr(text)
    return f'"{shown[1:-1]}"' if '"' not in shown and "'" not in shown[1:-1] else shown


def _text(text: str, indent: int) -> str:
    if (short := _short(text)) is not None:
        return short
    pieces = list(_pieces(text))
    if len(pieces) < 2:
        return _quoted(text)
    inner = " " * (indent + 4)
    return "\n".join(["(", *(f"{inner}{_quoted(piece)}" for piece in pieces), " " * indent + ")"])


def _pieces(text: str) -> Iterator[str]:
    """Yield the lines of a text, and long ones in pieces that end with a space where they can."""
    for line in text.splitlines(keepends=True):
        rest = line
        while len(rest) > _WIDTH:
            cut = rest.rfind(" ", 0, _WIDTH) + 1 or _WIDTH
            yield rest[:cut]
            rest = rest[cut:]
        yield rest
