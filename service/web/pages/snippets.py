"""Texts to copy: how programs ask about one generation, and how they are connected at all."""

import json
from typing import NamedTuple
from urllib.parse import urlsplit

from fastapi import Request

from service.domain.upstreams import AGENTS


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
        Snippet("Python SDK", _sdk(request, generation_id, upstream)),
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
    """Return the URL under which this service is seen by who asks.

    A proxy that ends TLS may not say so. The public URL does, if it has the name that was asked.
    """
    public: str | None = request.app.state.public_url
    if public and urlsplit(public).netloc == request.headers.get("host"):
        return public
    return str(request.base_url).rstrip("/")


def _needs_token(request: Request) -> bool:
    return bool(request.app.state.authenticator.need_tokens)


def _bearer(request: Request) -> str:
    return '-H "Authorization: Bearer $TRACKER_TOKEN" ' if _needs_token(request) else ""


def _sdk(request: Request, generation_id: str, upstream: str) -> str:
    needed = _needs_token(request)
    imported = "from os import environ\n\n" if needed else ""
    token = 'environ["TRACKER_TOKEN"]' if needed else '"any"'
    if upstream == AGENTS:
        package, client, path = "luma_agents", "Luma", "agents/v1"
    else:
        package, client, path = "lumaai", "LumaAI", "dream-machine/v1"
    return (
        f"{imported}from {package} import {client}\n\n"
        f'client = {client}(base_url="{base_of(request)}/{path}", auth_token={token})\n'
        f'print(client.generations.get("{generation_id}"))'
    )
