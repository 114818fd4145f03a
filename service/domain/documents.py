"""Luma's own document of a generation: what it last said, as a whole. Pure."""

import json

from service.domain.generation import Generation, Observation

_LARGEST = 262_144  # characters
_ALWAYS_REPORTED = ("generation_type", "model", "created_at", "request")


def newest_document(current: Generation, observation: Observation) -> str | None:
    """Return the document after an observation.

    An answer of Luma is whole. A callback may leave out what Luma reported before; that stays.
    """
    old, new = current.document, observation.document
    if not old or not new or not _is_sparse(current, observation):
        return new or old
    merged = _dumped({**json.loads(old), **json.loads(new)})
    return merged if len(merged) <= _LARGEST else new


def _is_sparse(current: Generation, observation: Observation) -> bool:
    """Whether a callback lacks what the row has; seen without parsing the documents."""
    return not observation.authenticated and any(
        getattr(observation, name) is None and getattr(current, name) is not None
        for name in _ALWAYS_REPORTED
    )


def _dumped(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
