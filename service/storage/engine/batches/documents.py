"""How JSON is kept, on both databases."""

from typing import Any

from pydantic_core import to_json


def document(value: Any) -> str:
    """JSON as it is kept: in the words in which it is sent, so that it may go out as it stands."""
    return to_json(value, inf_nan_mode="null").decode()
