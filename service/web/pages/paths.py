"""Paths with query parameters."""

from collections.abc import Sequence
from urllib.parse import urlencode


def path_with(path: str, **parameters: Sequence[str]) -> str:
    """Return a path with parameters, of which each may have several values."""
    pairs = [(name, value) for name, values in parameters.items() for value in values]
    return f"{path}?{urlencode(pairs)}" if pairs else path
