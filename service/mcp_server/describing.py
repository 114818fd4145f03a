"""What the tools say about a generation."""

from datetime import timedelta

from service.mcp_server.tool import Json, labelled, short

_CLAIMED = "claimed by callback, not yet confirmed by Luma"


def lines(g: Json, age: timedelta) -> list[str]:
    """Describe a generation, a line per value, with the labels of the usual Luma MCP tool."""
    values = {
        "Generation ID": g["id"],
        "State": g["state"],
        "Reason": (g["failure_reason"] or "not reported") if g["state"] == "failed" else None,
        "Type": g["operation"],
        "Model": g["model"],
        "Prompt": g["prompt"],
        "Video URL": g["assets"]["video"],
        "Image URL": g["assets"]["image"],
        "Progress video URL": g["assets"]["progress_video"],
        "Estimated price": price(g),
        "Gone": f"Luma no longer has it, since {g['gone_at']}." if g["gone_at"] else None,
        "Last report from Luma": f"{age.total_seconds():.0f} s ago",
    }
    found = labelled(values)
    if is_claim(g):
        found.append(f"This is only {_CLAIMED}. Call again in a few seconds.")
    return found


def price(g: Json) -> str | None:
    """Return the estimated price for display; None if it is unknown."""
    cost = g["cost_usd_estimate"]
    return None if cost is None else f"${cost:.4f}".removesuffix("00")


def summary(g: Json) -> str:
    """Describe a generation in one line."""
    claimed = _CLAIMED if is_claim(g) else None
    values = (g["id"], g["state"], claimed, g["operation"], g["prompt"])
    return " · ".join(short(each) for each in values if each)


def is_claim(g: Json) -> bool:
    """Return whether only a callback, which anybody may have sent, reports the end or a URL."""
    return not g["verified"] and (g["terminal"] or any(g["assets"].values()))


def next_step(g: Json) -> str:
    """Return what to do after a generation was created, or was waited for."""
    if not g["terminal"]:
        return f"Call wait_for_generation with generation_id {g['id']}."
    if is_claim(g):
        return "Only a callback has reported this. Call get_generation in a few seconds to confirm."
    if g["state"] == "failed":
        return "It failed; `Reason` says why. Change the prompt or the inputs and create it again."
    return "It is finished. Give the URL to the user."
