"""Closed-loop writes from a process of their own, each with a key of its own where a prefix is given."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count

from benchmarks.client import HOST, Connection, connect

BODY = b'{"reference":"an order like any other"}'


def post(key: str) -> bytes:
    """A POST as it goes over the wire."""
    named = f"Idempotency-Key: {key}\r\n" if key else ""
    head = f"POST /orders HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n{named}"
    return f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


async def load(port: int, prefix: str, connections: int, seconds: float) -> dict[str, float]:
    """So many connections, each sending the next write when the last is answered."""
    numbers = count()
    opened = [await connect(port) for _ in range(connections)]
    began = time.monotonic()
    counts = await asyncio.gather(*(_loop(one, prefix, numbers, began + seconds) for one in opened))
    took = time.monotonic() - began
    for one in opened:
        one.close()
    return {
        "requests": sum(one[0] for one in counts),
        "failed": sum(one[1] for one in counts),
        "seconds": took,
    }


async def _loop(connection: Connection, prefix: str, numbers: count[int], until: float) -> tuple[int, int]:
    good = bad = 0
    while time.monotonic() < until:
        status = await connection.send(post(f"{prefix}{next(numbers)}" if prefix else ""))
        good += status == 200
        bad += status != 200
    return good, bad


def main() -> None:
    """`python -m benchmarks.writing PORT PREFIX CONNECTIONS SECONDS`: the closed loop, as JSON."""
    import uvloop

    port, prefix, connections, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(load(int(port), prefix, int(connections), float(seconds)))))


if __name__ == "__main__":
    main()
