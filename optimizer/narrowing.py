"""Where in a completion the answer stands: the readers that narrow it down, and the names of all readers.

Each looks for one thing and passes on what it points to. One that does not find it passes on all of the text.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

# Readers that narrow a text down, and readers that find an answer in what is left.
NARROWING = ("thinking", "first_line", "last_line", "marker")
FINDING = ("json", "json_repaired", "label", "labels", "number", "text")
READERS = (*NARROWING, "xml:TAG", "regex:PATTERN", *FINDING)

# Those that say where the answer is, so that what follows it is a unit or a remark.
POINTING = ("marker", "xml:", "regex:")

_TAG = re.compile(r"[A-Za-z_][\w.-]*")
_ELEMENT = re.compile(r"<([A-Za-z_][\w.-]*)>([^<]*)</\1>")
# What DSPy's chat adapter puts before each field.
_HEADER = re.compile(r"\A\s*\[\[ ## \w+ ## \]\]|\[\[ ## \w+ ## \]\]\s*\Z")
_THINK, _THOUGHT = "<think>", "</think>"
_THINKING = re.compile(r"<think>(?:(?!</?think>).)*+</think>", re.DOTALL | re.IGNORECASE)

_BOX, _BRACE = re.compile(r"\\boxed\s*\{"), re.compile(r"\\.|[{}]", re.DOTALL)
# What LaTeX has between figures, and what it writes for a sign and for none. A number in words is in the words.
_MATHS_SIGN = re.compile(r"\\([$%])|\{([,.])\}")
_MATHS_SPACE = re.compile(r"\\(?:[,!;: ]|(?:left|right)(?![A-Za-z]))|\^(?:\\circ(?![A-Za-z])|\{\\circ\})")
_MATHS_WORDS = re.compile(r"\\(text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}(\^(?:\{[^{}]*\}|[^\s{}\\]))?")
_MOST_NESTED = 4

# How much of a text a pattern is searched in. It is the task author's, and may be slow; answers stand at the end.
_SEARCHED = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Narrowed:
    """What a reader left of a text.

    Attributes:
        before: What stands before it.
        text: What it points to, or all of the text.
        found: Whether it found what it looks for.
    """

    before: str
    text: str
    found: bool


def reader_problem(name: str) -> str | None:
    """Return what is wrong with the name of a reader, or None."""
    kind, colon, rest = name.partition(":")
    if not colon:
        return None if name in (*NARROWING, *FINDING) else f"unknown reader {name!r}{_meant(name)}"
    if kind == "xml":
        return None if _TAG.fullmatch(rest) else f"expected a tag such as xml:answer, found {name!r}"
    if kind != "regex":
        return f"unknown reader {name!r}{_meant(kind)}"
    if not rest:
        return f"expected a pattern after regex:, found {name!r}"
    try:
        re.compile(rest)
    except (re.error, RecursionError, OverflowError) as error:
        return f"expected a regular expression after regex:, found {rest!r}: {error}"
    return None


def spoken(completion: str) -> str | None:
    """Return what a completion says after its thinking, or None where the thinking has no end.

    Where the chat template opens the thinking, a completion has the end alone.
    """
    opened = completion.lstrip()[: len(_THINK)].casefold() == _THINK
    tags = [match.span() for match in re.finditer(_THOUGHT, completion, re.IGNORECASE)]
    if not tags:
        return None if opened else completion
    # Thinking of several stretches ends with the last of them.
    if opened or _THINK not in completion[: tags[0][0]].casefold():
        after = completion[tags[-1][1] :]
        return None if after.lstrip()[: len(_THINK)].casefold() == _THINK else after
    return completion


def narrowed(text: str, name: str, marker: str) -> Narrowed:
    """Return what a reader of a known name leaves of a text; `marker` is what the reader of that name looks for."""
    if name == "thinking":
        # That is done for every completion that begins with it, and nothing is amiss where a model did not think.
        return Narrowed(before="", text=_THINKING.sub("", text), found=True)
    if name == "first_line":
        return first_line(text)
    if name == "last_line":
        return last_line(text)
    if name == "marker":
        return after_marker(text, marker)
    kind, _, rest = name.partition(":")
    return _element(text, rest) if kind == "xml" else _match(text, rest)


def first_line(text: str) -> Narrowed:
    """Return the first line that is not blank."""
    line = next((line for line in text.splitlines() if line.strip()), None)
    return Narrowed(before="", text=text if line is None else line, found=line is not None)


def last_line(text: str) -> Narrowed:
    """Return the last line that is not blank."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return Narrowed(before="", text=text, found=False)
    return Narrowed(before="\n".join(lines[:-1]), text=lines[-1], found=True)


def after_marker(text: str, marker: str) -> Narrowed:
    """Return what follows the last marker, whatever its case.

    Spaces within it may be of any width and kind, or lack, as before a colon in French. It may be in bold.
    """
    matches = list(_marker(marker).finditer(text))
    if not matches:
        return Narrowed(before="", text=text, found=False)
    start, end = matches[-1].span()
    return Narrowed(before=text[:start].strip(), text=text[end:], found=True)


def boxed(text: str) -> str | None:
    r"""Return what the last `\boxed{...}` of a text holds, without the LaTeX that is mere looks; None without a box.

    Empty where the box has no end, or where other LaTeX is left in it, such as a fraction, a root or a power: a
    number that stands there is not what the box comes to.
    """
    starts = [match.end() for match in _BOX.finditer(text)]
    if not starts:
        return None
    depth = 1
    for brace in _BRACE.finditer(text, starts[-1]):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if not depth:
            plain = _without_looks(text[starts[-1] : brace.start()])
            return "" if "\\" in plain or "^" in plain else plain
    return ""


def unwrapped(text: str) -> str:
    """Return what is said in a text that is one element, as `<reasoning>` is, or between headers; else the text."""
    element = _ELEMENT.fullmatch(text.strip())
    return (element[2] if element else _HEADER.sub("", text)).strip()


def _without_looks(maths: str) -> str:
    plain = _MATHS_SPACE.sub("", _MATHS_SIGN.sub(r"\1\2", maths).replace("~", " "))
    for _ in range(_MOST_NESTED):
        plain = _MATHS_WORDS.sub(_maths_words, plain)
    return plain


def _maths_words(match: re.Match[str]) -> str:
    """Return the words in a formula, set apart; a power of a unit, as in square metres, is a part of the unit."""
    name, content, power = match[1], match[2], match[3] or ""
    if not any(character.isalpha() for character in content):
        return content + power
    is_unit = name in {"text", "mathrm"} and content.strip() != "e" and not re.search(r"\d", content)
    return f" {content} {'' if is_unit else power}"


@lru_cache(maxsize=64)
def _marker(marker: str) -> re.Pattern[str]:
    name = marker.strip()
    words = r"\s{0,3}".join(map(re.escape, name.rstrip(":：").split()))
    if not words:
        return re.compile(re.escape(marker), re.IGNORECASE)
    colon = r"[\s*_]{0,3}[:：]" if name[-1] in ":：" else ""
    bold = r"(?P<bold>\*\*|__)?"
    lead, tail = re.escape(marker[: marker.find(name)]), re.escape(marker[marker.find(name) + len(name) :])
    return re.compile(rf"{lead}{bold}{words}{colon}(?(bold)(?:(?P=bold))?){tail}", re.IGNORECASE)


def _element(text: str, tag: str) -> Narrowed:
    """Return the content of the last element that has both its tags."""
    ends = [match.span() for match in re.finditer(rf"</{re.escape(tag)}\s*>", text, re.IGNORECASE)]
    starts = [match.span() for match in re.finditer(rf"<{re.escape(tag)}(?:\s[^<>]*)?>", text, re.IGNORECASE)]
    starts = [span for span in starts if ends and span[1] <= ends[-1][0]]
    if not starts:
        return Narrowed(before="", text=text, found=False)
    opening = starts[-1]
    closing = next(start for start, _ in ends if start >= opening[1])
    return Narrowed(before=text[: opening[0]], text=text[opening[1] : closing], found=True)


def _match(text: str, pattern: str) -> Narrowed:
    """Return the first group, or else all, of the last match of a pattern at the end of a text."""
    searched = text[-_SEARCHED:]
    matches = list(re.compile(pattern).finditer(searched))
    last = matches[-1] if matches else None
    if last is None or (last.re.groups and last[1] is None):
        return Narrowed(before="", text=text, found=False)
    group = min(1, last.re.groups)
    before = text[: len(text) - len(searched) + last.start(group)]
    return Narrowed(before=before, text=last[group], found=True)


def _meant(name: str) -> str:
    import difflib  # only where a name is wrong

    shown = {reader.partition(":")[0]: reader for reader in READERS}
    near = difflib.get_close_matches(name, shown, n=1)
    return f"; did you mean {shown[near[0]]!r}?" if near else f"; there are {', '.join(READERS)}"
