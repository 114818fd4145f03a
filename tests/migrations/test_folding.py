"""Every database folds case as `service.domain.text.fold` does, whatever its locale."""

import sys
from datetime import UTC, datetime
from unicodedata import ucd_3_2_0

import pytest
from sqlalchemy import Connection, Engine, insert, select, text

from service.domain.generation import Observation, Source
from service.domain.text import fold
from service.storage import words
from tests.databases import engine_for, on_postgres, server
from tests.migrations.test_migrations import go_to
from tests.single import observe, upgrade

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
_FOLD = text("SELECT luma_fold(:value)")
_OTHERS = {"Cc", "Cs", "Cn", "Co"}
_CHARACTERS = "".join(
    character
    for character in map(chr, range(sys.maxunicode + 1))
    # Those of an old Unicode are in every version that Python and the databases have.
    if ucd_3_2_0.category(character) not in _OTHERS
)


def _of_locale(locale: str) -> str:
    """A migrated database on the server with that locale, and its answer; it is dropped again."""
    server().execute(f"CREATE DATABASE of_a_locale TEMPLATE template0 {locale}")
    engine = engine_for(server().url("of_a_locale"))
    try:
        upgrade(engine)
        with engine.connect() as connection:
            return str(connection.execute(_FOLD, {"value": _CHARACTERS}).scalar_one())
    finally:
        engine.dispose()
        server().execute("DROP DATABASE of_a_locale")


def test_every_character_is_folded_as_in_python(connection: Connection) -> None:
    folded = connection.execute(_FOLD, {"value": _CHARACTERS}).scalar_one()

    # On PostgreSQL the condition of a search does this, for the words that need it.
    assert folded.replace("ς", "σ") == fold(_CHARACTERS)
    assert len(folded) == len(_CHARACTERS)


def test_an_index_of_words_of_an_older_version_is_filled_anew(engine: Engine) -> None:
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        observe(connection, Observation("a", "agents", Source.FETCH, prompt="ΟΔΟΣ"), NOON)
    go_to(engine, "0018", down=True)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(insert(words.TEXTS).values(generation_id="a", digest="old", text="ΟΔΟΣ"))
        row = {"id": 1, "seq": 1, "position": "a", "is_complete": True}
        connection.execute(insert(words.INDEX).values(row))
        if on_postgres():
            connection.exec_driver_sql("CREATE INDEX ix_texts_trigrams ON texts (lower(text))")
    go_to(engine, "head")

    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        before = connection.execute(select(words.TEXTS.c.digest)).all()
        while words.advance(connection, 2):
            pass
        after = connection.execute(select(words.TEXTS.c.text)).scalars().all()
    assert before == []
    assert after == (["οδοσ\na"] if on_postgres() else [None])


def test_what_is_folded_stays_as_it_is() -> None:
    folded = fold(_CHARACTERS)
    assert fold(folded) == folded
    assert fold("ΟΔΟΣ ΕΡΜΟΥ, οδος, İstanbul") == "οδοσ ερμου, οδοσ, istanbul"


@pytest.mark.postgres
def test_a_database_of_any_locale_folds_alike() -> None:
    locales = ["LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"]
    if server().one("SELECT 1 FROM pg_collation WHERE collname = 'tr-x-icu'"):
        locales.append("LOCALE_PROVIDER icu ICU_LOCALE 'tr'")
    for locale in locales:
        assert _of_locale(locale).replace("ς", "σ") == fold(_CHARACTERS), locale
