"""What a search does for the scope that it reads: vectors for memories without one, and away with the expired.

A bounded step each time, within one commit. It never fails the search that it rides on.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ...errors import DimensionMismatch, ModelDenied, ModelError, ModelUnavailable
from ...scope import Scope
from ...store.commit.redo_record import nbytes
from ...store.model import Change, Conflict, Memory, ScopeStore, Snapshot
from ..models.embedder import BATCH, Embedder, row
from ..unembeddable import as_refused, is_refused
from ..unit_of_work import COMMIT_BYTES, UnitOfWork
from .scope_index import Living, ScopeIndex

logger = logging.getLogger(__name__)

EMBEDDED_PER_CALL = 50  # memories without a vector of the present model that one search brings up to date
_EMBEDDED_BYTES = COMMIT_BYTES // 2  # of their texts
_SECONDS = 5.0  # for their vectors
_REST = 60.0  # seconds in which a scope where the step failed is left as it is
_MOST_RESTING = 1_000
_LASTING = (ModelUnavailable, ModelDenied, DimensionMismatch)  # true of any text


class Improver:
    """Thread-safe; one for the process."""

    def __init__(self, embedder: Embedder | None) -> None:
        self._embedder = embedder
        self._resting: OrderedDict[Scope, float] = OrderedDict()  # until when, time.monotonic()

    def improved(self, store: ScopeStore, snapshot: Snapshot, index: ScopeIndex, deadline: float) -> Snapshot:
        """`snapshot`, or the scope after a step towards vectors of the present model for all.

        Memories lack them after a time without a key, an outage, or a change of EMBEDDER_MODEL.
        """
        if self._resting.get(store.scope, 0.0) > time.monotonic():
            return snapshot
        try:
            living = index.living(snapshot)
            unit = UnitOfWork(snapshot)
            if self._embedder is not None and living.model != self._embedder.model:
                self._embed(unit, self._embedder, living, min(deadline, time.monotonic() + _SECONDS))
            if len(living.memories) < len(snapshot.memories):
                unit.drop_expired()
            return store.commit(unit.changes, base=snapshot, deadline=deadline) if unit.changes else snapshot
        except Conflict as conflict:
            return conflict.latest
        except Exception as e:
            said = str(e) if isinstance(e, ModelError) else type(e).__name__
            logger.warning("a scope is left as it is for now, with vectors missing or memories expired: %s", said)
            self.rest(store.scope)
            return snapshot

    def rest(self, scope: Scope) -> None:
        """Leave `scope` as it is for a while."""
        self._resting[scope] = time.monotonic() + _REST
        _bounded(self._resting, _MOST_RESTING)

    def _embed(self, unit: UnitOfWork, embedder: Embedder, living: Living, deadline: float) -> None:
        stale, room = list(self._stale(living.memories, embedder.model)), COMMIT_BYTES
        if not stale:
            living.model = embedder.model
        for start in range(0, len(stale), BATCH):
            batch = stale[start : start + BATCH]
            try:
                made = embedder.embed_each([m.text for m in batch], deadline=deadline)
            except _LASTING:
                if unit.changes:  # what came before counts
                    return
                raise
            for n, memory in enumerate(batch):
                if (vector := row(made.vectors, n)) is not None:
                    new = replace(memory, vector=vector, vector_model=embedder.model)
                elif n in made.refused:
                    new = as_refused(memory, embedder.model)
                else:
                    continue
                room -= nbytes(Change("TOUCH", new.id, new))
                if room < 0:
                    return
                unit.touch(new)

    @staticmethod
    def _stale(living: Sequence[Memory], model: str) -> Iterator[Memory]:
        """The newest matter most, and come first."""
        count, room = 0, _EMBEDDED_BYTES
        for memory in living:
            if memory.vector_model != model and not is_refused(memory, model):
                count, room = count + 1, room - 4 * len(memory.text)
                if count > EMBEDDED_PER_CALL or (room < 0 and count > 1):
                    return
                yield memory


def _bounded(held: "OrderedDict[Any, float]", most: int) -> None:
    while len(held) > most:
        held.popitem(last=False)
