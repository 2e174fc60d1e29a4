"""What facts change in a scope: compared with what is there, decided by the LLM where it matters, staged as a unit.

Called again when another writer was first: the LLM is asked again only if what the facts are related to has changed.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import Busy, LimitExceeded
from ...store.model import Memory, Snapshot
from ..context import AddContext, ScopeContext
from ..models.answer_parsing import Decision, Unparseable, decisions_in, sound
from ..models.answer_schemas import update_form
from ..models.embedder import BATCH, AddEmbedder, Embedder, row
from ..models.prompts import Prompts
from ..models.structured_output import Chat, ask
from ..search.cosine_spread import Spread, script
from ..unit_of_work import UnitOfWork, is_living, outlives
from ..validation import likeness_key
from .fallback import is_pending
from .llm_decisions import ASKED_FOR, Fact, Operation, Settled, contested, settle
from .similar_memories import Nearby, nearest, spread_of

_MOST_ASKED = 3  # one decision, and two more after conflicts
_CLOSEST = 5  # a newcomer among so many of a fact's nearest may be what it is about
_MOST_SHOWN = 40  # memories in one prompt
_LONGEST_SHOWN = 24_000  # characters of them together
_UNLEARNT = 1.0  # deviations that meaning proves at most, before it is known what the embedder's cosines are worth
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)、])\s*")

Said = tuple[str, int | None]  # see _said


def within(unit: UnitOfWork, max_memories: int) -> UnitOfWork:
    """`unit`. Raises LimitExceeded if it adds to a scope that would then hold more than `max_memories`."""
    if any(c.event == "ADD" for c in unit.changes) and unit.living > max_memories:
        raise LimitExceeded(
            f"This memory is full ({max_memories:,}); nothing was stored. Delete some first", setting="MAX_MEMORIES"
        )
    return unit


class Decides(Protocol):
    """Who says what is to be done about facts that are not there word for word."""

    # Whether it asks an LLM: only where something is near, and not about texts that wait to be worked in.
    asks: ClassVar[bool]

    def decide(self, facts: Sequence[Fact], context: AddContext) -> Settled: ...


class Planner:
    """Makes the unit of one add. For one thread; `withheld` counts deletions beyond the bound, after `unit`."""

    def __init__(
        self,
        facts: Sequence[str],
        context: AddContext,
        scoped: ScopeContext,
        decider: Decides | None = None,
        replaces: str | None = None,
    ) -> None:
        """Without a `decider` every new fact is added. `replaces`: a memory whose text the facts came from."""
        self._context = context
        self._scoped = scoped
        self._embedder = scoped.embedder
        self._decider = decider
        self._replaces = replaces
        self._texts = list({likeness_key(f): f for f in reversed(facts)}.values())[::-1]
        self._vectors = self._embed(scoped.embedder) if scoped.embedder else None
        self._settled: Settled | None = None
        self._planned: frozenset[str] = frozenset()
        self._shown: dict[str, Said] = {}

    def _embed(self, embedder: Embedder) -> NDArray[np.float32]:
        """The texts' vectors. Where it is not known how the embedder's cosines spread, sentences that tell it travel
        in the same request, if there is room."""
        room = BATCH - len(self._texts)
        if self._decider and room > 0 and isinstance(embedder, AddEmbedder) and not embedder.knows(self._texts):
            spreads, written = self._scoped.index.spreads, script("\n".join(self._texts))
            telling = spreads.wanted(embedder.model, written, room)
            told = embedder.learn(self._texts, telling, deadline=self._context.deadline) if telling else None
            if told is not None:
                spreads.told(embedder.model, written, telling, told)
        return embedder.embed(self._texts, deadline=self._context.deadline)

    @property
    def withheld(self) -> int:
        return self._settled.withheld if self._settled else 0

    def unit(self, base: Snapshot) -> UnitOfWork:
        """The changes on top of `base`; none if everything is known. Raises LimitExceeded, Busy or a ModelError."""
        unit = UnitOfWork(base, actor=self._context.actor)
        if self._replaces and unit.get(self._replaces) is None:
            return unit  # another instance was first
        living = [m for m in base.memories.values() if is_living(m, unit.now) and not self._is_unsorted(m)]
        known = self._scoped.index.alike(base, living)
        settled = self._settle(base, known, living)
        self._context.progress("writing")
        self._stage_all(unit, settled.operations, known)
        return within(unit, self._scoped.max_memories)

    def _settle(self, base: Snapshot, known: dict[str, Memory], living: Sequence[Memory]) -> Settled:
        """What is to be done, decided anew only if what was decided does not hold for `base`."""
        facts = self._facts(base, known, living)
        if self._settled is None or not self._holds(base, facts):
            self._settled = self._embedded(self._decide(facts))
            self._planned = frozenset(f.text for f in facts)
            self._shown = {m.id: _said(m) for fact in facts for m in fact.near}
        return self._settled

    def _stage_all(self, unit: UnitOfWork, operations: Sequence[Operation], known: Mapping[str, Memory]) -> None:
        """`known`: the memories of `unit`'s base by what they say."""
        leaving = {operation.memory_id for operation in operations}
        staying = {key: memory for key, memory in known.items() if memory.id not in leaving}
        for operation in operations:
            self._stage(unit, operation, staying)
        self._prolong(unit, staying)
        if self._replaces:
            unit.delete(self._replaces, reason="reconciled")

    def _holds(self, base: Snapshot, facts: Sequence[Fact]) -> bool:
        """Whether what was settled is true of `base` too: all that was shown is as it was, and nothing that was not
        shown has come up among the closest."""
        known = base.memories
        closest = {m.id: _said(m) for fact in facts for m in fact.near[:_CLOSEST]}
        return (
            {f.text for f in facts} <= self._planned
            and all(i in known and _said(known[i]) == said for i, said in self._shown.items())
            and closest.items() <= self._shown.items()
        )

    def _is_unsorted(self, memory: Memory) -> bool:
        """What waits to be sorted in is compared with nothing: it is not a fact yet."""
        asks = self._decider is not None and self._decider.asks
        return memory.id == self._replaces or (asks and is_pending(memory))

    def _facts(self, base: Snapshot, known: dict[str, Memory], living: Sequence[Memory]) -> list[Fact]:
        new = [i for i, text in enumerate(self._texts) if not _is_known(text, known)]
        texts = [self._texts[i] for i in new]
        vectors: NDArray[np.float32] | None = None if self._vectors is None else self._vectors[new]
        facts = [Fact(text, row(vectors, n)) for n, text in enumerate(texts)]
        if self._decider is None:
            return facts
        sparing = self._decider.asks
        found = nearest(base, self._scoped, texts, vectors, living, self._context.deadline, sparing=sparing)
        return [
            replace(
                fact,
                near=near.memories,
                deviations=_deviations(near, spread_of(base, self._scoped, fact.text)),
                cosines={m.id: c for m, c in zip(near.memories, near.cosines.tolist(), strict=True) if c == c},
            )
            for fact, near in zip(facts, found, strict=True)
        ]

    def _decide(self, facts: Sequence[Fact]) -> Settled:
        if self._decider is None:
            return Settled([Operation("ADD", f.text, vector=f.vector) for f in facts])
        return self._decider.decide(facts, self._context)

    def _embedded(self, settled: Settled) -> Settled:
        """With a vector for each text that the model has written anew."""
        texts = list({o.text: None for o in settled.operations if o.text and o.vector is None})
        if not texts or self._embedder is None:
            return settled
        made = self._embedder.embed(texts, deadline=self._context.deadline)
        vectors = {text: row(made, n) for n, text in enumerate(texts)}
        operations = [o if o.vector is not None else replace(o, vector=vectors.get(o.text)) for o in settled.operations]
        return replace(settled, operations=operations)

    def _stage(self, unit: UnitOfWork, operation: Operation, known: dict[str, Memory]) -> None:
        """`known`: what is said already, by memories that keep their text, or by what was staged before."""
        context = self._context
        model = self._embedder.model if self._embedder and operation.vector is not None else None
        target = unit.get(operation.memory_id) if operation.memory_id else None
        twin = known.get(likeness_key(operation.text)) if operation.text else None
        if operation.event == "DELETE":
            if target and (operation.reason == ASKED_FOR or not outlives(target, context.expires_at)):
                unit.delete(target.id, reason=operation.reason)
        elif target and twin and twin.id != target.id and not outlives(target, twin.expires_at):
            unit.delete(target.id, reason=f"says the same as {twin.id}")
        elif target and not outlives(target, context.expires_at):
            known[likeness_key(operation.text)] = unit.update(
                target.id,
                operation.text,
                operation.vector,
                model,
                expires_at=context.expires_at or 0,
                reason=operation.reason,
            )
        elif not twin:
            known[likeness_key(operation.text)] = unit.add(
                operation.text,
                operation.vector,
                model,
                metadata=context.metadata,
                expires_at=context.expires_at,
                reason=operation.reason,
            )

    def _prolong(self, unit: UnitOfWork, known: Mapping[str, Memory]) -> None:
        """What is said again for longer, or forever, is remembered for as long."""
        until = self._context.expires_at
        for memory in (known.get(likeness_key(text)) for text in self._texts):
            if memory and memory.expires_at is not None and (until is None or until > memory.expires_at):
                unit.touch(replace(memory, expires_at=until))


def _said(memory: Memory) -> Said:
    """What a decision about `memory` rests on. Not its revision: what others of this process have staged has none yet,
    and a new vector changes it."""
    return memory.text, memory.expires_at


def _deviations(near: Nearby, spread: Spread) -> dict[str, float]:
    """How far the cosine of each near memory is above that of unrelated texts, in standard deviations."""
    most = math.inf if spread.learnt else _UNLEARNT
    pairs = zip(near.memories, spread.z(near.cosines).tolist(), strict=True)
    return {memory.id: min(z, most) for memory, z in pairs if not math.isnan(z)}


def _is_known(text: str, known: Mapping[str, Memory]) -> bool:
    """Whether `text` says what a memory says, or lists memories line by line, as a client that recalled them does."""
    lines = [_BULLET.sub("", line) for line in text.splitlines() if line.strip()]
    return likeness_key(text) in known or all(likeness_key(line) in known for line in lines)


class Decider:
    """Asks the LLM about one add, at most _MOST_ASKED times."""

    asks: ClassVar[bool] = True

    def __init__(self, chat: Chat, prompts: Prompts, max_deletions: int) -> None:
        self._chat = chat
        self._prompts = prompts
        self._max_deletions = max_deletions
        self._asked = 0

    def decide(self, facts: Sequence[Fact], context: AddContext) -> Settled:
        """What is to be done about `facts`; the LLM is not asked when nothing is near. Raises Busy or a ModelError."""
        shown = _shown(facts)
        if not shown:
            return settle(facts, {}, (), self._max_deletions)
        if self._asked == _MOST_ASKED:
            raise Busy("Others kept changing what this is about; nothing was stored")
        self._asked += 1
        context.progress(f"comparing with {len(shown)} {'memory' if len(shown) == 1 else 'memories'}")
        asked_about = [f.text for f in contested(facts)]
        messages = self._prompts.update({alias: m.text for alias, m in shown.items()}, asked_about)
        form = update_form([m.text for m in shown.values()], asked_about)
        given = "\n".join([*(m.text for m in shown.values()), *asked_about])
        objection = partial(_damage, given=given)
        parsed = ask(self._chat, messages, decisions_in, deadline=context.deadline, form=form, objection=objection)
        decisions: list[Decision] = parsed.value
        whole = [replace(d, text="") if _damage([d], given) else d for d in decisions]
        return settle(facts, shown, whole, self._max_deletions)


def _damage(decisions: Sequence[Decision], given: str) -> str | None:
    """What is broken in a text that one of `decisions` would write over a memory; None if nothing is."""
    try:
        for decision in decisions:
            if decision.event == "UPDATE":
                sound(decision.text, given)
    except Unparseable as e:
        return str(e)
    return None


def _shown(facts: Sequence[Fact]) -> dict[str, Memory]:
    """The memories to show, under small numbers for ids: the nearest of every fact first, within the bounds."""
    most = max((len(f.near) for f in facts), default=0)
    ranked = [f.near[rank] for rank in range(most) for f in facts if rank < len(f.near)]
    chosen: dict[str, Memory] = {}
    size = 0
    for memory in ranked:
        if memory.id not in chosen and len(chosen) < _MOST_SHOWN and size + len(memory.text) <= _LONGEST_SHOWN:
            chosen[memory.id] = memory
            size += len(memory.text)
    return {str(n): memory for n, memory in enumerate(chosen.values())}
