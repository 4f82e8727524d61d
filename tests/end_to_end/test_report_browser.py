"""The page of evidence in a real browser: it is styled, it asks for nothing, and text in it stays text."""

import re
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from optimizer.answer import AnswerFormat
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.report import page

CHROMIUM = Path("/usr/bin/chromium")

# Headless, as root in a container too, and without what a browser asks for on its own account.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--window-size=900,1400"),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}"),
]

TEMPLATE = PromptTemplate(
    calls=(CallTemplate(messages=(MessageTemplate(role="user", parts=(Hole(name="input:text"),)),)),),
    answer=AnswerFormat(kind="text"),
)


@dataclass
class Site:
    """Pages on the loopback interface, and what was asked for, in order."""

    address: str
    pages: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a browser made of a page: its document, what it complained of, its picture."""

    dom: str
    complaints: list[str]
    picture: bytes


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a server that knows its pages and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            body = found.pages.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Site(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def seen(address: str, folder: Path, *flags: str) -> Seen:
    """Open an address in a browser that knows nothing yet."""
    picture = folder / "page.png"
    command = [str(CHROMIUM), *FLAGS, *flags, f"--user-data-dir={folder / 'browser'}"]
    runs = [
        subprocess.run(
            [*command, *wanted, address], capture_output=True, text=True, timeout=120, check=True, cwd=folder
        )
        for wanted in (["--dump-dom"], [f"--screenshot={picture}"])
    ]
    return Seen(
        dom=runs[0].stdout,
        complaints=[line for run in runs for line in run.stderr.splitlines() if "CONSOLE" in line],
        picture=picture.read_bytes(),
    )


def prompt(text: str) -> FrozenPrompt:
    """Return a frozen prompt that holds a text wherever a page shows one."""
    figures = {
        "score": 0.6,
        "n": 20,
        "lower": 0.4,
        "upper": 0.8,
        "outcomes": {text: 20},
        "metrics": {text: 0.5},
    }
    message = MessageTemplate(role="system", parts=(text,))
    call = replace(TEMPLATE.calls[0], messages=(message, *TEMPLATE.calls[0].messages))
    return FrozenPrompt(
        name=text,
        template=replace(TEMPLATE, calls=(call,)),
        style=text,
        format=text,
        capabilities=(text,),
        demonstration_ids=(text,),
        model={"provider": text, "name": text},
        task={"name": text, "version": text, "metric": text, "dataset": {"splits": {text: 3}}},
        evidence={
            "decision": text,
            "metric": text,
            "in_words": [text],
            "leaks": [text],
            "test": {"baseline": figures, "winner": {**figures, "score": 0.7}},
            "difference": {"value": 0.1, "lower": -0.1, "upper": 0.3, "level": 0.95, "method": text},
            "guess": {"answer": text, "score": 0.2},
            "test_openings": [{"prompts": [text]}],
        },
        history=({"trial": 0, "stage": text, "style": text, "score": 0.6, text: text},),
        tool_versions={text: text},
    )


def test_a_browser_shows_the_page_from_a_file_styled_and_without_a_complaint(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(prompt("a colour")), encoding="utf-8")
    light = seen(file.as_uri(), tmp_path)
    assert light.complaints == []
    assert "<h1>a colour</h1>" in light.dom
    assert light.dom.count("<svg") == 2
    assert struct.unpack(">II", light.picture[16:24]) == (900, 1400)
    dark = seen(file.as_uri(), tmp_path, "--blink-settings=preferredColorScheme=0")
    assert dark.complaints == []
    assert dark.picture != light.picture


def test_a_browser_asks_for_the_page_and_for_nothing_that_text_in_it_names(
    site: Site, tmp_path: Path
) -> None:
    text = (
        f"\"'><img src={site.address}/image onerror=\"fetch('{site.address}/error')\"></style></title></pre>"
        f"<script>fetch('{site.address}/script')</script><link rel=stylesheet href={site.address}/sheet>"
        f"<style>body{{background:url({site.address}/style)}}</style><svg onload=\"fetch('{site.address}/svg')\">"
    )
    site.pages["/report.html"] = page(prompt(text))
    found = seen(f"{site.address}/report.html", tmp_path)
    assert set(site.asked) - {"/favicon.ico"} == {"/report.html"}  # the icon is the browser's own wish
    assert found.complaints == []
    assert re.findall(r"<(?:img|script|link)\b|<svg onload", found.dom) == []
    assert found.dom.count("&lt;img") > 20


def test_the_policy_stops_and_names_what_should_ever_get_into_the_page(site: Site, tmp_path: Path) -> None:
    slipped = (
        f"<img src={site.address}/image><link rel=stylesheet href={site.address}/sheet>"
        f"<script>fetch('{site.address}/script')</script><p style='color: red'>styled</p>"
        f"<style>body {{ background: url({site.address}/style) }}</style>"
    )
    site.pages["/report.html"] = page(prompt("a colour")).replace("<main>", f"<main>{slipped}")
    found = seen(f"{site.address}/report.html", tmp_path)
    assert set(site.asked) - {"/favicon.ico"} == {"/report.html"}
    refused = "\n".join(found.complaints)
    for directive in ("style-src", "img-src", "script-src"):
        assert directive in refused
