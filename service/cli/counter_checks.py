"""The check of `luma-tracker doctor` of the counters that statistics are answered from."""

from service.cli.findings import Finding, Level
from service.cli.schema import differing_states
from service.config import Settings
from service.errors import TrackerError

_ABOUT = "statistics"


async def counts(settings: Settings) -> Finding:
    """Compare the counters with a recount of all generations."""
    try:
        differing = await differing_states(settings)
    except TrackerError as error:
        return Finding(_ABOUT, str(error), Level.ERROR)
    if not differing:
        return Finding(_ABOUT, "the counters equal a recount of all generations")
    message = (
        f"the counters of the states {', '.join(differing)} differ from a recount: an instance of "
        "an older version has written, or a recount is under way. Run `luma-tracker db recount` "
        "when all instances have this version"
    )
    return Finding(_ABOUT, message, Level.WARNING)
