"""The file of a prompt, of any format that is read, and which format that is.

Files are read by the exporters, which run, look up and fetch nothing of what a file names.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from optimizer.digest import sha256
from optimizer.document import MAX_BYTES
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


def read_prompt(file: PromptFile, inputs: Sequence[str]) -> tuple[str, PromptTemplate, str]:
    """Return the name of the exporter that reads a file, what it read, and the file's digest.

    It is the one that the task names; else the one of the file's suffix; else the only one that can make a prompt of
    the content, where those that take any text for a prompt come last.

    Raises:
        ValueError: When none can, or several.
        PluginError: When the task names one that there is not.
    """
    content, text = _content(file.path)
    if file.format:
        return file.format, _attempt(file.format, text, inputs), sha256(content)
    name, template = _told(file, text, inputs)
    return name, template, sha256(content)


def _told(file: PromptFile, text: str, inputs: Sequence[str]) -> tuple[str, PromptTemplate]:
    """Return the exporter that a file itself tells.

    Raises:
        ValueError: When none can read it, or several can.
    """
    of_suffix = _of_suffix(file.path)
    others = [name for name in EXPORTERS if EXPORTERS[name].read is not None and name not in of_suffix]
    anyhow = [name for name in others if not isinstance(_tried(name, _ANY_TEXT, inputs), str)]
    strict = [name for name in others if name not in anyhow]
    refusals: dict[str, str] = {}
    words = file.path.suffix.lower() in _WORDS and not of_suffix
    for group in (of_suffix, strict, anyhow if words else []):
        tried = {name: _tried(name, text, inputs) for name in group}
        found = {name: one for name, one in tried.items() if not isinstance(one, str)}
        if len(found) > 1:
            example = f"`baseline: {{path: {file.named}, format: {next(iter(found))}}}`"
            raise ValueError(f"{' and '.join(found)} can read it: say which, as in {example}")
        if found:
            return next(iter(found.items()))
        refusals |= {name: one for name, one in tried.items() if isinstance(one, str)}
    raise ValueError("; ".join(f"as {name}: {refusals[name]}" for name in of_suffix or refusals))


def _of_suffix(path: Path) -> list[str]:
    """Return the exporters whose suffix a file has, those of the longest; a file may be named like the suffix alone."""
    called = f".{path.name.lower()}"
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
