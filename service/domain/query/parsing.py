"""Text to query. Any text is a query, or an error that says where and what would be right."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from service.domain.generation import KNOWN_STATES, UNKNOWN_STATE, Source
from service.domain.query.terms import (
    KEYED,
    Compare,
    Is,
    IsOneOf,
    Key,
    OneOf,
    Query,
    Term,
    When,
    Word,
)
from service.domain.text import clean_text
from service.domain.times import FORMS, parse_moment
from service.domain.upstreams import AGENTS, DREAM_MACHINE
from service.errors import InvalidQuery

LONGEST = 500
"""The most characters of a query."""
_SPACE = re.compile(r"\s*")
_BARE_WORD = re.compile(r"\S+")
_BARE_VALUE = re.compile(r"[^\s,]*")
_PHRASE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_LIMIT = re.compile(r"(>=|<=|>|<|=)?([0-9]{1,12}(?:\.[0-9]{1,12})?(?:e-?[0-9]{1,2})?)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "is": tuple(Is),
    "upstream": (DREAM_MACHINE, AGENTS),
    "source": tuple(Source),
}
"""All values of a key. Other keys take any: Luma may add states, models and operations."""
_NAMES: Mapping[str, tuple[str, ...]] = {
    **_KNOWN,
    "state": (*KNOWN_STATES, UNKNOWN_STATE),
    "type": ("video", "image"),
    "operation": (
        *("video", "image", "upscale_video", "add_audio", "reframe_image", "reframe_video"),
        *("modify_video", "image_edit", "video_edit", "video_reframe", "layering"),
    ),
}
"""Values that may be written in any case. Others are taken as written, as they are stored."""
_KEYS = (*Key, "is", "after", "before", "cost", "took")


def parse(text: str) -> Query:
    """Parse a query.

    Raises:
        InvalidQuery: the text is not a query.
    """
    if len(text) > LONGEST:
        message = f"A query has at most {LONGEST} characters; this one has {len(text)}."
        raise InvalidQuery(text, LONGEST, message)
    if "\0" in text:
        raise InvalidQuery(text, text.index("\0"), "A query has no NUL; delete it.")
    return _Parser(clean_text(text)).query()


class _Parser:
    """Reads one text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def query(self) -> Query:
        return Query(tuple(self._terms()))

    def _terms(self) -> Iterator[Term]:
        self._take(_SPACE)
        while self._at < len(self._text):
            if term := self._term():
                yield term
            self._take(_SPACE)

    def _term(self) -> Term | None:
        negated = self._rest(1) == "-" and bool(self._rest(2)[1:].strip())
        self._at += negated
        if keyed := KEYED.match(self._text, self._at):
            return self._keyed(keyed, negated=negated)
        word = self._phrase() if self._rest(1) == '"' else self._take(_BARE_WORD)
        return Word(word, negated) if word else None

    def _keyed(self, keyed: re.Match[str], *, negated: bool) -> Term:
        begin, key = self._at, keyed[1].lower()
        if key not in _KEYS:
            raise self._error(begin, _unknown_key(keyed[1]))
        self._at = keyed.end()
        if key in ("after", "before"):
            return self._when(after=key == "after", negated=negated)
        if key in ("cost", "took"):
            return self._compare(key, negated=negated)
        if key == "is":
            return IsOneOf(tuple(map(Is, self._values(key))), negated)
        return OneOf(Key(key), tuple(self._values(key)), negated)

    def _values(self, key: str) -> list[str]:
        """Read `a,b,"c d"`."""
        values = [self._value(key)]
        while self._rest(1) == ",":
            self._at += 1
            values.append(self._value(key))
        return values

    def _value(self, key: str) -> str:
        begin = self._at
        value = self._phrase() if self._rest(1) == '"' else self._take(_BARE_VALUE)
        if not value:
            raise self._error(begin, f"`{key}:` needs a value here, such as {_example(key)}.")
        if (lowered := value.lower()) in _NAMES.get(key, ()):
            return lowered
        if known := _KNOWN.get(key):
            raise self._error(begin, f"{key}:{value[:40]} is unknown{_nearest(value, known)}")
        return value

    def _when(self, *, after: bool, negated: bool) -> When:
        begin = self._at
        text = self._phrase() if self._rest(1) == '"' else self._take(_BARE_WORD)
        try:
            return When(after, parse_moment(text), negated)
        except ValueError as error:
            message = f"{error}." if text else f"A time is missing here: {FORMS}."
            raise self._error(begin, message) from None

    def _compare(self, key: str, *, negated: bool) -> Compare:
        begin, text = self._at, self._take(_BARE_WORD)
        found = _LIMIT.fullmatch(text.lower())
        if not found or (found[3] and key == "cost"):
            raise self._error(begin, f"`{key}:` takes a comparison such as {_example(key)}.")
        limit = float(found[2]) * _SECONDS[found[3]]
        return Compare(key, found[1] or "=", limit, negated)

    def _phrase(self) -> str:
        begin = self._at
        found = _PHRASE.match(self._text, begin)
        if not found:
            raise self._error(begin, 'This quote is not closed: add another ".')
        self._at = found.end()
        if self._rest(1).strip(", \t\r\n"):
            raise self._error(self._at, "A space is missing after the quote.")
        return _ESCAPED.sub(r"\1", found[1])

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        text = found[0] if found else ""
        self._at += len(text)
        return text

    def _rest(self, length: int) -> str:
        return self._text[self._at : self._at + length]

    def _error(self, at: int, message: str) -> InvalidQuery:
        return InvalidQuery(self._text, at, message)


def _unknown_key(key: str) -> str:
    message = f"`{key}:` is no key{_nearest(key, _KEYS)}"
    return f'{message} To search for this text, put it into quotes: "{key}:…".'


def _nearest(given: str, known: tuple[str, ...]) -> str:
    """Return the suggestion that ends an error message."""
    nearest = get_close_matches(given.lower(), known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f": use one of {', '.join(known)}."


def _example(key: str) -> str:
    examples = {"cost": "cost:>0.5", "took": "took:>60s", "is": "is:open", "type": "type:video"}
    return examples.get(key, f"{key}:{'ray-2' if key == 'model' else 'completed'}")
