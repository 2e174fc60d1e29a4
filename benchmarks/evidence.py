"""How often a decision of the LLM is carried out: on a memory that the fact contradicts, and on one that it does not.

    python benchmarks/evidence.py                                # MiniLM (see minilm.py)
    python benchmarks/evidence.py --write                        # and keep its vectors of the facts, for the tests
    OPENAI_API_KEY=… OPENAI_BASE_URL=… python benchmarks/evidence.py --model text-embedding-v4 --dimension 1024

The contradicting pairs are those of contradictions.json. Unrelated are all pairs of facts from two fields of life
(tests/memory/data/fields_of_life.json). The bars are those of memory/add/llm_decisions.py.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from embedders import Embed, add_arguments, chosen

from tablestore_openmemory_mcp.memory.add import llm_decisions
from tablestore_openmemory_mcp.memory.add.same_subject import strength
from tablestore_openmemory_mcp.memory.search.cosine_spread import spread_among

HERE = Path(__file__).parent
PAIRS, FIELDS = HERE / "data/contradictions.json", HERE.parent / "tests/memory/data/fields_of_life.json"
VECTORS = FIELDS.with_name("fields_of_life_minilm.npz")
BARS = {
    "linked": llm_decisions._LINKED,
    "linked deletion": llm_decisions._LINKED_DELETION,
    "evident": llm_decisions._EVIDENT,
    "linked, unsaid": llm_decisions._LINKED + llm_decisions._UNSAID,
    "evident, unsaid": llm_decisions._EVIDENT + llm_decisions._UNSAID,
}
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def contradicting(pairs: Sequence[Mapping[str, str]], embed: Embed) -> Array:
    old, new = embed([p["old"] for p in pairs]), embed([p["new"] for p in pairs])
    spread = spread_among(np.asarray(old, np.float32))
    assert spread is not None
    deviations = spread.z(np.einsum("ij,ij->i", old, new).astype(np.float64))
    return np.array([strength(p["new"], p["old"], z) for p, z in zip(pairs, deviations.tolist(), strict=True)])


def unrelated(fields: Mapping[str, Sequence[str]], embed: Embed) -> Array:
    facts = [(name, text) for name, texts in fields.items() for text in texts]
    vectors = np.asarray(embed([text for _, text in facts]), np.float32)
    spread = spread_among(vectors)
    assert spread is not None
    deviations = spread.z((vectors @ vectors.T).astype(np.float64)).tolist()
    return np.array(
        [
            strength(fact, memory, deviations[i][j])
            for i, (field, fact) in enumerate(facts)
            for j, (other, memory) in enumerate(facts)
            if field != other
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the vectors of the facts, as int8, for the tests")
    add_arguments(parser)
    arguments = parser.parse_args()
    embed = chosen(arguments)
    pairs, fields = json.loads(PAIRS.read_text("utf-8")), json.loads(FIELDS.read_text("utf-8"))
    if arguments.write:
        texts = [text for language in ("en", "zh") for of_field in fields[language].values() for text in of_field]
        np.savez_compressed(VECTORS, texts=texts, vectors=np.rint(np.asarray(embed(texts)) * 400).astype(np.int8))
    print(f"{'% that reach the bar':24}" + "".join(f"{f'{name} {bar:.1f}':>22}" for name, bar in BARS.items()))
    for language in ("en", "zh"):
        rows = {
            "contradicting": contradicting(pairs[language]["contradicting"], embed),
            "unrelated": unrelated(fields[language], embed),
        }
        for kind, found in rows.items():
            print(
                f"{f'{language} {kind}':24}" + "".join(f"{100 * (found >= bar).mean():22.1f}" for bar in BARS.values())
            )


if __name__ == "__main__":
    main()
