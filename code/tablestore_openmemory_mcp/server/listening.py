"""The first thing a server does. A module of its own, because it must not wait for any other's imports."""

import socket

# A peer that never reads keeps its connection open for ever otherwise: it answers the kernel's zero-window probes.
TCP_USER_TIMEOUT_MS = 120_000


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, before anything heavy is imported: early clients wait in its queue. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # IPPROTO_TCP spelt out: only on sockets that say it asyncio turns Nagle's algorithm off; else answers take 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.listen(1024)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted sockets inherit it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock
