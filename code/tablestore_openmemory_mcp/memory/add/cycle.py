"""Mem0's cycle: extract facts, find related memories, let the LLM decide ADD, UPDATE, DELETE or NONE, commit."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ...errors import (
    BudgetSpent,
    DimensionMismatch,
    LimitExceeded,
    ModelDenied,
    ModelError,
    ModelTimedOut,
    ModelUnavailable,
)
from ...settings import Settings
from ...store.model import Memory, Snapshot
from ..commit_retry import write
from ..context import AddContext, ScopeContext
from ..mem0.engine import AdditiveMem0, ScopedMem0, prompts
from ..model import AddResult
from ..models.budget import Counts, MeteredChat
from ..models.chat import ChatModel
from ..models.embedder import AddEmbedder
from ..models.structured_output import Chat, NotUnderstood
from ..search.scope_index import ScopeIndex
from ..unembeddable import marked, without_vector
from ..unit_of_work import UnitOfWork, is_living
from ..validation import likeness_key
from .deduplication import asked, sign, stands
from .extraction import Extracted, extract
from .fallback import MARK, pending, timed_out, unmarked
from .forget_commands import is_command, is_forgetting, is_instruction
from .grounding import Grounding
from .planner import Decider, Planner, within
from .small_talk import is_small_talk

logger = logging.getLogger(__name__)

NOTHING_WORTH = "Nothing in the text was worth remembering; nothing was stored."
ALL_KNOWN = "All of it is already remembered; nothing was changed."
KNOWN_FOR_LONGER = "All of it is already remembered, now for longer."
A_COMMAND = (
    "The text asks something of the memory itself, which no add does; nothing was stored or deleted. "
    "delete_all_memories forgets everything."
)
NOTHING_TO_FORGET = "No memory was found that says what is to be forgotten; nothing was changed."
TRUNCATED = "The LLM stopped half-way: the last of what was said may be missing."
_TO_FALL_BACK = 0.2  # share of an add's time that is kept for storing verbatim, if that is what an outage leads to


class AddCycle:
    """Thread-safe: one for the process. Each add gets a Mem0 of its own, bound to the scope."""

    def __init__(self, settings: Settings, chat: ChatModel, counts: Callable[[], Counts]) -> None:
        """`counts` tells where LLM calls are counted; asked only if there is a budget."""
        self._settings = settings
        self._chat = chat
        self._counts = counts
        self._prompts = prompts(settings.mem0_fact_extraction_prompt, settings.mem0_update_memory_prompt)
        self._grounding = Grounding(self._prompts.extraction("")[0]["content"])
        self._additive = settings.pipeline == "additive"
        self._falls_back = settings.add_fallback == "verbatim"

    def run(self, scoped: ScopeContext, text: str, context: AddContext) -> AddResult:
        """What `text` did to the scope. Raises LimitExceeded, Busy, a ModelError or a StoreError; then nothing was."""
        base = scoped.store.snapshot(deadline=context.deadline)
        if stands(base, self._name(text, context)):
            return AddResult([], ALL_KNOWN)
        if scoped.embedder:
            scoped = replace(scoped, embedder=AddEmbedder(scoped.embedder))
        remaining = context.deadline - time.monotonic()
        hurried = (
            replace(context, deadline=context.deadline - _TO_FALL_BACK * remaining) if self._falls_back else context
        )
        try:
            if self._additive:
                return self._add_only(scoped, base, text, hurried)
            base = self._caught_up(scoped, base, hurried, context.deadline)
            if stands(base, self._name(text, context)):
                return AddResult([], ALL_KNOWN)
            return self._by_way_of_mem0(scoped, base, text, hurried)
        except NotUnderstood as e:  # losing what a person wanted remembered is worse than storing it whole
            return self._verbatim(scoped, text, context, e)
        except (ModelUnavailable, ModelDenied) as e:
            if not self._falls_back:
                raise
            return self._verbatim(scoped, text, context, e)

    def _by_way_of_mem0(self, scoped: ScopeContext, base: Snapshot, text: str, context: AddContext) -> AddResult:
        def step(text: str, metadata: Mapping[str, Any]) -> AddResult:
            return self._remember(scoped, base, text, replace(context, metadata=metadata))[0]

        return ScopedMem0(scoped.store.scope, step).remember(text, context.metadata)

    def _remember(
        self, scoped: ScopeContext, base: Snapshot, text: str, context: AddContext, replaces: str | None = None
    ) -> tuple[AddResult, Snapshot]:
        """What came of `text`, and the scope after it."""
        chat = self._metered(scoped)
        extracted = extract(chat, self._prompts, text, context, self._grounding, scoped.embedder)
        if not extracted.facts and not replaces:
            return AddResult([], NOTHING_WORTH), base
        if extracted.truncated and replaces:  # nobody is there to be told that the end is missing
            raise NotUnderstood(TRUNCATED)
        decider = Decider(chat, self._prompts, self._settings.max_deletions_per_add)
        planner = Planner(extracted.facts, context, scoped, decider, replaces)

        def make(latest: Snapshot) -> UnitOfWork:
            unit = marked(planner.unit(latest), scoped.embedder)
            whole = not extracted.truncated and not extracted.invented and not planner.withheld
            return sign(unit, self._name(text, context)) if whole else unit

        unit, after = write(scoped.store, make, context.deadline, base)
        notes = [] if unit.outcomes else [_why_nothing(extracted.facts, unit)]
        notes += [*_left_out(extracted), *without_vector(unit, scoped.embedder)]
        if planner.withheld:
            notes.append(f"{planner.withheld} deletions were left out, as too many (see MAX_DELETIONS_PER_ADD).")
        return AddResult(unit.outcomes, " ".join(notes) or None), after

    def _add_only(self, scoped: ScopeContext, base: Snapshot, text: str, context: AddContext) -> AddResult:
        """Mem0's own pipeline; of what it extracted, what is not yet known is added."""
        if scoped.embedder is None:
            raise ValueError("Mem0's own pipeline needs an embedder")
        drawn = UnitOfWork(base, context.actor)
        mem0 = AdditiveMem0(scoped.store, drawn, scoped.embedder, self._metered(scoped), context)
        mem0.remember(text, context.metadata)
        if not drawn.changes:
            return AddResult([], NOTHING_WORTH)
        context.progress("writing")

        def make(latest: Snapshot) -> UnitOfWork:
            new = _unknown_of(drawn, latest, scoped.index, context.expires_at)
            unit = within(marked(new, scoped.embedder), scoped.max_memories)
            return unit if mem0.llm.truncated else sign(unit, self._name(text, context))

        unit, _ = write(scoped.store, make, context.deadline, base)
        facts = [change.new.text for change in drawn.changes if change.new and not is_small_talk(change.new.text)]
        notes = ([] if unit.changes else [_why_nothing(facts, unit) if facts else NOTHING_WORTH]) + (
            [TRUNCATED] if mem0.llm.truncated else []
        )
        notes += without_vector(unit, scoped.embedder)
        return AddResult(unit.outcomes, " ".join(notes) or None)

    def _caught_up(self, scoped: ScopeContext, base: Snapshot, context: AddContext, deadline: float) -> Snapshot:
        """The scope after what an outage left was reconciled, before anything newer. An LLM that is still away ends
        it; `deadline`: until when that can be noted."""
        for memory in pending(base):
            plain = unmarked(memory)
            theirs = replace(context, metadata=plain.metadata, expires_at=memory.expires_at)
            try:
                _, base = self._remember(scoped, base, memory.text, theirs, replaces=memory.id)
            except ModelTimedOut:
                write(scoped.store, partial(_touched, new=timed_out(memory)), deadline, base)
                raise
            except (ModelUnavailable, ModelDenied, DimensionMismatch):
                raise
            except BudgetSpent:
                raise
            except (ModelError, LimitExceeded) as e:  # not understood, filtered, too large: it would let no add pass
                logger.warning("a text from an outage stays word for word: %s", e)
                _, base = write(scoped.store, partial(_touched, new=plain), context.deadline, base)
        return base

    def _verbatim(self, scoped: ScopeContext, text: str, context: AddContext, why: ModelError) -> AddResult:
        if is_command(text):
            return AddResult([], A_COMMAND)
        waiting = context if self._additive else replace(context, metadata={**context.metadata, **MARK})
        try:
            planner = Planner([text], waiting, scoped)
        except ModelError as e:  # the embedder is away as well: a later search gives the text its vector
            logger.info("stored without a vector: %s", e)
            planner = Planner([text], waiting, replace(scoped, embedder=None))

        def make(latest: Snapshot) -> UnitOfWork:
            return marked(planner.unit(latest), scoped.embedder)

        unit, _ = write(scoped.store, make, context.deadline)
        if not unit.changes:
            return AddResult([], ALL_KNOWN)
        later = "." if self._additive else "; a later add will sort it in."
        return AddResult(unit.outcomes, f"{why}. The text was stored word for word{later}")

    def _metered(self, scoped: ScopeContext) -> Chat:
        per_day = self._settings.llm_calls_per_user_per_day
        return MeteredChat(self._chat, self._counts(), scoped.store.scope.user_id, per_day) if per_day else self._chat

    def _name(self, text: str, context: AddContext) -> str:
        """Names what is asked about `text`: with other prompts, by another model, on another day, it is another."""
        own = self._settings.mem0_update_memory_prompt or ""
        question = [message["content"] for message in self._prompts.extraction(text)]
        return asked(self._settings.pipeline, self._settings.llm_model, own, str(context.expires_at), *question)


def _left_out(extracted: Extracted) -> Sequence[str]:
    notes = [TRUNCATED] if extracted.truncated else []
    if extracted.invented:
        one = extracted.invented == 1
        what, they = ("One fact", "it") if one else (f"{extracted.invented} facts", "them")
        notes.append(f"{what} that the LLM gave {'was' if one else 'were'} left out, as the text does not say {they}.")
    return notes


def _why_nothing(facts: Sequence[str], unit: UnitOfWork) -> str:
    if all(map(is_instruction, facts)):
        return A_COMMAND
    if any(map(is_forgetting, facts)):
        return NOTHING_TO_FORGET
    return KNOWN_FOR_LONGER if unit.prolongs else ALL_KNOWN


def _touched(base: Snapshot, new: Memory) -> UnitOfWork:
    unit = UnitOfWork(base)
    if unit.get(new.id) is not None:
        unit.touch(new)
    return unit


def _unknown_of(drawn: UnitOfWork, base: Snapshot, index: ScopeIndex, expires_at: int | None) -> UnitOfWork:
    """The memories of `drawn` that `base` does not hold, staged on it until `expires_at`; no command to the model."""
    unit = UnitOfWork(base, drawn.actor)
    known = set(index.alike(base, (m for m in base.memories.values() if is_living(m, unit.now))))
    for new in (c.new for c in drawn.changes if c.new):
        key = likeness_key(new.text)
        if key not in known and not is_instruction(new.text) and not is_small_talk(new.text):
            known.add(key)
            unit.add(new.text, new.vector, new.vector_model, metadata=new.metadata, expires_at=expires_at)
    return unit
