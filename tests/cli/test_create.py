"""`create`: what it asks of Luma, what it prints, and that nothing is bought twice."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli.creating.overrides import merged, with_settings
from service.domain.models import IMAGE_MODELS, VIDEO_MODELS
from service.mcp_server.images import GenerateImage
from service.mcp_server.videos import CreateGeneration
from service.simulator import Fault, ManualClock, Simulator
from tests.acceptance.conftest import Running, Service, environment_for
from tests.acceptance.talk import body_of, call_back
from tests.acceptance.test_creates import begin, free_port
from tests.cli.conftest import Command
from tests.launching import run
from tests.waiting import until

pytestmark = pytest.mark.either_database

DONE, FAILED, USAGE, REFUSED, UNREACHABLE, RAN_OUT = 0, 1, 2, 4, 5, 124
DREAM_MACHINE, AGENTS = "dream_machine", "agents"
ID = "12d69920-e07b-41ae-af29-df4d37d5b864"
IMAGE, VIDEO = "https://host.example/i.png", "https://host.example/v.mp4"


def bought(running: Running, prompt: str) -> list[dict[str, Any]]:
    """The bodies of the creates with this prompt that Luma has received."""
    posts = [seen.body for seen in running.luma.requests if seen.method == "POST"]
    return [body for body in map(json.loads, filter(None, posts)) if body.get("prompt") == prompt]


def test_it_prints_the_id_alone_and_what_to_do_next_on_stderr(asking: Command) -> None:
    prompt = f"a lake {uuid4()}"

    created = asking("create", "--prompt", prompt, "--duration", "9s", "--loop")

    assert created.returncode == DONE, created.stderr
    generation_id = created.stdout.strip()
    shown = asking.running.http.get(f"/v1/generations/{generation_id}").json()
    assert (shown["state"], shown["prompt"], shown["model"]) == ("queued", prompt, "ray-2")
    assert created.stderr == f"Next: luma-tracker watch {generation_id}\n"
    [body] = bought(asking.running, prompt)
    assert (body["duration"], body["loop"], body["generation_type"]) == ("9s", True, "video")


def test_both_apis_are_reached_and_json_is_the_generation(asking: Command) -> None:
    prompt = f"a poster {uuid4()}"

    created = asking("create", "image", "--model", "uni-1", "--prompt", prompt, "--json")

    assert created.returncode == DONE, created.stderr
    shown = json.loads(created.stdout)
    assert shown == asking.running.http.get(f"/v1/generations/{shown['id']}").json()
    assert (shown["upstream"], shown["operation"]) == (AGENTS, "image")


@pytest.mark.parametrize(("state", "code"), [("completed", DONE), ("failed", FAILED)])
def test_wait_ends_with_the_outcome(asking: Command, state: str, code: int) -> None:
    prompt = f"a film {uuid4()}"
    creating = asking.start("create", "--prompt", prompt, "--wait", "60", "--json")
    until(lambda: bought(asking.running, prompt) and "Created" in creating.errors)
    generation_id = creating.errors.split()[1]

    call_back(asking.running, body_of(generation_id, state))

    assert creating.end() == code, creating.errors
    shown = json.loads(creating.out.read_text())
    assert (shown["id"], shown["terminal"]) == (generation_id, True)


def test_a_wait_that_runs_out_has_created_it_all_the_same(asking: Command) -> None:
    created = asking("create", "--prompt", f"slow {uuid4()}", "--wait", "0.2")

    assert created.returncode == RAN_OUT
    assert "state:          queued" in created.stdout
    assert "Next: luma-tracker watch" in created.stderr


def test_a_repeated_key_buys_nothing_again(asking: Command) -> None:
    prompt, key = f"once {uuid4()}", str(uuid4())
    command = ("create", "--prompt", prompt, "--idempotency-key", key)

    first, second = asking(*command), asking(*command)
    other = asking("create", "--prompt", "another", "--idempotency-key", key)

    assert first.stdout == second.stdout
    assert len(bought(asking.running, prompt)) == 1
    assert "nothing was bought again" in second.stderr
    assert "nothing was bought again" not in first.stderr
    assert other.returncode == REFUSED
    assert "used for another" in other.stderr
    assert bought(asking.running, "another") == []


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (402, REFUSED, "credits"),
        (400, REFUSED, "Correct"),
        (422, REFUSED, "Correct"),
        (429, UNREACHABLE, "later"),
    ],
)
def test_a_refusal_says_what_luma_says_and_what_to_do(
    asking: Command, status: int, code: int, advice: str
) -> None:
    body = json.dumps({"detail": "Not like this."}).encode()
    asking.running.luma.fault(Fault(status=status, method="POST", body=body))

    refused = asking("create", "--prompt", f"refused {uuid4()}")

    assert refused.returncode == code
    assert refused.stdout == ""
    [line] = refused.stderr.splitlines()
    assert f"Not like this ({status})" in line
    assert advice in line


def test_without_the_key_of_an_upstream_the_setting_is_named(keyless: Running) -> None:
    for way in ("database", "service"):
        refused = Command(keyless, way)("create", "--prompt", "a lake")

        assert refused.returncode == REFUSED, refused.stderr
        assert "LUMAAI_API_KEY" in refused.stderr


# What is lost on the way


@pytest.fixture(scope="module")
def reachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that Luma can call back, so that what is lost can be found."""
    folder = tmp_path_factory.mktemp("reachable")
    with Simulator(clock=ManualClock(), echo=True).running() as luma:
        url = f"http://127.0.0.1:{free_port()}"
        settings = {"TRACKER_PUBLIC_URL": url, "TRACKER_UPSTREAM_TIMEOUT": "2"}
        service = Service(environment_for(folder, luma, **settings), folder)
        begin(service)
        with httpx.Client(base_url=url, timeout=60) as client:
            yield Running(service, luma, client)
        service.stop()


@pytest.mark.parametrize("way", ["database", "service"])
def test_a_lost_answer_is_found_and_nothing_is_bought_again(reachable: Running, way: str) -> None:
    prompt = f"lost {uuid4()}"
    reachable.luma.fault(Fault(drop=True, processed=True, method="POST"))

    created = Command(reachable, way)("create", "--prompt", prompt)

    assert created.returncode == DONE, created.stderr
    assert len(bought(reachable, prompt)) == 1
    shown = reachable.http.get(f"/v1/generations/{created.stdout.strip()}").json()
    assert shown["prompt"] == prompt


@pytest.mark.thorough
def test_a_service_that_dies_meanwhile_is_asked_again_and_buys_once(reachable: Running) -> None:
    prompt, service = f"died {uuid4()}", reachable.service
    reachable.luma.fault(Fault(answer_delay=1.5, method="POST"))
    creating = Command(reachable, "service").start("create", "--prompt", prompt)
    until(lambda: bought(reachable, prompt))

    service.kill()
    begin(service)

    assert creating.end() == DONE, creating.errors
    assert len(bought(reachable, prompt)) == 1


# What is sent


def dry(*arguments: str, body: str = "") -> dict[str, Any]:
    """What would be sent."""
    found = tried(*arguments, body=body)
    assert found.returncode == DONE, found.stderr
    shown: dict[str, Any] = json.loads(found.stdout)
    return shown


def tried(*arguments: str, body: str = "") -> subprocess.CompletedProcess[str]:
    """Run `create --dry-run`."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(body.encode())
        stdin.seek(0)
        return run(
            ["create", *arguments, "--dry-run"], environment={}, folder=Path.cwd(), stdin=stdin
        )


ORDERS: list[tuple[list[str], str, str, dict[str, Any]]] = [
    (
        ["--prompt", "p", "--keyframe", IMAGE, "-g", ID, "--resolution", "4k"],
        DREAM_MACHINE,
        "generations/video",
        {
            "keyframes": {
                "frame0": {"type": "generation", "id": ID},
                "frame1": {"type": "image", "url": IMAGE},
            },
            "resolution": "4k",
        },
    ),
    (
        ["--model", "photon-1", "--prompt", "p", "--image", IMAGE, "--aspect-ratio", "1:1"],
        DREAM_MACHINE,
        "generations/image",
        {"image_ref": [{"url": IMAGE}], "aspect_ratio": "1:1"},
    ),
    (
        ["upscale", "-g", ID, "--resolution", "4k"],
        DREAM_MACHINE,
        f"generations/{ID}/upscale",
        {"generation_type": "upscale_video", "resolution": "4k"},
    ),
    (
        ["audio", "-g", ID, "--prompt", "waves", "--negative-prompt", "gulls"],
        DREAM_MACHINE,
        f"generations/{ID}/audio",
        {"generation_type": "add_audio", "prompt": "waves", "negative_prompt": "gulls"},
    ),
    (
        ["reframe", "--video", VIDEO, "--aspect-ratio", "9:16"],
        DREAM_MACHINE,
        "generations/video/reframe",
        {"generation_type": "reframe_video", "media": {"url": VIDEO}, "model": "ray-2"},
    ),
    (
        ["reframe", "--model", "photon-1", "--image", IMAGE, "--aspect-ratio", "1:1"],
        DREAM_MACHINE,
        "generations/image/reframe",
        {"generation_type": "reframe_image", "media": {"url": IMAGE}},
    ),
    (
        ["modify", "--video", VIDEO, "--mode", "flex_1", "--image", IMAGE],
        DREAM_MACHINE,
        "generations/video/modify",
        {"media": {"url": VIDEO}, "mode": "flex_1", "first_frame": {"url": IMAGE}},
    ),
    (
        ["--model", "ray-3.2", "--prompt", "p", "--keyframe", IMAGE, "--set", "video.hdr=true"],
        AGENTS,
        "generations",
        {"type": "video", "video": {"start_frame": {"url": IMAGE}, "hdr": True}},
    ),
    (
        ["modify", "--model", "ray-3.2", "-g", ID, "--mode", "flex_2", "--prompt", "p"],
        AGENTS,
        "generations",
        {
            "type": "video_edit",
            "source": {"generation_id": ID},
            "video": {"edit": {"strength": "flex_2"}},
        },
    ),
    (
        ["image", "--model", "uni-1", "--prompt", "p", "-g", ID, "--callback-url", "https://a.b/c"],
        AGENTS,
        "generations",
        {"image_ref": [{"generation_id": ID}], "callback_url": "https://a.b/c"},
    ),
    (
        ["--model", "ray-9", "--upstream", "agents", "--prompt", "p"],
        AGENTS,
        "generations",
        {"model": "ray-9", "type": "video"},
    ),
]


@pytest.mark.parametrize(
    ("arguments", "upstream", "path", "members"), ORDERS, ids=[" ".join(o[0][:3]) for o in ORDERS]
)
def test_options_become_a_body_of_luma(
    arguments: list[str], upstream: str, path: str, members: dict[str, Any]
) -> None:
    order = dry(*arguments)

    assert (order["upstream"], order["path"]) == (upstream, path)
    assert order["body"] | members == order["body"]
    assert None not in order["body"].values(), "what is not given is not sent"


def test_a_body_of_ones_own_decides_unless_an_option_says_otherwise() -> None:
    body = {"type": "layering", "model": "uni-1", "prompt": "a", "layering": {"resolution": "1k"}}

    order = dry("--body", "-", "--prompt", "b", "--set", "user_id=7", body=json.dumps(body))

    assert (order["upstream"], order["path"]) == (AGENTS, "generations")
    assert order["body"] == {**body, "prompt": "b", "user_id": 7}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "rya-2", "--prompt", "p"], "Did you mean `ray-2`?"),
        (["image", "--model", "ray-2", "--prompt", "p"], "photon-1"),
        (["--upstream", "luma", "--prompt", "p"], "dream_machine or agents"),
        ([], "--prompt"),
        (["upscale"], "--generation"),
        (["upscale", "-g", "a b"], "not an id"),
        (["audio", "-g", ID, "--model", "ray-2", "--prompt", "p"], "Leave it out"),
        (["reframe", "--aspect-ratio", "1:1"], "--video"),
        (["--prompt", "p", *["--keyframe", IMAGE] * 3], "not 3"),
        (["--prompt", "p", "--set", "hdr"], "there is no `=`"),
        (["--body", "/none/such"], "No such file"),
        (["--body", "-"], "not JSON"),
        (["vidoe", "--prompt", "p"], "video"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_does_not_go_together_is_said_before_anything_is_sent(
    arguments: list[str], says: str
) -> None:
    found = tried(*arguments)

    assert found.returncode == USAGE, found.stdout
    assert found.stdout == ""
    assert says in " ".join(found.stderr.split())


def test_the_models_are_those_of_the_mcp_tools() -> None:
    def known(arguments: Any) -> set[str]:
        return set(arguments.model_json_schema()["properties"]["model"]["enum"])

    assert known(CreateGeneration) == set(VIDEO_MODELS)
    assert known(GenerateImage) == set(IMAGE_MODELS)


_KEYS = st.text("abc", min_size=1, max_size=3)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner),
    max_leaves=8,
)


@given(st.lists(_KEYS, min_size=1, max_size=3), _JSON, st.dictionaries(_KEYS, _JSON))
def test_what_is_set_is_there_afterwards(keys: list[str], value: Any, body: dict[str, Any]) -> None:
    found: Any = with_settings(body, [f"{'.'.join(keys)}={json.dumps(value)}"])

    assert merged(body, found) == found
    for key in keys:
        found = found[key]
    assert found == (merged(found, value) if isinstance(value, dict) else value)
