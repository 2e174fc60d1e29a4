"""All connections of this process: how many there may be, which goes first, and how long a peer may keep us waiting.

A connection *waits* while its client owes the next byte: it is silent, or its head or body is half sent. That is all
that a stranger without a token can hold, so those are what is bounded: when there are too many, the one that has waited
longest is closed for the newest. A request that is complete, or a stream, is never cut for another connection; how many
there may be is bounded elsewhere (MAX_SESSIONS, the workers' queues). So an address that many clients share, such as a
balancer's, needs no exception: nothing of theirs is refused, only silent connections end early.
"""

import contextlib
import sys
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from ...settings import Settings

MAX_UNSENT = 64_000_000  # bytes of answers that clients have not taken, of all connections together
_PER_ADDRESS = 0.5  # of all waiting connections
_SPARE = 128  # descriptors for files, the store, the listening sockets and what is being accepted
_PER_WORKER = 3  # descriptors that a worker thread may hold: store, LLM, embedder
_MAX_FILES = 10_240  # macOS takes no more, although it says "unlimited"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be in all, and how many of one address may wait."""

    connections: int
    waiting_per_address: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """What the settings ask for, as far as the system lets this process open files."""
        wanted = max(1_000, 2 * settings.max_sessions)
        spare = _SPARE + _PER_WORKER * (settings.add_workers + settings.search_workers)
        files = raised_file_limit(wanted + spare)
        connections = min(wanted, max(files - spare, files // 2))
        return cls(connections, max(1, int(connections * _PER_ADDRESS)))


class Peer(Protocol):
    """One connection, as this module needs it."""

    @property
    def address(self) -> str:
        """Of the other end: for IPv6 the network's, since one machine has as many as it likes."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes written that the client has not taken."""
        ...

    def check(self, now: float) -> None:
        """Close it if its time is over."""
        ...

    def cut(self) -> None:
        """Close it at once; what was not taken is dropped."""
        ...


class Connections:
    """Not for several threads: all of it happens on the event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all: set[Peer] = set()
        self._waiting: OrderedDict[Peer, None] = OrderedDict()  # who has waited longest first
        self._by_address: dict[str, OrderedDict[Peer, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, peer: Peer) -> bool:
        """Count a new connection, which waits. False if there is no room: every other one is at work."""
        of_address = self._by_address.get(peer.address)
        if of_address is not None and len(of_address) >= self._limits.waiting_per_address:
            self._close_first(of_address)
        elif len(self._all) >= self._limits.connections:
            if not self._waiting:
                return False
            self._close_first(self._waiting)
        self._all.add(peer)
        self.waits(peer)
        return True

    def waits(self, peer: Peer) -> None:
        """From now on the client owes the next byte."""
        if peer in self._all:
            self._waiting[peer] = None
            self._by_address.setdefault(peer.address, OrderedDict())[peer] = None

    def works(self, peer: Peer) -> None:
        """From now on we owe the client something."""
        self._waiting.pop(peer, None)
        of_address = self._by_address.get(peer.address)
        if of_address is not None:
            of_address.pop(peer, None)
            if not of_address:
                del self._by_address[peer.address]

    def forget(self, peer: Peer) -> None:
        """It is closed."""
        self.works(peer)
        self._all.discard(peer)

    def sweep(self, now: float) -> None:
        """Close those whose time is over. To be called about once a second; `now` is the event loop's time."""
        for peer in tuple(self._all):
            peer.check(now)
        unsent = {peer: peer.unsent for peer in self._all}
        total = sum(unsent.values())
        while total > MAX_UNSENT:
            most = max(unsent, key=unsent.__getitem__)
            total -= unsent.pop(most)
            self.forget(most)
            most.cut()

    def _close_first(self, waiting: Iterable[Peer]) -> None:
        first = next(iter(waiting))
        self.forget(first)
        first.cut()


def network_of(address: str) -> str:
    """What is counted as one address: IPv4 addresses as they are, of IPv6 the first 64 bits."""
    with contextlib.suppress(ValueError):
        ip = ip_address(address.partition("%")[0])
        if isinstance(ip, IPv6Address):
            return str(ip.ipv4_mapped) if ip.ipv4_mapped else ip.packed[:8].hex()
    return address


def raised_file_limit(wanted: int) -> int:
    """How many files this process may open, after raising its own limit to `wanted` as far as it may."""
    if sys.platform == "win32":  # sockets are no descriptors there, and have no such limit
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    for more in (wanted, _MAX_FILES):
        if hard != resource.RLIM_INFINITY:
            more = min(more, hard)
        if soft < more:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
                return more
    return soft
