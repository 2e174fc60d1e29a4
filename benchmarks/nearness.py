"""What an add shows to the LLM beside a new fact: whether it is what the fact contradicts, and when it is for nothing.

    python benchmarks/nearness.py                                # MiniLM (see minilm.py)
    python benchmarks/nearness.py --locomo locomo10.json         # and how often an LLM call is spared as a scope grows
    python benchmarks/nearness.py --model e5                     # or use: other embedders on this machine
    OPENAI_API_KEY=… OPENAI_BASE_URL=… python benchmarks/nearness.py --model text-embedding-v4 --dimension 1024
    python benchmarks/nearness.py --write [--model use]          # a model's vectors of the pairs, for the tests

The pairs and the Chinese memories are ours. LoCoMo's observations, one speaker's after another without the name, are
what a person's facts look like as they come in; without them an English scope holds only the pairs' own sentences.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from embedders import Embed, add_arguments, chosen
from minilm import Array
from question_sets import chinese, locomo_facts

from tablestore_openmemory_mcp.memory.add.similar_memories import CLOSE, NEAR, NEAR_SHARE, ranked, share
from tablestore_openmemory_mcp.memory.search.cosine_spread import (
    LEAST,
    UNRELATED,
    Script,
    Spread,
    spread_among,
    spread_of_unrelated,
)
from tablestore_openmemory_mcp.memory.search.ranking import LexicalIndex, Scores
from tablestore_openmemory_mcp.store.model import Memory

DATA = Path(__file__).parent / "data"
PAIRS = DATA / "contradictions.json"
KINDS = ("contradicting", "same_field", "unrelated")
SCRIPTS: Mapping[str, Script] = {"zh": "cjk", "en": "other"}
BOUNDS = (3.0, CLOSE, 1.0, 0.0, NEAR, -1.0, -2.0)
SIZES = (10, 50, 200, 1000)
SHOWN = (5, 8, 10)
GROWTH = (1, 10, 20, 50, 1_000_000)

Pair = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Near:
    """How many deviations above unrelated texts the nearest memory of a scope is to a fact, and the highest share of
    terms."""

    z: float
    share: float

    def at(self, bound: float) -> bool:
        return self.share >= NEAR_SHARE or self.z >= bound


def vectors_of(texts: Sequence[str], embed: Embed) -> dict[str, Array]:
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, embed(distinct), strict=True))


def found_alone(pairs: Sequence[Pair], embed: Embed, spread: Spread) -> list[Near]:
    """Each pair's old memory alone in a scope."""
    old, new = embed([p["old"] for p in pairs]), embed([p["new"] for p in pairs])
    cosines = np.einsum("ij,ij->i", old, new)
    return [Near(spread.z(float(c)), share(p["new"], p["old"])) for c, p in zip(cosines, pairs, strict=True)]


def places(
    pairs: Sequence[Pair], others: Sequence[str], size: int, vectors: Mapping[str, Array], told: Spread
) -> Iterator[tuple[int, int, Near]]:
    """For each pair: which place its old memory takes among those shown, and by the cosine alone, in a scope of `size`
    memories, the rest of them drawn from `others`; and how near the nearest of that rest is."""
    chance = np.random.default_rng(size)
    for pair in pairs:
        rest = [text for text in others if text not in pair.values()]
        scope = [rest[i] for i in chance.choice(len(rest), size - 1, replace=False)]
        scope.insert(int(chance.integers(size)), pair["old"])
        matrix = np.stack([vectors[text] for text in scope])
        spread = spread_among(matrix) if size >= LEAST else told
        dense = (matrix @ vectors[pair["new"]]).astype(np.float64)
        lexical = bm25(scope, pair["new"])
        old = scope.index(pair["old"])
        shown = ranked(dense, lexical, size)
        others_share = max(share(pair["new"], text) for n, text in enumerate(scope) if n != old)
        nearest = Near(spread.z(float(np.delete(dense, old).max())), others_share)
        yield shown.index(old) if old in shown else size, int((dense > dense[old]).sum()), nearest


def bm25(scope: Sequence[str], query: str) -> Scores:
    index = LexicalIndex()
    memories = [Memory(str(n), text, 0, 0) for n, text in enumerate(scope)]
    index.follow({m.id: m for m in memories})
    return index.scores(query)[index.slots(memories)]


def growing(facts: Sequence[str], embed: Embed, told: Spread) -> Iterator[tuple[int, Near]]:
    """For each fact after the first: how many there are before it, and how near the nearest of those is."""
    matrix = embed(facts)
    for n in range(1, len(facts)):
        spread = spread_among(matrix[:n]) if n >= LEAST else told
        yield n, Near(spread.z(float((matrix[:n] @ matrix[n]).max())), max(share(facts[n], old) for old in facts[:n]))


def percent(found: Sequence[bool]) -> str:
    return f"{100 * float(np.mean(found)):5.1f}"


def report_pairs(
    language: str, sets: Mapping[str, Sequence[Pair]], bounds: Sequence[float], embed: Embed, told: Spread
) -> None:
    own = spread_among(embed(list(dict.fromkeys(p["old"] for kind in KINDS for p in sets[kind]))))
    print(
        f"\n{language}: unrelated texts have a cosine of {told.mean:.3f} ± {told.deviation:.3f} as the embedder tells"
    )
    print(f"of ten sentences, {own.mean:.3f} ± {own.deviation:.3f} among all old memories.")
    print(
        f"Alone in a scope, %: near from {NEAR}, close from {CLOSE} deviations above that, or by a share of the terms"
    )
    print(f"  {'deviations':14}" + "".join(f"{bound:7}" for bound in bounds))
    for kind in KINDS:
        found = found_alone(sets[kind], embed, told)
        print(f"  {kind:14}" + "".join(f"{percent([n.at(bound) for n in found]):>7}" for bound in bounds))


def report_scopes(language: str, pairs: Sequence[Pair], others: Sequence[str], embed: Embed, told: Spread) -> None:
    print(f"\n{language}: in a scope of N, is the contradicted memory among the first 5, 8, 10? Is anything else near?")
    vectors = vectors_of([*others, *(text for p in pairs for text in p.values())], embed)
    for size in (n for n in SIZES if n < len(others) - 1):
        ranked = list(places(pairs, others, size, vectors, told))
        among = " ".join(percent([place < k for place, _, _ in ranked]) for k in SHOWN)
        alone = " ".join(percent([place < k for _, place, _ in ranked]) for k in SHOWN)
        anything = " ".join(f"from {b}: {percent([rest.at(b) for _, _, rest in ranked])}" for b in (CLOSE, NEAR))
        print(f"  N = {size:5}   {among}   by the cosine alone {alone}   else {anything}")


def report_growth(speakers: Sequence[Sequence[str]], embed: Embed, told: Spread) -> None:
    print("\nLoCoMo's observations, one fact per add: % of adds with something near, by memories there were before")
    adds = [add for facts in speakers for add in growing(facts, embed, told)]
    for least, most in pairwise(GROWTH):
        found = [nearest for n, nearest in adds if least <= n < most]
        anything = " ".join(f"from {bound}: {percent([n.at(bound) for n in found])}" for bound in (CLOSE, NEAR))
        print(f"  from {least:3}: {len(found):5} adds   {anything}")


def write(sets: Mapping[str, Mapping[str, Sequence[Pair]]], embed: Embed, kept_in: Path) -> None:
    """The vectors of the pairs that tests are about, to one part in 127."""
    kept = [p for language in sets.values() for kind in ("contradicting", "unrelated") for p in language[kind]]
    vectors = vectors_of([text for p in kept for text in (p["old"], p["new"])], embed)
    matrix = np.stack(list(vectors.values()))
    scaled = np.round(127 * matrix / np.abs(matrix).max(1, keepdims=True)).astype(np.int8)
    digest = hashlib.sha256("\n".join(vectors).encode()).hexdigest()
    np.savez_compressed(kept_in, vectors=scaled, texts_sha256=digest)
    print(f"{len(vectors)} vectors, {kept_in.stat().st_size:,} bytes: {kept_in.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--locomo", type=Path, help="locomo10.json")
    parser.add_argument("--bounds", type=float, nargs="+", default=BOUNDS, help="in deviations, to compare")
    parser.add_argument("--write", action="store_true", help="write the vectors of the pairs, and nothing else")
    arguments = parser.parse_args()
    embed = chosen(arguments)
    sets = {language: kinds for language, kinds in json.loads(PAIRS.read_text()).items() if isinstance(kinds, dict)}
    if arguments.write:
        write(sets, embed, DATA / f"contradictions_{arguments.model}.npz")
        return
    speakers = locomo_facts(arguments.locomo) if arguments.locomo else []
    more = {
        "zh": [text for c in chinese() for text in c.memories.values()],
        "en": [fact for facts in speakers for fact in facts],
    }
    told: dict[str, Spread] = {}
    for language, kinds in sets.items():
        told[language] = spread_of_unrelated(embed(UNRELATED[SCRIPTS[language]]))
        report_pairs(language, kinds, arguments.bounds, embed, told[language])
        own = [p["old"] for kind in KINDS for p in kinds[kind]]
        others = list(dict.fromkeys(own + more[language]))
        report_scopes(language, kinds["contradicting"], others, embed, told[language])
    if speakers:
        report_growth(speakers, embed, told["en"])


if __name__ == "__main__":
    main()
