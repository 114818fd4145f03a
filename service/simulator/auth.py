"""The bearer key that both APIs want."""

from collections.abc import Awaitable, Callable, Collection
from typing import Annotated

from fastapi import Header, HTTPException, status


def bearer_guard(api_keys: Collection[str] | None, refusal: str) -> Callable[..., Awaitable[None]]:
    """A dependency that answers 401 `refusal` without a key, or with none of `api_keys`.

    None: any key will do.
    """

    async def guard(authorization: Annotated[str | None, Header()] = None) -> None:
        scheme, _, key = (authorization or "").partition(" ")
        known = api_keys is None or key in api_keys
        if scheme.lower() != "bearer" or not key or not known:
            raise HTTPException(status.HTTP_401_UNAUTHORIZED, refusal)

    return guard
