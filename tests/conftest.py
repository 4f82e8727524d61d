"""What tests of several modules share."""

import asyncio
import dataclasses
import importlib.util
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.budget import Spent
from optimizer.completion import Completion, Model, Request
from optimizer.conclusion import Selection
from optimizer.history import TrialRecord
from optimizer.ledger import CacheMode
from optimizer.models import Connection, ModelSpec, scripted
from optimizer.models.scripted import Scripted
from optimizer.plan import StudyPlan
from optimizer.selection import optimize
from optimizer.study import open_study

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.loopback_server import Loopback
    from tests.virtual_clock import RunVirtual
    from tests.warm import Starter


@pytest.fixture(scope="session")
def loopback_server() -> ModuleType:
    """Return the module `tests/loopback_server.py`, for its `Fault`, `Loopback` and `Answerer`."""
    return _module_beside("loopback_server")


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


@pytest.fixture(scope="session")
def warm() -> "Iterator[Starter]":
    """Return what runs the command line in processes of their own that need not import anything."""
    with _module_beside("warm").Starter(_module_beside("output_schemas").checked) as starter:
        yield starter


@pytest.fixture(scope="session", autouse=True)
def _migrations() -> None:
    _module_beside("warm").read_migrations_once()


@pytest.fixture(scope="session")
def virtual_clock() -> ModuleType:
    """Return the module `tests/virtual_clock.py`, for its loop and its errors."""
    return _module_beside("virtual_clock")


@pytest.fixture(scope="session")
def run_virtual(virtual_clock: ModuleType) -> "RunVirtual":
    """Return what runs a coroutine on virtual time, which begins at 0 and takes no real time to pass."""
    run: RunVirtual = virtual_clock.run_virtual
    return run


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a task, a study and items of three colours, and returns the study's path.

    Some of the text is replaced on the way. A model that the study finds in `rules.json` always says red.
    """

    def write(task: str, study: str, *changes: tuple[str, str], items: int, folder: str = "colours") -> Path:
        path = tmp_path / folder / "study.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        for before, after in changes:
            assert before in task + study
            task, study = task.replace(before, after), study.replace(before, after)
        rows = (f"c{n:02d},Item {n} is here,{('red', 'green', 'blue')[n % 3]}\n" for n in range(items))
        path.with_name("data.csv").write_text("id,text,colour\n" + "".join(rows))
        path.with_name("rules.json").write_text('{"rules": [], "default": "red"}')
        path.with_name("task.yaml").write_text(task)
        path.write_text(study)
        return path

    return write


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that has a model of the test's own answer for the provider `scripted`.

    It may take its time, in seconds of the loop's clock, and need not be free of charge.
    """

    def put(model: Model, *, seconds: Callable[[Request], float] = lambda _: 0.0, free: bool = True) -> None:
        @asynccontextmanager
        async def connect(spec: ModelSpec) -> AsyncIterator[Connection]:
            capabilities = provider.capabilities(spec)
            identity = {"provider": "scripted", "name": spec.name}
            yield Connection(model=_Slow(model, seconds), identity=identity, capabilities=capabilities)

        provider = dataclasses.replace(scripted.SCRIPTED, connect=connect, free=free)
        monkeypatch.setattr(scripted, "SCRIPTED", provider)

    return put


@dataclass(frozen=True)
class Outcome:
    """What a study came to, and what is left of it."""

    plan: StudyPlan
    selection: Selection
    trials: tuple[TrialRecord, ...]
    model: Scripted
    spent: Spent

    @property
    def evidence(self) -> Any:
        return self.selection.frozen.evidence


@pytest.fixture
def finished(play: Callable[..., None], run_virtual: "RunVirtual") -> Callable[..., Outcome]:
    """Return a function that carries a study out as the product does, with a script as the model, in no time."""

    def finish(
        plan: StudyPlan,
        script: Callable[[Request], Completion | str],
        *,
        seconds: Callable[[Request], float] = lambda _: 0.0,
        fresh: bool = False,
        cache: CacheMode = "shared",
    ) -> Outcome:
        model = Scripted(script)
        play(model, seconds=seconds)

        async def work() -> Outcome:
            async with open_study(plan, fresh=fresh, cache=cache) as study:
                selection = await optimize(study)
                return Outcome(plan, selection, study.trials, model, study.caller.spent)

        return run_virtual(work())

    return finish


class _Slow:
    """A model whose every answer takes a while."""

    def __init__(self, model: Model, seconds: Callable[[Request], float]) -> None:
        self._model = model
        self._seconds = seconds

    async def complete(self, request: Request) -> Completion:
        seconds = self._seconds(request)
        await asyncio.sleep(seconds)
        return dataclasses.replace(await self._model.complete(request), seconds=seconds)


@pytest.fixture(scope="session")
def parcels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small study that is finished, and that no test may change."""
    folder: Path = _module_beside("parcels").carried_out(tmp_path_factory.mktemp("parcels"))
    return folder


@pytest.fixture
def own_parcels(parcels: Path, tmp_path: Path) -> Path:
    """Return the folder of that study in a project that a test may change."""
    shutil.copytree(parcels.parents[1], tmp_path / "project")
    return tmp_path / "project" / "studies" / "parcels"


def _module_beside(name: str) -> ModuleType:
    """Return a module of this folder, which is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


# Modules of tests import from these by their names, before there is any fixture.
_module_beside("hostile_prompts")
_module_beside("output_schemas")
_module_beside("parcels")
