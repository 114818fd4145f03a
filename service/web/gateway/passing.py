"""Passes requests on to Luma, and answers back, as streams."""

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.domain.redaction import headers_without_tokens
from service.errors import UpstreamUnavailable
from service.logs import log
from service.tracking.gateway import Gateway, Incoming, Outgoing
from service.web.guards.head import BODILESS


class Passed(StreamingResponse):
    """Luma's answer as it is, without the headers that are for one connection only."""

    def __init__(self, answer: Incoming) -> None:
        super().__init__(answer.body, answer.status)
        self.raw_headers = headers_without_tokens(answer.headers)
        self._close = answer.close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; close Luma's connection also if the caller has gone.

        If Luma breaks off, nothing more is sent, so that the server closes the connection.
        """
        try:
            await super().__call__(scope, receive, send)
        except UpstreamUnavailable as error:
            log.warning("answer_broken_off", upstream=error.upstream, reason=str(error))
        finally:
            await self._close()


async def pass_on(request: Request, gateway: Gateway, upstream: str, target: str) -> Passed:
    """Pass a request on, and return Luma's answer."""
    method = "HEAD" if BODILESS in request.scope else request.method
    outgoing = Outgoing(method, target, list(request.scope["headers"]), _body(request))
    return Passed(await gateway.send(upstream, outgoing))


def _body(request: Request) -> AsyncIterator[bytes] | bytes:
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    return request.stream() if has_body else b""
