"""Evidence recall of the ranking, without an LLM: are the memories that answer a question among the first results?

    python benchmarks/retrieval.py --locomo locomo10.json --beam BEAM/chats/100K     # MiniLM (see minilm.py)
    python benchmarks/retrieval.py --model use …                                     # or e5 (see embedders.py)
    OPENAI_API_KEY=… OPENAI_BASE_URL=… python benchmarks/retrieval.py --model text-embedding-v4 --dimension 1024
    python benchmarks/retrieval.py --model use --write            # its vectors of the everyday facts, for the tests

Our own sets are always measured: the Chinese one and LoCoMo and BEAM @10, the everyday facts @5. LoCoMo and BEAM are
their owners': fetch them yourself; nothing is kept. The turns of a conversation are its memories, in order. This
project's ranking is that of the server, `Recall.search`, asked one question after another. Its memories are made days
apart, then within the hour, then within the hour in an order by chance: neighbours must help only where there are some.

The rule was chosen on LoCoMo's even conversations, BEAM's first ten chats, the Chinese set and four of the eight people
of the everyday facts. What it was not chosen on stands apart.
"""

import argparse
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from embedders import Embed, add_arguments, chosen, chosen_for_queries
from numpy.typing import NDArray
from question_sets import DATA, Conversation, beam, chinese, everyday, locomo

from tablestore_openmemory_mcp.memory.models.embedder import Embedder
from tablestore_openmemory_mcp.memory.search.ranking import LexicalIndex
from tablestore_openmemory_mcp.memory.search.scope_index import ScopeIndex
from tablestore_openmemory_mcp.memory.search.scope_search import Recall
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import Memory, ScopeStore

Array = NDArray[np.float32]
Scores = NDArray[np.float64]
Rank = Callable[[Scores, Scores], NDArray[np.int64]]

_MODEL = "benchmark"
_DAY, _SECOND = 86_400_000, 1_000


def _z(scores: Scores) -> Scores:
    return np.asarray((scores - scores.mean()) / (scores.std() or 1))


def _until_1_3(dense: Scores, lexical: Scores) -> NDArray[np.int64]:
    """The rule of version 1.3, memories made days apart."""
    best = np.sort(lexical)[::-1]
    stands_out = (best[0] - best[min(19, len(best) - 1)]) / best[0] if best[0] > 0 else 0.0
    return np.argsort(-(_z(dense) + 1.6 * stands_out**2.5 * _z(lexical)), kind="stable")


RULES: Mapping[str, Rank] = {
    "dense only": lambda dense, lexical: np.argsort(-dense, kind="stable"),
    "BM25 only": lambda dense, lexical: np.argsort(-lexical, kind="stable"),
    "version 1.3": _until_1_3,
}
OURS = ("this project", "within the hour", "in order by chance")


@dataclass(frozen=True, slots=True)
class Asked:
    """The recall of one question by each rule."""

    conversation: str
    kind: str
    recall: Mapping[str, float]


class FixedScope:
    """A scope that never changes, with all its vectors, as a Snapshot and as a ScopeStore."""

    seq, epoch, with_vectors = 1, 0, True

    def __init__(self, memories: Sequence[Memory]) -> None:
        self.scope = Scope("benchmark", "benchmark")
        self.memories = {m.id: m for m in memories}
        self._found = list(self.memories), np.stack([m.vector for m in memories if m.vector is not None])

    def snapshot(self, **_: object) -> "FixedScope":
        return self

    def candidates(self, *_: object, **__: object) -> tuple[Sequence[str], Array]:
        return self._found

    def matrix(self, _: str) -> tuple[Sequence[str], Array]:
        return self._found


class KnownQueries:
    """An embedder of queries whose vectors are there."""

    model = _MODEL

    def __init__(self, vectors: Mapping[str, Array]) -> None:
        self._vectors = vectors

    def prepare(self) -> None:
        """There is nothing to load."""

    def embed(self, texts: Sequence[str], **_: Any) -> Array:
        return np.stack([self._vectors[text] for text in texts])


def asked(conversation: Conversation, embed: Embed, embed_queries: Embed, k: int) -> list[Asked]:
    """Every question of the conversation, its memories the candidates."""
    ids, texts = list(conversation.memories), list(conversation.memories.values())
    vectors = embed(texts)
    queries = dict(zip((q.text for q in conversation.questions), _queries(conversation, embed_queries), strict=True))
    index = LexicalIndex()
    indexed = [Memory(i, text, 0, 0) for i, text in zip(ids, texts, strict=True)]
    index.follow({m.id: m for m in indexed})
    slots = index.slots(indexed)
    by_chance = np.random.default_rng(0).permutation(len(ids))
    in_order = np.arange(len(ids))
    ways = zip(OURS, ((in_order, _DAY), (in_order, _SECOND), (by_chance, _SECOND)), strict=True)
    scopes = {name: (FixedScope(_made(ids, texts, vectors, *way)), ScopeIndex()) for name, way in ways}
    recall = Recall(cast(Embedder, KnownQueries(queries)), min_score=0)
    result = []
    for question in conversation.questions:
        dense = (vectors @ queries[question.text]).astype(np.float64)
        lexical = index.scores(question.text)[slots]
        found = {name: {ids[i] for i in rank(dense, lexical)[:k]} for name, rank in RULES.items()}
        for name, (scope, scope_index) in scopes.items():
            store = cast(ScopeStore, scope)
            hits = recall.search(store, scope_index, question.text, k, time.monotonic() + 60)
            found[name] = {hit.memory.id for hit in hits}
        shares = {name: len(ids_ & question.evidence) / len(question.evidence) for name, ids_ in found.items()}
        result.append(Asked(conversation.name, question.kind, shares))
    return result


def _queries(conversation: Conversation, embed: Embed) -> Array:
    return embed([q.text for q in conversation.questions])


def _made(
    ids: Sequence[str], texts: Sequence[str], vectors: Array, order: NDArray[np.int64], apart: int
) -> list[Memory]:
    return [
        Memory(ids[i], texts[i], place * apart, place * apart, vector=vectors[i], vector_model=_MODEL)
        for place, i in enumerate(order.tolist())
    ]


def _everyday_texts() -> list[str]:
    return [t for c in everyday() for t in (*c.memories.values(), *(q.text for q in c.questions))]


def write(model: str, embed: Embed) -> None:
    """`embed`'s vectors of the everyday facts and questions, to one part in 127."""
    texts = _everyday_texts()
    matrix = embed(texts)
    scaled = np.round(127 * matrix / np.abs(matrix).max(1, keepdims=True)).astype(np.int8)
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    np.savez_compressed(DATA / f"everyday_{model}.npz", vectors=scaled, texts_sha256=digest)


def written(model: str) -> Embed:
    """An embedder of the everyday facts and questions alone: what `write` kept. Raises ValueError if the set is another
    one now."""
    texts = _everyday_texts()
    with np.load(DATA / f"everyday_{model}.npz") as kept:
        if kept["texts_sha256"] != hashlib.sha256("\n".join(texts).encode()).hexdigest():
            raise ValueError("the set has changed: run benchmarks/retrieval.py --write")
        scaled = kept["vectors"].astype(np.float32)
    vectors = dict(zip(texts, scaled / np.linalg.norm(scaled, axis=1, keepdims=True), strict=True))
    return lambda wanted: np.stack([vectors[text] for text in wanted])


def report(name: str, questions: Sequence[Asked]) -> None:
    if questions:
        figures = (100 * np.mean([q.recall[rule] for q in questions]) for rule in (*RULES, *OURS))
        print(f"{name:34}{len(questions):6}" + "".join(f"{figure:12.1f}" for figure in figures), flush=True)


def not_chosen_on(conversation: str) -> bool:
    """Whether the rule was chosen without it."""
    name, _, which = conversation.rpartition(" ")
    if name == "LoCoMo":
        return int(which) % 2 == 1
    if name == "BEAM":
        return int(which) > 10
    return conversation in {c.name for c in everyday("report")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--locomo", type=Path, help="locomo10.json")
    parser.add_argument("--beam", type=Path, help="the folder chats/100K")
    parser.add_argument(
        "--write", action="store_true", help="write the vectors of the everyday facts, and nothing else"
    )
    arguments = parser.parse_args()
    embed, embed_queries = chosen(arguments), chosen_for_queries(arguments)
    if arguments.write:
        write(arguments.model, embed)
        return
    sets: dict[str, tuple[Sequence[Conversation], int]] = {
        "Everyday facts @5": (everyday(), 5),
        "Chinese set @10": (chinese(), 10),
        "LoCoMo @10": (locomo(arguments.locomo) if arguments.locomo else (), 10),
        "BEAM-100K @10": (beam(arguments.beam) if arguments.beam else (), 10),
    }
    print(f"{arguments.model:34}{'asked':>6}" + "".join(f"{rule[:11]:>12}" for rule in (*RULES, *OURS)))
    for name, (conversations, k) in sets.items():
        questions = [q for c in conversations for q in asked(c, embed, embed_queries, k)]
        report(name, questions)
        report("  not chosen on", [q for q in questions if not_chosen_on(q.conversation)])
        if k == 5 or name.startswith("Chinese"):
            for kind in dict.fromkeys(q.kind for q in questions):
                report(f"  {kind}", [q for q in questions if q.kind == kind])


if __name__ == "__main__":
    main()
