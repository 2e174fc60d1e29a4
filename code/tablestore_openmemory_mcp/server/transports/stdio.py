"""The same tools over stdin and stdout, for a client that starts us as its child."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import anyio
from mcp.server import Server

from ...scope import Scope
from ...settings import Settings
from ..caller import STDIO, Caller
from ..logs import CallLog, ending
from ..tools.calls import Calls
from ..tools.spec import MemoryApi
from .parent_process import orphaned
from .stdio_streams import Reader

logger = logging.getLogger(__name__)


def serve(settings: Settings, memory: Callable[[], MemoryApi]) -> None:
    """Serve until stdin ends, the parent does, or SIGTERM or SIGINT comes; what was asked before is answered first. If
    that takes longer than SHUTDOWN_GRACE it ends the process itself."""
    anyio.run(_serve, settings, memory)


async def _serve(settings: Settings, memory: Callable[[], MemoryApi]) -> None:
    whose = Scope(settings.mcp_stdio_user_id, settings.mcp_stdio_client_name)
    calls = Calls(settings, memory, CallLog(next(iter(settings.auth_secrets), None)), stdio=Caller(whose, STDIO, ""))

    async def finish(reason: str) -> None:
        logger.info("leaving: %s", reason)
        running = reader.writer.unanswered
        calls.refuse()
        with anyio.move_on_after(settings.shutdown_grace):
            await reader.writer.settled()
            ending(reason, finished=running)
            return
        _abandon(reason, running, reader.writer.unanswered)

    reader = Reader(settings.max_body_size, finish)
    server: Server[Any] = calls.server()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_leave_on_signal, reader)
        tasks.start_soon(_leave_with_parent, reader)
        reader.open()
        await server.run(reader, reader.writer, server.create_initialization_options())
        tasks.cancel_scope.cancel()


async def _leave_on_signal(reader: Reader) -> None:
    if sys.platform == "win32":  # no event loop can wait for signals there; Ctrl-C is a KeyboardInterrupt
        return
    leaving = False
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if leaving and number == signal.SIGINT:
                _abandon(number.name, reader.writer.unanswered, reader.writer.unanswered)
            leaving = True
            reader.leave(number.name)


async def _leave_with_parent(reader: Reader) -> None:
    await orphaned(lambda: reader.heard)
    reader.leave("the process that started this one has ended")


def _abandon(reason: str, running: int, cut: int) -> None:
    """End now. Threads that still run cannot be stopped, and would hold the process; every commit is atomic."""
    logger.error("calls did not end within SHUTDOWN_GRACE; leaving")
    ending(reason, finished=running - cut, cut=cut)
    sys.stderr.flush()
    os._exit(0)
