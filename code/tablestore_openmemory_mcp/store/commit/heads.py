"""The head row of a scope: the commit point, the redo record, and the ring of what was committed lately."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...scope import Scope
from ..client.requests import HIGHEST, LOWEST, Cells, Get, Guard, Key, Range, Update
from ..client.sdk_client import Gateway
from .head_reads import HeadReads
from .redo_record import Redo, decode_redo, encode_redo

RING = 256  # commits that a reader may lag behind and still refresh by ids
AHEAD = 16  # slots that a head read brings along beyond the reader's own seq
_SLOT_IDS = 400  # a commit of more is "too much to tell"
_BASE = ("seq", "epoch", "count", "expiring", "size", "tx", "at", "pending", "sweep", "emptied")


@dataclass(frozen=True, slots=True)
class Slot:
    """What one commit touched; `ids` None: too much to tell, or everything."""

    tx: str
    ids: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Head:
    """A scope's head as it was read. `seq` 0: nothing was ever written here. `slots`: those that were asked for."""

    seq: int = 0
    epoch: int = 0
    count: int = 0  # memories, expired ones included
    expiring: int | None = 0  # those of them that expire or have expired; None: not counted, by an older program
    size: int | None = 0  # bytes that their texts take in a snapshot, roughly; None as above
    tx: str = ""
    at: int = 0  # ms; when it was written, by a clock that never runs backwards within a scope
    sweep: int | None = None  # rows of epochs older than this are still to be removed
    emptied: int | None = None  # ms; when the scope was, until it was looked through once more for a late writer's rows
    redo: Redo | None = None
    slots: Mapping[int, Slot] = field(default_factory=dict)

    def lacks_slots(self, seq: int) -> bool:
        """Whether slots of commits after `seq`, which the ring still has, were not read along."""
        return seq < self.seq <= seq + RING and any(n not in self.slots for n in range(seq + 1, self.seq + 1))

    def changed_since(self, seq: int) -> frozenset[str] | None:
        """Ids touched after `seq`; None if the slots at hand cannot tell."""
        ids: set[str] = set()
        for n in range(seq + 1, self.seq + 1):
            slot = self.slots.get(n)
            if slot is None or slot.ids is None:
                return None
            ids |= slot.ids
        return frozenset(ids)


class Heads:
    """Reads and writes the head of one scope."""

    def __init__(self, gateway: Gateway, table: str, scope: Scope, reads: HeadReads) -> None:
        self._gateway = gateway
        self._reads = reads
        self._table = table
        self._key: Key = (("user_id", scope.user_id), ("client_name", scope.client_name))

    def read(self, after: int | None = None, *, deadline: float | None = None) -> Head:
        """The head, with the slots of the commits after `after` (fewer than all of them when there are many; none, when
        many heads are read at once). Shared with others who wait for one."""
        wanted = () if after is None else range(after + 1, after + 1 + AHEAD)
        row = self._reads.get(self._key, _BASE, tuple(map(_column, wanted)), deadline)
        return Head() if row is None else _head(row)

    def read_ring(self, after: int, upto: int, *, deadline: float | None = None) -> Head:
        """The head with every slot from `after` to `upto` that the ring still has."""
        wanted = range(max(after, upto - RING) + 1, upto + 1)
        columns = None if len(wanted) > 100 else (*_BASE, *map(_column, wanted))  # 128 columns may be named
        return self._read(columns, deadline)

    def commit(self, after: Head, *, deadline: float) -> bool:
        """Make `after`, with its redo record, the head, if nobody else committed meanwhile. Raises OutcomeUnknown."""
        if after.redo is None:
            raise ValueError("a commit has a redo record")
        ids = frozenset(change.id for change in after.redo.changes)
        columns = {**_next(after, ids), "pending": encode_redo(after.redo)}
        return self._write(columns, (), self._unchanged(after.seq - 1), deadline, repeatable=False)

    def empty(self, after: Head, *, deadline: float) -> bool:
        """The commit of a delete-all: `after` is the head that it makes. Raises OutcomeUnknown."""
        columns = {**_next(after, None), "sweep": after.sweep, "emptied": after.emptied}
        return self._write(columns, ("pending",), self._unchanged(after.seq - 1), deadline, repeatable=False)

    def clear(self, tx: str, *, deadline: float | None = None) -> bool:
        """Drop the redo record, if it is still that of `tx`."""
        return self._write({}, ("pending",), Guard("present", "tx", "=", tx), deadline, repeatable=True)

    def swept(self, epoch: int, *, final: bool, deadline: float | None = None) -> bool:
        """Note that no row older than `epoch` is left (`final`: nor will be), unless a later delete-all came."""
        done = ("sweep", "emptied") if final else ("sweep",)
        return self._write({}, done, Guard("present", "epoch", "=", epoch), deadline, repeatable=True)

    def _unchanged(self, seq: int) -> Guard:
        return Guard("absent") if seq == 0 else Guard("present", "seq", "=", seq)

    def _write(
        self, columns: Cells, remove: Sequence[str], guard: Guard, deadline: float | None, *, repeatable: bool
    ) -> bool:
        write = Update(self._table, self._key, columns, remove, guard)
        return self._gateway.write(write, repeatable=repeatable, deadline=deadline)

    def _read(self, columns: Sequence[str] | None, deadline: float | None) -> Head:
        row = self._gateway.get(Get(self._table, self._key, columns), deadline=deadline)
        return Head() if row is None else _head(row)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a scope holds: living memories, and whether the rows of those that were erased are gone too."""

    count: int
    swept: bool


def clients_of(gateway: Gateway, table: str, user_id: str) -> dict[str, Holding]:
    """By client_name, every scope of the user that was ever written to."""
    user = ("user_id", user_id)
    whole = Range(table, (user, ("client_name", LOWEST)), (user, ("client_name", HIGHEST)), ("count", "sweep"))
    rows = (row for page in gateway.pages(whole) for row in page)
    return {row["client_name"]: Holding(row.cells["count"], row.cells.get("sweep") is None) for row in rows}


def _next(after: Head, ids: frozenset[str] | None) -> Cells:
    told = sorted(ids) if ids is not None and len(ids) <= _SLOT_IDS else None
    slot = json.dumps([after.seq, after.tx, told], ensure_ascii=False, separators=(",", ":"))
    return {
        "seq": after.seq,
        "epoch": after.epoch,
        "count": after.count,
        "expiring": after.expiring,
        "size": after.size,
        "tx": after.tx,
        "at": after.at,
        _column(after.seq): slot,
    }


def _head(row: Cells) -> Head:
    redo = row.get("pending")
    return Head(
        seq=row["seq"],
        epoch=row["epoch"],
        count=row["count"],
        expiring=row.get("expiring"),
        size=row.get("size"),
        tx=row["tx"],
        at=row["at"],
        sweep=row.get("sweep"),
        emptied=row.get("emptied"),
        redo=decode_redo(redo) if redo is not None else None,
        slots=dict(_slot(value) for name, value in row.items() if name[0] == "r"),
    )


def _slot(value: str) -> tuple[int, Slot]:
    seq, tx, ids = json.loads(value)  # its own seq: a column holds an older commit until its turn comes again
    return seq, Slot(tx, None if ids is None else frozenset(ids))


def _column(seq: int) -> str:
    return f"r{seq % RING}"
