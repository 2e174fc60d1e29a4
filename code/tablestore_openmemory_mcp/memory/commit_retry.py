"""Commit a unit of work, however many others write to the same scope."""

from collections.abc import Callable, Sequence

from ..store.model import Change, ScopeStore, Snapshot
from .unit_of_work import UnitOfWork


def write(
    store: ScopeStore, make: Callable[[Snapshot], UnitOfWork], deadline: float, base: Snapshot | None = None
) -> tuple[UnitOfWork, Snapshot]:
    """Commit what `make` makes of the scope (as it is, or was at `base`); when another writer was first, make it anew.
    Some memories that have expired go along, whoever writes.

    Returns the unit and the scope after it; a unit without changes is not committed. Raises Busy at `deadline`
    (time.monotonic()), or what `make` and the store raise.
    """
    made: list[UnitOfWork] = []

    def plan(latest: Snapshot) -> Sequence[Change]:
        unit = make(latest)
        if unit.changes:
            unit.drop_expired()
        made[:] = [unit]
        return unit.changes

    after = store.write(plan, base=base, deadline=deadline)
    return made[0], after
