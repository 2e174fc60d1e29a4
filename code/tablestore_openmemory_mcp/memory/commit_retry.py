"""Commit a unit of work, however many others write to the same scope."""

import random
import time
from collections.abc import Callable

from ..errors import Busy
from ..store.model import Conflict, ScopeStore, Snapshot
from .unit_of_work import UnitOfWork

_PAUSE = 0.02  # seconds, the most that a writer waits after its first lost race; doubles up to _LONGEST_PAUSE
_LONGEST_PAUSE = 0.5


def write(
    store: ScopeStore, make: Callable[[Snapshot], UnitOfWork], deadline: float, base: Snapshot | None = None
) -> tuple[UnitOfWork, Snapshot]:
    """Commit what `make` makes of the scope (as it is, or was at `base`); when another writer was first, make it anew.
    Some memories that have expired go along, whoever writes.

    Returns the unit and the scope after it; a unit without changes is not committed. Raises Busy at `deadline`
    (time.monotonic()), or what `make` and the store raise.
    """
    base = base or store.snapshot(deadline=deadline)
    pause = _PAUSE
    while True:
        unit = make(base)
        if not unit.changes:
            return unit, base
        unit.drop_expired()
        try:
            return unit, store.commit(unit.changes, base=base, deadline=deadline)
        except Conflict as conflict:
            base = conflict.latest
        wait = random.uniform(0, pause)  # noqa: S311 - parts writers that met once
        if time.monotonic() + wait >= deadline:
            raise Busy("Too many writers met in this memory; nothing was stored")
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)
