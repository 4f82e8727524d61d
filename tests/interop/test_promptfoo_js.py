"""Configurations of promptfoo, run by promptfoo: it makes the very messages, sends the very request, and scores alike.

Its command line loads the written files. Many of them are put together as one configuration, since each start takes
seconds: the lines of their prompts and of their tests as they are, and each test with the name of its own prompt.
"""

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.answer import AnswerFormat
from optimizer.completion import Completion, Constraint
from optimizer.metrics import METRICS, Setting

if TYPE_CHECKING:
    import subprocess

    from optimizer.frozen import FrozenPrompt

Evaluate = Callable[..., list[dict[str, Any]]]

QUIET = {
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "PROMPTFOO_DISABLE_SHARING": "1",
    "PROMPTFOO_CACHE_ENABLED": "false",
    "NO_COLOR": "1",
}


@pytest.fixture(scope="module")
def exports(prompts_of: Callable[[str], ModuleType]) -> ModuleType:
    return prompts_of("test_promptfoo_exports")


@pytest.fixture
def evaluate(
    node: Callable[..., "subprocess.CompletedProcess[str]"],
    library: Callable[[str], Path],
    tmp_path: Path,
) -> Evaluate:
    """Return a function that evaluates a configuration, and gives the results by test."""

    def run(text: str, **variables: str) -> list[dict[str, Any]]:
        program = library("promptfoo") / "dist" / "src" / "entrypoint.js"
        (tmp_path / "config.promptfoo.yaml").write_text(text, encoding="utf-8")
        options = ["--no-cache", "--no-table", "--no-write", "--no-progress-bar", "--max-concurrency", "8"]
        files = ["--config", "config.promptfoo.yaml", "--output", "results.json"]
        done = node([program, "eval", *files, *options], cwd=tmp_path, **QUIET, **variables)
        # 100 says that some assertion does not hold.
        assert done.returncode in {0, 100}, (done.stdout + done.stderr)[-3000:]
        found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
        results: list[dict[str, Any]] = found["results"]["results"]
        return results

    return run


def joined(texts: Mapping[str, str], *, provider: str = "echo") -> str:
    """Return one configuration of several, by the names of their prompts."""
    prompts, tests = ["prompts:"], ["tests:"]
    for name, text in texts.items():
        block = text.partition("\nprompts:\n")[2].partition("\nproviders:\n")[0]
        prompts.append(block)
        rows = text.partition("\ntests:\n")[2].splitlines()
        for row in rows:
            tests += [row, f"    prompts: [{name}]"] if row.startswith("  - description: ") else [row]
    return "\n".join([*prompts, f"providers: [{provider}]", *tests]) + "\n"


def sent(result: Mapping[str, Any]) -> object:
    return json.loads(result["response"]["output"])


def test_promptfoo_makes_the_very_messages(exports: ModuleType, evaluate: Evaluate) -> None:
    rng = random.Random(5)
    texts: dict[str, str] = {}
    expected: dict[str, list[dict[str, Any]]] = {}
    for k in range(320):
        frozen = exports.a_prompt(rng, f"p{k}")
        rows = {f"p{k}/{n}": row for n, row in enumerate(exports.filled(frozen, rng))}
        texts[f"p{k}"] = exports.written(
            frozen, *(exports.example(name, **row) for name, row in rows.items())
        )
        fitting = {name: row for name, row in rows.items() if exports.holds(frozen, row)}
        expected |= {name: frozen.messages(**row) for name, row in fitting.items()}
    found = {each["testCase"]["description"]: each for each in evaluate(joined(texts))}
    assert set(found) == set(expected)
    assert len(expected) > 600
    for name, messages in expected.items():
        assert sent(found[name]) == messages, (name, found[name].get("error"))


def test_every_name_that_is_written_is_one_to_nunjucks(exports: ModuleType, evaluate: Evaluate) -> None:
    prompts: dict[str, FrozenPrompt] = {}
    for n, name in enumerate(exports.NAMES):
        prompts[f"p{n}"] = exports.frozen_of(exports.message("user", "x", exports.hole(name)), name=f"p{n}")
    texts = {
        k: exports.written(frozen, exports.example(k, **{frozen.inputs[0]: "{ v }"}))
        for k, frozen in prompts.items()
    }
    found = {each["testCase"]["description"]: each for each in evaluate(joined(texts))}
    for k, frozen in prompts.items():
        assert sent(found[k]) == frozen.messages(**{frozen.inputs[0]: "{ v }"}), frozen.inputs


def test_every_precondition_has_its_reason(exports: ModuleType, evaluate: Evaluate) -> None:
    """Without it promptfoo sends something else, or nothing."""
    frozen = exports.frozen_of(exports.message("user", "<", exports.hole("a"), ">"), name="p")
    values = ("x\n", "{{ a }}", "{{ constructor }}", "{{ env.SHOWN }}", "package:x:y")
    fine = exports.written(frozen, *(exports.example(str(n), a=f"<{n}>") for n in range(len(values))))
    text = fine
    for n, value in enumerate(values):
        assert not exports.holds(frozen, {"a": value})
        text = text.replace(f'"<{n}>"', json.dumps(value))
    for result in evaluate(joined({"p": text}), SHOWN="a secret"):
        value = values[int(result["testCase"]["description"])]
        assert "error" in result or sent(result) != frozen.messages(a=value), value


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the address of an endpoint on this machine, and the bodies that it is sent; it answers with JSON."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            content = json.dumps({"choices": [{"message": {"role": "assistant", "content": '{"n": 1}'}}]})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1", bodies
        server.shutdown()
        thread.join()


def test_an_endpoint_is_sent_the_very_request(
    exports: ModuleType, evaluate: Evaluate, endpoint: tuple[str, list[dict[str, Any]]]
) -> None:
    """One file as it is, but for the address, which a reader of it changes as well."""
    address, bodies = endpoint
    schema = {"properties": {"n": {"const": 1}}, "required": ["n"], "type": "object"}
    frozen = exports.frozen_of(
        exports.message("system", "Be {{ kind }}."),
        exports.message("user", "Go: ", exports.hole("a")),
        exports.message("assistant", "I"),
        parameters=exports.PARAMETERS,
        constraint=Constraint(json_schema=json.dumps(schema)),
        answer=AnswerFormat(kind="json"),
        metric="json_exact",
    )
    rows = (exports.example("right", '{"n":1}', a="é"), exports.example("wrong", '{"n":2}', a="😀"))
    text = exports.written(frozen, *rows)
    assert "http://localhost:8000/v1" in text
    results = evaluate(text.replace("http://localhost:8000/v1", address), OPENAI_API_KEY="none")
    assert {each["testCase"]["description"]: each["success"] for each in results} == {
        "right": True,
        "wrong": False,
    }
    by_input = {body["messages"][1]["content"]: body for body in bodies}
    for row in rows:
        body = by_input[f"Go: {row.values['a']}"]
        assert body == {
            "model": "a-model",
            "messages": frozen.messages(**row.values),
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": False, "schema": schema},
            },
            **dict(exports.PARAMETERS),
        }


LABELS = ("a", "b {{ x }}", "it's #} c")
READERS: dict[str, tuple[AnswerFormat, str, Sequence[str], Sequence[str]]] = {
    "plain": (
        AnswerFormat(kind="label", labels=LABELS),
        "accuracy",
        LABELS,
        ("{}", " {}\n", "{}.", "none", " "),
    ),
    "marked": (
        AnswerFormat(kind="text", marker="Answer:"),
        "exact_match",
        ("x", "x y", "{{ a }}"),
        ("Answer: {}", "So.\nAnswer: z\nAnswer: {}\n", "{}", "Answer: {} or", "answer: {}"),
    ),
    "field": (
        AnswerFormat(kind="label", labels=LABELS, field="the answer's"),
        "accuracy",
        LABELS,
        ('{{"x": 1, "the answer\'s": "{}"}}', '{{"the answer\'s": null}}', "[]", "{}", '{{"x": "{}"}}', "null"),
    ),
    "number": (
        AnswerFormat(kind="number", marker="####"),
        "exact_match",
        ("12", "-0.5", "0"),
        ("1 + 2 #### {}", "#### {}", "#### ", "{}", "#### {} 3"),
    ),
}  # fmt: skip


def test_assertions_hold_where_the_answer_has_the_form_that_was_asked_for(
    exports: ModuleType, evaluate: Evaluate
) -> None:
    for name, (answer, metric, targets, layouts) in READERS.items():
        frozen = exports.frozen_of(
            exports.message("user", exports.hole("a")), answer=answer, metric=metric, name="p"
        )
        cases = {
            f"{t}/{n}": (target, layout.format(other))
            for t, target in enumerate(targets)
            for n, (layout, other) in enumerate((layout, other) for layout in layouts for other in targets)
        }
        text = exports.written(
            frozen, *(exports.example(case, target, a="x") for case, (target, _) in cases.items())
        )
        for case, (_, completion) in cases.items():
            line = f'  - description: "{case}"\n'
            assert line in text
            text = text.replace(line, f"{line}    providerOutput: {json.dumps(completion)}\n")
        results = {
            each["testCase"]["description"]: each["success"] for each in evaluate(text, OPENAI_API_KEY="none")
        }
        n_held = 0
        for case, (target, completion) in cases.items():
            read = answer.read(Completion(text=completion).text)
            score = METRICS[metric].score
            assert score is not None
            is_right = score(read, target, Setting(labels=LABELS)) == 1.0
            n_held += results[case]
            # Never where the score is 0; always where it is 1 and the form is the plainest.
            assert is_right or not results[case], (name, target, completion)
            if completion.strip() == layouts[0].format(target):
                assert results[case], (name, target, completion)
        assert n_held >= len(targets)
