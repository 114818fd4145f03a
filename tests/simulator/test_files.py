"""The Files API as the `luma_agents` SDK sees it, and the storage behind its upload URLs."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import luma_agents
import pytest
from luma_agents.types import CreateFileResponse

from service.simulator import Luma
from tests.simulator.memory import FLAT, LARGE, large_body, peak_memory
from tests.waiting import until

UNKNOWN = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"
INLINE = {"file": ("lake.png", b"bytes", "image/png")}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(headers={"Authorization": "Bearer key"}, trust_env=False) as client:
        yield client


def test_a_presigned_upload_is_ready_after_it_is_completed(
    luma: Luma, agents_sdk: luma_agents.Luma, http: httpx.Client
) -> None:
    created = agents_sdk.files.create(
        mime_type="image/png", size_bytes=5, filename="lake.png", purpose="reference", user_id="me"
    )
    assert (created.id, created.state) == (created.file.id, "pending")
    assert _put(http, created, b"bytes").status_code == 200
    luma.advance(10)
    assert agents_sdk.files.get(created.id).state == "pending", "it waits for `complete`"
    assert agents_sdk.files.complete(created.id).state == "pending"
    luma.advance(0.5)
    ready = agents_sdk.files.get(created.id)
    assert ready.state == "ready"
    assert (ready.filename, ready.purpose, ready.user_id) == ("lake.png", "reference", "me")
    assert (ready.mime_type, ready.size_bytes) == ("image/png", 5)
    assert ready.created_at == datetime(2026, 5, 30, 12, 34, 56, tzinfo=UTC)


def test_an_inline_upload_is_ready_by_itself(
    luma: Luma, agents_sdk: luma_agents.Luma, http: httpx.Client
) -> None:
    answer = http.post(f"{luma.agents_url}/files", files=INLINE, data={"purpose": "reference"})
    assert (answer.status_code, answer.json()["upload"]) == (201, None)
    luma.advance(0.5)
    file = agents_sdk.files.get(answer.json()["id"])
    assert (file.state, file.filename, file.purpose) == ("ready", "lake.png", "reference")
    assert (file.mime_type, file.size_bytes) == ("image/png", 5)


def test_uploaded_bytes_can_be_read_back(agents_sdk: luma_agents.Luma, http: httpx.Client) -> None:
    created = agents_sdk.files.create(mime_type="image/png", size_bytes=5)
    assert created.upload is not None
    assert http.get(created.upload.url).status_code == 404
    _put(http, created, b"bytes")
    answer = http.get(created.upload.url)
    assert (answer.content, answer.headers["content-type"]) == (b"bytes", "image/png")


def test_a_large_upload_streams_in_flat_memory(
    agents_sdk: luma_agents.Luma, http: httpx.Client
) -> None:
    created = agents_sdk.files.create(mime_type="video/mp4", size_bytes=LARGE)
    assert created.upload is not None
    before = peak_memory()
    sent, received = hashlib.sha256(), hashlib.sha256()
    headers = {**(created.upload.headers or {}), "Content-Length": str(LARGE)}
    http.put(created.upload.url, content=large_body(sent), headers=headers)
    with http.stream("GET", created.upload.url) as answer:
        for part in answer.iter_bytes():
            received.update(part)
    assert received.digest() == sent.digest()
    assert peak_memory() - before < FLAT


def test_an_upload_that_is_broken_off_stores_nothing(
    luma: Luma,
    agents_sdk: luma_agents.Luma,
    http: httpx.Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"by"
        until(lambda: luma.requests[-1].body == b"by")
        raise ConnectionError

    created = agents_sdk.files.create(mime_type="image/png", size_bytes=5)
    assert created.upload is not None
    headers = {**(created.upload.headers or {}), "Content-Length": "5"}
    with pytest.raises(ConnectionError):
        http.put(created.upload.url, content=broken(), headers=headers)
    assert http.get(created.upload.url).status_code == 404
    assert caplog.records == []


def test_an_upload_url_expires_after_an_hour(
    luma: Luma, agents_sdk: luma_agents.Luma, http: httpx.Client
) -> None:
    created = agents_sdk.files.create(mime_type="image/png", size_bytes=5)
    assert created.upload is not None
    assert created.upload.expires_at - created.file.created_at == timedelta(hours=1)
    luma.advance(3600)
    refused = _put(http, created, b"bytes")
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/xml")
    assert "Request has expired" in refused.text


def test_an_upload_needs_the_signed_url_and_its_headers(
    agents_sdk: luma_agents.Luma, http: httpx.Client
) -> None:
    created = agents_sdk.files.create(mime_type="image/png", size_bytes=5)
    assert created.upload is not None
    url = httpx.URL(created.upload.url)
    assert "Access Denied" in http.put(url.copy_with(query=None), content=b"bytes").text
    assert "SignatureDoesNotMatch" in http.put(url, content=b"bytes").text
    assert http.put(url.copy_with(path=f"/storage/{UNKNOWN}")).status_code == 404


def test_completing_without_bytes_is_refused(agents_sdk: luma_agents.Luma) -> None:
    created = agents_sdk.files.create(mime_type="image/png", size_bytes=5)
    with pytest.raises(luma_agents.BadRequestError, match="No bytes were uploaded"):
        agents_sdk.files.complete(created.id)


def test_bytes_of_another_size_than_announced_fail(
    luma: Luma, agents_sdk: luma_agents.Luma, http: httpx.Client
) -> None:
    created = agents_sdk.files.create(mime_type="image/png", size_bytes=7)
    _put(http, created, b"bytes")
    agents_sdk.files.complete(created.id)
    luma.advance(0.5)
    failed = agents_sdk.files.get(created.id)
    assert failed.state == "failed"
    assert failed.failure_reason == "5 bytes were uploaded, 7 were announced"


def test_the_list_is_paged_newest_first_by_a_cursor(agents_sdk: luma_agents.Luma) -> None:
    ids = [agents_sdk.files.create(mime_type="x", size_bytes=1).id for _ in range(5)]
    first = agents_sdk.files.list(limit=2)
    assert first.next_cursor
    added = agents_sdk.files.create(mime_type="x", size_bytes=1)
    second = agents_sdk.files.list(limit=3, cursor=first.next_cursor)
    assert [each.id for each in [*first.data, *second.data]] == ids[::-1]
    assert (first.has_more, second.has_more, second.next_cursor) == (True, False, None)
    assert agents_sdk.files.list(limit=1).data[0].id == added.id


def test_the_list_can_be_filtered(agents_sdk: luma_agents.Luma) -> None:
    ids = [
        agents_sdk.files.create(mime_type="x", size_bytes=1, purpose=purpose).id
        for purpose in ("input", "reference")
    ]
    assert [each.id for each in agents_sdk.files.list(purpose="reference").data] == ids[1:]
    agents_sdk.files.delete(ids[0])
    assert [each.id for each in agents_sdk.files.list().data] == ids[1:]
    assert [each.id for each in agents_sdk.files.list(state="deleted").data] == ids[:1]
    assert agents_sdk.files.list(state="ready").data == []


def test_a_deleted_file_says_when(luma: Luma, agents_sdk: luma_agents.Luma) -> None:
    created = agents_sdk.files.create(mime_type="x", size_bytes=1)
    luma.advance(4)
    response = agents_sdk.files.with_raw_response.delete(created.id)
    assert (response.status_code, response.http_response.content) == (204, b"")
    deleted = agents_sdk.files.get(created.id)
    assert deleted.state == "deleted"
    assert deleted.deleted_at == datetime(2026, 5, 30, 12, 35, 0, tzinfo=UTC)


def test_what_is_unknown_or_invalid_is_refused_in_one_string(
    luma: Luma, agents_sdk: luma_agents.Luma, http: httpx.Client
) -> None:
    files = agents_sdk.files
    for ask in (files.get, files.delete, files.complete):
        with pytest.raises(luma_agents.NotFoundError, match="File not found"):
            ask(UNKNOWN)
    with pytest.raises(luma_agents.BadRequestError, match="Invalid cursor"):
        files.list(cursor="%")
    with pytest.raises(luma_agents.UnprocessableEntityError, match=r"body\.size_bytes: "):
        files.create(mime_type="x", size_bytes=0)
    nothing = http.post(f"{luma.agents_url}/files", files={"other": b""})
    assert nothing.json() == {"detail": "body.file: Field required"}
    assert nothing.headers["X-Request-Id"]
    assert nothing.headers["X-API-Version"] == "2026-04-01"


def _put(http: httpx.Client, created: CreateFileResponse, content: bytes) -> httpx.Response:
    """PUT the bytes as the answer says."""
    assert created.upload is not None
    upload = created.upload
    return http.request(upload.method, upload.url, content=content, headers=upload.headers)
