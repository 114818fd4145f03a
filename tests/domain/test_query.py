"""The query language: what a text means, and what is wrong with one that means nothing."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.query import (
    Compare,
    Is,
    IsOneOf,
    Key,
    OneOf,
    Query,
    Term,
    When,
    Word,
    parse,
)
from service.errors import InvalidQuery

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)

_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
_ANY = _TEXTS | st.text('ab:,-"\\/ \n', min_size=1, max_size=12) | st.sampled_from(["is:open", "-"])
_TIMES = st.timedeltas(timedelta(days=-700_000), timedelta(days=2_900_000)).map(NOON.__add__)
_BEFORE = st.integers(0, 365_000 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
_NEGATED = st.booleans()
_SIGNS = st.sampled_from([">", ">=", "<", "<=", "="])
_LIMITS = st.decimals(0, 10**9, places=4).map(float)


def _one_of(key: Key, values: st.SearchStrategy[str]) -> st.SearchStrategy[OneOf]:
    several = st.lists(values, min_size=1, max_size=3).map(tuple)
    return st.builds(OneOf, st.just(key), several, _NEGATED)


TERMS: st.SearchStrategy[Term] = st.one_of(
    st.builds(Word, _ANY, _NEGATED),
    *(_one_of(key, _ANY) for key in Key if key not in (Key.UPSTREAM, Key.SOURCE)),
    _one_of(Key.UPSTREAM, st.sampled_from(["dream_machine", "agents"])),
    _one_of(Key.SOURCE, st.sampled_from(["submit", "callback", "fetch"])),
    st.builds(IsOneOf, st.lists(st.sampled_from(Is), min_size=1, max_size=3).map(tuple), _NEGATED),
    st.builds(When, st.booleans(), _TIMES | _BEFORE, _NEGATED),
    st.builds(Compare, st.sampled_from(["cost", "took"]), _SIGNS, _LIMITS, _NEGATED),
)
QUERIES = st.builds(Query, st.lists(TERMS, max_size=4).map(tuple))


@given(QUERIES)
def test_what_is_printed_is_parsed_to_the_same(query: Query) -> None:
    assert parse(str(query)) == query


@given(_ANY | st.lists(_ANY, max_size=5).map(" ".join))
def test_any_text_is_a_query_or_an_error_with_its_place(text: str) -> None:
    with suppress(InvalidQuery):
        query = parse(text)
        assert parse(str(query)) == query
        return
    with pytest.raises(InvalidQuery) as raised:
        parse(text)
    assert 0 <= raised.value.at <= len(raised.value.text)
    marked, mark = raised.value.pointed.split("\n")
    assert mark.strip() == "^"
    assert len(mark) <= len(marked) + 1


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("  \t\n", []),
        ("lake", [Word("lake")]),
        ("Lake -forest", [Word("Lake"), Word("forest", negated=True)]),
        ('"at dawn" -"a \\"b\\" \\\\"', [Word("at dawn"), Word('a "b" \\', negated=True)]),
        ("- -- a-b", [Word("-"), Word("-", negated=True), Word("a-b")]),
        ('model:"//a" model://a', [OneOf(Key.MODEL, ("//a",)), Word("model://a")]),
        ("12:30 https://a.example/b", [Word("12:30"), Word("https://a.example/b")]),
        ('""', []),
        ("state:queued,Dreaming", [OneOf(Key.STATE, ("queued", "dreaming"))]),
        ("STATE:new", [OneOf(Key.STATE, ("new",))]),
        ("state:FAILED,Paused,Unknown", [OneOf(Key.STATE, ("failed", "Paused", "unknown"))]),
        ("type:Video,Mesh", [OneOf(Key.TYPE, ("video", "Mesh"))]),
        ("operation:Add_Audio,Dub", [OneOf(Key.OPERATION, ("add_audio", "Dub"))]),
        (
            "upstream:Agents source:FETCH",
            [
                OneOf(Key.UPSTREAM, ("agents",)),
                OneOf(Key.SOURCE, ("fetch",)),
            ],
        ),
        (
            "model:Ray-2 id:A parent:B",
            [
                OneOf(Key.MODEL, ("Ray-2",)),
                OneOf(Key.ID, ("A",)),
                OneOf(Key.PARENT, ("B",)),
            ],
        ),
        ('model:"a b",ray-2', [OneOf(Key.MODEL, ("a b", "ray-2"))]),
        ("-id:a:b", [OneOf(Key.ID, ("a:b",), negated=True)]),
        ("-is:Gone,open", [IsOneOf((Is.GONE, Is.OPEN), negated=True)]),
        ("after:-24h", [When(True, timedelta(hours=24))]),
        ('before:"2026-05-30 12:00"', [When(False, NOON)]),
        ("cost:>0.5", [Compare("cost", ">", 0.5)]),
        ("cost:2", [Compare("cost", "=", 2.0)]),
        ("took:<=1.5m", [Compare("took", "<=", 90.0)]),
    ],
)
def test_what_texts_mean(text: str, terms: list[Term]) -> None:
    assert list(parse(text).terms) == terms


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("lake modle:ray-2", 5, "`modle:` is no key; did you mean model?"),
        ("lake note:this", 5, 'To search for this text, put it into quotes: "note:…".'),
        ("is:opne", 3, "is:opne is unknown; did you mean open?"),
        ("is:open,x", 8, "is:x is unknown: use one of terminal, open, stale, gone"),
        ("upstream:agent", 9, "did you mean agents?"),
        ("source:web", 7, "use one of submit, callback"),
        ("state:", 6, "`state:` needs a value here, such as state:completed."),
        ("state:a,,b", 8, "needs a value here"),
        ("-model: x", 7, "needs a value here, such as model:ray-2."),
        ('a "b', 2, 'This quote is not closed: add another ".'),
        ('"a"b', 3, "A space is missing after the quote."),
        ("after:yesterday", 6, "`yesterday` is not a time such as"),
        ("before:", 7, "A time is missing here: a time such as"),
        ("after:5", 6, "or a time before now such as -24h or -7d"),
        ("cost:cheap", 5, "`cost:` takes a comparison such as cost:>0.5."),
        ("cost:>1s", 5, "cost:>0.5"),
        ("took:>", 5, "took:>60s"),
        ("took:>-1", 5, "took:>60s"),
        ("lake " * 101, 500, "A query has at most 500 characters; this one has 505."),
    ],
)
def test_an_error_says_where_and_what_would_be_right(text: str, at: int, message: str) -> None:
    with pytest.raises(InvalidQuery) as raised:
        parse(text)
    assert raised.value.at == at
    assert message in str(raised.value)


def test_an_error_points_at_its_place_in_a_long_query() -> None:
    with pytest.raises(InvalidQuery) as raised:
        parse(f"{'a ' * 100}is:x\ty")
    line, mark = raised.value.pointed.split("\n")
    assert line[len(mark) - 1 :] == "x y"
