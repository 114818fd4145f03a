"""Types of arguments that several tools have. They are checked before anything is sent or spent."""

import re
from ipaddress import ip_network
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from service.domain.addresses import require_callable
from service.domain.generation import is_usable_id
from service.errors import InvalidInput

_ANYWHERE = tuple(map(ip_network, ("0.0.0.0/0", "::/0")))
_LOCAL = re.compile(r"(.+\.)?localhost\.?")
_LONGEST_KEY = 255  # characters


class Arguments(BaseModel):
    """The base of all arguments: unknown ones are refused, and null is as good as none."""

    model_config = ConfigDict(extra="forbid")

    def given(self, *leave_out: str) -> dict[str, Any]:
        """Return the arguments that have a value, in the form in which Luma takes them."""
        return self.model_dump(mode="json", exclude_none=True, exclude=set(leave_out))


def _media_url(url: str) -> str:
    """Check that Luma can download from a URL."""
    _require_callable(url, ())
    if _LOCAL.fullmatch(urlsplit(url).hostname or ""):
        raise ValueError("this URL names this machine. Luma needs a public http(s) URL")
    return url


def _callback_url(url: str) -> str:
    """Check the form of a URL; whether its address may be called, is for the sender to decide."""
    _require_callable(url, _ANYWHERE)
    return url


def _require_callable(url: str, allowed: Any) -> None:
    try:
        require_callable("url", url, allowed)
    except InvalidInput as error:
        reason = str(error).removeprefix("url: ")
        raise ValueError(f"{reason} Luma needs a public http(s) URL") from error


def _generation_id(value: str) -> str:
    if not is_usable_id(value):
        raise ValueError("this is not an id of Luma's: 1-128 characters of A-Z a-z 0-9 . _ : -")
    return value


def _prompt(value: str) -> str:
    if not value.strip():
        raise ValueError("the prompt is empty")
    return value


MediaUrl = Annotated[str, AfterValidator(_media_url)]
CallbackUrl = Annotated[str, AfterValidator(_callback_url)]
GenerationId = Annotated[str, AfterValidator(_generation_id)]
Prompt = Annotated[str, AfterValidator(_prompt)]


class CreateArguments(Arguments):
    """What all creates take."""

    callback_url: CallbackUrl | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=_LONGEST_KEY)] | None = Field(
        None, description="Any new string; makes repeating safe."
    )


class Reference(Arguments):
    """A file for the Agents API."""

    url: MediaUrl | None = None
    data: str | None = None
    generation_id: GenerationId | None = None
    file_id: str | None = None
    media_type: str | None = None

    @model_validator(mode="after")
    def _names_one_file(self) -> Self:
        named = [self.url, self.data, self.generation_id, self.file_id]
        if sum(each is not None for each in named) != 1:
            raise ValueError("give exactly one of url, data (base64), generation_id, file_id")
        if self.data is not None and self.media_type is None:
            raise ValueError("data needs a media_type, such as image/jpeg")
        return self


def require_supported(
    model: str, field: str, value: Any, allowed: tuple[str, ...], others: str
) -> None:
    """Check that a model takes a value.

    Raises:
        InvalidInput: it does not.
    """
    if value is not None and value not in allowed:
        raise InvalidInput(
            field,
            f"{field}: {model} does not take {value}, but {', '.join(allowed)}.",
            f"Correct the arguments, or use {others}.",
        )


def refuse_given(model: str, arguments: Arguments, fields: tuple[str, ...], others: str) -> None:
    """Check that arguments that a model does not have are not given.

    Raises:
        InvalidInput: one is.
    """
    for field in fields:
        if getattr(arguments, field) is not None:
            raise InvalidInput(
                field, f"{field}: {model} does not have it.", f"Leave it out, or use {others}."
            )


def require_length(model: str, prompt: str, least: int, most: int) -> None:
    """Check the length of a prompt, in characters.

    Raises:
        InvalidInput: it is too short or too long.
    """
    if not least <= len(prompt) <= most:
        raise InvalidInput(
            "prompt",
            f"prompt: it has {len(prompt)} characters; {model} takes {least} to {most}.",
            "Correct the arguments.",
        )


AspectRatio = Literal[
    "1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21", "3:1", "2:1", "3:2", "2:3", "1:2", "1:3"
]  # fmt: skip
