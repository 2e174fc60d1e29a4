"""A commit whose answer was lost is settled by what the head says; nothing is stored twice, nothing is lost."""

import time

import pytest

from support.emulator import Emulator
from support.store import Held, Rows, adding, fresh_scope, open_store, remember, texts
from tablestore_openmemory_mcp.errors import StoreUnavailable
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.client import transport
from tablestore_openmemory_mcp.store.commit.heads import RING
from tablestore_openmemory_mcp.store.model import Conflict, ScopeStore, Snapshot


@pytest.fixture
def scope(emulator: Emulator) -> Scope:
    scope = fresh_scope()
    remember(open_store(emulator).scope(scope), "first")
    return scope


def lose_next_answer(emulator: Emulator, when: str) -> None:
    emulator.set_faults(rules=[{"apis": ["UpdateRow"], "drop": True, "when": when, "times": 1}])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("first", [True, False])
def test_lost_answer(emulator: Emulator, scope: Scope, when: str, first: bool) -> None:
    if first:
        scope = fresh_scope()  # whose head does not exist yet
    store = open_store(emulator).scope(scope)
    base = store.snapshot()
    lose_next_answer(emulator, when)
    after = store.commit(adding("mine"), base=base)
    assert after.seq == base.seq + 1
    assert texts(open_store(emulator).scope(scope)) == ([] if first else ["first"]) + ["mine"]
    Rows(emulator, scope).audit()


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_answer_while_others_go_on(emulator: Emulator, scope: Scope, when: str) -> None:
    other = open_store(emulator).scope(scope)
    other.snapshot()
    lose_next_answer(emulator, when)
    changes = adding("mine")
    with Held(
        emulator, scope, lambda store: store.commit(changes, base=store.snapshot()), at=("unanswered", 1)
    ) as writer:
        remember(other, "theirs")
        if when == "after":
            assert writer.go().seq == 2
        else:
            with pytest.raises(Conflict):
                writer.go()
    assert texts(other) == (["first", "mine", "theirs"] if when == "after" else ["first", "theirs"])
    Rows(emulator, scope).audit()


def test_first_attempt_lands_after_it_was_given_up(
    emulator: Emulator, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head still shows nothing of it, so it is sent again; by then it is there, and the second one is refused."""
    monkeypatch.setattr(transport, "ANSWER_SECONDS", 1.0)
    store = open_store(emulator).scope(scope)
    base = store.snapshot()
    emulator.fault(apis="UpdateRow", delay=1.5, times=1)
    emulator.fault(apis="GetRow", delay=0.9, when="after", times=1)
    assert store.commit(adding("mine"), base=base).seq == base.seq + 1
    assert texts(open_store(emulator).scope(scope)) == ["first", "mine"]
    Rows(emulator, scope).audit()


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_answer_of_delete_all(emulator: Emulator, scope: Scope, when: str) -> None:
    store = open_store(emulator).scope(scope)
    store.snapshot()
    lose_next_answer(emulator, when)
    assert store.delete_all() == 1
    assert texts(store) == []
    assert Rows(emulator, scope).head()["epoch"] == 1
    Rows(emulator, scope).audit()


def test_answers_lost_for_good(emulator: Emulator, scope: Scope) -> None:
    """The deadline holds, the error says that nothing is certain, and what was written is whole."""
    store = open_store(emulator).scope(scope)
    base = store.snapshot()
    emulator.set_faults(rules=[{"apis": ["UpdateRow", "GetRow"], "drop": True, "when": "after"}])
    with pytest.raises(StoreUnavailable, match="broke"):
        store.commit(adding("mine"), base=base, deadline=time.monotonic() + 3)
    emulator.clear_faults()
    assert texts(open_store(emulator).scope(scope)) == ["first", "mine"]


def test_ring_overtaken(emulator: Emulator, scope: Scope) -> None:
    """256 commits later the ring no longer knows; the caller is told that, not a guess."""
    other = open_store(emulator).scope(scope)
    other.snapshot()
    lose_next_answer(emulator, "after")

    def patiently(store: ScopeStore) -> Snapshot:
        return store.commit(adding("mine"), base=store.snapshot(), deadline=time.monotonic() + 600)

    with Held(emulator, scope, patiently, at=("unanswered", 1)) as writer:
        for i in range(RING):
            remember(other, f"m{i}")
        with pytest.raises(StoreUnavailable, match="cannot be told"):
            writer.go()
    assert len(texts(other)) == RING + 2
