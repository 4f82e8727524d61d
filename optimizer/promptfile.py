"""The file of a prompt, of any format that is read, and which format that is.

Files are read by the exporters, which run, look up and fetch nothing of what a file names.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from optimizer.digest import sha256
from optimizer.document import MAX_BYTES, read_yaml
from optimizer.errors import InputError
from optimizer.exporters import EXPORTERS
from optimizer.prompt import Hole, PromptTemplate
from optimizer.task import PromptFile

# The format that says everything.
NATIVE = "native"

# Suffixes of files that hold words and need have no form; what is called otherwise and has no known form is a mistake.
_WORDS = (".txt", ".md", ".markdown", "")

# A reader that takes this for a prompt takes any text for one.
_ANY_TEXT = "Answer the question."

# Formats whose files show what they are, so that none of them is tried where a file shows another.
_KEYS = {"lc": "langchain", "calls": NATIVE, "prompts": "promptfoo", "messages": "openai_messages"}
_FRONTED = ("prompty", "dotprompt")
_SHOWING = {*_KEYS.values(), *_FRONTED}

_FRONT = re.compile(r"\s*---[ \t]*\n(?:.*?\n)??---[ \t]*(?:\n|\Z)(?P<body>.*)", re.DOTALL)

# What only one of the two formats behind front matter has a meaning for: lines of roles and tags of Jinja, or helpers.
_MARKS = {
    "prompty": re.compile(
        r"^[ \t]*+#?[ \t]*+(?:system|user|assistant|developer)[ \t]*+(?:\[.*\])?[ \t]*+:[ \t]*+$|\{%|(?<!\{)\{#",
        re.IGNORECASE | re.MULTILINE,
    ),
    "dotprompt": re.compile(r"\{\{~?\s*(?:[{#/>^!]|(?:role|history|media|section)\b)"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptText:
    """What was read from a file.

    Attributes:
        format: Name of the exporter that read it.
        template: The prompt.
        sha256: Digest of the file.
        is_single: Whether some input stands in single braces, so that another name in such braces was meant for one.
        is_declared: Whether the file itself says what of it is the place of an input, so that the rest is text.
    """

    format: str
    template: PromptTemplate
    sha256: str
    is_single: bool
    is_declared: bool


def _content(path: Path) -> tuple[bytes, str]:
    """Return a file, and its text with lines that end as in any other text.

    Raises:
        ValueError: When it cannot be read, is too large, or is no UTF-8.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"expected a prompt of at most {MAX_BYTES:,} bytes, found a larger file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8, found another byte at {error.start}") from error
    return content, text.replace("\r\n", "\n").replace("\r", "\n")


def read_prompt(file: PromptFile, inputs: Sequence[str]) -> PromptText:
    """Return what a file holds.

    It is read by the exporter that the task names; else by the one of the file's suffix, and by no other; else by the
    only one that can make a prompt of the content, where those that take any text for a prompt come last.

    Raises:
        ValueError: When none can, or several.
        PluginError: When the task names one that there is not.
    """
    content, text = _content(file.path)
    if not text.strip():
        raise ValueError("expected a prompt, found an empty file")
    if file.format:
        name, template = file.format, _attempt(file.format, text, inputs)
    else:
        name, template = _told(file, text, inputs)
    # Without inputs to look for, only what the file itself declares is a place, and others are as they were written.
    unfilled = _tried(name, text, ())
    return PromptText(
        format=name,
        template=template,
        sha256=sha256(content),
        is_single=not isinstance(unfilled, str) and _is_single(unfilled, template),
        is_declared=name == NATIVE or (not isinstance(unfilled, str) and bool(unfilled.inputs)),
    )


def _is_single(unfilled: PromptTemplate, template: PromptTemplate) -> bool:
    """Return whether some input is written in single braces, in a format where that is one way among others."""
    written, left = "\n".join(literals(unfilled)), "\n".join(literals(template))
    places = (re.compile(rf"(?<![{{$])\{{{re.escape(each)}\}}(?!\}})") for each in template.inputs)
    return any(place.search(written) and not place.search(left) for place in places)


def _told(file: PromptFile, text: str, inputs: Sequence[str]) -> tuple[str, PromptTemplate]:
    """Return the exporter that a file itself tells.

    Raises:
        ValueError: When none can read it, or several can.
    """
    of_suffix, words = _of_suffix(file.path), file.path.suffix.lower() in _WORDS
    shown = () if of_suffix else _shown(text, words=words)
    refusals: dict[str, str] = {}
    for group in [of_suffix] if of_suffix else _groups(shown, inputs, words=words):
        tried = {name: _tried(name, text, inputs) for name in group}
        found = {name: one for name, one in tried.items() if not isinstance(one, str)}
        if len(found) > 1:
            raise ValueError(f"{' and '.join(found)} can read it: {_which(file, next(iter(found)))}")
        if shown == _FRONTED and found.keys() & set(shown):
            refused = "; ".join(f"as {name}: {tried[name]}" for name in shown if name not in found)
            raise ValueError(
                f"it may be meant for {' or '.join(shown)}: {_which(file, next(iter(found)))}; {refused}"
            )
        if found:
            return next(iter(found.items()))
        refusals |= {name: one for name, one in tried.items() if isinstance(one, str)}
    flaw = refusals.get("openai_messages", "")
    if not (of_suffix or shown) and file.path.suffix.lower() == ".json" and flaw.startswith("not valid JSON"):
        raise ValueError(flaw)
    raise ValueError("; ".join(f"as {name}: {refusals[name]}" for name in of_suffix or shown or refusals))


def _which(file: PromptFile, name: str) -> str:
    return f"say which, as in `baseline: {{path: {file.named}, format: {name}}}`"


def _groups(shown: Sequence[str], inputs: Sequence[str], *, words: bool) -> Iterator[list[str]]:
    """Yield the exporters to try on a file whose suffix tells none, those of a group before those of the next."""
    readable = [name for name in EXPORTERS if EXPORTERS[name].read is not None]
    anyhow = [name for name in readable if not isinstance(_tried(name, _ANY_TEXT, inputs), str)]
    strict = [name for name in readable if name not in anyhow]
    # What shows one of these formats is never taken for another of them, nor for any text.
    yield [name for name in strict if not shown or name in shown or name not in _SHOWING]
    if words and not shown:
        yield anyhow


def _shown(text: str, *, words: bool) -> tuple[str, ...]:
    """Return the formats that a text shows to be meant, whether or not it is a sound file of them."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list) and not (words and not all(isinstance(each, dict) for each in value)):
        return ("openai_messages",)
    if isinstance(value, dict):
        return tuple(_KEYS[key] for key in _KEYS if key in value)[:1]
    if front := _FRONT.match(text):
        meant = tuple(name for name in _FRONTED if _MARKS[name].search(front["body"]))
        return meant if len(meant) == 1 else _FRONTED
    return ("promptfoo",) if _has_prompts(text, words=words) else ()


def _has_prompts(text: str, *, words: bool) -> bool:
    """Return whether a text is YAML with the key `prompts`; in words the rest must be YAML too."""
    if not re.search(r"^prompts[ \t]*:", text, re.MULTILINE):
        return False
    try:
        value = read_yaml(text, display="").value
    except InputError:
        return not words
    return isinstance(value, dict)


def _of_suffix(path: Path) -> list[str]:
    """Return the exporters whose suffix a file has, those of the longest.

    A file that is called like a suffix alone, such as `prompt.json`, has the last part of it, which tells less.
    """
    called = path.name.lower()
    fitting = {
        name: len(EXPORTERS[name].suffix) for name in EXPORTERS if called.endswith(EXPORTERS[name].suffix)
    }
    return [name for name, length in fitting.items() if length == max(fitting.values())]


def _tried(name: str, text: str, inputs: Sequence[str]) -> PromptTemplate | str:
    """Return what one exporter reads, or why it reads nothing."""
    try:
        return _attempt(name, text, inputs)
    except ValueError as error:
        return str(error)


def _attempt(name: str, text: str, inputs: Sequence[str]) -> PromptTemplate:
    """Return what one exporter reads.

    Raises:
        ValueError: When it is no prompt of that format.
        PluginError: When there is no such exporter.
    """
    read = EXPORTERS[name].read
    if read is None:
        readable = [other for other in EXPORTERS if EXPORTERS[other].read is not None]
        raise ValueError(f"{name} is a format that is only written; these are read: {', '.join(readable)}")
    try:
        template = read(text, inputs)
        "".join(literals(template)).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("expected text, found half of a character") from error
    except InputError as error:
        raise ValueError("; ".join(problem.message for problem in error.problems)) from error
    return template


def literals(template: PromptTemplate) -> Iterator[str]:
    """Yield the texts of a prompt that are its own, message by message."""
    for call in template.calls:
        for message in call.messages:
            for part in message.parts:
                yield from (part.lead, part.tail) if isinstance(part, Hole) else (part,)
