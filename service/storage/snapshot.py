"""The JSON of a generation that is not stored yet, for messages about its change.

It equals what the database builds for the stored row (`service.storage.representation`);
`tests/storage/test_snapshot.py` compares them.
"""

from datetime import datetime
from functools import lru_cache
from operator import attrgetter

from pydantic_core import to_json

from service.domain.generation import Generation
from service.storage.representation import luma_body_of
from service.storage.shape import INSTANTS, NAMES, NO_ASSETS, as_text

_values = attrgetter(*NAMES)
_as_text = lru_cache(as_text)  # most times of a row and of its change are the same
_DOCUMENT_FIELDS = ("id", "state", "created_at", "failure_reason", "assets")


def body_of(generation: Generation) -> bytes:
    """Return the generation as `/v1` shows it."""
    values = dict(zip(NAMES, _values(generation), strict=True))
    values["source"] = generation.source.value  # an enumeration takes as long as all the rest
    values["assets"] = {**NO_ASSETS, **generation.assets}
    for name in INSTANTS:
        values[name] = _instant(values[name])
    return to_json(values, inf_nan_mode="null")


def creators_body_of(generation: Generation) -> bytes:
    """Return Luma's own document, with the creator's callback URL in the place of ours.

    If that is not stored, because it is too large, return its main fields.
    """
    stored = luma_body_of(generation.document, generation.callback_url)
    if stored is not None:
        return stored
    shown = {name: getattr(generation, name) for name in _DOCUMENT_FIELDS}
    shown |= {"created_at": _instant(generation.created_at), "assets": {**generation.assets}}
    return to_json(shown)


def _instant(at: datetime | None) -> str | None:
    return None if at is None else _as_text(at)
