"""The query language of lists, pages, webhooks, the command line and MCP.

    a lake "at dawn" state:queued,dreaming -model:ray-2 created after:-7d cost:>0.5

terms     what a query consists of, and its canonical text
parsing   text to query, or an error with its place
matching  whether a generation matches; `service.storage.criteria` is the same in SQL
"""

from service.domain.query.matching import Conditions, matches
from service.domain.query.parsing import LONGEST, parse
from service.domain.query.terms import (
    EVERYTHING,
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

__all__ = [
    "EVERYTHING",
    "LONGEST",
    "Compare",
    "Conditions",
    "Is",
    "IsOneOf",
    "Key",
    "OneOf",
    "Query",
    "Term",
    "When",
    "Word",
    "matches",
    "parse",
]
