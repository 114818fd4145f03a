"""From the name in the public URL to an open connection: DNS, TCP and TLS."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import SplitResult

from service.cli.findings import Finding, Level
from service.domain.addresses import is_loopback

_PATIENCE = 10.0  # seconds
_NAME, _CONNECTION = "name", "connection"


async def findings(url: SplitResult) -> AsyncIterator[Finding]:
    """Yield a finding for each step; an error is the last."""
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    resolved = await _resolved(host, port)
    yield resolved
    if resolved.level is not Level.ERROR:
        yield await _connected(host, port, secure=url.scheme == "https")


async def _resolved(host: str, port: int) -> Finding:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_PATIENCE):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        message = (
            f"{host} has no address ({reason}): check the spelling of TRACKER_PUBLIC_URL, the "
            "DNS record, and that the tunnel that made the name still runs"
        )
        return Finding(_NAME, message, Level.ERROR)
    addresses = sorted({str(entry[4][0]) for entry in found})
    shown = host if addresses == [host] else f"{host} is {', '.join(addresses)}"
    if not any(ip_address(each.partition("%")[0]).is_global for each in addresses):
        message = f"{shown}: no public address, so Luma cannot call it from outside"
        return Finding(_NAME, message, Level.WARNING)
    return Finding(_NAME, shown)


async def _connected(host: str, port: int, *, secure: bool) -> Finding:
    context = ssl.create_default_context() if secure else None
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError) as error:  # those of TLS are OSErrors too
        return Finding(_CONNECTION, _reason(host, port, error), Level.ERROR)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    if not secure:
        message = f"port {port} is open, without TLS: whoever listens can read the callback token"
        return Finding(_CONNECTION, message, Level.OK if is_loopback(host) else Level.WARNING)
    return Finding(_CONNECTION, f"port {port} is open, and the certificate is valid")


def _reason(host: str, port: int, error: OSError | TimeoutError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {host} is not accepted ({error.verify_message}): renew it, or "
            "have it issued for this name by a public authority, with all intermediate certificates"
        )
    if isinstance(error, ssl.SSLError):
        return (
            f"{host}:{port} speaks no TLS ({error.reason or 'handshake failed'}): check the port, "
            "or use http:// behind a proxy that has the certificate"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens at {host}:{port}: start the tunnel or the proxy, or check the port"
    return (
        f"{host}:{port} does not answer ({getattr(error, 'strerror', None) or 'timeout'}): check "
        "firewall and port forwarding; some routers do not let a machine call its own address"
    )
