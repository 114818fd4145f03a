"""Connections that only open to addresses that may be reached."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.domain.addresses import Address, Network, is_reachable
from service.tracking.dialling.reply import Resolve, Undeliverable

_CONNECT_TIMEOUT = 4.0  # seconds for one address, so that another one can be tried
_RESOLVERS = 32  # threads; a name server that does not answer must not delay other names

Connection = TypeVar("Connection")


class Guard:
    """Resolves names, and connects to those of their addresses that may be reached.

    Args:
        allowed: networks that may be reached although they are not public.
        resolve: how names are resolved.
    """

    def __init__(self, allowed: Sequence[Network], resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")

    def close(self) -> None:
        """Resolve no more names."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def connect(
        self, host: str, port: int, dial: Callable[[str], Awaitable[Connection]]
    ) -> Connection:
        """Connect to the first address of the host that may be reached and accepts.

        Args:
            host: a name or an address.
            port: of the service.
            dial: connects to an address; raises Undeliverable if it does not accept.

        Raises:
            Undeliverable: there is no such address.
        """
        failure = Undeliverable("The name has no address.")
        for address in await self._reachable(host, port):
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    return await dial(str(address))
            except Undeliverable as error:
                failure = error
            except TimeoutError:
                reason = f"not connected within {_CONNECT_TIMEOUT:g} s"
                failure = Undeliverable(f"The connection failed: {reason}.")
        raise failure

    async def _reachable(self, host: str, port: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._resolvers, self._resolve, host, port)
        except (OSError, ValueError) as error:
            raise Undeliverable("The name cannot be resolved.") from error
        reachable = [address for address in found if is_reachable(address, self._allowed)]
        if found and not reachable:
            raise Undeliverable(
                "The address is not public. Add its network to TRACKER_WEBHOOK_ALLOW if it may be "
                "called."
            )
        return list(dict.fromkeys(reachable))
