"""A shop of threads on one SQLite file."""

import os
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(os.environ["DATABASE_URL"])


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str]
    item_id: Mapped[int]


class OrderIn(BaseModel):
    reference: str
    item_id: int


@asynccontextmanager
async def lifespan(app: FastAPI):
    Base.metadata.create_all(engine)
    yield
    engine.dispose()


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
def create_order(order: OrderIn, session: Annotated[Session, Depends(get_session)]):
    row = Order(**order.model_dump())
    session.add(row)
    session.commit()
    return {"id": row.id}


@app.get("/orders")
def list_orders(session: Annotated[Session, Depends(get_session)]):
    return [one.reference for one in session.query(Order)]
