"""A shop as the full-stack template writes it: SQLModel, sync endpoints, settings in parts."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from pydantic import PostgresDsn, computed_field
from pydantic_settings import BaseSettings
from sqlalchemy import text
from sqlmodel import Field, Session, SQLModel, create_engine, select


class Settings(BaseSettings):
    POSTGRES_SERVER: str
    POSTGRES_PORT: int = 5432
    POSTGRES_USER: str
    POSTGRES_PASSWORD: str = ""
    POSTGRES_DB: str = ""

    @computed_field
    @property
    def SQLALCHEMY_DATABASE_URI(self) -> PostgresDsn:
        return PostgresDsn.build(
            scheme="postgresql+psycopg",
            username=self.POSTGRES_USER,
            password=self.POSTGRES_PASSWORD,
            host=self.POSTGRES_SERVER,
            port=self.POSTGRES_PORT,
            path=self.POSTGRES_DB,
        )


settings = Settings()
engine = create_engine(str(settings.SQLALCHEMY_DATABASE_URI))


class Item(SQLModel, table=True):
    __tablename__ = "items"
    id: int | None = Field(default=None, primary_key=True)
    name: str


class OrderBase(SQLModel):
    reference: str = Field(index=True)
    item_id: int


class Order(OrderBase, table=True):
    __tablename__ = "orders"
    id: int | None = Field(default=None, primary_key=True)


class OrderPublic(OrderBase):
    id: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        if not session.exec(select(Item)).first():
            session.add_all([Item(name=f"item {number}") for number in range(1, 21)])
            session.commit()
    yield
    engine.dispose()


def get_db() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_db)]
app = FastAPI(lifespan=lifespan)


@app.get("/items", response_model=list[Item])
def read_items(session: SessionDep):
    return session.exec(select(Item).order_by(Item.id)).all()


@app.get("/items/{item_id}", response_model=Item)
def read_item(item_id: int, session: SessionDep):
    item = session.get(Item, item_id)
    if not item:
        raise HTTPException(status_code=404, detail="Item not found")
    return item


@app.post("/orders", response_model=OrderPublic, status_code=201)
def create_order(order_in: OrderBase, session: SessionDep):
    order = Order.model_validate(order_in)
    session.add(order)
    session.commit()
    session.refresh(order)
    return order


@app.get("/slow")
def slow(seconds: float, session: SessionDep):
    session.connection().execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
    return {"slept": seconds}


@app.get("/idle")
def idle(seconds: float):
    time.sleep(seconds)
    return {"idled": seconds}


@app.websocket("/ws")
async def echo(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return
