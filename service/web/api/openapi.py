"""The OpenAPI document, with additions that FastAPI cannot derive."""

from typing import Any

from fastapi import FastAPI

from service.storage.shape import EXAMPLE
from service.web.problems import Problem, responses

_TAGS = {
    "callbacks": "Where Luma reports to.",
    "generations": "Look up and list generations, and their history.",
    "deliveries": "The inbox of callbacks.",
    "stats": "Statistics of all generations.",
    "backfill": "Reads Luma's list for what is missing.",
    "webhooks": "Endpoints that are told of changes.",
    "submissions": "Creates that went through the gateway.",
    "health": "For probes and monitoring.",
}
_UNGUARDED = ("/callbacks", "/healthz", "/readyz")


def install(app: FastAPI) -> None:
    """Add examples, the problem schema and the token to `/openapi.json`."""
    generate = app.openapi

    def complete() -> dict[str, Any]:
        document = generate()
        document["servers"] = [{"url": "/", "description": "This service"}]
        document["tags"] = [{"name": name, "description": _TAGS[name]} for name in _TAGS]
        parts = document["components"]
        parts["schemas"]["Problem"] = Problem.model_json_schema()
        parts["schemas"]["GenerationOut"]["examples"] = [EXAMPLE]  # FastAPI would drop its nulls
        parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            if not path.startswith(_UNGUARDED):
                _require_token(operations)
        return document

    app.openapi = complete  # type: ignore[method-assign]


def _require_token(operations: dict[str, Any]) -> None:
    """Document the token and its errors; `{}` because it is required only if tokens are set."""
    refusals = {str(status): described for status, described in responses(401, 403, 429).items()}
    for operation in operations.values():
        operation["security"] = [{"bearer": []}, {}]
        operation["responses"] = refusals | operation["responses"]
