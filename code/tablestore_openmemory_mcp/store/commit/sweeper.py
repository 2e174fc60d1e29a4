"""Removing rows that nobody can see any more: of emptied scopes, and tombstones of long ago."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from ...errors import StoreUnavailable
from ..client.requests import MAX_WRITE_ROWS, Delete, Guard, Range, StoredRow, in_batches
from ..client.sdk_client import Gateway
from ..snapshot.snapshot import ScopeSnapshot
from .heads import Heads
from .redo_record import Redo
from .rows import ScopeRows

Step = Callable[[str], None]  # called between the steps of a write; tests pause or kill the process there

# Longer than any writer could sleep with a request on its way. Tombstones are kept that long, and a scope that was
# emptied is looked through once more after it, by whoever writes next.
TOMBSTONE_SECONDS = 24 * 3600


class Sweeper:
    """Tidies one scope, on the time of whoever just wrote to it."""

    def __init__(self, gateway: Gateway, heads: Heads, rows: ScopeRows, step: Step) -> None:
        self._gateway = gateway
        self._heads = heads
        self._rows = rows
        self._step = step
        self._removed = 0  # rows that were of older epochs

    def tidied(self, snapshot: ScopeSnapshot, deadline: float) -> ScopeSnapshot:
        """`snapshot` after what is due was done. Without anything due: no request."""
        head_state = snapshot.head_state
        before = (time.time() - TOMBSTONE_SECONDS) * 1000
        final = head_state.emptied is not None and head_state.emptied < before
        if head_state.sweep is not None or head_state.orphans or final:
            self._older_than(snapshot.epoch, deadline)
            self._step("swept")
            if head_state.sweep is not None or final:
                self._heads.swept(snapshot.epoch, final=final, deadline=deadline)
            head_state = replace(head_state, sweep=None, orphans=False, emptied=None if final else head_state.emptied)
        old = {id_: t for id_, t in list(head_state.tombstones.items()) if t.at < before}
        if old:
            some = dict(list(old.items())[:MAX_WRITE_ROWS])
            self._gateway.write_many(
                [
                    Delete(self._rows.tables.memories, self._rows.memory_key(id_), Guard("present", "rev", "=", t.rev))
                    for id_, t in some.items()
                ],
                deadline=deadline,
            )
            head_state = replace(
                head_state, tombstones={k: t for k, t in head_state.tombstones.items() if k not in some}
            )
        return snapshot if head_state is snapshot.head_state else snapshot.with_head_state(head_state)

    def swept(self, deadline: float) -> bool:
        """Go on with what a delete-all left behind; False if the time ran out, but some of it is gone. Raises a
        StoreError if nothing can be removed: so whoever calls this until it is True comes to an end."""
        head = self._heads.read(deadline=deadline)
        if head.sweep is None:
            return True
        before = self._removed
        try:
            self._older_than(head.epoch, deadline)
        except StoreUnavailable:
            if self._removed == before:
                raise
            return False
        self._heads.swept(head.epoch, final=False, deadline=deadline)
        return self._heads.read(deadline=deadline).sweep is None

    def take_back(self, redo: Redo, epoch: int, deadline: float) -> None:
        """Whoever wrote rows of `redo` and then finds the scope emptied to `epoch` removes them."""
        if redo.epoch == epoch:
            return
        older = Guard("present", "epoch", "<", epoch)
        history_first = reversed(list(self._rows.writes(redo)))
        for batch in in_batches([Delete(w.table, w.key, older) for w in history_first]):
            self._step("taking back")
            self._gateway.write_many(batch, deadline=deadline)

    def _older_than(self, epoch: int, deadline: float) -> None:
        # History first: as long as a memory row is left, a cold load can tell that something is. And history again:
        # a writer that is late may have written both after the first look.
        history, memories = self._rows.all_history(("epoch",)), self._rows.all_memories(("epoch",))
        for range_ in (history, memories, history):
            for page in self._gateway.pages(range_, deadline=deadline):
                deletions = list(_deletions(range_, page, epoch))
                for batch in in_batches(deletions):
                    self._gateway.write_many(batch, deadline=deadline)
                    self._removed += len(batch)
                self._step("sweeping")


def _deletions(range_: Range, page: Iterable[StoredRow], epoch: int) -> Iterable[Delete]:
    older = Guard("present", "epoch", "<", epoch)
    return (Delete(range_.table, row.key, older) for row in page if row.cells["epoch"] < epoch)
