"""The tracker as a competent person writes it first: FastAPI and SQLModel, as their tutorials do.

    python -m benchmarks.peers.naive DATABASE_URL

A session for each request, a read before each insert, a commit for each callback, which also keeps
the callback as it came and notes the change, as ours does. Either database is as durable as ours.
It checks no token, knows no duplicates and no order, and asks nobody.
"""

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import BaseModel
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import registry
from sqlmodel import JSON, Column, Field, Session, SQLModel, col, select

from benchmarks.peers.serving import serve


class Apart(SQLModel, registry=registry()):
    """Tables that are none of the tracker's."""


class NaiveBase(Apart):
    """What is stored and shown."""

    id: str = Field(primary_key=True)
    state: str
    generation_type: str | None = None
    model: str | None = None
    prompt: str | None = None
    created_at: datetime | None = Field(default=None, index=True)
    failure_reason: str | None = None
    assets: dict[str, str | None] | None = Field(default=None, sa_column=Column(JSON))
    request: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))


class NaiveGeneration(NaiveBase, table=True):
    """The row."""

    updated_at: datetime


class NaiveDelivery(Apart, table=True):
    """A callback as it came."""

    id: int | None = Field(default=None, primary_key=True)
    generation_id: str = Field(index=True)
    body: bytes
    received_at: datetime


class NaiveEvent(Apart, table=True):
    """A change of state."""

    seq: int | None = Field(default=None, primary_key=True)
    generation_id: str = Field(index=True)
    from_state: str | None
    to_state: str
    at: datetime


class NaiveOut(BaseModel):
    """The answer."""

    id: str
    state: str
    generation_type: str | None
    model: str | None
    prompt: str | None
    created_at: datetime | None
    failure_reason: str | None
    assets: dict[str, str | None] | None
    request: dict[str, Any] | None
    updated_at: datetime


class Callback(BaseModel):
    """What Luma sends."""

    id: str
    state: str
    generation_type: str | None = None
    model: str | None = None
    created_at: datetime | None = None
    failure_reason: str | None = None
    assets: dict[str, str | None] | None = None
    request: dict[str, Any] | None = None


def open_engine(url: str) -> Engine:
    """The database, with its tables."""
    if not url.startswith("sqlite"):
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        Apart.metadata.create_all(engine)
        return engine
    engine = create_engine(url, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    Apart.metadata.create_all(engine)
    return engine


def fill(url: str, bodies: Iterable[dict[str, Any]]) -> None:
    """Put generations into the database, in one commit."""
    engine = open_engine(url)
    with Session(engine) as session:
        session.add_all(_row(Callback.model_validate(body)) for body in bodies)
        session.commit()
    engine.dispose()


def make(url: str) -> FastAPI:
    """The application on that database."""
    app, engine = FastAPI(), open_engine(url)

    def get_session() -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    opened = Annotated[Session, Depends(get_session)]

    @app.get("/generations/{generation_id}", response_model=NaiveOut)
    def get_generation(generation_id: str, session: opened) -> NaiveGeneration:
        found = session.get(NaiveGeneration, generation_id)
        if found is None:
            raise HTTPException(404, "Generation not found")
        return found

    @app.get("/generations", response_model=list[NaiveOut])
    def list_generations(
        session: opened, limit: Annotated[int, Query(le=200)] = 20
    ) -> list[NaiveGeneration]:
        newest = select(NaiveGeneration).order_by(col(NaiveGeneration.created_at).desc())
        return list(session.exec(newest.limit(limit)))

    @app.post("/callback")
    def receive(callback: Callback, session: opened) -> dict[str, bool]:
        found = session.get(NaiveGeneration, callback.id)
        session.add(_delivery(callback))
        if found is None or found.state not in ("completed", "failed"):
            row = _row(callback)
            session.add(_event(found, row))
            if found is not None:
                found.sqlmodel_update(row.model_dump())
            session.add(found or row)
        session.commit()
        return {"ok": True}

    return app


def _delivery(callback: Callback) -> NaiveDelivery:
    body = callback.model_dump_json().encode()
    return NaiveDelivery(generation_id=callback.id, body=body, received_at=datetime.now(UTC))


def _event(before: NaiveGeneration | None, after: NaiveGeneration) -> NaiveEvent:
    return NaiveEvent(
        generation_id=after.id,
        from_state=before.state if before else None,
        to_state=after.state,
        at=after.updated_at,
    )


def _row(callback: Callback) -> NaiveGeneration:
    prompt = (callback.request or {}).get("prompt")
    told = callback.model_dump()
    return NaiveGeneration(**told, prompt=prompt, updated_at=datetime.now(UTC))


if __name__ == "__main__":
    serve(make(sys.argv[1]))
