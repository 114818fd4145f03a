"""What every tool is made of: its definition, its call, and the form of its results.

Clients differ in what they show to a model: often only the structured content of a success, and
only the text of an error. So both contain everything that is needed. Results are dicts in the form
of the protocol; the SDK validates each against the protocol's schema anyway.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel, ValidationError

from service.domain.text import one_line
from service.errors import TrackerError
from service.mcp_server.schemas import compact
from service.tracking.gateway import Gateway
from service.tracking.tracker import Tracker

_MAX_CHARACTERS = 500  # of a value from outside in a text
REPORT_EVERY = 10.0
"""Seconds between reports of progress; clients give up after 30 to 60 seconds of silence."""
_VALUE_ERROR = "Value error, "

Json = dict[str, Any]
"""A JSON object."""


class Caller(NamedTuple):
    """Who calls."""

    digest: str = ""
    """Digest of the caller's token; empty where no tokens are set."""
    may_write: bool = True


class Progress(Protocol):
    """Reports progress to the client."""

    async def __call__(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Send a progress notification."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool."""

    tracker: Tracker
    gateway: Gateway
    caller: Caller
    arguments: Json
    progress: Progress | None = None
    """None: the client did not ask for it."""
    report_every: float = REPORT_EVERY
    """Seconds between reports of progress."""


@dataclass(frozen=True, slots=True)
class TrackerTool:
    """A tool: its definition for clients, and its implementation."""

    definition: Tool
    call: Callable[[Call], Awaitable[Json]]
    action: str
    """The start of its error texts, after "Error"; may contain `{generation_id}`."""

    @property
    def writes(self) -> bool:
        """Whether it creates or deletes something at Luma."""
        return bool(self.definition.annotations and not self.definition.annotations.read_only_hint)


READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=True)
CREATES = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
)
DELETES = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True
)


def define(
    name: str,
    title: str,
    description: str,
    arguments: type[BaseModel],
    annotations: ToolAnnotations,
    output_schema: Json | None = None,
    meta: Json | None = None,
) -> Tool:
    """Build the definition of a tool.

    Args:
        name: its name.
        title: its name for people.
        description: for the model; its bytes are in the context of every conversation.
        arguments: the model of its arguments.
        annotations: whether it writes.
        output_schema: the schema of its structured content.
        meta: what clients with an extension of the protocol read, such as the view of its results.
    """
    return Tool(
        name=name,
        title=title,
        description=description,
        input_schema=compact(arguments.model_json_schema()),
        output_schema=output_schema,
        annotations=annotations,
        meta=meta,
    )


def labelled(values: Mapping[str, Any]) -> list[str]:
    """Return a line for each label that has a value."""
    return [f"{name}: {_line_value(name, value)}" for name, value in values.items() if value]


def _line_value(name: str, value: Any) -> str:
    line = str(value)
    return one_line(line) if name.endswith("URL") else short(line)  # half a URL is of no use


def short(value: str) -> str:
    """Put a value from outside on one line, and shorten it."""
    return _cut(one_line(value))


def _cut(line: str) -> str:
    return line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 1]}…"


def success(text: str, document: Json) -> Json:
    """Build the result of a success, as text and as structured content."""
    return {**_text_result(text), "structuredContent": document, "isError": False}


def failure(action: str, error: TrackerError | ValidationError) -> Json:
    """Build an error result whose text says what is wrong, and what to do.

    Args:
        action: what the tool was doing, such as "listing generations".
        error: what went wrong.
    """
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = short(f"{where}: {first['msg'].removeprefix(_VALUE_ERROR)}".removeprefix(": "))
        reason = f"{reason.rstrip('.')}. Correct the arguments."
    else:
        reason = f"{short(str(error))} {error.hint}"
    return {**_text_result(one_line(f"Error {_cut(action)}: {reason}")), "isError": True}


def _text_result(text: str) -> Json:
    return {"resultType": "complete", "content": [{"type": "text", "text": text}]}
