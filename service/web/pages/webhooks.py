"""`/webhooks`: the endpoints that are told of changes, and the attempts to tell them."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from service.domain.generation import KNOWN_STATES
from service.errors import InvalidInput, SettingsError
from service.tracking.webhooks.endpoints import CREATORS_ID, NewWebhook
from service.tracking.webhooks.schemas import AttemptsOut, WebhookOut
from service.web.pages.page import EVERY, PageRoute, show
from service.web.pages.paths import path_with
from service.web.parameters import AttemptParameters, TheTracker

router = APIRouter(prefix="/webhooks", include_in_schema=False, route_class=PageRoute)


@router.get("")
async def list_webhooks(request: Request, tracker: TheTracker) -> Response:
    """Show all endpoints, and a form to add one."""
    return await _list(request, tracker)


@router.post("")
async def add_webhook(
    request: Request,
    tracker: TheTracker,
    url: Annotated[str, Form()],
    states: Annotated[list[str] | None, Form()] = None,
    q: Annotated[str, Form()] = "",
) -> Response:
    """Add an endpoint, then show it; what is wrong is said beside the form."""
    wanted = NewWebhook(url=url.strip(), states=states or None, q=q.strip() or None)
    try:
        added = await tracker.webhooks.add(wanted)
    except (InvalidInput, SettingsError) as error:
        return await _list(request, tracker, error=error, wanted=wanted, status=422)
    return _to(added.id)


@router.get("/{webhook_id}")
async def show_webhook(
    webhook_id: str,
    request: Request,
    parameters: Annotated[AttemptParameters, Query()],
    tracker: TheTracker,
) -> Response:
    """Show an endpoint with the attempts to send to it, newest first."""
    creators = webhook_id == CREATORS_ID
    webhook = (
        None if creators else WebhookOut.model_validate(await tracker.webhooks.get(webhook_id))
    )
    limit, after = parameters.limit, await tracker.history.newest()
    found = await tracker.webhooks.attempts(webhook_id, before=parameters.cursor, limit=limit + 1)
    attempts = AttemptsOut.of(found, limit)
    path = f"/webhooks/{quote(webhook_id)}"
    return show(
        request,
        "webhook.html",
        title="Callback URLs of creators" if webhook is None else "Webhook",
        webhook=webhook,
        webhook_id=webhook_id,
        attempts=attempts,
        parameters=parameters,
        here=path,
        older=attempts.next_cursor and path_with(path, cursor=[attempts.next_cursor]),
        json_url=f"/v1{path}/attempts",
        live_after=after,
        live_every=EVERY,
    )


@router.post("/{webhook_id}/test")
async def send_test(webhook_id: str, tracker: TheTracker) -> Response:
    """Send a test message, then show what became of it."""
    await tracker.webhooks.test(webhook_id)
    return _to(webhook_id)


@router.post("/{webhook_id}/delete")
async def delete_webhook(webhook_id: str, tracker: TheTracker) -> Response:
    """Delete an endpoint."""
    await tracker.webhooks.remove(webhook_id)
    return RedirectResponse("/webhooks", 303)


@router.post("/{webhook_id}/attempts/{attempt_id}/replay")
async def replay(webhook_id: str, attempt_id: str, tracker: TheTracker) -> Response:
    """Send a message again, then show what became of it."""
    await tracker.webhooks.replay(webhook_id, attempt_id)
    return _to(webhook_id)


async def _list(
    request: Request,
    tracker: TheTracker,
    *,
    error: InvalidInput | SettingsError | None = None,
    wanted: NewWebhook | None = None,
    status: int = 200,
) -> Response:
    return show(
        request,
        "webhooks.html",
        title="Webhooks",
        status=status,
        webhooks=[WebhookOut.model_validate(each) for each in await tracker.webhooks.every()],
        states=KNOWN_STATES,
        error=error,
        wanted=wanted,
        json_url="/v1/webhooks",
    )


def _to(webhook_id: str) -> Response:
    return RedirectResponse(f"/webhooks/{quote(webhook_id)}", 303)
