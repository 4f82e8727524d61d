"""Results as JUnit XML, which servers for continuous integration show."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_KINDS = {"failed": "failure", "error": "error"}


@dataclass(frozen=True, kw_only=True, slots=True)
class JUnitCase:
    """One case.

    Attributes:
        state: failed where something is not as it was, error where it could not be told.
        lines: What there is to say; the first is the headline.
    """

    name: str
    state: Literal["passed", "failed", "error"]
    lines: tuple[str, ...] = ()


def junit_xml(suite: str, cases: Iterable[JUnitCase]) -> str:
    """Return one test suite. It holds no time of day and no duration: the same results are the same bytes."""
    listed = list(cases)
    counts = {state: sum(case.state == state for case in listed) for state in _KINDS}
    head = f'name="{_escaped(suite)}" tests="{len(listed)}" failures="{counts["failed"]}" errors="{counts["error"]}"'
    body = "".join(_case(suite, case) for case in listed)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n<testsuite {head}>\n{body}</testsuite>\n</testsuites>\n'


def _case(suite: str, case: JUnitCase) -> str:
    opening = f'<testcase classname="{_escaped(suite)}" name="{_escaped(case.name)}"'
    text = _escaped("\n".join(case.lines), within=True)
    if case.state == "passed":
        return f"{opening}><system-out>{text}</system-out></testcase>\n" if case.lines else f"{opening} />\n"
    kind, headline = _KINDS[case.state], _escaped(case.lines[0] if case.lines else case.state)
    return f'{opening}><{kind} message="{headline}">{text}</{kind}></testcase>\n'


def _escaped(text: str, *, within: bool = False) -> str:
    """Return text as XML holds it, in an attribute or `within` an element.

    What XML has no way of writing becomes a replacement character; line ends are kept from being made into others.
    """
    sound = "".join(character if _is_character(ord(character)) else "\ufffd" for character in text)
    signs = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}
    signs |= {} if within else {"\n": "&#10;", "\t": "&#9;"}
    return "".join(signs.get(character, character) for character in sound)


def _is_character(code: int) -> bool:
    """Return whether XML 1.0 allows a character (section 2.2)."""
    low = code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF
    return low or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF
