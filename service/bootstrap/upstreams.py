"""The upstreams that have a key."""

from collections.abc import Callable
from datetime import datetime

from service.config import Settings
from service.domain.generation import is_polled
from service.domain.request_budget import Rate
from service.luma import (
    AGENTS,
    DREAM_MACHINE,
    AdmissionControl,
    LumaClient,
    Upstream,
    agents_upstream,
    dream_machine_upstream,
)
from service.storage.request_log import RequestLog


def make_upstreams(
    settings: Settings,
    client: LumaClient,
    clock: Callable[[], datetime],
    log_for: Callable[[str], RequestLog | None] = lambda _upstream: None,
) -> list[Upstream]:
    """Return the upstreams that have a key.

    Args:
        log_for: returns the log of requests to an upstream, if other instances share its rate.
    """
    upstreams = []
    if key := settings.luma_api_key:
        admission = AdmissionControl(
            DREAM_MACHINE, Rate.parse(settings.dream_machine_rate), log_for(DREAM_MACHINE)
        )
        url, secret = settings.dream_machine_url, key.get_secret_value()
        upstreams.append(dream_machine_upstream(url, secret, client, admission, clock))
    if key := settings.luma_agents_api_key:
        rate = Rate.parse(settings.agents_rate, polled=is_polled(AGENTS))
        admission = AdmissionControl(AGENTS, rate, log_for(AGENTS))
        url, secret = settings.agents_url, key.get_secret_value()
        upstreams.append(agents_upstream(url, secret, client, admission, clock))
    return upstreams
