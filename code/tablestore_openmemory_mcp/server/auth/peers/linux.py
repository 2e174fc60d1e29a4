"""Peers on Linux: the kernel's socket diagnostics (sock_diag(7)), or /proc/net/tcp where a sandbox forbids those.

One question by netlink takes 20 microseconds. /proc/net/tcp walks the kernel's whole hash table: 7 milliseconds on an
idle machine, 20 with 8,000 sockets. Both give user ids as this process's user namespace names them.

A user id is not enough where processes of several containers share it and a network: a sidecar in the same pod, a
container with the host's network beside a server that runs as root. There the process that holds the socket must also
be in our own mount namespace. A process that we cannot see, as one of another PID namespace, is not.
"""

import os
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from ....machine import in_container, in_pid_namespace, in_wsl
from .owner import End, end

_CONNECTED = frozenset({1, 4, 5, 8})  # ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT
_OVERFLOW_UID = 65534  # unless the system says another: how an id shows that this user namespace has no name for


@dataclass(frozen=True, slots=True)
class Socket:
    """A TCP socket as the kernel describes it."""

    local: End
    remote: End
    state: int
    uid: int
    inode: int  # 0: no process holds it any more; its user id means nothing then


class LinuxPeers:
    """`one_container`: whether a socket's holder must be in our mount namespace too. None: find out if it matters."""

    def __init__(self, uid: int | None = None, *, one_container: bool | None = None) -> None:
        self._uid = os.geteuid() if uid is None else uid
        if one_container is None:
            one_container = self._uid == 0 or in_container() or in_pid_namespace()
        self._one_container = one_container
        # Under WSL the relay of all that comes from Windows is root's. The overflow id stands for everyone unnamed.
        self._trusts_nobody = self._uid == _overflow_uid() or (self._uid == 0 and in_wsl())
        self._find = _by_netlink
        self._clients: deque[str] = deque(maxlen=8)  # the processes that connected last, to be tried first
        self._lock = threading.Lock()
        self._tried = False

    def own(self, peer: End, server: End) -> bool:
        """See Peers."""
        if self._trusts_nobody:
            return False
        self._choose()
        found = [s for s in self._find(peer, server) if (s.local, s.remote) == (peer, server)]
        if not found or not all(s.uid == self._uid and s.inode and s.state in _CONNECTED for s in found):
            return False
        return not self._one_container or all(self._is_held_here(s.inode) for s in found)

    def _is_held_here(self, inode: int) -> bool:
        """Whether a process of our user that we can see, in our own mount namespace, has this socket open."""
        ours = Path("/proc/self/ns/mnt").stat().st_ino
        for process in (*self._clients, *_processes()):
            with suppress(OSError):  # it has ended, or is not ours to look into
                if Path(process).stat().st_uid == self._uid and _holds(process, inode):
                    if process not in self._clients:
                        self._clients.appendleft(process)
                    return Path(process, "ns/mnt").stat().st_ino == ours
        return False

    def _choose(self) -> None:
        with self._lock:
            if not self._tried:
                self._find = _by_netlink if _netlink_works() else by_table
                self._tried = True


# Netlink: struct inet_diag_req_v2 and inet_diag_msg of linux/inet_diag.h


_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ERROR = 4, 20, 1, 2
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ANY_STATE = 0xFFFFFFFF
_NO_COOKIE = struct.pack("=II", 0xFFFFFFFF, 0xFFFFFFFF)
_SECONDS = 2.0


def _by_netlink(peer: End, server: End) -> Iterator[Socket]:
    """The socket from `peer` to `server`; the kernel may name a listener instead. Raises OSError."""
    version = 4 if isinstance(peer[0], IPv4Address) else 6
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    ports = struct.pack("!HH", peer[1], server[1])
    addresses = peer[0].packed.ljust(16, b"\0") + server[0].packed.ljust(16, b"\0")
    ident = ports + addresses + struct.pack("=I", 0) + _NO_COOKIE
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _ANY_STATE) + ident
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as netlink:
        netlink.settimeout(_SECONDS)
        netlink.send(_HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _REQUEST, 1, 0) + request)
        answer = netlink.recv(65_536)
    kind, body = _HEADER.unpack_from(answer)[1], answer[_HEADER.size :]
    if kind == _BY_FAMILY:
        yield _described(body)
    elif kind != _ERROR:
        raise OSError(f"netlink answered with message {kind}")


def _described(message: bytes) -> Socket:
    family, state = struct.unpack_from("=BB", message)
    local_port, remote_port = struct.unpack_from("!HH", message, 4)
    size = 4 if family == socket.AF_INET else 16
    written = socket.AF_INET if family == socket.AF_INET else socket.AF_INET6
    local, remote = (socket.inet_ntop(written, message[at : at + size]) for at in (8, 24))
    uid, inode = struct.unpack_from("=II", message, 64)
    return Socket(end(local, local_port), end(remote, remote_port), state, uid, inode)


def _netlink_works() -> bool:
    """Whether a socket that is surely there is found: "no such socket" and "no such service" are the same error."""
    with suppress(OSError), socket.create_server(("127.0.0.1", 0)) as listening:
        at = end(*listening.getsockname())
        return any(s.local == at for s in _by_netlink(at, (IPv4Address("127.0.0.1"), 1)))
    return False


# The table, as text: proc_net_tcp(5)


def by_table(peer: End, server: End) -> Iterator[Socket]:
    """All sockets from `peer` to `server`, from /proc/net/tcp and tcp6. Raises OSError if neither can be read."""
    wanted = [f"{_hex(peer, mapped=m)} {_hex(server, mapped=m)} ".encode() for m in (False, True)]
    tables = [table for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if table.exists()]
    if not tables:
        raise FileNotFoundError("/proc/net/tcp")
    for table in tables:
        text = table.read_bytes()
        for pair in wanted:
            at = text.find(pair)
            while at >= 0:
                fields = text[at : text.index(b"\n", at)].split()
                yield Socket(peer, server, int(fields[2], 16), int(fields[6]), int(fields[8]))
                at = text.find(pair, at + 1)


def _hex(one: End, *, mapped: bool) -> str:
    """As the kernel prints it: each 32-bit word in the machine's byte order."""
    packed = one[0].packed
    if mapped and len(packed) == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{one[1]:04X}"


# Processes


def _processes() -> Iterator[str]:
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdecimal():
                yield entry.path


def _holds(process: str, inode: int) -> bool:
    link = f"socket:[{inode}]"
    with os.scandir(f"{process}/fd") as descriptors:
        for descriptor in descriptors:
            with suppress(OSError):
                if os.readlink(descriptor.path) == link:  # noqa: PTH115 - thousands of them, and a Path each is slow
                    return True
    return False


def _overflow_uid() -> int:
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return _OVERFLOW_UID
