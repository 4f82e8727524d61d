"""The file of a prompt, of any format that is read: which format that is, and what of its text may not mean itself.

Files are read by the exporters, which run, look up and fetch nothing of what a file names. Places that name no input,
tags that an engine of templates would run, and braces doubled for `str.format` are found here.
"""

import json
import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter

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

_FRONT = re.compile(r"\s*---[ \t]*\n(?P<front>.*?\n)??---[ \t]*(?:\n|\Z)(?P<body>.*)", re.DOTALL)

# An entry of a mapping in YAML.
_ENTRY = re.compile(r"^[\w.-]+[ \t]*:(?:\s|$)", re.MULTILINE)

# What only one of the two formats behind front matter has a meaning for: lines of roles and tags of Jinja, or helpers.
_MARKS = {
    "prompty": re.compile(
        r"^[ \t]*+#?[ \t]*+(?:system|user|assistant|developer)[ \t]*+(?:\[.*\])?[ \t]*+:[ \t]*+$|\{%|(?<!\{)\{#",
        re.IGNORECASE | re.MULTILINE,
    ),
    "dotprompt": re.compile(r"\{\{~?\s*(?:[{#/>^!]|(?:role|history|media|section)\b)"),
}

# How people write the place of an input, where a format has no words of its own for it.
_PLACE = re.compile(r"\{\{\s*(?P<double>\w[\w .-]*?)\s*\}\}|(?P<dollar>\$)?\{\s*(?P<single>\w[\w.-]*)\s*\}")

# What engines of templates run, of Jinja, Liquid, Handlebars and Mustache. Words they do not know are text.
_TAG = re.compile(
    r"\{%[-+~]?\s*(?P<word>\w+)(?:[^%]|%(?!\})){0,500}?%\}"
    r"|\{\{~?\s*(?P<mark>[#/^>])\s*(?P<name>[\w./-]+)[^{}]*\}\}|\{\{~?\s*(?P<other>else)\b[^{}]*\}\}"
)
_CONTROL = frozenset(
    {"assign", "block", "call", "capture", "case", "each", "elif", "else", "elsif", "endblock", "endcall", "endcapture"}
    | {"endcase", "endfilter", "endfor", "endif", "endmacro", "endraw", "endset", "endunless", "endwith", "filter"}
    | {"for", "if", "macro", "raw", "set", "unless", "when", "with"}
)  # fmt: skip
_REFERENCES = frozenset({"extends", "from", "import", "include", "render"})

# Where a text shows code, in Markdown.
_CODE = re.compile(r"(?P<fence>```+|~~~+).*?(?:(?P=fence)|\Z)|`[^`\n]+`", re.DOTALL)

# Why a file of text with such a tag cannot be measured as it is meant.
RUN = "would be run by an engine of templates, and nothing is run here: write what is to be said in its place"
FETCHED = "refers to another text, and nothing is looked up here: write that text in its place"
CHANGED = "has more than the name of an input, and nothing is run here: write the name alone"


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptText:
    """What was read from a file.

    Attributes:
        format: Name of the exporter that read it.
        template: The prompt.
        sha256: Digest of the file.
        is_single: Whether some input stands in single braces, so that another name in such braces was meant for one.
        is_declared: Whether the file itself says what of it is the place of an input, so that the rest is text.
        is_formatted: Whether braces were doubled in it, as Python's `str.format` has them, and are single in the template.
        is_fronted: Whether its text begins with front matter that no format reads as such.
    """

    format: str
    template: PromptTemplate
    sha256: str
    is_single: bool
    is_declared: bool
    is_formatted: bool = False
    is_fronted: bool = False


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
    is_declared = name == NATIVE or (not isinstance(unfilled, str) and bool(unfilled.inputs))
    undoubled = None if is_declared or isinstance(unfilled, str) else _undoubled(template, unfilled)
    front = None if name in _SHOWING else _FRONT.match(text)
    return PromptText(
        format=name,
        template=undoubled or template,
        sha256=sha256(content),
        is_single=not isinstance(unfilled, str) and _is_single(unfilled, template),
        is_declared=is_declared,
        is_formatted=undoubled is not None,
        is_fronted=front is not None and _ENTRY.search(front["front"] or "") is not None,
    )


def _is_single(unfilled: PromptTemplate, template: PromptTemplate) -> bool:
    """Return whether some input is written in single braces, in a format where that is one way among others."""
    written, left = "\n".join(literals(unfilled)), "\n".join(literals(template))
    places = (re.compile(rf"(?<![{{$])\{{{re.escape(each)}\}}(?!\}})") for each in template.inputs)
    return any(place.search(written) and not place.search(left) for place in places)


def _undoubled(template: PromptTemplate, unfilled: PromptTemplate) -> PromptTemplate | None:
    """Return a prompt for `str.format` with the braces that are doubled in it single; None where it may be no such prompt.

    It is one where each input stands in single braces, all other braces are doubled, and none of those around a name.
    """
    texts = [
        "".join(
            part if isinstance(part, str) else f"{{{part.name.partition(':')[2]}}}" for part in each.parts
        )
        for each in template.calls[0].messages
    ]
    own = "".join(literals(template))
    doubled = "{{" in own or "}}" in own
    if (
        not (template.inputs and doubled)
        or _PLACE.search(own)
        or "".join(texts) != "".join(literals(unfilled))
    ):
        return None
    try:
        parsed = [list(Formatter().parse(text)) for text in texts]
    except ValueError:
        return None
    fields = [field for text in parsed for _, *field in text if field[0] is not None]
    if any(name not in template.inputs or layout or conversion for name, layout, conversion in fields):
        return None
    messages = (
        replace(each, parts=tuple(_formatted(text)))
        for each, text in zip(template.calls[0].messages, parsed, strict=True)
    )
    return replace(template, calls=(replace(template.calls[0], messages=tuple(messages)),))


def _formatted(parsed: Iterable[tuple[str, str | None, str | None, str | None]]) -> Iterator[str | Hole]:
    """Yield what `string.Formatter` found as the parts of a message, texts beside each other as one."""
    literal = ""
    for text, name, *_ in parsed:
        literal += text
        if name is not None:
            yield from (literal,) if literal else ()
            yield Hole(name=f"input:{name}")
            literal = ""
    yield from (literal,) if literal else ()


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


def places_left(template: PromptTemplate) -> Iterator[tuple[str, str]]:
    """Yield what looks like the place of an input in the literal text, and the name in it."""
    for text in literals(template):
        for match in _PLACE.finditer(text):
            yield match[0], match["double"] or match["single"]


def is_doubled_elsewhere(template: PromptTemplate) -> bool:
    """Return whether the literal text has doubled braces around something other than a name."""
    return any("{{" in _PLACE.sub("", text) for text in literals(template))


def tags_of(read: PromptText, inputs: Sequence[str]) -> list[tuple[str, str]]:
    """Return what an engine of templates would run of a text that does not say itself what in it is text.

    Each has before it why it is refused: "" for one that names no input and is shown as code, or is of no known word,
    because then the prompt may speak of templates.
    """
    if read.is_declared:
        return []
    names = "|".join(map(re.escape, sorted(inputs, key=len, reverse=True)))
    named = re.compile(rf"(?<!\w)(?:{names})(?!\w)")
    changed = re.compile(
        rf"\{{\{{(?:[-~]\s*(?:{names})(?!\w)|\s*(?:{names})(?:\s*\||[(\[]|\.\w))[^{{}}]*\}}\}}"
    )
    found: list[tuple[str, str]] = []
    for message in (message for call in read.template.calls for message in call.messages):
        text = "".join(part if isinstance(part, str) else "…" for part in message.parts)
        code = [match.span() for match in _CODE.finditer(text)]
        starts = [start for start, _ in code]
        for match in _TAG.finditer(text):
            word = match["word"] or match["name"] or match["other"]
            fetched = match["mark"] == ">" or (match["word"] is not None and word in _REFERENCES)
            k = bisect(starts, match.start())
            is_code = k > 0 and match.start() < code[k - 1][1]
            is_meant = named.search(match[0]) or (not is_code and (fetched or word in _CONTROL))
            found.append(((FETCHED if fetched else RUN) if is_meant else "", match[0]))
        found += [(CHANGED, match[0]) for match in changed.finditer(text)]
    return found
