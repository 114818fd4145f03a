"""Types of settings, with checks; each check says what would be right."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr
from pydantic_settings import NoDecode

_STORES = ("s3", "gs", "az")
_TO_ROTATE = 2  # secrets: the new one and the old one


def _base_url(url: str) -> str:
    """Require a URL that paths can be appended to."""
    if "@" in urlsplit(url).netloc:
        raise ValueError("must have no user and no password")
    if "?" in url or "#" in url:
        raise ValueError("must have no query and no fragment, as paths are appended to it")
    return url


def without_blanks(url: str) -> str:
    """Return a URL without the blanks around it.

    Raises:
        ValueError: it has blanks or control characters inside, with which no request can be made.
    """
    url = url.strip()
    if " " in url or not url.isprintable():
        raise ValueError("must have no blanks and no control characters")
    return url


def _origin(url: str) -> str:
    """Require an origin as browsers send it; a trailing slash is taken off."""
    url = url.removesuffix("/")
    if re.search(r"[/?#@\\]", url.partition("://")[2]):
        raise ValueError("must be origins such as https://host.example, with nothing after")
    return url


def _header_secret(secret: SecretStr) -> SecretStr:
    """Require what can be sent in an HTTP header. Empty: there is none, as Compose sets it."""
    if not re.fullmatch(r"[!-~]*", secret.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return secret


def _two_at_most(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Require no more secrets than a rotation needs, each of one line."""
    if len(secrets) > _TO_ROTATE:
        raise ValueError(f"has {len(secrets)} secrets; set two at most, the new and the old one")
    if not all(secret.get_secret_value().isprintable() for secret in secrets):
        raise ValueError("must be comma-separated and have no control characters")
    return secrets


def _archive_location(value: str) -> str:
    """Require a path, or the URL of a bucket in an object store that is supported.

    Whether the path can be a folder, and whether the store's library accepts the URL, is seen when
    the archive is opened.
    """
    scheme, separator, rest = value.partition("://")
    if separator and scheme.lower() not in _STORES:
        raise ValueError("must be a folder, s3://bucket/prefix, gs://… or az://…")
    if separator and not rest.partition("/")[0]:
        raise ValueError(f"needs a bucket or container, such as {scheme}://bucket/prefix")
    return value


def server_url(url: str, message: str) -> str:
    """Return the URL of a database server in libpq's form, whichever driver it names.

    Raises:
        ValueError: it is not one, with this message.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres", "postgresql+asyncpg") or not rest:
        raise ValueError(message)
    return f"postgresql{separator}{rest}"


BaseUrl = Annotated[str, AfterValidator(_base_url)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header_secret)]
ArchiveLocation = Annotated[str, AfterValidator(_archive_location)]
Listed = Annotated[tuple[str, ...], NoDecode]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode]
TokenList = Annotated[tuple[HeaderSecret, ...], NoDecode]
SecretPair = Annotated[tuple[SecretStr, ...], NoDecode, AfterValidator(_two_at_most)]
