"""The OpenAPI of a running service, gone through by schemathesis: nothing in it is untrue."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from service.simulator import Plan
from service.web.parameters import LONGEST_WAIT
from tests.acceptance.conftest import SIGNING
from tests.hostile import Target, target
from tests.thoroughness import rounds

if TYPE_CHECKING:
    import schemathesis
    from schemathesis.engine import events

pytestmark = pytest.mark.either_database

SECONDS = 120
EXAMPLES = rounds(10, 30)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service that holds a few finished rows: to wait for one costs no time."""
    rates = {"TRACKER_DREAM_MACHINE_RATE": "1000/second", "TRACKER_AGENTS_RATE": "1000/second"}
    with target(tmp_path_factory.mktemp("schema"), **rates, **SIGNING) as one:
        for n in range(3):
            generation_id = one.luma.create(id=f"row-{n}", plan=Plan(queued=0, dreaming=0))
            one.luma.advance(60)
            assert one.http.get(f"/v1/generations/{generation_id}").status_code == 200
            one.call_back({"id": f"told-{n}", "state": "failed", "failure_reason": "Job failed"})
        yield one


def _is_about_a_cursor(check: str, query: dict[str, object] | None) -> bool:
    """No schema can say which cursors are ours: one that was made up is a 422, and rightly so."""
    return check == "positive_data_acceptance" and "cursor" in (query or {})


def _is_about_fields(check: str, query: dict[str, object] | None) -> bool:
    """No schema can say that items are narrowed by a parameter: it shows them whole."""
    return check == "response_schema_conformance" and "fields" in (query or {})


def _is_about_a_url(check: str, path: str) -> bool:
    """No schema can say which URLs can be called."""
    return check == "positive_data_acceptance" and path == "/v1/webhooks"


def _is_one_value_for_many(check: str, message: str) -> bool:
    """`?id=0` where a list is wanted is a list of one: a query cannot say it otherwise."""
    return check == "negative_data_rejection" and "was array" in message


def _is_an_unknown_header(check: str, message: str) -> bool:
    """HTTP wants headers that one does not know to be ignored."""
    return check == "negative_data_rejection" and "in header - object with unexpected" in message


def _shorten_wait(_context: object, case: "schemathesis.Case[Any]", _kwargs: object) -> None:
    """What nobody knows yet is waited for, and most ids are made up: a moment will do."""
    for asked, name in ((case.query, "wait"), (case.headers, "Prefer")):
        said = str((asked or {}).get(name, "")).removeprefix("wait=")
        if asked and said.replace(".", "", 1).isdecimal() and 0 < float(said) <= LONGEST_WAIT:
            asked[name] = "wait=0" if name == "Prefer" else 0.01


def _failures(scenario: "events.ScenarioFinished") -> list[str]:
    return [
        f"{case.value.method} {case.value.path}: {check.name}: {check.failure_info.failure.message}"
        f" ({check.failure_info.code_sample})"
        for case_id, checks in scenario.recorder.checks.items()
        if (case := scenario.recorder.cases[case_id])
        for check in checks
        if check.failure_info
        and not _is_about_a_cursor(check.name, case.value.query)
        and not _is_about_fields(check.name, case.value.query)
        and not _is_about_a_url(check.name, case.value.path)
        and not _is_one_value_for_many(check.name, check.failure_info.failure.message)
        and not _is_an_unknown_header(check.name, check.failure_info.failure.message)
    ]


@pytest.mark.thorough
def test_no_request_that_schemathesis_thinks_of_makes_the_description_untrue(
    running: Target,
) -> None:
    """Examples, every edge of every parameter, random requests and sequences of them.

    The endless stream is not among them: it comes only to who accepts `text/event-stream`.
    """
    import schemathesis  # heavy
    from schemathesis.engine import Status, events, from_schema

    schema = schemathesis.openapi.from_url(f"{running.service.url}/openapi.json")
    schema.config.generation.update(max_examples=EXAMPLES, deterministic=True)
    schemathesis.hook("before_call")(_shorten_wait)
    begun = time.monotonic()
    operations, failures, cases = set[str](), list[str](), 0

    for event in from_schema(schema).execute():
        assert not isinstance(event, events.FatalError), event.exception
        assert not isinstance(event, events.NonFatalError), event.info
        if isinstance(event, events.ScenarioFinished):
            failures += _failures(event)
            cases += len(event.recorder.cases)
            assert time.monotonic() - begun < SECONDS, "it takes too long: ask for fewer examples"
            if event.label and event.status is not Status.SKIP:
                operations.add(event.label)

    assert not failures, "\n".join(failures)
    assert operations >= {
        f"{method.upper()} {path}"
        for path, methods in running.http.get("/openapi.json").json()["paths"].items()
        for method in methods
    }
    assert cases > 200
    assert "Traceback" not in running.service.said
