"""The route of submissions: creates that passed through the gateway."""

from http import HTTPStatus
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from service.domain.submission import State
from service.storage.shape import Instant
from service.tracking.gateway import Gateway
from service.web.parameters import Strict
from service.web.problems import responses

router = APIRouter(prefix="/v1", tags=["submissions"])


_EXAMPLE: dict[str, JsonValue] = {
    "id": "01a21cb3-280d-765b-9306-9c6407686698",
    "state": "accepted",
    "generation_id": "45c9c16b-ce29-469e-962f-01dc16f3e451",
    "status": 201,
    "created_at": "2026-05-30T12:34:56.236000Z",
}


class SubmissionOut(BaseModel):
    """A create that passed through the gateway."""

    model_config = ConfigDict(
        from_attributes=True,
        title="Submission",
        json_schema_extra={"examples": [_EXAMPLE]},
    )

    id: str = Field(description="The `X-Submission-Id` of the answer to the create.")
    state: State = Field(
        description="sent: under way; accepted: Luma made the generation; refused: Luma refused "
        "it, or nothing was sent; unknown: Luma's answer was lost."
    )
    generation_id: str | None = Field(description="The generation, as soon as it is known.")
    status: int | None = Field(description="The HTTP status of the first answer; null until then.")
    created_at: Instant = Field(description="When the create was received.")


@router.get(
    "/submissions/{submission_id}",
    summary="Look up a create",
    operation_id="getSubmission",
    response_model=SubmissionOut,
    responses=responses(
        HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
    ),
)
async def get_submission(
    submission_id: str, _parameters: Annotated[Strict, Query()], request: Request
) -> SubmissionOut:
    """Tells what became of a create, also if its answer was lost."""
    gateway = cast("Gateway", request.app.state.gateway)
    return SubmissionOut.model_validate(await gateway.submission(submission_id))
