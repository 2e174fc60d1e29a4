"""delete-all, sweeps that were cut short, and tombstones of long ago."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.store import Held, Rows, deleting, fresh_scope, memory, open_store, remember, texts
from tablestore_openmemory_mcp.store import sweep
from tablestore_openmemory_mcp.store.model import Change


@pytest.fixture
def scope():
    return fresh_scope()


def test_nothing_to_delete(emulator, scope):
    store = open_store(emulator).scope(scope)
    assert store.delete_all() == 0
    assert Rows(emulator, scope).head() == {}


def test_history_goes_too(emulator, scope):
    store = open_store(emulator).scope(scope)
    (old,) = remember(store, "secret")
    base = store.snapshot()
    store.commit([deleting(base.memories[old.id])], base=base)
    assert "secret" in str(Rows(emulator, scope).history())
    assert store.delete_all() == 0  # no memory was left, but what it said was
    assert Rows(emulator, scope).memories() == Rows(emulator, scope).history() == {}
    assert store.history(old.id) == []


def test_invisible_at_once(emulator, scope):
    """Other processes see nothing as soon as it is decided, long before the rows are gone."""
    store = open_store(emulator).scope(scope)
    (old,) = remember(store, "a")
    with Held(emulator, scope, lambda s: s.delete_all(), at=("committed", 1)):
        assert len(Rows(emulator, scope).memories()) == 1
        assert texts(store) == texts(open_store(emulator).scope(scope)) == []
        assert store.history(old.id) == []


def test_sweep_cut_short_is_finished_by_the_next_writer(emulator, scope):
    store = open_store(emulator).scope(scope)
    remember(store, *(f"m{i}" for i in range(300)))
    emulator.fault(apis="BatchWriteRow", error="OTSParameterInvalid", skip=2)
    assert store.delete_all() == 300  # it is gone for every reader, so this is the truth
    emulator.clear_faults()
    rows = Rows(emulator, scope)
    assert 0 < len(rows.memories()) + len(rows.history()) < 600
    assert rows.head()["sweep"] == 1
    remember(open_store(emulator).scope(scope), "next")
    rows.audit()


def test_an_id_that_comes_back_while_it_is_swept(emulator, scope):
    """A migration may bring ids of its own, and the sweep of the last delete-all may still be on its way."""
    store = open_store(emulator).scope(scope)
    (old,) = remember(store, "old")
    emulator.fault(apis="BatchWriteRow", delay=0.5, skip=1, times=1)  # the first sweeps the history
    with ThreadPoolExecutor(1) as pool:
        erasing = pool.submit(open_store(emulator).scope(scope).delete_all)
        while not emulator.faults()["rules"][0]["fired"]:
            time.sleep(0.01)
        again = memory("again", id=old.id)
        store.commit([Change("ADD", again.id, again)], base=store.snapshot())
        assert erasing.result(60) == 1
    assert texts(open_store(emulator).scope(scope)) == ["again"]
    Rows(emulator, scope).audit()


def test_tombstones_are_purged_after_a_day(emulator, scope, monkeypatch):
    store = open_store(emulator).scope(scope)
    a, b, _ = remember(store, "a", "b", "c")
    base = store.snapshot()
    store.commit([deleting(a), deleting(b)], base=base)
    remember(store, "d")
    assert len(Rows(emulator, scope).memories()) == 4  # two tombstones, "c", "d"
    monkeypatch.setattr(sweep, "TOMBSTONE_SECONDS", 0.0)
    remember(open_store(emulator).scope(scope), "e")  # a process that only read about them
    assert len(Rows(emulator, scope).memories()) == 3
    assert texts(store) == ["c", "d", "e"]
    Rows(emulator, scope).audit()


@pytest.mark.slow
def test_twelve_thousand(emulator, scope):
    store = open_store(emulator).scope(scope)
    for start in range(0, 12_000, 500):
        remember(store, *(f"m{i}" for i in range(start, start + 500)))
    assert len(texts(open_store(emulator).scope(scope))) == 12_000
    assert store.delete_all() == 12_000
    assert texts(open_store(emulator).scope(scope)) == []
    assert Rows(emulator, scope).memories() == {}
    Rows(emulator, scope).audit()
