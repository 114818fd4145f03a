"""What routes are given."""

from typing import Annotated, cast

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from service.tokens import CallbackTokens
from service.tracker import Tracker


class Strict(BaseModel):
    """Query parameters, of which an unknown one is an error: it would silently do nothing."""

    model_config = ConfigDict(extra="forbid")


def _tracker(request: Request) -> Tracker:
    return cast("Tracker", request.app.state.tracker)


def _tokens(request: Request) -> CallbackTokens:
    return cast("CallbackTokens", request.app.state.tokens)


def _public_url(request: Request) -> str | None:
    return cast("str | None", request.app.state.public_url)


TheTracker = Annotated[Tracker, Depends(_tracker)]
TheTokens = Annotated[CallbackTokens, Depends(_tokens)]
ThePublicUrl = Annotated[str | None, Depends(_public_url)]
