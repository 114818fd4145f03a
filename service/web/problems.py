"""Every error as RFC 9457 `application/problem+json`, and which error means which HTTP status."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from service import errors
from service.domain.redaction import without_tokens
from service.web.security_headers import secure

_STATUS: dict[type[errors.TrackerError], HTTPStatus] = {
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unreadable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.UpstreamRefused: HTTPStatus.BAD_GATEWAY,
    errors.UpstreamNonsense: HTTPStatus.BAD_GATEWAY,
    errors.UpstreamUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


_KINDS = {  # our own, since HTTP's phrases change with Python's versions
    400: ("bad-request", "Bad request"),
    401: ("unauthorized", "A token is wanted"),
    403: ("forbidden", "Not allowed"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    408: ("too-slow", "The request took too long"),
    413: ("too-large", "The request is too large"),
    421: ("misdirected", "Not a name of ours"),
    422: ("invalid-input", "Invalid input"),
    429: ("too-many-requests", "Too many requests"),
    431: ("headers-too-large", "The request's headers are too large"),
    500: ("unforeseen", "An error of ours"),
    502: ("upstream-failed", "Luma refused us, or answered nonsense"),
    503: ("unavailable", "Not available just now"),
}


class Problem(BaseModel):
    """RFC 9457: what went wrong, for programs and people."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:luma-tracker:not-found",
                    "title": "Not found",
                    "status": 404,
                    "detail": "3fa85f64 is unknown to dream_machine.",
                    "hint": "Check the id.",
                }
            ]
        }
    )

    type: str = Field(description="A name for this kind of problem that does not change.")
    title: str
    status: int
    detail: str = Field(description="What was wrong this time.")
    hint: str | None = Field(None, description="What to do about it.")
    errors: list[dict[str, Any]] | None = Field(None, description="What was wrong, field by field.")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's OpenAPI: the problems that it can answer with."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _KINDS[status][1], "content": content} for status in statuses}


def problem(
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    hint: str | None = None,
    headers: Mapping[str, str] | None = None,
    fields: list[dict[str, Any]] | None = None,
) -> Response:
    """An error answer."""
    usual, title = _KINDS.get(status, _KINDS[500 if status >= 500 else 400])
    body = Problem(
        type=f"urn:luma-tracker:{kind or usual}",
        title=title,
        status=status,
        detail=detail,
        hint=hint or None,
        errors=fields,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )


def of_error(error: errors.TrackerError) -> Response:
    """The answer to an error of ours."""
    status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
    headers = {}
    if isinstance(error, errors.UpstreamUnavailable | errors.StoreUnavailable):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    fields = None
    if isinstance(error, errors.InvalidInput):
        fields = [{"loc": [error.field], "msg": str(error)}]
    return problem(
        status,
        str(error),
        kind=_kebab(type(error).__name__),
        hint=error.hint,
        headers=headers,
        fields=fields,
    )


def install(app: FastAPI) -> None:
    """Make every error of this app a problem, those of the framework included."""

    @app.exception_handler(errors.TrackerError)
    async def _ours(_request: Request, error: errors.TrackerError) -> Response:
        return of_error(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        fields = [{"loc": list(e["loc"]), "msg": e["msg"]} for e in error.errors()]
        told = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in fields)
        hint = "Correct what is named; /openapi.json says what is allowed."
        return problem(422, told, hint=hint, fields=fields)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        detail = without_tokens(f"{request.method} {request.url.path}: {error.detail}.")
        return problem(error.status_code, detail, headers=error.headers)

    app.add_exception_handler(Exception, unforeseen)


async def unforeseen(_request: Request, error: Exception) -> Response:
    """As the framework asks for the answer to a bug of ours."""
    failure = of_bug(error)
    secure(failure.headers)  # this is answered outside of all that adds them
    return failure


def of_bug(error: Exception) -> Response:
    """The answer to a bug of ours."""
    return problem(500, f"Something failed that should not: {type(error).__name__}.")


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
