"""The command line: ``tollkeeper COMMAND``. Each command is an operation and its looks."""

from tollkeeper.cli.program import main

__all__ = ["main"]
