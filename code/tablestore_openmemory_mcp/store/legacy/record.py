"""Which rows of release 1.x were taken over: kept for good, so that a later run brings back nothing that was deleted.

Rows of `_sessions`, by kind:

    migrated   id: table/user_id/client_name of the scope that they went to; one row per commit. `entries`: 28 bytes for
               each memory. `state`: "begun" before the commit, "done" after it. So a process that is killed in between
               leaves a row that says which commit to look for, and in which `epoch` of the scope
    taken over id: table; `at` (ms): when a run last came to its end with nothing left out by its arguments
    erased     id: user_id; `at` (ms): when the user was erased; see `erase`
"""

import hashlib
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...scope import Scope
from ..client.requests import Cells
from ..model import text_hash
from ..session_rows import SessionRow

KIND, FINISHED, ERASED = "migrated", "taken over", "erased"
_ENTRY = struct.Struct("12s8s8s")
_BEGUN, _DONE = "begun", "done"


class Rows(Protocol):
    """See SessionRows."""

    def create(self, kind: str, id_: str, n: int, columns: Cells, *, deadline: float | None = None) -> bool: ...
    def put(self, kind: str, id_: str, n: int, columns: Cells, *, deadline: float | None = None) -> None: ...
    def get(self, kind: str, id_: str, n: int, *, deadline: float | None = None) -> SessionRow | None: ...
    def list(
        self, kind: str, id_: str | None = None, *, first: int | None = None, deadline: float | None = None
    ) -> Sequence[SessionRow]: ...
    def delete(self, kind: str, id_: str, *ns: int, deadline: float | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the old table as it was taken over. `id`: id_mark of the memory that it became; `version`: LegacyRow's;
    `text`: text_mark of that memory, or TWIN if another says the same and this one did not become any."""

    id: bytes
    version: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class Begun:
    """A commit whose end was not noted: it may stand or not. `epoch`: the scope's when it began."""

    entries: Sequence[Entry]
    epoch: int


TWIN = bytes(8)


def id_mark(memory_id: str) -> bytes:
    """Equal for equal ids."""
    return hashlib.sha256(memory_id.encode()).digest()[:12]


def text_mark(text: str) -> bytes:
    """Equal for texts that make two memories the same."""
    return bytes.fromhex(text_hash(text)[:16])


class Record:
    """What one scope took over from one table. Several processes may write it at once: each adds rows of its own."""

    def __init__(self, rows: Rows, table: str, scope: Scope) -> None:
        self._rows = rows
        self._id = f"{table}/{scope.user_id}/{scope.client_name}"  # names hold no '/'

    def read(self) -> tuple[dict[bytes, Entry], Mapping[int, Begun]]:
        """(entries by id, commits whose end was not noted by their numbers). Later ones win."""
        done: dict[bytes, Entry] = {}
        begun: dict[int, Begun] = {}
        for row in self._rows.list(KIND, self._id):
            entries = _unpacked(row.columns["entries"])
            if row.columns["state"] == _DONE:
                done |= {one.id: one for one in entries}
            else:
                begun[row.n] = Begun(entries, row.columns["epoch"])
        return done, begun

    def begin(self, entries: Sequence[Entry], epoch: int) -> int:
        """Note what the next commit will bring; the number to end it with."""
        n = time.time_ns() // 1_000
        columns = {"state": _BEGUN, "epoch": epoch, "entries": _packed(entries)}
        while not self._rows.create(KIND, self._id, n, columns):
            n += 1
        return n

    def end(self, n: int, entries: Sequence[Entry]) -> None:
        """The commit stands, with these."""
        self._rows.put(KIND, self._id, n, {"state": _DONE, "entries": _packed(entries)})

    def drop(self, n: int) -> None:
        """The commit never was."""
        self._rows.delete(KIND, self._id, n)


def finished(rows: Rows, table: str) -> bool:
    """Whether all of `table` was taken over at some time."""
    return rows.get(FINISHED, table, 0) is not None


def finish(rows: Rows, table: str) -> None:
    rows.put(FINISHED, table, 0, {"at": _now()})


def erased_at(rows: Rows, user_id: str) -> int | None:
    """When the user was erased here (ms); what release 1.x had of them before is not brought back."""
    row = rows.get(ERASED, user_id, 0)
    return None if row is None else int(row.columns["at"])


def note_erased(rows: Rows, user_id: str) -> None:
    rows.put(ERASED, user_id, 0, {"at": _now()})


def _now() -> int:
    return time.time_ns() // 1_000_000


def _packed(entries: Sequence[Entry]) -> bytes:
    return b"".join(_ENTRY.pack(one.id, one.version, one.text) for one in entries)


def _unpacked(blob: bytes) -> list[Entry]:
    return [Entry(*fields) for fields in _ENTRY.iter_unpack(blob)]
