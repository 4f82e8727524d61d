"""The documentation tells the truth: its files are sound, its commands run, its links lead somewhere."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from optimizer.commands import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

# The fenced blocks of a page: what stands before each, its language, its text.
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./-]+\.(?:csv|yaml))`")
MODEL = re.compile(r"^model: .*$", re.MULTILINE)
ADDRESS = re.compile(r"(?<=--base-url )\S+")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> list[str]:
    """Return every page of the project; hidden folders, `.venv` among them, are not entered."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    found = [*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]
    return sorted(page.relative_to(ROOT).as_posix() for page in found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """One command of the README, and what it was and should have been."""

    line: str
    expected: int
    code: int
    output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """A project made by following the README, with another model."""

    folder: Path
    commands: tuple[Ran, ...]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, loopback_server: ModuleType) -> Iterator[Followed]:
    """Write the README's files, and run its commands in their order."""
    folder = tmp_path_factory.mktemp("readme")
    write_project(folder)
    with loopback_server.Loopback() as server:
        yield Followed(
            folder=folder,
            commands=tuple(ran(line, folder, server.base_url) for line in console_lines()),
        )


def test_the_readme_begins_with_one_sentence_and_two_commands() -> None:
    title, sentence, commands = README.split("\n\n")[:3]
    assert title == "# optimizer"
    assert sentence.count(".") == 1
    assert [line.split()[:2] for line in commands.splitlines()] == [["make", "quickstart"], ["make", "test"]]


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) < 230


@pytest.mark.parametrize(
    "terminal",
    [
        {"COLUMNS": "40", "FORCE_COLOR": "1"},
        {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1", "GITHUB_ACTIONS": "1"},
    ],
    ids=["narrow and coloured", "wide and plain"],
)
def test_the_page_of_commands_is_up_to_date_on_every_terminal(terminal: dict[str, str]) -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate_cli.py"), "--check"]
    result = subprocess.run(
        command, env={**os.environ, **terminal}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_stale_page_of_commands_is_found(tmp_path: Path) -> None:
    script = tmp_path / "generate_cli.py"
    script.write_bytes((ROOT / "docs" / "generate_cli.py").read_bytes())
    (tmp_path / "cli.md").write_text(CLI.replace("--dry-run", "--rehearse"), encoding="utf-8")
    result = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "out of date" in result.stderr


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"\boptimizer {name}\b", README + CLI)


def test_every_command_of_the_readme_ends_as_it_says(followed: Followed) -> None:
    assert len(followed.commands) >= 5
    for command in followed.commands:
        assert command.code == command.expected, f"{command.line}\n{command.output}"


def test_every_make_target_in_the_readme_exists() -> None:
    code = "\n".join([*fenced("console"), *re.findall(r"^ {4}(.*)$", README, re.MULTILINE)])
    code += "\n" + "\n".join(re.findall(r"`([^`\n]+)`", README))
    named = set(re.findall(r"^\$? ?make ([a-z-]+)", code, re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"quickstart", "test"} <= named <= targets


def test_the_python_of_the_readme_runs_with_the_standard_library_alone(followed: Followed) -> None:
    blocks = fenced("python")
    assert blocks
    for block in blocks:
        result = subprocess.run(
            [sys.executable, "-S", "-c", block],  # -S: no site-packages
            cwd=followed.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        said = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
        assert result.stdout.splitlines() == said


@pytest.mark.embedded
def test_the_yaml_of_the_readme_is_sound_as_it_stands(tmp_path: Path) -> None:
    files = readme_files()
    write(tmp_path, files)
    paths = [name for name in files if name.endswith(".yaml")]
    assert len(paths) == 2
    code, output = optimizer(tmp_path, "validate", *paths)
    assert code == 0, output


def test_every_other_model_of_the_readme_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, models = readme_files(), model_blocks()
    assert len(models) >= 2
    study = next(text for name, text in files.items() if name.startswith("studies/"))
    others = {f"studies/model{n}/study.yaml": with_model(study, model) for n, model in enumerate(models)}
    others["studies/budget/study.yaml"] = with_budget(others["studies/model0/study.yaml"])
    assert "usd" in others["studies/budget/study.yaml"]
    write(tmp_path, {**files, **others})
    for name in re.findall(r"api_key_env: (\w+)", "\n".join(models)):
        monkeypatch.setenv(name, "made-up")
    code, output = optimizer(tmp_path, "validate", *others)
    assert code == 0, output


@pytest.mark.parametrize("name", pages())
def test_every_relative_link_leads_to_a_file(name: str) -> None:
    page = ROOT / name
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [link.partition("#")[0] for link in LINK.findall(text) if ":" not in link]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def fenced(language: str) -> list[str]:
    """Return the README's blocks of one language."""
    return [match[2] for match in FENCE.finditer(README) if match[1] == language]


def readme_files() -> dict[str, str]:
    """Return the files that the README gives in full; each is named just before its block."""
    whole = [
        match
        for match in FENCE.finditer(README)
        if match[1] in ("csv", "yaml") and not match[2].startswith(("model:", "budget:"))
    ]
    return {FILE.findall(README[: match.start()])[-1]: match[2] for match in whole}


def model_blocks() -> list[str]:
    """Return the README's blocks that stand for the `model:` of a study."""
    return [block.rstrip("\n") for block in fenced("yaml") if block.startswith("model:")]


def with_budget(study: str) -> str:
    """Return a study with the README's fullest budget in place of its own."""
    (block,) = (block for block in fenced("yaml") if block.startswith("budget:"))
    return re.sub(r"^budget: .*\n", lambda _: block, study, flags=re.MULTILINE)


def with_model(study: str, model: str) -> str:
    """Return a study with another model; any other text comes back as it is."""
    return MODEL.sub(lambda _: model, study)


def console_lines() -> list[str]:
    """Return the README's command lines of `optimizer`, in order."""
    lines = "".join(fenced("console")).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ optimizer")]


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files into a folder that is a project of its own."""
    (folder / ".optimizer").mkdir()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def write_project(folder: Path) -> None:
    """Write the README's project, its model replaced by rules that know every answer of its table."""
    files = readme_files()
    table = next(text for name, text in files.items() if name.endswith(".csv"))
    rows = [line.rpartition(",") for line in table.splitlines()[1:]]
    rules = [{"contains": text, "reply": label} for text, _, label in rows]
    path = folder / "rules.json"
    path.write_text(json.dumps({"rules": rules, "default": "none"}), encoding="utf-8")
    scripted = "model: {provider: scripted, name: rules, path: ../../rules.json}"
    write(folder, {name: with_model(text, scripted) for name, text in files.items()})


def ran(line: str, folder: Path, address: str) -> Ran:
    """Run one line, an address in it replaced; `# exit code N` after it says how it should end, 0 without it."""
    stated = re.search(r"# exit code (\d+)", line)
    arguments = shlex.split(ADDRESS.sub(address, line), comments=True)[1:]
    code, output = optimizer(folder, *arguments)
    return Ran(line=line, expected=int(stated[1]) if stated else 0, code=code, output=output)


def optimizer(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command line in a folder, in this process; return its exit code and what it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["optimizer", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.getvalue()
