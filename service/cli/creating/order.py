"""What is wanted, in the form of Luma's two APIs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from service.cli.backend.contract import Json, Order
from service.cli.creating.overrides import merged, read_body, with_settings
from service.cli.creating.wanted import Kind, Wanted, check
from service.domain.models import IMAGE_MODELS
from service.domain.upstreams import AGENTS
from service.errors import InvalidInput

_ASSUMED = ("generation_type", "type", "model")
"""Members that a body of the caller's overrides."""
_KINDS = {
    "video": Kind.VIDEO,
    "image": Kind.IMAGE,
    "image_edit": Kind.IMAGE,
    "layering": Kind.IMAGE,
    "upscale_video": Kind.UPSCALE,
    "add_audio": Kind.AUDIO,
    "reframe_image": Kind.REFRAME,
    "reframe_video": Kind.REFRAME,
    "video_reframe": Kind.REFRAME,
    "modify_video": Kind.MODIFY,
    "video_edit": Kind.MODIFY,
}
"""What Luma's operations are called here."""


def order_of(wanted: Wanted) -> Order:
    """Return the order for what is wanted.

    Raises:
        InvalidInput: an option is wrong; the message names it.
    """
    start = read_body(wanted.body)
    wanted = _completed(wanted, start)
    check(wanted)
    body = body_of(wanted)
    assumed = {name: body.pop(name) for name in _ASSUMED if name in body and name in start}
    body = with_settings(merged({**assumed, **start}, body), wanted.set_ or ())
    key = wanted.idempotency_key or str(uuid4())
    return Order(wanted.chosen_upstream, path_of(wanted), json.dumps(body).encode(), key)


def _completed(wanted: Wanted, start: Json) -> Wanted:
    """Take kind and model from the body that `--body` names, unless an option says otherwise."""
    kind = wanted.kind or _KINDS.get(str(start.get("generation_type") or start.get("type")))
    model = wanted.model or start.get("model")
    return replace(wanted, kind=kind, model=model if isinstance(model, str) else None)


def path_of(wanted: Wanted) -> str:
    """Return the path of the create, below the base URL of its API."""
    kind = wanted.chosen_kind
    if wanted.chosen_upstream == AGENTS:
        return "generations"
    if kind in (Kind.UPSCALE, Kind.AUDIO):
        return f"generations/{wanted.generations[0]}/{kind}"
    return f"generations/{_medium(wanted)}{_SUFFIXES.get(kind, '')}"


_SUFFIXES = {Kind.REFRAME: "/reframe", Kind.MODIFY: "/modify"}


def body_of(wanted: Wanted) -> Json:
    """Return the body of the create, without what was not given.

    Raises:
        InvalidInput: the API does not have what is wanted.
    """
    body = _for_agents(wanted) if wanted.chosen_upstream == AGENTS else _for_dream_machine(wanted)
    return given({**body, "callback_url": wanted.callback_url})


def given(values: Mapping[str, Any]) -> Json:
    """Leave out what has no value."""
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _medium(wanted: Wanted) -> str:
    """Return whether a video or an image is made."""
    of_image = wanted.chosen_kind is Kind.IMAGE or wanted.chosen_model in IMAGE_MODELS
    return "image" if of_image else "video"


# Dream Machine


def _for_dream_machine(wanted: Wanted) -> Json:
    common = {
        "generation_type": _generation_type(wanted),
        "model": wanted.chosen_model,
        "prompt": wanted.prompt,
        "aspect_ratio": wanted.aspect_ratio,
        "resolution": wanted.resolution,
        "duration": wanted.duration,
        "loop": wanted.loop,
        "negative_prompt": wanted.negative_prompt,
        "mode": wanted.mode,
    }
    return {**common, **_media(wanted)}


def _generation_type(wanted: Wanted) -> str:
    names = {
        Kind.UPSCALE: "upscale_video",
        Kind.AUDIO: "add_audio",
        Kind.REFRAME: f"reframe_{_medium(wanted)}",
        Kind.MODIFY: "modify_video",
    }
    return names.get(wanted.chosen_kind, wanted.chosen_kind)


def _media(wanted: Wanted) -> Json:
    """Return the inputs that are files or generations."""
    kind = wanted.chosen_kind
    if kind is Kind.VIDEO:
        return {"keyframes": _frames(wanted, ("frame0", "frame1"), _keyframe)}
    if kind is Kind.IMAGE:
        return {"image_ref": [{"url": url} for url in wanted.images]}
    if kind is Kind.REFRAME:
        return {"media": _url(_source(wanted, wanted.videos or wanted.images))}
    if kind is Kind.MODIFY:
        first = [*wanted.keyframes, *wanted.images]
        return {
            "media": _url(_source(wanted, wanted.videos)),
            "first_frame": _url(next(iter(first), None)),
        }
    return {}


def _url(url: str | None) -> Json | None:
    return {"url": url} if url else None


def _keyframe(kind: str, value: str) -> Json:
    if kind == "generation":
        return {"type": "generation", "id": value}
    return {"type": "image", "url": value}


# Agents API


def _for_agents(wanted: Wanted) -> Json:
    kind = wanted.chosen_kind
    if kind is Kind.IMAGE:
        return _agents_image(wanted)
    options: Json = {
        "resolution": wanted.resolution,
        "duration": wanted.duration,
        "loop": wanted.loop,
    }
    source = None
    if kind is Kind.VIDEO:
        options |= _frames(wanted, ("start_frame", "end_frame"), _reference)
    else:
        source = _agents_source(wanted)
    if kind is Kind.MODIFY:
        options["edit"] = given({"strength": wanted.mode})
    return {
        **_agents_common(wanted, _AGENTS_TYPES[kind]),
        "source": source,
        "video": given(options),
    }


_AGENTS_TYPES = {Kind.VIDEO: "video", Kind.REFRAME: "video_reframe", Kind.MODIFY: "video_edit"}


def _agents_common(wanted: Wanted, type_: str) -> Json:
    return {
        "type": type_,
        "model": wanted.chosen_model,
        "prompt": wanted.prompt,
        "aspect_ratio": wanted.aspect_ratio,
    }


def _agents_image(wanted: Wanted) -> Json:
    named = [("generation", each) for each in wanted.generations]
    named += [("url", each) for each in wanted.images]
    references = [_reference(*each) for each in named]
    return {**_agents_common(wanted, "image"), "image_ref": references}


def _reference(kind: str, value: str) -> Json:
    return {"generation_id": value} if kind == "generation" else {"url": value}


def _agents_source(wanted: Wanted) -> Json | None:
    if wanted.generations:
        return {"generation_id": wanted.generations[0]}
    return _url(_source(wanted, wanted.videos))


# Both


def _source(wanted: Wanted, urls: Sequence[str]) -> str | None:
    """Return the URL of what is reframed or modified; None: the body of the caller's has it."""
    if len(urls) == 1:
        return urls[0]
    if wanted.body and not urls:
        return None
    kind = wanted.chosen_kind
    raise InvalidInput(
        "video",
        f"--video: {kind} needs the URL of one file, not {len(urls)}.",
        f"Example: luma-tracker create {kind} --video https://host.example/v.mp4",
    )


def _frames(
    wanted: Wanted, names: tuple[str, str], written: Callable[[str, str], Json]
) -> dict[str, Json]:
    """Return first and last frame: generations to extend come before images."""
    frames = [("generation", each) for each in wanted.generations]
    frames += [("url", each) for each in (*wanted.keyframes, *wanted.images)]
    if len(frames) > len(names):
        raise InvalidInput(
            "keyframe",
            f"--keyframe: a video has two, its first and its last frame, not {len(frames)}.",
            "Count --generation, --keyframe and --image together.",
        )
    return {name: written(*frame) for name, frame in zip(names, frames, strict=False)}
