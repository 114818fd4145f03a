"""The service that the tests of the whole share, as the acceptance tests start it."""

from tests.acceptance.conftest import shared, start_service

__all__ = ["shared", "start_service"]
