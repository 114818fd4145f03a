"""One member of a JSON object is edited; the text of all others stays."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.json_members import members, with_member

pytestmark = pytest.mark.either_database

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def edited(body: bytes, value: str | None) -> bytes:
    return with_member(members(body), "url", value)


@pytest.mark.parametrize(
    ("body", "without"),
    [
        (b"{}", b"{}"),
        (b' {\n"url" : "x" } ', b"{}"),
        (b'{"a": 1.10, "url": "x", "b": 1e400}', b'{"a": 1.10,"b": 1e400}'),
        (b'{"a":1,"a":2,"url":1,"url":[{"url":2}]}', b'{"a":1,"a":2}'),
        (b'{"a":{"url":"x"}}', b'{"a":{"url":"x"}}'),
        (b'\xef\xbb\xbf{"a":NaN}', b'{"a":NaN}'),
        (b'{"\\u0075rl":1, "a" :"\\u00e4"}', b'{"a" :"\\u00e4"}'),
    ],
)
def test_a_member_is_taken_out_or_replaced_and_nothing_else_changes(
    body: bytes, without: bytes
) -> None:
    assert edited(body, None) == without
    added = b'"url":"new"' if without == b"{}" else b',"url":"new"'
    assert edited(body, "new") == without[:-1] + added + b"}"


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[]", b"1", b"{", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{1:2}", b"{}x", b"\xff\xff"],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        members(body)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), VALUES), st.sampled_from(["utf-8", "utf-16", "utf-32-le"]))
def test_every_object_is_read_as_json_reads_it(document: dict[str, Any], encoding: str) -> None:
    body = json.dumps(document, ensure_ascii=False).encode(encoding, "surrogatepass")

    found = members(body)

    assert repr({each.name: each.value for each in found}) == repr(json.loads(body))
    changed = json.loads(with_member(found, "url", "new"))
    assert repr(changed) == repr(
        {**{n: v for n, v in document.items() if n != "url"}, "url": "new"}
    )


@given(st.text())
def test_it_refuses_what_json_refuses(text: str) -> None:
    body = text.encode()
    try:
        known = isinstance(json.loads(body), dict)
    except ValueError:
        known = False
    try:
        members(body)
    except ValueError:
        assert not known
    else:
        assert known
