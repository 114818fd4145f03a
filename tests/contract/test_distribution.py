"""What registries and bundles of MCP servers read: server.json, and the bundle in deploy/mcpb."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from service.mcp_server.tools import TOOLS
from tests.contract.test_docs import settings as names_of_settings

pytestmark = pytest.mark.either_database

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "deploy/mcpb"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SERVER: dict[str, Any] = json.loads((ROOT / "server.json").read_text())
MANIFEST: dict[str, Any] = json.loads((BUNDLE / "manifest.json").read_text())
MANIFEST_SCHEMA = ROOT / "tests/vendored/mcpb/mcpb-manifest-v0.4.schema.json"

TEXT = {"type": "string", "minLength": 1}
VARIABLE = {
    "type": "object",
    "required": ["name", "description"],
    "properties": {
        "name": TEXT,
        "description": TEXT,
        "isSecret": {"type": "boolean"},
        "isRequired": {"type": "boolean"},
        "format": {"enum": ["string", "number", "boolean", "filepath"]},
        "default": {"type": "string"},
    },
    "additionalProperties": False,
}
PACKAGE = {
    "type": "object",
    "required": ["registryType", "identifier", "version", "transport"],
    "properties": {
        "registryType": {"enum": ["npm", "pypi", "oci", "nuget", "mcpb"]},
        "identifier": TEXT,
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "runtimeHint": {"enum": ["npx", "uvx", "docker", "dnx"]},
        "transport": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"const": "stdio"}},
            "additionalProperties": False,
        },
        "packageArguments": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "value"],
                "properties": {"type": {"const": "positional"}, "value": TEXT},
                "additionalProperties": False,
            },
        },
        "environmentVariables": {"type": "array", "items": VARIABLE},
    },
    "additionalProperties": False,
}
RULES = {
    "type": "object",
    "required": ["$schema", "name", "description", "version"],
    "properties": {
        "$schema": {"pattern": r"^https://static\.modelcontextprotocol\.io/schemas/2025-12-11/"},
        "name": {"pattern": r"^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$", "minLength": 3, "maxLength": 200},
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        "version": {"type": "string", "maxLength": 255},
        "packages": {"type": "array", "items": PACKAGE},
    },
    "additionalProperties": False,
}
"""What the published schema of 2025-12-11 demands of the members that server.json has.

It is stricter than that schema, which allows members that it does not know: a misspelt one fails.
"""


def wrong_in(document: object, schema: Any) -> list[str]:
    """What a schema says against a document."""
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(document)]


def test_the_registry_accepts_server_json() -> None:
    assert wrong_in(SERVER, RULES) == []
    assert wrong_in({**SERVER, "description": "x" * 101}, RULES), "the rules find something"


def test_a_bundle_is_described_as_its_schema_demands() -> None:
    schema = json.loads(MANIFEST_SCHEMA.read_text())

    assert wrong_in(MANIFEST, schema) == []
    assert wrong_in({**MANIFEST, "nonsense": 1}, schema), "the schema finds something"


def test_all_have_the_version_of_the_package() -> None:
    bundled = tomllib.loads((BUNDLE / "pyproject.toml").read_text())["project"]
    version = PROJECT["version"]

    assert [SERVER["version"], *(each["version"] for each in SERVER["packages"])] == [version] * 2
    assert (MANIFEST["version"], bundled["version"]) == (version, version)
    assert bundled["dependencies"] == [f"{PROJECT['name']}=={version}"]
    assert bundled["requires-python"] == PROJECT["requires-python"]


def test_they_set_settings_that_there_are() -> None:
    [package] = SERVER["packages"]
    in_registry = {each["name"] for each in package["environmentVariables"]}
    in_bundle = MANIFEST["server"]["mcp_config"]["env"]

    assert in_registry | set(in_bundle) <= set(names_of_settings())
    asked = {re.fullmatch(r"\$\{user_config\.(\w+)\}", value)[1] for value in in_bundle.values()}  # type: ignore[index]
    assert asked == set(MANIFEST["user_config"])


def test_the_bundle_names_every_tool_and_contains_what_it_starts() -> None:
    tools = {each["name"]: each["description"] for each in MANIFEST["tools"]}

    assert tools == {name: tool.definition.title for name, tool in TOOLS.items()}
    assert {path.name for path in BUNDLE.iterdir()} == {
        "manifest.json",
        "pyproject.toml",
        MANIFEST["server"]["entry_point"],
    }


def test_the_package_says_to_which_entry_of_the_registry_it_belongs() -> None:
    [package] = SERVER["packages"]

    assert package["identifier"] == PROJECT["name"]
    assert f"mcp-name: {SERVER['name']} " in (ROOT / "README.md").read_text()
