"""What tests of pages in a browser share: Chromium, a page that is watched, and studies to make pages of.

Chromium is that of the system, driven by playwright; nothing is downloaded. Where one of them is missing the tests are
skipped, and say what would enable them.
"""

import dataclasses
import importlib.util
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.archive import open_archive
from optimizer.completion import Completion, Model, Request
from optimizer.digest import derived_seed
from optimizer.errors import RejectedError
from optimizer.frozen import FrozenPrompt
from optimizer.models import Connection, ModelSpec, scripted
from optimizer.models.scripted import Scripted
from optimizer.plan import StudyPlan, load_plan
from optimizer.report import study_page
from optimizer.selection import optimize
from optimizer.study import open_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.virtual_clock import RunVirtual

CHROMIUM = Path("/usr/bin/chromium")
ENABLES = "`make browser` installs what the tests in a browser need"

# Headless, as root in a container too, and without what a browser asks for on its own account.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)

# What would run, load, end an element, turn text round, or end a line of a script.
SCRIPT = "</script><script>window.harmed=1</script>"
IMAGE = "\"'><img src=x onerror=window.harmed=1>"
INVISIBLE = "\u202eevil\u2066\u200b\u2028\u2029\x1b[2J\x7f\ufeff"
# Data with a NUL are refused; a model may still write one.
HOSTILE = f"{SCRIPT}{IMAGE}{INVISIBLE}<!--{{{{7*7}}}}&lt;\\u003c<|end|><|end<|end|>|>𝒳<|"
LABELS = ("</script>", '"><img src=x onerror=window.harmed=1>', "red & blue", "__proto__")
TOKENS = ("<|end|>", "<|", "d|><|e", "𝒳<")
LONG = 1_000_000

TASK = {
    "schema": 1,
    "name": "hostile",
    "dataset": {
        "path": "data.jsonl",
        "inputs": {
            "text": {},
            "__proto__": {"optional": True},
            "photo": {"type": "image", "optional": True},
            "sketch": {"type": "image", "optional": True},
        },
        "target": "colour",
        "splits": {"train": 16, "validation": 18, "test": 12},
    },
    "slices": ["kind"],
    "output": {"type": "label", "labels": list(LABELS)},
    "metric": "accuracy",
    "instruction": f"Name the colour. {HOSTILE}",
}
STUDY = {
    "schema": 1,
    "task": "task.yaml",
    "model": {
        "provider": "scripted",
        "name": "rules",
        "path": "rules.json",
        "capabilities": ["json_schema", "choice", "prefill", "images"],
        "control_tokens": list(TOKENS),
    },
    "search": {
        "instructions": {"given": [f"Which is it? {IMAGE}"], "compose": False},
        "demos": {"sizes": [0, 2], "sets": 4, "selectors": ["random", "nearest"]},
        "styles": ["direct", "self_check", "chain_of_thought"],
        "formats": ["plain", "json"],
        "screen": 9,
        "sampler": {"name": "random_search", "seed": 3},
    },
    "budget": {"calls": 420},
    "run": {"max_error_rate": 0.5},
}


@dataclass(kw_only=True)
class Opened:
    """A page in the browser, with what it complained of and what it asked for."""

    page: "Page"
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished study in a folder, and its pages by language."""

    plan: StudyPlan
    frozen: FrozenPrompt
    pages: dict[str, Path]


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """Run Chromium for the length of a module: while it is driven, no other loop of events can run in this thread."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip(f"there is no playwright; {ENABLES}")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}; {ENABLES}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(chromium: "Browser") -> Iterator[Callable[..., Opened]]:
    """Return what opens a file and watches it; requests for anything else are refused and written down."""
    contexts = []

    def watch(file: Path, **options: Any) -> Opened:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        found = Opened(page=context.new_page())
        address = file.as_uri()

        def settle(route: Any) -> None:
            if route.request.url.partition("#")[0] == address:
                route.continue_()
            else:
                found.asked.append(route.request.url)
                route.abort()

        def dismiss(dialog: Any) -> None:
            found.complaints.append(f"a dialog: {dialog.message}")
            dialog.dismiss()

        found.page.route("**/*", settle)
        found.page.on(
            "console",
            lambda said: found.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("dialog", dismiss)
        found.page.goto(address)
        return found

    yield watch
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory, run_virtual: "RunVirtual") -> Finished:
    """Return a study whose every text tries to be more than text."""
    folder = tmp_path_factory.mktemp("hostile")
    rng = Random(0)
    rows = [
        {
            "id": f"{HOSTILE} {n}",
            "text": f"Item {n} {rng.choice(('apple', 'lemon', 'grass'))} {HOSTILE}{rng.choice(TOKENS) * (n % 3)}",
            "__proto__": ("", f"  note {IMAGE} {n}")[n % 2],
            "photo": ("", "https://example.invalid/one.png", "data:image/png;base64,iVBORw0KGgo=")[n % 3],
            "sketch": ("", "https://example.invalid/two.png")[n % 2],
            "kind": f"{IMAGE}{n % 2}",
            "colour": LABELS[n % len(LABELS)],
        }
        for n in range(46)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return _finished(folder, TASK, STUDY, _harmful, run_virtual)


@pytest.fixture(scope="session")
def make_study(run_virtual: "RunVirtual") -> Callable[..., Finished]:
    """Return what carries out a study in a folder, a function being the model, and makes its pages."""

    def make(folder: Path, task: Any, study: Any, script: Callable[[Request], Completion | str]) -> Finished:
        return _finished(folder, task, study, script, run_virtual)

    return make


def _harmful(request: Request) -> Completion | str:
    """Answer with what would do harm, by a digest of what was asked; some answers are right."""
    asked = "".join(message.content for message in request.messages)
    rng = Random(derived_seed(0, asked))
    if rng.random() < 0.04:
        raise RejectedError(f"refused: {HOSTILE}")
    said = rng.choice(LABELS)
    if request.constraint is not None and request.constraint.json_schema:
        fields = request.constraint.schema()["properties"]
        assert isinstance(fields, dict)
        said = json.dumps(dict.fromkeys(fields, said))
    kind = rng.random()
    if kind < 0.08:
        return Completion(
            text=HOSTILE * 3 + "\x00", finish_reason="length", prompt_tokens=7, completion_tokens=9
        )
    if kind < 0.12:
        return Completion(text=HOSTILE, finish_reason="refused", prompt_tokens=7, completion_tokens=9)
    if kind < 0.15:
        return HOSTILE[:40] + "x" * LONG
    return f"\x00{HOSTILE}" if kind < 0.3 else said


def _finished(
    folder: Path,
    task: Any,
    study: Any,
    script: Callable[[Request], Completion | str],
    run_virtual: "RunVirtual",
) -> Finished:
    (folder / "rules.json").write_text('{"rules": [], "default": "red"}')
    (folder / "task.yaml").write_text(_yaml(task), encoding="utf-8")
    (folder / "study.yaml").write_text(_yaml(study), encoding="utf-8")
    plan = load_plan(folder / "study.yaml")

    async def work() -> FrozenPrompt:
        async with open_study(plan) as opened:
            return (await optimize(opened)).frozen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripted, "SCRIPTED", _provider(Scripted(script)))
        with ThreadPoolExecutor(1) as apart:  # the browser's loop may be running in this one
            frozen = apart.submit(lambda: run_virtual(work())).result()
    (folder / "prompt.json").write_text(frozen.dumps(), encoding="utf-8")
    pages = {}
    with open_archive(plan.database) as archive:
        for language in ("en", "fr"):
            pages[language] = folder / f"report-{language}.html"
            pages[language].write_text(study_page(plan, frozen, archive, language), encoding="utf-8")
    return Finished(plan=plan, frozen=frozen, pages=pages)


def _provider(model: Model) -> Any:
    @asynccontextmanager
    async def connect(spec: ModelSpec) -> AsyncIterator[Connection]:
        identity = {"provider": "scripted", "name": spec.name}
        yield Connection(model=model, identity=identity, capabilities=scripted.SCRIPTED.capabilities(spec))

    return dataclasses.replace(scripted.SCRIPTED, connect=connect)


def _yaml(document: Any) -> str:
    """Return a document as JSON, which is YAML; what YAML takes for a break of lines is escaped."""
    return json.dumps(document, ensure_ascii=True, indent=1) + "\n"
