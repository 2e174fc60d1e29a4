"""The same tools over stdin and stdout, for a client that starts us as its child."""

import os
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import anyio
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from ..scope import Scope
from ..settings import Settings
from .caller import STDIO, Caller
from .calls import Calls
from .logs import CallLog
from .messages import parse
from .toolspec import Memory


def serve(settings: Settings, memory: Callable[[], Memory]) -> None:
    """Serve until stdin ends; running writes finish first. On SIGTERM and SIGINT it ends the process itself."""
    anyio.run(_serve, settings, memory)


async def _serve(settings: Settings, memory: Callable[[], Memory]) -> None:
    whose = Scope(settings.mcp_stdio_user_id, settings.mcp_stdio_client_name)
    calls = Calls(settings, memory, CallLog(next(iter(settings.auth_secrets), None)), stdio=Caller(whose, STDIO, ""))
    async with stdio_server() as (read, write), anyio.create_task_group() as tasks:
        tasks.start_soon(_leave_on_signal, calls, settings.shutdown_grace)
        server: Server[Any] = calls.server()
        answering = _AnsweringReader(read, write)
        await server.run(answering, write, server.create_initialization_options())
        await calls.drain(settings.shutdown_grace)
        tasks.cancel_scope.cancel()


async def _leave_on_signal(calls: Calls, grace: float) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            await calls.drain(grace)
            await anyio.sleep(0.05)  # the writer's turn: the last answers
            os._exit(0)  # a thread blocks in a read of stdin, and would hold the process


class _AnsweringReader:
    """The SDK drops lines that are no messages, and their sender waits until its own timeout: answer them."""

    def __init__(self, inner: Any, write: Any) -> None:
        self._inner = inner
        self._write = write

    @property
    def last_context(self) -> Any:
        return self._inner.last_context

    async def receive(self) -> SessionMessage | Exception:
        while True:
            item: SessionMessage | Exception = await self._inner.receive()
            if not isinstance(item, ValidationError):
                return item
            line = item.errors(include_url=False, include_context=False)[0]["input"]
            error = parse(line)[1] if isinstance(line, str) else None
            if error is not None:
                await self._write.send(SessionMessage(error))

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        await self.aclose()
        return None
