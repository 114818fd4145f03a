"""Luma's two APIs: their names, and those of their settings, for the hints of error messages."""

from collections.abc import Mapping

DREAM_MACHINE, AGENTS = "dream_machine", "agents"
KEY_SETTING: Mapping[str, str] = {DREAM_MACHINE: "LUMAAI_API_KEY", AGENTS: "LUMA_AGENTS_API_KEY"}
URL_SETTING: Mapping[str, str] = {
    DREAM_MACHINE: "TRACKER_DREAM_MACHINE_URL",
    AGENTS: "TRACKER_AGENTS_URL",
}
