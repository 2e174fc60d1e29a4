"""What one scope holds and has taken over, as the pass over the old table goes on."""

from typing import Literal

from ...memory.unit_of_work import is_living, now_ms
from ...scope import Scope
from ...store.legacy.record import TWIN, Begun, Entry, Record, erased_at, id_mark, text_mark
from ...store.legacy.row import LegacyRow
from ...store.model import ScopeStore
from ...store.store import TablestoreStore

Standing = Literal["new", "changed", "already", "twin", "deleted", "erased", "changed in both"]


class ScopeState:
    """Knows memories by marks of their ids and texts, about 100 bytes each: no text is kept."""

    def __init__(
        self, store: TablestoreStore, table: str, scope: Scope, max_memories: int, *, again: bool, applies: bool
    ) -> None:
        """`again`: what was taken over and then deleted here counts as new. `applies`: the record may be written."""
        self.store: ScopeStore = store.scope(scope)
        self.record = Record(store.sessions, table, scope)
        self._again = again
        self._applies = applies
        self._erased = None if again else erased_at(store.sessions, scope.user_id)
        snapshot = self.store.snapshot()
        self._texts = {id_mark(m.id): text_mark(m.text) for m in snapshot.memories.values()}
        self._said = set(self._texts.values())
        self._room = max_memories - sum(is_living(m, now_ms()) for m in snapshot.memories.values())
        self._done, begun = self.record.read()
        self._doubtful: dict[bytes, int] = {}
        self._begun: dict[int, Begun] = {}
        for n, commit in begun.items():
            if commit.epoch < snapshot.epoch or any(e.id in self._texts for e in commit.entries):
                self._settle(n, commit, stands=True)
            else:
                self._begun[n] = commit
                self._doubtful |= {e.id: n for e in commit.entries}
        self._unseen = {id_ for id_, one in self._done.items() if one.text != TWIN}

    @property
    def gone(self) -> int:
        """Rows that were taken over and did not come by."""
        return len(self._unseen)

    @property
    def is_full(self) -> bool:
        return self._room <= 0

    def standing(self, row: LegacyRow, text: str) -> Standing:
        """How `row`, which says `text`, stands to what the scope holds."""
        mark = id_mark(row.id)
        self._unseen.discard(mark)
        if mark in self._doubtful:
            n = self._doubtful[mark]
            self._settle(n, self._begun.pop(n), stands=bool(self.store.history(row.id)))
        known, here = self._done.get(mark), self._texts.get(mark)
        if known is None and here is None:
            return self._newcomer(row, text)
        if known is None:  # brought by other means: by an import, say
            return "already" if here == text_mark(text) else "changed in both"
        if known.version == row.version and (here is not None or known.text == TWIN):
            return "already"
        if known.text == TWIN:
            return self._newcomer(row, text)
        if here is None:
            return self._newcomer(row, text) if self._again else "deleted"
        if here == text_mark(text):
            return "already"
        return "changed" if here == known.text else "changed in both"

    def entry(self, row: LegacyRow, text: str, *, twin: bool = False) -> Entry:
        return Entry(id_mark(row.id), row.version, TWIN if twin else text_mark(text))

    def expect(self, entry: Entry) -> None:
        """The next commit will bring it: what comes after it is compared with it too."""
        if entry.id not in self._texts and entry.text != TWIN:
            self._room -= 1
        self._done[entry.id] = entry
        if entry.text != TWIN:
            self._texts[entry.id] = entry.text
            self._said.add(entry.text)

    def _newcomer(self, row: LegacyRow, text: str) -> Standing:
        written = max(row.created_at or 0, row.updated_at or 0)
        if self._erased is not None and written <= self._erased:
            return "erased"
        return "twin" if text_mark(text) in self._said else "new"

    def _settle(self, n: int, commit: Begun, *, stands: bool) -> None:
        """A commit whose end was not noted: note whether it `stands`."""
        for one in commit.entries:
            self._doubtful.pop(one.id, None)
        if stands:
            self._done |= {one.id: one for one in commit.entries}
        if self._applies:
            self.record.end(n, commit.entries) if stands else self.record.drop(n)
