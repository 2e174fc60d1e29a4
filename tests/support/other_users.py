"""Programs of other users of this machine, and of other containers: real processes, real sockets.

They need root, as CI and containers have it; without it a test that asks for one is skipped.
"""

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

NOBODY, SOMEBODY = 65_534, 12_345  # user ids; the first is also the kernel's overflow id
CLONE_NEWNS = 0x00020000
RESET = struct.pack("ii", 1, 0)  # SO_LINGER for 0 s: close() sends RST, and the port is free at once

# Imports first: another user may not be allowed to read this Python.
PROGRAM = """
import ctypes, encodings.idna, os, socket, sys, threading
uid, namespaces, job, host, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
if namespaces and ctypes.CDLL(None, use_errno=True).unshare(namespaces):
    sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
os.setgid(uid); os.setuid(uid)

def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def forward(client):
    server = socket.create_connection((host, port))
    threading.Thread(target=copy, args=(client, server), daemon=True).start()
    copy(server, client)
    client.close(); server.close()

if job == "connect":
    held = socket.create_connection((host, port))
    print(*held.getsockname()[:2], flush=True)
    sys.stdin.read()
else:
    listening = socket.create_server(("127.0.0.1", 0))
    print(*listening.getsockname(), flush=True)
    while True:
        threading.Thread(target=forward, args=(listening.accept()[0],), daemon=True).start()
"""


def require_root() -> None:
    """Skip the test unless this process may become another user."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can start another user's program")


@contextlib.contextmanager
def connected(uid: int, to: tuple[str, int], *, namespaces: int = 0) -> Iterator[tuple[str, int]]:
    """A program of that user which has connected `to`; its own end. `namespaces`: CLONE_ flags of its container."""
    with _running(uid, "connect", to, namespaces) as at:
        yield at


@contextlib.contextmanager
def forwarding(uid: int, to: tuple[str, int]) -> Iterator[int]:
    """A program of that user which passes bytes on and tells nobody: nginx's stream, socat, `ssh -R`. Its port."""
    with _running(uid, "forward", to, 0) as at:
        yield at[1]


@contextlib.contextmanager
def _running(uid: int, job: str, to: tuple[str, int], namespaces: int) -> Iterator[tuple[str, int]]:
    require_root()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(uid), str(namespaces), job, to[0], str(to[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        line = process.stdout.readline().split()
        if not line:
            said = process.communicate()[1]
            if namespaces and "unshare" in said:
                pytest.skip(f"this machine lets nobody make a namespace: {said.strip()}")
            raise AssertionError(said)
        yield line[0], int(line[1])
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def listening(host: str) -> Iterator[socket.socket]:
    """A server's socket on a free port; for IPv6 it takes IPv4 clients too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as sock:
        yield sock
