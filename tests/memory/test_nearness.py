"""What contradicts is seen as near, what has nothing in common is not: on the pairs that we ship, in both languages."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from support.fake_openai import vectors
from support.plain_store import PlainScopeStore, PlainSnapshot
from tablestore_openmemory_mcp.memory.embedder import Embedder
from tablestore_openmemory_mcp.memory.endpoint import Endpoint
from tablestore_openmemory_mcp.memory.job import Place
from tablestore_openmemory_mcp.memory.neighbours import MOST, nearest
from tablestore_openmemory_mcp.memory.scope_index import ScopeIndex
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import Memory

PAIRS = json.loads((Path(__file__).parents[2] / "benchmarks" / "data" / "contradictions.json").read_text())
MODEL, DIMENSION = "fake", 1024


def shown(old: str, new: str, *, embedded: bool) -> bool:
    vector = vectors.embed([old], DIMENSION)[0] if embedded else None
    memory = Memory("m", old, 0, 0, vector=vector, vector_model=MODEL if embedded else None)
    return bool(near_in([memory], [new])[0])


def near_in(memories: list[Memory], facts: list[str]) -> list[list[Memory]]:
    scope = Scope("u", "c")
    snapshot = PlainSnapshot(scope, memories={m.id: m for m in memories})
    place = Place(PlainScopeStore(scope), ScopeIndex(), Embedder(Endpoint("", None), MODEL, DIMENSION), 1000)
    return nearest(snapshot, place, facts, vectors.embed(facts, DIMENSION), memories, math.inf)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_what_contradicts_is_near(language: str) -> None:
    pairs = PAIRS[language]["contradicting"]
    assert len(pairs) > 100
    assert np.mean([shown(p["old"], p["new"], embedded=True) for p in pairs]) >= 0.99


@pytest.mark.parametrize("language", ["zh", "en"])
def test_what_has_nothing_in_common_is_not(language: str) -> None:
    pairs = PAIRS[language]["unrelated"]
    assert np.mean([shown(p["old"], p["new"], embedded=True) for p in pairs]) <= 0.05


def test_a_memory_without_a_vector_is_near_by_its_words() -> None:
    assert shown("变量名用小驼峰", "以后变量名都改成小写加下划线", embedded=False)
    assert not shown("I have a dog", "代码缩进用四个空格", embedded=False)


def test_the_nearest_five_are_enough_in_a_scope_of_a_hundred() -> None:
    """All old memories of a language in one scope: the contradicted one is still among those that are shown."""
    for language in ("zh", "en"):
        pairs = PAIRS[language]["contradicting"]
        matrix = vectors.embed([p["old"] for p in pairs], DIMENSION)
        memories = [Memory(str(n), p["old"], n, n, {}, matrix[n], MODEL) for n, p in enumerate(pairs)]
        near = near_in(memories, [p["new"] for p in pairs])
        assert max(map(len, near)) == MOST
        assert np.mean([str(n) in [m.id for m in found] for n, found in enumerate(near)]) >= 0.95
