"""Luma from the outside: its two APIs, how to ask them, and how to read what they say."""

from service.luma.budget import Purpose, Rate
from service.luma.client import LumaClient
from service.luma.upstream import Upstream, agents_upstream, ask_all, dream_machine_upstream

__all__ = [
    "LumaClient",
    "Purpose",
    "Rate",
    "Upstream",
    "agents_upstream",
    "ask_all",
    "dream_machine_upstream",
]
