"""Settings: defaults, names, and which values stop the start."""

import multiprocessing
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from service.config import Settings, callback_secrets, load_settings, webhook_secrets
from service.config.secret_files import is_signing_secret
from service.errors import SettingsError
from tests.endpoints import SECRETS as SIGNING


def plain(value: Any) -> Any:
    """The plain value of a setting."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def refusal() -> str:
    """The one-line error of a failed start."""
    with pytest.raises(SettingsError) as error:
        load_settings()
    line = str(error.value)
    assert "\n" not in line
    return line


DEFAULTS: dict[str, Any] = {
    "luma_api_key": None,
    "luma_agents_api_key": None,
    "dream_machine_url": "https://api.lumalabs.ai/dream-machine/v1",
    "agents_url": "https://agents.lumalabs.ai/v1",
    "host": "127.0.0.1",
    "port": 8000,
    "public_url": None,
    "callback_secret": (),
    "api_tokens": (),
    "webhook_secret": (),
    "webhook_allow": (),
    "stale_after": 30.0,
    "upstream_timeout": 10.0,
    "dream_machine_rate": "5/second",
    "agents_rate": "30/minute",
    "cors_origins": (),
    "retention_days": 90.0,
}


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_a_setting_that_is_not_set_has_its_default(name: str, default: object) -> None:
    assert getattr(load_settings(), name) == default


def test_the_database_is_in_the_users_data_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load_settings()
    assert settings.database_path.name == "tracker.db"
    assert settings.database_path.is_relative_to(tmp_path)
    assert settings.database_path.parent.name == "luma-tracker"
    assert settings.secret_path.parent == settings.database_path.parent


SET: list[tuple[str, str, str, object]] = [
    ("LUMAAI_API_KEY", "luma-1", "luma_api_key", "luma-1"),
    ("LUMA_API_KEY", "luma-2", "luma_api_key", "luma-2"),
    ("LUMA_AGENTS_API_KEY", "luma-api-1", "luma_agents_api_key", "luma-api-1"),
    ("TRACKER_DREAM_MACHINE_URL", "http://h:1/v1/", "dream_machine_url", "http://h:1/v1"),
    ("TRACKER_AGENTS_URL", "https://h/v1", "agents_url", "https://h/v1"),
    ("TRACKER_DREAM_MACHINE_URL", '" http://h/v1/ "', "dream_machine_url", "http://h/v1"),
    ("TRACKER_AGENTS_URL", '"\thttps://h/v1"', "agents_url", "https://h/v1"),
    ("TRACKER_URL", '" https://h "', "url", "https://h"),
    ("TRACKER_DATABASE_URL", "sqlite:////var/t.db", "database_url", "sqlite:////var/t.db"),
    ("TRACKER_HOST", "::1", "host", "::1"),
    ("TRACKER_PORT", "65535", "port", 65535),
    ("TRACKER_PORT", "0", "port", 0),
    ("TRACKER_PUBLIC_URL", "https://t.example/", "public_url", "https://t.example"),
    ("TRACKER_PUBLIC_URL", "", "public_url", None),
    ("TRACKER_PUBLIC_URL", '" https://t.example/ "', "public_url", "https://t.example"),
    ("LUMAAI_API_KEY", "", "luma_api_key", None),
    ("TRACKER_CALLBACK_SECRET", "new, old", "callback_secret", ["new", "old"]),
    ("TRACKER_API_TOKENS", "one,two,,", "api_tokens", ["one", "two"]),
    ("TRACKER_WEBHOOK_SECRET", ",".join(SIGNING), "webhook_secret", [*SIGNING]),
    ("TRACKER_WEBHOOK_ALLOW", "127.0.0.0/8, ::1", "webhook_allow", ["127.0.0.0/8", "::1"]),
    ("TRACKER_STALE_AFTER", "0.5", "stale_after", 0.5),
    ("TRACKER_UPSTREAM_TIMEOUT", "3", "upstream_timeout", 3.0),
    ("TRACKER_UPSTREAM_TIMEOUT", "0.1", "upstream_timeout", 0.1),
    ("TRACKER_DREAM_MACHINE_RATE", "7/second", "dream_machine_rate", "7/second"),
    ("TRACKER_AGENTS_RATE", "1000/hour", "agents_rate", "1000/hour"),
    ("TRACKER_RETENTION_DAYS", "0.5", "retention_days", 0.5),
    ("TRACKER_RETENTION_DAYS", "", "retention_days", 90.0),
    ("TRACKER_RETENTION_DAYS", "365000", "retention_days", 365_000.0),
    ("TRACKER_RECONCILE", "false", "reconcile", False),
    ("TRACKER_CACHE_SIZE", "0", "cache_size", 0),
    ("TRACKER_SLOW_AFTER", "0.5", "slow_after", 0.5),
    ("TRACKER_MCP_FAST", "false", "mcp_fast", False),
    ("TRACKER_MCP_READ_ONLY", "true", "mcp_read_only", True),
    ("TRACKER_CORS_ORIGINS", "https://a/,http://b:1", "cors_origins", ["https://a", "http://b:1"]),
    ("TRACKER_ARCHIVE", "s3://kept/all", "archive", "s3://kept/all"),
    ("TRACKER_ARCHIVE", "~/kept", "archive", "~/kept"),
    ("tracker_port", "81", "port", 81),
]


@pytest.mark.parametrize(("variable", "value", "name", "wanted"), SET)
def test_a_setting_is_read_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str, wanted: object
) -> None:
    monkeypatch.setenv(variable, value.strip('"'))  # quotes are for the file
    assert plain(getattr(load_settings(), name)) == wanted


@pytest.mark.parametrize(("variable", "value", "name", "wanted"), SET)
def test_a_setting_is_read_from_a_file_of_settings(
    tmp_path: Path, variable: str, value: str, name: str, wanted: object
) -> None:
    (tmp_path / ".env").write_text(f"{variable}={value}\nSOMETHING_ELSE=1\n")
    assert plain(getattr(load_settings(), name)) == wanted


def test_of_several_servers_people_see_the_hosts_and_no_password() -> None:
    url = "postgresql://me:hush@a:1,b:2,[::1]:3/tracker?target_session_attrs=read-write&password=x"
    settings = load_settings(database_url=url)
    assert settings.database_url == url
    assert settings.database_name == "postgresql://a:1,b:2,[::1]:3/tracker"


def test_the_environment_goes_before_the_file_and_what_is_given_before_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("TRACKER_PORT=1\nTRACKER_STALE_AFTER=7\n")
    monkeypatch.setenv("TRACKER_PORT", "2")
    assert (load_settings().port, load_settings().stale_after) == (2, 7)
    assert load_settings(port=3).port == 3


def test_the_first_name_of_the_key_goes_before_its_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMA_API_KEY", "alias")
    monkeypatch.setenv("LUMAAI_API_KEY", "name")
    assert plain(load_settings().luma_api_key) == "name"


def test_a_name_that_is_set_to_nothing_does_not_hide_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LUMAAI_API_KEY", "")  # as Docker Compose passes on what is not set
    monkeypatch.setenv("LUMA_API_KEY", "alias")
    assert plain(load_settings().luma_api_key) == "alias"
    monkeypatch.delenv("LUMA_API_KEY")
    (tmp_path / "secret").write_text("from-file")
    monkeypatch.setenv("LUMAAI_API_KEY_FILE", str(tmp_path / "secret"))
    assert plain(load_settings().luma_api_key) == "from-file"


SECRETS: list[tuple[str, str, object]] = [
    ("LUMAAI_API_KEY", "luma_api_key", "one,two"),
    ("LUMA_API_KEY", "luma_api_key", "one,two"),
    ("LUMA_AGENTS_API_KEY", "luma_agents_api_key", "one,two"),
    ("TRACKER_CALLBACK_SECRET", "callback_secret", ["one", "two"]),
    ("TRACKER_API_TOKENS", "api_tokens", ["one", "two"]),
]


@pytest.mark.parametrize(("variable", "name", "wanted"), SECRETS)
@pytest.mark.parametrize("in_file", [False, True])
def test_every_secret_may_be_in_a_file_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    name: str,
    wanted: object,
    in_file: bool,
) -> None:
    secret = tmp_path / "run" / "secret"
    secret.parent.mkdir()
    secret.write_text("one,two\n")
    if in_file:
        (tmp_path / ".env").write_text(f"{variable}_FILE={secret}\n")
    else:
        monkeypatch.setenv(f"{variable}_FILE", str(secret))
    assert plain(getattr(load_settings(), name)) == wanted


@pytest.mark.parametrize(("variable", "name", "wanted"), SECRETS)
def test_the_secret_itself_goes_before_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, name: str, wanted: object
) -> None:
    (tmp_path / "secret").write_text("from the file")
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv(variable, "one,two")
    assert plain(getattr(load_settings(), name)) == wanted


@pytest.mark.parametrize(("variable", "name", "wanted"), SECRETS)
def test_the_environment_goes_before_the_file_of_settings_also_where_it_names_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, name: str, wanted: object
) -> None:
    (tmp_path / "secret").write_text("one,two")
    (tmp_path / ".env").write_text(f"{variable}=from-the-file-of-settings\n")
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "secret"))
    assert plain(getattr(load_settings(), name)) == wanted


def test_a_file_in_the_environment_goes_before_the_other_name_of_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("from-file")
    (tmp_path / ".env").write_text("LUMAAI_API_KEY=from-the-file-of-settings\n")
    monkeypatch.setenv("LUMA_API_KEY_FILE", str(tmp_path / "secret"))
    assert plain(load_settings().luma_api_key) == "from-file"


@pytest.mark.parametrize("content", ["new\nold\n", "new,\r\n\r\nold\r\n", "new, old"])
@pytest.mark.parametrize("variable", ["TRACKER_CALLBACK_SECRET", "TRACKER_API_TOKENS"])
def test_a_file_has_several_secrets_one_a_line_or_comma_separated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: str
) -> None:
    (tmp_path / "secret").write_bytes(content.encode())
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "secret"))
    name = variable.removeprefix("TRACKER_").lower()
    assert plain(getattr(load_settings(), name)) == ["new", "old"]


def test_a_file_of_one_secret_that_has_two_lines_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("one\ntwo")
    monkeypatch.setenv("LUMAAI_API_KEY_FILE", str(tmp_path / "secret"))
    assert refusal().startswith("LUMAAI_API_KEY: ")


@pytest.mark.parametrize("variable", [variable for variable, _, _ in SECRETS])
@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", "a folder"])
def test_a_secret_that_cannot_be_read_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: bytes | str | None
) -> None:
    path = tmp_path / "secret"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
    monkeypatch.setenv(f"{variable}_FILE", str(path))
    assert refusal().startswith(f"{variable}_FILE: ")


BASE_URLS = ("TRACKER_PUBLIC_URL", "TRACKER_DREAM_MACHINE_URL", "TRACKER_AGENTS_URL")
BAD = [
    ("TRACKER_DREAM_MACHINE_URL", "api.lumalabs.ai"),
    ("TRACKER_DREAM_MACHINE_URL", "ftp://h/"),
    ("TRACKER_DREAM_MACHINE_URL", "http://["),
    ("TRACKER_DREAM_MACHINE_URL", "http://h:99999"),
    ("TRACKER_DREAM_MACHINE_URL", "http://h:port"),
    ("TRACKER_AGENTS_URL", "//h/v1"),
    ("TRACKER_PUBLIC_URL", "https://"),
    ("TRACKER_PUBLIC_URL", "t.example"),
    ("TRACKER_DATABASE_URL", "tracker.db"),
    ("TRACKER_DATABASE_URL", "sqlite://"),
    ("TRACKER_DATABASE_URL", "sqlite:///"),
    ("TRACKER_DATABASE_URL", "sqlite:///:memory:"),
    ("TRACKER_DATABASE_URL", "mysql://h/d"),
    ("TRACKER_PORT", "65536"),
    ("TRACKER_PORT", "-1"),
    ("TRACKER_PORT", "http"),
    ("TRACKER_STALE_AFTER", "0"),
    ("TRACKER_STALE_AFTER", "nan"),
    ("TRACKER_STALE_AFTER", "30s"),
    ("TRACKER_UPSTREAM_TIMEOUT", "-1"),
    ("TRACKER_UPSTREAM_TIMEOUT", "inf"),
    ("TRACKER_UPSTREAM_TIMEOUT", "1e-9"),
    ("TRACKER_CORS_ORIGINS", "https://a.example,b.example"),
    ("TRACKER_CORS_ORIGINS", "*"),
    ("TRACKER_DREAM_MACHINE_RATE", "5"),
    ("TRACKER_DREAM_MACHINE_RATE", "0/second"),
    ("TRACKER_AGENTS_RATE", "30/day"),
    ("TRACKER_RETENTION_DAYS", "0"),
    ("TRACKER_RETENTION_DAYS", "inf"),
    ("TRACKER_RETENTION_DAYS", "365001"),
    ("TRACKER_RETENTION_DAYS", "1e12"),
    ("TRACKER_STALE_AFTER", "1e300"),
    ("TRACKER_RECONCILE", "sometimes"),
    ("TRACKER_CACHE_SIZE", "-1"),
    ("TRACKER_SLOW_AFTER", "0"),
    ("TRACKER_MCP_FAST", "very"),
    ("TRACKER_WEBHOOK_SECRET", "whsec_"),
    ("TRACKER_WEBHOOK_SECRET", "whsec_c2hvcnQ="),
    ("TRACKER_WEBHOOK_SECRET", SIGNING[0].removeprefix("whsec_")),
    ("TRACKER_WEBHOOK_SECRET", f"{SIGNING[0]},whsec_no*base64"),
    ("TRACKER_WEBHOOK_ALLOW", "127.0.0.1/8"),
    ("TRACKER_WEBHOOK_ALLOW", "localhost"),
    ("TRACKER_MCP_READ_ONLY", "perhaps"),
    *((name, url) for name in BASE_URLS for url in ("https://h/v1?a=b", "http://h/#", "http://h?")),
    *(
        (name, url)
        for name in (*BASE_URLS, "TRACKER_URL")
        for url in ("http://h/x y", "http://h /", "http://h/\tv1", "http://h\n/v1", "http://h/\x7f")
    ),
    ("TRACKER_CORS_ORIGINS", "https://a.example,https://b example"),
    *((name, "https://me:hush@h/v1") for name in (*BASE_URLS, "TRACKER_CORS_ORIGINS")),
    ("TRACKER_CORS_ORIGINS", "https://a.example,https://b.example/page"),
    ("TRACKER_CORS_ORIGINS", "https://b.example//"),
    ("TRACKER_CORS_ORIGINS", "https://b.example?"),
    ("TRACKER_API_TOKENS", "one,two words"),
    ("TRACKER_API_TOKENS", "one\ntwo"),
    ("TRACKER_API_TOKENS", "ro:ключ"),
    ("TRACKER_API_TOKENS", "ro: one"),
    ("TRACKER_API_TOKENS", "one,ro:"),
    ("TRACKER_CALLBACK_SECRET", "new,old,older"),
    ("TRACKER_CALLBACK_SECRET", "new\nold"),
    ("TRACKER_WEBHOOK_SECRET", ",".join([*SIGNING, SIGNING[0]])),
    ("TRACKER_ARCHIVE", "ftp://x"),
    ("TRACKER_ARCHIVE", "http://x"),
    ("TRACKER_ARCHIVE", "://"),
    ("TRACKER_ARCHIVE", "s3://"),
    ("TRACKER_ARCHIVE", "gs:///prefix"),
    ("LUMAAI_API_KEY", "ключ"),
    ("LUMAAI_API_KEY", "two\nlines"),
    ("LUMA_AGENTS_API_KEY", "“luma-api-1”"),
]


@pytest.mark.parametrize(("variable", "value"), BAD)
def test_a_bad_value_stops_the_start_with_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    line = refusal()
    assert line.startswith(f"{variable}: ")
    assert line.endswith(".")
    assert len(line) < 200
    assert "hush" not in line


def test_the_line_shows_the_value_unless_it_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_PORT", "abc")
    assert "'abc'" in refusal()
    monkeypatch.setenv("TRACKER_PORT", "abc " * 1000)
    assert len(refusal()) < 200


def test_a_secret_is_not_in_the_line_that_complains_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACKER_DATABASE_URL", "postgres+x://user:hunter2@h/d")
    assert "hunter2" not in refusal()


def test_a_secret_is_not_in_the_settings_picture_of_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, _, _ in SECRETS:
        monkeypatch.setenv(variable, "hunter2")
    settings = load_settings()
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_this_machine_may_ask_without_a_token(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("TRACKER_HOST", host)
    assert load_settings().on_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "tracker.example", "localhost."])
@pytest.mark.parametrize("tokens", [None, "", " , "])
def test_others_may_not(monkeypatch: pytest.MonkeyPatch, host: str, tokens: str | None) -> None:
    monkeypatch.setenv("TRACKER_HOST", host)
    if tokens is not None:
        monkeypatch.setenv("TRACKER_API_TOKENS", tokens)
    line = refusal()
    assert line.startswith("TRACKER_HOST: ")
    assert "TRACKER_API_TOKENS" in line


def test_with_a_token_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_HOST", "0.0.0.0")
    monkeypatch.setenv("TRACKER_API_TOKENS", "a-token")
    assert not load_settings().on_loopback


@pytest.mark.parametrize(
    ("public", "only"),
    [
        *((None, False), ("http://127.0.0.1:8000", False), ("http://localhost", False)),
        *(("http://[::1]:80/x", False), ("http://127.8.0.1", False)),
        *(("https://t.example", True), ("http://0.0.0.0:8000", True), ("http://[::]", True)),
        *(("http://192.168.0.7", True), ("http://localhost.example", True)),
        ("http://127.0.0.1.t.example", True),
    ],
)
def test_without_tokens_a_public_url_elsewhere_leaves_callbacks_only(
    public: str | None, only: bool
) -> None:
    assert Settings(public_url=public).callbacks_only is only
    assert not Settings(public_url=public, api_tokens="a-token").callbacks_only


def test_callback_urls_begin_with_the_public_url_or_else_with_our_own(tmp_path: Path) -> None:
    assert Settings(host="127.0.0.1", port=81).callback_base == "http://127.0.0.1:81"
    assert Settings(host="::1").own_url == "http://[::1]:8000"
    public = Settings(public_url="https://t.example/luma/")
    assert public.callback_base == "https://t.example/luma"


@pytest.fixture
def fresh(tmp_path: Path) -> Settings:
    """Settings whose secret does not exist yet."""
    return Settings(database_url=f"sqlite:///{tmp_path / 'data' / 'tracker.db'}")


def test_a_secret_that_is_set_is_not_made(fresh: Settings) -> None:
    given = fresh.model_copy(update={"callback_secret": (SecretStr("new"), SecretStr("old"))})
    assert callback_secrets(given) == ["new", "old"]
    assert not given.secret_path.exists()


def test_a_secret_that_others_may_read_is_closed_to_them(fresh: Settings) -> None:
    [secret] = callback_secrets(fresh)
    fresh.secret_path.chmod(0o644)
    assert callback_secrets(fresh) == [secret]
    assert fresh.secret_path.stat().st_mode & 0o777 == 0o600


def test_a_secret_is_made_once_and_for_us_alone(fresh: Settings) -> None:
    before = os.umask(0)
    try:
        (secret,) = callback_secrets(fresh)
    finally:
        os.umask(before)
    assert len(secret) >= 40
    assert callback_secrets(fresh) == [secret]
    assert stat.S_IMODE(fresh.secret_path.stat().st_mode) == 0o600
    assert list(fresh.secret_path.parent.iterdir()) == [fresh.secret_path], "no draft is left"


def test_every_installation_has_a_secret_of_its_own(fresh: Settings) -> None:
    first = callback_secrets(fresh)
    fresh.secret_path.unlink()
    assert callback_secrets(fresh) != first


def test_threads_that_start_together_have_the_same_secret(fresh: Settings) -> None:
    together, found = threading.Barrier(8), []

    def start() -> None:
        together.wait(20)
        found.append(callback_secrets(fresh)[0])

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert set(found) == {fresh.secret_path.read_text()}


def secret_of(url: str, together: threading.Barrier) -> str:
    """The secret in a process that starts at the same moment as others."""
    together.wait(30)
    return callback_secrets(Settings(database_url=url))[0]


@pytest.mark.thorough
def test_processes_that_start_together_have_the_same_secret(fresh: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(3) as pool:
        together = manager.Barrier(3)
        found = pool.starmap(secret_of, [(fresh.database_url, together)] * 3)
    assert set(found) == {fresh.secret_path.read_text()}


def test_an_empty_secret_is_worse_than_none(fresh: Settings) -> None:
    fresh.secret_path.parent.mkdir()
    fresh.secret_path.write_text(" \n")
    with pytest.raises(SettingsError, match=r"TRACKER_CALLBACK_SECRET: .* is empty"):
        callback_secrets(fresh)


def test_a_second_line_in_the_made_secret_is_refused_because_it_would_change_every_token(
    fresh: Settings,
) -> None:
    fresh.secret_path.parent.mkdir()
    fresh.secret_path.write_text("new\nold\n")
    with pytest.raises(SettingsError, match=r"TRACKER_CALLBACK_SECRET: .* several lines") as error:
        callback_secrets(fresh)
    assert "TRACKER_CALLBACK_SECRET_FILE" in error.value.hint


@pytest.mark.parametrize("content", ["a folder", b"\xff\xfe"])
def test_a_secret_that_cannot_be_used_names_the_setting(
    fresh: Settings, content: str | bytes
) -> None:
    fresh.secret_path.parent.mkdir()
    if isinstance(content, bytes):
        fresh.secret_path.write_bytes(content)
    else:
        fresh.secret_path.mkdir()
    with pytest.raises(SettingsError, match="TRACKER_CALLBACK_SECRET: "):
        callback_secrets(fresh)


def test_a_place_where_no_secret_can_be_made_names_the_setting(
    fresh: Settings, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(SettingsError, match="TRACKER_CALLBACK_SECRET: "):
        callback_secrets(fresh)


@pytest.mark.parametrize("password", ["a/b", "a?b", "a#b"])
def test_a_password_that_should_have_been_quoted_is_not_shown(password: str) -> None:
    given = {"database_url": f"postgresql://me:{password}@host/name", "callback_secret": "x"}
    assert Settings.model_validate(given).database_name == "postgresql://…"


def test_a_direct_url_beside_a_file_is_refused_rather_than_migrated() -> None:
    with pytest.raises(SettingsError, match="TRACKER_DATABASE_DIRECT_URL: is for PostgreSQL"):
        load_settings(database_url="sqlite:///a.db", database_direct_url="postgresql://host/name")


def test_the_signing_secret_is_made_once_beside_the_file(fresh: Settings) -> None:
    [secret] = webhook_secrets(fresh)
    assert is_signing_secret(secret)
    assert fresh.webhook_secret_path.stat().st_mode & 0o777 == 0o600
    assert webhook_secrets(fresh) == [secret]
    given = fresh.model_copy(update={"webhook_secret": tuple(map(SecretStr, SIGNING))})
    assert webhook_secrets(given) == [*SIGNING]


def test_a_file_with_something_else_is_no_signing_secret(fresh: Settings) -> None:
    webhook_secrets(fresh)
    fresh.webhook_secret_path.write_text("hunter2")
    with pytest.raises(
        SettingsError, match=r"TRACKER_WEBHOOK_SECRET: .* begins with whsec_"
    ) as bad:
        webhook_secrets(fresh)
    assert "hunter2" not in str(bad.value)


def test_with_postgresql_the_signing_secret_must_be_set() -> None:
    with pytest.raises(SettingsError, match="TRACKER_WEBHOOK_SECRET: must be set"):
        webhook_secrets(Settings(database_url="postgresql://h/d"))
