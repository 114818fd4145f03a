"""What an error body of Luma says, in words. Pure."""

import json
from typing import Any


def detail_in(body: bytes) -> str:
    """Return what Luma says: `detail`, which is text or a list, else `error`, else the text."""
    try:
        return _words(json.loads(body))
    except (ValueError, RecursionError):
        return body[:500].decode("utf-8", "replace").strip()


def _words(value: Any) -> str:
    if isinstance(value, dict):
        if "msg" in value:
            return _located(value.get("loc"), _words(value["msg"]))
        keys = ("detail", "error", "message")
        return _words(next((value[key] for key in keys if key in value), None))
    if isinstance(value, list):
        return "; ".join(_words(each) for each in value)
    return "" if value is None else str(value)


def _located(where: Any, words: str) -> str:
    """Put in front of the words which member of the body they are about, if it is named."""
    path = ".".join(map(str, where)) if isinstance(where, list) else ""
    return f"{path}: {words}" if path else words
