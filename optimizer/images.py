"""Images: what a cell of an image column may be, and the URL under which a model is shown it.

A cell names an image because the task says so of its column, never because of what the cell holds. URLs are passed on
and never followed here; a file is read from the project alone, once, and its content becomes part of the data.
"""

import base64
import re
from pathlib import Path

from optimizer.document import clipped, inside_project

MOST_BYTES = 5 * 2**20  # what endpoints take at least

_URL = re.compile(r"https?://[^\s/]\S*")
_DATA = re.compile(r"data:(image/[a-z]+);base64,([A-Za-z0-9+/]+={0,2})")
_STARTS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
}


def image_url(cell: str, *, file: Path) -> str:
    """Return the URL of the image that a cell names; that of a file holds its content.

    Args:
        file: The file of the table, from whose folder paths start.

    Raises:
        ValueError: The cell is neither a URL nor a file of the project, or what it names is no image.
    """
    text = cell.strip()
    if _URL.fullmatch(text):
        return text
    if text.startswith("data:"):
        return _inline(text)
    if "://" in text:
        raise ValueError(
            f"expected a URL of http or https, a data URL, or a file of the project, found '{clipped(text)}'"
        )
    path = inside_project(text, file=file)
    if not path.is_file():
        raise ValueError(f"expected an image, found no file at '{clipped(text)}'")
    with path.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    return f"data:{_kind(content)};base64,{base64.b64encode(content).decode('ascii')}"


def _inline(text: str) -> str:
    found = _DATA.fullmatch(text)
    if found is None or len(found[2]) % 4:
        raise ValueError("expected data:image/...;base64,..., found another form of data URL")
    kind = _kind(base64.b64decode(found[2]))
    if found[1] != kind:
        raise ValueError(f"expected a data URL of {kind}, which its content is, found {found[1]}")
    return text


def _kind(content: bytes) -> str:
    """Return the media type of an image by its first bytes.

    Raises:
        ValueError: It is none of those that models read, or too large.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"expected an image of at most {MOST_BYTES // 2**20} MiB, found more")
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    for kind, starts in _STARTS.items():
        if content.startswith(starts):
            return kind
    raise ValueError("expected an image in PNG, JPEG, GIF or WebP, found another content")
