"""A create as a caller sends it, and the request that Luma gets instead.

Luma is given a callback URL of ours, bound to this create; the caller's own is kept here.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from service.domain.generation import is_usable_id
from service.errors import InvalidInput, Unreadable
from service.luma import DREAM_MACHINE
from service.luma.bodies import parse_object
from service.luma.relay import HeaderList

CALLBACK_URL = "callback_url"
_LONGEST_KEY = 255  # characters
_LARGEST_REQUEST = 65_536  # bytes of a body that is kept
_OWN_HEADERS = frozenset({b"content-length", b"content-encoding", b"accept-encoding"})
"""Headers that do not fit the body that is sent, or the answer that is parsed."""
_DEFAULT_SYNC_TIMEOUT = 60.0  # seconds; Luma's own default
_LONGEST_SYNC_TIMEOUT = 600.0


class CreateRequest(NamedTuple):
    """A POST that creates a generation, as it was received."""

    upstream: str
    path: str
    """Below the base URL: `generations/video`."""
    query: str
    headers: HeaderList
    body: bytes
    caller: str
    """Digest of the caller's token; empty where no tokens are set."""
    key: str | None
    """`Idempotency-Key`."""
    is_retry: bool
    """Whether the caller's SDK says that it has sent this before."""
    callback_url: str | None
    """`X-Callback-URL`."""

    @property
    def document(self) -> Mapping[str, Any] | None:
        """The body, if it is a JSON object."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, dict) else None


class Prepared(NamedTuple):
    """What a create becomes before it is sent."""

    body: bytes
    headers: HeaderList
    callback_url: str | None
    """The caller's own."""
    parent_id: str | None
    request: Mapping[str, Any] | None
    body_digest: str
    key_digest: str | None
    extra_seconds: float
    """For how long Luma may hold the answer back because the caller asked it to."""


def prepare(create: CreateRequest, our_url: str | None) -> Prepared:
    """Return what to send to Luma.

    Args:
        create: as received.
        our_url: the callback URL for Luma; None: it is given none.

    Raises:
        InvalidInput: the idempotency key or the callback URL cannot be used.
    """
    document, asked = create.document, _clean(create)
    own = create.callback_url or (document or {}).get(CALLBACK_URL)
    if own is not None and not isinstance(own, str):
        raise InvalidInput(CALLBACK_URL, "callback_url is not a string.", "Send a URL.")
    return Prepared(
        body=_body(create, document, our_url),
        headers=[(name, value) for name, value in create.headers if name not in _OWN_HEADERS],
        callback_url=own or None,
        parent_id=_parent(create, asked),
        request=asked if len(create.body) <= _LARGEST_REQUEST and asked else None,
        body_digest=_digest(create.path, create.query, own or "", _canonical(create, document)),
        key_digest=_key_digest(create),
        extra_seconds=_extra_seconds(asked),
    )


def _clean(create: CreateRequest) -> dict[str, Any]:
    """Return the body in a form that can be stored, without the callback URL."""
    try:
        parsed = parse_object(create.body)
    except Unreadable:
        return {}
    return {name: value for name, value in parsed.items() if name != CALLBACK_URL}


def _body(create: CreateRequest, document: Mapping[str, Any] | None, our_url: str | None) -> bytes:
    """Return the caller's body with our callback URL, or without any; else unchanged."""
    if document is None or (our_url is None and CALLBACK_URL not in document):
        return create.body
    sent = {name: value for name, value in document.items() if name != CALLBACK_URL}
    return json.dumps({**sent, CALLBACK_URL: our_url} if our_url else sent).encode()


def _parent(create: CreateRequest, asked: Mapping[str, Any]) -> str | None:
    """Return the generation that the new one is made from: in the path, or in the body."""
    parts = create.path.split("/")
    if create.upstream == DREAM_MACHINE and parts[-1] in ("upscale", "audio") and len(parts) == 3:
        return parts[1]
    frames = [*_members(asked.get("keyframes")), asked.get("source"), *_members(asked.get("video"))]
    found = [_named(frame) for frame in frames]
    return next((each for each in found if each), None)


def _members(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _named(frame: Any) -> str | None:
    """Return the generation that a frame or source names: `id` on one API, `generation_id` else."""
    if not isinstance(frame, dict):
        return None
    id_ = frame.get("id") if frame.get("type") == "generation" else frame.get("generation_id")
    return id_ if is_usable_id(id_) else None


def _canonical(create: CreateRequest, document: Mapping[str, Any] | None) -> str:
    if document is None:
        return create.body.hex()
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _key_digest(create: CreateRequest) -> str | None:
    if create.key is None:
        return None
    if not 1 <= len(create.key) <= _LONGEST_KEY:
        raise InvalidInput(
            "Idempotency-Key",
            f"The Idempotency-Key has {len(create.key)} characters.",
            f"Send 1 to {_LONGEST_KEY} characters, for example a random UUID.",
        )
    return _digest(create.caller, create.upstream, create.key)


def _extra_seconds(asked: Mapping[str, Any]) -> float:
    """Return how long a synchronous create waits for its image, by the body."""
    if asked.get("sync") is not True:
        return 0.0
    seconds = asked.get("sync_timeout")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return _DEFAULT_SYNC_TIMEOUT
    return min(max(float(seconds), 0.0), _LONGEST_SYNC_TIMEOUT)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
