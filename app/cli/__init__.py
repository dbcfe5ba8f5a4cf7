"""The command line: `penjing`."""

from app.cli.main import main

__all__ = ["main"]
