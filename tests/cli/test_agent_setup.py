"""`agent-setup`: what it writes for each client on each system, and what it leaves alone."""

import json
import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path, PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from service.cli import agent_setup_json as json_file
from service.cli import agent_setup_toml as toml_file
from service.cli.agent_setup_clients import CLIENTS, ClientName
from service.cli.agent_setup_files import Change, store
from service.cli.app import app
from service.config import client_folders
from service.errors import TrackerError

pytestmark = pytest.mark.either_database

ROOT = Path(__file__).parents[2]
SECRET = "token-of-nobody-else"
KEY = "luma-key-of-nobody-else"
URL = "http://127.0.0.1:8000/mcp"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user whose service has a token and a key."""
    for name in ("XDG_CONFIG_HOME", "APPDATA", "CLAUDE_CONFIG_DIR", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRACKER_API_TOKENS", f"ro:reader,{SECRET}")
    monkeypatch.setenv("LUMAAI_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["agent-setup", *arguments])


def done(*arguments: str) -> dict[str, Any]:
    """Run the command with `--json`, and return what it says about the only client."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    [found] = json.loads(result.stdout)
    return dict(found)


def entry(path: Path, section: str) -> dict[str, Any]:
    """The tracker's entry in a file."""
    text = path.read_text()
    document = tomllib.loads(text) if path.suffix == ".toml" else json_file.parse(text)
    return dict(document[section]["luma-tracker"])


LINUX = {
    "claude-code": ".claude.json",
    "claude-desktop": ".config/Claude/claude_desktop_config.json",
    "cursor": ".cursor/mcp.json",
    "vscode": ".config/Code/User/mcp.json",
    "codex": ".codex/config.toml",
    "gemini": ".gemini/settings.json",
}
MAC = LINUX | {
    "claude-desktop": "Library/Application Support/Claude/claude_desktop_config.json",
    "vscode": "Library/Application Support/Code/User/mcp.json",
}
WINDOWS = LINUX | {
    "claude-desktop": "AppData/Roaming/Claude/claude_desktop_config.json",
    "vscode": "AppData/Roaming/Code/User/mcp.json",
}


@pytest.mark.parametrize(
    ("system", "files"), [("linux", LINUX), ("darwin", MAC), ("win32", WINDOWS)]
)
def test_each_client_has_its_file_on_each_system(system: str, files: dict[str, str]) -> None:
    folders = client_folders(Path("/home/u"), system, {})

    found = {name.value: client.path(folders) for name, client in CLIENTS.items()}

    assert found == {name: PurePath("/home/u", file) for name, file in files.items()}


@pytest.mark.parametrize(
    ("client", "system", "variable", "file"),
    [
        ("claude-code", "linux", "CLAUDE_CONFIG_DIR", "/moved/.claude.json"),
        ("codex", "linux", "CODEX_HOME", "/moved/config.toml"),
        ("vscode", "linux", "XDG_CONFIG_HOME", "/moved/Code/User/mcp.json"),
        ("vscode", "win32", "APPDATA", "/moved/Code/User/mcp.json"),
    ],
)
def test_a_folder_that_the_user_moved_is_found(
    client: str, system: str, variable: str, file: str
) -> None:
    folders = client_folders(Path("/home/u"), system, {variable: "/moved"})

    assert CLIENTS[ClientName(client)].path(folders) == Path(file)


BEARER = {"Authorization": f"Bearer {SECRET}"}
HTTP: dict[str, dict[str, Any]] = {
    "claude-code": {"type": "http", "url": URL, "headers": BEARER},
    "cursor": {"url": URL, "headers": {"Authorization": "Bearer ${env:TRACKER_TOKEN}"}},
    "vscode": {
        "type": "http",
        "url": URL,
        "headers": {"Authorization": "Bearer ${input:luma-tracker-token}"},
    },
    "codex": {"url": URL, "bearer_token_env_var": "TRACKER_TOKEN"},
    "gemini": {"httpUrl": URL, "headers": {"Authorization": "Bearer ${TRACKER_TOKEN}"}},
}
STDIO: dict[str, dict[str, Any]] = {
    "claude-code": {"type": "stdio", "env": {"LUMAAI_API_KEY": KEY}},
    "claude-desktop": {"env": {"LUMAAI_API_KEY": KEY}},
    "cursor": {"env": {"LUMAAI_API_KEY": "${env:LUMAAI_API_KEY}"}},
    "vscode": {"type": "stdio", "env": {"LUMAAI_API_KEY": "${input:luma-tracker-lumaai-api-key}"}},
    "codex": {"env_vars": ["LUMAAI_API_KEY"]},
    "gemini": {"env": {"LUMAAI_API_KEY": "${LUMAAI_API_KEY}"}},
}


@pytest.mark.parametrize("client", HTTP)
def test_each_client_gets_the_url_and_the_token_in_its_format(home: Path, client: str) -> None:
    found = done(client, "--write")

    path = home / LINUX[client]
    assert entry(path, found["section"]) == HTTP[client]
    assert found["changed"] is True
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("client", STDIO)
def test_each_client_gets_the_command_in_its_format(home: Path, client: str) -> None:
    found = done(client, "--write", "--transport", "stdio")

    written = entry(home / LINUX[client], found["section"])
    command = written.pop("command")
    assert Path(command).is_file()
    assert written.pop("args")[-1] == "mcp"
    assert written == STDIO[client]


def test_vs_code_asks_for_the_token_and_keeps_it(home: Path) -> None:
    path = home / LINUX["vscode"]
    path.parent.mkdir(parents=True)
    path.write_text('{"inputs": [{"id": "other"}]}')

    done("vscode", "--write")
    done("vscode", "--write")

    [other, ours] = json.loads(path.read_text())["inputs"]
    assert other == {"id": "other"}
    assert (ours["type"], ours["id"], ours["password"]) == (
        "promptString",
        "luma-tracker-token",
        True,
    )
    done("vscode", "--remove", "--yes")
    assert json.loads(path.read_text()) == {"inputs": [{"id": "other"}], "servers": {}}


COMMENTED = """// my servers
{
    "servers": {
        "other": {"url": "https://a.example/mcp"}, // keep
    },
    /* "inputs": [] */
}
"""


def test_everything_else_in_a_file_stays_as_it_was_comments_included(home: Path) -> None:
    path = home / LINUX["vscode"]
    path.parent.mkdir(parents=True)
    path.write_text(COMMENTED)

    done("vscode", "--write", "--url", "https://tracker.example")

    text = path.read_text()
    assert json_file.parse(text) == {
        "servers": {
            "other": {"url": "https://a.example/mcp"},
            "luma-tracker": {"type": "http", "url": "https://tracker.example/mcp"},
        }
    }
    kept = text.splitlines()
    assert [line for line in COMMENTED.splitlines() if line not in kept] == [
        '        "other": {"url": "https://a.example/mcp"}, // keep'
    ], "it got a comma"
    assert "// keep" in text


CODEX = """model = "gpt"  # mine

[mcp_servers.luma-tracker]
url = "http://old.example/mcp"

[mcp_servers.luma-tracker.env]
A = "b"

# about the other one
[mcp_servers.other]
command = "other"
"""


def test_a_toml_file_keeps_its_comments_and_tables(home: Path) -> None:
    path = home / LINUX["codex"]
    path.parent.mkdir(parents=True)
    path.write_text(CODEX)

    done("codex", "--write")

    text = path.read_text()
    assert tomllib.loads(text)["mcp_servers"] == {
        "other": {"command": "other"},
        "luma-tracker": HTTP["codex"],
    }
    assert "# mine" in text
    assert "# about the other one\n[mcp_servers.other]" in text
    done("codex", "--remove", "--write")
    assert tomllib.loads(path.read_text()) == {
        "model": "gpt",
        "mcp_servers": {"other": {"command": "other"}},
    }


@pytest.mark.parametrize("client", HTTP)
def test_what_was_written_can_be_removed(home: Path, client: str) -> None:
    path = home / LINUX[client]
    done(client, "--write")

    done(client, "--remove", "--write")

    assert "luma-tracker" not in path.read_text()
    assert done(client, "--remove", "--write")["changed"] is False


def test_a_backup_is_left_beside_a_file_that_was_changed(home: Path) -> None:
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text("{}")

    first = done("cursor", "--write")
    again = done("cursor", "--write")

    assert Path(first["backup"]).read_text() == "{}"
    assert Path(first["backup"]).parent == path.parent
    assert again["changed"] is False
    assert again["backup"] is None
    assert sorted(path.parent.iterdir()) == sorted([path, Path(first["backup"])])


def test_a_link_stays_a_link_and_permissions_stay(home: Path) -> None:
    real = home / "dotfiles.json"
    real.write_text("{}")
    real.chmod(0o640)
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").symlink_to(real)

    done("cursor", "--write")

    assert (home / ".cursor" / "mcp.json").is_symlink()
    assert entry(real, "mcpServers") == HTTP["cursor"]
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@pytest.mark.parametrize("content", ['{"mcpServers": ', '{"mcpServers": []}', "[]", "{} x", "\xff"])
def test_a_file_that_cannot_be_edited_safely_is_left_alone(home: Path, content: str) -> None:
    path = home / ".claude.json"
    path.write_bytes(content.encode("latin-1"))

    result = run("claude-code", "--write")

    assert isinstance(result.exception, TrackerError)
    assert str(path) in str(result.exception)
    assert path.read_bytes() == content.encode("latin-1")
    assert list(home.iterdir()) == [path]


def test_a_file_that_another_program_has_just_changed_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"new": 1}')

    with pytest.raises(TrackerError, match="just been changed"):
        store(Change(path, b"{}", b'{"ours": 1}'), private=False)

    assert path.read_text() == '{"new": 1}'


def test_nothing_is_written_and_no_secret_printed_unless_asked_for(home: Path) -> None:
    shown = run()
    with_secrets = run("claude-code", "--show-secrets")

    assert shown.exit_code == 0
    assert SECRET not in shown.output
    assert KEY not in shown.output
    assert "Bearer <TRACKER_TOKEN>" in shown.stdout
    assert all(client.title in shown.stdout for client in CLIENTS.values())
    assert f"Bearer {SECRET}" in with_secrets.stdout
    assert KEY not in run("claude-desktop", "--write").output
    assert [path.name for path in home.iterdir()] == [".config"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_it_asks_before_it_writes(home: Path, answer: str) -> None:
    import pty

    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())

    ended = subprocess.run(
        [sys.executable, "-m", "service", "agent-setup", "cursor"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )

    os.close(theirs)
    os.close(ours)
    assert (ended.returncode == 0) is (answer == "y")
    assert (home / ".cursor").exists() is (answer == "y")


def test_json_names_the_file_the_entry_and_the_variables_to_set(home: Path) -> None:
    found = done("gemini")

    assert found == {
        "client": "gemini",
        "path": str(home / ".gemini" / "settings.json"),
        "transport": "http",
        "section": "mcpServers",
        "name": "luma-tracker",
        "entry": HTTP["gemini"],
        "inputs": [],
        "variables": ["TRACKER_TOKEN"],
    }
    assert not (home / ".gemini").exists()


def test_without_tokens_no_header_is_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACKER_API_TOKENS")

    assert done("cursor")["entry"] == {"url": URL}
    monkeypatch.setenv("TRACKER_API_TOKENS", "ro:reader")
    assert done("claude-code", "--show-secrets")["entry"]["headers"] == {
        "Authorization": "Bearer reader"
    }
    assert done("codex", "--token", "t")["entry"]["bearer_token_env_var"] == "TRACKER_TOKEN"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--write"], "Name it"),
        (["claude-desktop", "--transport", "http"], "stdio"),
    ],
)
def test_what_makes_no_sense_is_refused(home: Path, arguments: list[str], words: str) -> None:
    result = run(*arguments)

    assert isinstance(result.exception, TrackerError)
    assert words in f"{result.exception} {result.exception.hint}"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(), VALUES, max_size=3)


@given(
    rest=DOCUMENTS,
    servers=st.none() | DOCUMENTS,
    indent=st.sampled_from([None, 0, 2, "\t"]),
    line_break=st.sampled_from(["\n", "\r\n"]),
)
def test_json_of_any_form_gains_the_member_and_loses_nothing_else(
    rest: dict[str, Any], servers: dict[str, Any] | None, indent: Any, line_break: str
) -> None:
    document = {**rest, **({} if servers is None else {"mcpServers": servers})}
    text = json.dumps(document, indent=indent).replace("\n", line_break)

    with_member = json_file.set_member(text, "mcpServers", "luma-tracker", {"url": "x"})

    wanted = {**document, "mcpServers": {**(servers or {}), "luma-tracker": {"url": "x"}}}
    assert json_file.parse(with_member) == json.loads(with_member) == wanted
    without = json_file.remove_member(with_member, "mcpServers", "luma-tracker")
    kept = {name: each for name, each in (servers or {}).items() if name != "luma-tracker"}
    assert json.loads(without) == {**document, "mcpServers": kept}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"s": {"luma-tracker": 1, "b": 2}}', {"b": 2}),
        ('{"s": {"a": 1, "luma-tracker": {}, "b": 2}}', {"a": 1, "b": 2}),
        ('{"s": {"a": 1, /* , */ "luma-tracker": "}" /* x */}}', {"a": 1}),
        ('{"s": {"a": 1, "luma-tracker": [1], // last\n}}', {"a": 1}),
    ],
)
def test_a_member_is_removed_wherever_it_stands(before: str, after: dict[str, Any]) -> None:
    left = json_file.remove_member(before, "s", "luma-tracker")

    assert json_file.parse(left) == {"s": after}
    assert left.count("/*") + left.count("//") == before.count("/*") + before.count("//")


def test_an_empty_file_becomes_one_with_the_entry() -> None:
    assert json.loads(json_file.set_member(" \n", "a", "b", 1)) == {"a": {"b": 1}}
    assert tomllib.loads(toml_file.set_table("", "a", "b", {"c": "d"})) == {"a": {"b": {"c": "d"}}}
