"""The HTTP client: every failure of a request becomes one of our errors."""

import contextlib
import gzip
import json
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from service.errors import (
    NotFound,
    TrackerError,
    UpstreamNonsense,
    UpstreamRefused,
    UpstreamUnavailable,
)
from service.luma import LumaClient
from service.simulator import Fault, Luma

ME = "dream_machine"


@pytest.fixture
async def client() -> AsyncIterator[LumaClient]:
    """A client with a timeout of half a second."""
    async with LumaClient(0.5) as opened:
        yield opened


@pytest.fixture
async def patient() -> AsyncIterator[LumaClient]:
    """A client for large answers, which take long on a busy machine."""
    async with LumaClient(20) as opened:
        yield opened


async def refusal(client: LumaClient, luma: Luma, fault: Fault) -> TrackerError:
    """Return the error of a request that the simulator answers with `fault`."""
    luma.fault(fault)
    with pytest.raises(TrackerError) as error:
        await client.get(ME, f"{luma.dream_machine_url}/ping", {})
    return error.value


async def test_an_answer_comes_byte_for_byte(client: LumaClient, luma: Luma) -> None:
    luma.fault(Fault(body=b"\x00\xffwhatever", content_type="text/html"))
    assert await client.get(ME, f"{luma.dream_machine_url}/ping", {}) == b"\x00\xffwhatever"


async def test_the_headers_are_sent(client: LumaClient, luma: Luma) -> None:
    headers = {"Authorization": "Bearer luma-key"}
    body = await client.get(ME, f"{luma.dream_machine_url}/ping", headers)
    assert json.loads(body) == {"message": "pong"}
    with pytest.raises(UpstreamRefused):
        await client.get(ME, f"{luma.dream_machine_url}/ping", {})


async def test_404_is_not_found(client: LumaClient, luma: Luma) -> None:
    error = await refusal(client, luma, Fault(status=404))
    assert isinstance(error, NotFound)


async def test_any_other_no_is_a_refusal(client: LumaClient, luma: Luma) -> None:
    for status in (400, 401, 402, 403, 405, 409, 410, 413, 422, 451):
        error = await refusal(client, luma, Fault(status=status, body=b'{"detail": "no, thanks"}'))
        assert isinstance(error, UpstreamRefused), status
        assert error.upstream == ME
        assert str(error) == f"{ME} answered {status}: no, thanks."


async def test_a_yes_of_another_kind_is_nonsense(client: LumaClient, luma: Luma) -> None:
    location = {"Location": f"{luma.agents_url}/elsewhere"}
    for status in (201, 202, 204, 206, 300, 301, 302, 304, 307, 308):
        error = await refusal(client, luma, Fault(status=status, body=b"", headers=location))
        assert isinstance(error, UpstreamNonsense), status
    assert luma.count(path="elsewhere") == 0, "a redirect would take the key elsewhere"


async def test_what_may_pass_is_unavailable(client: LumaClient, luma: Luma) -> None:
    for status in (429, 500, 502, 503, 504, 529, 599):
        error = await refusal(client, luma, Fault(status=status))
        assert isinstance(error, UpstreamUnavailable), status
        assert (error.upstream, error.retry_after) == (ME, 5.0)


async def test_retry_after_is_obeyed_within_reason(client: LumaClient, luma: Luma) -> None:
    wanted = {
        "12": 12.0,
        "0": 1.0,
        "-5": 1.0,
        "1.5": 1.5,
        "999999": 3600.0,
        "inf": 3600.0,
        "soon": 5.0,
        "": 5.0,
        "Thu, 01 Jan 1970 00:00:00 GMT": 1.0,
        "Sat, 30 May 2099 12:00:00 GMT": 3600.0,
        "Sat, 30 May 2099 12:00:00 -0000": 3600.0,
        "Sat, 99 May 99999 12:00:00 GMT": 5.0,
    }
    for value, seconds in wanted.items():
        for status in (429, 503):
            fault = Fault(status=status, headers={"Retry-After": value})
            error = await refusal(client, luma, fault)
            assert isinstance(error, UpstreamUnavailable)
            assert error.retry_after == seconds, value


async def test_a_429_says_how_many_requests_luma_allows(client: LumaClient, luma: Luma) -> None:
    limiting = {"Retry-After": "12", "X-RateLimit-Limit": "30", "X-RateLimit-Remaining": "0"}
    body = b'{"detail": "Rate limit exceeded"}'
    error = await refusal(client, luma, Fault(status=429, headers=limiting, body=body))
    assert isinstance(error, UpstreamUnavailable)
    assert (error.retry_after, error.limit) == (12, 30)

    body = b'{"detail": "Too many concurrent jobs"}'
    error = await refusal(client, luma, Fault(status=429, headers={"Retry-After": "60"}, body=body))
    assert isinstance(error, UpstreamUnavailable)
    assert (error.retry_after, error.limit) == (60, None)


@pytest.mark.parametrize("value", ["", "many", "-1", "1e3", "30, 30", "²", "9" * 5000])
async def test_a_limit_that_is_no_number_is_none(
    client: LumaClient, luma: Luma, value: str
) -> None:
    fault = Fault(status=429, headers={"X-RateLimit-Limit": value.encode().decode("latin-1")})
    error = await refusal(client, luma, fault)
    assert isinstance(error, UpstreamUnavailable)
    assert error.limit is None


async def test_a_retry_after_that_is_no_number_is_as_good_as_none(
    client: LumaClient, luma: Luma
) -> None:
    error = await refusal(client, luma, Fault(status=429, headers={"Retry-After": "nan"}))
    assert isinstance(error, UpstreamUnavailable)
    assert error.retry_after == 5.0


async def test_retry_after_may_be_a_date(client: LumaClient, luma: Luma) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    error = await refusal(client, luma, Fault(status=429, headers={"Retry-After": at}))
    assert isinstance(error, UpstreamUnavailable)
    assert 80 < error.retry_after <= 90


async def test_what_luma_says_of_an_error_is_passed_on(client: LumaClient, luma: Luma) -> None:
    wanted = {
        b'{"detail": "400: Loop is not supported"}': ": 400: Loop is not supported.",
        b'{"detail": "It is over."}': ": It is over.",
        b'{"detail": [{"loc": ["body"], "msg": "no"}]}': ': [{"loc": ["body"], "msg": "no"}].',
        b'{"detail": null}': ": null.",
        b'{"error": "x"}': ".",
        b"[]": ".",
        b'"detail"': ".",
        b"<html>a whole page</html>": ".",
        b"\xff\xfe\xfa": ".",
        b"": ".",
        b"[" * 100_000: ".",
    }
    for body, told in wanted.items():
        error = await refusal(client, luma, Fault(status=400, body=body))
        assert str(error) == f"{ME} answered 400{told}"


async def test_a_long_detail_is_cut(client: LumaClient, luma: Luma) -> None:
    body = json.dumps({"detail": "x" * 10_000}).encode()
    assert len(str(await refusal(client, luma, Fault(status=400, body=body)))) < 400


@pytest.mark.parametrize("body", [b'{"detail": "\\ud800"}', b'{"detail": ["\\udfff"]}'])
async def test_what_luma_says_of_an_error_can_always_be_shown(
    client: LumaClient, luma: Luma, body: bytes
) -> None:
    error = await refusal(client, luma, Fault(status=400, body=body))
    assert str(error).encode()


async def test_no_answer_in_time_is_unavailable(client: LumaClient, luma: Luma) -> None:
    error = await refusal(client, luma, Fault(delay=1.0))
    assert isinstance(error, UpstreamUnavailable)
    assert str(error) == f"{ME} did not answer within 0.5 s."


async def test_a_dropped_connection_is_unavailable(client: LumaClient, luma: Luma) -> None:
    error = await refusal(client, luma, Fault(drop=True))
    assert isinstance(error, UpstreamUnavailable)
    assert "could not be reached" in str(error)


async def test_a_refused_connection_is_unavailable(client: LumaClient) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # and never listens
        port = unheard.getsockname()[1]
        with pytest.raises(UpstreamUnavailable, match="could not be reached"):
            await client.get(ME, f"http://127.0.0.1:{port}/ping", {})


@pytest.mark.parametrize("url", ["http://[", "nowhere", "ftp://127.0.0.1/"])
async def test_an_address_that_cannot_be_is_unavailable(client: LumaClient, url: str) -> None:
    with pytest.raises(UpstreamUnavailable):
        await client.get(ME, url, {})


async def test_a_body_that_is_not_compressed_as_it_says_is_nonsense(
    client: LumaClient, luma: Luma
) -> None:
    error = await refusal(
        client, luma, Fault(body=b"not gzip", headers={"Content-Encoding": "gzip"})
    )
    assert isinstance(error, UpstreamNonsense)


async def test_reaches_says_whether_an_address_answers_200(client: LumaClient, luma: Luma) -> None:
    luma.fault(Fault(body=b"{}"))
    assert await client.reaches(f"{luma.dream_machine_url}/ping")
    assert not await client.reaches(f"{luma.dream_machine_url}/nothing")
    assert not await client.reaches("http://[")
    luma.fault(Fault(delay=1.0))
    assert not await client.reaches(f"{luma.dream_machine_url}/ping")
    luma.fault(Fault(drop=True))
    assert not await client.reaches(f"{luma.dream_machine_url}/ping")


LARGE = b" " * 5_000_000
PACKED: list[tuple[Callable[[], bytes], str]] = [
    (lambda: LARGE, "identity"),
    (lambda: gzip.compress(LARGE), "gzip"),
    (lambda: gzip.compress(LARGE * 20), "gzip"),
]


@pytest.mark.parametrize(("pack", "encoding"), PACKED, ids=["plain", "packed", "packed well"])
async def test_an_answer_larger_than_any_of_lumas_is_not_read_to_its_end(
    patient: LumaClient, luma: Luma, pack: Callable[[], bytes], encoding: str
) -> None:
    body = pack()
    error = await refusal(patient, luma, Fault(body=body, headers={"Content-Encoding": encoding}))
    assert isinstance(error, UpstreamNonsense)
    assert str(error) == f"{ME} answered with more than 4194304 bytes."


async def test_an_answer_that_grows_when_it_is_unpacked_takes_no_memory(
    patient: LumaClient, luma: Luma
) -> None:
    """The body is 100 MB, compressed twice to about 400 bytes."""
    body = gzip.compress(gzip.compress(bytes(100_000_000)))
    for encoding in ("gzip, gzip", "gzip"):
        luma.fault(Fault(body=body, headers={"Content-Encoding": encoding}))
        tracemalloc.start()
        with contextlib.suppress(UpstreamNonsense):
            await patient.get(ME, f"{luma.dream_machine_url}/ping", {})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 20_000_000, encoding


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (zlib.compress(b"said"), "deflate"),
        (b"said", "br"),
        (gzip.compress(gzip.compress(b"said")), "gzip, gzip"),
        (gzip.compress(b"said" * 1_000)[:-9], "gzip"),
    ],
    ids=["deflate", "br", "twice", "cut off"],
)
async def test_an_encoding_that_was_not_asked_for_is_nonsense(
    client: LumaClient, luma: Luma, body: bytes, encoding: str
) -> None:
    error = await refusal(client, luma, Fault(body=body, headers={"Content-Encoding": encoding}))
    assert isinstance(error, UpstreamNonsense)
    assert "encoding" in str(error)


@pytest.mark.parametrize(("body", "encoding"), [(LARGE, "identity"), (b"not gzip", "gzip")])
async def test_an_error_is_what_its_code_says_whatever_its_body(
    patient: LumaClient, luma: Luma, body: bytes, encoding: str
) -> None:
    fault = Fault(status=503, body=body, headers={"Content-Encoding": encoding})
    error = await refusal(patient, luma, fault)
    assert isinstance(error, UpstreamUnavailable)
    assert str(error) == f"{ME} answered 503."


async def test_an_answer_that_is_packed_is_unpacked(client: LumaClient, luma: Luma) -> None:
    luma.fault(Fault(body=gzip.compress(b"said"), headers={"Content-Encoding": "gzip"}))
    assert await client.get(ME, f"{luma.dream_machine_url}/ping", {}) == b"said"
