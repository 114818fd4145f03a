"""Changes the files of MCP clients: never into something else than intended, never half."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from service.cli import agent_setup_json as json_file
from service.cli import agent_setup_toml as toml_file
from service.cli.agent_setup_clients import SERVER, Client, Json
from service.errors import TrackerError

_PRIVATE = 0o600


class Change(NamedTuple):
    """A file before and after."""

    path: Path
    before: bytes | None
    """None: there is no such file."""
    after: bytes

    @property
    def is_needed(self) -> bool:
        """Whether it changes anything."""
        return self.after != (self.before or b"")


def with_entry(client: Client, path: Path, entry: Json, inputs: list[Json]) -> Change:
    """Return the change that adds the entry of the tracker, or replaces it.

    Raises:
        TrackerError: the file cannot be read, or cannot be edited safely.
    """

    def edit(text: str) -> str:
        if client.is_toml:
            return toml_file.set_table(text, client.section, SERVER, entry)
        text = json_file.set_member(text, client.section, SERVER, entry)
        for each in inputs:
            text = json_file.add_element(text, "inputs", each)
        return text

    def wanted(document: Json) -> None:
        document.setdefault(client.section, {})[SERVER] = entry
        if inputs:
            ours = {each["id"]: each for each in inputs}
            kept = [ours.pop(_id(each), each) for each in document.get("inputs", [])]
            document["inputs"] = [*kept, *ours.values()]

    return _changed(client, path, edit, wanted)


def without_entry(client: Client, path: Path) -> Change:
    """Return the change that removes the entry of the tracker.

    Raises:
        TrackerError: the file cannot be read, or cannot be edited safely.
    """
    before = _read(path)
    document = _parsed(client, path, before)
    inputs = document.get("inputs", []) if client.prompts else []
    ours = [found for each in inputs if (found := str(_id(each))).startswith(f"{SERVER}-")]

    def edit(text: str) -> str:
        if client.is_toml:
            return toml_file.remove_table(text, client.section, SERVER)
        text = json_file.remove_member(text, client.section, SERVER)
        for each in ours:
            text = json_file.remove_element(text, "inputs", each)
        return text

    def wanted(document: Json) -> None:
        servers = document.get(client.section)
        if isinstance(servers, dict):
            servers.pop(SERVER, None)
            if client.is_toml and not servers:
                del document[client.section]
        if ours:
            document["inputs"] = [each for each in document["inputs"] if _id(each) not in ours]

    return _changed(client, path, edit, wanted)


def store(change: Change, *, private: bool) -> Path | None:
    """Write a change, and return the backup of what was there before.

    Args:
        change: what to write.
        private: whether the file contains a secret, so that nobody else may read it.

    Raises:
        TrackerError: the file has changed meanwhile, or cannot be written.
    """
    path = change.path.resolve()  # a link stays one
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        backup = _back_up(path) if change.before is not None else None
        mode = _PRIVATE if private or backup is None else path.stat().st_mode & 0o777
        new = path.with_name(f".{path.name}.{os.getpid()}.new")
        _write(new, change.after, mode)
        if _read(path) != change.before:
            new.unlink()
            raise TrackerError(
                f"{path} has just been changed by another program.", "Run the command again."
            )
        new.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    return backup


def _changed(
    client: Client, path: Path, edit: Callable[[str], str], wanted: Callable[[Json], None]
) -> Change:
    """Edit the text, and compare its meaning with what it must be now."""
    before = _read(path)
    expected = _parsed(client, path, before)
    try:
        wanted(expected)
        text = edit((before or b"").decode())
        found = _parser(client)(text)
    except (ValueError, LookupError, TypeError, AttributeError):
        found = None
    if found != expected:
        raise TrackerError(
            f"{path} has a form that cannot be edited safely.", "It is unchanged; edit it by hand."
        )
    return Change(path, before, text.encode())


def _parsed(client: Client, path: Path, content: bytes | None) -> Json:
    try:
        document = _parser(client)((content or b"").decode())
    except ValueError as error:
        raise TrackerError(f"{path} is not valid: {error}.", "Correct it first.") from error
    if not isinstance(document, dict):
        raise TrackerError(f"{path} does not contain an object.", "Correct it first.")
    return document


def _parser(client: Client) -> Callable[[str], Any]:
    return toml_file.parse if client.is_toml else json_file.parse


def _id(element: Any) -> Any:
    return element.get("id") if isinstance(element, dict) else None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        hint = "Check the file and its permissions."
        raise TrackerError(f"{path} cannot be read: {error.strerror}.", hint) from error


def _back_up(path: Path) -> Path:
    """Copy a file beside itself, with its permissions, under a name that is not taken."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    backup = path.with_name(f"{path.name}.{stamp}.bak")
    _write(backup, path.read_bytes(), _PRIVATE)
    shutil.copystat(path, backup)
    return backup


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _unwritable(path: Path, error: OSError) -> TrackerError:
    return TrackerError(
        f"{path} cannot be written: {error.strerror}.", "Check the folder and its permissions."
    )
