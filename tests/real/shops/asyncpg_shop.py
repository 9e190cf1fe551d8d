"""A shop as the FastAPI tutorials write it: async SQLAlchemy on asyncpg, one DATABASE_URL."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(os.environ["DATABASE_URL"])
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(index=True)
    item_id: Mapped[int]


class ItemOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    name: str


class OrderIn(BaseModel):
    reference: str
    item_id: int


class OrderOut(OrderIn):
    model_config = ConfigDict(from_attributes=True)
    id: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with new_session() as session:
        if not await session.scalar(select(func.count()).select_from(Item)):
            session.add_all([Item(name=f"item {number}") for number in range(1, 21)])
            await session.commit()
    yield
    await engine.dispose()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]
app = FastAPI(lifespan=lifespan)


@app.get("/items", response_model=list[ItemOut])
async def list_items(session: SessionDep):
    return (await session.scalars(select(Item).order_by(Item.id))).all()


@app.get("/items/{item_id}", response_model=ItemOut)
async def get_item(item_id: int, session: SessionDep):
    item = await session.get(Item, item_id)
    if item is None:
        raise HTTPException(404, "no such item")
    return item


@app.post("/orders", response_model=OrderOut, status_code=201)
async def create_order(order: OrderIn, session: SessionDep):
    row = Order(**order.model_dump())
    session.add(row)
    await session.commit()
    await session.refresh(row)
    return row


@app.get("/slow")
async def slow(seconds: float, session: SessionDep):
    await session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
    return {"slept": seconds}


@app.get("/idle")
async def idle(seconds: float):
    await asyncio.sleep(seconds)
    return {"idled": seconds}


@app.websocket("/ws")
async def echo(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return
