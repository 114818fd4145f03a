"""The stored form of JSON, on both databases."""

from typing import Any

from pydantic_core import to_json


def dump_json(value: Any) -> str:
    """Serialize a value in the form in which it is sent, so that no conversion is needed."""
    return to_json(value, inf_nan_mode="null").decode()
