"""What an error body of Luma says, in words. Pure."""

import json
from typing import Any


def detail_in(body: bytes) -> str:
    """Return what Luma says: `detail`, which is text or a list, else `error`, else the text."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return body[:500].decode("utf-8", "replace").strip()
    return _words(parsed)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        found = next((value[key] for key in ("detail", "error", "message") if key in value), None)
        where = ".".join(map(str, value.get("loc", []))) if "msg" in value else ""
        return f"{where}: {value['msg']}" if where else _words(found)
    if isinstance(value, list):
        return "; ".join(_words(each) for each in value)
    return "" if value is None else str(value)
