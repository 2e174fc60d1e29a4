"""uvloop, where the platform has it, and what its transports do differently."""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest

from support.inprocess import plain_app, settings
from tablestore_openmemory_mcp.server.auth.peers.connection import KEY, Connection, remembering
from tablestore_openmemory_mcp.server.listening.connections import Limits
from tablestore_openmemory_mcp.server.listening.protocol import Config

NewLoop = Callable[[], asyncio.AbstractEventLoop]
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


def served_by() -> NewLoop:
    factory = Config(plain_app(), Limits.of(settings({}))).get_loop_factory()
    assert factory is not None
    return factory


@pytest.mark.skipif(sys.platform == "win32", reason="no uvloop there")
def test_the_server_runs_on_uvloop() -> None:
    loop = served_by()()
    try:
        assert type(loop).__module__.partition(".")[0] == "uvloop"
    finally:
        loop.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, lambda: served_by()()], ids=["asyncio", "server"])
@pytest.mark.parametrize("goodbye", ["reset", "close"])
def test_a_closed_connection_is_not_taken_for_open(new_loop: NewLoop, goodbye: str) -> None:
    """Although the transport was asked for its peer before, which uvloop's then remembers."""

    made: asyncio.Future[Any]

    class Protocol(asyncio.Protocol):
        app_state: dict[str, Connection]

        def __init__(self) -> None:
            self.app_state = {}
            self.lost = asyncio.get_running_loop().create_future()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            reading = cast(asyncio.Transport, transport)
            reading.pause_reading()  # so that the loop does not see the end
            assert reading.get_extra_info("socket").getpeername()
            made.set_result((self, reading))

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(None)

    async def main() -> None:
        nonlocal made
        made = asyncio.get_running_loop().create_future()
        server = await asyncio.get_running_loop().create_server(remembering(Protocol), "127.0.0.1", 0)
        async with server:
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                protocol, transport = await made
                connection = protocol.app_state[KEY]
                assert connection.is_open
                if goodbye == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    client.close()
                    assert not connection.is_open
                transport.abort()
                await protocol.lost
                assert not connection.is_open

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(main(), 20))
