"""What the options of `create` say, and whether it goes together."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from service.cli.completion import (
    complete_aspect_ratios,
    complete_ids,
    complete_models,
    complete_upstreams,
)
from service.cli.suggestions import nearest
from service.domain.generation import is_usable_id
from service.domain.models import IMAGE_MODELS, MODELS, VIDEO_MODELS
from service.domain.upstreams import AGENTS, DREAM_MACHINE
from service.errors import InvalidInput

_DEFAULT_VIDEO, _DEFAULT_IMAGE = "ray-2", "photon-1"


class Kind(StrEnum):
    """What is made."""

    VIDEO = "video"
    IMAGE = "image"
    UPSCALE = "upscale"
    AUDIO = "audio"
    REFRAME = "reframe"
    MODIFY = "modify"


_OF_DREAM_MACHINE = (Kind.UPSCALE, Kind.AUDIO)


_Text = str | None
_Texts = list[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A generation to create; each field is an argument or option."""

    kind: Annotated[
        Kind | None,
        typer.Argument(
            metavar="KIND",
            help="video, image, upscale, audio, reframe or modify. Default: what the model makes, "
            "else video.",
        ),
    ] = None
    prompt: Annotated[_Text, typer.Option("--prompt", "-p", help="What it is to show.")] = None
    model: Annotated[
        _Text,
        typer.Option(
            "--model",
            "-m",
            help="It decides which API is used. Default: ray-2 for videos, photon-1 for images.",
            autocompletion=complete_models,
        ),
    ] = None
    upstream: Annotated[
        _Text,
        typer.Option(
            help="dream_machine or agents, for a model that luma-tracker does not know.",
            autocompletion=complete_upstreams,
        ),
    ] = None
    aspect_ratio: Annotated[
        _Text,
        typer.Option(help="For example 16:9, 1:1 or 9:16.", autocompletion=complete_aspect_ratios),
    ] = None
    duration: Annotated[_Text, typer.Option(help="For example 5s.")] = None
    resolution: Annotated[_Text, typer.Option(help="For example 720p, 1080p or 4k.")] = None
    loop: Annotated[
        bool | None, typer.Option("--loop/--no-loop", help="Whether the end meets the beginning.")
    ] = None
    image: Annotated[
        _Texts,
        typer.Option(metavar="URL", help="Image to start from or to refer to; repeatable."),
    ] = None
    keyframe: Annotated[
        _Texts,
        typer.Option(metavar="URL", help="First frame of a video; given again: the last."),
    ] = None
    video: Annotated[_Texts, typer.Option(metavar="URL", help="Video to reframe or modify.")] = None
    generation: Annotated[
        _Texts,
        typer.Option(
            "--generation",
            "-g",
            metavar="ID",
            help="Generation to upscale, to add audio to, to extend, or to refer to.",
            autocompletion=complete_ids,
        ),
    ] = None
    mode: Annotated[
        _Text, typer.Option(help="For modify: from adhere_1, close to the source, to reimagine_3.")
    ] = None
    negative_prompt: Annotated[_Text, typer.Option(help="For audio: what not to hear.")] = None
    callback_url: Annotated[
        _Text, typer.Option(metavar="URL", help="Yours: it is sent each change of state.")
    ] = None
    set_: Annotated[
        _Texts,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any other member of the body; repeatable."
        ),
    ] = None
    body: Annotated[
        _Text, typer.Option(metavar="FILE", help="A JSON object to start from; - is stdin.")
    ] = None
    idempotency_key: Annotated[
        _Text,
        typer.Option(
            metavar="KEY",
            help="Repeat a command with its key within 24 h: nothing is bought twice.",
        ),
    ] = None

    @property
    def images(self) -> list[str]:
        """The URLs of all images."""
        return self.image or []

    @property
    def keyframes(self) -> list[str]:
        """The URLs of all keyframes."""
        return self.keyframe or []

    @property
    def videos(self) -> list[str]:
        """The URLs of all videos."""
        return self.video or []

    @property
    def generations(self) -> list[str]:
        """The ids of all generations."""
        return self.generation or []

    @property
    def chosen_kind(self) -> Kind:
        """The kind; if none is named, what the model makes."""
        return self.kind or (Kind.IMAGE if self.model in IMAGE_MODELS else Kind.VIDEO)

    @property
    def chosen_model(self) -> str | None:
        """The model; None where Luma takes that of the parent."""
        if self.chosen_kind in _OF_DREAM_MACHINE:
            return None
        default = _DEFAULT_IMAGE if self.chosen_kind is Kind.IMAGE else _DEFAULT_VIDEO
        return self.model or default

    @property
    def chosen_upstream(self) -> str:
        """The API that has the model."""
        return self.upstream or MODELS.get(self.chosen_model or "", DREAM_MACHINE)


def check(wanted: Wanted) -> None:
    """Check what would be refused after a request, or bought by mistake.

    Raises:
        InvalidInput: an option is wrong; the message names it.
    """
    _check_model(wanted)
    for generation_id in wanted.generations:
        if not is_usable_id(generation_id):
            raise InvalidInput(
                "generation", f"--generation {generation_id}: this is not an id of Luma's."
            )
    if wanted.chosen_kind in _OF_DREAM_MACHINE:
        _check_derived(wanted)
    _check_prompt(wanted)


def _check_model(wanted: Wanted) -> None:
    model, kind = wanted.model, wanted.chosen_kind
    if wanted.upstream not in (None, DREAM_MACHINE, AGENTS):
        raise InvalidInput(
            "upstream", f"--upstream {wanted.upstream}: use {DREAM_MACHINE} or {AGENTS}."
        )
    if model is not None and model not in MODELS and wanted.upstream is None:
        near = nearest(model, MODELS)
        hint = f"Did you mean `{near}`? " if near else f"Known: {', '.join(MODELS)}. "
        raise InvalidInput(
            "model",
            f"--model {model}: this model is not known.",
            f"{hint}To send it anyway, say which API has it: --upstream.",
        )
    other = {Kind.VIDEO: IMAGE_MODELS, Kind.IMAGE: VIDEO_MODELS}.get(kind, {})
    if model in other:
        known = VIDEO_MODELS if kind is Kind.VIDEO else IMAGE_MODELS
        message = f"--model {model}: it makes no {kind}s."
        raise InvalidInput("model", message, f"Use one of {', '.join(known)}.")


def _check_prompt(wanted: Wanted) -> None:
    """Check that something says what to make."""
    needs_one = wanted.chosen_kind in (Kind.VIDEO, Kind.IMAGE, Kind.AUDIO)
    says = wanted.prompt or wanted.body or wanted.keyframes or wanted.images or wanted.set_
    extends = wanted.generations and wanted.chosen_kind is not Kind.AUDIO
    if needs_one and not (says or extends):
        raise InvalidInput(
            "prompt",
            f"--prompt: nothing says what the {wanted.chosen_kind} is to be.",
            'Example: luma-tracker create --prompt "a lake at sunset"',
        )


def _check_derived(wanted: Wanted) -> None:
    """Check an upscale or audio: made from one generation, by Dream Machine."""
    kind = wanted.chosen_kind
    if wanted.upstream == AGENTS or wanted.model is not None:
        option = "model" if wanted.model is not None else "upstream"
        hint = "Leave it out: Dream Machine does it, with the model of the video."
        raise InvalidInput(option, f"--{option}: {kind} does not take it.", hint)
    if (count := len(wanted.generations)) != 1:
        raise InvalidInput(
            "generation",
            f"--generation: {kind} needs one, not {count}.",
            f"Example: luma-tracker create {kind} --generation ID",
        )
