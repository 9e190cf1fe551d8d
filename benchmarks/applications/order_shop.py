"""FastAPI, async SQLAlchemy, one insert a request. It has never heard of holdfast."""

import os

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=20, max_overflow=0, pool_use_lifo=True)
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str]


class OrderIn(BaseModel):
    reference: str


app = FastAPI()


@app.post("/orders")
async def create_order(order: OrderIn):
    async with new_session() as session:
        row = Order(reference=order.reference)
        session.add(row)
        await session.commit()
        return {"id": row.id, "reference": row.reference}
