"""The response with a generation, for the route and for the fast path."""

from service.tracking.answer import Answer, Served
from service.tracking.luma_shape import luma_body
from service.web.server.prepared import PreparedResponse

_CACHE_STATUS = {
    served: (b"cache-status", f"luma-tracker; {value}".encode())
    for served, value in (
        (Served.HIT, "hit"),
        (Served.MISS, "fwd=miss"),
        (Served.STALE, "fwd=stale"),
    )
}
_HIT = _CACHE_STATUS[Served.HIT]
_DAY = 86_400  # seconds
_REVALIDATE = (b"cache-control", b"no-cache")
_JSON = (b"content-type", b"application/json")


def response_of(answer: Answer, if_none_match: str | None) -> PreparedResponse:
    """Build the response to a lookup: 304 if `if_none_match` fits, else 200.

    `Age` is the number of seconds since Luma last reported the generation.
    """
    representation = answer.representation
    etag = (b"etag", representation.etag.encode())
    age = (b"age", b"%d" % max(0, answer.age.days * _DAY + answer.age.seconds))
    cache_status = _HIT if answer.served is Served.HIT else _CACHE_STATUS[answer.served]
    if if_none_match and etag_matches(if_none_match, representation.etag):
        return PreparedResponse(304, [etag, age, cache_status, _REVALIDATE], b"")
    length = (b"content-length", b"%d" % len(representation.body))
    return PreparedResponse(
        200, [etag, age, cache_status, _REVALIDATE, length, _JSON], representation.body
    )


def luma_response_of(answer: Answer) -> PreparedResponse:
    """Build the response with which Luma would show the generation."""
    body = luma_body(answer.representation)
    age = (b"age", b"%d" % max(0, answer.age.days * _DAY + answer.age.seconds))
    length = (b"content-length", b"%d" % len(body))
    headers = [age, _CACHE_STATUS[answer.served], _REVALIDATE, length, _JSON]
    return PreparedResponse(200, headers, body)


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Return whether an `If-None-Match` header fits; a weak comparison (RFC 9110, 13.1.2)."""
    if if_none_match == etag:
        return True
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag in tags
