"""Finish a commit that stands: write the rows of its redo record, whoever decided it.

A writer may die, or be frozen, between the head and the rows. The redo record in the head is durable, so the next
writer of the scope writes the rows in its place. Each row is written only over an older revision of itself: doing it
twice, or late, changes nothing.
"""

from ..client.requests import in_batches
from ..client.sdk_client import Gateway
from ..snapshot.snapshot import ScopeSnapshot
from .heads import Heads
from .redo_record import Redo
from .rows import ScopeRows
from .sweeper import Step


class RollForward:
    """The rows of one scope's commits."""

    def __init__(self, gateway: Gateway, heads: Heads, rows: ScopeRows, step: Step) -> None:
        self._gateway = gateway
        self._heads = heads
        self._rows = rows
        self._step = step

    def apply(self, redo: Redo, deadline: float) -> None:
        """Write all rows of a commit. `deadline`: by time.monotonic(). Raises StoreError."""
        for batch in in_batches(list(self._rows.writes(redo))):
            self._step("applying")
            self._gateway.write_many(batch, deadline=deadline)

    def unfinished(self, base: ScopeSnapshot, deadline: float) -> Redo | None:
        """Finish the commit before ours, if its writer has not: it died, or is slow. Returns that commit's record."""
        if base.head_state.redo is None:
            return None
        head = self._heads.read(deadline=deadline)  # `base` may be old; its redo record must not be applied late
        if head.redo is None or head.seq != base.seq:
            return None
        self.apply(head.redo, deadline)
        self._step("rolled forward")
        return head.redo
