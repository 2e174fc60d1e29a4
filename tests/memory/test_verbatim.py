"""Without an LLM a text is kept as it is, and what may be about the same is told to the assistant at the other end."""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support.fake_openai import FakeOpenAI
from support.plain_store import PlainScopeStore, PlainStore
from support.processes import wait_until
from tablestore_openmemory_mcp.errors import InvalidInput
from tablestore_openmemory_mcp.memory.add.verbatim import MOST
from tablestore_openmemory_mcp.memory.model import AddResult
from tablestore_openmemory_mcp.memory.models.embedder import Embedded, Embedder, TextRefused
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.memory.unit_of_work import UnitOfWork, now_ms
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.model import Snapshot, Vector
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]


@pytest.fixture
def verbatim(make: MakeService) -> MemoryService:
    """No LLM, but an embedder."""
    return make(MEMORY_PIPELINE="verbatim")


def related(result: AddResult) -> list[str]:
    return [hit.memory.text for hit in result.related]


def added(service: MemoryService, scope: Scope, *texts: str) -> list[str]:
    """Their ids."""
    return [outcome.id for text in texts for outcome in service.add(scope, text).results]


OTHERS = ("养了一只猫", "Plays the violin on Sundays", "每月五号交房租", "Afraid of spiders")


def test_what_is_about_the_same_is_told_by_meaning(verbatim: MemoryService, scope: Scope) -> None:
    home, *_ = added(verbatim, scope, "现在住在上海", *OTHERS)
    result = verbatim.add(scope, "我搬到杭州了")
    assert [outcome.event for outcome in result.results] == ["ADD"]
    (hit,) = result.related
    assert (hit.memory.id, hit.memory.text) == (home, "现在住在上海")
    assert hit.score is not None
    assert 0.5 < hit.score < 1
    found = {h.memory.id: h.score for h in verbatim.search(scope, "我搬到杭州了")}
    assert found[home] == pytest.approx(hit.score, abs=1e-5)


def test_and_by_words_where_nothing_embeds(keyless: MemoryService, scope: Scope) -> None:
    variables, *_ = added(keyless, scope, "变量采用小驼峰命名", *OTHERS)
    result = keyless.add(scope, "我喜欢使用小写字母加下划线命名变量")
    assert [(hit.memory.id, hit.score) for hit in result.related] == [(variables, None)]
    assert keyless.add(scope, "I drink tea").related == []


def test_nothing_is_related_to_what_stands_alone(keyless: MemoryService, scope: Scope) -> None:
    assert list(keyless.add(scope, "现在住在上海").related) == []
    assert list(keyless.add(scope, "Afraid of spiders").related) == []


def test_no_more_than_five_and_never_itself(verbatim: MemoryService, scope: Scope) -> None:
    added(verbatim, scope, *(f"我喜欢吃{dish}面" for dish in ("牛肉", "羊肉", "番茄", "葱油", "炸酱", "担担", "刀削")))
    result = verbatim.add(scope, "我喜欢吃重庆小面")
    assert len(result.related) == MOST
    assert "我喜欢吃重庆小面" not in related(result)


def test_what_is_told_is_bounded(verbatim: MemoryService, scope: Scope) -> None:
    """Each long text is paid for by the assistant's user. What is too long to be rewritten is not told at all."""
    long = [f"我住在上海的第{n}个理由：{'因为这里的生活' * 250}" for n in "一二三四"]
    added(verbatim, scope, *long, f"我住在上海的日记：{'今天天气很好' * 800}")
    told = related(verbatim.add(scope, "我住在上海的第五个理由"))
    assert told
    assert sum(map(len, told)) <= 4_000
    assert set(told) <= set(long)


def test_other_scopes_and_expired_memories_are_told_to_nobody(
    verbatim: MemoryService, scope: Scope, plain: PlainStore
) -> None:
    for other in (Scope(scope.user_id, "another"), Scope("李四", scope.client_name)):
        added(verbatim, other, "现在住在上海")
    soon = now_ms() + 1_500
    verbatim.add(scope, "这个月住在上海", expires_at=soon)
    wait_until(lambda: now_ms() > soon, 30)
    assert len(plain.scope(scope).snapshot().memories) == 1
    assert related(verbatim.add(scope, "现在住在北京")) == []
    assert related(verbatim.add(scope, "我搬到杭州了")) == ["现在住在北京"]


@pytest.mark.parametrize("key", ["", "sk-fake"])
def test_a_repetition_is_not_stored_and_relates_to_nothing(make: MakeService, scope: Scope, key: str) -> None:
    """Or an assistant that deletes what is only repeated would delete the one copy there is."""
    service = make(OPENAI_API_KEY=key, MEMORY_PIPELINE="verbatim")
    added(service, scope, "用户住在上海", *OTHERS)
    for again in ("用户住在上海", "我住在上海。", "请记住：现在住在上海"):
        result = service.add(scope, again)
        assert (result.results, result.related) == ([], ())
        assert result.message == "This is already remembered; nothing was changed."
    assert service.list(scope).total == 1 + len(OTHERS)


def test_a_longer_text_stands_beside_what_it_contains(verbatim: MemoryService, scope: Scope) -> None:
    """Only the assistant's word replaces it; and so with a shorter one."""
    added(verbatim, scope, "我住在上海浦东")
    longer = verbatim.add(scope, "我住在上海浦东，有两只猫")
    assert related(longer) == ["我住在上海浦东"]
    shorter = verbatim.add(scope, "我住在上海")
    assert {"我住在上海浦东", "我住在上海浦东，有两只猫"} == set(related(shorter))
    assert verbatim.list(scope).total == 3


@pytest.mark.parametrize("key", ["", "sk-fake"])
def test_a_correction_replaces_both(make: MakeService, scope: Scope, key: str) -> None:
    """The memory that it corrects, in place, and the copy that the add stored; each has its history."""
    service = make(OPENAI_API_KEY=key, MEMORY_PIPELINE="verbatim")
    (old,) = added(service, scope, "变量采用小驼峰命名")
    added(service, scope, *OTHERS)
    (copy,) = added(service, scope, "变量采用下划线命名")
    updated = service.update(scope, old, "变量采用下划线命名", actor="cline")
    assert (updated.id, updated.event, updated.previous_memory) == (old, "UPDATE", "变量采用小驼峰命名")
    assert updated.note == f"{copy}, which says the same, was deleted."
    assert service.get(scope, copy) is None
    assert service.list(scope).total == 1 + len(OTHERS)
    assert [(e.event, e.new_text) for e in service.history(scope, old)] == [
        ("ADD", "变量采用小驼峰命名"),
        ("UPDATE", "变量采用下划线命名"),
    ]
    assert [(e.event, e.reason) for e in service.history(scope, copy)] == [
        ("ADD", None),
        ("DELETE", f"says the same as {old}"),
    ]
    again = service.update(scope, old, "变量采用下划线命名")
    assert (again.note, service.list(scope).total) == (None, 1 + len(OTHERS))


def test_a_copy_that_lasts_longer_stays(verbatim: MemoryService, scope: Scope) -> None:
    later, (old,) = now_ms() + 3_600_000, added(verbatim, scope, "I live in Berlin")
    (copy,) = added(verbatim, scope, "I live in Rome")
    assert verbatim.update(scope, old, "I live in Rome", expires_at=later).note is None
    assert {m.id for m in verbatim.list(scope).memories} == {old, copy}
    with pytest.raises(InvalidInput):
        verbatim.update(Scope("another", "c"), old, "I live in Rome")


def test_what_another_writer_changed_meanwhile_is_told_as_it_is(
    verbatim: MemoryService, scope: Scope, plain: PlainStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what an add read and what it commits, one memory is corrected and another deleted."""
    home, plan, *_ = added(verbatim, scope, "现在住在上海", "明年想住在成都", *OTHERS)
    commit = PlainScopeStore.commit
    raced: list[bool] = []

    def late(store: PlainScopeStore, changes: Sequence[object], *, base: Snapshot, **more: object) -> object:
        if not raced:
            raced.append(True)
            theirs = UnitOfWork(store.snapshot())
            theirs.update(home, "现在住在苏州", None, None)
            theirs.delete(plan)
            commit(store, theirs.changes, base=theirs.base)
        return commit(store, changes, base=base, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(PlainScopeStore, "commit", late)
    result = verbatim.add(scope, "现在住在杭州")
    assert raced
    assert related(result) == ["现在住在苏州"]
    assert [o.memory for o in result.results] == ["现在住在杭州"]


def test_in_a_large_scope_too(make: MakeService, open_store: Callable[..., TablestoreStore], prefix: str) -> None:
    """Vectors are not in the snapshot there: the search index and the rows give them."""
    scope = Scope("large", "c")
    service = make(open_store(prefix, EXACT_SEARCH_LIMIT="0"), MEMORY_PIPELINE="verbatim")
    home, *_ = added(service, scope, "现在住在上海", *OTHERS)
    (hit,) = service.add(scope, "我搬到杭州了").related
    assert hit.memory.id == home
    assert hit.score is not None


def test_a_text_that_the_embedder_refuses_is_related_by_its_words(
    verbatim: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    added(verbatim, scope, "变量采用小驼峰命名")
    fake.model.refused_texts = frozenset({"变量采用下划线命名"})
    result = verbatim.add(scope, "变量采用下划线命名")
    assert result.message is not None
    assert [(hit.memory.text, hit.score) for hit in result.related] == [("变量采用小驼峰命名", None)]


def test_other_pipelines_tell_nothing(make: MakeService, scope: Scope) -> None:
    for pipeline in ("reconcile", "additive"):
        service = make(MEMORY_PIPELINE=pipeline)
        service.add(scope, "我住在上海")
        assert list(service.add(scope, "我喜欢上海的夜景").related) == []


# --- on the pairs that we ship, with the vectors that real models gave them (benchmarks/related.py shows more) ------

DATA = Path(__file__).parents[2] / "benchmarks" / "data"
PAIRS = json.loads((DATA / "contradictions.json").read_text("utf-8"))
LANGUAGES, SIZE = ("zh", "en"), 30


class Kept(Embedder):
    """A model's vectors of the pairs' texts; it refuses any other."""

    def __init__(self, name: str) -> None:
        pairs = [p for language in LANGUAGES for kind in ("contradicting", "unrelated") for p in PAIRS[language][kind]]
        texts = list(dict.fromkeys(text for p in pairs for text in (p["old"], p["new"])))
        with np.load(DATA / f"contradictions_{name}.npz") as kept:
            assert kept["texts_sha256"] == hashlib.sha256("\n".join(texts).encode()).hexdigest(), "write it again"
            matrix = kept["vectors"].astype(np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        self.model, self.dimension = name, matrix.shape[1]
        self.vectors: dict[str, Vector] = dict(zip(texts, matrix, strict=True))

    def embed(self, texts: Sequence[str], *, deadline: float, retries: float = 0) -> NDArray[np.float32]:
        if not self.vectors.keys() >= set(texts):
            raise TextRefused("not one of the pairs")
        return np.stack([self.vectors[text] for text in texts])

    def embed_each(self, texts: Sequence[str], *, deadline: float) -> Embedded:
        return Embedded(self.embed(texts, deadline=deadline), {})

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("name", "least", "most"), [("use", 0.97, 1.5), ("minilm", 0.94, 2.0), (None, 0.87, 0.9)])
def test_what_is_contradicted_is_told_and_little_beside_it(name: str | None, least: float, most: float) -> None:
    """Each old memory in a scope of thirty others of its language. `least`: share of the contradicted ones that are
    told; `most`: others beside them, on average. None of the new texts is taken for known."""
    embedder = Kept(name) if name else None
    store = PlainStore()
    nothing_set = Settings.load({"STORE": "embedded"})
    service = MemoryService(nothing_set, store, None, embedder)  # type: ignore[arg-type]  # no calls of an LLM to count
    told, beside, chance = [], [], random.Random(14)
    for language in LANGUAGES:
        pairs = PAIRS[language]["contradicting"]
        assert len(pairs) > 100
        for n, pair in enumerate(pairs):
            scope = Scope(f"{language} {n}", "c")
            others = chance.sample([p["old"] for p in pairs if p is not pair], SIZE)
            unit = UnitOfWork(store.scope(scope).snapshot())
            for text in (*others, pair["old"]):
                unit.add(text, embedder.vectors[text] if embedder else None, name)
            store.scope(scope).commit(unit.changes, base=unit.base)
            result = service.add(scope, pair["new"])
            assert [outcome.event for outcome in result.results] == ["ADD"]
            told.append(pair["old"] in related(result))
            beside.append(len(result.related) - told[-1])
    print(f"{name}: {100 * np.mean(told):.1f} % told, {np.mean(beside):.2f} beside")
    assert np.mean(told) >= least
    assert np.mean(beside) <= most
