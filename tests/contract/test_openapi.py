"""The API's own description: valid, whole, and true."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.domain.generation import Source
from tests import node_tools
from tests.acceptance.conftest import Running
from tests.acceptance.talk import body_of, call_back, new_id, told

pytestmark = pytest.mark.either_database

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(shared: Running) -> Document:
    answer = shared.http.get("/openapi.json")
    assert answer.status_code == 200
    described: Document = answer.json()
    return described


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Every operation: method, path, description."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def resolved(document: Document, schema: Document) -> Document:
    """A schema, followed to where it is written down."""
    while "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = document["components"]["schemas"][name]
    return schema


def has_example(document: Document, schema: Document) -> bool:
    """Whether a reader is shown what a value of this schema looks like."""
    schema = resolved(document, schema)
    if {"example", "examples", "default", "const", "enum"} & schema.keys():
        return True
    if schema.get("type") == "array":
        return has_example(document, schema["items"])
    if "anyOf" in schema:
        return any(has_example(document, each) for each in schema["anyOf"])
    properties = schema.get("properties", {})
    simple = {"boolean", "integer", "null"}
    return bool(properties) and all(
        each.get("type") in simple or has_example(document, each) or "description" in each
        for each in properties.values()
    )


def test_it_is_valid(document: Document) -> None:
    from openapi_spec_validator import validate  # heavy

    validate(document)
    assert document["openapi"].startswith("3.1")


@pytest.mark.thorough
def test_spectral_has_nothing_to_say(document: Document, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    (tmp_path / "rules.yml").write_text('extends: ["spectral:oas"]')
    rules, written = tmp_path / "rules.yml", tmp_path / "openapi.json"
    node_tools.run("spectral", "lint", "--fail-severity", "hint", "--ruleset", rules, written)


def test_it_says_whose_it_is(document: Document) -> None:
    info = document["info"]

    assert info["title"] == "luma-tracker"
    assert info["version"]
    assert info.get("summary") or info.get("description")


def test_every_operation_introduces_itself(document: Document) -> None:
    seen = set()
    for method, path, operation in operations(document):
        where = f"{method} {path}"
        assert operation.get("summary"), where
        assert operation.get("description"), where
        assert operation.get("tags"), where
        assert operation.get("operationId"), where
        assert operation["operationId"] not in seen, where
        seen.add(operation["operationId"])


def test_the_routes_of_the_contract_are_there(document: Document) -> None:
    routes = {f"{method.upper()} {path}" for method, path, _ in operations(document)}

    assert routes >= {
        "POST /callbacks/{token}",
        "GET /v1/generations",
        "GET /v1/generations/{generation_id}",
        "GET /v1/generations/{generation_id}/events",
        "GET /v1/events",
        "GET /v1/deliveries",
        "GET /v1/deliveries/{delivery_id}",
        "POST /v1/deliveries/{delivery_id}/replay",
        "GET /v1/submissions/{submission_id}",
        "GET /v1/backfill",
        "POST /v1/backfill",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }


def test_every_error_that_is_described_is_a_problem(document: Document) -> None:
    problem = None
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            assert answer["content"].keys() == {"application/problem+json"}, f"{method} {path}"
            reference = answer["content"]["application/problem+json"]["schema"]["$ref"]
            problem = problem or reference
            assert reference == problem, f"{method} {path} {status}"
    assert problem
    schema = resolved(document, {"$ref": problem})
    assert set(schema["required"]) >= {"type", "title", "status", "detail"}
    assert schema["examples"]


@pytest.mark.parametrize(
    ("operation_id", "statuses"),
    [
        ("receiveCallback", {200, 404, 408, 413, 422, 503}),
        ("getGeneration", {200, 304, 404, 422, 502, 503}),
        ("listGenerations", {200, 422, 503}),
        ("listGenerationEvents", {200, 404, 422, 503}),
        ("listEvents", {200, 422, 503}),
        ("listDeliveries", {200, 422, 503}),
        ("getDelivery", {200, 404, 503}),
        ("replayDelivery", {200, 404, 503}),
        ("getSubmission", {200, 404, 422, 503}),
        ("startBackfill", {202, 422, 503}),
        ("getBackfill", {200, 422, 503}),
        ("isAlive", {200}),
        ("isReady", {200, 503}),
    ],
)
def test_every_status_that_can_happen_is_described(
    document: Document, operation_id: str, statuses: set[int]
) -> None:
    [operation] = [o for _, _, o in operations(document) if o["operationId"] == operation_id]

    assert {int(status) for status in operation["responses"]} >= statuses


def test_what_wants_a_token_says_so(document: Document) -> None:
    schemes = document["components"].get("securitySchemes", {})
    assert any(
        scheme["type"] == "http" and scheme["scheme"] == "bearer" for scheme in schemes.values()
    )
    for method, path, operation in operations(document):
        if not path.startswith("/v1/"):
            continue
        secured = operation.get("security", document.get("security"))
        assert secured, f"{method} {path}"
        assert "401" in operation["responses"], f"{method} {path}"


def test_every_answer_shows_an_example(document: Document) -> None:
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            for kind, media in answer.get("content", {}).items():
                shown = "example" in media or "examples" in media
                assert shown or has_example(document, media["schema"]), (
                    f"{method} {path} {status} {kind}"
                )


def test_every_parameter_is_explained_or_explains_itself(document: Document) -> None:
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            explained = parameter.get("description") or schema.get("description")
            typed = schema.keys() & {"enum", "anyOf", "$ref", "type", "items"}
            assert explained or typed, f"{method} {path} {parameter['name']}"


def test_every_source_of_a_change_and_the_language_of_queries_are_named(document: Document) -> None:
    schemas = document["components"]["schemas"]
    fields = [
        (name, field.get("description", ""))
        for schema in schemas.values()
        for name, field in schema.get("properties", {}).items()
    ]

    sources = [said for name, said in fields if name == "source"]
    assert len(sources) == 2
    assert [source for said in sources for source in Source if f"`{source}`" not in said] == []
    assert all("query" in said for name, said in fields if name == "q")


def test_the_stream_is_described_beside_the_page(document: Document) -> None:
    answer = document["paths"]["/v1/events"]["get"]["responses"]["200"]

    assert answer["content"].keys() == {"application/json", "text/event-stream"}
    assert answer["content"]["text/event-stream"]["example"].startswith("event: change\ndata: {")


def test_what_is_answered_is_what_is_described(document: Document, shared: Running) -> None:
    generation_id = told(shared)
    for path in (
        f"/v1/generations/{generation_id}",
        "/v1/generations",
        f"/v1/generations/{generation_id}/events",
        "/v1/events",
        "/v1/deliveries",
        "/healthz",
        "/readyz",
    ):
        template = path.replace(generation_id, "{generation_id}")
        answers = document["paths"][template]["get"]["responses"]
        schema = resolved(document, answers["200"]["content"]["application/json"]["schema"])

        answered = shared.http.get(path).json().keys()
        assert schema["properties"].keys() - {"warnings"} <= answered <= schema["properties"].keys()
    outcome = call_back(shared, body_of(new_id())).json()
    answers = document["paths"]["/callbacks/{token}"]["post"]["responses"]
    schema = resolved(document, answers["200"]["content"]["application/json"]["schema"])
    assert outcome.keys() == schema["properties"].keys()
