"""Luma from the outside: its two APIs, how to ask them, and how to read what they say."""

from service.luma.client import LumaClient
from service.luma.upstream import Upstream, agents_upstream, ask_all, dream_machine_upstream

__all__ = ["LumaClient", "Upstream", "agents_upstream", "ask_all", "dream_machine_upstream"]
