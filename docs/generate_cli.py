"""Writes docs/cli.md from the command line's own help; `--check` says whether it is up to date.

    python docs/generate_cli.py [--check]

The help is laid out at a fixed width and without styles, so that every terminal gives the same bytes.
"""

import sys
from pathlib import Path

import typer

from optimizer.commands import COMMANDS, app

PAGE = Path(__file__).with_name("cli.md")
PROGRAM = "optimizer"

# Columns of a help text: what an unconfigured terminal gets.
WIDTH = 80

_HEAD = """# Command line

Made by `python docs/generate_cli.py` from `optimizer --help`; change the commands, not this page.
The exit codes are in the [README](../README.md#exit-codes).
"""


def page() -> str:
    """Return the text of the page."""
    root = typer.main.get_command(app())
    context = root.make_context(
        PROGRAM, [], terminal_width=WIDTH, max_content_width=WIDTH, resilient_parsing=True
    )
    sections = [_HEAD, _section(PROGRAM, root.get_help(context))]
    for name in COMMANDS:
        command = getattr(root, "commands", {})[name]
        inner = type(context)(
            command, parent=context, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH
        )
        sections.append(_section(f"{PROGRAM} {name}", command.get_help(inner)))
    return "\n".join(sections)


def main() -> int:
    """Write the page, or compare it with `--check`; return the exit code."""
    if sys.argv[1:] not in ([], ["--check"]):
        print(f"expected --check or nothing, found {' '.join(sys.argv[1:])}", file=sys.stderr)
        return 2
    text = page()
    if not sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8", newline="\n")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/cli.md is out of date: run python docs/generate_cli.py", file=sys.stderr)
    return 1


def _section(title: str, text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
    return f"## {title}\n\n```text\n{lines}\n```\n"


if __name__ == "__main__":
    sys.exit(main())
