"""Python code, scored by the tests it passes, as in HumanEval (Chen et al. 2021, arXiv:2107.03374) and MBPP."""

import ast
import re
from dataclasses import dataclass
from typing import ClassVar

from optimizer.answer import Answer
from optimizer.errors import SandboxError
from optimizer.metrics import Setting, metric
from optimizer.sandbox import Limits, available, run_python

# A block and its language. It goes to its end or, in an answer that was cut off, to the end of the answer.
_BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
_LANGUAGES = {"", "py", "python", "python3"}

# They end the program by themselves, with a status in place of an error, so that what passes looks like what fails.
_RUNNERS = {"unittest.main", "pytest.main"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonTests:
    """How code is tested.

    Attributes:
        partial: Whether the score is the share of the tests' `assert` statements that hold, each run by itself after
            the code and the statements before it that are none; tests without any at their top count as one.
        seconds: Time for the code and its tests, for each run.
        memory_mb: Memory of each process.
        unconfined: Whether code may run where it cannot be confined: it can then reach the network, and whatever of
            this machine its user can.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    partial: bool = False
    seconds: float = 5.0
    memory_mb: int = 512
    unconfined: bool = False

    def problem(self) -> str:
        """Return what is wrong with the limits, or ""."""
        try:
            Limits(seconds=self.seconds, memory_mb=self.memory_mb)
        except ValueError as error:
            return str(error)
        return ""


@metric(outputs=("text",), options=PythonTests, slow=True)
def python_tests(answer: Answer, target: str, setting: Setting) -> float:
    """Return 1 when the answer's code and then the target's run to their ends, else 0; the share with `partial`.

    The code is the first block of Python in the answer, or all of it where it has none. It has the standard library
    alone and its tests are statements that fail by raising, such as `assert`.

    Raises:
        SandboxError: When code cannot be run here, or the sandbox broke.
        ValueError: When the target holds no such tests.
    """
    options = setting.options
    assert isinstance(options, PythonTests)
    if answer.text is None:
        return 0.0
    programs = _programs(target, partial=options.partial)
    confined = _confined(options)
    limits = Limits(seconds=options.seconds, memory_mb=options.memory_mb)
    code = _code(answer.text)
    passed = [
        run_python(code, tests=program, limits=limits, confined=confined).passed for program in programs
    ]
    return sum(passed) / len(passed)


def _confined(options: PythonTests) -> bool:
    """Return whether code can be confined; where it cannot the options must say that it need not be."""
    problem = available()
    if problem and not options.unconfined:
        raise SandboxError(
            f"code cannot be confined here: {problem}; `unconfined: true` runs it with limits of time and memory only"
        )
    return not problem


def _code(text: str) -> str:
    blocks: list[tuple[str, str]] = _BLOCK.findall(text)
    return next((code for language, code in blocks if language.strip().lower() in _LANGUAGES), text)


def _programs(tests: str, *, partial: bool) -> list[str]:
    """Return the programs to run after the code: the tests, or one for each of their assertions."""
    try:
        statements = ast.parse(tests).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the target must be tests in Python, but cannot be read: {error}") from None
    if not statements:
        raise ValueError("the target must be tests in Python, but is empty")
    runners = {
        ast.unparse(node.func) for node in ast.walk(ast.Module(statements, [])) if isinstance(node, ast.Call)
    }
    if found := sorted(runners & _RUNNERS):
        raise ValueError(f"tests must fail by raising, but the target calls {', '.join(found)}")
    asserted = [at for at, statement in enumerate(statements) if isinstance(statement, ast.Assert)]
    if not partial or not asserted:
        return [tests]
    others = [[one for one in statements[:at] if not isinstance(one, ast.Assert)] for at in asserted]
    return [
        ast.unparse(ast.Module([*before, statements[at]], []))
        for before, at in zip(others, asserted, strict=True)
    ]
