"""The first thing a server does. A module of its own, because it must not wait for any other's imports."""

import contextlib
import errno
import os
import signal
import socket
import time
from types import FrameType

# A peer that never reads keeps its connection open for ever otherwise: it answers the kernel's zero-window probes.
TCP_USER_TIMEOUT_MS = 120_000
QUEUE = 1_024  # connections that wait in the kernel while we are busy, or still importing
EVERYWHERE = "::"  # as SERVER_HOST: every address of this machine, IPv4 and IPv6

_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
_Place = tuple[int, tuple[str, *tuple[int, ...]]]  # family, (address, flow and zone: of IPv6)


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen, before anything heavy is imported: early clients wait in their queues.

    A name is listened to at all its addresses: `localhost` is 127.0.0.1 to some clients and ::1 to others. So is
    EVERYWHERE; a family that this machine does not have is left out. All sockets have the same port, also with `port`
    0. Raises OSError if an address cannot be had.
    """
    places = _places(host, port)
    for _ in range(20):
        try:
            return _all(places, port)
        except OSError as e:
            if port or e.errno != errno.EADDRINUSE:  # with port 0: free in one family, taken in the other
                raise
    return _all(places, port)


def tell_early_end() -> None:
    """Until the server handles SIGTERM itself, end at it with a line in the log, as logs.ending writes it, and with
    status 0: nothing runs yet. Elsewhere than on the main thread signals cannot be handled, and nothing is done."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, _end_early)


def _end_early(_signal: int, _frame: FrameType | None) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    line = (
        f'{{"at": "{at}", "level": "INFO", "logger": "tablestore_openmemory_mcp.process", '
        '"message": "stopped: SIGTERM, before it served"}\n'
    )
    os.write(2, line.encode())
    os._exit(0)


def _places(host: str, port: int) -> list[_Place]:
    if host == EVERYWHERE:  # IPv4 first: its port is the one that is told
        return [(socket.AF_INET, ("0.0.0.0",)), (socket.AF_INET6, ("::",))]  # noqa: S104 - what was asked for
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, (str(at[0]), *map(int, at[2:]))) for family, _, _, _, at in found))


def _all(places: list[_Place], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in places:
            try:
                sockets.append(_listening(family, address, port))
            except OSError as e:
                if e.errno not in _NO_SUCH_FAMILY:
                    raise
                missing = e
            else:
                port = sockets[0].getsockname()[1]
        if missing is not None and not sockets:
            raise missing
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening(family: int, address: tuple[str, *tuple[int, ...]], port: int) -> socket.socket:
    # IPPROTO_TCP spelt out: only on sockets that say it asyncio turns Nagle's algorithm off; else answers take 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: its SO_REUSEADDR would let another program take our port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # what `::` means for IPv4 is each system's own choice
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address[0], port, *address[1:]))
        sock.listen(QUEUE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted sockets inherit it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except OSError:
        sock.close()
        raise
    return sock
