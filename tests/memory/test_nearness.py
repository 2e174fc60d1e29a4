"""What contradicts is shown to the LLM: on the pairs that we ship, with the vectors that a real model gave them."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from support.fake_openai import FakeOpenAI, Fault
from support.fake_openai import vectors as fake_vectors
from support.plain_store import PlainScopeStore, PlainSnapshot, PlainStore
from tablestore_openmemory_mcp.memory.add.similar_memories import MOST, NEAR, Nearby, nearest, ranked
from tablestore_openmemory_mcp.memory.context import ScopeContext
from tablestore_openmemory_mcp.memory.models.embedder import BATCH, Embedder
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint
from tablestore_openmemory_mcp.memory.search.cosine_spread import (
    ASSUMED,
    SCRIPTS,
    UNRELATED,
    Script,
    Spreads,
    spread_among,
)
from tablestore_openmemory_mcp.memory.search.scope_index import ScopeIndex
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.memory.unit_of_work import UnitOfWork
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import Memory, Vector

DATA = Path(__file__).parents[2] / "benchmarks" / "data"
PAIRS = json.loads((DATA / "contradictions.json").read_text())
MODEL, LANGUAGES = "all-MiniLM-L6-v2", ("zh", "en")


@pytest.fixture(scope="module")
def vectors() -> dict[str, Vector]:
    """By text: what `benchmarks/nearness.py --write` kept."""
    pairs = [p for language in LANGUAGES for kind in ("contradicting", "unrelated") for p in PAIRS[language][kind]]
    texts = list(dict.fromkeys(text for p in pairs for text in (p["old"], p["new"])))
    with np.load(DATA / "contradictions_minilm.npz") as kept:
        assert kept["texts_sha256"] == hashlib.sha256("\n".join(texts).encode()).hexdigest(), "run it again"
        matrix = kept["vectors"].astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return dict(zip(texts, matrix, strict=True))


def memories(texts: Sequence[str], vectors: dict[str, Vector] | None) -> list[Memory]:
    return [
        Memory(str(n), text, n, n, {}, vectors[text] if vectors else None, MODEL if vectors else None)
        for n, text in enumerate(texts)
    ]


def near_in(scope: Sequence[Memory], fact: str, vector: Vector | None, index: ScopeIndex | None = None) -> Nearby:
    name = Scope("u", "c")
    snapshot = PlainSnapshot(name, seq=len(scope), memories={m.id: m for m in scope})
    place = ScopeContext(PlainScopeStore(name), index or ScopeIndex(), Embedder(Endpoint("", None), MODEL, 384), 1000)
    return nearest(snapshot, place, [fact], None if vector is None else vector[None, :], scope, math.inf)[0]


def test_what_contradicts_is_near_and_not_everything_is(vectors: dict[str, Vector]) -> None:
    def near(kind: str, language: str) -> list[bool]:
        pairs = PAIRS[language][kind]
        assert len(pairs) > 100
        return [bool(near_in(memories([p["old"]], vectors), p["new"], vectors[p["new"]]).memories) for p in pairs]

    assert np.mean([found for language in LANGUAGES for found in near("contradicting", language)]) >= 0.99
    assert np.mean(near("unrelated", "en")) <= 0.4  # the model cannot tell Chinese sentences apart


@pytest.mark.parametrize("common", [0.0, 0.5, 0.85])
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_shown_in_a_scope_of_a_hundred_too(language: str, common: float, vectors: dict[str, Vector]) -> None:
    """All old memories of a language in one scope, most of them about other things. `common`: what every two texts have
    in common, as with multilingual-e5."""
    pairs = PAIRS[language]["contradicting"]
    shifted = with_in_common(vectors, common)
    scope = memories([p["old"] for p in pairs], shifted)
    found = [near_in(scope, p["new"], shifted[p["new"]]) for p in pairs]
    assert {len(nearby.memories) for nearby in found} == {MOST}
    assert np.mean([scope[n] in nearby.memories for n, nearby in enumerate(found)]) >= 0.94
    unshifted = memories([p["old"] for p in pairs], vectors)
    close = [near_in(unshifted, p["new"], vectors[p["new"]]).close for p in pairs]
    assert np.mean([nearby.close == other for nearby, other in zip(found, close, strict=True)]) >= 0.98
    for nearby, pair in zip(found, pairs, strict=True):
        expected = [float(shifted[pair["new"]] @ shifted[memory.text]) for memory in nearby.memories]
        assert nearby.cosines == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("common", [0.0, 0.5, 0.85])
def test_what_contradicts_is_near_by_what_was_learnt_too(common: float, vectors: dict[str, Vector]) -> None:
    """A young scope, in a process that has seen a grown one."""
    near, close = [], []
    for language in LANGUAGES:
        index = ScopeIndex()
        kinds = {kind: PAIRS[language][kind] for kind in ("contradicting", "unrelated")}
        shifted = with_in_common(vectors, common)
        grown = memories([p["old"] for pairs in kinds.values() for p in pairs], shifted)
        near_in(grown, grown[0].text, shifted[grown[0].text], index)
        for kind, pairs in kinds.items():
            for p in pairs:
                found = near_in(memories([p["old"]], shifted), p["new"], shifted[p["new"]], index)
                near += [bool(found.memories)] * (kind == "contradicting")
                close += [found.close] * (kind == "unrelated")
    assert np.mean(near) >= 0.99
    assert np.mean(close) <= 0.1


def with_in_common(vectors: dict[str, Vector], share: float) -> dict[str, Vector]:
    """Every cosine c becomes share + (1 - share) c, as embedders do whose vectors all point one way."""
    return {
        text: np.append(math.sqrt(1 - share) * v, math.sqrt(share)).astype(np.float32) for text, v in vectors.items()
    }


def test_a_memory_without_a_vector_is_near_by_its_words() -> None:
    [old] = memories(["变量名用小驼峰"], None)
    found = near_in([old], "以后变量名都改成小写加下划线", None)
    assert (found.memories, found.close, np.isnan(found.cosines).tolist()) == ([old], True, [True])
    assert not near_in([old], "I have a dog", None).memories


def test_what_points_another_way_ranks_only_by_its_words() -> None:
    dense, lexical = np.array([-0.1, 0.0, -0.2, np.nan, np.nan]), np.array([0.0, 0.0, 1.0, 2.0, 0.0])
    assert ranked(dense, lexical) == [3, 2]


def test_neither_meaning_nor_words_take_all_the_places() -> None:
    dense, lexical = np.linspace(1, 0.1, 100), np.linspace(0, 5, 100)
    assert ranked(dense, lexical, 6) == [0, 99, 1, 98, 2, 97]


@pytest.mark.parametrize("key", ["", "key"])
def test_the_llm_is_spared_when_nothing_is_near(
    make: Callable[..., MemoryService], fake: FakeOpenAI, scope: Scope, key: str
) -> None:
    make(OPENAI_API_KEY=key, MEMORY_PIPELINE="verbatim").add(scope, "我住在上海")
    fake.forget()
    [outcome] = make().add(scope, "周末去爬山").results
    assert outcome.event == "ADD"
    assert (fake.count("extraction"), fake.count("update")) == (1, 0)


@pytest.mark.parametrize("dimension", [256, 1024, 1536])
def test_chance_is_not_near(dimension: int) -> None:
    """Two of many directions at random: what an embedder gives that sees nothing in common."""
    chance = np.random.default_rng(dimension).normal(size=(200, dimension))
    chance /= np.linalg.norm(chance, axis=1, keepdims=True)
    alone = (chance[::2] * chance[1::2]).sum(1)
    assert np.mean(ASSUMED.z(alone) >= NEAR) < 0.1


def test_a_model_that_only_repeats_what_it_was_shown_loses_nothing(
    service: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    """That an unrelated memory stays as it is does not say that the fact is known."""
    [home] = service.add(scope, "我住在上海").results
    echo = {"memory": [{"id": "0", "text": home.memory, "event": "NONE"}]}
    fake.answer(lambda body: "new retrieved facts" in json.dumps(body), json.dumps(echo, ensure_ascii=False))
    [outcome] = service.add(scope, "周末喜欢在家看书").results
    assert (outcome.event, fake.count("update")) == ("ADD", 1)
    assert service.list(scope).total == 2


@pytest.mark.parametrize(("newcomer", "decisions"), [("The build runs on Jenkins", 1), ("我喜欢唱戏", 2)])
def test_a_newcomer_is_asked_about_if_it_is_among_the_closest(
    service: MemoryService, fake: FakeOpenAI, plain: PlainStore, scope: Scope, newcomer: str, decisions: int
) -> None:
    """Another writer commits while the LLM decides about a scope of six memories, all of which it is shown."""
    service.add(scope, "。".join(f"我喜欢{hobby}" for hobby in ("游泳", "滑雪", "围棋", "书法", "钓鱼", "木工")))
    store = plain.scope(scope)

    def interrupted(body: object) -> bool:
        if "new retrieved facts" in json.dumps(body) and store.commits == 1:
            base = store.snapshot()
            unit = UnitOfWork(base)
            unit.add(newcomer, fake_vectors.embed([newcomer], 256)[0], "text-embedding-v4")
            store.commit(unit.changes, base=base)
        return False

    fake.answer(interrupted, "")
    assert service.add(scope, "我喜欢唱歌").results
    assert fake.count("update") == decisions
    assert service.list(scope).total == 8


def test_an_embedder_is_asked_once_how_unrelated_texts_spread(
    make: Callable[..., MemoryService], fake: FakeOpenAI, scope: Scope
) -> None:
    """In the same request as an add's own texts, as many as there is room for, until it is known."""
    service = make()
    service.add(scope, "我住在上海")
    service.add(scope, "我喜欢吃辣的东西")
    first, second = (r.inputs for r in fake.requests if r.kind == "embeddings")
    assert len(first) == BATCH
    assert set(first[1:]) <= set(UNRELATED["cjk"])
    assert len(second) == 1, "known by now"


@pytest.mark.parametrize("written", SCRIPTS)
def test_the_spread_is_known_from_a_few_sentences(fake: FakeOpenAI, written: Script) -> None:
    spreads = Spreads()
    embedder = Embedder(Endpoint("key", fake.base_url), "text-embedding-v4", 256)
    assert spreads.known(embedder.model, written) == ASSUMED
    for _ in range(2):
        telling = spreads.wanted(embedder.model, written, 4)
        assert len(telling) == 4
        spreads.told(embedder.model, written, telling, embedder.embed(telling, deadline=time.monotonic() + 10))
    assert spreads.known(embedder.model, written).learnt
    assert spreads.wanted(embedder.model, written, 10) == ()
    assert not spreads.known("another", written).learnt


def test_a_sentence_that_the_embedder_refuses_takes_no_add_with_it(
    make: Callable[..., MemoryService], fake: FakeOpenAI, scope: Scope
) -> None:
    fake.fail_next("embeddings", Fault("status", 400, message="Input data may contain inappropriate content."))
    [outcome] = make().add(scope, "我住在上海").results
    assert outcome.event == "ADD"
    assert [len(r.inputs) for r in fake.requests if r.kind == "embeddings"] == [BATCH, 1]


@pytest.mark.parametrize("n", [2, 20, 1000])
def test_the_spread_is_that_of_the_unrelated_ones(n: int) -> None:
    """Whatever the embedder; copies, and one text many times, neither break nor widen it."""
    chance = np.random.default_rng(n).normal(size=(n, 64)).astype(np.float32)
    chance /= np.linalg.norm(chance, axis=1, keepdims=True)
    alone = spread_among(chance)
    assert alone.deviation > 0
    assert spread_among(np.repeat(chance[:1], n, axis=0)).mean == pytest.approx(1)
    if n > 2:
        assert (alone.mean, alone.deviation) == pytest.approx((0, 1 / 8), abs=0.05)
        copied = spread_among(np.concatenate([chance, chance[: n // 2]]))
        assert (copied.mean, copied.deviation) == pytest.approx((0, 1 / 8), abs=0.05)
