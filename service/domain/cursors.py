"""Cursors that are the id of the last item of a page."""

from uuid import UUID

from service.errors import InvalidInput


def parse_id_cursor(cursor: str | None) -> str | None:
    """Return the id that a page begins after; None: it is the first page.

    Raises:
        InvalidInput: the cursor is not an id.
    """
    if cursor is None:
        return None
    try:
        return str(UUID(cursor))
    except ValueError:
        message = f"The cursor {cursor[:64]!r} is invalid."
        hint = "Pass `next_cursor` unchanged, or start without a cursor."
        raise InvalidInput("cursor", message, hint) from None
