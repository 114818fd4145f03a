"""How a generation is answered over HTTP, whichever way the question came in."""

from service.tracking.answer import Answer, Served
from service.web.server.prepared import PreparedResponse

_SERVED = {
    served: (b"cache-status", f"luma-tracker; {told}".encode())
    for served, told in (
        (Served.HIT, "hit"),
        (Served.MISS, "fwd=miss"),
        (Served.STALE, "fwd=stale"),
    )
}
_HIT = _SERVED[Served.HIT]
_DAY = 86_400  # seconds
_REVALIDATE = (b"cache-control", b"no-cache")
_JSON = (b"content-type", b"application/json")


def response_of(answer: Answer, if_none_match: str | None) -> PreparedResponse:
    """Status, headers and body; `Age` counts seconds since Luma last told us."""
    representation = answer.representation
    etag = (b"etag", representation.etag.encode())
    age = (b"age", b"%d" % max(0, answer.age.days * _DAY + answer.age.seconds))
    served = _HIT if answer.served is Served.HIT else _SERVED[answer.served]
    if if_none_match and _matches(if_none_match, representation.etag):
        return PreparedResponse(304, [etag, age, served, _REVALIDATE], b"")
    length = (b"content-length", b"%d" % len(representation.body))
    return PreparedResponse(
        200, [etag, age, served, _REVALIDATE, length, _JSON], representation.body
    )


def _matches(if_none_match: str, etag: str) -> bool:
    """Weak comparison, as RFC 9110 wants it for If-None-Match."""
    if if_none_match == etag:
        return True
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag in tags
