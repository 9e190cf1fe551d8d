"""FastAPI, async SQLAlchemy, one query a request. It has never heard of holdfast.

The pool is spelled out, so that both servers run the application with the same one.
"""

import os
import time
from collections.abc import AsyncIterator
from typing import Annotated

BEGAN = time.time()

from fastapi import Depends, FastAPI, HTTPException, WebSocket, WebSocketDisconnect  # noqa: E402 - timed
from pydantic import BaseModel, ConfigDict  # noqa: E402
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine  # noqa: E402
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column  # noqa: E402

PRE_PING = os.environ.get("SHOP_PRE_PING") == "1"
engine = create_async_engine(
    os.environ["DATABASE_URL"], pool_size=20, max_overflow=0, pool_pre_ping=PRE_PING, pool_use_lifo=True
)
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class ItemOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    name: str


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]
app = FastAPI()


@app.get("/items/{item_id}", response_model=ItemOut)
async def get_item(item_id: int, session: SessionDep):
    item = await session.get(Item, item_id)
    if item is None:
        raise HTTPException(404, "no such item")
    return item


@app.websocket("/ws")
async def echo(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return


print(f"imported from {BEGAN:.6f} to {time.time():.6f}", flush=True)
