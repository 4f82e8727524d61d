"""What tests of several modules share."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.loopback_server import Loopback


@pytest.fixture(scope="session")
def loopback_server() -> ModuleType:
    """Return the module `tests/loopback_server.py`, for its `Fault`, `Loopback` and `Answerer`."""
    name = "loopback_server"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("loopback_server.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def loopback_server_path() -> Path:
    """Return the script that runs the loopback server in a process of its own."""
    return Path(__file__).with_name("loopback_server.py")


@pytest.fixture
def loopback(loopback_server: ModuleType) -> "Iterator[Loopback]":
    """Run a deterministic OpenAI-compatible server on 127.0.0.1 for the length of a test."""
    server: Loopback = loopback_server.Loopback()
    with server:
        yield server
