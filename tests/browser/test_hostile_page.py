"""A page of a study whose every text tries to be more than text: all of it is shown, and none of it does anything."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.archive import Archive, open_archive

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Finished, Opened

pytestmark = pytest.mark.slow

MARKUP = "<img src=x onerror=window.harmed=1>"


@pytest.fixture(scope="module")
def page(hostile: "Finished", opened: Callable[..., "Opened"]) -> "Opened":
    """Return the page of the hostile study in a browser."""
    return opened(hostile.pages["en"], permissions=["clipboard-read", "clipboard-write"])


def data(page: "Page") -> Any:
    """Return the data that the page holds."""
    return json.loads(page.evaluate("document.getElementById('study-data').textContent"))


def expected(archive: Archive, fingerprint: str, example: Any, texts: Sequence[str]) -> list[Any]:
    """Return the messages of every call that was made for an example, as they were sent, by what was answered."""
    template = archive.templates[fingerprint]
    row = archive.scores[fingerprint][example.id]
    made = len(texts) + (row.outcome == "error")
    return [
        [message.to_dict() for message in template.request(example.values, texts[:k]).messages]
        for k in range(min(made, len(template.calls)))
    ]


def pairs(found: Any) -> Iterator[tuple[int, int]]:
    for arm, cells in enumerate(found["cells"]):
        yield from ((arm, cell[0]) for cell in cells)


def test_every_message_is_filled_as_it_was_sent(hostile: "Finished", page: "Opened") -> None:
    found = data(page.page)
    asked = list(pairs(found))
    made = page.page.evaluate("pairs => pairs.map(([arm, example]) => study.messages(arm, example))", asked)
    dataset = hostile.plan.dataset
    examples = {each.id: each for each in (*dataset.validation, *dataset.test)}
    kinds = set()
    with open_archive(hostile.plan.database) as archive:
        said = archive.completions(archive.templates)
        for (arm, place), messages in zip(asked, made, strict=True):
            fingerprint = found["arms"][arm]["fingerprint"]
            example = examples[found["strings"][found["examples"][place][0]]]
            texts = [each.text for each in said.get((fingerprint, example.id), ())]
            wanted = expected(archive, fingerprint, example, texts)
            # A prompt of several calls whose first failed was sent the first alone.
            assert messages == (wanted or [messages[0]])
            template = archive.templates[fingerprint]
            kinds.add(
                (len(wanted), template.retrieval is not None, archive.scores[fingerprint][example.id].outcome)
            )
        # Not one kind of prompt or outcome was left out.
        assert {(calls, retrieved) for calls, retrieved, _ in kinds} >= {
            (1, False),
            (1, True),
            (2, False),
            (2, True),
        }
        assert {outcome for _, _, outcome in kinds} == {"ok", "invalid", "refused", "truncated", "error"}
    text = json.dumps(made, ensure_ascii=False)
    for sign in ("image_url", "\\u001b", "<\u2060|\u2060end|>".replace("|\u2060", "|"), "[image 2]"):
        assert sign in text, sign


def test_nothing_runs_nothing_is_fetched_and_all_is_shown_wherever_one_looks(page: "Opened") -> None:
    shown = page.page
    shown.locator("#filters button").first.click()
    n = int(re.sub(r"\D", "", shown.locator("#found").inner_text().split(" of ")[0]))
    shown.locator(".opener").first.click()
    for _ in range(n):
        while (closed := shown.locator("#drawer details:not([open]) > summary")).count():
            closed.first.click()
        shown.keyboard.press("j")
    shown.keyboard.press("Escape")
    for split in ("0", "1"):
        shown.select_option("#split", split)
        shown.locator("#search").fill(MARKUP)
        assert shown.locator("#found").inner_text() != f"0 of {n} examples"
    shown.locator("#clear").click()
    for place in range(len(data(shown)["arms"])):
        shown.select_option("#pair-two", str(place))
    assert shown.evaluate("window.harmed") is None
    assert shown.evaluate("document.querySelectorAll('img, iframe, object, embed, link, base').length") == 0
    assert shown.evaluate("document.querySelectorAll('[onerror], [onload], [onclick]').length") == 0
    assert shown.evaluate("document.scripts.length") == 3
    assert MARKUP in shown.locator("body").inner_text()
    assert page.asked == []
    assert page.complaints == []


def test_what_does_not_show_what_it_does_is_replaced(page: "Opened") -> None:
    text = page.page.evaluate(
        "() => { const copy = document.body.cloneNode(true);"
        " copy.querySelectorAll('script').forEach(each => each.remove()); return copy.textContent; }"
    )
    hidden = [
        c for c in ("\u202e", "\u2066", "\u200b", "\u2028", "\u2029", "\x1b", "\x7f", "\ufeff") if c in text
    ]
    assert hidden == []
    assert "\ufffdevil" in text


def test_the_messages_are_copied_as_they_were_sent(hostile: "Finished", page: "Opened") -> None:
    shown, found = page.page, data(page.page)
    shown.select_option("#split", "0")
    shown.locator(".opener").first.click()
    side = shown.locator("#drawer .side").last
    arm = next(k for k, each in enumerate(found["arms"]) if each["name"] == side.locator("h3").inner_text())
    if not side.locator("details:last-of-type[open]").count():
        side.locator("details > summary").last.click()
    side.get_by_role("button", name="Copy as JSON").first.click()
    place = int(shown.locator("tr.current").get_attribute("data-place") or "")
    copied = json.loads(shown.evaluate("navigator.clipboard.readText()"))
    assert copied == shown.evaluate("([arm, place]) => study.messages(arm, place)[0]", [arm, place])
    side.get_by_role("button", name="Copy", exact=True).first.click()
    said = next(cell for cell in found["cells"][arm] if cell[0] == place)[6][0][0]
    assert shown.evaluate("navigator.clipboard.readText()") == found["strings"][said].replace("\r\n", "\n")
    shown.keyboard.press("Escape")


def test_a_text_of_a_million_characters_is_folded_and_can_be_shown_whole(page: "Opened") -> None:
    shown, found = page.page, data(page.page)
    long = {place for place, text in enumerate(found["strings"]) if len(text) > 500_000}
    arm, place = next(
        (arm, cell[0])
        for arm, cells in enumerate(found["cells"])
        for cell in cells
        if found["examples"][cell[0]][1] == 1 and cell[6] and cell[6][-1][0] in long
    )
    shown.select_option("#split", "1")
    shown.select_option("#compared select >> nth=1", str(arm))
    shown.locator("#search").fill("xxxxxxxx")
    shown.locator(f"tr[data-place='{place}'] .opener").click()
    folded = (
        shown.locator("#drawer .side").last.locator(".passage").filter(has=shown.get_by_role("button")).first
    )
    text = folded.locator("pre").element_handle()
    assert len(text.inner_text()) < 5000
    folded.get_by_role("button").click()
    assert len(text.text_content() or "") > 1_000_000
    shown.keyboard.press("Escape")
    shown.locator("#clear").click()
    assert page.complaints == []
