"""What a cell of an image column may be."""

import base64
from pathlib import Path

import pytest

from optimizer import images as module
from optimizer.images import image_url

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"
KINDS = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0rest",
    "image/gif": b"GIF89arest",
    "image/webp": b"RIFF\x04\x00\x00\x00WEBPrest",
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return where a table would be in a project, beside which `a.png` lies."""
    project = tmp_path / "project"
    (project / ".optimizer").mkdir(parents=True)
    (project / "datasets").mkdir()
    (project / "datasets" / "a.png").write_bytes(PNG)
    (tmp_path / "outside.png").write_bytes(PNG)
    return project / "datasets" / "d.csv"


def inline(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_a_url_is_passed_on_as_it_is(table: Path) -> None:
    url = "https://example.org/a%20b.png?size=2&x=#y"
    assert image_url(f" {url}\n", file=table) == url


def test_a_file_becomes_its_content(table: Path) -> None:
    assert image_url("a.png", file=table) == inline(PNG)


@pytest.mark.parametrize(("kind", "content"), KINDS.items())
def test_what_an_image_is_is_told_by_its_first_bytes(table: Path, kind: str, content: bytes) -> None:
    (table.parent / "misnamed.txt").write_bytes(content)
    assert image_url("misnamed.txt", file=table) == inline(content, kind)
    assert image_url(inline(content, kind), file=table) == inline(content, kind)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("b.png", "expected an image, found no file at 'b.png'"),
        ("../../outside.png", "leads outside the project"),
        ("/etc/hostname", "expected a path relative to the folder of this file"),
        ("file:///etc/hostname", "expected a URL of http or https, a data URL, or a file of the project"),
        ("ftp://example.org/a.png", "expected a URL of http or https"),
        ("https://example.org/a b.png", "expected a URL of http or https"),
        ("d.csv", "expected an image in PNG, JPEG, GIF or WebP, found another content"),
        (inline(b"<svg onload=x>", "image/svg+xml"), "found another form of data URL"),
        (inline(b"text"), "expected an image in PNG"),
        (inline(PNG, "image/gif"), "expected a data URL of image/png, which its content is, found image/gif"),
        ("data:text/html,<script>", "found another form of data URL"),
        ("data:image/png;base64,AAA", "found another form of data URL"),
    ],
)
def test_anything_else_is_refused(table: Path, cell: str, message: str) -> None:
    table.write_text("text,kind\n", encoding="utf-8")
    with pytest.raises(ValueError) as error:
        image_url(cell, file=table)
    assert message in str(error.value)


def test_a_large_image_is_refused(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", len(PNG) - 1)
    for cell in ("a.png", inline(PNG)):
        with pytest.raises(ValueError, match="expected an image of at most"):
            image_url(cell, file=table)
