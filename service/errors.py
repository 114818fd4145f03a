"""Everything that can go wrong, as one tree. Nothing here knows of HTTP; each surface translates.

TrackerError
├── InvalidInput             the question itself cannot be answered: a bad id, cursor or parameter
├── Forbidden                a token that is good, but not for this
├── Unreadable               a body in which no generation can be recognised
├── NotFound                 neither the store nor any upstream knows it
├── UpstreamError            Luma could not tell us
│   ├── UpstreamRefused      it said no to us: key, plan, credits
│   ├── UpstreamNonsense     it said yes, but not in a form that we understand
│   └── UpstreamUnavailable  it is down, slow or limiting us; worth another try later
├── StoreUnavailable         the database cannot take or give a row just now
└── SettingsError            a setting is missing or wrong; the start stops here

Every message says what was wrong, every hint what to do about it.
"""


class TrackerError(Exception):
    """Something that we foresaw; `str()` is for people, `hint` says what to do next."""

    hint = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class InvalidInput(TrackerError):
    """A value that no answer can be given for; `field` names it."""

    def __init__(self, field: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.field = field


class Forbidden(TrackerError):
    """A callback token that was used for another generation than its own."""


class Unreadable(TrackerError):
    """A body that holds no JSON object with a usable id."""


class NotFound(TrackerError):
    """Nobody knows a generation of that id."""

    hint = "Check the id; a generation of another account is unknown to this key as well."


class UpstreamError(TrackerError):
    """One upstream could not tell us; `upstream` names it."""

    def __init__(self, upstream: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.upstream = upstream


class UpstreamRefused(UpstreamError):
    """The upstream answered, and the answer is no; asking again will not change it."""

    hint = "Check the API key, its plan and its credits; `luma-tracker doctor` tells them apart."

    def __init__(self, upstream: str, message: str, *, of_this: bool = False) -> None:
        super().__init__(upstream, message)
        self.of_this = of_this
        """Whether it is this generation that it refuses to speak of, and not us."""


class UpstreamNonsense(UpstreamError):
    """The upstream answered with something that is not its documented answer."""

    hint = "Check that the upstream's URL is right and that no proxy answers in its place."


class UpstreamUnavailable(UpstreamError):
    """The upstream is down, slow or limiting us."""

    hint = "Ask again later; what the store knows is still served."

    def __init__(
        self,
        upstream: str,
        message: str,
        hint: str | None = None,
        *,
        retry_after: float = 5.0,
        told: bool = False,
    ) -> None:
        super().__init__(upstream, message, hint)
        self.retry_after = retry_after
        """Seconds after which another try makes sense."""
        self.told = told
        """Whether the upstream itself asked to be left alone for so long."""


class StoreUnavailable(TrackerError):
    """The database is locked, full, gone or overrun; nothing was stored."""

    hint = "Ask again in a moment; if it lasts, run `luma-tracker doctor`."
    retry_after = 1.0


class SettingsError(TrackerError):
    """A setting that the service cannot start with; the message names it."""
