"""The fields of a generation that a reader asks for: `id`, `assets.video`, `request.model`."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic_core import from_json

from service.storage.engine.batches import dump_json
from service.storage.shape import NAMES, NO_ASSETS

_ASSETS = [f"assets.{name}" for name in NO_ASSETS]
KNOWN = tuple(
    field for name in NAMES for field in ((name, *_ASSETS) if name == "assets" else (name,))
)
"""Every field with a fixed name, in the order in which a generation is shown."""
_OPEN = ("request", "archived")
"""The fields whose members are not fixed: any name may follow them."""
_MEMBERS = r"(?:\.[A-Za-z0-9_-]{1,64}){1,8}"
_FIELD = "|".join([*map(re.escape, KNOWN), *(f"{name}{_MEMBERS}" for name in _OPEN)])
_IS_FIELD = re.compile(_FIELD)
FIELDS_PATTERN = f"^({_FIELD})(,({_FIELD}))*$"
"""What a list of fields looks like, for a description of it: `parse_fields` is less strict."""


def parse_fields(text: str) -> tuple[str, ...]:
    """Return the fields of a comma-separated list, each once, in its order.

    Raises:
        ValueError: it has none, or one that a generation does not have.
    """
    fields = tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    if not fields:
        raise ValueError("Name at least one field, for example `id,state,assets.video`.")
    for field in fields:
        if not _IS_FIELD.fullmatch(field):
            raise ValueError(_unknown(field))
    return fields


def members(fields: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the members that the fields are, or are in."""
    return tuple(dict.fromkeys(field.partition(".")[0] for field in fields))


def paths(fields: Iterable[str]) -> list[tuple[str, ...]]:
    """Return for each field the names that lead to it."""
    return [tuple(field.split(".")) for field in fields]


def outermost_paths(fields: Collection[str]) -> list[tuple[str, ...]]:
    """Return the paths of the fields that are in no other one of them."""
    return paths(
        field for field in fields if not any(field.startswith(f"{other}.") for other in fields)
    )


def value_of(document: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Return the value of a field, which its path of names leads to; None if it is missing."""
    value: Any = document
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def only_fields(body: bytes, kept_paths: Iterable[Sequence[str]]) -> bytes:
    """Leave in a body only some fields: `assets.video` as a member of `assets`.

    Args:
        body: of a generation, or of the members that the fields are in.
        kept_paths: of the fields, none of them in another; see `outermost_paths`.
    """
    document: dict[str, Any] = from_json(body)
    kept: dict[str, Any] = {}
    for path in kept_paths:
        *parents, name = path
        place = kept
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value_of(document, path)
    return dump_json(kept).encode()


def _unknown(field: str) -> str:
    nearest = get_close_matches(field.lower(), KNOWN, n=1)
    suggestion = f" Did you mean `{nearest[0]}`?" if nearest else f" There are: {', '.join(KNOWN)}."
    return f"Unknown field `{field[:64]}`.{suggestion}"
