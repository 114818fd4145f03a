"""Text that others wrote, made safe to store and to show."""

from service.domain.redaction import without_tokens


def clean_text(value: str) -> str:
    """Without our tokens, and without what UTF-8 (lone surrogates) or PostgreSQL (NUL) refuse."""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")
    if "\0" in value:
        value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return without_tokens(value)


def one_line(value: str) -> str:
    """A text that others wrote, so that it can neither begin a line nor steer a terminal."""
    line = " ".join(value.split())
    if line.isprintable():  # nearly all are, and this is quicker than to look at each character
        return line
    return "".join(c if c.isprintable() else " " for c in line)
