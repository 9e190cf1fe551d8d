"""A shop that saves after it has answered: its sessions are committed by the dependency that made them.

Some routes send their INSERT before they answer (`flushed`), others leave that to the commit too.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

engine = create_async_engine(os.environ["DATABASE_URL"])
threaded = create_engine(os.environ["DATABASE_URL"].replace("asyncpg", "psycopg"))
new_session = async_sessionmaker(engine, expire_on_commit=False)
new_threaded = sessionmaker(threaded, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(unique=True)
    item_id: Mapped[int]


class OrderIn(BaseModel):
    reference: str
    item_id: int = 1


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session
        await session.commit()


async def get_forgiving() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session
        with contextlib.suppress(SQLAlchemyError):
            await session.commit()


def get_threaded() -> Iterator[Session]:
    with new_threaded() as session:
        yield session
        session.commit()


SessionDep = Annotated[AsyncSession, Depends(get_session)]
ForgivingDep = Annotated[AsyncSession, Depends(get_forgiving)]
ThreadedDep = Annotated[Session, Depends(get_threaded)]
app = FastAPI(lifespan=lifespan)


@app.get("/items")
@app.get("/items/{item_id}")
async def items(session: SessionDep, item_id: int = 0):
    return await session.scalar(select(func.count()).select_from(Item))


@app.post("/orders", status_code=201)
async def place(order: OrderIn, session: SessionDep):
    session.add(Order(**order.model_dump()))
    return order


@app.post("/flushed", status_code=201)
async def flushed(order: OrderIn, session: SessionDep):
    session.add(Order(**order.model_dump()))
    await session.flush()
    return order


@app.post("/forgiving", status_code=201)
async def forgiving(order: OrderIn, session: ForgivingDep):
    session.add(Order(**order.model_dump()))
    return order


@app.post("/threads", status_code=201)
def in_threads(order: OrderIn, session: ThreadedDep):
    session.add(Order(**order.model_dump()))
    return order


@app.post("/threads/flushed", status_code=201)
def in_threads_flushed(order: OrderIn, session: ThreadedDep):
    session.add(Order(**order.model_dump()))
    session.flush()
    return order


@app.post("/mailed", status_code=201)
async def mailed(order: OrderIn, session: SessionDep, tasks: BackgroundTasks):
    session.add(Order(**order.model_dump()))
    await session.flush()
    tasks.add_task(asyncio.sleep, 2.5)
    return order
