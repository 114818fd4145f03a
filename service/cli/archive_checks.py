"""The check of `luma-tracker doctor` of the archive."""

from service.cli.findings import Finding, Level
from service.cli.schema import revisions
from service.config import Settings
from service.errors import TrackerError

_ABOUT = "archive"


async def archive(settings: Settings) -> Finding:
    """Check that the archive can be written, and that nothing was given up."""
    from service.bootstrap import open_tracker
    from service.tracking.archive.library import Library

    if settings.archive is None:
        return Finding(_ABOUT, "TRACKER_ARCHIVE is not set: assets are not kept")
    try:
        await Library(settings.archive).check()
        found = await revisions(settings)
        if found.current != found.head:
            return Finding(_ABOUT, f"{settings.archive} can be written")
        async with open_tracker(settings) as tracker:
            standing = await tracker.archive.standing()
    except TrackerError as error:
        return Finding(_ABOUT, f"{error} {error.hint}".rstrip(), Level.ERROR)
    if standing.given_up:
        message = (
            f"{standing.given_up} generation(s) could not be copied: see why with "
            "`luma-tracker archive --missing`, and try again with `luma-tracker archive`"
        )
        return Finding(_ABOUT, message, Level.WARNING)
    return Finding(_ABOUT, f"{settings.archive} can be written; {standing.bytes} bytes are kept")
