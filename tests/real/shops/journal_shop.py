"""A shop that opted in to the journal: it shows what it was sent, expires tokens, chokes until cured."""

import base64
import hashlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from holdfast import journaled

TABLES = (
    "CREATE TABLE IF NOT EXISTS taken (id serial PRIMARY KEY, reference text, size integer, digest text)",
    "CREATE TABLE IF NOT EXISTS cured (reference text)",
)
engine = create_async_engine(os.environ["DATABASE_URL"])


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        for statement in TABLES:
            await connection.execute(text(statement))
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])
app.add_middleware(GZipMiddleware, minimum_size=1000)


def noted(what: str, reference: str) -> None:
    """A line for the test that runs us: who runs what when."""
    place = os.environ.get("RUNS")
    if place:
        number = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(number, f"{what} {reference} {os.getpid()}\n".encode())
        os.close(number)


async def take(connection: AsyncConnection, reference: str, body: bytes) -> dict[str, Any]:
    taken = {"reference": reference, "size": len(body), "digest": hashlib.sha256(body).hexdigest()}
    await connection.execute(text("INSERT INTO taken VALUES (DEFAULT, :reference, :size, :digest)"), taken)
    return taken


@app.post("/take/{reference}", status_code=201)
@journaled
async def take_in(reference: str, request: Request) -> dict[str, Any]:
    body = await request.body()
    noted("begins", reference)
    pause = float(request.query_params.get("pause", "0"))
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_sleep(:pause)"), {"pause": pause})
        taken = await take(connection, reference, body)
    noted("ends", reference)
    return taken


@app.api_route("/echo/{rest:path}", methods=["PUT", "POST"])
@journaled
async def echo(rest: str, request: Request) -> dict[str, Any]:
    """What reached us, as it reached us; large enough to be compressed."""
    body = await request.body()
    async with engine.begin() as connection:
        await take(connection, "echo", body)
    scope = request.scope
    return {
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "version": scope["http_version"],
        "scheme": scope["scheme"],
        "client": scope["client"],
        "server": scope["server"],
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": base64.b64encode(body).decode(),
        "padding": "." * 1000,
    }


@app.post("/with-token")
@journaled
async def with_token(request: Request) -> dict[str, Any]:
    """The token says until when it is good: seconds since the epoch."""
    async with engine.begin() as connection:
        noted("begins", "token")
        await connection.execute(text("SELECT 1"))  # as shops look their sessions up
        if float(request.headers["authorization"].removeprefix("Bearer ")) < time.time():
            raise HTTPException(401, "the token has expired")
        return await take(connection, "token", b"")


@app.post("/choke/{reference}")
@journaled
async def choke(reference: str) -> dict[str, Any]:
    """500 until somebody has cured it."""
    async with engine.begin() as connection:
        question = text("SELECT count(*) FROM cured WHERE reference = :reference")
        found = await connection.scalar(question, {"reference": reference})
        noted("begins", reference)
        if not found:
            raise RuntimeError("a defect of the shop's")
        return await take(connection, reference, b"")


@app.post("/attempted/{reference}")
@journaled
async def attempted(reference: str) -> dict[str, Any]:
    """Saves that it was attempted, then fails."""
    async with engine.begin() as connection:
        await take(connection, reference, b"")
    noted("begins", reference)
    raise HTTPException(503, "the provider is away")


@app.post("/unknown/{reference}")
@journaled
async def unknown(reference: str) -> dict[str, Any]:
    """404 until somebody has cured it."""
    async with engine.begin() as connection:
        question = text("SELECT count(*) FROM cured WHERE reference = :reference")
        noted("begins", reference)
        if not await connection.scalar(question, {"reference": reference}):
            raise HTTPException(404, "no such customer")
        return await take(connection, reference, b"")


@app.post("/fatal/{reference}")
@journaled
async def fatal(reference: str) -> dict[str, Any]:
    """Ends the process, as a defect in a library of C does, until somebody has cured it."""
    async with engine.begin() as connection:
        question = text("SELECT count(*) FROM cured WHERE reference = :reference")
        noted("begins", reference)
        if not await connection.scalar(question, {"reference": reference}):
            os.kill(os.getpid(), signal.SIGKILL)
        return await take(connection, reference, b"")


if os.environ.get("OWN_OPERATIONS"):

    @app.get("/operations/{name}")
    async def operation(name: str) -> dict[str, str]:
        return {"surgery": name}
