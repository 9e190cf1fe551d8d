"""What users write keeps its types under mypy's strict mode (TXN-1, TXN-2)."""

from __future__ import annotations

import pytest

SNIPPET = """
from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker
from holdfast import run_transaction, transaction

async def count(tx: AsyncConnection) -> int: return 1
async def name(tx: AsyncSession) -> str: return ""
def size(tx: Connection) -> float: return 1.0
def flag(tx: Session) -> bytes: return b""

def threads(engine: Engine, sessions: sessionmaker[Session]) -> None:
    reveal_type(run_transaction(engine, size))
    reveal_type(run_transaction(sessions, flag, attempts=5))
    with transaction(engine) as tx:
        reveal_type(tx)
    with transaction(sessions, isolation="SERIALIZABLE") as session:
        reveal_type(session)

async def tasks(engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession]) -> None:
    reveal_type(await run_transaction(engine, count))
    reveal_type(await run_transaction(sessions, name, isolation="SERIALIZABLE"))
    async with transaction(engine) as tx:
        reveal_type(tx)
    async with transaction(sessions) as session:
        reveal_type(session)
    await run_transaction(engine, name)
"""


@pytest.mark.slow
def test_types_survive_the_transaction(tmp_path) -> None:
    api = pytest.importorskip("mypy.api")
    code = tmp_path / "uses_transactions.py"
    code.write_text(SNIPPET)
    told, trouble, _ = api.run(
        ["--strict", "--no-error-summary", f"--cache-dir={tmp_path / 'cache'}", str(code)]
    )

    assert trouble == ""
    lines = [line.split(": ", 1)[1] for line in told.splitlines() if str(code) in line]
    revealed = [line.split('"')[1].rpartition(".")[2] for line in lines if line.startswith("note: Revealed")]
    assert revealed == [
        *("float", "bytes", "Connection", "Session"),
        *("int", "str", "AsyncConnection", "AsyncSession"),
    ]
    assert [line.split("  ")[-1] for line in lines if line.startswith("error")] == ["[arg-type]"]
