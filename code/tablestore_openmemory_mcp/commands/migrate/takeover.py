"""One pass over the old table: each row is brought, or there is a reason why not.

Rows come in the order of their random ids, so those of a scope lie scattered. They wait in a batch per scope; a batch
is committed when it is as large as a commit may be, and the largest one when all together are more than BUFFERED.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter

from ...errors import InvalidInput, LimitExceeded
from ...memory.commit_retry import write
from ...memory.credential_filter import refuse_credentials
from ...memory.unit_of_work import COMMIT_BYTES, UnitOfWork, now_ms
from ...memory.validation import repaired_text
from ...scope import InvalidName, Scope
from ...settings import Settings
from ...store.commit.redo_record import nbytes
from ...store.legacy.record import Entry
from ...store.legacy.row import LegacyRow
from ...store.model import Change, Memory, Snapshot
from ...store.store import TablestoreStore
from .findings import ALREADY, BROUGHT, DELETED, ERASED, LEFT_OUT, TWIN, UPDATED, Findings
from .scope_state import ScopeState, Standing
from .vectors import Vectors

REASON = "taken over from release 1.x"
ACTOR = "migrate"
ROWS = 200  # of one commit
BUFFERED = 64_000_000  # bytes of all batches
_COMMIT_SECONDS = 60.0

_FATES: Mapping[Standing, str] = {
    "new": BROUGHT,
    "changed": UPDATED,
    "already": ALREADY,
    "twin": TWIN,
    "deleted": DELETED,
    "erased": ERASED,
    "changed in both": LEFT_OUT,
}
_CHANGED_IN_BOTH = (
    "differs from what is here under its id, which was changed here too: the text of this memory was kept"
)
_FULL = "this memory is full: set MAX_MEMORIES higher and run migrate again"


@dataclass(slots=True)
class Batch:
    """What the next commit of a scope brings. `size`: bytes, of what may be COMMIT_BYTES."""

    memories: list[Memory] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    rows: list[tuple[LegacyRow, str]] = field(default_factory=list)  # with their fates; without vectors
    size: int = 0


class Takeover:
    """For one run and one thread. `maps`: the scope to take, by "user/client" of the old one. `user`: whose rows alone,
    as the old table has the name."""

    def __init__(
        self,
        store: TablestoreStore,
        settings: Settings,
        vectors: Vectors,
        findings: Findings,
        *,
        maps: Mapping[str, Scope],
        user: str | None,
        again: bool,
    ) -> None:
        self._store = store
        self._settings = settings
        self._vectors = vectors
        self._findings = findings
        self._maps = maps
        self._user = user
        self._again = again
        self._states: dict[Scope, ScopeState] = {}
        self._batches: dict[Scope, Batch] = {}
        self._used: set[str] = set()

    def take(self, row: LegacyRow) -> None:
        """Decide about one row; commit what is due. Raises a StoreError or a ModelError."""
        if self._user is not None and row.user_id != self._user:
            return
        self._findings.rows += 1
        try:
            scope = self._target(row)
        except InvalidName as e:
            self._findings.remark(row, f"{e} Give it another with --map OLD_USER/OLD_CLIENT=USER/CLIENT", left_out=True)
            return
        found = self._findings.of(scope)
        found.sources.add(f"{row.user_id}/{row.client_name}")
        fate = self._decided(row, scope)
        found.fates[fate] += 1

    def finish(self) -> None:
        """Commit what is left, and count what is missing."""
        for scope in list(self._batches):
            self._commit(scope)
        self._findings.unused_maps = sorted(self._maps.keys() - self._used)
        for scope, state in self._states.items():
            self._findings.of(scope).gone = 0 if self._user else state.gone

    def _target(self, row: LegacyRow) -> Scope:
        if row.payload is None:
            raise InvalidName("payload_source cannot be read, so it is not known whose memory it is.")
        old = f"{row.user_id}/{row.client_name}"
        if old in self._maps:
            self._used.add(old)
            return self._maps[old]
        return Scope(row.user_id, row.client_name)

    def _decided(self, row: LegacyRow, scope: Scope) -> str:
        """The row's fate; what comes in waits in the scope's batch."""
        text = repaired_text(row.text or "")
        state = self._state(scope)
        standing = state.standing(row, text)
        if standing == "changed in both":
            self._findings.remark(row, _CHANGED_IN_BOTH, left_out=True)
        if standing == "twin" and self._findings.applied:
            self._put(scope, None, state.entry(row, text, twin=True), row, TWIN)
        if standing not in ("new", "changed"):
            return _FATES[standing]
        if why := self._refusal(text, state, new=standing == "new"):
            self._findings.remark(row, why, left_out=True)
            return LEFT_OUT
        memory = self._memory(row, text)
        old = text if standing == "changed" else None  # about as long as what it replaces
        size = nbytes(Change("UPDATE", memory.id, memory, old_text=old)) + 4 * self._vectors.dimension
        if size > COMMIT_BYTES:
            self._findings.remark(row, f"too large: {size:,} bytes of {COMMIT_BYTES:,}", left_out=True)
            return LEFT_OUT
        entry = state.entry(row, text)
        state.expect(entry)
        if self._findings.applied:
            self._put(scope, memory, entry, row, _FATES[standing], size)
        return _FATES[standing]

    def _refusal(self, text: str, state: ScopeState, *, new: bool) -> str | None:
        if not text:
            return "no text"
        if new and state.is_full:
            return _FULL
        try:
            if not self._settings.allow_credentials:
                refuse_credentials(text)
        except InvalidInput as e:
            return str(e)
        return None

    def _memory(self, row: LegacyRow, text: str) -> Memory:
        """Remarks on what is odd about a row that is brought."""
        for oddity in row.oddities:
            self._findings.remark(row, oddity)
        if text != row.text:
            self._findings.remark(row, "its text was cleaned: white space around it, NULs, or not in Unicode NFC")
        created = row.created_at if row.created_at is not None else row.updated_at
        if created is None:
            self._findings.remark(row, "no time: it is dated today")
            created = now_ms()
        updated = row.updated_at if row.updated_at is not None else created
        own = self._vectors.takes(row)
        if own:
            self._findings.reused += 1
        elif self._vectors.embeds:
            self._findings.embedded += 1
            if row.vector is not None and len(row.vector) != self._vectors.dimension:
                self._findings.remark(row, f"a vector of {len(row.vector):,} numbers: it is embedded anew")
        return Memory(
            row.id,
            text,
            created,
            max(created, updated),
            row.metadata,
            row.vector if own else None,
            self._vectors.model if own else None,
        )

    def _state(self, scope: Scope) -> ScopeState:
        if scope not in self._states:
            found, most = self._findings, self._settings.max_memories
            self._states[scope] = ScopeState(
                self._store, found.table, scope, most, again=self._again, applies=found.applied
            )
        return self._states[scope]

    def _put(self, scope: Scope, memory: Memory | None, entry: Entry, row: LegacyRow, fate: str, size: int = 0) -> None:
        batch = self._batches.get(scope)
        if batch and (batch.size + size > COMMIT_BYTES or len(batch.entries) == ROWS):
            self._commit(scope)
        batch = self._batches.setdefault(scope, Batch())
        batch.entries.append(entry)
        batch.rows.append((replace(row, vector=None), fate))
        if memory:
            batch.memories.append(memory)
            batch.size += size
        if sum(b.size for b in self._batches.values()) > BUFFERED:
            self._commit(max(self._batches, key=lambda s: self._batches[s].size))

    def _commit(self, scope: Scope) -> None:
        batch, state = self._batches.pop(scope), self._states[scope]
        memories = sorted(self._vectors.embedded(batch.memories), key=lambda m: m.created_at)
        deadline = time.monotonic() + _COMMIT_SECONDS
        base = state.store.snapshot(deadline=deadline)
        n = state.record.begin(batch.entries, base.epoch)
        try:
            write(state.store, _bringing(memories, {m.id: base.memories.get(m.id) for m in memories}), deadline, base)
        except LimitExceeded:
            state.record.drop(n)
            found = self._findings.of(scope)
            for row, fate in batch.rows:
                found.fates[fate] -= 1
                found.fates[LEFT_OUT] += 1
                self._findings.remark(row, _FULL, left_out=True)
            return
        state.record.end(n, batch.entries)


def _bringing(memories: list[Memory], seen: Mapping[str, Memory | None]) -> Callable[[Snapshot], UnitOfWork]:
    """A memory that somebody changed or deleted after it was `seen` stays as they left it. So does one that another run
    has brought meanwhile."""

    def make(base: Snapshot) -> UnitOfWork:
        unit = UnitOfWork(base, ACTOR)
        for memory in memories:
            before, now = seen[memory.id], base.memories.get(memory.id)
            if (before and before.text) == (now and now.text) and not (now and _is_same(now, memory)):
                unit.bring(memory, reason=REASON)
        return unit

    return make


def _is_same(one: Memory, other: Memory) -> bool:
    parts = attrgetter("text", "created_at", "updated_at", "metadata")
    return bool(parts(one) == parts(other))
