"""How many of two texts that contradict each other are seen as near, and how many that have nothing in common.

python benchmarks/nearness.py                       # MiniLM (see minilm.py)
OPENAI_API_KEY=… OPENAI_BASE_URL=… python benchmarks/nearness.py --model text-embedding-v4 --dimension 1024
"""

import argparse
import json
from pathlib import Path

import numpy as np
from embedders import Embed, add_arguments, chosen

from tablestore_openmemory_mcp.memory.neighbours import NEAR_COSINE, NEAR_SHARE
from tablestore_openmemory_mcp.memory.tokens import containment

PAIRS = Path(__file__).parent / "data" / "contradictions.json"


def near(pairs: list[dict[str, str]], embed: Embed) -> list[bool]:
    """Whether each pair's old memory would be shown to the LLM beside its new fact."""
    old, new = embed([p["old"] for p in pairs]), embed([p["new"] for p in pairs])
    cosines = np.einsum("ij,ij->i", old, new)
    shares = [max(containment(p["new"], p["old"]), containment(p["old"], p["new"])) for p in pairs]
    return [bool(c >= NEAR_COSINE or s >= NEAR_SHARE) for c, s in zip(cosines, shares, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    embed = chosen(parser.parse_args())
    sets = json.loads(PAIRS.read_text())
    for language in ("zh", "en"):
        for kind, pairs in sets[language].items():
            print(f"{language} {kind:14} {len(pairs):4} pairs, near: {100 * np.mean(near(pairs, embed)):.1f} %")


if __name__ == "__main__":
    main()
