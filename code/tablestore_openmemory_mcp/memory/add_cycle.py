"""Mem0's cycle: extract facts, find related memories, let the LLM decide ADD, UPDATE, DELETE or NONE, commit."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..settings import Settings
from ..store.model import ScopeStore
from .embedder import Embedder
from .extraction import extract
from .job import Job
from .llm import ChatModel
from .mem0_engine import ScopedMem0, prompts
from .model import AddResult, Outcome
from .planner import Decider, Planner
from .scope_index import ScopeIndex
from .writing import write

NOTHING_WORTH = "Nothing in the text was worth remembering; nothing was stored."
ALL_KNOWN = "All of it is already remembered; nothing was changed."


class AddCycle:
    """Thread-safe: one for the process. Each add gets a Mem0 of its own, bound to the scope."""

    def __init__(self, settings: Settings, chat: ChatModel, embedder: Embedder | None) -> None:
        self._settings = settings
        self._chat = chat
        self._embedder = embedder
        self._prompts = prompts(settings.mem0_fact_extraction_prompt, settings.mem0_update_memory_prompt)

    def run(self, store: ScopeStore, index: ScopeIndex, text: str, job: Job) -> AddResult:
        """What `text` did to the scope. Raises LimitExceeded, Busy, a ModelError or a StoreError; then nothing was."""
        done: list[AddResult] = []

        def step(said: str, metadata: Mapping[str, Any]) -> Sequence[Outcome]:
            done.append(self._remember(store, index, said, job, metadata))
            return done[0].results

        ScopedMem0(store.scope, step).remember(text, job.metadata)
        return done[0]

    def _remember(
        self, store: ScopeStore, index: ScopeIndex, text: str, job: Job, metadata: Mapping[str, Any]
    ) -> AddResult:
        extracted = extract(self._chat, self._prompts, text, job)
        if not extracted.facts:
            return AddResult([], NOTHING_WORTH)
        decider = Decider(self._chat, self._prompts, self._settings.max_deletions_per_add)
        planner = Planner(extracted.facts, job, index, self._embedder, decider, self._settings.max_memories)
        job.progress("writing")
        unit, _ = write(store, planner.unit, job.deadline)
        notes = [] if unit.changes else [ALL_KNOWN]
        if extracted.torn:
            notes.append("The LLM stopped half-way: the last of what was said may be missing.")
        if planner.withheld:
            notes.append(
                f"{planner.withheld} deletions were left out: too many for one call (see MAX_DELETIONS_PER_ADD)."
            )
        return AddResult(unit.outcomes, " ".join(notes) or None)
