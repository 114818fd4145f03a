"""Callback tokens: only ours are valid, in one spelling; secrets rotate, and are created once."""

import json
import re
import stat
import string
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import Settings, callback_secrets
from service.domain.redaction import REDACTED, body_without_tokens
from service.errors import SettingsError
from service.tracking.callback_tokens import CallbackTokens

TOKENS = CallbackTokens(["secret"])
SINGLE = TOKENS.single()


def test_a_reusable_token_is_accepted_and_always_the_same() -> None:
    grant = TOKENS.grant(TOKENS.reusable())
    assert grant
    assert grant.nonce is None
    assert TOKENS.reusable() == CallbackTokens(["secret"]).reusable()


def test_every_single_token_is_another_and_carries_its_own_nonce() -> None:
    tokens = [TOKENS.single() for _ in range(50)]
    grants = [TOKENS.grant(token) for token in tokens]
    nonces = {grant.nonce for grant in grants if grant}
    assert len(set(tokens)) == len(nonces) == 50
    assert all(nonce and 20 <= len(nonce) <= 64 for nonce in nonces)


@pytest.mark.parametrize("token", [TOKENS.reusable(), SINGLE], ids=["reusable", "single"])
def test_a_token_is_unguessable_tells_nothing_and_fits_into_a_path(token: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{40,128}", token)
    assert len(token.rpartition(".")[2]) >= 43  # 256 bits
    assert "secret" not in token


def test_another_secret_makes_other_tokens_under_another_key_id() -> None:
    one, other = CallbackTokens(["one"]), CallbackTokens(["other"])
    assert one.reusable().partition(".")[0] != other.reusable().partition(".")[0]
    assert other.grant(one.reusable()) is None
    assert other.grant(one.single()) is None


def test_a_signature_under_another_keys_id_is_refused() -> None:
    both = CallbackTokens(["new", "old"])
    new_id = both.reusable().partition(".")[0]
    _, _, rest = CallbackTokens(["old"]).reusable().partition(".")
    assert both.grant(f"{new_id}.{rest}") is None


def test_the_newest_secret_signs_and_the_older_is_accepted_until_it_is_dropped() -> None:
    old, both, new = (
        CallbackTokens(["old"]),
        CallbackTokens(["new", "old"]),
        CallbackTokens(["new"]),
    )
    assert both.reusable() == new.reusable()
    for token in (old.reusable(), old.single(), both.reusable(), both.single()):
        assert both.grant(token)
    assert new.grant(old.reusable()) is None
    assert new.grant(old.single()) is None


@pytest.mark.parametrize("token", [TOKENS.reusable(), SINGLE], ids=["reusable", "single"])
def test_every_change_of_a_character_is_noticed(token: str) -> None:
    """Including the last one, which has bits that base64 ignores; only our spelling is valid."""
    accepted = [
        changed
        for place in range(len(token))
        for other in string.ascii_letters + string.digits + "-_.~"
        if (changed := token[:place] + other + token[place + 1 :]) != token
        and TOKENS.grant(changed)
    ]
    assert accepted == []


@pytest.mark.parametrize(
    "more", ["=", "==", "~~~~", "!!!!", "A", "AAAA", ".", " ", "\n", "\0", "%", "é", "/", "?a=b"]
)
def test_a_token_with_something_more_is_refused(more: str) -> None:
    for token in (TOKENS.reusable(), SINGLE):
        assert TOKENS.grant(token + more) is None
        assert TOKENS.grant(more + token) is None
        assert TOKENS.grant(token[:-10] + more + token[-10:]) is None


def test_a_token_cut_short_or_in_another_case_is_refused() -> None:
    for token in (TOKENS.reusable(), SINGLE):
        assert [n for n in range(len(token)) if TOKENS.grant(token[:n])] == []
        assert [n for n in range(1, len(token)) if TOKENS.grant(token[n:])] == []
        assert TOKENS.grant(token.upper()) is None
        assert TOKENS.grant(token.lower()) is None
        assert TOKENS.grant(token.swapcase()) is None


def test_a_single_token_cannot_be_made_into_a_reusable_one() -> None:
    key_id, _, signature = SINGLE.split(".")
    reusable_signature = TOKENS.reusable().rpartition(".")[2]
    assert TOKENS.grant(f"{key_id}.any.{signature}") is None
    assert TOKENS.grant(f"{key_id}.one-other.{signature}") is None
    assert TOKENS.grant(f"{key_id}.one-.{reusable_signature}") is None


@pytest.mark.parametrize("token", ["", ".", "..", "any", "any.", "é", "\ud800", "\0", "A" * 10_000])
def test_anything_else_is_refused(token: str) -> None:
    assert TOKENS.grant(token) is None


@given(st.text(), st.text(), st.text())
def test_no_invented_token_is_accepted(key_id: str, subject: str, signature: str) -> None:
    ours = TOKENS.reusable().partition(".")[0]
    for token in (key_id, f"{ours}.{subject}.{signature}", f"{key_id}.{subject}.{signature}"):
        assert TOKENS.grant(token) is None


def _settings(folder: Path, **given: object) -> Settings:
    database = f"sqlite:///{folder / 'data' / 'tracker.db'}"
    return Settings.model_validate({"database_url": database, **given})


def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    made = callback_secrets(settings)
    mode = stat.S_IMODE(settings.secret_path.stat().st_mode)
    assert mode == 0o600
    assert len(made[0]) >= 43
    assert callback_secrets(settings) == made
    assert [path.name for path in settings.secret_path.parent.iterdir()] == ["callback.secret"]


def test_of_many_that_start_at_once_all_get_the_same_secret(tmp_path: Path) -> None:
    settings, found = _settings(tmp_path), list[str]()
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        found.extend(callback_secrets(settings))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in settings.secret_path.parent.iterdir()] == ["callback.secret"]


def test_a_secret_that_is_set_makes_no_file(tmp_path: Path) -> None:
    settings = _settings(tmp_path, callback_secret="new, old")
    assert callback_secrets(settings) == ["new", "old"]
    assert not settings.secret_path.exists()


def test_an_empty_secret_file_is_refused_by_the_settings_name(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    settings.secret_path.parent.mkdir()
    settings.secret_path.touch(0o600)
    with pytest.raises(SettingsError, match="TRACKER_CALLBACK_SECRET") as refused:
        callback_secrets(settings)
    assert "\n" not in str(refused.value)


def escaped(token: str, every: int = 1) -> str:
    """Return the token with JSON escapes, for every n-th character."""
    return "".join(c if n % every else f"\\u{ord(c):04x}" for n, c in enumerate(token))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_a_token_is_taken_out_of_a_body_in_any_encoding_that_is_read(encoding: str) -> None:
    body = '{{"id": "a", "x": "é \\u00e9 {}"}}'
    for told in (SINGLE, TOKENS.reusable(), escaped(SINGLE), SINGLE.replace(".", "\\u002E")):
        kept = body_without_tokens(body.format(f"/{told}").encode(encoding))
        assert kept == body.format(f"/{REDACTED}").encode(encoding)


@pytest.mark.parametrize(
    "around", ["{}", '"" {}', '" {{"u": "{}"}}', '{{"u": "{}', "{} \\", '\\"{}']
)
def test_a_token_is_taken_out_of_a_body_that_is_no_json(around: str) -> None:
    for told in (SINGLE, escaped(SINGLE), escaped(SINGLE, every=3)):
        kept = body_without_tokens(around.format(told).encode())
        assert kept == around.format(REDACTED).encode()


def test_a_token_is_taken_out_of_json_within_json() -> None:
    told = SINGLE.replace(".", "\\u002e")
    inner = f'{{"u": "https://t.example/callbacks/{told}"}}'
    kept = json.loads(body_without_tokens(json.dumps({"id": "a", "said": inner}).encode()))
    assert json.loads(kept["said"]) == {"u": f"https://t.example/callbacks/{REDACTED}"}


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe\x00", b"\xff\xfe\x00\xd8", b"\x00\x00\x00{", b"\\"]
)
def test_a_body_without_a_token_stays_byte_for_byte(body: bytes) -> None:
    assert body_without_tokens(body) == body


@given(st.lists(st.one_of(st.text(), st.just(SINGLE)), max_size=6), st.integers(1, 4))
def test_what_is_taken_out_of_json_is_the_token_and_nothing_else(
    said: list[str], every: int
) -> None:
    texts = [escaped(text, every) if text == SINGLE else json.dumps(text)[1:-1] for text in said]
    kept = body_without_tokens(b'["%b"]' % " ".join(texts).encode())
    assert json.loads(kept) == [" ".join(said).replace(SINGLE, REDACTED)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "\\u0041' + b'\\"' * 500_000,
        b"\\u0041" * 170_000,
        b"\\" * 1_000_000 + b"u",
        b"00000000.one-" * 80_000,
        escaped(SINGLE).encode() * 2_500,
    ],
    ids=["a text without an end", "escapes", "backslashes", "beginnings", "tokens"],
)
def test_no_body_takes_long(body: bytes) -> None:
    """Bodies are untrusted, and are redacted within a transaction."""
    began = time.process_time()
    body_without_tokens(body)
    assert time.process_time() - began < 3
