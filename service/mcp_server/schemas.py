"""The tools' JSON schemas, as short as they can be: they are in the context of every conversation.

They have no `$ref`, which many clients do not follow, and no titles.
"""

from typing import Any

from service.storage.shape import GenerationOut
from service.tracking.schemas import PageOut

_NULL = {"type": "null"}
_DROPPED = {
    *("title", "$defs", "$ref", "examples"),
    *("minLength", "maxLength", "minItems", "maxItems", "exclusiveMinimum", "propertyNames"),
}
_EMPTIES = ("default", "description", "additionalProperties")
_OF_OUTPUT = ("type", "items")


def compact(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of pydantic's without references, titles, and limits that errors explain.

    Args:
        schema: with its `$defs`.
    """
    compacted = _compacted(schema, schema.get("$defs", {}))
    compacted.pop("description", None)  # the model's docstring, for developers
    if schema.get("additionalProperties") is False:
        compacted["additionalProperties"] = False
    return compacted


def _compacted(schema: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        model = models[schema["$ref"].rpartition("/")[2]]
        schema = {**model, "description": None, **schema}
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            result[key] = {name: _compacted(each, models) for name, each in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            result[key] = _compacted(value, models)
        elif key == "anyOf":
            result |= _any_of([_compacted(each, models) for each in value])
        elif key not in _DROPPED and not _says_nothing(key, value):
            result[key] = value
    return result


def _says_nothing(key: str, value: Any) -> bool:
    return key in _EMPTIES and (not value or value is True)


def _any_of(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """Leave null out: an argument that is null is as good as none."""
    others = [each for each in choices if each != _NULL]
    return others[0] if len(others) == 1 else {"anyOf": others}


def _output(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with types alone, because results explain themselves.

    A value that may be null has no type: naming two of them for each would fill a page.
    """
    output = compact(schema)
    for name, each in schema["properties"].items():
        typed = {k: v for k, v in output["properties"][name].items() if k in _OF_OUTPUT}
        output["properties"][name] = {} if _NULL in each.get("anyOf", ()) else typed
    return output


GENERATION = _output(GenerationOut.model_json_schema(mode="serialization"))
"""One generation, as every surface shows it."""
GENERATION["required"] = ["id", "state", "terminal"]
PAGE = _output(PageOut.model_json_schema(mode="serialization"))
"""A page of generations."""
PAGE["properties"]["items"]["items"] = GENERATION
WAITED = {
    "type": "object",
    "description": "The generation as get_generation returns it, and:",
    "properties": {
        "id": {"type": "string"},
        "state": {"type": "string"},
        "terminal": {"type": "boolean"},
        "timed_out": {"type": "boolean"},
        "next_step": {"type": "string"},
    },
    "required": ["id", "state", "terminal", "timed_out", "next_step"],
}
