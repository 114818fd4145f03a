"""The API's description, completed by what the framework cannot know."""

from typing import Any

from fastapi import FastAPI

from service.storage.shape import EXAMPLE
from service.web.problems import Problem, responses

_OPEN = ("/callbacks", "/healthz", "/readyz")


def install(app: FastAPI) -> None:
    """Complete what `/openapi.json` says."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        parts = document["components"]
        parts["schemas"]["Problem"] = Problem.model_json_schema()
        parts["schemas"]["GenerationOut"]["examples"] = [EXAMPLE]  # with its nulls
        parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            if not path.startswith(_OPEN):
                _guard(operations)
        return document

    app.openapi = described  # type: ignore[method-assign]


def _guard(operations: dict[str, Any]) -> None:
    """A token is wanted where tokens are set, and only there: hence `{}`, no token at all."""
    refusals = {str(status): told for status, told in responses(401, 403, 429).items()}
    for operation in operations.values():
        operation["security"] = [{"bearer": []}, {}]
        operation["responses"] = refusals | operation["responses"]
