"""Raw MCP over HTTP+SSE and Streamable HTTP, for what no client library would ever send."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import anyio
import httpx

ACCEPT = {"accept": "application/json, text/event-stream"}


def call(ident: int | str, tool: str, **arguments: Any) -> dict[str, Any]:
    """A tools/call request."""
    return {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def text_of(message: dict[str, Any]) -> str:
    """The one text block of a tools/call answer."""
    (block,) = message["result"]["content"]
    return str(block["text"])


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 5) -> None:
    """Wait for `check` to become true; TimeoutError if it does not."""
    with anyio.fail_after(seconds):
        while not await check():  # noqa: ASYNC110 - what is waited for is in another process or thread
            await anyio.sleep(0.02)


class RawSse:
    """One open SSE stream. `async with RawSse.open(client, url) as stream`."""

    def __init__(self, client: httpx.AsyncClient, response: httpx.Response) -> None:
        self.client = client
        self.response = response
        self._lines = response.aiter_lines()
        self.endpoint = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, client: httpx.AsyncClient, path: str, headers: dict[str, str] | None = None
    ) -> AsyncIterator[Self]:
        async with client.stream("GET", path, headers=headers or {}) as response:
            stream = cls(client, response)
            if response.status_code == 200:
                first = await stream.event()
                assert first is not None
                assert first["event"] == "endpoint"
                stream.endpoint = first["data"]
            yield stream

    async def event(self) -> dict[str, str] | None:
        """The next event; None when the stream has ended."""
        event: dict[str, str] = {}
        async for line in self._lines:
            if not line and event:
                return event
            name, _, value = line.partition(":")
            if name in ("event", "data"):
                event[name] = value.strip()
        return None

    async def message(self) -> dict[str, Any]:
        """The next JSON-RPC message."""
        event = await self.event()
        assert event is not None, "the stream ended"
        message: dict[str, Any] = json.loads(event["data"])
        return message

    async def post(self, message: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.client.post(self.endpoint, json=message, headers=headers or {})

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Post a request and read on until its answer."""
        response = await self.post(message)
        assert response.status_code == 202, response.text
        while (answer := await self.message()).get("id") != message["id"]:
            pass
        return answer
