"""A shop with two databases that does what real handlers do: side by side, afterwards, or not at all."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

main = create_async_engine(os.environ["DATABASE_URL"])
other = create_async_engine(os.environ["OTHER_URL"])
kept: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    for engine in (main, other):
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE IF NOT EXISTS notes (what text)"))
    yield
    await main.dispose()
    await other.dispose()


app = FastAPI(lifespan=lifespan)


async def note(engine, what: str, pause: float = 0.0) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO notes VALUES (:what)"), {"what": what})
        await asyncio.sleep(pause)


@app.post("/both/{what}")
async def both(what: str):
    await note(main, what)
    await note(other, what)
    return {"noted": what}


@app.post("/other/{what}")
async def only_other(what: str):
    await note(other, what)
    return {"noted": what}


@app.post("/beside/{what}")
async def beside(what: str):
    await asyncio.gather(*(note(main, f"{what}-{number}", 0.05) for number in range(4)))
    return {"noted": what}


@app.post("/later/{what}", status_code=202)
async def later(what: str):
    async def write() -> None:
        await asyncio.sleep(0.3)
        await note(main, what)

    task = asyncio.create_task(write())
    kept.add(task)
    task.add_done_callback(kept.discard)
    return {"will be noted": what}


@app.post("/maybe")
async def maybe(request: Request):
    what = (await request.body()).decode()
    if what != "dry":
        await note(main, what)
    return {"noted": what}


@app.post("/broken/{what}")
async def broken(what: str):
    await note(main, what)
    raise RuntimeError("after the commit")


@app.post("/long")
async def long(request: Request):
    size = len(await request.body())
    await note(main, f"long {size}")
    return {"size": size}
