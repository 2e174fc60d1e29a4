"""Group commit: what the threads of one process have ready for a scope goes into one commit (docs/architecture.md).

Each writer plans on its own thread, on top of what those before it have staged, so that a lost race within the process
costs no round trip. While one group is being committed the next one forms. Only a commit of another process makes
anybody read the scope again.
"""

import copy
import random
import threading
import time
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

from ...errors import Busy, ServiceError, StoreUnavailable
from ...scope import Scope
from ..client.failures import OutcomeUnknown
from ..model import Change, Conflict
from ..snapshot.cache import SnapshotCache
from ..snapshot.loader import Loader
from ..snapshot.snapshot import ScopeSnapshot
from .committer import Committer
from .redo_record import MAX_BYTES, nbytes

Plan = Callable[[ScopeSnapshot], Sequence[Change]]

_MOST_IDS = 400  # memories of one group: more than the ring names would make every reader load the scope anew
_MOST_BYTES = MAX_BYTES - 10_000  # see nbytes
_PAUSE = 0.02  # seconds, the most that a writer waits after its first race lost to another process; doubles up to
_LONGEST_PAUSE = 0.5
_INTERRUPTED = "The writer of this memory was interrupted."


class _Group:
    """Changes of several writers that become one commit; at most one per memory. Guarded by its queue's lock."""

    def __init__(self, base: ScopeSnapshot, *, alone: bool) -> None:
        """`alone`: of one writer, whose changes were refused in the company of others."""
        self.base = base  # made durable by the time that this group is committed
        self.tip = base  # the scope after what is staged
        self.alone = alone
        self.changes: list[Change] = []
        self.ids: set[str] = set()
        self.nbytes = 0
        self.members: list[_Member] = []
        self.decided = False  # the commit stands; its rows may not be written yet
        self.after: ScopeSnapshot | None = None  # once it is done; or else
        self.error: Exception | None = None
        self.done = threading.Event()

    def takes(self, changes: Sequence[Change], size: int, *, alone: bool) -> bool:
        """Whether `changes` of `size` bytes may join."""
        fits = len(self.ids) + len(changes) <= _MOST_IDS and self.nbytes + size <= _MOST_BYTES
        return fits and not (alone or self.alone) and self.ids.isdisjoint(change.id for change in changes)

    def add(self, member: "_Member", tip: ScopeSnapshot, size: int) -> None:
        self.tip = tip
        self.changes += member.changes
        self.ids.update(change.id for change in member.changes)
        self.nbytes += size
        self.members.append(member)


class _Member:
    """One writer's part in a group."""

    def __init__(self, changes: Sequence[Change], deadline: float) -> None:
        self.changes = changes
        self.deadline = deadline
        self.turn = threading.Event()  # the group is done, or this writer is the one to commit it


class _Replan(Exception):
    """What a group was planned on did not come to be; nothing of it was written. `latest`: the scope, if known."""

    def __init__(self, latest: ScopeSnapshot | None = None, *, alone: bool = False) -> None:
        super().__init__("the scope changed under this group")
        self.latest = latest
        self.alone = alone


class WriteQueue:
    """The groups of one scope: `queued` form in order, each on top of the one before; the first is being committed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.queued: list[_Group] = []

    def top(self) -> _Group | None:
        """The group that the next plan is made on."""
        return self.queued[-1] if self.queued else None


class WriteQueues:
    """Of one process. A queue is forgotten once nobody uses it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: WeakValueDictionary[Scope, WriteQueue] = WeakValueDictionary()

    def of(self, scope: Scope) -> WriteQueue:
        with self._lock:
            return self._queues.setdefault(scope, WriteQueue())


class GroupCommit:
    """Writes one scope, together with the other threads of this process."""

    def __init__(
        self, scope: Scope, queues: WriteQueues, committer: Committer, loader: Loader, cache: SnapshotCache
    ) -> None:
        self._scope = scope
        self._queue = queues.of(scope)
        self._committer = committer
        self._loader = loader
        self._cache = cache

    def write(self, plan: Plan, base: ScopeSnapshot | None, deadline: float) -> ScopeSnapshot:
        """See ScopeStore.write."""
        pause, alone = _PAUSE, False
        while True:
            try:
                return self._attempt(plan, base, deadline, alone=alone)
            except _Replan as again:
                alone = alone or again.alone
                base = again.latest or self._loader.newest(deadline)
                if again.latest is None:
                    continue
            wait = random.uniform(0, pause)  # noqa: S311 - parts writers that met once
            if time.monotonic() + wait >= deadline:
                raise Busy("Too many writers met in this memory; nothing was stored")
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _attempt(self, plan: Plan, base: ScopeSnapshot | None, deadline: float, *, alone: bool) -> ScopeSnapshot:
        """Plan until nobody of this process was faster, and commit. `base`: the scope after this call began; None: not
        read yet. Raises _Replan, or what `plan` raises."""
        while True:
            tip, under = self._top(base)
            if tip is None:
                base = self._loader.newest(deadline)
                continue
            try:
                changes = plan(tip)
                staged = self._committer.staged(changes, tip) if changes else tip
            except Exception:
                if self._is_current(under, base, deadline):
                    raise
            else:
                if changes:
                    member = _Member(changes, deadline)
                    group = self._joined(member, tip, under, staged, alone=alone)
                    if group is not None:
                        return self._committed(group, member)
                elif self._is_current(under, base, deadline):
                    return under.after if under and under.after else tip
            base = base or self._loader.newest(deadline)
            if time.monotonic() >= deadline:
                raise Busy("Too many writers met in this memory; nothing was stored")

    def _top(self, base: ScopeSnapshot | None) -> tuple[ScopeSnapshot | None, _Group | None]:
        """The newest state that this process knows, and the group that has yet to make it so. A commit decides whether
        it is the newest of all, so it is not read for that."""
        with self._queue.lock:
            group = self._queue.top()
            if group is not None:
                return group.tip, group
        cached = self._cache.get(self._scope)
        return (cached if base and cached and cached.seq > base.seq else base), None

    def _is_current(self, under: _Group | None, base: ScopeSnapshot | None, deadline: float) -> bool:
        """Whether a plan that changes nothing, or was refused, is true of the scope after the call began. What it was
        made on is waited for. Raises _Replan if that does not come to be."""
        if base is None:
            return False
        if under is None:
            return True
        if not under.done.wait(max(0.0, deadline - time.monotonic())):
            raise Busy("Other writes to this memory take too long; nothing was stored")
        if under.after is None:
            raise _Replan
        return under.after.seq >= base.seq

    def _joined(
        self, member: _Member, tip: ScopeSnapshot, under: _Group | None, staged: ScopeSnapshot, *, alone: bool
    ) -> _Group | None:
        """The group that now holds the changes of `member`; None if `tip` is no longer the top."""
        size = sum(map(nbytes, member.changes))
        queued = self._queue.queued
        with self._queue.lock:
            group = self._queue.top()
            if group is not under or (group is not None and group.tip is not tip):
                return None
            if group is None:
                cached = self._cache.get(self._scope)
                if cached and cached.seq > tip.seq:
                    return None
                member.turn.set()
            # The first of the queue is being committed.
            if group is None or group is queued[0] or not group.takes(member.changes, size, alone=alone):
                group = _Group(tip, alone=alone)
                queued.append(group)
            group.add(member, staged, size)
            return group

    def _committed(self, group: _Group, member: _Member) -> ScopeSnapshot:
        """The scope after the commit of `group`, by this thread or by another."""
        if not member.turn.wait(max(0.0, member.deadline - time.monotonic())):
            self._give_up(group, member)
        if member.turn.is_set() and not group.done.is_set():
            self._lead(group, member.deadline)
        group.done.wait()  # set, or a matter of the rows, which are bounded: see committer.py
        if group.after is not None:
            return group.after
        error = group.error
        # A copy: an exception collects the traceback of each thread that raises it.
        if isinstance(error, _Replan):
            raise _Replan(error.latest, alone=error.alone)
        raise copy.copy(error) if isinstance(error, ServiceError) else OutcomeUnknown(_INTERRUPTED)

    def _give_up(self, group: _Group, member: _Member) -> None:
        """A writer's own time is over; the others of its group go on. Returns if the commit stands, or if it is this
        writer's turn after all."""
        with self._queue.lock:
            if member.turn.is_set() or group.decided:
                return
            if group is self._queue.queued[0]:
                raise OutcomeUnknown("Tablestore took too long to answer a commit.")
            self._drop(self._queue.queued.index(group), _Replan())
        raise Busy("Other writes to this memory take too long; nothing was stored")

    def _lead(self, group: _Group, deadline: float) -> None:
        """Commit `group`, and let the next one's writer begin."""
        after: ScopeSnapshot | None = None
        error: Exception | None = None
        try:
            after = self._committer.commit(
                group.changes, group.base, deadline, is_checked=True, decided=lambda: setattr(group, "decided", True)
            )
        except Conflict as conflict:
            error = _Replan(conflict.latest)  # type: ignore[arg-type]
        except StoreUnavailable as e:
            error = e
        except ServiceError as e:  # refused, without effect: whose changes it were is found out one by one
            error = e if len(group.members) == 1 else _Replan(group.base, alone=True)
        finally:
            self._over(group, after, error)

    def _over(self, group: _Group, after: ScopeSnapshot | None, error: Exception | None) -> None:
        queue = self._queue
        with queue.lock:
            if after is None:
                self._drop(1, _Replan(error.latest) if isinstance(error, _Replan) else _Replan())
                group.error = error
            else:
                group.after = after
            queue.queued.pop(0)
            group.done.set()
            for member in group.members:
                member.turn.set()
            if queue.queued and after is not None:
                following = queue.queued[0]
                following.base = after
                max(following.members, key=lambda m: m.deadline).turn.set()  # whose time is the group's

    def _drop(self, first: int, why: _Replan) -> None:
        """Let the writers of the groups from the `first` on plan anew. The lock is held."""
        for group in self._queue.queued[first:]:
            group.error = why
            group.done.set()
            for member in group.members:
                member.turn.set()
        del self._queue.queued[first:]
