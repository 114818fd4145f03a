"""Edits one member of a JSON file as text: everything else stays as it is, comments included.

VS Code, Cursor and Gemini CLI accept comments and trailing commas in their files.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

_GAP = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/|([\[{])|([\]}])', re.DOTALL)
_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,\]}/]+', re.DOTALL)
_NOISE = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[\]}])', re.DOTALL)
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class _Child:
    """A member of an object, or an element of an array: where it stands in the text."""

    key: str
    begin: int
    value: int
    end: int


def parse(text: str) -> Any:
    """Parse JSON with comments and trailing commas; nothing but space is an empty object.

    Raises:
        ValueError: it is neither.
    """
    plain = _NOISE.sub(lambda found: found[1] or " ", text.removeprefix("\ufeff"))
    plain = _TRAILING_COMMA.sub(lambda found: found[1] or "", plain)
    return json.loads(plain) if plain.strip() else {}


def set_member(text: str, section: str, name: str, value: Any) -> str:
    """Set the member `name` of the object `section` of the root.

    Raises:
        ValueError: the text has no such form.
    """
    text = text if _GAP.sub("", text, count=1).removeprefix("\ufeff") else "{}\n"
    root = _root(text)
    found = _named(text, root, section)
    if found is None:
        return _insert(text, root, json.dumps(section) + ": ", {name: value}, 1)
    if text[found.value] != "{":
        raise ValueError(f"{section} is not an object")
    member = _named(text, found.value, name)
    if member is None:
        return _insert(text, found.value, json.dumps(name) + ": ", value, 2)
    return text[: member.value] + _dumped(text, value, 2) + text[member.end :]


def remove_member(text: str, section: str, name: str) -> str:
    """Remove the member `name` of the object `section` of the root, if it is there."""
    found = _named(text, _root(text), section) if text.strip() else None
    if found is None or text[found.value] != "{":
        return text
    children = _children(text, found.value)
    at = next((i for i, child in enumerate(children) if child.key == name), None)
    return text if at is None else _without(text, children, at)


def add_element(text: str, section: str, value: Any) -> str:
    """Append to the array `section` of the root; an element with the same `id` is replaced."""
    found = _named(text, _root(text), section)
    if found is None:
        return _insert(text, _root(text), json.dumps(section) + ": ", [value], 1)
    for child in _children(text, found.value):
        if _id(text, child) == value["id"]:
            return text[: child.value] + _dumped(text, value, 2) + text[child.end :]
    return _insert(text, found.value, "", value, 2)


def remove_element(text: str, section: str, element_id: str) -> str:
    """Remove the element with an `id` from the array `section` of the root, if it is there."""
    found = _named(text, _root(text), section) if text.strip() else None
    children = _children(text, found.value) if found else []
    at = next((i for i, child in enumerate(children) if _id(text, child) == element_id), None)
    return text if at is None else _without(text, children, at)


def _id(text: str, child: _Child) -> Any:
    element = parse(text[child.value : child.end])
    return element.get("id") if isinstance(element, dict) else None


def _root(text: str) -> int:
    """Return where the root object begins."""
    start = 1 if text.startswith("\ufeff") else 0
    return _skip(text, start)


def _skip(text: str, at: int) -> int:
    """Skip space and comments."""
    found = _GAP.match(text, at)
    return found.end() if found else at


def _named(text: str, begin: int, name: str) -> _Child | None:
    return next((child for child in _children(text, begin) if child.key == name), None)


def _children(text: str, begin: int) -> list[_Child]:
    """Return what the object or array that begins there contains."""
    children = []
    at = _skip(text, begin + 1)
    while text[at] not in "]}":
        start, key = at, ""
        if text[begin] == "{":
            end = _value_end(text, at)
            key = json.loads(text[at:end])
            at = _skip(text, _skip(text, end) + 1)  # the colon
        end = _value_end(text, at)
        children.append(_Child(key, start, at, end))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return children


def _value_end(text: str, at: int) -> int:
    if text[at] not in "[{":
        found = _SCALAR.match(text, at)
        return found.end() if found else at
    depth = 0
    for token in _TOKEN.finditer(text, at):
        depth += bool(token[2]) - bool(token[3])
        if depth == 0 and token[3]:
            return token.end()
    raise ValueError("a bracket is not closed")


def _insert(text: str, begin: int, label: str, value: Any, depth: int) -> str:
    """Insert after the last child of the object or array that begins there."""
    line = _line_break(text) + _INDENT * depth
    new = line + label + _dumped(text, value, depth)
    children = _children(text, begin)
    if children:
        end = children[-1].end
        return f"{text[:end]},{new}{text[end:]}"
    rest = text[begin + 1 :]
    closes_at_once = rest.lstrip()[:1] in ("}", "]")
    tail = _line_break(text) + _INDENT * (depth - 1) + rest.lstrip() if closes_at_once else rest
    return f"{text[: begin + 1]}{new}{tail}"


def _without(text: str, children: list[_Child], at: int) -> str:
    """Remove a child and one comma."""
    child = children[at]
    after = _skip(text, child.end)
    if text[after] == ",":
        begin = len(text[: child.begin].rstrip())
        return text[:begin] + text[after + 1 :]
    if at == 0:
        return text[: len(text[: child.begin].rstrip())] + text[child.end :]
    comma = text.index(",", children[at - 1].end)
    between = text[comma + 1 : child.begin].rstrip()
    return text[:comma] + between + text[child.end :]


def _dumped(text: str, value: Any, depth: int) -> str:
    lines = json.dumps(value, indent=_INDENT, ensure_ascii=False).split("\n")
    return (_line_break(text) + _INDENT * depth).join(lines)


def _line_break(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
