"""The baseline of the official conformance suite: every exception has a reason that still holds.

The suite itself needs Node; docs/mcp.md says how to run it.
"""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client, MCPError

from service.mcp_server import Service
from tests.mcp_server.test_waiting import over_http

pytestmark = pytest.mark.either_database

BASELINES: dict[str, Any] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted(Path(__file__).parent.glob("conformance-*.yml"))
}
Check = Callable[[Client, Client], Awaitable[bool]]


async def own_tools(_old: Client, new: Client) -> bool:
    """Whether there is no tool of the suite's test server."""
    names = [tool.name for tool in (await new.list_tools()).tools]
    return not any(name.startswith(("test_", "json_schema")) for name in names)


async def own_resources(_old: Client, new: Client) -> bool:
    """Whether there is no resource of the suite's test server."""
    try:
        await new.read_resource("test://static-text")
    except MCPError:
        return True
    return False


async def no_prompts(old: Client, new: Client) -> bool:
    """Whether neither era announces prompts."""
    return all(each.server_capabilities.prompts is None for each in (old, new))


async def no_completions(old: Client, new: Client) -> bool:
    """Whether neither era announces completions."""
    return all(each.server_capabilities.completions is None for each in (old, new))


async def no_logging(old: Client, new: Client) -> bool:
    """Whether neither era announces logging."""
    return all(each.server_capabilities.logging is None for each in (old, new))


async def no_lasting_connection(old: Client, new: Client) -> bool:
    """Whether only the era of 2026 announces subscriptions, over HTTP."""
    before, now = old.server_capabilities.resources, new.server_capabilities.resources
    return bool(before and now and now.subscribe and not before.subscribe)


async def no_headers(_old: Client, new: Client) -> bool:
    """Whether no argument is to be repeated in a header."""
    schemas = [tool.input_schema for tool in (await new.list_tools()).tools]
    return "x-mcp-header" not in json.dumps(schemas)


async def no_tasks(_old: Client, new: Client) -> bool:
    """Whether no extension of tasks is announced."""
    return "task" not in str(new.server_capabilities.extensions or "")


REASONS: dict[str, Check] = {
    "has-only-its-own-tools": own_tools,
    "has-only-its-own-resources": own_resources,
    "has-no-prompts": no_prompts,
    "has-no-completions": no_completions,
    "has-no-logging": no_logging,
    "has-no-lasting-connection-of-2025": no_lasting_connection,
    "has-no-arguments-in-headers": no_headers,
    "has-no-tasks": no_tasks,
}


@pytest.mark.parametrize("baseline", BASELINES)
def test_every_exception_has_one_reason(baseline: str) -> None:
    read = BASELINES[baseline]
    reasoned = [name for names in read["reasons"].values() for name in names]
    assert sorted(reasoned) == read["server"]
    assert len({*reasoned}) == len(reasoned)


async def test_every_reason_still_holds(service: Service) -> None:
    async with over_http(service) as url, Client(url, mode="legacy") as old, Client(url) as new:
        held = {name for name, holds in REASONS.items() if await holds(old, new)}
    assert held == {name for read in BASELINES.values() for name in read["reasons"]}
