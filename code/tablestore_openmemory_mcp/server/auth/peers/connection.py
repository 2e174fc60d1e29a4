"""What is known of one TCP connection for as long as it is open.

A port says nothing: it is somebody else's a moment after it was closed. So what was found out about a peer is kept with
uvicorn's own object of the connection, and ends with it.
"""

import asyncio
import socket
from typing import Any, cast

from starlette.types import Scope

KEY = "tablestore_openmemory_mcp.connection"  # in scope["state"]


class Connection:
    """One connection. `own_user`: whether its peer is the server's own user; None until somebody asked."""

    def __init__(self, sock: socket.socket | None) -> None:
        self._socket = sock
        self.own_user: bool | None = None

    @property
    def is_open(self) -> bool:
        """Whether the kernel still holds this very connection: not after a reset, which asyncio may not have seen."""
        if self._socket is None:
            return False
        try:
            # Not the transport's own getpeername: uvloop's remembers what the kernel once said.
            asked = socket.socket(fileno=self._socket.fileno())
        except (OSError, ValueError):  # closed
            return False
        try:
            return bool(asked.getpeername())
        except OSError:
            return False
        finally:
            asked.detach()

    def forget(self) -> None:
        """It is closed: from now on its descriptor may be another connection's."""
        self._socket = None


def connection_of(scope: Scope) -> Connection | None:
    """The connection that a request came on; None if the host does not keep one (see `remembering`)."""
    found = (scope.get("state") or {}).get(KEY)
    return found if isinstance(found, Connection) else None


def remembering(protocol: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol `protocol`, whose requests find their Connection in scope["state"]."""
    base: Any = protocol  # which of uvicorn's two depends on whether httptools is there

    class Remembering(base):  # type: ignore[misc]
        app_state: dict[str, Any]

        def connection_made(self, transport: asyncio.Transport) -> None:
            # Each request gets a shallow copy of this dictionary: the same object, as long as the connection lives.
            self.app_state = {**self.app_state, KEY: Connection(transport.get_extra_info("socket"))}
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            self.app_state[KEY].forget()
            super().connection_lost(exc)

    return cast("type[asyncio.Protocol]", Remembering)
