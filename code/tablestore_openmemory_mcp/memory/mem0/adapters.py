"""What Mem0 is handed in place of its own clients: a vector store, a history, an embedder and an LLM of one scope.

All writes go into one unit of work, committed afterwards: what Mem0 does is done at once or not at all.
Imported by engine.py only, which keeps Mem0 quiet.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
from mem0.vector_stores.base import VectorStoreBase

from ...store.model import Memory, ScopeStore
from ..context import AddContext
from ..models.answer_parsing import entries_in
from ..models.answer_schemas import entries_form
from ..models.embedder import Embedder, row
from ..models.structured_output import Chat, ask, whole
from ..search.scope_index import cosines, places
from ..unit_of_work import UnitOfWork, is_living
from ..validation import repaired_text

_CORE = frozenset({"data", "hash", "created_at", "updated_at", "text_lemmatized", "expiration_date"})


@dataclass(frozen=True, slots=True)
class Found:
    """A row as Mem0 reads it. `score` is a cosine: 1 is nearest."""

    id: str
    score: float | None
    payload: dict[str, Any]


Rows = list[Found]


class UnknownFilter(ValueError):
    """A filter that this store cannot keep: dropping it would show what it was to hide (mem0 #6423)."""


class ScopedVectorStore(VectorStoreBase):  # type: ignore[misc] # mem0ai 2.2.1 has no types
    """Mem0's store protocol over one unit of work. Filters may name the scope itself and nothing else."""

    def __init__(self, store: ScopeStore, unit: UnitOfWork, identity: Mapping[str, str], model: str) -> None:
        self._store = store
        self._unit = unit
        self._identity = dict(identity)
        self._model = model

    def insert(
        self,
        vectors: Sequence[Any],
        payloads: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        """Stage new memories: `payloads` hold the text under "data"."""
        for n, payload in enumerate(payloads or ()):
            vector = row(np.asarray([vectors[n]], np.float32), 0)
            self._unit.add(
                repaired_text(str(payload["data"])),
                vector,
                self._model if vector is not None else None,
                memory_id=ids[n] if ids else None,
                metadata=self._metadata(payload),
                expires_at=_expiry(payload.get("expiration_date")),
            )

    def search(self, query: str, vectors: Any, top_k: int = 5, filters: Mapping[str, Any] | None = None) -> Rows:
        """The memories nearest to the vector, as they were before the unit."""
        self._check(filters)
        snapshot = self._unit.base
        ids = [m.id for m in snapshot.memories.values() if is_living(m, self._unit.now)]
        asked = np.asarray(vectors, np.float32)[None, :]
        if row(asked, 0) is None:  # the embedder refused the text
            return []
        found = self._store.candidates(snapshot, asked, self._model, k=top_k)
        dense = cosines(found, asked, places(ids))[0]
        order = [i for i in np.argsort(-dense, kind="stable").tolist() if not np.isnan(dense[i])]
        return [self._found(snapshot.memories[ids[i]], float(dense[i])) for i in order[:top_k]]

    def get(self, vector_id: str) -> Found | None:
        memory = self._unit.get(vector_id)
        return self._found(memory) if memory else None

    def list(self, filters: Mapping[str, Any] | None = None, top_k: int | None = None) -> list[Rows]:
        """All memories, oldest first, in the nested list that Mem0's callers unpack."""
        self._check(filters)
        found = [self._found(m) for i in self._unit.base.memories if (m := self._unit.get(i))]
        return [found if top_k is None else found[:top_k]]

    def update(self, vector_id: str, vector: Any = None, payload: Mapping[str, Any] | None = None) -> None:
        old = self._unit.get(vector_id)
        if old is None:
            raise ValueError(f"there is no memory {vector_id} in this scope")
        text = repaired_text(str((payload or {}).get("data", old.text)))
        made = row(np.asarray([vector], np.float32), 0) if vector is not None else old.vector
        model = old.vector_model if vector is None else self._model if made is not None else None
        self._unit.update(vector_id, text, made, model, metadata=self._metadata(payload) if payload else None)

    def delete(self, vector_id: str) -> None:
        if self._unit.get(vector_id) is None:
            raise ValueError(f"there is no memory {vector_id} in this scope")
        self._unit.delete(vector_id)

    def create_col(self, name: str, vector_size: int, distance: str) -> None:
        """Nothing: tables are the store's own affair."""

    def list_cols(self) -> Sequence[str]:
        return ["memories"]

    def col_info(self) -> dict[str, Any]:
        return {"name": "memories", "count": len(self._unit.base.memories)}

    def delete_col(self) -> None:
        raise NotImplementedError("a scope is emptied by MemoryService.delete_all")

    def reset(self) -> None:
        raise NotImplementedError("a scope is emptied by MemoryService.delete_all")

    def _check(self, filters: Mapping[str, Any] | None) -> None:
        for key, value in (filters or {}).items():
            if self._identity.get(key) != value:
                raise UnknownFilter(f"this store cannot filter by {key}")

    def _metadata(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in payload.items() if k not in _CORE and k not in self._identity}

    def _found(self, memory: Memory, score: float | None = None) -> Found:
        payload = {
            **memory.metadata,
            **self._identity,
            "data": memory.text,
            "created_at": _iso(memory.created_at),
            "updated_at": _iso(memory.updated_at),
        }
        return Found(memory.id, score, payload)


class NoEntities:
    """In place of Mem0's second vector store of named entities, which only boosts a search that we do not use."""

    def search_batch(self, queries: Sequence[str], vectors_list: Sequence[Any], **_: Any) -> Sequence[Rows]:
        return [[] for _ in queries]

    def list(self, **_: Any) -> list[Rows]:
        return [[]]

    def search(self, **_: Any) -> Rows:
        return []

    def insert(self, **_: Any) -> None: ...

    def update(self, **_: Any) -> None: ...

    def delete(self, **_: Any) -> None: ...


class ScopedHistory:
    """Mem0's history protocol: rows are written by the commit itself, so that what Mem0 adds is already there.

    Mem0's rolling window of messages is not kept: it would be a second, unscoped memory of what people said.
    """

    def __init__(self, store: ScopeStore) -> None:
        self._store = store

    def add_history(self, *_: Any, **__: Any) -> None: ...

    def batch_add_history(self, *_: Any, **__: Any) -> None: ...

    def save_messages(self, *_: Any, **__: Any) -> None: ...

    def get_last_messages(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        return []

    def get_history(self, memory_id: str) -> list[dict[str, Any]]:
        return [
            {"memory_id": e.memory_id, "old_memory": e.old_text, "new_memory": e.new_text, "event": e.event}
            | {"created_at": _iso(e.at), "updated_at": _iso(e.at), "is_deleted": int(e.event == "DELETE")}
            for e in self._store.history(memory_id)
        ]


class Mem0Embedder:
    """Mem0's embedder protocol, in our batches and within the add's deadline."""

    def __init__(self, embedder: Embedder, context: AddContext) -> None:
        self._embedder = embedder
        self._context = context
        self.failure: Exception | None = None  # Mem0 swallows what goes wrong here, and the texts with it

    def embed(self, text: str, memory_action: str | None = None) -> Any:
        return self.embed_batch([text], memory_action)[0]

    def embed_batch(self, texts: Sequence[str], memory_action: str | None = None) -> Any:
        if self.failure:
            raise self.failure
        try:
            return list(self._embedder.embed(list(texts), deadline=self._context.deadline))
        except Exception as e:
            self.failure = e
            raise


class Mem0Llm:
    """Mem0's LLM protocol. What Mem0 would parse and silently lose is understood here, and written as plain JSON."""

    def __init__(self, chat: Chat, context: AddContext) -> None:
        self._chat = chat
        self._context = context
        self.truncated = False  # see Parsed

    def generate_response(self, messages: Sequence[dict[str, str]], **_: Any) -> str:
        self._context.progress("extracting facts")
        given = messages[-1]["content"]
        read = partial(entries_in, given=given)
        parsed = ask(self._chat, messages, read, deadline=self._context.deadline, form=entries_form(given))
        self.truncated = parsed.truncated
        return json.dumps({"memory": whole(parsed)}, ensure_ascii=False)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def _expiry(day: str | None) -> int | None:
    """Mem0 hides a memory from the day after `day` on (UTC)."""
    if day is None:
        return None
    end = datetime.combine(date.fromisoformat(day) + timedelta(days=1), datetime.min.time(), UTC)
    return int(end.timestamp() * 1000)
