"""JSON Schemas of what each command prints with `--json`: draft 2020-12, one file a command.

What several commands have in common is in files that begin with an underscore, and is referred to by the name of the
file. A schema that is handed out holds all of it: nothing is looked up anywhere else.
"""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

# Where the definitions of one file are named by another.
_DEFINED = "#/$defs/"


def described() -> tuple[str, ...]:
    """Return the commands whose output has a schema, sorted."""
    names = (
        file.name.removesuffix(".json") for file in files("optimizer.commands").joinpath("schemas").iterdir()
    )
    return tuple(sorted(name for name in names if not name.startswith("_")))


def output_schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of what a command prints; it refers to nothing outside itself."""
    return _whole(command)


def prompt_schema() -> dict[str, Any]:
    """Return the JSON Schema of `prompt.json`; it refers to nothing outside itself."""
    return _whole("_prompt")


def _whole(name: str) -> dict[str, Any]:
    """Return a schema with the definitions that it takes from other files, and those that these take."""
    document = _document(name)
    own = document.get("$defs", {})
    defined, wanted = dict(own), _named(document)
    while wanted:
        file, key = wanted.pop()
        # What a file of its own names is there already.
        if key not in defined:
            defined[key] = _document(file.removesuffix(".json"))["$defs"][key]
            wanted |= {(other or file, at) for other, at in _named(defined[key])}
    whole = _inside({**document, "$defs": defined})
    assert isinstance(whole, dict)  # as it was
    return whole


def _document(name: str) -> dict[str, Any]:
    text = files("optimizer.commands").joinpath("schemas", f"{name}.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def _named(value: object) -> set[tuple[str, str]]:
    """Return the definitions that a schema refers to: the file, "" for its own, and the name."""
    found = set()
    for reference in _references(value):
        file, _, key = reference.partition(_DEFINED)
        found.add((file, key))
    return found


def _references(value: object) -> Iterator[str]:
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _references(part)
    if isinstance(value, dict) and isinstance(reference := value.get("$ref"), str):
        yield reference


def _inside(value: object) -> object:
    """Return a schema in which every definition is looked for in itself."""
    if isinstance(value, list):
        return [_inside(part) for part in value]
    if not isinstance(value, dict):
        return value
    parts = {name: _inside(part) for name, part in value.items()}
    if isinstance(reference := parts.get("$ref"), str):
        parts["$ref"] = _DEFINED + reference.partition(_DEFINED)[2]
    return parts
