"""The check of `luma-tracker doctor` of searches for words."""

from service.cli.findings import Finding, Level
from service.cli.schema import contents
from service.config import Settings
from service.errors import TrackerError

_ABOUT = "search"
_NONE = (
    "words are looked for in every generation, because there is no index of words: `serve` creates "
    "it"
)
_NO_EXTENSION = (
    f"{_NONE}, if it may use the extension pg_trgm. Run `CREATE EXTENSION pg_trgm` in the database "
    "as its owner, then restart the service"
)


async def words(settings: Settings) -> Finding:
    """Check that words are found by their index."""
    try:
        found = await contents(settings, ())
    except TrackerError as error:
        return Finding(_ABOUT, str(error), Level.ERROR)
    if found.words_indexed:
        return Finding(_ABOUT, "words are found by an index")
    if found.words_indexed is False:
        return Finding(_ABOUT, "the index of words is being filled; until then, searches are slow")
    if settings.on_server:
        return Finding(_ABOUT, _NO_EXTENSION, Level.WARNING)
    return Finding(_ABOUT, _NONE)
