"""Edits one table of a TOML file as text: everything else stays as it is, comments included."""

import json
import re
import tomllib
from typing import Any

_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)
_TRAILING = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*\Z")


def parse(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: it is none.
    """
    return tomllib.loads(text.removeprefix("\ufeff").replace("\r\n", "\n"))


def set_table(text: str, section: str, name: str, value: dict[str, Any]) -> str:
    """Set the table `section.name`."""
    without = remove_table(text, section, name)
    gap = "" if not without else "\n" if without.endswith("\n") else "\n\n"
    return without + gap + render(section, name, value)


def remove_table(text: str, section: str, name: str) -> str:
    """Remove the table `section.name` and the tables within it, if they are there."""
    ours = re.compile(
        rf"^[ \t]*\[[ \t]*{section}[ \t]*\.[ \t]*([\"']?){re.escape(name)}\1[ \t]*[.\]]",
        re.MULTILINE,
    )
    while found := ours.search(text):
        head = text[: found.start()].rstrip("\n")
        rest = _from_next_table(text[found.end() :])
        text = "\n".join(part for part in (head, rest) if part)
        text = f"{text}\n" if text and not text.endswith("\n") else text
    return text


def _from_next_table(text: str) -> str:
    """Return the text from the next table on, with the comments above it, which belong to it."""
    following = _HEADER.search(text)
    if following is None:
        return ""
    above = _TRAILING.search(text[: following.start()])
    return text[above.start() if above else following.start() :]


def render(section: str, name: str, value: dict[str, Any]) -> str:
    """Return a table as TOML; its values are strings, lists of strings and a table of strings."""
    lines = [f"[{section}.{name}]"]
    lines += [f"{key} = {_value(each)}" for key, each in value.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        members = ", ".join(f"{key} = {_value(each)}" for key, each in value.items())
        return f"{{ {members} }}"
    return json.dumps(value, ensure_ascii=False)
