"""What an error body of Luma says, in words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.detail import detail_in

_NO_PLACES: list[object] = [[], None, 7, "x"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        *(({"detail": "no"}, "no"), ({"error": {"message": "no"}}, "no"), ({"detail": None}, "")),
        ({"detail": [{"loc": ["body", "prompt"], "msg": "is bad"}]}, "body.prompt: is bad"),
        ({"detail": [{"loc": ["body", 0], "msg": "a"}, {"msg": "b"}]}, "body.0: a; b"),
        *(({"detail": [{"loc": loc, "msg": "bad"}]}, "bad") for loc in _NO_PLACES),
    ],
)
def test_the_words_are_found_wherever_they_are(body: object, words: str) -> None:
    assert detail_in(json.dumps(body).encode()) == words


@pytest.mark.parametrize("body", [b"<p>no</p>", b"[" * 5000, b"[" * 700 + b"]" * 700])
def test_what_is_no_such_body_is_shown_as_it_is(body: bytes) -> None:
    assert detail_in(body) == body[:500].decode()


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["detail", "error", "message", "msg", "loc"]), inner)
    ),
)


@given(_JSON)
def test_no_json_fails(value: object) -> None:
    assert isinstance(detail_in(json.dumps(value).encode()), str)
