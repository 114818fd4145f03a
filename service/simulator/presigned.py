"""URLs that are valid for an hour, in S3's form, and S3's refusals of them."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from fastapi import status
from starlette.responses import Response

EXPIRES = 3600
"""Seconds until a URL expires."""

_DATE = "%Y%m%dT%H%M%SZ"


def presign(url: str, now: datetime) -> str:
    """Return `url` with a signature that expires an hour after `now`; different at every call."""
    now = now.astimezone(UTC)
    signature = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"SIMULATOR/{now:%Y%m%d}/us-east-1/s3/aws4_request",
        "X-Amz-Date": f"{now:{_DATE}}",
        "X-Amz-Expires": str(EXPIRES),
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": secrets.token_hex(32),
    }
    return f"{url}?{urlencode(signature)}"


def refusal(query: Mapping[str, str], now: datetime) -> Response | None:
    """Return the answer to a URL that is unsigned or expired; None: the URL is valid.

    The signature itself is not verified.
    """
    if "X-Amz-Signature" not in query:
        return s3_error(status.HTTP_403_FORBIDDEN, "AccessDenied", "Access Denied")
    signed_at = datetime.strptime(query["X-Amz-Date"], _DATE).replace(tzinfo=UTC)
    if now >= signed_at + timedelta(seconds=int(query["X-Amz-Expires"])):
        return s3_error(status.HTTP_403_FORBIDDEN, "AccessDenied", "Request has expired")
    return None


def s3_error(status_code: int, code: str, message: str) -> Response:
    """Return an error in S3's form, which is XML."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response(
        f'<?xml version="1.0" encoding="UTF-8"?>\n{body}', status_code, media_type="application/xml"
    )
