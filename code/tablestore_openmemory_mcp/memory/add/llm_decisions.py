"""From what a model decided to what is done: never an invented id, never a fact lost, never an unconcerned memory.

Mem0's prompt answers per old memory, not per fact, so that a fact which no entry mentions would be lost without a word
(mem0 #3009); a contradiction deletes the old memory and keeps nothing (#4536); an UPDATE may come back with the old
text (#3733) and with ids that were never shown (#3931). A small model also names the wrong memory, or rewrites one that
nothing was said about. So a decision is a proposal: it is carried out where a fact is evidently about the memory
(same_subject.py), the strongest first, whatever the order they came in. What is in doubt leaves the memory as it is,
and the fact is added beside it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Literal

from ...store.model import Memory, Vector
from ..models.answer_parsing import Decision
from ..validation import likeness_key
from . import same_subject
from .forget_commands import is_forgetting, is_instruction

ASKED_FOR = "asked for"  # the reason of a deletion: the person wants something forgotten

# How strongly a fact must be about a memory (same_subject.strength) for a decision on it. benchmarks/evidence.py
# measures how many of the contradicting pairs, and of the unrelated ones, reach each bar.
_LINKED = 2.2  # the model names the fact that its decision is about
_LINKED_DELETION = 3.0  # and wants the memory deleted: no text of its own shows what it understood
_TO_FORGET = 3.0  # it does not, but the person asks to forget something
_EVIDENT = 4.1  # it does not; by meaning alone only what is hardly ever a coincidence
_UNSAID = 2.0  # more, for an UPDATE whose own text does not say the fact: it may be any slip
_SAME_WORDS = 0.3  # likeness from which an addition is taken to be of a fact
# Share of what the fact's best memory has; below, another memory is meant.
_BESIDE_THE_BEST, _BESIDE_THE_BEST_LINKED = 0.7, 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """Something said, and the memories of the scope near enough to be about the same (nearest first).

    `cosines`: with each near memory, by its id, as far as both have a vector; `deviations`: how far each is above that
    of unrelated texts, in standard deviations.
    """

    text: str
    vector: Vector | None = None
    near: Sequence[Memory] = ()
    deviations: Mapping[str, float] = field(default_factory=dict)
    cosines: Mapping[str, float] = field(default_factory=dict)


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


def contested(facts: Sequence[Fact]) -> list[Fact]:
    """The facts that the model is asked about, in the order in which they are numbered for it, from 1 on."""
    return [fact for fact in facts if fact.near and not is_instruction(fact.text)]


def settle(
    facts: Sequence[Fact], shown: Mapping[str, Memory], decisions: Sequence[Decision], max_deletions: int
) -> Settled:
    """What to do about `facts`, given the model's `decisions` on the `shown` memories (by alias).

    At most `max_deletions` memories are deleted or, where the model wanted that, superseded in place.
    """
    facts = [fact for fact in facts if not is_instruction(fact.text)]
    memories = _Shown(shown)
    proposals = list(_proposals(facts, memories, decisions))
    settling = _Settling(facts, proposals, list(_additions(facts, memories, decisions)), max_deletions)
    settling.updates()
    settling.confirmations()
    settling.deletions()
    settling.remaining()
    return Settled(settling.operations, settling.withheld)


class _Shown(dict[str, Memory]):
    """The memories that the model saw, by alias, and by what they say: each is compared with every decision."""

    def __init__(self, shown: Mapping[str, Memory]) -> None:
        super().__init__(shown)
        self._by_key: dict[str, list[Memory]] = {}
        for memory in shown.values():
            self._by_key.setdefault(likeness_key(memory.text), []).append(memory)

    def alike(self, text: str) -> Sequence[Memory]:
        """Those that say what `text` says."""
        return self._by_key.get(likeness_key(text), ())


@dataclass(frozen=True, slots=True, eq=False)
class _Proposal:
    """One decision on a shown memory. `linked`: the fact that it names, among the contested ones; None for none."""

    memory: Memory
    event: str
    text: str
    linked: frozenset[int]


def _proposals(facts: Sequence[Fact], shown: _Shown, decisions: Sequence[Decision]) -> Iterator[_Proposal]:
    """The decisions that are about a shown memory, the same ones once."""
    seen = set()
    for decision, linked in _linked(facts, shown, decisions):
        memory = _resolved(shown, decision)
        key = (memory.id, decision.event, likeness_key(decision.text), linked) if memory else None
        if memory and key not in seen:
            seen.add(key)
            yield _Proposal(memory, decision.event, decision.text, linked)


def _linked(
    facts: Sequence[Fact], shown: _Shown, decisions: Sequence[Decision]
) -> Iterator[tuple[Decision, frozenset[int]]]:
    """Each decision with the facts that it names, as indices; numbers that no fact has are left out."""
    numbered = [i for i, fact in enumerate(facts) if fact.near]
    first = _first_number([facts[i] for i in numbered], shown, decisions)
    for decision in decisions:
        places = (n - first for n in decision.facts)
        yield decision, frozenset(numbered[n] for n in places if 0 <= n < len(numbered))


def _first_number(numbered: Sequence[Fact], shown: _Shown, decisions: Sequence[Decision]) -> int:
    """The number that the model gives the first fact. Some count from 0, others write 0 where no fact is meant: what
    the decisions are about tells which."""
    said = {n for decision in decisions for n in decision.facts}
    if 0 not in said or len(numbered) in said:
        return 1
    fit = [0.0, 0.0]
    for decision in decisions:
        memory = _resolved(shown, decision)
        for first, n in product((0, 1), decision.facts):
            if 0 <= n - first < len(numbered):
                fact = numbered[n - first]
                deviations = fact.deviations.get(memory.id) if memory else None
                fit[first] += same_subject.strength(fact.text, memory.text if memory else decision.text, deviations)
    return 0 if fit[0] > fit[1] else 1


def _additions(facts: Sequence[Fact], shown: _Shown, decisions: Sequence[Decision]) -> Iterator[int]:
    """The facts that the model calls new: their own words are stored, not the model's."""
    for decision, linked in _linked(facts, shown, decisions):
        if decision.event in ("ADD", "UPDATE") and _resolved(shown, decision) is None:
            yield from linked
            yield from (i for i, f in enumerate(facts) if same_subject.likeness(decision.text, f.text) >= _SAME_WORDS)


def _alike(a: str, b: str) -> bool:
    return likeness_key(a) == likeness_key(b)


def _resolved(shown: _Shown, decision: Decision) -> Memory | None:
    """The shown memory that is meant: by its exact text, which models copy more faithfully, else by its alias."""
    if decision.event == "ADD":
        return None
    by_alias = shown.get(decision.id) if decision.id is not None else None
    said = [decision.old_text, decision.text]
    if decision.event == "UPDATE" and by_alias:
        if by_alias in shown.alike(decision.text):
            return by_alias
        said = [decision.old_text]  # the text is the new one, and may be another memory's by chance
    for text in filter(None, said):
        if meant := shown.alike(text):
            return by_alias if by_alias in meant else meant[0]
    return by_alias


@dataclass(slots=True)
class _Settling:
    facts: Sequence[Fact]
    proposals: Sequence[_Proposal]
    new: Sequence[int]
    bound: int
    operations: list[Operation] = field(default_factory=list)
    withheld: int = 0
    _placed: set[int] = field(default_factory=set)  # facts that an operation, or a memory as it is, says
    _touched: set[str] = field(default_factory=set)  # memories that an operation changes
    _kept: set[str] = field(default_factory=set)  # memories that say a fact
    _strengths: dict[tuple[int, str], float] = field(default_factory=dict)

    def updates(self) -> None:
        for _, i, proposal in self._ranked("UPDATE"):
            if proposal.memory.id not in self._touched and (text := self._rewritten(i, proposal)):
                self._change("UPDATE", text, proposal.memory, "corrected")
                self._place(n for n in self._stated() if self._is_in(text, n, proposal.memory))
                if not self._forgets(i) and (text == self.facts[i].text or self._carried(text, i, proposal.memory)):
                    self._place([i])

    def confirmations(self) -> None:
        """A NONE says that a fact is known; only the words can prove it. That of a move from Rome to Milan looks like
        that of a paraphrase, to an embedder too, and a fact that is there twice is better than one that is lost."""
        for proposal in self._with("NONE"):
            memory = proposal.memory
            for i in self._stated():
                fact = self.facts[i].text
                if memory.id in self._touched:
                    continue
                named = i in proposal.linked and same_subject.adds_nothing(fact, memory.text)
                if (named or same_subject.says_nothing_new(fact, memory.text)) and not same_subject.touches(
                    fact, memory.text
                ):
                    self._place([i])
                    self._kept.add(memory.id)

    def deletions(self) -> None:
        """A contradicted memory is superseded in place; one that is to be forgotten, that was merged into another, or
        whose contradiction stands already, is deleted. The strongest first, as many as the bound lets."""
        left = self.bound
        for proposal, operation, i in chain(self._merged(), self._contradicted()):
            if proposal.memory.id in self._touched | self._kept:
                continue
            if left == 0:
                self.withheld += 1
                self._touched.add(proposal.memory.id)
                continue
            left -= 1
            self._change(operation.event, operation.text, proposal.memory, operation.reason)
            if i is not None and operation.event == "UPDATE":
                self._place([i])

    def remaining(self) -> None:
        for i in self._stated():
            if i not in self._placed:
                fact = self.facts[i]
                self._change("ADD", fact.text, None, "undecided" if fact.near and i not in self.new else None)

    # --- what is decided about whom ------------------------------------------------------------------------------

    def _with(self, event: str) -> list[_Proposal]:
        return [p for p in self.proposals if p.event == event]

    def _ranked(self, event: str) -> list[tuple[float, int, _Proposal]]:
        """Each decision with each fact that is evidently about its memory, the strongest first: it does not matter in
        which order the decisions came."""
        pairs = [
            (self._strength(i, p.memory), i, p)
            for p in self._with(event)
            for i in range(len(self.facts))
            if self._is_about(i, p)
        ]
        return sorted(
            pairs, key=lambda pair: (pair[1] not in pair[2].linked, -pair[0], pair[1], pair[2].memory.id, pair[2].text)
        )

    def _is_about(self, i: int, proposal: _Proposal) -> bool:
        if proposal.linked and i not in proposal.linked:
            return False
        beside = _BESIDE_THE_BEST_LINKED if i in proposal.linked else _BESIDE_THE_BEST
        least = max(self._bar(i, proposal), beside * self._best(i))
        return self._strength(i, proposal.memory) >= least

    def _bar(self, i: int, proposal: _Proposal) -> float:
        if i in proposal.linked:
            return _LINKED if proposal.event == "UPDATE" or self._forgets(i) else _LINKED_DELETION
        return _TO_FORGET if self._forgets(i) else _EVIDENT

    def _strength(self, i: int, memory: Memory) -> float:
        key = (i, memory.id)
        if key not in self._strengths:
            fact = self.facts[i]
            self._strengths[key] = same_subject.strength(fact.text, memory.text, fact.deviations.get(memory.id))
        return self._strengths[key]

    def _best(self, i: int) -> float:
        return max((self._strength(i, memory) for memory in self.facts[i].near), default=0.0)

    def _forgets(self, i: int) -> bool:
        return is_forgetting(self.facts[i].text)

    def _stated(self) -> list[int]:
        """The facts that are to be remembered."""
        return [i for i in range(len(self.facts)) if not self._forgets(i)]

    # --- what is written -----------------------------------------------------------------------------------------

    def _rewritten(self, i: int, proposal: _Proposal) -> str | None:
        """What the memory is to say after fact `i`: the model's text if it says the fact and nothing else, else the
        fact's own; None if neither may stand there."""
        fact, memory, text = self.facts[i].text, proposal.memory, proposal.text
        if any(_alike(text, o.text) for o in self.operations):
            return None
        if (self._forgets(i) or same_subject.denies(fact)) and same_subject.reduces(text, memory.text, fact):
            return text
        if self._forgets(i):
            return None
        said = bool(text) and self._carried(text, i, memory)
        proved = said and not same_subject.touches(fact, memory.text)  # by more than what the memory said before
        if not _alike(text, fact) and not proved and same_subject.rewords(text, memory.text, fact):
            return None
        if said and not _alike(text, memory.text) and self._is_sound(text, i, memory):
            return text
        enough = said or self._strength(i, memory) >= self._bar(i, proposal) + _UNSAID
        if enough and i not in self._placed and not same_subject.loses(fact, memory.text, fact):
            return None if _alike(fact, memory.text) else fact
        return None

    def _is_in(self, text: str, i: int, memory: Memory) -> bool:
        """Whether `text`, a rewritten `memory`, says fact `i` as well."""
        fact = self.facts[i].text
        return same_subject.covers(text, fact) and (_alike(text, fact) or not same_subject.touches(fact, memory.text))

    def _carried(self, text: str, i: int, memory: Memory) -> bool:
        return _alike(text, self.facts[i].text) or same_subject.carries(text, self.facts[i].text, memory.text)

    def _is_sound(self, text: str, i: int, memory: Memory) -> bool:
        """Whether `text` keeps every clause of the memory that fact `i` is not about, and invents nothing."""
        facts = [fact.text for n, fact in enumerate(self.facts) if n == i or self._strength(n, memory) >= _LINKED]
        merged = [p.memory.text for p in self._with("DELETE")]
        lost = same_subject.loses(text, memory.text, self.facts[i].text)
        return not lost and not same_subject.invents(text, memory.text, *facts, *merged)

    # --- what goes -----------------------------------------------------------------------------------------------

    def _merged(self) -> Iterator[tuple[_Proposal, Operation, None]]:
        rewritten = [o.text for o in self.operations if o.event == "UPDATE"]
        for p in sorted(self._with("DELETE"), key=lambda p: p.memory.id):
            if any(
                same_subject.covers(text, p.memory.text) and same_subject.agrees(p.memory.text, text)
                for text in rewritten
            ):
                yield p, Operation("DELETE", "", reason="merged"), None

    def _contradicted(self) -> Iterator[tuple[_Proposal, Operation, int]]:
        for _, i, p in self._ranked("DELETE"):
            fact, memory = self.facts[i].text, p.memory
            if self._forgets(i):
                yield p, Operation("DELETE", "", reason=ASKED_FOR), i
            elif same_subject.loses(fact, memory.text, fact):
                continue
            elif i not in self._placed:
                yield p, Operation("UPDATE", fact, reason="superseded"), i
            elif self._strength(i, memory) >= self._bar(i, p) + _UNSAID:
                yield p, Operation("DELETE", "", reason="contradicted"), i

    # --- bookkeeping ---------------------------------------------------------------------------------------------

    def _place(self, facts: Iterable[int]) -> None:
        self._placed.update(facts)

    def _change(
        self, event: Literal["ADD", "UPDATE", "DELETE"], text: str, memory: Memory | None, reason: str | None
    ) -> None:
        vector = next((f.vector for f in self.facts if f.text == text), None)
        self.operations.append(Operation(event, text, memory.id if memory else None, vector, reason))
        if memory:
            self._touched.add(memory.id)
