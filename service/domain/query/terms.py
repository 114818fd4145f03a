"""What a query consists of. `str()` of a query or term is its canonical text."""

import re
from dataclasses import dataclass
from datetime import UTC, timedelta
from enum import StrEnum

from service.domain.times import Moment

KEYED = re.compile(r"([A-Za-z_]+):(?!//)")  # addresses are words
_BARE_WORD = re.compile(r"[^\s\"-]\S*")
_BARE_VALUE = re.compile(r"(?!//)[^\s\",][^\s,]*")


class Key(StrEnum):
    """The keys whose values are compared as they are; a term has one or several of them."""

    STATE = "state"
    UPSTREAM = "upstream"
    TYPE = "type"
    OPERATION = "operation"
    MODEL = "model"
    ID = "id"
    PARENT = "parent"
    SOURCE = "source"


class Is(StrEnum):
    """The values of the key `is`."""

    TERMINAL = "terminal"
    OPEN = "open"
    STALE = "stale"
    GONE = "gone"
    VERIFIED = "verified"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Word:
    """Text that the prompt, the id or the failure must contain, ignoring case."""

    text: str
    negated: bool = False

    def __str__(self) -> str:
        is_bare = _BARE_WORD.fullmatch(self.text) and not KEYED.match(self.text)
        return _sign(self) + (self.text if is_bare else _quoted(self.text))


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of the values must be that of the key."""

    key: Key
    values: tuple[str, ...]
    negated: bool = False

    def __str__(self) -> str:
        return f"{_sign(self)}{self.key}:{','.join(map(_value, self.values))}"


@dataclass(frozen=True, slots=True)
class IsOneOf:
    """One of the conditions must hold."""

    values: tuple[Is, ...]
    negated: bool = False

    def __str__(self) -> str:
        return f"{_sign(self)}is:{','.join(self.values)}"


@dataclass(frozen=True, slots=True)
class When:
    """The generation was created after or before a time."""

    after: bool
    at: Moment
    negated: bool = False

    def __str__(self) -> str:
        return f"{_sign(self)}{'after' if self.after else 'before'}:{_moment(self.at)}"


@dataclass(frozen=True, slots=True)
class Compare:
    """A number compares with a limit: `cost` in US dollars, `took` in seconds."""

    key: str
    operator: str
    limit: float
    negated: bool = False

    def __str__(self) -> str:
        unit = "s" if self.key == "took" else ""
        return f"{_sign(self)}{self.key}:{self.operator}{self.limit!r}{unit}"


Term = Word | OneOf | IsOneOf | When | Compare


@dataclass(frozen=True, slots=True)
class Query:
    """A conjunction of terms."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    @property
    def asks_for_gone(self) -> bool:
        """Whether it asks for what Luma no longer knows, which lists leave out otherwise."""
        return any(
            isinstance(term, IsOneOf) and Is.GONE in term.values and not term.negated
            for term in self.terms
        )

    @property
    def depends_on_now(self) -> bool:
        """Whether other generations match at another time."""
        return any(
            (isinstance(term, When) and isinstance(term.at, timedelta))
            or (isinstance(term, IsOneOf) and Is.STALE in term.values)
            for term in self.terms
        )


EVERYTHING = Query()
"""The query that all generations match."""


def _sign(term: Term) -> str:
    return "-" if term.negated else ""


def _value(text: str) -> str:
    return text if _BARE_VALUE.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _moment(moment: Moment) -> str:
    if isinstance(moment, timedelta):
        return f"-{moment // timedelta(seconds=1)}s"
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
