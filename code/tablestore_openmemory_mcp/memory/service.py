"""The memory service: add, search, list, forget. Blocking and thread-safe; everything is done inside one scope."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, Self

from ..errors import InvalidInput
from ..scope import Scope
from ..settings import Settings
from ..store.model import ScopeStore
from .embedder import Embedder
from .endpoint import Endpoint
from .job import Job
from .llm import ChatModel
from .model import AddResult, Hit, Page, Progress
from .paging import page
from .planner import Planner
from .recall import Recall
from .scope_index import ScopeIndexes
from .text import checked_text
from .writing import write

if TYPE_CHECKING:
    from .add_cycle import AddCycle

SEARCH_SECONDS = 20.0


class Store(Protocol):
    def scope(self, scope: Scope) -> ScopeStore: ...


class MemoryService:
    """Takes built parts; `from_settings` builds them. No method takes an id without its scope."""

    def __init__(
        self, settings: Settings, store: Store, chat: ChatModel | None = None, embedder: Embedder | None = None
    ) -> None:
        self._settings = settings
        self._store = store
        self._chat = chat
        self._embedder = embedder
        self._indexes = ScopeIndexes()
        self._pool = ThreadPoolExecutor(settings.search_workers, thread_name_prefix="snapshot")
        self._recall = Recall(embedder, self._pool, settings.tablestore_search_memory_min_score)
        self._cycle: AddCycle | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings, store: Store) -> Self:
        """With the LLM and embedder that `settings` name, if any. Cheap: nothing is imported or connected yet."""
        if settings.openai_api_key is None:
            return cls(settings, store)
        endpoint = Endpoint(settings.openai_api_key.get_secret_value(), settings.openai_base_url)
        embedder = Embedder(endpoint, settings.embedder_model, settings.tablestore_vector_dimension)
        return cls(settings, store, ChatModel(endpoint, settings.llm_model), embedder)

    def add(
        self,
        scope: Scope,
        text: str,
        *,
        actor: str | None = None,
        progress: Progress | None = None,
        deadline: float | None = None,
    ) -> AddResult:
        """Remember what `text` says. `actor`: which client asked; `deadline`: a time.monotonic() value.

        All of it is stored or, when an error is raised, none. Raises InvalidInput, LimitExceeded, Busy, a ModelError or
        a StoreError.
        """
        said = checked_text(text, "text", self._settings.max_text_length)
        ends = deadline if deadline is not None else time.monotonic() + self._settings.add_timeout
        job = Job(ends, progress or _silent, actor)
        store = self._store.scope(scope)
        if self._settings.pipeline == "verbatim" or self._chat is None:
            return self._add_verbatim(store, said, job)
        return self._add_cycle().run(store, self._indexes.of(scope), said, job)

    def search(self, scope: Scope, query: str, *, limit: int | None = None) -> list[Hit]:
        """The memories that answer `query`, best first; at most `limit`, or TABLESTORE_SEARCH_MEMORY_LIMIT.

        Raises InvalidInput, a ModelError or a StoreError.
        """
        asked = checked_text(query, "query", self._settings.max_text_length)
        most = self._settings.tablestore_search_memory_limit if limit is None else limit
        if not 1 <= most <= 1000:
            raise InvalidInput(f"limit is {most}; accepted: 1 to 1000.")
        ends = time.monotonic() + SEARCH_SECONDS
        return self._recall.search(self._store.scope(scope), self._indexes.of(scope), asked, most, ends)

    def list(self, scope: Scope, *, cursor: str | None = None, limit: int | None = None) -> Page:
        """A page of the scope, newest first. Raises InvalidInput or a StoreError."""
        return page(self._store.scope(scope).snapshot(), cursor, limit)

    def delete_all(self, scope: Scope) -> int:
        """Empty the scope, history included; how many memories it held. Raises a StoreError."""
        deleted = self._store.scope(scope).delete_all()
        self._indexes.forget(scope)
        return deleted

    def close(self) -> None:
        """Let go of threads and connections. The store is its opener's to close."""
        self._pool.shutdown(wait=False)
        if self._chat:
            self._chat.close()

    def _add_verbatim(self, store: ScopeStore, text: str, job: Job) -> AddResult:
        index = self._indexes.of(store.scope)
        planner = Planner([text], job, index, self._embedder, None, self._settings.max_memories)
        job.progress("writing")
        unit, _ = write(store, planner.unit, job.deadline)
        if unit.changes:
            return AddResult(unit.outcomes)
        return AddResult([], "This is already remembered; nothing was changed.")

    def _add_cycle(self) -> "AddCycle":
        with self._lock:
            if self._cycle is None:
                from .add_cycle import AddCycle  # takes a second: it imports Mem0

                assert self._chat is not None  # noqa: S101 - for the type checker
                self._cycle = AddCycle(self._settings, self._chat, self._embedder)
            return self._cycle


def _silent(step: str) -> None:
    pass
