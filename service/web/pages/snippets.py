"""Texts to copy: how programs ask about one generation, and how they are connected at all."""

import json
from typing import NamedTuple

from fastapi import Request


class Snippet(NamedTuple):
    """A text, and where it belongs."""

    name: str
    text: str


def of_generation(request: Request, generation_id: str, upstream: str) -> list[Snippet]:
    """Return how to ask about a generation."""
    base = base_of(request)
    arguments = {"name": "get_generation", "arguments": {"generation_id": generation_id}}
    return [
        Snippet("curl", f"curl {_bearer(request)}{base}/v1/generations/{generation_id}"),
        Snippet("Python SDK", _sdk(base, generation_id, upstream)),
        Snippet("Command line", f"luma-tracker get {generation_id}"),
        Snippet("MCP", json.dumps(arguments, indent=2)),
    ]


def to_begin(request: Request) -> list[Snippet]:
    """Return how to let generations appear here."""
    base = base_of(request)
    server = {"mcpServers": {"luma-tracker": {"type": "http", "url": f"{base}/mcp"}}}
    if request.app.state.authenticator.need_tokens:
        server["mcpServers"]["luma-tracker"]["headers"] = {  # type: ignore[assignment]
            "Authorization": "Bearer $TRACKER_TOKEN"
        }
    return [
        Snippet(
            "Luma's own SDKs: change the base URL",
            f"export LUMAAI_BASE_URL={base}/dream-machine/v1  # lumaai\n"
            f"export LUMA_BASE_URL={base}/agents/v1  # luma-agents",
        ),
        Snippet("Agents: add the MCP server", json.dumps(server, indent=2)),
        Snippet(
            "Programs that call Luma themselves: pass this as `callback_url`",
            "luma-tracker callback-url",
        ),
        Snippet(
            "A generation that exists already",
            f"curl {_bearer(request)}{base}/v1/generations/ID",
        ),
    ]


def base_of(request: Request) -> str:
    """Return the URL under which this service is seen by who asks."""
    return str(request.base_url).rstrip("/")


def _bearer(request: Request) -> str:
    needed = request.app.state.authenticator.need_tokens
    return '-H "Authorization: Bearer $TRACKER_TOKEN" ' if needed else ""


def _sdk(base: str, generation_id: str, upstream: str) -> str:
    if upstream == "agents":
        package, client, path = "luma_agents", "Luma", "agents/v1"
    else:
        package, client, path = "lumaai", "LumaAI", "dream-machine/v1"
    return (
        f"from {package} import {client}\n\n"
        f'client = {client}(base_url="{base}/{path}", '
        'auth_token="TRACKER_TOKEN")\n'
        f'print(client.generations.get("{generation_id}"))'
    )
