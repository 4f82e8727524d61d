"""The same study on the embedded model, and on llama.cpp by its address, by changing `model:` alone."""

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.models import MODELS, ModelSpec

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Until

pytestmark = pytest.mark.embedded

EMBEDDED = "{provider: embedded, name: smollm2-135m, parameters: {temperature: 0, max_tokens: 6}}"

TINY = {"calls": 130, "styles": "[direct, first_person]", "formats": "[plain, choice]"}


def _tiny(project: Any, model: str) -> None:
    project.write(0, model=model, **TINY)
    task = project.folder / "tasks" / "colours.yaml"
    splits = "{train: 12, validation: 6, test: 12}"
    text = task.read_text(encoding="utf-8").replace("{train: 24, validation: 24, test: 30}", splits)
    task.write_text(text, encoding="utf-8")


def test_a_study_runs_on_the_embedded_model_and_its_prompt_is_scored_again(project: Any) -> None:
    _tiny(project, EMBEDDED)
    done = project.run("run", str(project.study), "--json")
    assert done.returncode == 0, done.stderr
    evidence = json.loads(done.stdout)["studies"][str(project.study)]["evidence"]
    assert evidence["test"]["winner"]["n"] == 12
    prompt = project.study.parent / "prompt.json"
    again = project.run("score", str(prompt), "--task", "tasks/colours.yaml", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["score"] == evidence["test"][evidence["frozen"]]["score"]


def test_ctrl_c_stops_the_embedded_model_cleanly(project: Any, until: "Until") -> None:
    _tiny(project, EMBEDDED)
    process = project.start("run", str(project.study), cold=True)
    lines: list[str] = []

    def searching() -> bool:
        lines.append(process.stderr.readline())
        return "search" in lines[-1]

    until(searching, process)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest


def test_llama_cpp_by_its_address_runs_the_same_study(project: Any) -> None:
    spec = ModelSpec(provider="embedded", name="smollm2-135m")

    async def run_there() -> int:
        async with MODELS["embedded"].connect(spec) as connection:
            endpoint = connection.model._endpoint  # type: ignore[attr-defined]
            client = endpoint._client
            url, key = str(client.base_url).rstrip("/"), client.api_key
            model = (
                f"{{provider: openai_compatible, name: smollm2-135m, base_url: '{url}', api_key_env: LLAMA_KEY,"
                " capabilities: [prefill, json_schema, choice, grammar],"
                " parameters: {temperature: 0, max_tokens: 6}, options: {slots: 1}}"
            )
            _tiny(project, model)
            process = await asyncio.create_subprocess_exec(
                *project.command("run", str(project.study), "--quiet"),
                cwd=project.folder,
                env={**os.environ, "LLAMA_KEY": key},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            _, stderr = await process.communicate()
            assert process.returncode == 0, stderr.decode()
            assert key not in (project.study.parent / "prompt.json").read_text(encoding="utf-8")
            return process.returncode or 0

    assert asyncio.run(run_there()) == 0
    assert (project.study.parent / "history.csv").read_text(encoding="utf-8").count("\n") > 3
