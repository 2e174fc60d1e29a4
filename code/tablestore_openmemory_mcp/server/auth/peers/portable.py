"""Peers on macOS and Windows, by psutil. Needs no privileges.

macOS tells a process only what its own user's processes have open; so those are looked through, and a socket that is
not among them is not the user's. Windows tells everybody which process a socket belongs to, but not whose a stranger's
process is. Either costs tens of milliseconds, hence once per connection.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

import psutil

from .owner import End, end


class PsutilPeers:
    """`table`: whether the system has one table of all sockets that anybody may read, as Windows does."""

    def __init__(self, *, table: bool = sys.platform == "win32") -> None:
        self._table = table
        self._me = _owner(psutil.Process())

    def own(self, peer: End, server: End) -> bool:
        """See Peers. psutil's own failures are no answer, and so no."""
        if self._table:
            return self._by_table(peer, server)
        return any(_connects(connection, peer, server) for connection in self._own_connections())

    def _by_table(self, peer: End, server: End) -> bool:
        holders = [c.pid for c in psutil.net_connections("tcp") if _connects(c, peer, server)]
        return bool(holders) and all(pid is not None and self._is_mine(psutil.Process(pid)) for pid in holders)

    def _own_connections(self) -> Iterator[Any]:
        for process in psutil.process_iter():
            if self._is_mine(process):
                try:
                    yield from process.net_connections("tcp")
                except psutil.Error:  # it has just ended, or protects itself
                    continue

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            return _owner(process) == self._me
        except psutil.Error:
            return False


def _owner(process: psutil.Process) -> str | int:
    return process.uids().effective if hasattr(os, "geteuid") else process.username()


def _connects(connection: Any, peer: End, server: End) -> bool:
    ends = (connection.laddr, connection.raddr)
    try:
        return all(ends) and (end(*ends[0][:2]), end(*ends[1][:2])) == (peer, server)
    except ValueError:
        return False
