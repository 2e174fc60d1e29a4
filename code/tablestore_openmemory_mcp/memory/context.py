"""One add, as the steps of the pipeline see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..store.model import ScopeStore
from .model import Progress
from .models.embedder import Embedder
from .search.scope_index import ScopeIndex


@dataclass(frozen=True, slots=True)
class AddContext:
    """`deadline` is a time.monotonic() value; `expires_at` ms since the epoch, for the memories that the add makes."""

    deadline: float
    progress: Progress
    actor: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class ScopeContext:
    """Where an add happens: one scope's store and index, and what makes vectors for it (None: nothing does)."""

    store: ScopeStore
    index: ScopeIndex
    embedder: Embedder | None
    max_memories: int
