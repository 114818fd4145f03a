"""What Luma is sent for a create, and what is kept of it."""

import json
from typing import Any

import pytest

from service.errors import InvalidInput
from service.tracking.callback_tokens import CallbackTokens
from service.tracking.creating.request import CreateRequest, Prepared, prepare

pytestmark = pytest.mark.either_database

OURS = "https://tracker.example/callbacks/token"
HERS = "https://hers.example/hook?a=1&b=2"
VIDEO = "generations/video"


def prepared(
    body: object = None, *, our_url: str | None = OURS, path: str = VIDEO, **given: Any
) -> Prepared:
    raw = body if isinstance(body, bytes) else json.dumps(body or {"prompt": "a lake"}).encode()
    request = CreateRequest(
        **{
            "upstream": "dream_machine",
            "path": path,
            "query": "",
            "headers": [],
            "body": raw,
            "caller": "",
            "key": None,
            "is_retry": False,
            "callback_url": None,
            **given,
        }
    )
    return prepare(request, our_url)


def agents(body: object, **given: Any) -> Prepared:
    return prepared(body, our_url=None, path="generations", upstream="agents", **given)


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_body_gets_a_callback_url_as_an_empty_object_does(body: bytes) -> None:
    """All that an upscale takes is optional."""
    path, plain = "generations/x/upscale", [(b"content-type", b"text/plain"), (b"x-a", b"b")]
    empty = prepared(body, path=path, headers=plain)
    assert json.loads(empty.body) == {"callback_url": OURS}
    assert (b"content-type", b"application/json") in empty.headers
    assert (b"x-a", b"b") in empty.headers
    assert (b"content-type", b"text/plain") not in empty.headers
    assert empty.body_digest == prepared(b"{}", path=path).body_digest


ODD_BODIES = [
    b"",
    b"not json",
    b"[]",
    b'"text"',
    b"{}",
    b' {"a": 1.10, "a": 1e400, "b" :NaN, "\\u0061": 12345678901234567890.12} ',
    b'{"unknown": {"deep": [1, 2, {"callback_url": "theirs"}]}}',
    b'{"a": ' + b"[" * 50_000,
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("body", ODD_BODIES)
def test_a_body_is_sent_as_it_is_where_no_callback_url_goes_in_or_out(body: bytes) -> None:
    assert prepared(body, our_url=None).body == body


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"a":'])
def test_a_body_that_is_no_object_is_sent_as_it_is_and_has_no_url(body: bytes) -> None:
    found = prepared(body)
    assert (found.body, found.our_url) == (body, None)


def test_our_url_goes_in_and_all_else_keeps_its_form() -> None:
    found = prepared(b'{"a": 1.10,"a":1e400}')
    assert found.body == b'{"a": 1.10,"a":1e400,"callback_url":"%s"}' % OURS.encode()
    assert found.our_url == OURS


@pytest.mark.parametrize("our_url", [OURS, None])
@pytest.mark.parametrize("upstream", ["dream_machine", "agents"])
def test_the_callers_url_never_reaches_luma(our_url: str | None, upstream: str) -> None:
    body = {"prompt": "a lake", "callback_url": HERS}

    found = prepared(body, our_url=our_url, upstream=upstream)

    assert b"hers.example" not in found.body
    assert found.callback_url == HERS
    assert json.loads(found.body).get("callback_url") == our_url
    assert "callback_url" not in (found.request or {})


def test_the_callers_url_can_be_a_header() -> None:
    found = agents({"prompt": "a lake"}, callback_url=HERS)
    assert found.callback_url == HERS
    assert json.loads(found.body) == {"prompt": "a lake"}


@pytest.mark.parametrize("url", [None, ""])
def test_no_url_is_none(url: str | None) -> None:
    assert prepared({"callback_url": url}).callback_url is None


def test_a_url_of_ours_is_not_called_by_us() -> None:
    tokens = CallbackTokens(["secret"])
    for token in (tokens.reusable(), tokens.single()):
        found = prepared({"callback_url": f"https://tracker.example/callbacks/{token}"})
        assert found.callback_url is None


@pytest.mark.parametrize("url", [1, True, ["a"], {"a": 1}, "https://a.example/\0", "h" * 9000])
def test_what_is_no_url_is_refused(url: object) -> None:
    with pytest.raises(InvalidInput, match="callback_url"):
        prepared({"callback_url": url})


@pytest.mark.parametrize(
    ("path", "body", "parent"),
    [
        ("generations/abc/upscale", {}, "abc"),
        ("generations/abc/audio", {"prompt": "rain"}, "abc"),
        ("generations/a%2Db/audio", {}, "a-b"),
        (f"generations/{'x' * 200}/audio", {}, None),
        ("generations/a b/audio", {}, None),
        (VIDEO, {"keyframes": {"frame0": {"type": "generation", "id": "abc"}}}, "abc"),
        (VIDEO, {"keyframes": {"frame1": {"type": "generation", "id": "abc"}}}, "abc"),
        (
            VIDEO,
            {
                "keyframes": {
                    "frame1": {"type": "generation", "id": "second"},
                    "frame0": {"type": "generation", "id": "first"},
                }
            },
            "first",
        ),
        (
            VIDEO,
            {"keyframes": {"frame0": {"type": "image", "url": "https://a", "id": "abc"}}},
            None,
        ),
        (VIDEO, {"keyframes": {"frame0": {"type": "generation", "id": 1}}}, None),
        (VIDEO, {"keyframes": ["frame0"]}, None),
        (VIDEO, {"keyframes": None, "source": 1, "video": [], "image_ref": {"a": 1}}, None),
    ],
)
def test_the_parent_on_dream_machine(path: str, body: object, parent: str | None) -> None:
    assert prepared(body, path=path).parent_id == parent


@pytest.mark.parametrize(
    "body",
    [
        {"source": {"generation_id": "abc"}},
        {"video": {"start_frame": {"generation_id": "abc"}}},
        {"video": {"end_frame": {"generation_id": "abc"}, "start_frame": {"url": "https://a"}}},
        {"video": {"keyframes": [{"url": "https://a"}, {"generation_id": "abc"}]}},
        {"video": {"edit": {"keyframes": [{"generation_id": "abc"}]}}},
        {"image_ref": [{"url": "https://a"}, {"generation_id": "abc"}]},
    ],
)
def test_the_parent_on_the_agents_api(body: object) -> None:
    assert agents(body).parent_id == "abc"


def test_creates_are_the_same_by_api_path_query_body_and_url() -> None:
    same = prepared(b'{"a":1,"b":2}').body_digest
    assert prepared(b'{"b": 2, "a": 1}').body_digest == same
    assert prepared(b'{"b": 2, "a": 1}', our_url="https://another").body_digest == same
    others = [
        prepared(b'{"a":1,"b":3}'),
        prepared(b'{"a":1,"b":2}', path="generations/image"),
        prepared(b'{"a":1,"b":2}', query="x=1"),
        prepared(b'{"a":1,"b":2}', upstream="agents"),
        prepared(b'{"a":1,"b":2}', callback_url=HERS),
        prepared(b"[]"),
    ]
    assert len({same, *(each.body_digest for each in others)}) == 7


def test_large_bodies_are_the_same_if_their_bytes_are() -> None:
    one, other = ({"prompt": text * 70_000} for text in "ab")
    assert prepared(one).body_digest == prepared(one).body_digest
    assert prepared(one).body_digest != prepared(other).body_digest


def test_a_key_is_of_one_token() -> None:
    digests = {
        prepared(key="k").key_digest,
        prepared(key="k", caller="a").key_digest,
        prepared(key="k", caller="b").key_digest,
        prepared(key="l", caller="b").key_digest,
    }
    assert len(digests) == 4
    assert prepared().key_digest is None
    assert prepared(key="k").key_digest == agents({}, key="k").key_digest


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_has_1_to_255_characters(key: str) -> None:
    with pytest.raises(InvalidInput, match=rf"has {len(key)} characters"):
        prepared(key=key)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"sync": True}, 60),
        ({"sync": True, "sync_timeout": 5}, 5),
        ({"sync": True, "sync_timeout": 1e9}, 600),
        ({"sync": True, "sync_timeout": -5}, 0),
        ({"sync": True, "sync_timeout": "5"}, 60),
        ({"sync": True, "sync_timeout": True}, 60),
        (b'{"sync": true, "sync_timeout": NaN}', 60),
        (b'{"sync": true, "sync_timeout": Infinity}', 600),
        ({"sync": False, "sync_timeout": 5}, 0),
        ({"sync": "true"}, 0),
    ],
)
def test_a_synchronous_create_may_take_longer(body: object, seconds: float) -> None:
    assert prepared(body).extra_seconds == seconds


def test_what_is_kept_can_be_stored_and_shows_no_callback_url() -> None:
    image = "A" * 20_000
    body = {
        "prompt": "a lake\0",
        "callback_url": HERS,
        "nested": [{"callback_url": HERS}],
        "source": {"data": image},
        "odd": "\ud800",
    }

    found = agents(body)

    assert found.request == {
        "prompt": "a lake\N{REPLACEMENT CHARACTER}",
        "nested": [{"callback_url": "[redacted]"}],
        "source": {"data": "omitted: 20000 characters"},
        "odd": "?",
    }
    assert json.loads(found.body)["source"] == {"data": image}


@pytest.mark.parametrize("body", [b"[]", b"", b"{}"])
def test_nothing_is_kept_of_nothing(body: bytes) -> None:
    assert prepared(body).request is None


def test_headers_about_the_bytes_are_replaced() -> None:
    headers = [
        (b"Content-Length", b"5"),
        (b"accept-encoding", b"gzip, br"),
        (b"content-type", b"application/json"),
        (b"x-stainless-lang", b"python"),
    ]
    assert prepared(headers=headers).headers == [
        (b"content-type", b"application/json"),
        (b"x-stainless-lang", b"python"),
        (b"accept-encoding", b"identity"),
    ]
