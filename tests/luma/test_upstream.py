"""Fetching from one upstream, and from all of them concurrently."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from service.domain.generation import Source
from service.domain.request_budget import Rate
from service.errors import (
    NotFound,
    NotSent,
    UpstreamError,
    UpstreamNonsense,
    UpstreamRefused,
    UpstreamUnavailable,
)
from service.luma import (
    AdmissionControl,
    LumaClient,
    Upstream,
    fetch_from_any,
)
from service.luma.relay import Outgoing
from service.simulator import Fault, Luma
from tests.conftest import Clock

RATE = Rate.parse("1000/second")


@pytest.fixture
async def upstreams(luma: Luma, clock: Clock) -> AsyncIterator[list[Upstream]]:
    """Both upstreams, with a long timeout and a large request budget."""
    one, other = AdmissionControl("dream_machine", RATE), AdmissionControl("agents", RATE)
    async with LumaClient(5) as client:
        yield [
            Upstream("dream_machine", luma.dream_machine_url, "luma-key", client, one, clock),
            Upstream("agents", f"{luma.agents_url}/", "luma-api-key", client, other, clock),
        ]


async def test_a_fetch_is_one_request_and_says_how_it_came(
    luma: Luma, upstreams: list[Upstream]
) -> None:
    made = luma.create(prompt="a lake", model="ray-2")
    observation = await upstreams[0].fetch(made)
    assert (observation.id, observation.upstream, observation.source) == (
        made,
        "dream_machine",
        Source.FETCH,
    )
    assert (observation.state, observation.prompt, observation.model) == (
        "queued",
        "a lake",
        "ray-2",
    )
    assert [(r.method, r.path) for r in luma.requests] == [
        ("GET", f"/dream-machine/v1/generations/{made}")
    ]


async def test_a_slash_at_the_end_of_the_address_does_no_harm(
    luma: Luma, upstreams: list[Upstream]
) -> None:
    made = luma.create("image", upstream="agents")
    assert (await upstreams[1].fetch(made)).operation == "image"


GARBAGE = [
    b"",
    b"<html>",
    b"[]",
    b"null",
    b'{"state": "queued"}',
    b'{"id": "a/b"}',
    b"\xff",
    b"[" * 9999,
]


async def test_garbage_with_200_is_nonsense(luma: Luma, upstreams: list[Upstream]) -> None:
    for body in GARBAGE:
        for upstream in upstreams:
            luma.fault(Fault(body=body))
            with pytest.raises(
                UpstreamNonsense, match="answered 200 with an unusable body"
            ) as error:
                await upstream.fetch("a")
            assert error.value.upstream == upstream.name


async def test_the_answer_to_another_question_is_nonsense(
    luma: Luma, upstreams: list[Upstream]
) -> None:
    luma.fault(Fault(body=b'{"id": "b", "state": "completed"}'))
    with pytest.raises(UpstreamNonsense, match="returned generation b instead of a"):
        await upstreams[0].fetch("a")


async def test_an_odd_url_in_an_answer_does_not_break_the_fetch(
    luma: Luma, upstreams: list[Upstream]
) -> None:
    body = {"id": "a", "state": "completed", "output": [{"type": "image", "url": "http://["}]}
    luma.fault(Fault(body=json.dumps(body).encode()))
    try:
        observation = await upstreams[1].fetch("a")
    except UpstreamNonsense:
        return
    assert observation.state == "completed"


async def test_the_first_that_knows_it_wins_and_the_other_is_not_waited_for(
    luma: Luma, upstreams: list[Upstream]
) -> None:
    made = luma.create()
    luma.fault(Fault(delay=3, path="/agents/"))
    async with asyncio.timeout(2):
        assert (await fetch_from_any(upstreams, made)).upstream == "dream_machine"


async def test_the_one_that_knows_it_wins_over_one_that_does_not_answer_well(
    luma: Luma, upstreams: list[Upstream]
) -> None:
    made = luma.create("image", upstream="agents")
    luma.fault(Fault(delay=0.2, path="/agents/"))
    for fault in (Fault(status=401), Fault(status=503), Fault(body=b"x"), Fault(drop=True)):
        luma.fault(
            Fault(status=fault.status, body=fault.body, drop=fault.drop, path="/dream-machine/")
        )
        assert (await fetch_from_any(upstreams, made)).upstream == "agents"


async def test_not_found_names_all_who_were_asked(luma: Luma, upstreams: list[Upstream]) -> None:
    with pytest.raises(NotFound, match="a is unknown to dream_machine and agents"):
        await fetch_from_any(upstreams, "a")
    assert sorted(r.path.split("/")[1] for r in luma.requests) == ["agents", "dream-machine"]


async def test_with_nobody_to_ask_the_answer_says_what_to_set() -> None:
    with pytest.raises(NotFound, match="no API key is set") as error:
        await fetch_from_any([], "a")
    assert "LUMAAI_API_KEY" in error.value.hint
    assert "LUMA_AGENTS_API_KEY" in error.value.hint


@pytest.mark.parametrize(
    ("dream_machine", "agents", "kind", "name"),
    [
        (Fault(status=503), Fault(status=404), UpstreamUnavailable, "dream_machine"),
        (Fault(status=404), Fault(status=401), UpstreamRefused, "agents"),
        (Fault(status=401), Fault(status=429), UpstreamUnavailable, "agents"),
        (Fault(status=500), Fault(body=b"x"), UpstreamUnavailable, "dream_machine"),
        (Fault(body=b"x"), Fault(status=404), UpstreamNonsense, "dream_machine"),
    ],
)
async def test_when_nobody_knows_it_what_may_pass_is_told_before_what_will_not(
    luma: Luma,
    upstreams: list[Upstream],
    dream_machine: Fault,
    agents: Fault,
    kind: type[UpstreamError],
    name: str,
) -> None:
    for fault, path in ((dream_machine, "/dream-machine/"), (agents, "/agents/")):
        luma.fault(Fault(status=fault.status, body=fault.body, path=path))
    with pytest.raises(kind) as error:
        await fetch_from_any(upstreams, "a")
    assert error.value.upstream == name


async def test_a_create_refused_for_too_many_open_generations_does_not_stop_reads(
    luma: Luma, upstreams: list[Upstream]
) -> None:
    """Only reads find out that one of them has ended."""
    made, agents = luma.create("image", upstream="agents"), upstreams[1]
    body = b'{"detail": "Too many concurrent jobs"}'
    luma.fault(Fault(status=429, headers={"Retry-After": "60"}, body=body, method="POST"))
    refused = await agents.send(Outgoing("POST", "generations", [], b"{}"))
    assert (refused.status, await refused.read(1000)) == (429, body)
    assert (await agents.fetch(made)).state == "queued"


async def test_a_rate_limit_stops_all_requests_for_as_long_as_luma_says(
    luma: Luma, upstreams: list[Upstream]
) -> None:
    made, agents = luma.create("image", upstream="agents"), upstreams[1]
    headers = {"Retry-After": "12", "X-RateLimit-Limit": "30", "X-RateLimit-Remaining": "0"}
    luma.fault(Fault(status=429, headers=headers, body=b'{"detail": "Rate limit exceeded"}'))
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable) as refusal:
            await agents.fetch(made)
        assert refusal.value.retry_after == pytest.approx(12, abs=1)
    assert luma.count() == 1
    assert agents.admission.rate == Rate(30, 60)


async def test_a_429_that_is_passed_on_lowers_the_rate_as_well(
    luma: Luma, upstreams: list[Upstream]
) -> None:
    agents = upstreams[1]
    headers = {"Retry-After": "12", "X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0"}
    luma.fault(Fault(status=429, headers=headers, body=b'{"detail": "Slow"}', method="POST"))
    refused = await agents.send(Outgoing("POST", "generations", [], b"{}"))
    assert (refused.status, await refused.read(1000)) == (429, b'{"detail": "Slow"}')
    assert agents.admission.rate == Rate(20, 60)
    with pytest.raises(NotSent) as paused:
        await agents.send(Outgoing("POST", "generations", [], b"{}"))
    assert paused.value.retry_after == pytest.approx(12, abs=1)
