"""Whose program is at the other end of a loopback connection. Headers cannot tell; the operating system can.

Every user of a machine reaches its loopback addresses, and so does whatever forwards for others: a default nginx,
socat, `ssh -R`. None of them has to say so. So a request without a token is served only if the peer's socket belongs to
the user who runs the server.

peers_linux.py   asks the kernel, in a few microseconds
peers_psutil.py  macOS and Windows: looks among the user's own processes
"""

import logging
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

import anyio
import anyio.to_thread
from starlette.types import Scope

from .connection import connection_of

logger = logging.getLogger(__name__)

End = tuple[IPv4Address | IPv6Address, int]  # one end of a connection


class Peers(Protocol):
    """Blocking and thread-safe."""

    def own(self, peer: End, server: End) -> bool:
        """Whether the program whose socket is bound to `peer` and connected to `server` surely runs as our own user.

        Raises OSError if the system does not tell."""
        ...


class OwnUser:
    """Decides requests that came over a loopback connection. `peers` None: the system's own."""

    def __init__(self, peers: Peers | None = None) -> None:
        self._peers = peers
        self._threads = anyio.CapacityLimiter(8)

    async def sent(self, scope: Scope) -> bool:
        """Whether this machine's own user did. The system is asked once per connection."""
        client, server = scope.get("client"), scope.get("server")
        if client is None or server is None or server[1] is None:
            return False
        connection = connection_of(scope)
        if connection is not None and connection.own_user is not None:
            return connection.own_user
        own = await anyio.to_thread.run_sync(self._own, (client[0], client[1]), server, limiter=self._threads)
        if connection is not None:
            # After a reset the pair of ports may be another user's; that user's socket was not asked for.
            connection.own_user = own = own and connection.is_open
        return own

    def _own(self, client: tuple[str, int], server: tuple[str, int]) -> bool:
        try:
            if self._peers is None:
                self._peers = system_peers()
            return self._peers.own(end(*client), end(*server))
        except (OSError, ValueError) as e:
            logger.warning("the system does not tell whose a local connection is: %s", e)
            return False


def end(address: str, port: int) -> End:
    """One end of a connection, an IPv4 address as such however it is written. Raises ValueError."""
    ip = ip_address(address)
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip, port


def system_peers() -> Peers:
    """For the operating system that we run on. Raises OSError if there is none."""
    if sys.platform == "linux":
        from .linux import LinuxPeers

        return LinuxPeers()
    try:
        from .portable import PsutilPeers
    except ImportError as e:
        raise OSError("psutil is not installed") from e
    return PsutilPeers()
