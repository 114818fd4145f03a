"""Error responses: RFC 9457 `application/problem+json`, and the HTTP status of each error."""

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from service import errors
from service.domain.redaction import without_tokens
from service.web.luma_errors import enveloped
from service.web.security_headers import secure

_STATUS: dict[type[errors.TrackerError], HTTPStatus] = {
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unreadable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.UpstreamRefused: HTTPStatus.BAD_GATEWAY,
    errors.UpstreamNonsense: HTTPStatus.BAD_GATEWAY,
    errors.UpstreamUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SettingsError: HTTPStatus.SERVICE_UNAVAILABLE,
}

_KINDS = {  # type and title; the phrases of `http.HTTPStatus` differ between Python versions
    400: ("bad-request", "Bad request"),
    401: ("unauthorized", "A token is required"),
    403: ("forbidden", "Not allowed"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    408: ("too-slow", "The request took too long"),
    413: ("too-large", "The request is too large"),
    416: ("no-such-part", "No such part"),
    421: ("misdirected", "Not served under this name"),
    422: ("invalid-input", "Invalid input"),
    429: ("too-many-requests", "Too many requests"),
    431: ("headers-too-large", "The request's headers are too large"),
    500: ("unforeseen", "Internal error"),
    502: ("upstream-nonsense", "Luma refused the request, or its answer was unusable"),
    503: ("unavailable", "Temporarily unavailable"),
}
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Problem(BaseModel):
    """An error response as RFC 9457 defines it."""

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

    type: str = Field(description="A stable name for this kind of problem.")
    title: str
    status: int
    detail: str = Field(description="What is wrong with this request.")
    hint: str | None = Field(None, description="What to do about it.")
    errors: list[dict[str, Any]] | None = Field(None, description="What is wrong, field by field.")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe, for the OpenAPI of a route, the problems that it can answer with."""
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
    """Build an error response.

    Args:
        status: HTTP status.
        detail: what is wrong.
        kind: the end of `type`, if it is not the usual one of this status.
        hint: what to do about it.
        headers: additional response headers.
        fields: `errors`, an object per field, each with `loc` and `msg`, and that of a query with
            `at`, its place.
    """
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


def status_of(error: errors.TrackerError) -> HTTPStatus:
    """Return the HTTP status of an error of the service."""
    return next(code for kind, code in _STATUS.items() if isinstance(error, kind))


def of_error(error: errors.TrackerError) -> Response:
    """Build the response to an error of the service."""
    status = status_of(error)
    headers = {}
    if isinstance(error, errors.UpstreamUnavailable | errors.StoreUnavailable):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    fields = None
    if isinstance(error, errors.InvalidInput):
        fields = [{"loc": [error.field], "msg": str(error), **_place(error)}]
    return problem(
        status,
        str(error),
        kind=error.kind,
        hint=error.hint,
        headers=headers,
        fields=fields,
    )


def install(app: FastAPI) -> None:
    """Answer every error of this application as a problem, including those of the framework."""

    @app.exception_handler(errors.TrackerError)
    async def _tracker_error(request: Request, error: errors.TrackerError) -> Response:
        return enveloped(request.scope["path"], of_error(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        fields = [
            {"loc": list(each["loc"]), "msg": message_of(each, request)} for each in error.errors()
        ]
        detail = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in fields)
        hint = "Correct these parameters; /openapi.json lists what each route accepts."
        return problem(422, detail, hint=hint, fields=fields)

    app.add_exception_handler(HTTPException, of_framework)
    app.add_exception_handler(Exception, unforeseen)


async def of_framework(request: Request, error: Exception) -> Response:
    """Answer an error of the framework, such as an unknown path; a handler for Starlette."""
    if not isinstance(error, HTTPException):
        raise error
    detail = without_tokens(f"{request.method} {request.url.path}: {error.detail}.")
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(sorted(_methods_of(request)))}
    response = problem(error.status_code, detail, headers=headers)
    return enveloped(request.scope["path"], response)


async def unforeseen(request: Request, error: Exception) -> Response:
    """Answer an unexpected exception; an exception handler for Starlette."""
    response = enveloped(request.scope["path"], of_bug(error))
    secure(response.headers)  # this response passes no middleware that adds them
    return response


def of_bug(error: Exception) -> Response:
    """Build the response to an unexpected exception."""
    return problem(500, f"The service failed unexpectedly: {type(error).__name__}.")


def _methods_of(request: Request) -> set[str]:
    """Return the methods of all routes with this path; Starlette names those of the first only."""
    return {
        method
        for method in _METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }


def message_of(error: Mapping[str, Any], request: Request) -> str:
    """Return what is wrong with a field; for an unknown parameter, with the nearest known one."""
    if error["type"] != "extra_forbidden":
        return str(error["msg"]).removeprefix("Value error, ")
    unknown, endpoint = str(error["loc"][-1]).lower(), request.scope.get("endpoint")
    of_body = get_close_matches(unknown, _names_of(endpoint, in_body=True), n=1)
    is_in_body = error["loc"][0] == "body"
    own = of_body if is_in_body else get_close_matches(unknown, _names_of(endpoint), n=1)
    if own:
        advice = f" Did you mean `{own[0]}`?"
    elif unknown in of_body:
        advice = f" Send `{unknown}` in the body."
    else:
        advice = f" Did you mean `{of_body[0]}`, in the body?" if of_body else ""
    return f"Unknown parameter.{advice}"


def _names_of(endpoint: Any, *, in_body: bool = False) -> list[str]:
    """Return the names that the models of an endpoint have; that of its query is annotated."""
    annotations = inspect.get_annotations(endpoint) if endpoint else {}
    models = [
        next(iter(get_args(each)), each)
        for name, each in annotations.items()
        if name != "return" and hasattr(each, "__metadata__") is not in_body
    ]
    return [
        field.alias or name
        for model in models
        if inspect.isclass(model) and issubclass(model, BaseModel)
        for name, field in model.model_fields.items()
    ]


def _place(error: errors.InvalidInput) -> dict[str, int]:
    return {"at": error.at} if isinstance(error, errors.InvalidQuery) else {}
