"""Requests for OpenAI's Batch API and servers that take the same files, one line for each row.

The answers come back in any order: join them on `custom_id`, which is the id of the row. A file holds at most 50,000
requests and 90 MB (the API takes 200), so more of them are written into several.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from optimizer.dataset import Example
from optimizer.exporters import Case, Exporter, Shipment
from optimizer.exporters._chat import response_format

MOST_LINES, MOST_BYTES = 50_000, 90_000_000

# Some readers of lines break them here as well; within JSON they can stand only in texts.
_BREAKS = {place: f"\\u{place:04x}" for place in (0x7F, 0x85, 0x2028, 0x2029)}

URL = "/v1/chat/completions"


def _write(shipment: Shipment) -> Iterator[str]:
    lines, size = list[str](), 0
    for example in shipment.examples:
        line = (
            json.dumps(_line(shipment, example), ensure_ascii=False, allow_nan=False).translate(_BREAKS)
            + "\n"
        )
        n = len(line.encode("utf-8", "surrogatepass"))
        if lines and (len(lines) == MOST_LINES or size + n > MOST_BYTES):
            yield "".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += n
    yield "".join(lines)


def _line(shipment: Shipment, example: Example) -> dict[str, object]:
    frozen, call = shipment.frozen, shipment.call
    inputs = {name: example.values[name] for name in frozen.inputs}
    body: dict[str, object] = {"model": frozen.model["name"], "messages": frozen.messages(**inputs)}
    body |= dict(call.parameters)
    form = response_format(call.constraint)
    body |= {} if form is None else {"response_format": form}
    return {"custom_id": example.id, "method": "POST", "url": URL, "body": body}


def _render(texts: Sequence[str], cases: Sequence[Case]) -> list[list[dict[str, Any]]]:
    """Return the messages of the lines, which are those of the cases in their order."""
    lines = [line for text in texts for line in text.split("\n")[:-1]]
    found = [json.loads(line)["body"]["messages"] for line in lines]
    assert len(found) == len(cases)  # a row each
    return found


openai_batch = Exporter(
    suffix=".batch.jsonl",
    write=_write,
    carries=frozenset({"retrieval", "images", "json_schema", "neutralise", "optional"}),
    render=_render,
    of_rows=True,
)
