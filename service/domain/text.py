"""Make untrusted text safe to store and to print."""

from service.domain.redaction import without_tokens


def clean_text(value: str) -> str:
    """Redact callback tokens; replace what UTF-8 (lone surrogates) or PostgreSQL (NUL) rejects."""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")
    if "\0" in value:
        value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return without_tokens(value)


def one_line(value: str) -> str:
    """Replace line breaks and control characters with spaces, so that text cannot start a new line
    or control a terminal."""
    line = " ".join(value.split())
    if line.isprintable():  # the usual case, faster than checking each character
        return line
    return "".join(c if c.isprintable() else " " for c in line)
