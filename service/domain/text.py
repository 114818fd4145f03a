"""Make untrusted text safe to store and to print, and texts comparable that differ by case."""

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


def fold(value: str) -> str:
    """Return a text for comparisons that ignore case: one small letter for each character.

    This is Unicode's simple mapping, and σ for ς. `str.lower` makes two characters of İ, and ς of a
    Σ that ends a word. PostgreSQL has the same rule as `luma_fold`.
    """
    if value.isascii():  # the usual case, and quicker
        return value.lower()
    return value.replace("İ", "i").lower().replace("ς", "σ")
