"""The least an ASGI application can do: what the server and the client cost without anything else."""

import asyncio

BODY = b'{"title":"away","status":503,"detail":"the least an application can answer, as long as a problem"}'


async def refusing(scope, receive, send):
    """Always 503."""
    await _answer(send, 503)


async def waiting(scope, receive, send):
    """Waits half a minute on a future with a timer, the least a request that waits can hold."""
    if scope["path"] == "/wait":
        await asyncio.sleep(30)
    await _answer(send, 200)


async def _answer(send, status):
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})
