"""A shop on Litestar: an application factory, its own health, its own error envelope, a page for the rest."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from litestar import Litestar, MediaType, Request, Response, get, post, websocket_listener
from litestar.datastructures import State
from litestar.exceptions import HTTPException, NotFoundException
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


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


@dataclass
class OrderIn:
    reference: str
    item_id: int


@asynccontextmanager
async def database(app: Litestar) -> AsyncIterator[None]:
    engine = create_async_engine(os.environ["DATABASE_URL"])
    app.state.new_session = async_sessionmaker(engine, expire_on_commit=False)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with app.state.new_session() as session:
        if not await session.scalar(select(func.count()).select_from(Item)):
            session.add_all([Item(name=f"item {number}") for number in range(1, 21)])
            await session.commit()
    yield
    await engine.dispose()


@get("/health")
async def health() -> dict[str, str]:
    return {"shop": "open"}


@get("/items")
async def list_items(state: State) -> list[dict[str, object]]:
    async with state.new_session() as session:
        rows = await session.scalars(select(Item).order_by(Item.id))
        return [{"id": row.id, "name": row.name} for row in rows]


@get("/items/{item_id:int}")
async def get_item(item_id: int, state: State) -> dict[str, object]:
    async with state.new_session() as session:
        item = await session.get(Item, item_id)
    if item is None:
        raise NotFoundException("no such item")
    return {"id": item.id, "name": item.name}


@post("/orders")
async def create_order(data: OrderIn, state: State) -> dict[str, object]:
    async with state.new_session() as session:
        row = Order(reference=data.reference, item_id=data.item_id)
        session.add(row)
        await session.commit()
        await session.refresh(row)
        return {"id": row.id, "reference": row.reference, "item_id": row.item_id}


@get("/slow")
async def slow(seconds: float, state: State) -> dict[str, float]:
    async with state.new_session() as session:
        await session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
    return {"slept": seconds}


@get("/idle")
async def idle(seconds: float) -> dict[str, float]:
    await asyncio.sleep(seconds)
    return {"idled": seconds}


@websocket_listener("/ws")
async def echo(data: str) -> str:
    return data


@get(["/", "/{path:path}"], media_type=MediaType.HTML)
async def page(path: str = "/") -> str:
    return "<!doctype html><title>Shop</title><div id=root></div>"


def problem(request: Request, error: Exception) -> Response:
    """Errors in the shop's own envelope, with a member that only the shop has."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    body = {"title": type(error).__name__, "status": status, "shop": "litestar"}
    return Response(body, status_code=status, media_type="application/problem+json")


def create_app() -> Litestar:
    handlers = [health, list_items, get_item, create_order, slow, idle, echo, page]
    return Litestar(handlers, lifespan=[database], exception_handlers={Exception: problem})
