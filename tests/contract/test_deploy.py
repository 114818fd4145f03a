"""What docker-compose.yml, the Dockerfile and deploy/ promise, as far as files can be wrong."""

import json
import re
import shutil
import subprocess
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from prometheus_client import REGISTRY

from service import metrics
from service.config import load_settings
from service.config.secret_files import SECRETS
from tests.contract.test_docs import settings as names_of_settings

pytestmark = pytest.mark.either_database

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "tests/vendored/compose-spec/compose-spec.json"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SETTINGS = set(names_of_settings())
UVICORNS = {"FORWARDED_ALLOW_IPS"}
PYTHONS = {"TMPDIR"}
OF_CLIENTS = {"TRACKER_URL"}
"""What the command line reads to reach a service, and no service needs."""
DATABASE = {"TRACKER_DATABASE_URL", "TRACKER_DATABASE_DIRECT_URL"}

each_service = pytest.mark.parametrize("name", SERVICES)


# --- docker-compose.yml ------------------------------------------------------------------------


def _wrong_in(compose: object) -> list[str]:
    schema = json.loads(SCHEMA.read_text())
    return [error.message for error in jsonschema_rs.Draft7Validator(schema).iter_errors(compose)]


def test_compose_follows_the_published_schema() -> None:
    assert _wrong_in(COMPOSE) == []


def test_the_schema_finds_what_is_wrong() -> None:
    assert _wrong_in({"services": {"tracker": {"imgae": "x"}}}) != []


def test_each_profile_has_its_services() -> None:
    profiles: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for profile in service.get("profiles", ["(none)"]):
            profiles.setdefault(profile, set()).add(name)

    assert profiles == {
        "(none)": {"tracker"},
        "postgres": {"postgres", "instance", "proxy"},
        "observability": {"prometheus", "grafana"},
    }
    assert SERVICES["instance"]["deploy"]["replicas"] == 2


def test_ports_do_not_clash_and_are_open_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


@each_service
def test_every_service_is_confined_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service or name in OURS, "ours have that of the Dockerfile"
    assert "build" in service or re.search(r":v?\d[\w.-]*$", service["image"]), "a version"


@each_service
def test_what_a_service_waits_for_is_healthy_and_starts_with_it(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert set(SERVICES[other].get("profiles", [])) <= set(SERVICES[name]["profiles"])


@each_service
def test_what_a_service_mounts_is_there(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, _, *mode = mount.split(":")
        if source.startswith("./"):
            assert (ROOT / source).exists()
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_an_archive_and_what_is_on_its_way_there_are_on_a_disk(name: str) -> None:
    example = (ROOT / ".env.example").read_text()
    [archive] = re.findall(r"^#TRACKER_ARCHIVE=(.*)", example, re.MULTILINE)
    mounted = [mount.split(":")[1] for mount in OURS[name]["volumes"]]

    for folder in (archive, OURS[name]["environment"]["TMPDIR"]):
        assert any(Path(folder).is_relative_to(place) for place in mounted)
        assert not any(Path(folder).is_relative_to(place) for place in OURS[name]["tmpfs"])


@pytest.mark.parametrize("name", OURS)
def test_an_object_store_gets_its_keys_from_a_file_that_need_not_exist(name: str) -> None:
    assert OURS[name]["env_file"] == [{"path": "./secrets/archive.env", "required": False}]
    assert "secrets/archive.env" in (ROOT / "docs/operations.md").read_text()


# --- settings and secrets ----------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_and_every_setting_can_be_given(name: str) -> None:
    given = set(OURS[name]["environment"])
    twins = {variable for variable in given if variable.endswith("_FILE")}

    assert given - twins - UVICORNS - PYTHONS <= SETTINGS
    assert {twin.removesuffix("_FILE") for twin in twins} <= set(SECRETS) | DATABASE
    assert SETTINGS - set(SECRETS) - DATABASE - OF_CLIENTS <= given


def test_variables_that_compose_fills_in_are_settings() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    assert set(re.findall(r"\$\{?([A-Z_]+)", text)) <= SETTINGS


def test_the_example_names_every_setting_and_the_file_of_every_secret() -> None:
    example = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^#?([A-Z][A-Z_]+)=", example, re.MULTILINE))

    assert named >= SETTINGS - {"LUMA_API_KEY"}, "which is the same as LUMAAI_API_KEY"
    assert named >= {f"{secret}_FILE" for secret in SECRETS if secret != "LUMA_API_KEY"}


def _reads(service: dict[str, Any]) -> str:
    """All that a service is told: its environment, and the files of ours that it mounts."""
    sources = [ROOT / mount.split(":")[0] for mount in service.get("volumes", [])]
    files = chain.from_iterable([p, *p.rglob("*")] if p.is_dir() else [p] for p in sources)
    texts = (file.read_text() for file in files if file.is_file())
    return " ".join([*map(str, service.get("environment", {}).values()), *texts])


@each_service
def test_every_secret_that_is_handed_to_a_service_is_read_by_it(name: str) -> None:
    read = set(re.findall(r"/run/secrets/(\w+)", _reads(SERVICES[name])))

    assert read == set(SERVICES[name].get("secrets", []))


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The folder of secrets, as the script makes it."""
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy/secrets.sh", tmp_path / "deploy")
    for _ in range(2):
        done = subprocess.run(["sh", script], capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (b"", b"")
    return tmp_path / "secrets"


def test_the_script_makes_the_secrets_that_compose_names(secrets: Path) -> None:
    named = {secret["file"] for secret in COMPOSE["secrets"].values()}
    used = set(chain.from_iterable(service.get("secrets", []) for service in SERVICES.values()))

    assert named == {f"./secrets/{file.name}" for file in secrets.iterdir()}
    assert used == set(COMPOSE["secrets"])
    assert "secrets/" in (ROOT / ".gitignore").read_text().split()


def test_secrets_are_for_their_owner_and_the_containers(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o644}


def test_the_script_leaves_alone_what_is_there(secrets: Path) -> None:
    (secrets / "luma_api_key.txt").write_text("mine")
    before = {file: file.read_text() for file in secrets.iterdir()}

    subprocess.run(["sh", secrets.parent / "deploy/secrets.sh"], check=True)

    assert {file: file.read_text() for file in secrets.iterdir()} == before


def test_secrets_fit_together(secrets: Path) -> None:
    text = {file.stem: file.read_text().strip() for file in secrets.iterdir()}

    assert text["api_tokens"].endswith(f",ro:{text['metrics_token']}")
    assert f"tracker:{text['postgres_password']}@postgres/tracker" in text["database_url"]
    assert (text["luma_api_key"], text["luma_agents_api_key"]) == ("", "")


def test_the_service_starts_with_what_it_is_given(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SERVICES["tracker"]["environment"].items():
        if value is not None:
            mapped = re.sub(r"/run/secrets/(\w+)", rf"{secrets}/\1.txt", value)
            monkeypatch.setenv(name, mapped)

    settings = load_settings()

    assert len(settings.api_tokens) == 2
    assert len(settings.callback_secret) == 1
    assert not settings.luma_api_key


# --- nginx -------------------------------------------------------------------------------------


def test_the_proxy_waits_longer_than_the_longest_create() -> None:
    text = (ROOT / "deploy/nginx/nginx.conf").read_text()
    [gateway] = re.findall(r"location ~ \^/\(dream-machine\|agents\)/ {(.*?)}", text, re.DOTALL)
    [waits] = re.findall(r"proxy_read_timeout (\d+)s;", gateway)

    assert int(waits) > 600 + 2 * load_settings().upstream_timeout


# --- Prometheus and Grafana --------------------------------------------------------------------

DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "deploy/grafana/dashboards/luma-tracker.json").read_text()
)
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
RULES = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
QUERIES = [
    *(target["expr"] for panel in PANELS for target in panel.get("targets", [])),
    *(rule["expr"] for group in RULES["groups"] for rule in group["rules"]),
]
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
PROMETHEUS_OWN = {"job", "instance", "le"}


def _series() -> set[str]:
    """Every series that an instance tells Prometheus of; `up` is Prometheus' own."""
    families = [(f.name, f.type) for f in REGISTRY.collect()]
    return {n + end for n, kind in families for end in SUFFIXES.get(kind, [])} | {"up"}


def _labels() -> set[str]:
    labels = [getattr(value, "_labelnames", ()) for value in vars(metrics).values()]
    return set(chain.from_iterable(labels)) | PROMETHEUS_OWN


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_asks_for_what_is_there(query: str) -> None:
    asked = set(re.findall(r"\b(?:luma_tracker|process)_\w+|\bup\b", query))
    by = re.findall(r"by \(([\w, ]+)\)", query)
    labels = set(re.findall(r"(\w+)=?[!=]~?\"", query)) | set(re.findall(r"\w+", " ".join(by)))

    assert asked
    assert asked <= _series()
    assert labels <= _labels()


def test_every_limit_of_a_metric_in_the_documentation_has_an_alert() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    limits = re.findall(r"^\| `(luma_tracker_\w+)` \|.*\| over (\d+)\b.*\|$", page, re.MULTILINE)
    alerts = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]

    assert len(limits) >= 3
    assert [each for each in limits if f"max({each[0]}) > {each[1]}" not in alerts] == []


def test_the_dashboard_is_drawn_from_the_datasource_that_is_provisioned() -> None:
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasource.yml").read_text())
    used = {panel["datasource"]["uid"] for panel in PANELS if "datasource" in panel}

    assert used == {source["datasources"][0]["uid"]}


def test_panels_do_not_lie_on_each_other() -> None:
    def apart(a: dict[str, int], b: dict[str, int]) -> bool:
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        return beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]

    places = [panel["gridPos"] for panel in PANELS]
    assert all(apart(a, b) for a, b in combinations(places, 2))
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_prometheus_asks_the_services_that_are_ours() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    [found] = config["scrape_configs"][0]["dns_sd_configs"]

    assert set(found["names"]) == set(OURS)
    assert {OURS[name]["environment"]["TRACKER_PORT"] for name in OURS} == {str(found["port"])}


# --- Dockerfile --------------------------------------------------------------------------------


def _stages() -> list[list[tuple[str, str]]]:
    """The instructions of the Dockerfile, stage by stage."""
    text = re.sub(r"^#.*\n|\\\n\s*", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, text.splitlines()):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            stages.append([])
        stages[-1].append((instruction, rest))
    return stages


def test_the_image_is_built_in_two_stages_and_run_from_another() -> None:
    wheel, build, run = _stages()
    commands = " ".join(rest for instruction, rest in run if instruction == "RUN")

    bases = [stage[0][1].split()[0] for stage in (wheel, build, run)]
    assert bases == ["python:3.11-slim"] * 3
    assert ("COPY", "--from=wheel /*.whl /wheels/") in build, "a release puts its own wheel there"
    assert "--constraint /constraints.txt" in str(build)
    assert not re.search(r"\b(pip|apt|apt-get|gcc|curl)\b", commands)


def test_the_image_runs_as_nobody_special() -> None:
    last = dict(_stages()[-1])

    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", last["USER"])
    assert last["VOLUME"] == last["WORKDIR"] == "/var/lib/luma-tracker"
    assert f"--uid {last['USER'].split(':')[0]}" in last["RUN"]


def test_the_image_starts_the_service_and_can_be_asked_how_it_is() -> None:
    last = dict(_stages()[-1])

    assert json.loads(last["ENTRYPOINT"]) == ["luma-tracker"]
    assert json.loads(last["CMD"]) == ["serve"]
    assert (last["EXPOSE"], last["STOPSIGNAL"]) == ("8000", "SIGTERM")
    assert json.loads(last["HEALTHCHECK"].partition("CMD ")[2])[:2] == ["python", "-c"]


def test_the_image_gets_what_it_copies_and_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copies = [rest for stage in _stages() for word, rest in stage if word == "COPY"]
    copied = [rest.split()[:-1] for rest in copies if not rest.startswith("--from=")]
    sources = set(chain.from_iterable(copied))

    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    assert all((ROOT / source).exists() for source in sources)
