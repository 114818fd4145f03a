"""Sign-in with a token, and sign-out."""

import re
from typing import Annotated, cast
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from service.web.guards.access import SIGN_IN, SIGN_OUT
from service.web.guards.authentication import Authenticator
from service.web.guards.sessions import COOKIE, LIFETIME
from service.web.guards.wrong_tokens import PERIOD
from service.web.pages.page import PageRoute, show

_OWN_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # a path of this server, in whatever browser
_MOST_BYTES = 16_384
_WRONG = "This token is not accepted."
_TOO_MANY = "Too many wrong tokens came from this address. Wait, or use a valid one."

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(SIGN_IN)
def sign_in_page(request: Request, next_: Annotated[str, Query(alias="next")] = "/") -> Response:
    """Ask for a token; without tokens, or with a session, lead on."""
    authenticator = _authenticator(request)
    signed_in = authenticator.session_of(request.cookies.get(COOKIE, ""))
    if signed_in or not authenticator.need_tokens:
        return RedirectResponse(_own(next_), 303)
    return show(request, "sign_in.html", title="Sign in", next=_own(next_), wrong="")


@router.post(SIGN_IN)
async def sign_in(request: Request) -> Response:
    """Begin a session, if the token is accepted."""
    fields = parse_qs((await _body(request)).decode("utf-8", "replace"))
    target = _own(fields.get("next", ["/"])[0])
    authenticator = _authenticator(request)
    digest = authenticator.digest_of_token(fields.get("token", [""])[0].strip().encode())
    if digest is None:
        address = request.client.host if request.client else ""
        refused = authenticator.wrong_tokens.refuses(address)
        return _again(request, target, _TOO_MANY if refused else _WRONG, 429 if refused else 401)
    response = RedirectResponse(target, 303)
    _set_cookie(request, response, authenticator.cookie_for(digest), LIFETIME)
    return response


@router.post(SIGN_OUT)
def sign_out(request: Request) -> Response:
    """End the session in this browser."""
    response = RedirectResponse(SIGN_IN, 303)
    _set_cookie(request, response, "", 0)
    return response


def _again(request: Request, target: str, wrong: str, status: int) -> Response:
    """Ask again, and say what is wrong."""
    page = show(request, "sign_in.html", title="Sign in", status=status, next=target, wrong=wrong)
    if wrong is _TOO_MANY:
        page.headers["Retry-After"] = f"{PERIOD:.0f}"
    return page


def _set_cookie(request: Request, response: Response, value: str, max_age: int) -> None:
    # A proxy that ends TLS may not say so. The browser's own `Origin`, checked by the guards, does.
    secure = request.headers.get("origin", "").startswith("https:") or request.url.scheme == "https"
    response.set_cookie(
        COOKIE, value, max_age=max_age, path="/", secure=secure, httponly=True, samesite="strict"
    )


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            return b""
    return body


def _own(target: str) -> str:
    """Return where to lead to, if it is a path of this server, else the start page."""
    return target if _OWN_PATH.fullmatch(target) else "/"


def _authenticator(request: Request) -> Authenticator:
    return cast("Authenticator", request.app.state.authenticator)
