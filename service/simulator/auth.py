"""The bearer key that both APIs require."""

from collections.abc import Awaitable, Callable, Collection

from fastapi import HTTPException, Request, status


def bearer_guard(api_keys: Collection[str] | None, refusal: str) -> Callable[..., Awaitable[None]]:
    """Return a dependency that answers 401 with `refusal` if the key is missing or unknown.

    Args:
        api_keys: the accepted keys; None accepts any key.
        refusal: the detail of the answer.
    """

    async def guard(request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        known = api_keys is None or key in api_keys
        if scheme.lower() != "bearer" or not key or not known:
            raise HTTPException(status.HTTP_401_UNAUTHORIZED, refusal)

    return guard
