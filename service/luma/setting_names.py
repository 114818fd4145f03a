"""Names of the settings of each upstream, for the hints of error messages."""

API_KEY = {"dream_machine": "LUMAAI_API_KEY", "agents": "LUMA_AGENTS_API_KEY"}
URL = {"dream_machine": "TRACKER_DREAM_MACHINE_URL", "agents": "TRACKER_AGENTS_URL"}
