"""The one module that touches Mem0: an add goes through Mem0's public `Memory.add` into our reconciliation.

Mem0 validates, builds the metadata and the scope, and calls one step, `_add_to_vector_store`, which is overridden here.
What else of Mem0's private parts is relied upon is pinned by tests/memory/test_mem0_contract.py.
"""

import atexit
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from urllib.parse import quote

from ...errors import ServiceError
from ...scope import Scope
from ...store.model import ScopeStore
from ..context import AddContext
from ..model import AddResult
from ..models.embedder import Embedder
from ..models.prompts import Prompts
from ..models.structured_output import Chat
from ..unit_of_work import UnitOfWork


@contextmanager
def _alone() -> Iterator[None]:
    """Mem0 reads these once, when imported, then sends telemetry, fetches notices and writes ~/.mem0/config.json.

    See mem0 #2285 and #4200; can go when Mem0 takes them as arguments.
    """
    folder = tempfile.mkdtemp(prefix="mem0-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    wanted = {"MEM0_TELEMETRY": "False", "MEM0_DIR": folder}
    before = {name: os.environ.get(name) for name in wanted}
    urllib3 = logging.getLogger("urllib3")
    level = urllib3.level
    os.environ.update(wanted)
    try:
        yield
    finally:
        urllib3.setLevel(level)  # Mem0 silences it for everyone
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without(unused: Mapping[str, str]) -> Iterator[None]:
    """Let what is imported find an empty class in place of each of the `unused` ones (module to class)."""
    absent = {name: class_name for name, class_name in unused.items() if name not in sys.modules}
    for name, class_name in absent.items():
        stand_in = ModuleType(name)
        setattr(stand_in, class_name, type(class_name, (), {}))
        sys.modules[name] = stand_in
    try:
        yield
    finally:
        for name in absent:  # whoever else imports it gets the real one
            del sys.modules[name]


# The client of Mem0's default vector store takes four fifths of the time of its import, and neither is ever used here.
with _alone(), _without({"qdrant_client": "QdrantClient", "posthog": "Posthog"}):
    from mem0.configs.base import MemoryConfig
    from mem0.configs.prompts import USER_MEMORY_EXTRACTION_PROMPT, get_update_memory_messages
    from mem0.exceptions import LLMError
    from mem0.memory.main import Memory
    from mem0.utils import spacy_models

    from .adapters import Mem0Embedder, Mem0Llm, NoEntities, ScopedHistory, ScopedVectorStore

# Where spaCy happens to be installed, Mem0 would download an English model at the first add.
spacy_models._load_failed_full = spacy_models._load_failed_lemma = True
logging.getLogger("mem0").setLevel(logging.CRITICAL + 1)  # it logs the texts of memories, at INFO and above

Step = Callable[[str, Mapping[str, Any]], AddResult]

_CONFIG = MemoryConfig()


def prompts(own_extraction: str | None, own_update: str | None) -> Prompts:
    """Mem0's shipped prompts, with a person's own in their place."""
    return Prompts(USER_MEMORY_EXTRACTION_PROMPT, get_update_memory_messages, own_extraction, own_update)


def mem0_ids(scope: Scope) -> dict[str, str]:
    """The scope as Mem0's `user_id` and `agent_id`, encoded: Mem0 takes no white space."""
    return {"user_id": quote(scope.user_id, safe=""), "agent_id": quote(scope.client_name, safe="")}


class ScopedMem0(Memory):  # type: ignore[misc] # mem0ai 2.2.1 has no types
    """A Mem0 bound to one scope for one add. `step(text, metadata)` does what Mem0's own pipeline would.

    Mem0's constructor is not called: it would build clients, open SQLite and start telemetry.
    """

    def __init__(self, scope: Scope, step: Step) -> None:
        self.config = _CONFIG
        self._ids = mem0_ids(scope)
        self._step = step

    def remember(self, text: str, metadata: Mapping[str, Any]) -> AddResult:
        """What `step` makes of `text`, by way of Mem0's `add`; what it raises comes through."""
        added: _Added = self.add(text, metadata=dict(metadata), **self._ids)["results"]
        return added.result

    def _add_to_vector_store(
        self,
        messages: list[dict[str, Any]],
        metadata: dict[str, Any],
        filters: dict[str, Any],
        infer: bool,
        prompt: Any = None,
    ) -> "_Added":
        if filters != self._ids:
            raise ValueError("a Mem0 bound to one scope was asked about another")
        text = "\n".join(str(m["content"]) for m in messages)
        kept = {k: v for k, v in metadata.items() if k not in self._ids}
        return _Added(self._step(text, kept))


class _Added(list[dict[str, Any]]):
    """What `_add_to_vector_store` returns in Mem0's form, and our result beside it: `add` hands it on as it is."""

    def __init__(self, result: AddResult) -> None:
        super().__init__({"id": o.id, "memory": o.memory, "event": o.event} for o in result.results)
        self.result = result


class AdditiveMem0(Memory):  # type: ignore[misc] # mem0ai 2.2.1 has no types
    """Mem0's own pipeline, unchanged, over one scope's unit of work: it only ever adds.

    `get`, `get_all`, `update`, `delete` and `history` work too; nothing is stored until the unit is committed.
    """

    entity_store = NoEntities()  # Mem0's property would build a second vector store

    def __init__(
        self, store: ScopeStore, unit: UnitOfWork, embedder: Embedder, chat: Chat, context: AddContext
    ) -> None:
        self.config = _CONFIG
        self.ids = mem0_ids(store.scope)
        self.embedding_model = Mem0Embedder(embedder, context)
        self.vector_store = ScopedVectorStore(store, unit, self.ids, embedder.model)
        self.llm = Mem0Llm(chat, context)
        self.db = ScopedHistory(store)
        self.custom_instructions = None
        self.api_version = _CONFIG.version
        self.collection_name = "memories"
        self.reranker = None
        self._entity_store = None

    def remember(self, text: str, metadata: Mapping[str, Any]) -> None:
        """Extract and stage. Raises what the LLM, the embedder and the store raised, which Mem0 wraps or swallows."""
        try:
            self.add(text, metadata=dict(metadata), **self.ids)
        except LLMError as e:
            if isinstance(e.__cause__, ServiceError):
                raise e.__cause__ from None
            raise
        if self.embedding_model.failure:
            raise self.embedding_model.failure
