"""From what a model decided to what is done: never an invented id, never a fact lost, never more than was shown.

Mem0's prompt answers per old memory, not per fact, so that a fact which no entry mentions would be lost without a word
(mem0 #3009); a contradiction deletes the old memory and keeps nothing (#4536); an UPDATE may come back with the old
text (#3733) and with ids that were never shown (#3931). Each is settled here, in favour of what the person said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..store.model import Memory, Vector
from .forgetting import is_forgetting
from .parsing import Decision
from .text import likeness_key
from .tokens import containment

_SAYS = 0.5  # share of a fact's terms in a text from which the text is taken to say the fact
_TOUCHES = 0.2  # share from which a rewritten text is taken to be about the fact at all


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """Something said, and the memories of the scope near enough to be about the same (nearest first).

    `close`: whether the nearest may well say the same; if not, it is shown in case the fact contradicts it.
    """

    text: str
    vector: Vector | None = None
    near: Sequence[Memory] = ()
    close: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """`vector` is None when `text` is new and has to be embedded. `text` is empty for DELETE."""

    event: Literal["ADD", "UPDATE", "DELETE"]
    text: str
    memory_id: str | None = None
    vector: Vector | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """`withheld`: how many deletions were asked for beyond the bound, and not done."""

    operations: Sequence[Operation]
    withheld: int = 0


def settle(
    facts: Sequence[Fact], shown: Mapping[str, Memory], decisions: Sequence[Decision], max_deletions: int
) -> Settled:
    """What to do about `facts`, given the model's `decisions` on the `shown` memories (by alias)."""
    settling = _Settling(facts, _by_memory(shown, decisions))
    settling.updates()
    settling.additions([d.text for d in decisions if _is_addition(d, shown)])
    settling.confirmations(_stray_confirmations(shown, decisions))
    withheld = settling.deletions(max_deletions)
    settling.leftovers()
    return Settled(settling.operations, withheld)


def _alike(a: str, b: str) -> bool:
    return likeness_key(a) == likeness_key(b)


def _resolved(shown: Mapping[str, Memory], decision: Decision) -> Memory | None:
    """The shown memory that is meant: by its exact text, which models copy more faithfully, else by its alias."""
    if decision.event == "ADD":
        return None
    by_alias = shown.get(decision.id) if decision.id is not None else None
    said = [decision.old_text, decision.text]
    if decision.event == "UPDATE" and by_alias:
        said = [decision.old_text]  # the text is the new one, and may be another memory's by chance
    for text in filter(None, said):
        meant = [memory for memory in shown.values() if _alike(memory.text, text)]
        if meant:
            return by_alias if by_alias in meant else meant[0]
    return by_alias


def _by_memory(shown: Mapping[str, Memory], decisions: Sequence[Decision]) -> dict[str, tuple[Memory, Decision]]:
    """One decision per memory: the first UPDATE, else the first DELETE, else the NONE."""
    rank = {"UPDATE": 2, "DELETE": 1, "NONE": 0}
    chosen: dict[str, tuple[Memory, Decision]] = {}
    for decision in decisions:
        memory = _resolved(shown, decision)
        if memory and (memory.id not in chosen or rank[decision.event] > rank[chosen[memory.id][1].event]):
            chosen[memory.id] = (memory, decision)
    return chosen


def _is_addition(decision: Decision, shown: Mapping[str, Memory]) -> bool:
    return decision.event == "ADD" or (decision.event == "UPDATE" and _resolved(shown, decision) is None)


def _stray_confirmations(shown: Mapping[str, Memory], decisions: Sequence[Decision]) -> list[str]:
    return [d.text for d in decisions if d.event == "NONE" and _resolved(shown, d) is None]


@dataclass(slots=True)
class _Settling:
    facts: Sequence[Fact]
    decided: Mapping[str, tuple[Memory, Decision]]
    operations: list[Operation] = field(default_factory=list)
    _answered: set[int] = field(default_factory=set)

    def updates(self) -> None:
        for memory, decision in self._with("UPDATE"):
            i = self._best_fact(decision.text or memory.text, memory)
            text = decision.text
            if i is not None and (not text or _alike(text, memory.text) or self._share(i, text) < _TOUCHES):
                text = self.facts[i].text  # the old text back (mem0 #3733), something else, or a translation
            if not text or _alike(text, memory.text) or any(_alike(text, o.text) for o in self.operations):
                continue
            if i is None and all(self._share(n, text) < _TOUCHES for n in range(len(self.facts))):
                continue
            self._do("UPDATE", text, memory, reason="corrected")
            self._answer([n for n in self._open() if n == i or self._says(text, n)])

    def additions(self, texts: Sequence[str]) -> None:
        for text in texts:
            i = self._said_by(text)
            if i is not None:
                self._do("ADD", text if self._says(text, i) else self.facts[i].text)  # never a part for the whole
                self._answer([n for n in self._open() if n == i or self._says(text, n)])

    def confirmations(self, strays: Sequence[str]) -> None:
        """A NONE says that a fact is known; it counts where the memory is the fact's nearest and close, or says it."""
        for i in self._open():
            fact = self.facts[i]
            known = [m for m in fact.near if m.id in self.decided and self.decided[m.id][1].event == "NONE"]
            nearest = fact.close and bool(known) and known[0].id == fact.near[0].id
            if nearest or any(self._says(m.text, i) for m in known) or any(self._says(text, i) for text in strays):
                self._answer([i])

    def deletions(self, bound: int) -> int:
        """A contradicted memory is superseded in place; only one that is to be forgotten, or has gone into an addition,
        is deleted. At most `bound` are, the nearest first; returns how many more the model wanted."""
        wanted = []
        for memory, _ in sorted(self._with("DELETE"), key=lambda pair: self._rank(pair[0])):
            i = self._best_fact(memory.text, memory)
            if i is None or self._to_forget(memory):
                wanted.append(memory)
            else:
                self._do("UPDATE", self.facts[i].text, memory, reason="superseded")
                self._answer([i])
        for memory in wanted[:bound]:
            self._do("DELETE", "", memory, reason="asked for" if self._to_forget(memory) else "contradicted")
        return max(0, len(wanted) - bound)

    def leftovers(self) -> None:
        for i in self._open():
            if not is_forgetting(self.facts[i].text):
                self._do("ADD", self.facts[i].text, reason="undecided" if self.facts[i].near else None)

    def _to_forget(self, memory: Memory) -> bool:
        return any(is_forgetting(fact.text) and memory in fact.near for fact in self.facts)

    def _rank(self, memory: Memory) -> int:
        return min((list(f.near).index(memory) for f in self.facts if memory in f.near), default=99)

    def _with(self, event: str) -> list[tuple[Memory, Decision]]:
        return [(memory, decision) for memory, decision in self.decided.values() if decision.event == event]

    def _open(self) -> list[int]:
        return [i for i in range(len(self.facts)) if i not in self._answered]

    def _answer(self, facts: Sequence[int]) -> None:
        self._answered.update(facts)

    def _share(self, i: int, text: str) -> float:
        return containment(self.facts[i].text, text)

    def _says(self, text: str, i: int) -> bool:
        return self._share(i, text) >= _SAYS

    def _best_fact(self, text: str, memory: Memory) -> int | None:
        """The open fact near `memory` that `text` says most of; among equals the one that `memory` is nearest to."""
        near = {i: [m.id for m in self.facts[i].near] for i in self._open()}
        about = [i for i, ids in near.items() if memory.id in ids]
        key = {i: (self._share(i, text), -near[i].index(memory.id)) for i in about}
        return max(about, key=key.__getitem__, default=None)

    def _said_by(self, text: str) -> int | None:
        """The open fact that an added `text` stands for; None for a copy, an echo of a prompt, or an old memory."""
        likeness = {i: max(self._share(i, text), containment(text, self.facts[i].text)) for i in self._open()}
        best = max(likeness, key=likeness.__getitem__, default=None)
        return best if best is not None and likeness[best] >= _TOUCHES else None

    def _do(
        self,
        event: Literal["ADD", "UPDATE", "DELETE"],
        text: str,
        memory: Memory | None = None,
        reason: str | None = None,
    ) -> None:
        vector = next((f.vector for f in self.facts if f.text == text), None)
        self.operations.append(Operation(event, text, memory.id if memory else None, vector, reason))
