"""A shop that answers on WebSockets from its database."""

import os

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

engine = create_async_engine(os.environ["DATABASE_URL"])
app = FastAPI()


@app.websocket("/ws")
async def answer(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.receive_text()
            async with engine.connect() as connection:
                number = await connection.scalar(text("SELECT 1"))
            await socket.send_text(str(number))
    except WebSocketDisconnect:
        return
