"""The memory service: add, search, list, forget. Blocking and thread-safe; everything is done inside one scope."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, Self

from ..errors import InvalidInput, ModelError, ModelTimedOut
from ..scope import Scope
from ..settings import Settings
from ..store.model import HistoryEntry, Memory, ScopeStore, Snapshot
from .add.verbatim import add_verbatim
from .commit_retry import write
from .context import AddContext, ScopeContext
from .credential_filter import refuse_credentials
from .model import AddResult, Hit, Outcome, Page, Progress
from .models.chat import ChatModel
from .models.embedder import AddEmbedder, Embedder, row
from .models.endpoint import Endpoint
from .models.local.local_embedder import LocalEmbedder
from .models.local.universal_sentence_encoder import UniversalSentenceEncoder
from .paging import page
from .search.scope_index import ScopeIndexes
from .search.scope_search import Recall
from .unembeddable import marked, without_vector
from .unit_of_work import UnitOfWork, is_living, now_ms, outlives
from .validation import checked_text, likeness_key

if TYPE_CHECKING:
    from .add.cycle import AddCycle
    from .models.budget import Counts

SEARCH_SECONDS = 20.0


class Store(Protocol):
    """See TablestoreStore."""

    def scope(self, scope: Scope) -> ScopeStore: ...
    @property
    def sessions(self) -> "Counts": ...


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
        self._recall = Recall(
            embedder,
            settings.tablestore_search_memory_min_score,
            always_answers=settings.embedding != "endpoint",
        )
        self._cycle: AddCycle | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings, store: Store) -> Self:
        """With the LLM and embedder that `settings` name, if any. Cheap: nothing is imported or connected yet."""
        llm, embeds = settings.llm_endpoint, settings.embedder_endpoint
        shared = Endpoint(llm.api_key, llm.base_url) if llm else None
        chat = ChatModel(shared, settings.llm_model) if shared else None
        if settings.embedding == "local":
            return cls(settings, store, chat, LocalEmbedder(UniversalSentenceEncoder()))
        if settings.embedding == "none" or embeds is None:
            return cls(settings, store, chat)
        own = Endpoint(embeds.api_key, embeds.base_url, prefix="EMBEDDER") if embeds != llm or not shared else shared
        return cls(settings, store, chat, Embedder(own, settings.embedder_model, settings.vector_dimension))

    @property
    def embedder(self) -> Embedder | None:
        """What makes the vectors of memories; None where they are found by words alone."""
        return self._embedder

    def add(
        self,
        scope: Scope,
        text: str,
        *,
        actor: str | None = None,
        progress: Progress | None = None,
        deadline: float | None = None,
        expires_at: int | None = None,
    ) -> AddResult:
        """Remember what `text` says. `actor`: which client asked; `deadline`: a time.monotonic() value;
        `expires_at`: when what it adds becomes invisible, in ms since the epoch.

        All of it is stored or, when an error is raised, none. Raises InvalidInput, LimitExceeded, Busy, a ModelError or
        a StoreError.
        """
        text = self._validated(text)
        context = AddContext(self._deadline(deadline), progress or _silent, actor, expires_at=_future(expires_at))
        scoped = self._scoped(self._store.scope(scope))
        with _in_time("stored"):
            if self._settings.pipeline == "verbatim" or self._chat is None:
                return add_verbatim(scoped, text, context)
            return self._add_cycle().run(scoped, text, context)

    def search(self, scope: Scope, query: str, *, limit: int | None = None) -> list[Hit]:
        """The memories that answer `query`, best first; at most `limit`, or TABLESTORE_SEARCH_MEMORY_LIMIT.

        While the embedder is away they are ranked by words, and a note says so. Raises InvalidInput or a StoreError.
        """
        asked = checked_text(query, "query", self._settings.max_text_length)
        most = self._settings.tablestore_search_memory_limit if limit is None else limit
        if not 1 <= most <= 1000:
            raise InvalidInput(f"limit is {most}; accepted: 1 to 1000.")
        until = time.monotonic() + SEARCH_SECONDS
        return self._recall.search(self._store.scope(scope), self._indexes.of(scope), asked, most, until)

    def list(self, scope: Scope, *, cursor: str | None = None, limit: int | None = None) -> Page:
        """A page of the scope, newest first. Raises InvalidInput or a StoreError."""
        return page(self._store.scope(scope).snapshot(), cursor, limit)

    def get(self, scope: Scope, memory_id: str) -> Memory | None:
        """The memory, or None if this scope has none of that id. Raises a StoreError."""
        return UnitOfWork(self._store.scope(scope).snapshot()).get(memory_id)

    def update(
        self,
        scope: Scope,
        memory_id: str,
        text: str,
        *,
        actor: str | None = None,
        expires_at: int | None = None,
        deadline: float | None = None,
    ) -> Outcome:
        """Replace the memory's text, in place; another memory that says the same is deleted. `expires_at`: as add's; 0:
        never; None: as it is.

        Raises InvalidInput for an id that is not in this scope, or as add.
        """
        text, until = self._validated(text), self._deadline(deadline)
        embedder = AddEmbedder(self._embedder) if self._embedder else None
        with _in_time("changed"):
            vector = row(embedder.embed([text], deadline=until), 0) if embedder else None
        model = embedder.model if embedder and vector is not None else None
        expires = _future(expires_at)
        index = self._indexes.of(scope)

        def make(base: Snapshot) -> UnitOfWork:
            unit = UnitOfWork(base, actor)
            if unit.get(memory_id) is None:
                raise _unknown([memory_id])
            new = unit.update(memory_id, text, vector, model, expires_at=expires, reason="asked for")
            others = (m for m in base.memories.values() if m.id != memory_id and is_living(m, unit.now))
            twin = index.alike(base, others).get(likeness_key(text))
            if twin and not outlives(twin, new.expires_at):
                unit.delete(twin.id, reason=f"says the same as {memory_id}")
            return marked(unit, embedder)

        unit, _ = write(self._store.scope(scope), make, until)
        updated, *twins = unit.outcomes
        notes = [*without_vector(unit, embedder), *(f"{twin.id}, which says the same, was deleted." for twin in twins)]
        return replace(updated, note=" ".join(notes) or None)

    def delete(
        self, scope: Scope, ids: Sequence[str], *, actor: str | None = None, deadline: float | None = None
    ) -> Sequence[Outcome]:
        """Delete these memories, all or none. Raises InvalidInput for ids not in this scope, or a StoreError."""

        def make(base: Snapshot) -> UnitOfWork:
            unit = UnitOfWork(base, actor)
            wanted = list(dict.fromkeys(ids))
            missing = [i for i in wanted if unit.get(i) is None]
            if missing or not wanted:
                raise _unknown(missing)
            for memory_id in wanted:
                unit.delete(memory_id, reason="asked for")
            return unit

        unit, _ = write(self._store.scope(scope), make, self._deadline(deadline))
        return unit.outcomes

    def history(self, scope: Scope, memory_id: str) -> Sequence[HistoryEntry]:
        """What became of the memory, oldest first; empty for an id that this scope never had. Raises a StoreError."""
        return self._store.scope(scope).history(memory_id)

    def delete_all(self, scope: Scope) -> int:
        """Empty the scope, history included; how many memories it held. Raises a StoreError."""
        deleted = self._store.scope(scope).delete_all()
        self._indexes.forget(scope)
        return deleted

    def begin_loading(self) -> None:
        """Load the local embedder, or what a model's endpoint is asked with, if there is one; on a thread of its own.

        Not Mem0: the next call may be a search, which would only wait for it.
        """
        if isinstance(self._embedder, LocalEmbedder):
            self._embedder.begin_loading()
        if self._chat or self._embedder:
            threading.Thread(target=self._prepare, name="load-sdk", daemon=True).start()

    def _prepare(self) -> None:
        for model in (self._chat, self._embedder):
            if model and not isinstance(model, LocalEmbedder):
                with contextlib.suppress(ModelError):  # the call that needs it will meet the same error, and report it
                    model.prepare()

    def load(self, deadline: float) -> None:
        """Wait until the local embedder is loaded, if there is one. `deadline`: time.monotonic(). Raises a
        ModelError."""
        if isinstance(self._embedder, LocalEmbedder):
            self._embedder.embed([""], deadline=deadline)

    def close(self) -> None:
        """Let go of connections and threads. The store is its opener's to close."""
        self._recall.close()
        for model in (self._chat, self._embedder):
            if model:
                model.close()

    def _validated(self, text: str) -> str:
        checked = checked_text(text, "text", self._settings.max_text_length)
        if not self._settings.allow_credentials:
            refuse_credentials(checked)
        return checked

    def _deadline(self, deadline: float | None) -> float:
        latest = time.monotonic() + self._settings.add_timeout
        return latest if deadline is None else min(deadline, latest)

    def _add_cycle(self) -> "AddCycle":
        with self._lock:
            if self._cycle is None:
                from .add.cycle import AddCycle  # takes a second: it imports Mem0

                assert self._chat is not None  # noqa: S101 - for the type checker
                self._cycle = AddCycle(self._settings, self._chat, lambda: self._store.sessions)
            return self._cycle

    def _scoped(self, store: ScopeStore) -> ScopeContext:
        return ScopeContext(store, self._indexes.of(store.scope), self._embedder, self._settings.max_memories)


@contextlib.contextmanager
def _in_time(done: str) -> Iterator[None]:
    """For what ADD_TIMEOUT bounds: nothing is `done` when a model takes longer."""
    try:
        yield
    except ModelTimedOut as e:
        setting = "ADD_TIMEOUT" + (f" and {e.setting}" if e.setting else "")
        raise ModelTimedOut(f"{e.plain}; nothing was {done}", setting=setting) from None


def _silent(step: str) -> None:
    pass


def _future(expires_at: int | None) -> int | None:
    if expires_at and expires_at <= now_ms():
        raise InvalidInput("The expiry lies in the past; accepted: a later time.")
    return expires_at


def _unknown(ids: Sequence[str]) -> InvalidInput:
    named = ", ".join(f"'{i[:40]}'" for i in ids[:5])
    return InvalidInput(
        f"There is no memory with the id {named}; list_memories shows the ids." if ids else "No id given."
    )
