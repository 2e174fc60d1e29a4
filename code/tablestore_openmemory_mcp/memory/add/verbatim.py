"""An add without an LLM: the text is kept word for word.

What may be about the same is told to the assistant at the other end, which is an LLM too, and corrects by id.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from ...store.model import Memory, Snapshot
from ..commit_retry import write
from ..context import AddContext, ScopeContext
from ..model import AddResult, Hit
from ..models.embedder import AddEmbedder
from ..unembeddable import marked, without_vector
from ..unit_of_work import UnitOfWork, is_living, now_ms
from . import same_subject
from .llm_decisions import Fact, Operation, Settled
from .planner import Planner

MOST = 5  # memories that are told
# How strongly a memory must be about the text (same_subject.strength), and what share it must have of what the one has
# that is most so. benchmarks/related.py measures how often a contradicted memory is told, and what beside it.
_LEAST, _BESIDE_THE_BEST = 1.0, 0.25
_LONGEST = 4_000  # characters of all of them together: the assistant pays for each
_SAME = 5.0  # deviations above unrelated texts, for a text that says the same by its words


def add_verbatim(scoped: ScopeContext, text: str, context: AddContext) -> AddResult:
    """What `text` did to the scope. Raises LimitExceeded, Busy, a ModelError or a StoreError; then nothing was done."""
    if scoped.embedder:
        scoped = replace(scoped, embedder=AddEmbedder(scoped.embedder))
    comparison = Comparison()
    planner = Planner([text], context, scoped, comparison)

    def make(base: Snapshot) -> UnitOfWork:
        return marked(planner.unit(base), scoped.embedder)

    unit, after = write(scoped.store, make, context.deadline)
    if not unit.outcomes:
        known = "This is already remembered"
        return AddResult([], f"{known}, now for longer." if unit.prolongs else f"{known}; nothing was changed.")
    note = " ".join(without_vector(unit, scoped.embedder)) or None
    now = now_ms()
    told = [hit for hit in comparison.related() if hit.memory.id in after.memories and is_living(hit.memory, now)]
    return AddResult(unit.outcomes, note, told)


class Comparison:
    """Decides about one add, for a Planner: all is added but what a memory says already."""

    asks: ClassVar[bool] = False

    def __init__(self) -> None:
        self._facts: Sequence[Fact] = ()

    def decide(self, facts: Sequence[Fact], context: AddContext) -> Settled:
        """NONE for each of `facts` that a memory says for as long at least, ADD for all others."""
        self._facts = facts
        new = [fact for fact in facts if not any(_is_said(fact, memory, context) for memory in fact.near)]
        return Settled([Operation("ADD", fact.text, vector=fact.vector) for fact in new])

    def related(self) -> list[Hit]:
        """The memories that may be about the same as what was decided on, the likeliest first; at most MOST."""
        return [hit for fact in self._facts for hit in related_to(fact)][:MOST]


def related_to(fact: Fact) -> list[Hit]:
    """Those of the memories near `fact` that may be about the same, the likeliest first. `score` as of a search."""
    strengths = [same_subject.strength(fact.text, m.text, fact.deviations.get(m.id)) for m in fact.near]
    least = max(_LEAST, _BESIDE_THE_BEST * max(strengths, default=0.0))
    likeliest = sorted(zip(strengths, fact.near, strict=True), key=lambda pair: -pair[0])
    hits: list[Hit] = []
    room = _LONGEST
    for memory in [memory for strength, memory in likeliest if strength >= least][:MOST]:
        if len(memory.text) <= room:
            room -= len(memory.text)
            cosine = fact.cosines.get(memory.id)
            hits.append(Hit(memory, None if cosine is None else float(np.clip((1 + cosine) / 2, 0, 1))))
    return hits


def _is_said(fact: Fact, memory: Memory, context: AddContext) -> bool:
    """Whether `memory` says `fact` already, and will for as long at least. The words have to prove it; the embedder
    must not object."""
    until = context.expires_at
    lasts = memory.expires_at is None or (until is not None and memory.expires_at >= until)
    meaning = fact.deviations.get(memory.id)
    return lasts and (meaning is None or meaning >= _SAME) and same_subject.restates(fact.text, memory.text)
