"""A shop whose database is used beside requests: by sockets, by streams that go on, by jobs in threads."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

URL = make_url(os.environ["DATABASE_URL"])
engine = create_async_engine(URL, pool_size=3, max_overflow=0)
of_jobs = create_engine(URL.set(drivername="postgresql+psycopg"))
done, failed = [], []
may_end = threading.Event()


def job() -> None:
    while not may_end.wait(0.02):
        try:
            with of_jobs.begin() as connection:
                connection.execute(text("INSERT INTO done DEFAULT VALUES"))
                time.sleep(0.05)
                connection.execute(text("SELECT count(*) FROM done"))
            done.append(time.monotonic())
        except Exception as error:
            failed.append(repr(error))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS done (at timestamptz DEFAULT now())"))
    threads = [threading.Thread(target=job) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield
    may_end.set()
    for thread in threads:
        thread.join()


app = FastAPI(lifespan=lifespan)


async def look() -> int:
    async with engine.connect() as connection:
        return await connection.scalar(text("SELECT 1"))


@app.get("/jobs")
async def jobs():
    return {"done": len(done), "failed": failed}


@app.get("/look")
async def once():
    return await look()


@app.get("/stream")
async def stream():
    async def looks() -> AsyncIterator[str]:
        while True:
            yield f"{await look()}\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(looks(), media_type="text/plain")


@app.websocket("/ws")
async def answer(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.receive_text()
            await socket.send_text(str(await look()))
    except WebSocketDisconnect:
        return
