"""What optuna-dashboard shows of a study: its real application is asked, in this process and once as a server."""

import dataclasses
import http.client
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.archive import open_archive
from optimizer.dashboard import Dashboard, best_trial, fenced, plain, prompt_text, study_note, trial_note
from optimizer.frozen import FrozenPrompt
from optimizer.storage import open_storage
from optimizer.store import Store
from optimizer.viewing import open_view

if TYPE_CHECKING:
    from tests.parcels import optimizer
else:
    from parcels import optimizer


Ask = Callable[..., "Reply"]


class Reply(NamedTuple):
    """What an application answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def asked(app: Dashboard, path: str, method: str = "GET", **environ: str) -> Reply:
    """Send one request to an application, as a server does."""
    given_: dict[str, Any] = {
        "PATH_INFO": path,
        "REQUEST_METHOD": method,
        "HTTP_HOST": "127.0.0.1:8080",
        "HTTP_ACCEPT_ENCODING": "",
        **environ,
    }
    setup_testing_defaults(given_)
    answered: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
        answered[:] = [int(status.split(maxsplit=1)[0]), {name.lower(): text for name, text in headers}]
        return lambda _data: None

    parts = app(given_, start)
    body = b"".join(parts)
    if hasattr(parts, "close"):
        parts.close()
    return Reply(answered[0], answered[1], body)


def attributes(trial: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["value"] for each in trial["user_attrs"]}


def params(trial: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["param_external_value"] for each in trial["params"]}


def test_a_study_is_shown_by_its_name_and_its_trials_by_their_numbers(parcels: Path) -> None:
    with open_view(parcels) as view:
        app = Dashboard(view)
        (summary,) = asked(app, "/api/studies").json["study_summaries"]
        assert (summary["study_id"], summary["study_name"]) == (0, "parcels")
        shown = asked(app, "/api/studies/0").json
        assert [each["number"] for each in shown["trials"]] == [row.trial for row in view.trials]
        for trial, row in zip(shown["trials"], view.trials, strict=True):
            assert trial["values"] == [row.score]
            assert trial["state"] == "Complete"
            assert params(trial) == {
                "instruction": row.point["instruction"],
                "demos": row.point["demonstrations"],
                "style": row.point["style"],
                "format": row.point["format"],
            }
            assert all(value[0].isalpha() for value in params(trial).values())
            assert (attributes(trial)["stage"], attributes(trial)["n"]) == (row.stage, str(row.n))
            assert all(len(value) <= 80 for value in attributes(trial).values())
        # The baseline was kept here, and not the trial with the highest value.
        assert [each["number"] for each in shown["best_trials"]] == [0]
        importances = asked(app, "/api/studies/0/param_importances").json["param_importances"]
        assert {each["name"] for each in importances[0]} == {"instruction", "demos", "style", "format"} - {
            "style"
        } | {"style"}
        assert asked(app, "/dashboard").status == 200


def test_notes_and_artifacts_hold_the_prompt_and_the_results(parcels: Path) -> None:
    with open_view(parcels) as view, open_archive(parcels / "study.db") as archive:
        app = Dashboard(view)
        for trial, row in zip(asked(app, "/api/studies/0").json["trials"], archive.trials, strict=True):
            template = archive.templates[row.fingerprint]
            assert fenced(prompt_text(template)) in trial["note"]["body"]
            files = {each["filename"]: each["artifact_id"] for each in trial["artifacts"]}
            results, prompt = (
                asked(app, f"/artifacts/0/{trial['trial_id']}/{files[name]}")
                for name in (f"trial_{row.trial:04d}.jsonl", f"trial_{row.trial:04d}_prompt.txt")
            )
            assert prompt.body.decode() == prompt_text(template) + "\n"
            rows = {each["id"]: each for each in map(json.loads, results.body.decode().splitlines())}
            scores = archive.scores[row.fingerprint]
            assert {name: each["score"] for name, each in rows.items()} == {
                k: v.score for k, v in scores.items()
            }
            assert all(
                each["input:message"] == view.examples[name].values["message"] for name, each in rows.items()
            )
            assert "access-control-allow-origin" not in results.headers
        assert asked(app, "/artifacts/0/0/00000063-0").status == 404
        note = asked(app, "/api/studies/0").json["note"]["body"]
        for text in (
            "not distinguishable",
            "optimizer show STUDY --history",
            "highest value is not the best",
        ):
            assert text in note.replace("\\", "") or text == "not distinguishable"
        assert plain(FrozenPrompt.load(parcels / "prompt.json").evidence["in_words"][0]) in note  # type: ignore[index]  # it is a list


def test_what_breaks_a_constraint_is_never_called_the_best(own_parcels: Path) -> None:
    (own_parcels / "prompt.json").unlink()
    with sqlite3.connect(own_parcels / "study.db") as connection:
        change = "UPDATE ps_record SET content = json_set(content, '$.feasible', json('false')) WHERE kind = 'trial'"
        connection.execute(f"{change} AND number IN (1, 2, 4, 8)")
    connection.close()
    with open_view(own_parcels) as view:
        shown = asked(Dashboard(view), "/api/studies/0").json
    assert [each["number"] for each in shown["best_trials"]] == [6]
    assert [each["constraints"] for each in shown["trials"]] == [[float(k in (1, 2, 4, 8))] for k in range(9)]
    assert attributes(shown["trials"][4])["feasible"] == "no"
    assert "4 of 9 trials break one and cannot win (1, 2, 4, 8)" in shown["note"]["body"]
    assert "cannot win" in shown["trials"][4]["note"]["body"]
    assert "The best trial so far is trial 6" in shown["note"]["body"]


def test_a_study_that_goes_on_is_followed_and_never_changed(own_parcels: Path) -> None:
    database = own_parcels / "study.db"
    frozen = (own_parcels / "prompt.json").read_text()
    (own_parcels / "prompt.json").unlink()
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT number, content FROM ps_record WHERE kind = 'trial' AND number > 5"
        ).fetchall()
        connection.execute("DELETE FROM ps_record WHERE kind = 'trial' AND number > 5")
    connection.close()
    with open_view(own_parcels) as view:
        app = Dashboard(view)
        assert len(asked(app, "/api/studies/0").json["trials"]) == 6
        with open_storage(database) as storage:  # somebody runs it
            store = Store(storage).of(1)
            for number, content in rows:
                store.record("trial", number, json.loads(content))
                shown = asked(app, "/api/studies/0").json
                assert len(shown["trials"]) == number + 1
            failed = {**json.loads(rows[0][1]), "state": "failed", "score": None}
            store.record("trial", 6, failed)  # a trial may become another one
            assert asked(app, "/api/studies/0").json["trials"][6]["state"] == "Fail"
            store.record("trial", 6, json.loads(rows[0][1]))
        (own_parcels / "prompt.json").write_text(frozen)
        assert "in a test" not in asked(app, "/api/studies/0").json["note"]["body"]
        assert (
            "was compared with the baseline on 24 test examples"
            in asked(app, "/api/studies/0").json["note"]["body"]
        )
        before = database.read_bytes()
        asked(app, "/api/studies/0")
    assert database.read_bytes() == before


def test_a_study_that_went_on_after_its_verdict_has_none_until_the_new_one_is_there(
    own_parcels: Path,
) -> None:
    path, database = own_parcels / "prompt.json", own_parcels / "study.db"
    verdict = FrozenPrompt.load(path)
    with open_view(own_parcels) as view, open_storage(database) as storage:
        app, store = Dashboard(view), Store(storage).of(1)
        assert plain("was compared with the baseline") in asked(app, "/api/studies/0").json["note"]["body"]
        # A larger budget: the second of two new trials is scored first, and is the best one.
        rows = store.records("trial")
        store.record("trial", 10, {**rows[8], "trial": 10, "stage": "confirm", "score": 1.0})
        shown = asked(app, "/api/studies/0").json
        assert shown["trials"][9]["state"] == "Waiting"
        assert attributes(shown["trials"][9]) == {"stage": "asked for, not scored so far"}
        assert [each["number"] for each in shown["best_trials"]] == [10]
        assert "no prompt is chosen yet" in shown["note"]["body"]
        assert "was compared with the baseline" not in shown["note"]["body"]
        new = {**verdict.history[8], "trial": 10}
        evidence = {**verdict.evidence, "in_words": ["The second verdict"], "frozen_digest": new["digest"]}
        later = dataclasses.replace(verdict, history=(*verdict.history, new), evidence=evidence)
        path.write_text(later.dumps(), encoding="utf-8")
        shown = asked(app, "/api/studies/0").json
        assert "The second verdict" in shown["note"]["body"]
        assert shown["trials"][9]["state"] == "Fail"
        assert [each["number"] for each in shown["best_trials"]] == [10]


@pytest.mark.parametrize("over", [False, True])
def test_trials_keep_their_numbers_where_some_have_no_row(own_parcels: Path, over: bool) -> None:
    if not over:
        (own_parcels / "prompt.json").unlink()
    with sqlite3.connect(own_parcels / "study.db") as connection:
        for k in range(8, 3, -1):  # as if two more had been asked for
            change = f"number = {k + 2}, content = json_set(content, '$.trial', {k + 2})"
            connection.execute(f"UPDATE ps_record SET {change} WHERE kind = 'trial' AND number = {k}")
    connection.close()
    with open_view(own_parcels) as view:
        app = Dashboard(view)
        shown = asked(app, "/api/studies/0").json
        trials, best = shown["trials"], best_trial(view)
        assert best is not None
        assert [row.trial for row in view.trials] == [0, 1, 2, 3, 6, 7, 8, 9, 10]
        assert [each["number"] for each in trials] == list(range(11))
        assert [each["number"] for each in shown["best_trials"]] == [best.trial]
        for k in (4, 5):
            assert trials[k]["state"] == ("Fail" if over else "Waiting")
            said = "asked for, never scored" if over else "asked for, not scored so far"
            assert attributes(trials[k]) == {"stage": said}
        for row in view.trials:
            assert trials[row.trial]["values"] == [row.score]
            assert trials[row.trial]["note"]["body"] == trial_note(view, row)
            assert {each["filename"] for each in trials[row.trial]["artifacts"]} == {
                f"trial_{row.trial:04d}.jsonl",
                f"trial_{row.trial:04d}_prompt.txt",
            }
        assert asked(app, "/api/studies/0/param_importances").status == 200


@pytest.mark.parametrize("state", ["pruned", "failed"])
def test_trials_that_did_not_complete_are_what_they_are(own_parcels: Path, state: str) -> None:
    score = "0.25" if state == "pruned" else "NULL"
    with sqlite3.connect(own_parcels / "study.db") as connection:
        change = f"json_set(content, '$.state', '{state}', '$.score', {score})"
        connection.execute(f"UPDATE ps_record SET content = {change} WHERE kind = 'trial' AND number = 3")
    connection.close()
    with open_view(own_parcels) as view:
        trial = asked(Dashboard(view), "/api/studies/0").json["trials"][3]
    assert trial["state"] == ("Pruned" if state == "pruned" else "Fail")
    assert [each["value"] for each in trial["intermediate_values"]] == ([0.25] if state == "pruned" else [])


def test_a_study_without_a_trial_is_shown(own_parcels: Path) -> None:
    (own_parcels / "prompt.json").unlink()
    with sqlite3.connect(own_parcels / "study.db") as connection:
        connection.execute("DELETE FROM ps_record WHERE kind = 'trial'")
    connection.close()
    with open_view(own_parcels) as view:
        shown = asked(Dashboard(view), "/api/studies/0").json
        assert (shown["trials"], shown["best_trials"]) == ([], [])
        assert "#" in study_note(view)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/0"),
        ("POST", "/api/studies"),
        ("POST", "/api/trials/0/tell"),
        ("PUT", "/api/studies/0/note"),
    ],
)
def test_nothing_can_be_changed(parcels: Path, method: str, path: str) -> None:
    with open_view(parcels) as view:
        app = Dashboard(view)
        reply = asked(app, path, method)
        assert reply.status == 405
        assert "nothing can be changed" in reply.json["reason"]
        assert len(asked(app, "/api/studies/0").json["trials"]) == 9


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_HOST": "evil.example"},
        {"HTTP_HOST": "evil.example:8080"},
        {"HTTP_HOST": "127.0.0.1.evil.example:8080"},
        {"HTTP_HOST": ""},
        {"HTTP_ORIGIN": "http://evil.example"},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": "http://127.0.0.1:9999"},
    ],
)
def test_pages_from_elsewhere_are_refused(parcels: Path, headers: dict[str, str]) -> None:
    with open_view(parcels) as view:
        assert asked(Dashboard(view), "/api/studies/0", **headers).status == 403
        own = {"HTTP_HOST": "localhost:8080", "HTTP_ORIGIN": "http://localhost:8080"}
        assert asked(Dashboard(view), "/api/studies", **own).status == 200


@given(text=st.text())
def test_no_prompt_ends_its_block_and_no_name_is_markup(text: str) -> None:
    first, *inner, last = fenced(text).split("\n")
    fence = first.removesuffix("text")
    assert set(fence) == {"`"}
    assert last == fence
    assert "\n".join(inner) == text
    assert fence not in text
    shown = plain(text)
    assert "\n" not in shown
    assert shown.replace("\\", "") == " ".join(text.split()).replace("\\", "")
    assert not any(shown.startswith(mark) for mark in "#>-+*`<|")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com", ""])
def test_other_hosts_are_refused_with_the_reason(parcels: Path, host: str) -> None:
    told = optimizer("dashboard", parcels, "--host", host, "--port", "0")
    assert told.code == 2
    assert "no passwords" in told.err
    assert "ssh -L" in told.err


def test_without_a_database_there_is_nothing_to_show(parcels: Path, tmp_path: Path) -> None:
    shutil.copy(parcels / "prompt.json", tmp_path)
    told = optimizer("dashboard", tmp_path, "--port", "0")
    assert told.code == 2
    assert "there is no study.db" in told.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_answers_until_it_is_ended(parcels: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "optimizer", "dashboard", str(parcels), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            lines = takewhile(lambda line: line != "}\n", process.stdout)
            told = json.loads("".join(lines) + "}")
            assert (told["study"], told["trials"]) == ("parcels", 9)
            port = int(told["url"].split(":")[2].split("/")[0])
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/api/studies/0")
            assert len(json.loads(connection.getresponse().read())["trials"]) == 9
            connection.close()
            taken = optimizer("dashboard", parcels, "--port", str(port))
            assert taken.code == 2
            assert f"cannot listen on 127.0.0.1:{port}" in taken.err
            process.send_signal(number)
            assert process.wait(timeout=60) == 0
            assert process.stderr.read().endswith("ended\n")
        finally:
            process.kill()
