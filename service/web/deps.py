"""What routes are given."""

from typing import Annotated, cast

from fastapi import Depends, Request

from service.tokens import CallbackTokens
from service.tracker import Tracker


def _tracker(request: Request) -> Tracker:
    return cast("Tracker", request.app.state.tracker)


def _tokens(request: Request) -> CallbackTokens:
    return cast("CallbackTokens", request.app.state.tokens)


TheTracker = Annotated[Tracker, Depends(_tracker)]
TheTokens = Annotated[CallbackTokens, Depends(_tokens)]
