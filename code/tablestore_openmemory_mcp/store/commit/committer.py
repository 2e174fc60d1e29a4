"""The commit protocol (docs/architecture.md): one conditional write of the head decides; the rows follow."""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ...errors import LimitExceeded, StoreError, StoreUnavailable
from ...scope import Scope
from ..client import limits
from ..client.failures import OutcomeUnknown
from ..client.sdk_client import PATIENCE, Gateway
from ..model import Change, Conflict, Memory
from ..snapshot.cache import SnapshotCache
from ..snapshot.loader import Loader
from ..snapshot.snapshot import CLOCKS_APART, ScopeSnapshot, VectorRule, size_of
from .heads import Head, Heads
from .redo_record import Redo
from .roll_forward import RollForward
from .rows import ScopeRows, committed_rows
from .sweeper import Step, Sweeper

_LATE_SECONDS = 5.0  # after that long somebody else may have finished this commit, and gone on
_DOUBT_SECONDS = 0.1  # between attempts at a commit that is not answered and did not arrive
_FINISH_SECONDS = 5.0  # granted to the rows of a commit that is decided, and to tidying, whatever the caller's deadline
_SWEEP_SECONDS = 40.0  # a delete-all tidies that long (clients wait 60); what is left then is the next writer's
_log = logging.getLogger(__name__)


class Committer:
    """Writes one scope."""

    def __init__(
        self,
        gateway: Gateway,
        scope: Scope,
        heads: Heads,
        rows: ScopeRows,
        loader: Loader,
        sweeper: Sweeper,
        cache: SnapshotCache,
        *,
        rule: VectorRule,
        max_memories: int,
        max_bytes: int,
        step: Step,
    ) -> None:
        self._scope = scope
        self._heads = heads
        self._rows = rows
        self._loader = loader
        self._sweeper = sweeper
        self._cache = cache
        self._rule = rule
        self._max_memories = max_memories
        self._max_bytes = max_bytes
        self._step = step
        self._roll_forward = RollForward(gateway, heads, rows, step)

    def staged(self, changes: Sequence[Change], base: ScopeSnapshot) -> ScopeSnapshot:
        """The scope as it would be after `changes`, of which nothing is written. Raises what `commit` would raise for
        these changes, but for one that is too large.

        Its revisions are below 0 and name this state alone: it may never come to be.
        """
        redo = Redo(-1 - secrets.randbits(62), base.epoch, _now(base.head_state.at), "", tuple(changes))
        head = self._checked(redo, base)
        return base.after(committed_rows(redo, base.rows), head)

    def commit(
        self,
        changes: Sequence[Change],
        base: ScopeSnapshot,
        deadline: float | None,
        *,
        is_checked: bool = False,
        decided: Callable[[], None] = lambda: None,
    ) -> ScopeSnapshot:
        """See ScopeStore.commit. `is_checked`: `staged` took all of `changes`, one after the other; `decided` is called
        once the commit stands."""
        deadline = time.monotonic() + PATIENCE if deadline is None else deadline
        redo = Redo(base.seq + 1, base.epoch, _now(base.head_state.at), secrets.token_hex(8), tuple(changes))
        head = _head_after(redo, base) if is_checked else self._checked(redo, base)
        rolled_forward = self._roll_forward.unfinished(base, deadline)
        began = time.time()
        self._step("committing")
        if not self._decided(partial(self._heads.commit, head, deadline=deadline), head, deadline):
            latest = self._loader.newest(deadline)
            if rolled_forward:
                self._sweeper.take_back(rolled_forward, latest.epoch, deadline)
            raise Conflict(latest, latest.changed_since(base))
        decided()
        self._step("committed")
        snapshot = base.after(committed_rows(redo, base.rows), head)
        self._cache.put(snapshot)
        return self._finish(snapshot, redo, began, max(deadline, time.monotonic() + _FINISH_SECONDS))

    def delete_all(self, deadline: float | None) -> int:
        """See ScopeStore.delete_all."""
        deadline = time.monotonic() + PATIENCE if deadline is None else deadline
        while True:
            head, count = self._counted(deadline)
            if head.seq == 0:
                return 0
            at = _now(head.at)
            epoch = head.epoch + 1
            after = Head(head.seq + 1, epoch, tx=secrets.token_hex(8), at=at, sweep=epoch, emptied=at)
            self._step("committing")
            if self._decided(partial(self._heads.empty, after, deadline=deadline), after, deadline):
                break
        self._step("committed")
        empty = self._cache.put(ScopeSnapshot.empty(self._scope, after, self._rule))
        self._tidy(empty, max(deadline, time.monotonic() + _SWEEP_SECONDS))
        return count

    def _counted(self, deadline: float) -> tuple[Head, int]:
        """The head, and how many memories there are to a person, who does not see those that expired."""
        head = self._heads.read(deadline=deadline)
        if head.seq == 0 or head.expiring == 0:
            return head, head.count
        snapshot = self._loader.newest(deadline)
        now = time.time_ns() // 1_000_000
        count = sum(m.expires_at is None or m.expires_at > now for m in snapshot.memories.values())
        return replace(head, seq=snapshot.seq, epoch=snapshot.epoch, at=snapshot.head_state.at), count

    def _decided(self, write: Callable[[], bool], after: Head, deadline: float) -> bool:
        """Whether `write` made the head `after`. What became of an unanswered one is read from the ring."""
        doubt: OutcomeUnknown | None = None
        while True:
            try:
                if write():
                    return True
                if doubt is None:
                    return False
            except OutcomeUnknown as unknown:
                self._step("unanswered")
                doubt = unknown
            # A refusal after a doubt may be the second arrival of a write that went through.
            head = self._heads.read_ring(after.seq - 1, after.seq, deadline=deadline)
            if head.seq >= after.seq:
                slot = head.slots.get(after.seq)
                if slot is None:
                    raise StoreUnavailable("The scope moved on so far that a commit's outcome cannot be told.")
                return slot.tx == after.tx
            if time.monotonic() >= deadline:
                raise doubt
            time.sleep(_DOUBT_SECONDS)

    def _finish(self, snapshot: ScopeSnapshot, redo: Redo, began: float, deadline: float) -> ScopeSnapshot:
        """Write the rows. The commit stands whether this works or not: the redo record is durable."""
        try:
            if time.time() - began > _LATE_SECONDS and self._heads.read(deadline=deadline).tx != redo.tx:
                self._step("superseded")
                return snapshot
            self._roll_forward.apply(redo, deadline)
            self._step("applied")
            if not self._heads.clear(redo.tx, deadline=deadline):
                self._sweeper.take_back(redo, self._heads.read(deadline=deadline).epoch, deadline)
            self._step("cleared")
        except StoreError:
            _log.warning("A commit stands but its rows are not all written; the next writer of the scope finishes it.")
            return snapshot
        snapshot = self._cache.put(snapshot.without_redo())
        return self._tidy(snapshot, max(deadline, time.monotonic() + _FINISH_SECONDS))

    def _tidy(self, snapshot: ScopeSnapshot, deadline: float) -> ScopeSnapshot:
        try:
            return self._cache.put(self._sweeper.tidied(snapshot, deadline))
        except StoreError:
            _log.warning("Rows that are no longer visible could not be removed; the next writer of the scope goes on.")
            return snapshot

    def _checked(self, redo: Redo, base: ScopeSnapshot) -> Head:
        """The head that `redo` makes of `base`. Raises ValueError or LimitExceeded."""
        _check(redo.changes, base)
        head = _head_after(redo, base)
        self._check_growth(head, base)
        limits.check(self._rows.writes(redo))
        return head

    def _check_growth(self, head: Head, base: ScopeSnapshot) -> None:
        many = head.count > self._max_memories and head.count > len(base.memories)
        many = many and head.count - _expired(base, head) > self._max_memories
        much = (head.size or 0) > self._max_bytes and (head.size or 0) > base.size
        if many or much:
            held = f"{len(base.memories)} memories" + (f" of {base.size // 1_000_000} MB" if much else "")
            raise LimitExceeded(
                f"This memory is full ({held}): delete some first.", setting="MAX_MEMORIES" if many else None
            )


def _check(changes: Sequence[Change], base: ScopeSnapshot) -> None:
    ids = [change.id for change in changes]
    if len(set(ids)) < len(ids):
        raise ValueError("a commit names each memory once")
    for change in changes:
        if (change.id in base.memories) == (change.event == "ADD"):
            raise ValueError(f"{change.event} of a memory that {'is' if change.event == 'ADD' else 'is not'} there")
        if (change.new is None) != (change.event == "DELETE") or (change.new and change.new.id != change.id):
            raise ValueError(f"{change.event} with the wrong `new`")


def _head_after(redo: Redo, base: ScopeSnapshot) -> Head:
    came = [change.new for change in redo.changes if change.new]
    went = [base.memories[change.id] for change in redo.changes if change.event != "ADD"]
    return Head(
        seq=redo.rev,
        epoch=redo.epoch,
        count=len(base.memories) + len(came) - len(went),
        expiring=base.expiring + sum(map(_expires, came)) - sum(map(_expires, went)),
        size=base.size + sum(map(size_of, came)) - sum(map(size_of, went)),
        tx=redo.tx,
        at=redo.at,
        sweep=base.head_state.sweep,
        emptied=base.head_state.emptied,
        redo=redo,
    )


def _expired(base: ScopeSnapshot, head: Head) -> int:
    """How many memories of the scope nobody sees any more: a person can neither find nor delete them."""
    changed = {change.id for change in head.redo.changes} if head.redo else set()
    gone = (m for m in base.memories.values() if m.expires_at is not None and m.expires_at <= head.at)
    return sum(m.id not in changed for m in gone)


def _expires(memory: Memory) -> bool:
    return memory.expires_at is not None


def _now(earliest: int) -> int:
    """Milliseconds since the epoch; not behind `earliest`, another's clock, unless that one was plainly wrong."""
    now = time.time_ns() // 1_000_000
    return now if earliest > now + CLOCKS_APART else max(now, earliest)
