"""Luma from the outside: its two APIs, how to ask them, and how to read what they say."""

from service.luma import agents, dream_machine
from service.luma.admission import AdmissionControl
from service.luma.client import LumaClient
from service.luma.rate_limiter import RequestLog
from service.luma.upstream import Upstream, agents_upstream, ask_all, dream_machine_upstream

AGENTS, DREAM_MACHINE = agents.NAME, dream_machine.NAME

__all__ = [
    "AGENTS",
    "DREAM_MACHINE",
    "AdmissionControl",
    "LumaClient",
    "RequestLog",
    "Upstream",
    "agents_upstream",
    "ask_all",
    "dream_machine_upstream",
]
