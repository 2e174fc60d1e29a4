"""What a search or a write does beside: memories that have expired go, those without a vector get one. Bounded, and
never in the way."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from support.fake_openai import FakeOpenAI, Fault, protocol
from support.plain_store import PlainSnapshot, PlainStore
from tablestore_openmemory_mcp.errors import LimitExceeded, StoreUnavailable
from tablestore_openmemory_mcp.memory.search import scope_upkeep
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.memory.unit_of_work import COMMIT_BYTES, UnitOfWork, now_ms
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.commit.redo_record import MAX_BYTES, Redo, encode_redo, nbytes
from tablestore_openmemory_mcp.store.model import Memory
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]
OpenStore = Callable[..., TablestoreStore]
AnyStore = PlainStore | TablestoreStore


def incompressible(chance: random.Random, length: int) -> str:
    """Characters of four bytes each, as rare Chinese ones are."""
    return "".join(chr(chance.randrange(0x20000, 0x2A6DF)) for _ in range(length))


def put(store: AnyStore, scope: Scope, texts: list[str], *, expired: bool = True) -> None:
    """Each in a commit of its own, expired a moment ago."""
    at = now_ms()
    base = store.scope(scope).snapshot()
    for text in texts:
        unit = UnitOfWork(base)
        unit.add(text, None, None, expires_at=at - 1 if expired else None)
        base = store.scope(scope).commit(unit.changes, base=base)


def held(store: AnyStore, scope: Scope) -> list[Memory]:
    return list(store.scope(scope).snapshot().memories.values())


# --- the expired ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "key"])
def test_the_expired_do_not_count(
    make: MakeService, store: AnyStore, open_store: OpenStore, prefix: str, scope: Scope, key: str
) -> None:
    if isinstance(store, TablestoreStore):
        store = open_store(prefix, MAX_MEMORIES="3")
    put(store, scope, [f"gone {n}" for n in range(60)])
    service = make(store, OPENAI_API_KEY=key, MAX_MEMORIES="3", MEMORY_PIPELINE="verbatim")
    for n in range(3):
        assert service.add(scope, f"kept {n}").results
    with pytest.raises(LimitExceeded, match="MAX_MEMORIES"):
        service.add(scope, "one more")
    assert service.list(scope).total == 3
    service.delete(scope, [service.list(scope).memories[0].id])
    assert service.add(scope, "one more").results
    with pytest.raises(LimitExceeded, match="MAX_MEMORIES"):
        service.add(scope, "and another")


def test_a_store_that_is_full_of_the_expired_takes_more(open_store: OpenStore, prefix: str, scope: Scope) -> None:
    """The store has a bound of its own; more have expired than one commit takes away."""
    put(open_store(prefix), scope, [f"gone {n}" for n in range(60)])
    small = open_store(prefix, MAX_MEMORIES="2")
    put(small, scope, ["a", "b"], expired=False)
    with pytest.raises(LimitExceeded, match="MAX_MEMORIES"):
        put(small, scope, ["c"], expired=False)


@pytest.mark.parametrize("write", ["search", "update", "delete", "add"])
def test_whoever_comes_takes_some_of_the_expired_away(
    make: MakeService, store: AnyStore, scope: Scope, write: str
) -> None:
    service = make(store, OPENAI_API_KEY="")
    [kept] = service.add(scope, "kept").results
    service.add(scope, "another")
    put(store, scope, [f"gone {n}" for n in range(50)])
    for _ in range(3):
        if write == "search":
            service.search(scope, "kept")
        elif write == "update":
            service.update(scope, kept.id, f"kept {random.random()}")
        elif write == "add":
            service.add(scope, f"kept {random.random()}")
        else:
            service.delete(scope, [service.list(scope).memories[-1].id])
            service.add(scope, f"kept {random.random()}")
    assert not [m for m in held(store, scope) if m.text.startswith("gone")]
    assert [entry.event for entry in service.history(scope, kept.id)][:1] == ["ADD"]


def test_expired_long_texts_do_not_block_their_scope(
    make: MakeService, open_store: OpenStore, prefix: str, scope: Scope
) -> None:
    """Twenty of 60,000 rare characters are more than a redo record holds."""
    chance = random.Random(1)
    store = open_store(prefix, MAX_TEXT_LENGTH="60000")
    put(store, scope, [incompressible(chance, 60_000) for _ in range(20)])
    service = make(store, OPENAI_API_KEY="", MAX_TEXT_LENGTH="60000")
    for n in range(4):
        assert service.add(scope, f"{n}" + incompressible(chance, 50_000)).results
    assert service.list(scope).total == 4
    assert len(held(store, scope)) == 4


def test_too_much_at_once_is_refused_and_blocks_nobody(
    make: MakeService, open_store: OpenStore, prefix: str, scope: Scope
) -> None:
    """A person deletes twenty long texts by their ids: all or none, so none; then a few at a time."""
    chance = random.Random(4)
    store = open_store(prefix, MAX_TEXT_LENGTH="60000")
    put(store, scope, [incompressible(chance, 60_000) for _ in range(20)], expired=False)
    service = make(store, OPENAI_API_KEY="", MAX_TEXT_LENGTH="60000")
    ids = [memory.id for memory in held(store, scope)]
    with pytest.raises(LimitExceeded, match="send less at once"):
        service.delete(scope, ids)
    assert len(held(store, scope)) == 20
    assert service.update(scope, ids[0], incompressible(chance, 60_000)).event == "UPDATE"
    for start in range(0, 20, 5):
        assert len(service.delete(scope, ids[start : start + 5])) == 5
    assert service.add(scope, "short").results
    assert service.list(scope).total == 1


def test_what_a_change_takes_is_never_more_than_is_said(scope: Scope) -> None:
    chance = random.Random(2)
    texts = ["", "a", "\x01" * 500, '"\\' * 300, incompressible(chance, 4000), "中" * 100]
    for _ in range(50):
        memories = {str(n): Memory(str(n), chance.choice(texts), 0, 0) for n in range(30)}
        unit = UnitOfWork(PlainSnapshot(scope, memories=memories))
        for n in range(chance.randrange(1, 30)):
            if chance.random() < 0.5:
                unit.delete(str(n))
            else:
                unit.update(str(n), chance.choice(texts), None, None)
        unit.add(chance.choice(texts), None, None, metadata={"é": chance.choice(texts)})
        assert len(encode_redo(Redo(1, 1, 1, "x" * 16, unit.changes))) <= sum(map(nbytes, unit.changes)) + 200
    assert COMMIT_BYTES + 200 < MAX_BYTES


# --- those without a vector -----------------------------------------------------------------------------------------


def embedded(store: AnyStore, scope: Scope) -> int:
    return sum(m.vector_model is not None for m in held(store, scope))


def test_long_texts_get_their_vectors_a_few_at_a_time(make: MakeService, store: AnyStore, scope: Scope) -> None:
    """Fifty texts of 31,000 letters, after a key was added: more than one commit takes."""
    chance = random.Random(3)
    put(store, scope, [incompressible(chance, 31_000) for _ in range(50)], expired=False)
    service = make(store)
    known = []
    for _ in range(8):
        assert service.search(scope, "𠀀")
        known.append(embedded(store, scope))
    assert known == sorted(known)
    assert known[0] > 0
    assert known[-1] == 50


@pytest.mark.parametrize(
    "trouble", [LimitExceeded("too much"), StoreUnavailable("away"), RuntimeError("a bug"), MemoryError()], ids=repr
)
def test_an_improvement_never_fails_its_search(
    make: MakeService,
    plain: PlainStore,
    fake: FakeOpenAI,
    scope: Scope,
    trouble: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(plain, scope, ["住在上海", "gone"], expired=False)
    service = make()

    def commit(*_: object, **__: object) -> None:
        raise trouble

    monkeypatch.setattr(plain.scope(scope), "commit", commit)
    for n in range(5):
        assert service.search(scope, f"上海 {n}")[0].memory.text == "住在上海"
    assert fake.count("embeddings") == 5 + 1, "what failed is not tried again by every search"


def test_a_refused_text_stops_no_other_and_is_not_sent_again(
    make: MakeService, plain: PlainStore, fake: FakeOpenAI, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(plain, scope, [f"number {n}" for n in range(25)] + ["forbidden"], expired=False)

    def refusal(texts: Sequence[str], *_: object) -> Any:
        return protocol.error(400, "Inappropriate content.") if "forbidden" in texts else None

    monkeypatch.setattr(protocol, "embedding_refusal", refusal)
    service = make()
    for _ in range(3):
        assert service.search(scope, "number")[0].memory.text.startswith("number")
    assert embedded(plain, scope) == 25
    fake.forget()
    service.search(scope, "another number")
    assert fake.count("embeddings") == 1
    assert service.search(scope, "what is forbidden?", limit=50)[0].memory.text == "forbidden"


def test_an_outage_in_the_middle_keeps_what_came_before(
    make: MakeService, plain: PlainStore, fake: FakeOpenAI, scope: Scope
) -> None:
    put(plain, scope, [f"number {n}" for n in range(50)], expired=False)
    ok = Fault.slow(0)
    fake.fail_next("embeddings", ok, ok, ok, Fault.refused_key())
    make().search(scope, "number")
    assert embedded(plain, scope) == 20


def test_what_is_remembered_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope_upkeep, "_MOST_RESTING", 10)
    improver = scope_upkeep.Improver(None)
    for n in range(50):
        improver.rest(Scope("u", str(n)))
    assert len(improver._resting) == 10
    assert min(improver._resting.values()) > time.monotonic()
