"""A shop whose pages listen for news: a stream that reads once from its database, and then stays open."""

import asyncio
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

engine = create_async_engine(os.environ["DATABASE_URL"])
app = FastAPI()


@app.get("/stock")
async def stock():
    async with engine.connect() as connection:
        return await connection.scalar(text("SELECT 1"))


@app.get("/events")
async def events(seconds: float = 60):
    async with engine.connect() as connection:
        stock = await connection.scalar(text("SELECT 1"))

    async def news() -> AsyncIterator[str]:
        yield f"data: {stock}\n\n"
        await asyncio.sleep(seconds)

    return StreamingResponse(news(), media_type="text/event-stream")
