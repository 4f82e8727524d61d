"""The page of an ordinary study, used with mouse and keys: filters that count right, rows made on demand, no barriers."""

import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.archive import open_archive
from optimizer.completion import Completion, Request
from optimizer.digest import derived_seed
from optimizer.errors import RejectedError
from optimizer.report._block import embedded

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Finished, Opened

pytestmark = pytest.mark.slow

LABELS = ("red", "green", "blue")
TASK = {
    "schema": 1,
    "name": "colours",
    "dataset": {
        "path": "data.jsonl",
        "inputs": ["text"],
        "target": "colour",
        "splits": {"train": 12, "validation": 30, "test": 36},
    },
    "slices": ["kind"],
    "output": {"type": "label", "labels": list(LABELS)},
    "metric": "accuracy",
    "instruction": "Name the colour.",
}
STUDY = {
    "schema": 1,
    "task": "task.yaml",
    "model": {"provider": "scripted", "name": "rules", "path": "rules.json"},
    "search": {
        "instructions": {"given": ["Which colour is it?", "Say the colour."], "compose": False},
        "demos": {"sizes": [0, 2], "sets": 2, "selectors": ["random"]},
        "styles": ["direct"],
        "formats": ["plain", "inline"],
        "screen": 12,
        "sampler": {"name": "random_search", "seed": 0},
    },
    "budget": {"calls": 320},
    "run": {"max_error_rate": 0.3},
}
SPLITS = ("test", "validation")
MOST_ROWS = 60


def guessed(request: Request) -> Completion | str:
    """Answer by a digest of what was asked: often right, sometimes wrong, unreadable, cut off, refused or lost."""
    asked = "".join(message.content for message in request.messages)
    rng = Random(derived_seed(0, asked))
    kind = rng.random()
    if kind < 0.03:
        raise RejectedError("refused by the endpoint")
    if kind < 0.1:
        return "no idea"
    if kind < 0.15:
        return Completion(text="It is re", finish_reason="length", prompt_tokens=20, completion_tokens=4)
    right = LABELS[int(re.findall(r"Item (\d+)", asked)[-1]) % 3]
    return Completion(
        text=right if kind < 0.75 else rng.choice(LABELS), prompt_tokens=20, completion_tokens=1
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, make_study: Callable[..., "Finished"]) -> "Finished":
    folder = tmp_path_factory.mktemp("colours")
    rows = [
        {"id": f"c{n:02d}", "text": f"Item {n}", "kind": ("near", "far")[n % 2], "colour": LABELS[n % 3]}
        for n in range(78)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return make_study(folder, TASK, STUDY, guessed)


@pytest.fixture(scope="module")
def found(study: "Finished", opened: Callable[..., "Opened"]) -> "Opened":
    return opened(study.pages["en"])


@pytest.fixture
def page(found: "Opened") -> "Page":
    """Return the page as it was when it was opened."""
    found.page.reload()
    return found.page


def counts(page: "Page") -> dict[str, int]:
    """Return what the filters say, by name."""
    return {
        each.get_attribute("data-status") or "": int(each.locator(".n").inner_text().replace(",", ""))
        for each in page.locator("#filters button").all()
    }


def expected(study: "Finished", split: str, fingerprints: list[str]) -> dict[str, set[str]]:
    """Return which examples pass each filter, from the study's own records."""
    examples = {each.id for each in getattr(study.plan.dataset, split)}
    with open_archive(study.plan.database) as archive:
        sides = [archive.scores[each] for each in fingerprints]
    passed: dict[str, set[str]] = {
        name: set()
        for name in "all differs improved regressed fails right invalid cut errors".split()  # noqa: SIM905  # as they stand on the page
    }
    for name in examples:
        rows = [side[name] for side in sides if name in side]
        scored = [row for row in rows if row.score is not None]
        first = sides[0].get(name)
        if not rows:
            continue
        signs = {
            "all": True,
            "differs": len({(row.outcome, row.answer) for row in scored}) > 1,
            "fails": bool(scored) and all((row.score or 0) < 0.5 for row in scored),
            "right": bool(scored) and all((row.score or 0) >= 0.5 for row in scored),
            "invalid": any(row.outcome == "invalid" for row in rows),
            "cut": any(row.outcome in ("truncated", "refused") for row in rows),
            "errors": len(scored) < len(rows),
        }
        if first is not None and first.score is not None:
            signs["improved"] = any((row.score or 0) > first.score for row in scored)
            signs["regressed"] = any((row.score or 0) < first.score for row in scored)
        for sign, holds in signs.items():
            if holds:
                passed[sign].add(name)
    return passed


def data(page: "Page") -> Any:
    return json.loads(page.evaluate("document.getElementById('study-data').textContent"))


def test_every_filter_counts_and_shows_what_the_records_say(
    study: "Finished", page: "Page", found: "Opened"
) -> None:
    arms = data(page)["arms"]
    assert len(arms) > 4
    kinds, wanted = set[str](), dict[str, set[str]]()
    for split, pair in ((0, (0, 1)), (1, (0, 1)), (1, (2, 3)), (1, (3, 0))):
        page.select_option("#split", str(split))
        for place in (1, 0):
            select = page.locator("#compared select").nth(place)
            if str(pair[place]) in select.evaluate("s => [...s.options].map(o => o.value)"):
                select.select_option(str(pair[place]))
        chosen = [int(each.input_value()) for each in page.locator("#compared select").all()]
        wanted = expected(study, SPLITS[split], [arms[k]["fingerprint"] for k in chosen])
        assert counts(page) == {name: len(ids) for name, ids in wanted.items()}
        for name, ids in wanted.items():
            page.locator(f"#filters [data-status={name}]").click()
            assert page.locator("#found").inner_text() == f"{len(ids)} of {len(wanted['all'])} examples"
            shown = {each.inner_text() for each in page.locator("#list .opener").all()}
            assert shown <= ids
            assert bool(shown) == bool(ids)
            kinds |= {name} if ids else set()
        page.locator("#filters [data-status=all]").click()
    assert kinds == set(wanted)  # none of them was empty all the time
    assert found.complaints == []


def test_every_control_does_something_and_nothing_complains(page: "Page", found: "Opened") -> None:
    for select in page.locator("#explorer select:visible, #prompts-compared select").all():
        for value in select.evaluate("s => [...s.options].map(o => o.value)"):
            if value in select.evaluate("s => [...s.options].map(o => o.value)"):
                select.select_option(value)
    page.locator("#clear").click()
    before = page.locator("#compared select").count()
    page.locator("#add-prompt").click()
    assert page.locator("#compared select").count() == before + 1
    page.locator("#compared .remove").first.click()
    assert page.locator("#compared select").count() == before
    page.locator("#search").fill("Item 7")
    assert re.fullmatch(r"\d+ of \d+ examples", page.locator("#found").inner_text())
    page.locator("#clear").click()
    assert page.locator("#search").input_value() == ""
    cell = page.locator("#confusion button").first
    n = int(cell.inner_text())
    cell.click()
    assert page.locator("#found").inner_text().startswith(f"{n} of ")
    page.locator("#chip").click()
    assert page.locator("#chip").is_hidden()
    for header in page.locator("table.sortable thead button").all():
        header.click()
        header.click()
    assert page.locator("table.sortable [aria-sort]").count() >= 1
    page.locator("#help-open").click()
    assert page.locator("#help").is_visible()
    page.locator("#help-close").click()
    page.locator(".opener").first.click()
    page.locator("#next").click()
    page.locator("#previous").click()
    page.locator("#drawer summary").first.click()
    page.locator("#close").click()
    assert page.locator("#drawer").is_hidden()
    while (closed := page.locator("main details:not([open]) > summary:visible")).count():
        closed.first.click()
    assert found.complaints == []
    assert found.asked == []


def test_the_examples_can_be_walked_with_the_keys_alone(page: "Page") -> None:
    focused = "document.activeElement.closest('tr')?.dataset.place ?? document.activeElement.id"
    page.keyboard.press("j")
    first = page.evaluate(focused)
    page.keyboard.press("j")
    second = page.evaluate(focused)
    assert first != second
    page.keyboard.press("Enter")
    assert page.locator("#drawer").is_visible()
    title = page.locator("#drawer-title").inner_text()
    page.keyboard.press("j")
    assert page.locator("#drawer-title").inner_text() != title
    for _ in range(60):  # the focus stays inside
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('#drawer')"
        )
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    assert page.locator("#drawer").is_hidden()
    assert page.evaluate(focused) == second  # and goes back to where it was
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("Item 7")
    page.keyboard.press("Escape")
    assert page.locator("#search").input_value() == ""
    page.keyboard.press("Tab")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()


def test_of_a_thousand_examples_and_twenty_prompts_only_the_rows_in_sight_are_made(
    study: "Finished", opened: Callable[..., "Opened"], tmp_path: Path
) -> None:
    html = study.pages["en"].read_text(encoding="utf-8")
    block = re.search(r'(<script type="application/json" id="study-data">)(.*?)(</script>)', html, re.DOTALL)
    assert block is not None
    whole = json.loads(block[2])
    tests = [place for place, example in enumerate(whole["examples"]) if example[1] == 0]
    by_place = [{cell[0]: cell for cell in cells} for cells in whole["cells"]]
    both = [arm for arm, cells in enumerate(by_place) if set(tests) <= set(cells)][:2]
    whole["examples"] = [whole["examples"][tests[n % len(tests)]] for n in range(1000)]
    whole["arms"] = [whole["arms"][both[k % 2]] | {"name": f"prompt {k}"} for k in range(20)]
    whole["cells"] = [
        [[n, *by_place[both[k % 2]][tests[n % len(tests)]][1:]] for n in range(1000)] for k in range(20)
    ]
    file = tmp_path / "large.html"
    file.write_text(html[: block.start(2)] + embedded(whole) + html[block.end(2) :], encoding="utf-8")
    found = opened(file)
    page = found.page
    assert page.locator("#found").inner_text() == "1,000 of 1,000 examples"
    seen = set[str]()
    for share in (0, 0.33, 0.5, 1):
        page.evaluate(
            "share => { const l = document.getElementById('list'); l.scrollTop = share * l.scrollHeight; }",
            share,
        )
        page.wait_for_function(
            "share => { const l = document.getElementById('list'), b = l.getBoundingClientRect(); return [...l.querySelectorAll('tr[data-place]')].some(r => { const x = r.getBoundingClientRect(); return x.bottom > b.top && x.top < b.bottom; }); }"
        )
        rows = page.locator("#list tr[data-place]")
        assert 5 < rows.count() <= MOST_ROWS
        seen |= {each.get_attribute("data-place") or "" for each in rows.all()}
    assert "0" in seen
    assert "999" in seen
    assert found.complaints == []


def test_figures_are_rounded_as_in_the_tables_and_no_character_is_cut(page: "Page") -> None:
    source = files("optimizer.report").joinpath("page.js").read_text(encoding="utf-8")
    helpers = source[source.index("  const integer") : source.index("  const outcomes")]
    numbers = [k / 2000 for k in range(2001)] + [k / 64 for k in range(-64, 65)]
    run = f"""(numbers) => {{
        const language = "en";
        {helpers}
        return {{
            three: numbers.map((n) => decimal(n, 3)), two: numbers.map((n) => decimal(n, 2)),
            cut: oneLine("ab\\u{{1f469}}\\u200d\\u{{1f680}}c", 3), kept: shown("\\u0645\\u200c\\u202e"),
            names: ["an invoice", "a parcel"].map((what) => elided(`customer support, second level: refund of ${{what}}`, 24)),
        }};
    }}"""
    found = page.evaluate(run, numbers)
    assert found["three"] == [f"{n:.3f}" for n in numbers]
    assert found["two"] == [f"{n:.2f}" for n in numbers]
    assert found["cut"] == "ab\U0001f469\u200d\U0001f680"
    assert found["kept"] == "\u0645\u200c\ufffd"
    assert len(set(found["names"])) == 2


def test_the_leaderboard_is_sorted_by_the_numbers_of_trials(page: "Page") -> None:
    page.locator("table.leaderboard th button").first.click()
    rows = page.locator("table.leaderboard tbody th").all_inner_texts()
    numbers = [int(found[1]) for row in rows if (found := re.match(r"trial (\d+)", row))]
    assert numbers == sorted(numbers, reverse=True)
    assert max(numbers) >= 10


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("en", "dark"), ("fr", "light")])
def test_there_is_no_serious_barrier_for_anybody(
    study: "Finished", opened: Callable[..., "Opened"], language: str, scheme: str
) -> None:
    axe_core = pytest.importorskip("axe_core_python.sync_playwright")
    page = opened(study.pages[language], color_scheme=scheme).page
    assert page.evaluate("document.documentElement.lang") == language
    for click in (None, ".opener"):
        if click:
            page.locator(click).first.click()
        serious = [
            (each["id"], each["impact"], [node["target"] for node in each["nodes"]][:3])
            for each in axe_core.Axe().run(page)["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_on_paper_every_row_stands_and_no_control(page: "Page", study: "Finished") -> None:
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#list tr[data-place]").count() == len(study.plan.dataset.test)
    assert page.locator(".controls").is_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator(".controls").is_visible()


def test_a_narrow_screen_is_not_wider_than_it_is(study: "Finished", opened: Callable[..., "Opened"]) -> None:
    page = opened(study.pages["en"], viewport={"width": 360, "height": 740}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator(".opener").first.click()
    assert page.evaluate("document.getElementById('drawer').scrollWidth") <= 360


def test_without_scripts_all_but_the_examples_is_there(
    study: "Finished", opened: Callable[..., "Opened"]
) -> None:
    page = opened(study.pages["en"], java_script_enabled=False).page
    assert page.locator("noscript").count() >= 1
    assert page.locator("#explorer").is_hidden()
    assert page.locator("h2:visible").count() > 6
