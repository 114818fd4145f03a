"""`--set` and `--body`: whatever Luma takes and the options do not name."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.errors import InvalidInput

Json = dict[str, Any]


def read_body(source: str | None) -> Json:
    """Return the JSON object in a file, or on stdin for `-`.

    Raises:
        InvalidInput: it cannot be read, or is no JSON object.
    """
    if source is None:
        return {}
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        parsed = json.loads(text)
    except OSError as error:
        raise InvalidInput("body", f"--body {source}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput("body", f"--body {source}: this is not JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise InvalidInput("body", f"--body {source}: this is no JSON object.")
    return parsed


def merged(base: Json, over: Json) -> Json:
    """Return both together; what is in `over` counts, member by member in nested objects."""
    result = {**base}
    for name, value in over.items():
        known = result.get(name)
        both = isinstance(known, dict) and isinstance(value, dict)
        result[name] = merged(known, value) if both and isinstance(known, dict) else value
    return result


def with_settings(body: Json, settings: Sequence[str]) -> Json:
    """Return the body with the members that `--set key=value` names.

    A dot in the key goes one level deeper. A value that is JSON is taken as such, else as text.

    Raises:
        InvalidInput: a setting has no `=`.
    """
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not (key and separator):
            raise InvalidInput(
                "set", f"--set {setting}: there is no `=`.", "Example: --set video.hdr=true"
            )
        body = merged(body, _nested(key.split("."), _value(value)))
    return body


def _nested(keys: Sequence[str], value: Any) -> Json:
    for key in reversed(keys[1:]):
        value = {key: value}
    return {keys[0]: value}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
