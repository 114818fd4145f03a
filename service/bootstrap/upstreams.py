"""The upstreams that have a key."""

from collections.abc import Callable
from datetime import datetime

from service.config import Settings
from service.domain.generation import is_polled
from service.domain.request_budget import Rate
from service.domain.upstreams import AGENTS, DREAM_MACHINE
from service.luma import AdmissionControl, LumaClient, Upstream
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
    keys = {DREAM_MACHINE: settings.luma_api_key, AGENTS: settings.luma_agents_api_key}
    urls = {DREAM_MACHINE: settings.dream_machine_url, AGENTS: settings.agents_url}
    rates = {DREAM_MACHINE: settings.dream_machine_rate, AGENTS: settings.agents_rate}
    made = []
    for name, key in keys.items():
        if key:
            rate = Rate.parse(rates[name], polled=is_polled(name))
            admission = AdmissionControl(name, rate, log_for(name))
            secret = key.get_secret_value()
            made.append(Upstream(name, urls[name], secret, client, admission, clock))
    return made
