"""Mem0's cycle: extract facts, find related memories, let the LLM decide ADD, UPDATE, DELETE or NONE, commit."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..errors import ModelDenied, ModelError, ModelNonsense, ModelUnavailable
from ..settings import Settings
from ..store.model import Memory, Snapshot
from .extraction import extract
from .guards import Budget, MeteredChat
from .job import Job, Place
from .llm import ChatModel
from .mem0_engine import AdditiveMem0, ScopedMem0, prompts
from .model import AddResult, Outcome
from .outage import MARK, pending
from .planner import Decider, Planner
from .reconcile import is_forgetting
from .repeats import Repeats
from .scope_index import ScopeIndex
from .text import likeness_key
from .unit import Unit, is_living
from .writing import write

logger = logging.getLogger(__name__)

NOTHING_WORTH = "Nothing in the text was worth remembering; nothing was stored."
ALL_KNOWN = "All of it is already remembered; nothing was changed."
NOTHING_TO_FORGET = "No memory was found that says what is to be forgotten; nothing was changed."
_TO_FALL_BACK = 0.2  # share of an add's time that is kept for storing word for word, if that is what an outage leads to


class AddCycle:
    """Thread-safe: one for the process. Each add gets a Mem0 of its own, bound to the scope."""

    def __init__(self, settings: Settings, chat: ChatModel) -> None:
        self._settings = settings
        self._chat = chat
        self._prompts = prompts(settings.mem0_fact_extraction_prompt, settings.mem0_update_memory_prompt)
        self._budget = Budget(settings.llm_calls_per_user_per_day)
        self._repeats = Repeats()
        self._falls_back = settings.add_fallback == "verbatim"

    def run(self, place: Place, text: str, job: Job) -> AddResult:
        """What `text` did to the scope. Raises LimitExceeded, Busy, a ModelError or a StoreError; then nothing was."""
        scope = place.store.scope
        if self._repeats.heard(scope, text) and self._repeats.stands(place.store.snapshot(deadline=job.deadline), text):
            return AddResult([], ALL_KNOWN)
        if self._settings.pipeline == "additive":
            return self._add_only(place, text, job)
        if not self._falls_back:
            return self._by_way_of_mem0(place, text, job)
        remaining = job.deadline - time.monotonic()
        hurried = replace(job, deadline=job.deadline - _TO_FALL_BACK * remaining)
        try:
            self._catch_up(place, hurried)
            return self._by_way_of_mem0(place, text, hurried)
        except (ModelUnavailable, ModelDenied) as e:
            return self._word_for_word(place, text, job, e)

    def _by_way_of_mem0(self, place: Place, text: str, job: Job) -> AddResult:
        done: list[AddResult] = []

        def step(said: str, metadata: Mapping[str, Any]) -> Sequence[Outcome]:
            done.append(self._remember(place, said, replace(job, metadata=metadata)))
            return done[0].results

        ScopedMem0(place.store.scope, step).remember(text, job.metadata)
        return done[0]

    def _remember(self, place: Place, text: str, job: Job, replaces: str | None = None) -> AddResult:
        chat = MeteredChat(self._chat, self._budget, place.store.scope.user_id)
        extracted = extract(chat, self._prompts, text, job)
        if not extracted.facts and not replaces:
            return AddResult([], NOTHING_WORTH)
        decider = Decider(chat, self._prompts, self._settings.max_deletions_per_add)
        planner = Planner(extracted.facts, job, place, decider, replaces)
        unit, after = write(place.store, planner.unit, job.deadline)
        self._repeats.note(text, unit.outcomes, after)
        notes = [] if unit.outcomes else [_why_nothing(extracted.facts)]
        if extracted.torn:
            notes.append("The LLM stopped half-way: the last of what was said may be missing.")
        if planner.withheld:
            notes.append(f"{planner.withheld} deletions were left out, as too many (see MAX_DELETIONS_PER_ADD).")
        return AddResult(unit.outcomes, " ".join(notes) or None)

    def _add_only(self, place: Place, text: str, job: Job) -> AddResult:
        """Mem0's own pipeline; of what it extracted, what is not yet known is added."""
        if place.embedder is None:
            raise ValueError("Mem0's own pipeline needs an embedder")
        chat = MeteredChat(self._chat, self._budget, place.store.scope.user_id)
        drawn = Unit(place.store.snapshot(deadline=job.deadline), job.actor)
        AdditiveMem0(place.store, drawn, place.embedder, chat, job).remember(text, job.metadata)
        if not drawn.changes:
            return AddResult([], NOTHING_WORTH)
        job.progress("writing")
        unit, _ = write(place.store, lambda base: _unknown_of(drawn, base, place.index), job.deadline)
        return AddResult(unit.outcomes, None if unit.changes else ALL_KNOWN)

    def _catch_up(self, place: Place, job: Job) -> None:
        """Reconcile what an outage left, before anything newer. An LLM that is still away ends it."""
        for memory in pending(place.store.snapshot(deadline=job.deadline)):
            kept = {k: v for k, v in memory.metadata.items() if k not in MARK}
            theirs = replace(job, metadata=kept, expires_at=memory.expires_at)
            try:
                self._remember(place, memory.text, theirs, replaces=memory.id)
            except ModelNonsense as e:  # asked again with every add, it would let none of them pass
                logger.warning("a text from an outage stays word for word: %s", e)
                plain = replace(memory, metadata=kept)
                write(place.store, partial(_touched, new=plain), job.deadline)

    def _word_for_word(self, place: Place, text: str, job: Job, why: ModelError) -> AddResult:
        marked = replace(job, metadata={**job.metadata, **MARK})
        try:
            planner = Planner([text], marked, place)
        except ModelError as e:  # the embedder is away as well: a later search gives the text its vector
            logger.info("stored without a vector: %s", e)
            planner = Planner([text], marked, replace(place, embedder=None))
        unit, _ = write(place.store, planner.unit, job.deadline)
        if not unit.changes:
            return AddResult([], ALL_KNOWN)
        return AddResult(unit.outcomes, f"{why}. The text was stored word for word; a later add will sort it in.")


def _why_nothing(facts: Sequence[str]) -> str:
    return NOTHING_TO_FORGET if any(map(is_forgetting, facts)) else ALL_KNOWN


def _touched(base: Snapshot, new: Memory) -> Unit:
    unit = Unit(base)
    if unit.get(new.id) is not None:
        unit.touch(new)
    return unit


def _unknown_of(drawn: Unit, base: Snapshot, index: ScopeIndex) -> Unit:
    """The memories of `drawn` that `base` does not hold, staged on it."""
    unit = Unit(base, drawn.actor)
    known = set(index.alike(base, (m for m in base.memories.values() if is_living(m, unit.now))))
    for new in (c.new for c in drawn.changes if c.new):
        key = likeness_key(new.text)
        if key not in known:
            known.add(key)
            unit.add(new.text, new.vector, new.vector_model, metadata=new.metadata, expires_at=new.expires_at)
    return unit
