"""delete-all, sweeps that were cut short, and tombstones of long ago."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tablestore import Condition, Row

from support.emulator import Emulator, connect
from support.store import (
    Held,
    Rows,
    adding,
    clock_off_by,
    deleting,
    environ,
    fresh_scope,
    memory,
    open_store,
    prefix_of,
    remember,
    texts,
)
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.commit import sweeper as sweep
from tablestore_openmemory_mcp.store.model import Change


@pytest.fixture
def scope() -> Scope:
    return fresh_scope()


def test_nothing_to_delete(emulator: Emulator, scope: Scope) -> None:
    store = open_store(emulator).scope(scope)
    assert store.delete_all() == 0
    assert Rows(emulator, scope).head() == {}


def test_history_goes_too(emulator: Emulator, scope: Scope) -> None:
    store = open_store(emulator).scope(scope)
    (old,) = remember(store, "secret")
    base = store.snapshot()
    store.commit([deleting(base.memories[old.id])], base=base)
    assert "secret" in str(Rows(emulator, scope).history())
    assert store.delete_all() == 0  # no memory was left, but what it said was
    assert not Rows(emulator, scope).memories()
    assert not Rows(emulator, scope).history()
    assert store.history(old.id) == []


def test_invisible_at_once(emulator: Emulator, scope: Scope) -> None:
    """Other processes see nothing as soon as it is decided, long before the rows are gone."""
    store = open_store(emulator).scope(scope)
    (old,) = remember(store, "a")
    with Held(emulator, scope, lambda s: s.delete_all(), at=("committed", 1)):
        assert len(Rows(emulator, scope).memories()) == 1
        assert texts(store) == texts(open_store(emulator).scope(scope)) == []
        assert store.history(old.id) == []


def test_sweep_cut_short_is_finished_by_the_next_writer(emulator: Emulator, scope: Scope) -> None:
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


def test_an_id_that_comes_back_while_it_is_swept(emulator: Emulator, scope: Scope) -> None:
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


def test_tombstones_are_purged_after_a_day(emulator: Emulator, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
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


def expiring(text: str, seconds: float) -> Change:
    m = memory(text, expires_at=time.time_ns() // 1_000_000 + int(seconds * 1000))
    return Change("ADD", m.id, m)


def test_the_count_leaves_out_what_a_person_no_longer_saw(emulator: Emulator, scope: Scope) -> None:
    store = open_store(emulator).scope(scope)
    changes = [*adding("a", "b"), expiring("past", -1), expiring("past too", -1), expiring("later", 3600)]
    base = store.commit(changes, base=store.snapshot())
    Rows(emulator, scope).audit()
    past, later = changes[3].new, changes[4].new
    assert past
    assert later
    touched = Change("TOUCH", later.id, replace(later, expires_at=None))
    store.commit([deleting(past), touched], base=base)
    assert Rows(emulator, scope).head()["expiring"] == 1
    before = emulator.calls()
    assert open_store(emulator).scope(scope).delete_all() == 3
    assert emulator.calls()["GetRange"] == before["GetRange"] + 4  # one to see which expired, three to sweep
    assert texts(store) == []
    Rows(emulator, scope).audit()


def test_the_count_of_a_scope_where_nothing_expires_needs_no_look_at_it(emulator: Emulator, scope: Scope) -> None:
    remember(open_store(emulator).scope(scope), "a", "b")
    before = emulator.calls()
    assert open_store(emulator).scope(scope).delete_all() == 2
    assert emulator.calls()["GetRange"] == before["GetRange"] + 3


def test_the_count_of_a_scope_that_an_older_program_wrote(emulator: Emulator, scope: Scope) -> None:
    """It did not count those that expire."""
    store = open_store(emulator).scope(scope)
    store.commit([*adding("a"), expiring("past", -1)], base=store.snapshot())
    key = [("user_id", scope.user_id), ("client_name", scope.client_name)]
    older = Row(key, {"delete_all": ["expiring", "size"]})
    connect(emulator).update_row(f"{prefix_of(emulator)}_heads", older, Condition("EXPECT_EXIST"))
    assert open_store(emulator).scope(scope).delete_all() == 1
    assert store.delete_all() == 0


def test_the_count_when_somebody_adds_meanwhile(emulator: Emulator, scope: Scope) -> None:
    other = open_store(emulator).scope(scope)
    other.commit([*adding("a"), expiring("past", -1)], base=other.snapshot())
    with Held(emulator, scope, lambda s: s.delete_all(), at=("committing", 1)) as eraser:
        remember(other, "b", "c")
        assert eraser.go() == 3
    Rows(emulator, scope).audit()


def test_a_clock_that_was_days_ahead(emulator: Emulator, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scope goes on at the right time afterwards: nothing waits for the wrong one to come true."""
    store = open_store(emulator).scope(scope)
    remember(store, "before")
    with clock_off_by(10 * 24 * 3600):
        (ahead,) = remember(open_store(emulator).scope(scope), "ahead")
        wrong = Rows(emulator, scope).head()["at"]
    (after,) = remember(store, "after")
    now = time.time_ns() // 1_000_000
    rows = Rows(emulator, scope)
    assert wrong > now
    assert rows.head()["at"] <= now
    assert rows.memories()[after.id]["written_at"] <= now
    assert set(texts(open_store(emulator).scope(scope))) == {"before", "ahead", "after"}
    base = store.snapshot()
    store.commit([deleting(base.memories[after.id]), deleting(base.memories[ahead.id])], base=base)
    monkeypatch.setattr(sweep, "TOMBSTONE_SECONDS", 0.0)
    remember(store, "next")
    assert set(rows.memories()) == set(store.snapshot().memories)
    assert store.delete_all() == 2
    rows.audit()


def test_clocks_within_what_the_service_takes_never_run_backwards(emulator: Emulator, scope: Scope) -> None:
    store = open_store(emulator).scope(scope)
    with clock_off_by(14 * 60):
        remember(store, "ahead")
    ahead = Rows(emulator, scope).head()["at"]
    remember(store, "after")
    assert Rows(emulator, scope).head()["at"] == ahead


@pytest.mark.slow
def test_twelve_thousand(emulator: Emulator, scope: Scope) -> None:
    store = open_store(emulator).scope(scope)
    for start in range(0, 12_000, 500):
        remember(store, *(f"m{i}" for i in range(start, start + 500)))
    assert len(texts(open_store(emulator).scope(scope))) == 12_000
    assert store.delete_all() == 12_000
    assert texts(open_store(emulator).scope(scope)) == []
    assert Rows(emulator, scope).memories() == {}
    Rows(emulator, scope).audit()


def erase(emulator: Emulator, scope: Scope) -> subprocess.CompletedProcess[str]:
    """The command, as an operator runs it."""
    return subprocess.run(
        [sys.executable, "-m", "tablestore_openmemory_mcp", "erase", "--user", scope.user_id, "--yes"],
        env={**os.environ, **environ(emulator)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("per_row", [False, True])
def test_erasing_that_is_not_permitted_ends(emulator: Emulator, scope: Scope, per_row: int) -> None:
    """It went on for ever."""
    remember(open_store(emulator).scope(scope), *(f"m{i}" for i in range(250)))
    emulator.fault(apis="BatchWriteRow", error="OTSNoPermissionAccess", per_row=per_row)
    done = erase(emulator, scope)
    assert done.returncode != 0
    assert "does not permit this" in done.stderr
    assert "TABLESTORE_ACCESS_KEY_ID" in done.stderr
    emulator.clear_faults()
    done = erase(emulator, scope)
    assert done.returncode == 0
    assert not Rows(emulator, scope).memories()
    assert not Rows(emulator, scope).history()


def test_a_sweep_goes_on_as_long_as_it_gets_anywhere(emulator: Emulator, scope: Scope) -> None:
    """Cut short again and again, it still ends: each time some rows are gone."""
    store = open_store(emulator).scope(scope)
    for n in range(3):
        remember(store, *(f"{n}.{i}" for i in range(300)))
    emulator.fault(apis="BatchWriteRow", error="OTSParameterInvalid", times=1)
    store.delete_all()
    emulator.fault(apis="BatchWriteRow", delay=0.4)
    rounds = 0
    while not store.sweep(deadline=time.monotonic() + 1.5):
        rounds += 1
        assert rounds < 30
    assert rounds > 0
    assert not Rows(emulator, scope).memories()
    assert not Rows(emulator, scope).history()
