"""A shop that is careless of errors: what it does not let out, it swallows."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import CheckConstraint, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(os.environ["DATABASE_URL"])
new_session = async_sessionmaker(engine, expire_on_commit=False)
kept: set[asyncio.Task[None]] = set()


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    __table_args__ = (CheckConstraint("age > 0"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    age: Mapped[int]


class CustomerIn(BaseModel):
    email: str
    age: int = 30


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session
        await session.commit()  # after the answer, as many do


SessionDep = Annotated[AsyncSession, Depends(get_session)]
app = FastAPI(lifespan=lifespan)


@app.post("/customers", status_code=201)
async def create(customer: CustomerIn, session: SessionDep):
    row = Customer(**customer.model_dump())
    session.add(row)
    await session.flush()
    return {"id": row.id}


@app.get("/broken")
async def broken():
    raise RuntimeError("the password is hunter2-very-secret")


@app.get("/task")
async def task():
    async def fail() -> None:
        raise RuntimeError("nobody awaits me")

    one = asyncio.create_task(fail())
    await asyncio.wait([one])
    return {}


@app.get("/thread")
async def thread():
    def fail() -> None:
        raise RuntimeError("nobody joins me")

    one = threading.Thread(target=fail)
    one.start()
    await asyncio.to_thread(one.join)
    return {}


@app.post("/swallowed", status_code=201)
async def swallowed(customer: CustomerIn):
    async with new_session() as session:
        session.add(Customer(**customer.model_dump()))
        with contextlib.suppress(SQLAlchemyError):  # as handlers that commit before they answer do
            await session.commit()
    return {"email": customer.email}


@app.post("/graphql")
async def graphql():
    """As resolvers are run: what one of them raises is told beside the data, with 200."""
    try:
        async with new_session() as session:
            return {"data": {"customers": await session.scalar(select(func.count(Customer.id)))}}
    except SQLAlchemyError as error:
        return {"data": None, "errors": [{"message": str(error)}]}
