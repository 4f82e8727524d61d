"""The frozen prompt: what production loads. Standard library only.

prompt = FrozenPrompt.load("prompt.json")
messages = prompt.messages(message="Where is my parcel?")
answer = prompt.parse(text_of_the_completion)
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from optimizer.answer import Answer
from optimizer.completion import Completion, Request
from optimizer.digest import digest, pretty
from optimizer.errors import InputError, Problem
from optimizer.prompt import PromptTemplate

# Raised in the first place when an old reader would misread the file, in the second when it merely ignores news.
SCHEMA = (1, 3)

# What came with each: a file says what reading it takes, and not what its writer knew.
_PLAIN, _RETRIEVAL, _MORE_KINDS, _RECORDS = (1, 0), (1, 1), (1, 2), (1, 3)

_MAPPINGS = ("model", "task", "evidence", "tool_versions")
_TEXTS = ("name", "style", "format")
_ITEMS: dict[str, tuple[type, str]] = {
    "capabilities": (str, "texts"),
    "demonstration_ids": (str, "texts"),
    "history": (dict, "mappings"),
}
_LISTS = tuple(_ITEMS)
_TEMPLATE = ("calls", "answer", "retrieval")
# How Python tells of values that no JSON file should have, and how we do.
_WORDS = {
    "Out of range float": "expected numbers that a float can hold, found NaN or an infinity",
    "integer string conversion": "not valid JSON: a number has more digits than can be read",
}
_KEYS = {"schema", "calls", "answer", "inputs", "fingerprint", "checksum", *_MAPPINGS, *_TEXTS, *_LISTS}


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenPrompt:
    """The exact messages that were scored, how their answer is read, and the evidence.

    Attributes:
        name: The study it comes from.
        template: The calls and the reader.
        style: Name of the reasoning style.
        format: Name of the answer format.
        capabilities: What a model must be able to do to run it.
        demonstration_ids: Ids of the training examples it shows.
        model: The model it was tuned for.
        task: Name, version, metric, inputs that are lists, and fingerprints of the data and its splits.
        evidence: Scores on validation and test, the baseline, the paired difference and the decision.
        history: Every trial of the search.
        tool_versions: Versions of what made it.
        records: What was asked and answered when it was judged, by example (`optimizer.recording`); None in files
            that were written before there was any.
    """

    name: str
    template: PromptTemplate
    style: str
    format: str
    capabilities: tuple[str, ...]
    demonstration_ids: tuple[str, ...]
    model: Mapping[str, object]
    task: Mapping[str, object]
    evidence: Mapping[str, object]
    history: tuple[Mapping[str, object], ...]
    tool_versions: Mapping[str, object]
    records: Mapping[str, object] | None = None

    @property
    def fingerprint(self) -> str:
        """Return the digest of the calls and the reader: prompts that share it behave alike."""
        return self.template.fingerprint

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the names of the inputs."""
        return self.template.inputs

    def request(self, /, *completions: str | None, **inputs: str) -> Request:
        """Return the next request: messages, parameters and constraint.

        Args:
            completions: Those so far, none for the first call; None is that of a message without a text, as in `parse`.
            inputs: The texts that are shown, by name.

        Raises:
            InputError: When an input is missing or unknown.
        """
        return self.template.request(inputs, ["" if text is None else text for text in completions])

    def messages(self, /, *completions: str | None, **inputs: str) -> list[dict[str, Any]]:
        """Return the messages of the next call, given the completions so far (none for the first).

        Raises:
            InputError: When an input is missing or unknown.
        """
        return [message.to_dict() for message in self.request(*completions, **inputs).messages]

    def parse(self, *completions: str | Completion | None) -> Answer:
        """Return the answer in the last of the completions; a text is taken as complete.

        None, the content of a message without a text, is read as the empty text that it was when prompts were scored:
        it holds no answer.

        Raises:
            InputError: When there are more or fewer completions than calls.
        """
        if len(completions) != len(self.template.calls):
            expected = f"expected {len(self.template.calls)} completion(s), found {len(completions)}"
            raise InputError([Problem(file="", message=expected)])
        last = completions[-1]
        completion = Completion(text=last or "") if last is None or isinstance(last, str) else last
        return self.template.answer.read(completion.text, completion.finish_reason)

    def to_dict(self) -> dict[str, object]:
        """Return the document that `prompt.json` holds."""
        major, minor = _version(self.template) if self.records is None else _RECORDS
        document: dict[str, object] = {
            "schema": f"{major}.{minor}",
            **self.template.to_dict(),
            "inputs": list(self.inputs),
            "fingerprint": self.fingerprint,
            "history": [dict(trial) for trial in self.history],
            "capabilities": list(self.capabilities),
            "demonstration_ids": list(self.demonstration_ids),
        }
        document |= {key: dict(getattr(self, key)) for key in _MAPPINGS}
        document |= {key: getattr(self, key) for key in _TEXTS}
        document |= {} if self.records is None else {"records": dict(self.records)}
        return document | {"checksum": digest(document)}

    def dumps(self) -> str:
        """Return the text of `prompt.json`."""
        return pretty(self.to_dict())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "FrozenPrompt":
        """Return the frozen prompt in a file.

        Raises:
            InputError: When the file cannot be read, is of an unknown major version, or was changed by hand.
        """
        return cls.loads(text_of(path), file=str(path))

    @classmethod
    def loads(cls, text: str, *, file: str = "") -> "FrozenPrompt":
        """Return the frozen prompt in a text.

        Raises:
            InputError: As `load`.
        """
        try:
            document = _document(text)
            flaws = _flaws(document)
        except (ValueError, RecursionError) as error:
            raise InputError([_told(error, file)]) from error
        if flaws:
            raise InputError([Problem(file=file, message=flaw) for flaw in flaws])
        return cls._from_dict(document)

    @classmethod
    def _from_dict(cls, document: Mapping[str, object]) -> "FrozenPrompt":
        values = {key: document[key] for key in (*_MAPPINGS, *_TEXTS)}
        values |= {key: tuple(document[key]) for key in _LISTS}  # type: ignore[arg-type]  # checked to be lists
        values |= {"records": document.get("records")}
        return cls(template=_template(document), **values)  # type: ignore[arg-type]  # types checked by _key_problems


def text_of(path: str | PathLike[str]) -> str:
    """Return the text of a file, its line ends as they are.

    Raises:
        InputError: When it cannot be read, or is not UTF-8.
    """
    file = str(path)
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise InputError([Problem(file=file, message=f"cannot be read: {error.strerror}")]) from error
    except ValueError as error:
        raise InputError([Problem(file=file, message="cannot be read: no file has such a path")]) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"expected UTF-8 text, found the byte 0x{data[error.start]:02x}"
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError([Problem(file=file, line=line, message=message)]) from error


def _told(error: ValueError | RecursionError, file: str) -> Problem:
    """Return what keeps a text from being read, in our words."""
    if isinstance(error, json.JSONDecodeError):
        return _no_json(error, file)
    if isinstance(error, RecursionError):
        return Problem(file=file, message="not valid JSON: nested too deeply")
    message = str(error)
    known = (words for part, words in _WORDS.items() if part in message)
    return Problem(file=file, message=next(known, message))


def _no_json(error: json.JSONDecodeError, file: str) -> Problem:
    if file.lower().endswith((".yaml", ".yml")):
        message = "expected a frozen prompt (prompt.json), found a YAML file; `run` writes the prompt of a study beside it"
        return Problem(file=file, message=message)
    if error.doc.startswith("\ufeff"):
        reason = "a byte order mark stands before it"
    else:  # where that is, is told already
        reason = f"{error.msg[0].lower()}{error.msg[1:]}".removesuffix(" at").removesuffix(" starting")
    return Problem(
        file=file, line=error.lineno, message=f"not valid JSON at character {error.colno}: {reason}"
    )


def _version(template: PromptTemplate) -> tuple[int, int]:
    """Return the oldest version whose readers understand a template: images, optional parts and answers of more kinds came last."""
    answer = template.answer
    if template.shows_images or any(hole.lead or hole.tail for hole in template.holes()):
        return _MORE_KINDS
    if answer.readers or answer.schema or answer.kind in ("labels", "json"):
        return _MORE_KINDS
    return _PLAIN if template.retrieval is None else _RETRIEVAL


def _document(text: str) -> dict[str, object]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("expected a frozen prompt, found something else than a mapping")
    version = str(document.get("schema", ""))
    major, _, minor = version.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise ValueError(f"schema: expected a version such as 1.0, found {version!r}")
    if int(major) != SCHEMA[0]:
        raise ValueError(f"schema: version {version} is not known here; this version reads {SCHEMA[0]}.x")
    if int(minor) > SCHEMA[1]:
        warnings.warn(
            f"frozen prompt of schema {version} is newer than {SCHEMA[0]}.{SCHEMA[1]}", stacklevel=4
        )
    return document


def _template(document: Mapping[str, object]) -> PromptTemplate:
    return PromptTemplate.from_dict({name: document[name] for name in _TEMPLATE if name in document})


def _flaws(document: Mapping[str, object]) -> list[str]:
    """Return what keeps a document from being a frozen prompt, all of it; none is an empty list.

    Raises:
        ValueError: When it holds what is no JSON.
    """
    wrong = _key_problems(document)
    found = ["; ".join(wrong)] if wrong else _template_flaws(document)
    body = {key: value for key, value in document.items() if key != "checksum"}
    if isinstance(stated := document.get("checksum"), str) and digest(body) != stated:
        found.append("checksum: does not fit the document; the file was changed")
    return found


def _template_flaws(document: Mapping[str, object]) -> list[str]:
    try:
        fits = _template(document).fingerprint == document["fingerprint"]
    except ValueError as error:
        return [str(error)]
    message = "fingerprint: does not fit the calls and the answer format; the file was changed"
    return [] if fits else [message]


def _key_problems(document: Mapping[str, object]) -> list[str]:
    missing = sorted(_KEYS - set(document))
    problems = [f"missing {name}" for name in missing]
    shapes: tuple[tuple[tuple[str, ...], type, str], ...] = (
        (_MAPPINGS, dict, "a mapping"),
        ((*_TEXTS, "fingerprint", "checksum"), str, "text"),
        ((*_LISTS, "inputs"), list, "a list"),
    )
    for names, kind, noun in shapes:
        wrong = (name for name in names if name in document and not isinstance(document[name], kind))
        problems += [f"{name}: expected {noun}, found {type(document[name]).__name__}" for name in wrong]
    for name, (kind, noun) in _ITEMS.items():
        items = document.get(name)
        if isinstance(items, list) and not all(isinstance(item, kind) for item in items):
            problems.append(f"{name}: expected a list of {noun}")
    if not isinstance(document.get("records", {}), dict):
        problems.append(f"records: expected a mapping, found {type(document['records']).__name__}")
    return problems
