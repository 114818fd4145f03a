"""The errors of this service, as one tree. They are independent of HTTP; each surface maps them.

TrackerError
├── InvalidInput             an invalid id, cursor or parameter
│   └── InvalidQuery         a query that does not parse; it says where
├── Forbidden                a valid token that does not permit this
├── Unreadable               a body without a recognizable generation
├── NotFound                 neither the database nor any upstream has the generation
├── UpstreamError            the upstream did not return the generation
│   ├── UpstreamRefused      it refused the request: key, plan, credits
│   ├── UpstreamNonsense     its answer has an unknown form
│   └── UpstreamUnavailable  it is down, slow or rate-limiting; retry later
│       └── NotSent          no byte of the request was sent to it
│           └── NoneFree     because all connections to it are in use
├── StoreUnavailable         the database cannot read or write now
└── SettingsError            a setting is missing or invalid; mostly the start fails

Every message says what is wrong; every hint says what to do.
"""

from typing import ClassVar, NamedTuple


class UpstreamAnswer(NamedTuple):
    """An error that an upstream answered, as it came."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class TrackerError(Exception):
    """An expected error. `str()` is the message; `hint` says what to do."""

    kind: ClassVar[str] = "unforeseen"
    """The name by which programs tell it apart; a subclass without one has that of its parent."""
    hint = ""
    answer: UpstreamAnswer | None = None
    """What the upstream answered, if it did so in its own error format."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class InvalidInput(TrackerError):
    """An invalid value; `field` names the parameter."""

    kind = "invalid-input"

    def __init__(self, field: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.field = field


class InvalidQuery(InvalidInput):
    """A text that is no query.

    Args:
        text: the query.
        at: where it is wrong, in characters from 0.
        message: what is wrong there, and what would be right.
    """

    kind = "invalid-query"

    def __init__(self, text: str, at: int, message: str) -> None:
        rest = repr(text[at : at + 30]) if text[at:].strip() else "its end"
        super().__init__("q", message, f"Correct the query at character {at}: {rest}.")
        self.text = text
        self.at = at

    @property
    def pointed(self) -> str:
        """Two lines: the query, and a mark under the place that is wrong."""
        line = "".join(c if c.isprintable() else " " for c in self.text)
        begin = max(0, self.at - 60)
        return f"{line[begin : begin + 80]}\n{' ' * (self.at - begin)}^"


class Forbidden(TrackerError):
    """A callback token that was used for a generation other than its own."""

    kind = "forbidden"


class Unreadable(TrackerError):
    """A body that is not a JSON object with a valid id."""

    kind = "unreadable"


class NotFound(TrackerError):
    """No generation with that id exists for the configured keys."""

    kind = "not-found"
    hint = (
        "Check the id, and that LUMAAI_API_KEY or LUMA_AGENTS_API_KEY belongs to the account that "
        "created the generation."
    )


class UpstreamError(TrackerError):
    """An upstream did not return the generation; `upstream` names it."""

    def __init__(self, upstream: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.upstream = upstream


class UpstreamRefused(UpstreamError):
    """The upstream refused the request; a retry would be refused too."""

    kind = "upstream-refused"
    hint = (
        "Check the API key (LUMAAI_API_KEY for dream_machine, LUMA_AGENTS_API_KEY for agents), its "
        "plan and its credits; run `luma-tracker doctor`."
    )

    def __init__(self, upstream: str, message: str, *, about_generation: bool = False) -> None:
        super().__init__(upstream, message)
        self.about_generation = about_generation
        """Whether it refused only this generation, and not the key."""
        self.status: int | None = None
        """The HTTP status of the answer, if there was one."""


class UpstreamNonsense(UpstreamError):
    """The upstream's answer does not have its documented form."""

    kind = "upstream-nonsense"
    hint = (
        "Check the base URL (TRACKER_DREAM_MACHINE_URL, TRACKER_AGENTS_URL), and that no proxy "
        "answers in place of Luma."
    )


class UpstreamUnavailable(UpstreamError):
    """The upstream is down, slow or rate-limiting."""

    kind = "upstream-unavailable"
    hint = "Retry later. Generations that are stored are still served."

    def __init__(
        self,
        upstream: str,
        message: str,
        hint: str | None = None,
        *,
        retry_after: float = 5.0,
        from_upstream: bool = False,
        limit: int | None = None,
    ) -> None:
        super().__init__(upstream, message, hint)
        self.retry_after = retry_after
        """Seconds to wait before a retry."""
        self.from_upstream = from_upstream
        """Whether the upstream asked for a pause: it answered 429, or sent `Retry-After`."""
        self.limit = limit
        """The requests per minute that it allows, if it said so."""


class NotSent(UpstreamUnavailable):
    """No byte of the request was sent, so that it is safe to repeat."""


class BudgetSpent(NotSent):
    """Our own limit on requests to the upstream is reached; that says nothing about it either."""


class NoneFree(NotSent):
    """All connections to the upstream are in use; that says nothing about the upstream."""


class StoreUnavailable(TrackerError):
    """The database is locked, full, unreachable or overloaded; nothing was stored."""

    kind = "store-unavailable"
    hint = (
        "Retry in a few seconds. If it persists, run `luma-tracker doctor` and check "
        "TRACKER_DATABASE_URL."
    )
    retry_after = 1.0


class SettingsError(TrackerError):
    """A setting with which the service cannot start; the message names it."""

    kind = "settings-error"
