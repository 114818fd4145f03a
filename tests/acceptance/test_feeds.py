"""A feed of a real process that stops meanwhile."""

import httpx
import pytest

from tests.acceptance.conftest import KEYLESS, UNASKED
from tests.acceptance.talk import body_of, new_id
from tests.acceptance.test_serve import Start
from tests.databases import copy_generation


@pytest.mark.thorough
def test_a_stop_cuts_a_feed_that_nobody_reads(start_service: Start) -> None:
    service = start_service(**KEYLESS, **UNASKED)
    body = {**body_of(new_id(), "failed"), "failure_reason": "x" * 10_000}
    assert httpx.post(service.callback_url, json=body).status_code == 200
    copy_generation(service.database, 3999)

    with httpx.stream("GET", f"{service.url}/v1/generations?format=csv", timeout=30) as feed:
        chunks = feed.iter_bytes(1000)
        assert next(chunks).startswith(b"id,upstream,state,")
        service.stop()
        with pytest.raises(httpx.TransportError):
            b"".join(chunks)

    assert service.process.returncode == 0
    assert "event=feed_broken_off" in service.said
    assert "Traceback" not in service.said
