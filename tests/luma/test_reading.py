"""Parsing of untrusted bodies: accepted, accepted in part, or `Unreadable`; never another error.

Whatever is accepted can be stored, and serialized again as strict JSON.
"""

import contextlib
import gzip
import json
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json
from sqlalchemy import Engine

from service.domain.generation import Observation, Outcome, Source
from service.domain.merge import merge
from service.domain.redaction import REDACTED
from service.errors import Unreadable
from service.luma import agents, dream_machine, reading
from service.luma.bodies import parse_object, shown
from service.luma.reading import document, instant, mapping, request, text, usable_id
from service.storage import generations
from service.storage.engine.sqlite_connections import make_engine
from service.tracking.callback_tokens import CallbackTokens, Grant
from tests.conftest import PAYLOADS
from tests.reference import body_of
from tests.single import observe, record, upgrade
from tests.thoroughness import rounds

pytestmark = pytest.mark.sqlite

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)

Reader = Callable[[dict[str, Any], Source, datetime], Observation]
READERS: list[Reader] = [dream_machine.read, agents.read]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A migrated database."""
    made = make_engine(f"sqlite:///{tmp_path_factory.mktemp('reading') / 'tracker.db'}")
    upgrade(made)
    yield made
    made.dispose()


def strict(body: bytes) -> Any:
    """Parse `body` as strict JSON, without the constants that only Python's parser accepts."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(body.decode("utf-8"), parse_constant=refuse)


def nested(depth: int, *, opening: str = "[", closing: str = "]") -> str:
    """Return the JSON text of a value that is nested `depth` levels deep."""
    return opening * depth + "1" + closing * depth


def with_request(value: str) -> bytes:
    """Return a body whose request holds a value, given as JSON text."""
    return f'{{"id": "a", "state": "queued", "request": {{"x": {value}}}}}'.encode()


WRONG: list[Any] = [None, True, 0, -1.5, 10**30, "", "x", [], [1], {}, {"a": {"b": [None]}}]
FIELDS = [
    "state",
    "generation_type",
    "type",
    "model",
    "version",
    "created_at",
    "failure_reason",
    "failure_code",
    "assets",
    "output",
    "request",
]

NOT_GENERATIONS = {
    "empty": b"",
    "blank": b" \n",
    "not JSON": b"<html>",
    "half of it": b'{"id": "a", "state": "que',
    "gzip": gzip.compress(b'{"id": "a"}'),
    "not UTF-8": b'{"id": "a", "model": "\xff\xfe"}',
    "a form": b"id=a&state=completed",
    "a string": b'"a"',
    "a number": b"1",
    "null": b"null",
    "a list": b'[{"id": "a"}]',
    "no id": b'{"state": "completed"}',
    "two objects": b'{"id": "a"}{"id": "b"}',
    "endless lists": b"[" * 100_000,
    "endless objects": b'{"a":' * 100_000,
    "an id with a slash": b'{"id": "a/b"}',
    "an id of two lines": b'{"id": "a\\n"}',
    "an id with NUL": b'{"id": "a\\u0000"}',
    "an id that is half a character": b'{"id": "\\ud800"}',
    "an empty id": b'{"id": ""}',
    "an id of 129": json.dumps({"id": "x" * 129}).encode(),
    "an id of 10 kB": json.dumps({"id": "x" * 10_000}).encode(),
    "the last of two ids": b'{"id": "a", "id": null}',
    **{f"id {value!r}": json.dumps({"id": value}).encode() for value in WRONG if value != "x"},
}

HOSTILE = {
    "UTF-8 with a BOM": b"\xef\xbb\xbf" + b'{"id": "a"}',
    "UTF-16": '{"id": "a", "state": "queued"}'.encode("utf-16"),
    "UTF-32": '{"id": "a", "state": "queued"}'.encode("utf-32"),
    "NaN": with_request("NaN"),
    "infinities": with_request("[Infinity, -Infinity, 1e999, -1e999]"),
    "a long integer": with_request("9" * 4000),
    "an integer of 5,000 digits": with_request("9" * 5000),
    "a long integer beside an escape": with_request(f'["\\n", -{"9" * 5000}]'),
    "a prompt of 60,000 commas": with_request(json.dumps({"prompt": "," * 60_000})),
    "a prompt of brackets": with_request(json.dumps({"prompt": '[{\\"' * 30_000 + "\\"})),
    "a long exponent": with_request("1e-99999"),
    "duplicate keys": b'{"id": "b", "id": "a", "state": "failed", "state": "queued"}',
    "half a character": with_request('"\\ud800"'),
    "half a character as key": b'{"id": "a", "request": {"\\udfff": {"\\ud800": 1}}}',
    "NUL": b'{"id": "a", "state": "que\\u0000ued", "request": {"a\\u0000": "\\u0000"}}',
    "raw surrogates": b'{"id": "a", "model": "\xed\xa0\x80"}',
    "lists, 100 deep": with_request(nested(100)),
    "objects, 100 deep": with_request(nested(100, opening='{"x":', closing="}")),
    "unknown fields": b'{"id": "a", "new": {"b": [1, 2]}, "__proto__": {}}',
    "the first year": b'{"id": "a", "created_at": "0001-01-01T00:00:00Z"}',
    "the last moment": b'{"id": "a", "created_at": "9999-12-31T23:59:59.999999Z"}',
    "before the first year": b'{"id": "a", "created_at": "0001-01-01T00:00:00+14:00"}',
    "after the last": b'{"id": "a", "created_at": "9999-12-31T23:59:59-14:00"}',
    "a time of 1e300": b'{"id": "a", "created_at": 1e300}',
    "a long time": f'{{"id": "a", "created_at": {"9" * 400}}}'.encode(),
    "a state of 100 kB": json.dumps({"id": "a", "state": "s" * 100_000}).encode(),
    "a prompt of 500 kB": with_request(json.dumps("é" * 250_000)),
    "many assets": json.dumps({"id": "a", "assets": {str(n): "u" for n in range(9999)}}).encode(),
    **{
        f"all {value!r}": json.dumps({**dict.fromkeys(FIELDS, value), "id": "a"}).encode()
        for value in WRONG
    },
    **{
        f"nested {value!r}": json.dumps(
            {
                "id": "a",
                "assets": {"video": value, "image": "https://i"},
                "output": [value, {"type": value, "url": "https://u", "layer": value}],
                "request": {"prompt": value, "model": value, "generation_type": value},
            }
        ).encode()
        for value in WRONG
    },
}

DEEP = {
    f"{name}, {depth} deep": with_request(nested(depth, opening=opening, closing=closing))
    for depth in (240, 255, 260, 320, 480, 900)
    for name, opening, closing in (("lists", "[", "]"), ("objects", '{"x":', "}"))
}

ACCEPTED = {**HOSTILE, **DEEP}

PRESIGNED = {
    "no address": "http://[",
    "not quite a host": "http://\u2100.example/",
    "for ever": "https://s3/?X-Amz-Date=20260530T120000Z&X-Amz-Expires=10000000000000",
    "for minus ever": "https://s3/?X-Amz-Date=20260530T120000Z&X-Amz-Expires=-10000000000000",
    "since the first year": "https://s3/?X-Amz-Date=00010101T000000Z&X-Amz-Expires=-1",
    "until the end": "https://s3/?X-Amz-Date=99991231T235959Z&X-Amz-Expires=3600",
    "not a number": "https://s3/?X-Amz-Date=20260530T120000Z&X-Amz-Expires=nan",
    "infinite": "https://s3/?X-Amz-Date=20260530T120000Z&X-Amz-Expires=inf",
    "no date": "https://s3/?X-Amz-Expires=3600&X-Amz-Date=yesterday",
}


@pytest.mark.parametrize("body", NOT_GENERATIONS.values(), ids=NOT_GENERATIONS)
def test_what_is_no_generation_is_unreadable(body: bytes) -> None:
    for read in READERS:
        with pytest.raises(Unreadable) as error:
            read(parse_object(body), Source.CALLBACK, NOON)
        assert 10 < len(str(error.value)) < 300
        assert str(error.value).encode()


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
@pytest.mark.parametrize("read", READERS)
def test_what_is_taken_can_be_stored_and_shown(engine: Engine, read: Reader, body: bytes) -> None:
    try:
        seen = read(parse_object(body), Source.CALLBACK, NOON)
    except Unreadable:
        return
    with engine.connect().execution_options(writes=True) as connection, connection.begin() as all_:
        observe(connection, seen, NOON)
        row = generations.find(connection, seen.id)
        assert row is not None
        shape = strict(body_of(row))
        all_.rollback()
    assert shape["id"] == seen.id
    assert shape["state"] == (seen.state or "unknown")
    assert shape["request"] == seen.request


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_the_corpus_is_taken_and_not_refused_whole(engine: Engine, body: bytes) -> None:
    with engine.connect().execution_options(writes=True) as connection, connection.begin() as all_:
        receipt = record(connection, body, Grant(), NOON)
        all_.rollback()
    assert (receipt.outcome, receipt.generation_id) == (Outcome.APPLIED, "a")


@pytest.mark.parametrize("url", PRESIGNED.values(), ids=PRESIGNED)
def test_an_odd_presigned_url_does_not_lose_the_answer(url: str) -> None:
    answer = {"id": "a", "state": "completed", "output": [{"type": "image", "url": url}]}
    seen = agents.read(answer, Source.FETCH, NOON)
    assert seen.assets == {"image": url}
    assert seen.assets_expire_at is not None


@pytest.mark.parametrize(
    "written", ["0001-01-01T00:00:00Z", "0999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59Z"]
)
def test_every_year_is_shown_in_four_digits(engine: Engine, written: str) -> None:
    body = json.dumps({"id": "a", "created_at": written}).encode()
    with engine.connect().execution_options(writes=True) as connection, connection.begin() as all_:
        record(connection, body, Grant(), NOON)
        row = generations.find(connection, "a")
        all_.rollback()
    assert row is not None
    shown = strict(body_of(row))["created_at"]
    assert datetime.fromisoformat(shown) == datetime.fromisoformat(written)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@settings(
    max_examples=rounds(50, 150),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    fields=st.dictionaries(st.sampled_from([*FIELDS, "callback_url"]), JSON, max_size=6),
    read=st.sampled_from(READERS),
)
def test_any_json_at_all_is_read_stored_and_shown(
    engine: Engine, fields: dict[str, Any], read: Reader
) -> None:
    seen = read(parse_object(json.dumps({"id": "a", **fields}).encode()), Source.FETCH, NOON)
    with engine.connect().execution_options(writes=True) as connection, connection.begin() as all_:
        observe(connection, seen, NOON)
        row = generations.find(connection, "a")
        all_.rollback()
    assert row is not None
    assert strict(body_of(row))["request"] == seen.request


@settings(max_examples=rounds(65, 200), deadline=None, database=None)
@given(st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
def test_any_bytes_at_all_are_an_object_or_unreadable(body: bytes) -> None:
    with contextlib.suppress(Unreadable):
        assert isinstance(parse_object(body), dict)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(codec="ascii"), max_size=12)
    | st.sampled_from(["[redacted]", "https://t.example/callbacks/[redacted]", "x.any.y"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "callback_url", "request"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=rounds(100, 300), deadline=None, database=None)
@given(JSON)
def test_a_plain_body_is_read_as_any_other(value: Any) -> None:
    """An escape changes nothing but the way in which it is read."""
    body = {"id": "a", "request": value}
    plain = json.dumps(body).encode()
    escaped = plain.replace(b'"id"', rb'"\u0069d"')
    assert repr(parse_object(plain)) == repr(parse_object(escaped))


def test_a_callback_url_of_ours_is_redacted_everywhere() -> None:
    secret = f"https://tracker.example/callbacks/{CallbackTokens(['k']).single()}"
    body = {
        "id": "a",
        "callback_url": secret,
        "request": {"callback_url": secret, "deep": [{"callback_url": [secret]}], "x": 1},
    }
    told = parse_object(json.dumps(body).encode())
    assert "tracker.example" not in json.dumps(told)
    assert told["request"] == {
        "callback_url": REDACTED,
        "deep": [{"callback_url": REDACTED}],
        "x": 1,
    }


def test_the_creators_callback_url_is_kept_in_the_document_alone() -> None:
    own = "https://program.example/hook"
    told = parse_object(json.dumps({"id": "a", "request": {"callback_url": own}}).encode())
    assert json.loads(str(document(told)))["request"] == {"callback_url": own}
    assert request(told["request"]) == {"callback_url": REDACTED}


def test_a_document_that_is_too_large_is_not_kept() -> None:
    assert document({"id": "a", "prompt": "x" * 300_000}) is None


def test_a_callback_url_that_is_not_there_stays_so() -> None:
    assert parse_object(b'{"request": {"callback_url": null}}') == {
        "request": {"callback_url": None}
    }


def test_what_text_cannot_carry_is_replaced_and_the_rest_kept() -> None:
    told = parse_object(b'{"a\\u0000b": "x\\u0000y", "s": "x\\ud800y", "n": [NaN, 1.5, 1e999, 7]}')
    assert told == {"a�b": "x�y", "s": "x?y", "n": [None, 1.5, None, 7]}


def test_only_text_that_says_something_is_text() -> None:
    assert text("a") == "a"
    assert [text(value) for value in ("", None, 1, ["a"], {"a": 1}, True)] == [None] * 6


def test_only_objects_are_mappings() -> None:
    assert mapping({"a": 1}) == {"a": 1}
    assert [mapping(value) for value in (None, ["a"], "a", 1)] == [{}] * 4


TIMES: list[object] = [
    "2026-05-30T12:00:00Z",
    "2026-05-30T12:00:00.000000Z",
    "2026-05-30T14:00:00+02:00",
    "2026-05-30T12:00:00",
    "2026-05-30 12:00",
    "20260530T120000Z",
    1780142400,
    1780142400.0,
]


@pytest.mark.parametrize("value", TIMES)
def test_a_time_is_read_in_every_form_that_luma_was_seen_to_use(value: object) -> None:
    assert instant(value) == NOON


NO_TIMES: list[object] = [None, "", "yesterday", True, ["2026"], {}, math.nan, 1e300, -1e300]


@pytest.mark.parametrize("value", NO_TIMES)
def test_what_is_no_time_is_none(value: object) -> None:
    assert instant(value) is None


def test_a_usable_id_is_the_bodys() -> None:
    assert usable_id({"id": "a:b.c-d_e"}) == "a:b.c-d_e"


def test_the_payloads_that_luma_was_seen_to_send_are_all_read() -> None:
    generations = {name: body for name, body in PAYLOADS.items() if "error" not in name}
    assert len(generations) > 25
    for name, payload in generations.items():
        seen = dream_machine.read(parse_object(json.dumps(payload).encode()), Source.CALLBACK, NOON)
        assert seen.id == payload["id"], name
        assert seen.state == payload["state"], name
        assert seen.created_at is not None, name


def test_an_integer_of_too_many_digits_is_null_and_what_is_in_strings_is_no_value() -> None:
    prompt = '[{,}]\\"' * 30_000
    body = b'{"prompt": %b, "long": [-%b, 7]}' % (json.dumps(prompt).encode(), b"9" * 5000)
    assert parse_object(body) == {"prompt": prompt, "long": [None, 7]}
    assert parse_object(body.decode().encode("utf-16"))["prompt"] == prompt
    assert parse_object(b'{"a": %b}' % (b"9" * 5000)) == {"a": None}


MANY = "[]," * 60_000


@pytest.mark.parametrize(
    "body",
    [
        f"[{MANY}[]]".encode(),
        b'{"a":[' + b"1," * 60_000 + b"1]}",
        f'{{"a":[{MANY}"\\\\", "{MANY}'.encode(),
        f'["\\\\",{MANY}""]'.encode(),
        f'["∀",{MANY}"∀"]'.encode("utf-16"),  # which has a byte that looks like a quotation mark
        b'\xef\xbb\xbf["",' + MANY.encode(),
    ],
)
def test_a_body_of_very_many_values_is_not_read(body: bytes) -> None:
    with pytest.raises(Unreadable, match="more than 50000 values"):
        parse_object(body)


def test_strings_without_an_end_are_counted_in_linear_time() -> None:
    for piece in (b'"', b'\\"', b"\\", b'",'):
        began = time.process_time()
        with pytest.raises(Unreadable):
            parse_object(b'{"a": "' + b"," * 60_000 + piece * (900_000 // len(piece)))
        assert time.process_time() - began < 5  # quadratic: minutes


def test_what_is_shown_of_a_body_is_bounded_as_what_is_read() -> None:
    """Showing such a delivery must not exhaust the memory."""
    body = b'{"a":[' + b"[]," * 60_000 + b"[]]}"
    assert shown(body) == body.decode()


def test_a_request_that_is_very_large_is_left_out_and_said() -> None:
    omitted = {"omitted": "larger than 65536 bytes"}
    assert reading.request({"prompt": "x" * 60_000}) == {"prompt": "x" * 60_000}
    assert reading.request({"prompt": "x" * 70_000}) == omitted
    assert reading.request({"prompt": "x" * 70_000, "model": "ray-2", "type": 7}) == {
        **omitted,
        "model": "ray-2",
    }
    assert reading.request({}) is None


@pytest.mark.parametrize("prompt", ["short", "x" * 70_000])
@pytest.mark.parametrize("guess", ["ray-1", "x" * 300], ids=["a model", "a long one"])
def test_a_model_that_is_told_wins_over_one_of_a_request_in_any_order(
    prompt: str, guess: str
) -> None:
    """However large the request is from which the model was guessed."""
    bodies = [
        {"id": "a", "state": "dreaming", "request": {"model": guess, "prompt": prompt}},
        {"id": "a", "state": "dreaming", "model": "ray-2"},
    ]
    for order in (bodies, bodies[::-1]):
        row = None
        for body in order:
            said = parse_object(json.dumps(body).encode())
            row, _ = merge(row, dream_machine.read(said, Source.CALLBACK, NOON), NOON)
        assert row
        assert row.model == "ray-2"


def test_what_one_row_holds_of_urls_is_bounded_in_bytes() -> None:
    """A page has up to 200 rows."""
    many = {f"n{n}": f"https://v.example/{n:08000}" for n in range(100)}
    assert len(to_json(reading.urls(many))) <= 65_536
    assert list(reading.urls(many)) == [f"n{n}" for n in range(8)]
    outputs = [{"url": "u", "x": "x" * 60_000} for _ in range(50)]
    assert len(reading.outputs(outputs)) == 4


def test_texts_and_urls_have_bounds() -> None:
    assert reading.label("x" * 256) == "x" * 256
    assert reading.label("x" * 257) == "x" * 255 + "…"
    assert reading.prose("x" * 10_001) == "x" * 9_999 + "…"
    assert reading.url("x" * 8_193) is None, "a part of a URL is of no use"
    assert len(reading.urls({f"n{n}": "u" for n in range(1_000)})) == 100
    assert reading.urls({"video": "x" * 9_000, "image": "u", "n": 7}) == {"image": "u"}
    assert len(reading.outputs([{"url": "u"}] * 1_000)) == 100
    assert reading.outputs([{"url": "u", "type": None}, {"url": "u", "x": "x" * 300_000}, 7]) == (
        {"url": "u"},
    )
