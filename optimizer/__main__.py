"""Runs the command line: `python -m optimizer`."""

from optimizer.commands import main

if __name__ == "__main__":
    main()
