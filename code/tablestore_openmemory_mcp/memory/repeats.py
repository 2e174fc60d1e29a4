"""The same text said again costs no LLM call, as long as all that came of it is as it was."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ..scope import Scope
from ..store.model import Snapshot, text_hash
from .model import Outcome

_MOST = 10_000


class Repeats:
    """Which revisions a text left behind. Kept in this process; the least recently used are forgotten. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: OrderedDict[tuple[Scope, str], Mapping[str, int]] = OrderedDict()

    def heard(self, scope: Scope, text: str) -> bool:
        """Whether `text` has been said in `scope`; then ask `stands`."""
        with self._lock:
            return (scope, text_hash(text)) in self._left

    def stands(self, snapshot: Snapshot, text: str) -> bool:
        """Whether every memory that `text` made or changed still has the revision that it left."""
        with self._lock:
            left = self._left.get((snapshot.scope, text_hash(text)), {})
        memories = snapshot.memories
        return bool(left) and all(i in memories and memories[i].rev == rev for i, rev in left.items())

    def note(self, text: str, outcomes: Sequence[Outcome], after: Snapshot) -> None:
        """Remember what `text` left. One that deleted something is not remembered: there is no revision to look at."""
        if not outcomes or any(o.event == "DELETE" or o.id not in after.memories for o in outcomes):
            return
        with self._lock:
            key = (after.scope, text_hash(text))
            self._left[key] = {o.id: after.memories[o.id].rev for o in outcomes}
            self._left.move_to_end(key)
            while len(self._left) > _MOST:
                self._left.popitem(last=False)
