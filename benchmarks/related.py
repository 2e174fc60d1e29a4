"""What an add without an LLM tells the assistant: is the memory among it that the text contradicts, and what beside it?

    python benchmarks/related.py --model use                     # or minilm (see minilm.py), e5
    python benchmarks/related.py --words                         # without an embedder
    OPENAI_API_KEY=… OPENAI_BASE_URL=… python benchmarks/related.py --model text-embedding-v4 --dimension 1024

The pairs are the contradicting ones of data/contradictions.json. Each old memory stands in a scope of N others, drawn
from the old memories of all pairs of its language, several times. Of those some are about the same field of life; here
they count as unrelated all the same.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from embedders import add_arguments, chosen
from minilm import Array
from nearness import KINDS, PAIRS, SCRIPTS, Pair, bm25, percent, vectors_of

from tablestore_openmemory_mcp.memory.add.llm_decisions import Fact
from tablestore_openmemory_mcp.memory.add.same_subject import restates
from tablestore_openmemory_mcp.memory.add.similar_memories import ranked
from tablestore_openmemory_mcp.memory.add.verbatim import related_to
from tablestore_openmemory_mcp.memory.search.cosine_spread import LEAST, UNRELATED, spread_among, spread_of_unrelated
from tablestore_openmemory_mcp.store.model import Memory

SIZES, DRAWS = (0, 10, 30, 100), 3

Vectors = Mapping[str, Array]


def told(pair: Pair, others: Sequence[str], vectors: Vectors, written: Sequence[str]) -> list[str]:
    """The texts that an add of the new fact tells, of a scope of `others` and the old memory. `written`: sentences that
    tell the spread of a young scope; none: there is no embedder."""
    scope = [*others, pair["old"]]
    memories = [Memory(str(n), text, n, n) for n, text in enumerate(scope)]
    dense = np.full(len(scope), np.nan)
    deviations: dict[str, float] = {}
    if written:
        matrix = np.stack([vectors[text] for text in scope])
        enough = len(scope) >= LEAST
        spread = spread_among(matrix) if enough else spread_of_unrelated(np.stack([vectors[t] for t in written]))
        dense = (matrix @ vectors[pair["new"]]).astype(np.float64)
        deviations = {str(n): z for n, z in enumerate(spread.z(dense).tolist())}
    near = [memories[n] for n in ranked(dense, bm25(scope, pair["new"]))]
    return [hit.memory.text for hit in related_to(Fact(pair["new"], None, near, deviations))]


def measured(
    pairs: Sequence[Pair], pool: Sequence[str], size: int, draws: int, told_of: Vectors, written: Sequence[str]
) -> Iterator[tuple[bool, int]]:
    """For each pair and draw: whether the old memory is told, and how many others."""
    for draw in range(draws):
        chance = np.random.default_rng(1000 * size + draw)
        for pair in pairs:
            rest = [text for text in pool if text not in pair.values()]
            shown = told(pair, [rest[i] for i in chance.choice(len(rest), size, replace=False)], told_of, written)
            yield pair["old"] in shown, len(shown) - (pair["old"] in shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--words", action="store_true", help="without an embedder")
    arguments = parser.parse_args()
    sets = json.loads(PAIRS.read_text("utf-8"))
    texts = [p[side] for language in SCRIPTS for kind in KINDS for p in sets[language][kind] for side in ("old", "new")]
    texts += [text for sentences in UNRELATED.values() for text in sentences]
    vectors = {} if arguments.words else vectors_of(texts, chosen(arguments))
    print(f"{'words' if arguments.words else arguments.model}: % of contradicted memories told, and others beside them")
    print("  others in the scope " + "".join(f"{size:>14}" for size in SIZES))
    every: dict[int, list[bool]] = {}
    for language, written in SCRIPTS.items():
        pairs = sets[language]["contradicting"]
        pool = list(dict.fromkeys(p["old"] for kind in KINDS for p in sets[language][kind]))
        line = ""
        spoken = () if arguments.words else UNRELATED[written]
        for size in SIZES:
            found = list(measured(pairs, pool, size, DRAWS, vectors, spoken))
            every.setdefault(size, []).extend(is_told for is_told, _ in found)
            line += f"{percent([is_told for is_told, _ in found])} + {np.mean([n for _, n in found]):.2f}".rjust(14)
        print(f"  {language}, {len(pairs)} pairs      {line}")
        alone = [bool(told(p, (), vectors, spoken)) for p in sets[language]["unrelated"]]
        print(f"  {language}, an unrelated memory that is alone in a scope is told: {percent(alone)} %")
        assert not any(restates(p["new"], p["old"]) for p in pairs), "a contradiction is never taken for known"
    print("  both                " + "".join(percent(every[size]).ljust(12).rjust(14) for size in SIZES))


if __name__ == "__main__":
    main()
