"""What every command keeps to."""

import re
import sys
from typing import TYPE_CHECKING

import pytest

from optimizer import commands
from optimizer.commands import COMMANDS, main

if TYPE_CHECKING:
    from tests.output_schemas import checked
else:
    from output_schemas import checked

each = pytest.mark.parametrize("name", list(COMMANDS))


def told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["optimizer", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    checked(arguments, printed.out)
    return int(end.value.code or 0), printed.out, printed.err


@each
def test_a_command_is_listed_with_the_first_sentence_of_its_help(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = told(capsys, monkeypatch, "--help")
    assert code == 0
    words = (COMMANDS[name].function.__doc__ or "").split()
    assert len(words) > 3
    # Click cuts the sentence where the line ends.
    assert re.search(rf"^  {name} +{re.escape(' '.join(words[:3]))}", out, re.MULTILINE)


@each
def test_a_command_explains_itself_and_each_of_its_options(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = told(capsys, monkeypatch, name, "--help")
    assert (code, err) == (0, "")
    function = COMMANDS[name].function
    assert " ".join((function.__doc__ or "").split()) in " ".join(out.split())
    options = [line.split() for line in out.splitlines() if re.match(r"\s+--[a-z]", line)]
    assert all(len(words) > 3 for words in options), options


@each
def test_an_unknown_option_is_bad_input(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = told(capsys, monkeypatch, name, "--no-such-option")
    assert (code, out) == (2, "")
    assert "no-such-option" in err
    assert "Traceback" not in err


@each
def test_a_command_has_the_name_of_its_file_and_takes_no_engine_with_it(name: str) -> None:
    function = COMMANDS[name].function
    assert function.__name__ == name
    assert function.__module__ == f"{commands.__name__}.{name}"
