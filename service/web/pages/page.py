"""What all pages share: navigation, who looks at them, errors, and the Content-Security-Policy."""

from collections.abc import Callable, Coroutine, Iterable
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response

from service.errors import TrackerError
from service.web.guards.sessions import SESSION, Session
from service.web.pages import rendering
from service.web.problems import message_of, of_framework, status_of


class Link(NamedTuple):
    """An entry of the navigation."""

    path: str
    name: str


NAVIGATION = (
    Link("/", "Generations"),
    Link("/deliveries", "Deliveries"),
    Link("/webhooks", "Webhooks"),
    Link("/stats", "Stats"),
    Link("/docs", "API"),
)


EVERY = 5
"""Seconds between looks at what no event tells, such as a callback that changed nothing."""


class Viewer(NamedTuple):
    """Who looks at a page."""

    signed_in: bool
    may_write: bool
    csrf_token: str

    @classmethod
    def of(cls, request: Request) -> "Viewer":
        """Return who sent the request. Without a session, the guards let only writers write."""
        session: Session | None = request.scope.get(SESSION)
        if session is None:
            return cls(signed_in=False, may_write=True, csrf_token="")
        return cls(True, session.may_write, session.csrf_token)


def policy(upstream_urls: Iterable[str]) -> str:
    """Return the Content-Security-Policy of all pages.

    Media may come from any https host, because Luma's asset hosts change. A simulator's come from
    where its API is, without TLS.
    """
    parts = [urlsplit(url) for url in upstream_urls]
    local = sorted({f"http://{each.netloc}" for each in parts if each.scheme == "http"})
    media = " ".join(("'self'", "https:", *local))
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {media}; "
        f"media-src {media}; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )


def show(
    request: Request, template: str, *, title: str, status: int = 200, **context: object
) -> Response:
    """Render a page.

    Args:
        request: the request.
        template: extends `base.html`.
        title: of the page.
        status: HTTP status.
        context: what the template needs.
    """
    given = {
        "title": title,
        "path": request.url.path,
        "navigation": NAVIGATION,
        "viewer": Viewer.of(request),
        "json_url": None,
        "live_after": None,
        "live_every": None,
        **context,
    }
    headers = {
        "Content-Security-Policy": request.app.state.page_policy,
        "Cache-Control": "no-store",
        # With `no-referrer`, browsers hide the origin of forms, which the guards check.
        "Referrer-Policy": "same-origin",
    }
    return rendering.respond(request, template, given, status=status, headers=headers)


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route, which shows errors as a page."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except TrackerError as error:
                return _error_page(request, status_of(error), str(error), error.hint)
            except RequestValidationError as error:
                message = "; ".join(
                    f"{each['loc'][-1]}: {message_of(each, request)}" for each in error.errors()
                )
                return _error_page(request, HTTPStatus.UNPROCESSABLE_ENTITY, message, "")

        return answer


async def unknown_path(request: Request, error: Exception) -> Response:
    """Answer a path that does not exist: to a browser with a page; a handler for Starlette."""
    if "text/html" not in request.headers.get("accept", ""):
        return await of_framework(request, error)
    return _error_page(request, HTTPStatus.NOT_FOUND, "This page does not exist.", "")


def _error_page(request: Request, status: int, message: str, hint: str) -> Response:
    title = HTTPStatus(status).phrase
    return show(request, "error.html", title=title, status=status, message=message, hint=hint)
