"""A create as a caller sends it, and the request that Luma gets instead.

Luma is given a callback URL of ours, bound to this create; the caller's own is kept here.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

from service.domain.generation import is_usable_id
from service.domain.json_members import Member, members, with_member
from service.domain.redaction import without_tokens
from service.domain.text import clean_text
from service.domain.upstreams import DREAM_MACHINE
from service.errors import InvalidInput, Unreadable
from service.luma import reading
from service.luma.bodies import parse_object
from service.luma.reading import mapping
from service.luma.relay import PLAIN_ANSWER, HeaderList

CALLBACK_URL = "callback_url"
_KEY_HEADER = b"idempotency-key"
_LONGEST_KEY = 255  # characters
_LONGEST_TEXT = 10_000  # characters of a text that is kept; images inside a body are longer
_LARGEST_COMPARED = 65_536  # bytes; larger bodies are the same if their bytes are
_TYPE = (b"content-type", b"application/json")
_REPLACED_HEADERS = (b"content-length", b"accept-encoding")
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

    @classmethod
    def of_json(cls, upstream: str, path: str, body: bytes, key: str | None, caller: str) -> Self:
        """Return a create that a command or a tool makes, instead of a client of Luma."""
        headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
        return cls(upstream, path, "", headers, body, caller, key, False, None)


class Prepared(NamedTuple):
    """What a create becomes before it is sent."""

    body: bytes
    headers: HeaderList
    our_url: str | None
    """The callback URL in the body; None: it has none."""
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
    is_empty = not create.body.strip()
    found = [] if is_empty else _members(create.body)
    document = {each.name: each.value for each in found or ()}
    own = _callback_url(create.callback_url or document.pop(CALLBACK_URL, None))
    document.pop(CALLBACK_URL, None)
    kept = [header for header in create.headers if header[0].lower() not in _REPLACED_HEADERS]
    if is_empty and our_url:
        kept = [header for header in kept if header[0].lower() != _TYPE[0]] + [_TYPE]
    return Prepared(
        body=_body(create.body, found, our_url),
        headers=[*kept, PLAIN_ANSWER],
        our_url=our_url if found is not None else None,
        callback_url=own,
        parent_id=_parent(create, document),
        request=_kept(document),
        body_digest=_body_digest(create, document if found is not None else None, own),
        key_digest=_key_digest(create),
        extra_seconds=_extra_seconds(document),
    )


def _members(body: bytes) -> list[Member] | None:
    """Parse a body; None if it is not a JSON object, which Luma refuses."""
    try:
        return members(body)
    except (ValueError, RecursionError):
        return None


def _callback_url(given: Any) -> str | None:
    """Check the caller's own callback URL. One of ours is none: Luma calls us anyway."""
    if given is None or given == "":
        return None
    hint = "Send a URL."
    if not isinstance(given, str):
        raise InvalidInput(CALLBACK_URL, "callback_url is not a string.", hint)
    if without_tokens(given) != given:
        return None
    if reading.url(given) is None:
        raise InvalidInput(CALLBACK_URL, f"callback_url has {len(given)} characters.", hint)
    if clean_text(given) != given:
        raise InvalidInput(CALLBACK_URL, "callback_url has characters that no URL has.", hint)
    return given


def _body(body: bytes, found: Sequence[Member] | None, our_url: str | None) -> bytes:
    """Return the caller's body with our callback URL, or without any; else unchanged."""
    has_url = any(each.name == CALLBACK_URL for each in found or ())
    if found is None or (our_url is None and not has_url):
        return body
    return with_member(found, CALLBACK_URL, our_url)


def _kept(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the request in a form that can be stored and shown."""
    try:
        clean = parse_object(json.dumps(_without_long_texts(document)).encode())
    except (Unreadable, RecursionError):
        return None
    return reading.request(clean)


def _without_long_texts(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"omitted: {len(value)} characters"
    if isinstance(value, dict):
        return {name: _without_long_texts(member) for name, member in value.items()}
    return [_without_long_texts(item) for item in value] if isinstance(value, list) else value


def _parent(create: CreateRequest, document: Mapping[str, Any]) -> str | None:
    """Return the generation that the new one is made from: in the path, or in the body."""
    parts = unquote(create.path).split("/")
    if create.upstream == DREAM_MACHINE and len(parts) == 3 and parts[2] in ("upscale", "audio"):
        return parts[1] if is_usable_id(parts[1]) else None
    found = map(_named, _frames(document))
    return next((each for each in found if each), None)


def _frames(document: Mapping[str, Any]) -> Iterator[Any]:
    """Yield all places of both APIs that can name a generation, the most important first."""
    keyframes, video = mapping(document.get("keyframes")), mapping(document.get("video"))
    yield from (keyframes.get("frame0"), keyframes.get("frame1"))
    yield from (document.get("source"), video.get("start_frame"), video.get("end_frame"))
    for several in (video, mapping(video.get("edit"))):
        yield from _items(several.get("keyframes"))
    yield from _items(document.get("image_ref"))


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _named(frame: Any) -> str | None:
    """Return the generation that a frame or source names: `id` on one API, `generation_id` else."""
    frame = mapping(frame)
    id_ = frame.get("id") if frame.get("type") == "generation" else frame.get("generation_id")
    return id_ if is_usable_id(id_) else None


def _body_digest(create: CreateRequest, document: Mapping[str, Any] | None, own: str | None) -> str:
    """Return a digest of what makes two creates the same."""
    same = hashlib.sha256(create.body).hexdigest()
    if document is not None and len(create.body) <= _LARGEST_COMPARED:
        same = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return _digest(create.upstream, create.path, create.query, own or "", same)


def _key_digest(create: CreateRequest) -> str | None:
    if create.key is None:
        return None
    if sum(name.lower() == _KEY_HEADER for name, _ in create.headers) > 1:
        raise InvalidInput(
            "Idempotency-Key", "There are several Idempotency-Key headers.", "Send one of them."
        )
    if not 1 <= len(create.key) <= _LONGEST_KEY:
        raise InvalidInput(
            "Idempotency-Key",
            f"The Idempotency-Key has {len(create.key)} characters.",
            f"Send 1 to {_LONGEST_KEY} characters, for example a random UUID.",
        )
    return _digest(create.caller, create.key)


def _extra_seconds(document: Mapping[str, Any]) -> float:
    """Return how long a synchronous create waits for its image, by the body."""
    if document.get("sync") is not True:
        return 0.0
    seconds = document.get("sync_timeout")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or math.isnan(seconds):
        return _DEFAULT_SYNC_TIMEOUT
    return float(min(max(seconds, 0), _LONGEST_SYNC_TIMEOUT))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
