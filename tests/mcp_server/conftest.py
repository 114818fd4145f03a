"""What the MCP server works on, for all its tests."""

from collections.abc import AsyncIterator

import pytest

from service.bootstrap import Parts, open_parts
from service.config import Settings
from service.mcp_server import Caller, ResourceUpdates, Service
from service.tracking.tracker import Tracker
from tests.conftest import Clock


def service_of(parts: Parts, caller: Caller | None = None) -> Service:
    """What the server works on; every request is of the same caller."""
    found = caller or Caller()
    updates = ResourceUpdates(parts.tracker.history)
    return Service(parts.tracker, parts.gateway, updates, lambda _: found)


@pytest.fixture
async def parts(settings: Settings, clock: Clock) -> AsyncIterator[Parts]:
    """The parts of one process, without background loops."""
    async with open_parts(settings, clock) as opened:
        yield opened


@pytest.fixture
def tracker(parts: Parts) -> Tracker:
    """The tracker of these parts."""
    return parts.tracker


@pytest.fixture
def service(parts: Parts) -> Service:
    """What the server works on."""
    return service_of(parts)
