"""A simulator on a manual clock, a receiver for its callbacks, and Luma's own SDKs."""

from collections.abc import Iterator

import luma_agents
import lumaai
import pytest

from service.simulator import Luma, ManualClock, Simulator
from tests.simulator.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def luma() -> Iterator[Luma]:
    with Simulator(clock=ManualClock()).running() as luma:
        yield luma


@pytest.fixture(scope="session")
def one_sdk() -> Iterator[lumaai.LumaAI]:
    """Created once: most of its start-up time goes into loading certificates, not needed here."""
    with lumaai.LumaAI(auth_token="key", max_retries=0, _strict_response_validation=True) as sdk:
        yield sdk


@pytest.fixture(scope="session")
def one_agents_sdk() -> Iterator[luma_agents.Luma]:
    with luma_agents.Luma(auth_token="key", max_retries=0, _strict_response_validation=True) as sdk:
        yield sdk


@pytest.fixture
def sdk(luma: Luma, one_sdk: lumaai.LumaAI) -> lumaai.LumaAI:
    """The `lumaai` SDK, which refuses answers that violate Luma's specification."""
    return one_sdk.with_options(base_url=luma.dream_machine_url)


@pytest.fixture
def agents_sdk(luma: Luma, one_agents_sdk: luma_agents.Luma) -> luma_agents.Luma:
    """The `luma_agents` SDK, which is as strict."""
    return one_agents_sdk.with_options(base_url=luma.agents_url)
