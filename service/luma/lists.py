"""Parses a page of an upstream's list of generations.

Luma echoes the callback URL of each generation. If it is one of ours, its nonce says which create
the generation is from, even if the answer to that create was lost.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from service.domain.generation import Observation, Source
from service.domain.redaction import nonce_in, without_tokens
from service.errors import Unreadable
from service.luma.bodies import parse_list
from service.luma.reading import mapping

Reader = Callable[[Mapping[str, Any], Source, datetime], Observation]


class Listed(NamedTuple):
    """One generation of a list."""

    observation: Observation
    nonce: str | None
    """The nonce of the single-use callback URL that it was created with, if it is one of ours."""


class ListPage(NamedTuple):
    """One page of a list, in Luma's order. Items without a usable id are left out."""

    items: tuple[Listed, ...]
    has_more: bool


def read_page(
    body: bytes, read: Reader, source: Source, at: datetime, *, limit: int | None = None
) -> ListPage:
    """Parse a page, received at `at`.

    Args:
        body: the answer of the upstream.
        read: parses one generation.
        source: the source of the observations.
        at: when the page was received.
        limit: how many items were requested. It tells whether there are more if Luma does not.

    Raises:
        Unreadable: the body is not a page of a list.
    """
    page, items = parse_list(body, "generations")
    listed = tuple(found for item in items if (found := _listed(*item, read, source, at)))
    has_more = page.get("has_more")
    if not isinstance(has_more, bool):
        has_more = limit is not None and len(items) >= limit
    return ListPage(listed, has_more)


def with_own_callback_urls(body: bytes, own: Mapping[str, str | None]) -> bytes:
    """Replace callback URLs of ours in a page by those of the generations' creators, or null.

    Args:
        body: a page, as the upstream sent it.
        own: the creators' URLs, by generation id.
    """
    page, replaced = json.loads(body), False
    for item in page["generations"]:
        request = item.get("request") if isinstance(item, dict) else None
        if isinstance(request, dict) and _has_token(request.get("callback_url")):
            request["callback_url"] = own.get(str(item.get("id")))  # an id can be anything
            replaced = True
    return json.dumps(page).encode() if replaced else body


def _has_token(callback_url: object) -> bool:
    return isinstance(callback_url, str) and without_tokens(callback_url) != callback_url


def _listed(received: Any, clean: Any, read: Reader, source: Source, at: datetime) -> Listed | None:
    url = mapping(mapping(received).get("request")).get("callback_url")
    try:
        return Listed(read(mapping(clean), source, at), nonce_in(str(url)))
    except Unreadable:
        return None
