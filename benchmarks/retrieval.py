"""Evidence recall@10 of the ranking, without an LLM: are the memories that answer a question among the first ten?

    python benchmarks/retrieval.py --locomo locomo10.json --beam BEAM/chats/100K     # MiniLM (see minilm.py)
    OPENAI_API_KEY=… OPENAI_BASE_URL=… python benchmarks/retrieval.py --model text-embedding-v4 --dimension 1024

The Chinese set is ours and always measured. LoCoMo and BEAM are their owners': fetch them yourself; nothing is kept.
The turns of a conversation are its memories, in order, as if made within the hour. The rule was chosen on LoCoMo's
even conversations, so that BEAM and the Chinese set do not lose; the odd ones stand apart.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from embedders import Embed, add_arguments, chosen
from numpy.typing import NDArray
from question_sets import Conversation, Question, beam, chinese, locomo

from tablestore_openmemory_mcp.memory.search.ranking import LexicalIndex, order
from tablestore_openmemory_mcp.store.model import Memory

Scores = NDArray[np.float64]
Rank = Callable[[Scores, Scores], NDArray[np.int64]]

RULES: dict[str, Rank] = {
    "dense only (the reference)": lambda dense, lexical: np.argsort(-dense, kind="stable"),
    "BM25 only": lambda dense, lexical: np.argsort(-lexical, kind="stable"),
    "0.7 dense + 0.3 BM25/max": lambda dense, lexical: np.argsort(
        -(0.7 * dense + 0.3 * lexical / (lexical.max() or 1)), kind="stable"
    ),
    "this project": lambda dense, lexical: order(dense, lexical, np.zeros(len(dense), np.int64)),
}


@dataclass(frozen=True, slots=True)
class Scored:
    """One question, and every memory's two scores for it."""

    conversation: str
    question: Question
    ids: Sequence[str]
    dense: Scores
    lexical: Scores

    def recall(self, rank: Rank, k: int) -> float:
        """The share of the evidence among the first `k`."""
        found = {self.ids[i] for i in rank(self.dense, self.lexical)[:k]}
        return len(found & self.question.evidence) / len(self.question.evidence)


def scored(conversation: Conversation, embed: Embed) -> Iterator[Scored]:
    """Every question of the conversation, its memories the candidates."""
    ids = list(conversation.memories)
    index = LexicalIndex()
    indexed = [Memory(i, conversation.memories[i], 0, 0) for i in ids]
    index.follow({m.id: m for m in indexed})
    slots = index.slots(indexed)
    memories = embed(list(conversation.memories.values()))
    queries = embed([q.text for q in conversation.questions])
    for question, vector in zip(conversation.questions, queries, strict=True):
        dense = (memories @ vector).astype(np.float64)
        yield Scored(conversation.name, question, ids, dense, index.scores(question.text)[slots])


def report(name: str, questions: Sequence[Scored], k: int) -> None:
    if not questions:
        return
    print(f"\n{name}: recall@{k} of {len(questions)} questions")
    for rule, rank in RULES.items():
        print(f"  {rule:28} {100 * np.mean([q.recall(rank, k) for q in questions]):5.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--locomo", type=Path, help="locomo10.json")
    parser.add_argument("--beam", type=Path, help="the folder chats/100K")
    parser.add_argument("-k", type=int, default=10)
    arguments = parser.parse_args()
    embed = chosen(arguments)
    zh = [s for c in chinese() for s in scored(c, embed)]
    report("Chinese set", zh, arguments.k)
    for kind in sorted({s.question.kind for s in zh}):
        report(f"  {kind}", [s for s in zh if s.question.kind == kind], arguments.k)
    if arguments.locomo:
        turns = [s for c in locomo(arguments.locomo) for s in scored(c, embed)]
        report("LoCoMo", turns, arguments.k)
        report("LoCoMo, odd conversations", [s for s in turns if int(s.conversation.split()[-1]) % 2], arguments.k)
    if arguments.beam:
        messages = [s for c in beam(arguments.beam) for s in scored(c, embed)]
        report("BEAM-100K", messages, arguments.k)
        report("BEAM-100K, chats 11 to 20", [s for s in messages if int(s.conversation.split()[-1]) > 10], arguments.k)


if __name__ == "__main__":
    main()
