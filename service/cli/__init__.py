"""The command line: `luma-tracker`, also `python -m service`."""

from service.cli.app import main

__all__ = ["main"]
