"""Which URLs and addresses may be called: public ones, and those in allowed networks.

A URL is checked twice. `require_callable` refuses at once what can never be called. A name can
resolve to another address at any time, so `is_reachable` checks each address when it is dialled.
"""

import re
import unicodedata
from collections.abc import Sequence
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import SplitResult, urlsplit

from service.errors import InvalidInput

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2048  # characters
_SCHEMES = ("http", "https")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")  # letters of any script
_BRACKETED = re.compile(r"\[[^\]]*\](:[0-9]*)?")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_LONGEST_NAME = 253

# From IANA's registries of special-purpose addresses. The versions of Python do not agree on them.
_SPECIAL_4 = tuple(
    IPv4Network(block)
    for block in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")
_SPECIAL_6 = tuple(
    IPv6Network(block) for block in ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20")
)
_LOOPBACK_4, _LOOPBACK_6 = IPv4Network("127.0.0.0/8"), IPv6Address("::1")
_NAT64 = IPv6Network("64:ff9b::/96")


def require_callable(field: str, url: str, allowed: Sequence[Network]) -> None:
    """Refuse a URL that can never be called.

    The message shows at most the scheme, the host and the port: the rest may hold a secret.

    Args:
        field: the parameter that the error names.
        url: what is to be called.
        allowed: networks that may be called although they are not public.

    Raises:
        InvalidInput: it is not http(s), has no valid host or port, has credentials, or its host is
            an address that is neither public nor allowed.
    """
    parts = _split(field, url)
    if parts.scheme not in _SCHEMES:
        raise _refused(field, f"the scheme is {parts.scheme[:20]!r}, not http or https")
    if parts.username is not None or parts.password is not None:
        raise _refused(field, "it contains credentials")
    host = parts.hostname or ""
    address = _literal(field, host, parts.netloc)
    if address is not None and not is_reachable(address, allowed):
        raise InvalidInput(
            field,
            f"{field}: this URL cannot be called: the address {host[:60]} is not public.",
            "Use a public address, or add its network to TRACKER_WEBHOOK_ALLOW.",
        )


def is_reachable(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether an address may be called: it is public, or in one of the allowed networks.

    An IPv6 address that stands for an IPv4 address is as reachable as that address.
    """
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    if any(address in network for network in allowed):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_4)
    embedded = _embedded(address)
    if embedded is not None:
        return is_reachable(embedded, allowed)
    return address in _GLOBAL_6 and not any(address in network for network in _SPECIAL_6)


def is_loopback(host: str) -> bool:
    """Whether a host is spelt as this machine alone: `localhost`, `::1` or in `127.0.0.0/8`.

    Nothing is resolved. `is_loopback` of addresses is not asked, because the versions of Python do
    not agree on IPv6 addresses that stand for an IPv4 address.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return address in _LOOPBACK_4 or address == _LOOPBACK_6


def parse_networks(values: Sequence[str]) -> tuple[Network, ...]:
    """Parse networks such as `10.0.0.0/8`.

    Raises:
        ValueError: a value is not a network.
    """
    return tuple(ip_network(value) for value in values)


def _split(field: str, url: str) -> SplitResult:
    if len(url) > LONGEST_URL:
        raise _refused(field, f"it is longer than {LONGEST_URL} characters")
    if _UNSAFE.search(url):
        raise _refused(
            field, "it contains a space, a backslash or a character that URLs cannot have"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused(field, "the host or the port is malformed") from error
    if port == 0 or parts.netloc.endswith(":"):
        raise _refused(field, "the port is not between 1 and 65535")
    return parts


def _literal(field: str, host: str, netloc: str) -> Address | None:
    """Return the address that the host spells out; None if it is a name."""
    try:
        if _BRACKETED.fullmatch(netloc):
            return IPv6Address(host)
        # Resolvers accept other digits and dots too, for example those of full width.
        plain = unicodedata.normalize("NFKC", host).replace("\u3002", ".").removesuffix(".")
        if _ends_in_number(plain):
            return _ipv4(plain)
        _require_name(plain)
    except ValueError as error:
        raise _refused(field, f"{host[:60]!r} is not a host name or an address") from error
    return None


def _require_name(name: str) -> None:
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ValueError(name)


def _ends_in_number(host: str) -> bool:
    """Whether a resolver can read the host as an IPv4 address; no name ends in a number."""
    return _NUMBER.fullmatch(host.rsplit(".", 1)[-1]) is not None


def _ipv4(host: str) -> IPv4Address:
    """Parse an IPv4 address as `inet_aton` does: 1 to 4 numbers, decimal, octal or hexadecimal."""
    *leading, last = [_number(part) for part in host.split(".")]
    if len(leading) > 3 or any(part > 255 for part in leading):
        raise AddressValueError(host)
    rest = 4 - len(leading)
    if last >= 256**rest:
        raise AddressValueError(host)
    return IPv4Address(int.from_bytes(bytes(leading) + last.to_bytes(rest, "big"), "big"))


def _number(text: str) -> int:
    if not text.isascii() or not _NUMBER.fullmatch(text):
        raise AddressValueError(text)
    if text[:2].lower() == "0x":
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address behind a mapped, 6to4 or NAT64 address."""
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour


def _refused(field: str, why: str) -> InvalidInput:
    return InvalidInput(
        field,
        f"{field}: this URL cannot be called: {why}.",
        "Pass a URL such as https://host.example/path.",
    )
