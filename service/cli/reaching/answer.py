"""What the answer to a callback of our own says about the way to the service."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from service.cli.backend.answers import object_in
from service.cli.findings import Finding, Level

_ABOUT = "answer"
_GIVES_UP = 5.0  # seconds; then Luma takes a callback for lost
_SLOW = 2.0
_OURS = "urn:luma-tracker:"


class Answer(NamedTuple):
    """An answer to a POST."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


def judged(answer: Answer) -> Finding:
    """Return what an answer says; anything but our 200 is an error."""
    if answer.status != HTTPStatus.OK:
        return Finding(_ABOUT, _refusal(answer), Level.ERROR)
    if "outcome" not in object_in(answer.body):
        message = (
            "200, but not from luma-tracker: something else answers, such as a page of the tunnel "
            "or another program on this port. Check where TRACKER_PUBLIC_URL leads"
        )
        return Finding(_ABOUT, message, Level.ERROR)
    return _in_time(answer.seconds)


def _in_time(seconds: float) -> Finding:
    shown = f"200 from luma-tracker after {seconds:.2f} s"
    if seconds > _GIVES_UP:
        message = f"{shown}: too late, Luma waits {_GIVES_UP:.0f} s. Find out what is slow"
        return Finding(_ABOUT, message, Level.ERROR)
    if seconds > _SLOW:
        return Finding(_ABOUT, f"{shown}: slow, Luma waits {_GIVES_UP:.0f} s", Level.WARNING)
    return Finding(_ABOUT, shown)


def _refusal(answer: Answer) -> str:
    status = answer.status
    if str(object_in(answer.body).get("type", "")).startswith(_OURS):
        return _our_own(answer)
    if location := answer.headers.get("location"):
        where = location.partition("/callbacks/")[0]
        return (
            f"{status}, a redirect to {where}: Luma takes only 200. Set TRACKER_PUBLIC_URL to the "
            "address that it leads to, or have the proxy pass callbacks on without a redirect"
        )
    return f"{status}, and not from luma-tracker: {_ADVICE.get(status, _ANY_OTHER)}"


def _our_own(answer: Answer) -> str:
    """Return what a refusal of a luma-tracker says."""
    if answer.status == HTTPStatus.NOT_FOUND:
        return (
            "404 from luma-tracker: it does not accept the token, so it has another callback "
            "secret. Set TRACKER_CALLBACK_SECRET to the same value here and there"
        )
    problem = object_in(answer.body)
    shown = f"{problem.get('detail', '')} {problem.get('hint', '')}".strip()
    return f"{answer.status} from luma-tracker: {shown}"


_NOT_RUNNING = (
    "the proxy or tunnel runs, but does not reach the service. Start `luma-tracker serve`, and "
    "check the address and port that it passes requests on to"
)
_ANY_OTHER = "find out in the log of the proxy or tunnel why"
_ADVICE: Mapping[int, str] = {
    401: "a proxy asks for a sign-in. Let /callbacks/ pass without one: the token is in the path",
    403: "a proxy or firewall forbids it. Let POST requests to /callbacks/ pass",
    404: "the proxy does not pass /callbacks/ on. Add that path to its configuration",
    405: "the proxy does not let POST pass. Allow it for /callbacks/",
    413: "the proxy takes only smaller bodies. Allow 1 MiB for /callbacks/",
    429: "a proxy limits the rate. Exempt /callbacks/",
    502: _NOT_RUNNING,
    503: _NOT_RUNNING,
    504: _NOT_RUNNING,
    201: "Luma takes only 200 for a success",
    202: "Luma takes only 200 for a success",
    204: "Luma takes only 200 for a success",
}
