"""The limits of the Agents API."""

import httpx
import luma_agents
import pytest

from service.simulator import ManualClock, Plan, Simulator


def test_requests_beyond_the_limit_of_a_minute_are_429_with_its_headers(
    one_agents_sdk: luma_agents.Luma,
) -> None:
    with Simulator(clock=ManualClock(), agents_requests_per_minute=2).running() as luma:
        sdk = one_agents_sdk.with_options(base_url=luma.agents_url)
        made = luma.create("image", upstream="agents")
        sdk.generations.get(made)
        luma.advance(59)
        sdk.files.list()
        refused = _refusal(sdk, made)
        assert refused.json() == {"detail": "Rate limit exceeded"}
        assert refused.headers["Retry-After"] == "12"
        assert refused.headers["X-RateLimit-Limit"] == "2"
        assert refused.headers["X-RateLimit-Remaining"] == "0"
        assert refused.headers["X-RateLimit-Reset"] == "1780144556"
        assert refused.headers["X-Request-Id"]
        luma.advance(1)
        assert sdk.generations.get(made)
        assert _refusal(sdk, made), "the window slides, and a refusal does not count"


def test_dream_machine_is_not_limited(one_agents_sdk: luma_agents.Luma) -> None:
    with Simulator(clock=ManualClock(), agents_requests_per_minute=0).running() as luma:
        sdk = one_agents_sdk.with_options(base_url=luma.agents_url)
        assert _refusal(sdk, "any").headers["X-RateLimit-Limit"] == "0"
        headers = {"Authorization": "Bearer key"}
        url = f"{luma.dream_machine_url}/ping"
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 200


def test_creates_beyond_the_open_ones_are_429_until_one_ends(
    one_agents_sdk: luma_agents.Luma,
) -> None:
    simulator = Simulator(clock=ManualClock(), agents_concurrent=2, plans={"slow": Plan(queued=9)})
    with simulator.running() as luma:
        sdk = one_agents_sdk.with_options(base_url=luma.agents_url)
        luma.create()
        sdk.generations.create(prompt="slow")
        made = sdk.generations.create(prompt="a lake").id
        with pytest.raises(luma_agents.RateLimitError) as error:
            sdk.generations.create(prompt="a lake")
        assert error.value.body == {"detail": "Too many concurrent jobs"}
        assert error.value.response.headers["Retry-After"] == "60"
        assert "X-RateLimit-Limit" not in error.value.response.headers
        assert sdk.generations.get(made).state == "queued", "reads are not limited"
        luma.advance(2.5)
        assert sdk.generations.create(prompt="a lake").state == "queued"


def _refusal(sdk: luma_agents.Luma, made: str) -> httpx.Response:
    with pytest.raises(luma_agents.RateLimitError) as error:
        sdk.generations.get(made)
    return error.value.response
