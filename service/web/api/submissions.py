"""The route of submissions: creates that passed through the gateway."""

from http import HTTPStatus
from typing import Annotated, cast

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from service.domain.submission import State
from service.storage.shape import Instant
from service.tracking.gateway import Gateway
from service.web.problems import responses

router = APIRouter(prefix="/v1", tags=["submissions"])


class SubmissionOut(BaseModel):
    """A create that passed through the gateway."""

    model_config = ConfigDict(from_attributes=True, title="Submission")

    id: str = Field(description="The `X-Submission-Id` of the answer to the create.")
    state: State = Field(
        description="sent: under way; accepted: Luma made the generation; refused: Luma refused "
        "it, or nothing was sent; unknown: Luma's answer was lost."
    )
    generation_id: str | None = Field(description="The generation, as soon as it is known.")
    status: int | None = Field(description="The HTTP status of the answer, or null.")
    created_at: Instant = Field(description="When the create was received.")


@router.get(
    "/submissions/{submission_id}",
    summary="Look up a create",
    operation_id="getSubmission",
    response_model=SubmissionOut,
    responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def get_submission(
    submission_id: Annotated[str, Path(max_length=64)], request: Request
) -> SubmissionOut:
    """Tells what became of a create, also if its answer was lost."""
    gateway = cast("Gateway", request.app.state.gateway)
    return SubmissionOut.model_validate(await gateway.submission(submission_id))
