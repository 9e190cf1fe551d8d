"""The shop: items and orders in PostgreSQL, written as one would write any FastAPI application."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PAGE = Path(__file__).parent / "page"
ITEMS = {"Anchor": 4900, "Brass lantern": 3250, "Coil of rope": 1200, "Compass": 2800, "Oilskin coat": 8900}

engine = create_async_engine(os.environ["DATABASE_URL"])
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    cents: Mapped[int]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(index=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))


class ItemOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    name: str
    cents: int


class OrderIn(BaseModel):
    reference: str = Field(min_length=1, max_length=64)
    item_id: int


class OrderOut(OrderIn):
    model_config = ConfigDict(from_attributes=True)
    id: int


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with new_session() as session:
        if not await session.scalar(select(func.count()).select_from(Item)):
            session.add_all([Item(name=name, cents=cents) for name, cents in ITEMS.items()])
            await session.commit()
    yield
    await engine.dispose()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]
app = FastAPI(title="Shop", lifespan=lifespan)


@app.get("/api/items", response_model=list[ItemOut])
async def list_items(session: SessionDep) -> object:
    return (await session.scalars(select(Item).order_by(Item.id))).all()


@app.get("/api/orders", response_model=list[OrderOut])
async def list_orders(session: SessionDep) -> object:
    return (await session.scalars(select(Order).order_by(Order.id.desc()).limit(20))).all()


@app.post("/api/orders", response_model=OrderOut, status_code=201)
@app.post("/api/orders/unhurried", response_model=OrderOut, status_code=201)
async def create_order(order: OrderIn, session: SessionDep) -> object:
    if await session.get(Item, order.item_id) is None:
        raise HTTPException(404, "no such item")
    row = Order(reference=order.reference, item_id=order.item_id)
    session.add(row)
    await session.commit()
    return row


@app.get("/", response_class=HTMLResponse, include_in_schema=False)
def page() -> str:
    html = (PAGE / "page.html").read_text(encoding="utf-8")
    return html.replace("{{control}}", os.environ.get("DEMO_CONTROL", ""))


app.mount("/page", StaticFiles(directory=PAGE))
