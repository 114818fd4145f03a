"""The check of `luma-tracker doctor` of what is sent to endpoints."""

from datetime import datetime, timedelta

from service.cli.findings import Finding, Level
from service.cli.schema import contents
from service.config import Settings
from service.errors import TrackerError
from service.tracking.inspection import Contents

_LONG = timedelta(hours=1)
_MOST_NAMED = 5  # endpoints
_ABOUT = "webhooks"


async def webhooks(settings: Settings, now: datetime) -> Finding:
    """Check that what is to be sent is sent."""
    try:
        found = await contents(settings, ())
    except TrackerError as error:
        return Finding(_ABOUT, str(error), Level.ERROR)
    problems = _problems(settings, found, now)
    if problems:
        level = Level.ERROR if _is_unsigned(settings, found) else Level.WARNING
        return Finding(_ABOUT, "; ".join(problems), level)
    return Finding(_ABOUT, "no message has waited for long, and no endpoint fails or is disabled")


def _is_unsigned(settings: Settings, found: Contents) -> bool:
    secret = settings.webhook_secret or not settings.on_server
    return bool(found.oldest_waiting and not secret)


def _problems(settings: Settings, found: Contents, now: datetime) -> list[str]:
    problems = []
    if _is_unsigned(settings, found):
        problems.append(
            "messages wait because TRACKER_WEBHOOK_SECRET is not set: set it to whsec_ and the "
            "base64 of 32 random bytes, the same on every instance"
        )
    if found.oldest_waiting and now - found.oldest_waiting > _LONG:
        problems.append(
            f"a message has waited since {found.oldest_waiting:%Y-%m-%d %H:%M} UTC: see why with "
            "`luma-tracker webhooks attempts ID` (`creators` for callback URLs)"
        )
    if found.webhooks_disabled:
        problems.append(
            f"{found.webhooks_disabled} endpoint(s) answered 410 and are disabled: remove them "
            "with `luma-tracker webhooks remove ID`"
        )
    problems += [
        f"the newest attempt failed: see why with `luma-tracker webhooks attempts {webhook_id}`"
        for webhook_id in found.webhooks_failing[:_MOST_NAMED]
    ]
    return problems
