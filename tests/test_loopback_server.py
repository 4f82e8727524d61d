"""The server that the other tests lean on: its faults, its outages and its books are what they say."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.loopback_server import Loopback

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def post(port: int, body: object = BODY, *, seconds: float = 5.0) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers (in lower case) and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", "/v1/chat/completions", body=json.dumps(body))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("the condition was never met")


def test_which_requests_fail_depends_on_seed_and_number_alone(loopback_server: ModuleType) -> None:
    chance = loopback_server.Chance(rate=0.3, seed=7)
    faults = [chance(number) for number in range(2000)]
    kinds = [fault and fault.kind for fault in faults]

    assert [fault and fault.kind for fault in map(chance, range(2000))] == kinds
    assert [
        fault and fault.kind for fault in map(loopback_server.Chance(rate=0.3, seed=8), range(9))
    ] != kinds[:9]
    assert 0.27 < sum(kind is not None for kind in kinds) / 2000 < 0.33
    assert set(kinds) == {None, *loopback_server.FAULTS}


@pytest.mark.parametrize(("rate", "failing"), [(0.0, 0), (1.0, 50)])
def test_none_and_all_are_rates_too(loopback_server: ModuleType, rate: float, failing: int) -> None:
    chance = loopback_server.Chance(rate=rate, kinds=("500",))

    assert sum(chance(number) is not None for number in range(50)) == failing


@pytest.mark.parametrize(
    ("kind", "status", "header"),
    [
        ("429", 429, None),
        ("429-seconds", 429, ("retry-after", "0.05")),
        ("429-ms", 429, ("retry-after-ms", "60")),
        ("429-reset", 429, ("x-ratelimit-reset-requests", "40ms")),
        ("500", 500, None),
        ("503", 503, None),
    ],
)
def test_a_refusal_carries_its_status_and_its_wait(
    loopback: "Loopback", loopback_server: ModuleType, kind: str, status: int, header: tuple[str, str] | None
) -> None:
    loopback.chance = loopback_server.Chance(rate=1, kinds=(kind,))

    answered, headers, content = post(loopback.port)

    assert answered == status
    assert "error" in json.loads(content)
    waits = {name: value for name, value in headers.items() if "retry" in name or "reset" in name}
    assert waits == ({} if header is None else dict([header]))


def test_a_date_to_come_back_at_is_at_most_a_second_away(
    loopback: "Loopback", loopback_server: ModuleType
) -> None:
    loopback.chance = loopback_server.Chance(rate=1, kinds=("429-date",))

    before = time.time()
    _, headers, _ = post(loopback.port)

    assert before <= parsedate_to_datetime(headers["retry-after"]).timestamp() <= time.time() + 1


@pytest.mark.parametrize(
    ("kind", "holds"),
    [
        ("no-choices", {"object": "chat.completion", "choices": []}),
        ("error-in-200", {"error": {"message": "the backend went away", "code": 502}}),
    ],
)
def test_a_200_may_hold_no_completion(
    loopback: "Loopback", loopback_server: ModuleType, kind: str, holds: dict[str, Any]
) -> None:
    loopback.chance = loopback_server.Chance(rate=1, kinds=(kind,))

    status, _, content = post(loopback.port)

    assert (status, json.loads(content)) == (200, holds)


def test_a_200_may_hold_no_json(loopback: "Loopback", loopback_server: ModuleType) -> None:
    loopback.chance = loopback_server.Chance(rate=1, kinds=("no-json",))

    status, _, content = post(loopback.port)

    assert status == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(content)


def test_another_model_answers_as_the_right_one_would(
    loopback: "Loopback", loopback_server: ModuleType
) -> None:
    right = json.loads(post(loopback.port)[2])
    loopback.chance = loopback_server.Chance(rate=1, kinds=("other-model",))

    assert json.loads(post(loopback.port)[2]) == {**right, "model": "another"}


def test_half_an_answer_is_cut_in_the_middle(loopback: "Loopback", loopback_server: ModuleType) -> None:
    loopback.chance = loopback_server.Chance(rate=1, kinds=("half",))

    with pytest.raises(http.client.IncompleteRead) as caught:
        post(loopback.port)

    assert caught.value.partial
    assert caught.value.expected


def test_a_reset_is_one_on_the_wire(loopback: "Loopback", loopback_server: ModuleType) -> None:
    loopback.chance = loopback_server.Chance(rate=1, kinds=("reset",))

    with socket.create_connection(("127.0.0.1", loopback.port)) as raw:
        content = json.dumps(BODY)
        raw.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode()
        )
        with pytest.raises(ConnectionResetError):
            raw.recv(1)


def test_a_stall_outlasts_an_impatient_client(loopback: "Loopback", loopback_server: ModuleType) -> None:
    loopback.chance = loopback_server.Chance(rate=1, kinds=("stall",), stall=0.3)

    with pytest.raises(TimeoutError):
        post(loopback.port, seconds=0.1)
    status, _, content = post(loopback.port)

    assert status == 200
    assert json.loads(content)["choices"]


def test_the_books_tell_faults_from_full_answers(
    loopback: "Loopback", loopback_server: ModuleType, tmp_path: Path
) -> None:
    loopback.events = tmp_path / "events.jsonl"
    loopback.faults = [None, loopback_server.Fault(delay=0.01)]
    loopback.chance = loopback_server.Chance(rate=1, kinds=("503",))
    for _ in range(3):
        post(loopback.port)
    loopback.settle()

    assert loopback.injected == Counter({"503": 1})
    (raw,) = loopback.counts
    assert (loopback.counts[raw], loopback.answered[raw]) == (3, 2)
    assert [json.loads(line) for line in loopback.events.read_text().splitlines()] == [
        {"request": 0, "fault": None, "answered": True},
        {"request": 1, "fault": None, "answered": True},
        {"request": 2, "fault": "503", "answered": False},
    ]


def test_a_server_that_vanished_refuses_and_comes_back_on_its_port(loopback: "Loopback") -> None:
    kept = http.client.HTTPConnection("127.0.0.1", loopback.port, timeout=5)
    kept.request("POST", "/", body=json.dumps(BODY))
    kept.getresponse().read()
    port = loopback.port
    loopback.vanish()

    with pytest.raises(ConnectionRefusedError):
        post(port)
    assert kept.sock is not None
    assert kept.sock.recv(1) == b""  # an open connection is no way round an outage
    kept.close()
    loopback.reappear()
    assert loopback.port == port
    assert post(port)[0] == 200


def test_an_outage_begins_with_a_request_and_ends_by_itself(loopback: "Loopback") -> None:
    loopback.outage_after, loopback.outage_seconds = 2, 0.2
    assert [post(loopback.port)[0] for _ in range(2)] == [200, 200]

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        post(loopback.port)
    with pytest.raises(ConnectionRefusedError):
        post(loopback.port)

    def back() -> bool:
        try:
            return post(loopback.port)[0] == 200
        except ConnectionError:
            return False

    until(back)
    loopback.settle()
    assert sum(loopback.counts.values()) == 4
    assert sum(loopback.answered.values()) == 3


def test_the_script_fails_as_it_is_told_and_keeps_its_books(
    loopback_server_path: Path, tmp_path: Path, loopback_server: ModuleType
) -> None:
    log, events = tmp_path / "log.jsonl", tmp_path / "events.jsonl"
    options = [
        "--log",
        log,
        "--events",
        events,
        "--faults",
        0.5,
        "--fault-seed",
        3,
        "--fault-kinds",
        "500,503",
    ]
    command = [sys.executable, loopback_server_path, *options, "--outage-after", 12, "--lifetime", 30]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            statuses = [post(port)[0] for _ in range(12)]
            until(lambda: events.exists() and events.read_text().count("\n") == 12)
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                post(port)
            with pytest.raises(ConnectionRefusedError):
                post(port)
        finally:
            process.kill()

    drawn = [loopback_server.Chance(rate=0.5, seed=3, kinds=("500", "503"))(number) for number in range(12)]
    assert statuses == [fault.status if fault else 200 for fault in drawn]
    assert len(set(statuses)) == 3
    assert [json.loads(line) for line in log.read_text().splitlines()] == [BODY] * 13
    told = [json.loads(line)["fault"] for line in events.read_text().splitlines()]
    assert told[:12] == [fault.kind if fault else None for fault in drawn]
