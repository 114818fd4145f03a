"""The official conformance suite, against a running service."""

from pathlib import Path

import pytest

from tests import node_tools
from tests.acceptance.conftest import Running

pytestmark = [pytest.mark.either_database, pytest.mark.thorough]

BASELINES = Path(__file__).parents[1] / "mcp_server"
"""What need not pass, with reasons; `tests/mcp_server/test_conformance.py` checks these."""


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_all_scenarios_pass_but_those_with_a_reason(shared: Running, revision: str) -> None:
    url = f"{shared.service.url}/mcp"
    baseline = BASELINES / f"conformance-{revision}.yml"
    suite = "server", "--url", url, "--requirements", revision, "--expected-failures", baseline
    printed = node_tools.run("conformance", *suite)
    assert "Baseline check passed" in printed
