"""A writer that slept while others went on harms nothing when it wakes, wherever it fell asleep."""

import signal

import pytest

from support.emulator import Emulator
from support.store import (
    Held,
    Rows,
    Writer,
    adding,
    deleting,
    fresh_scope,
    open_store,
    remember,
    texts,
    updating,
)
from tablestore_openmemory_mcp.store.commit import committer as commit
from tablestore_openmemory_mcp.store.commit import sweeper as sweep
from tablestore_openmemory_mcp.store.model import Conflict, Memory, ScopeStore, Snapshot


def rewrite(store: ScopeStore, old: Memory, text: str) -> Snapshot:
    base = store.snapshot()
    return store.commit([updating(base.memories[old.id], text)], base=base)


def forget(store: ScopeStore, old: Memory) -> Snapshot:
    base = store.snapshot()
    return store.commit([deleting(base.memories[old.id])], base=base)


@pytest.mark.parametrize("step", ["committed", "applying", "applied"])
def test_update_rewritten_by_another(emulator: Emulator, step: str) -> None:
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    (old,) = remember(other, "v1")
    with Held(emulator, scope, lambda store: rewrite(store, old, "v2"), at=(step, 1)) as sleeper:
        rewrite(other, old, "v3")
        assert sleeper.go().seq == 2
    assert texts(other) == texts(open_store(emulator).scope(scope)) == ["v3"]
    assert [entry.new_text for entry in other.history(old.id)] == ["v1", "v2", "v3"]
    Rows(emulator, scope).audit()


@pytest.mark.parametrize("step", ["committed", "applying", "applied"])
def test_update_deleted_by_another(emulator: Emulator, step: str) -> None:
    """The tombstone is what keeps the sleeper from bringing it back."""
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    (old,) = remember(other, "v1")
    with Held(emulator, scope, lambda store: rewrite(store, old, "v2"), at=(step, 1)) as sleeper:
        forget(other, old)
        sleeper.go()
    assert texts(other) == texts(open_store(emulator).scope(scope)) == []
    assert [entry.event for entry in other.history(old.id)] == ["ADD", "UPDATE", "DELETE"]
    Rows(emulator, scope).audit()


@pytest.mark.parametrize("step", ["committed", "applying", "applied"])
def test_add_then_everything_deleted(emulator: Emulator, step: str) -> None:
    """What it writes too late is of an old epoch: never seen, and taken back."""
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    remember(other, "old")
    with Held(emulator, scope, lambda store: remember(store, "mine"), at=(step, 1)) as sleeper:
        assert other.delete_all() == 2
        sleeper.go()
    assert texts(other) == texts(open_store(emulator).scope(scope)) == []
    assert not Rows(emulator, scope).memories()
    assert not Rows(emulator, scope).history()
    remember(other, "new")
    Rows(emulator, scope).audit()


def test_late_writer_stops_before_its_rows(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "_LATE_SECONDS", 0.0)
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    remember(other, "old")
    with Held(emulator, scope, lambda store: remember(store, "mine"), at=("committed", 1)) as sleeper:
        assert other.delete_all() == 2
        sleeper.go()
    assert sleeper.steps == ["committing", "committed", "superseded"]
    assert Rows(emulator, scope).memories() == {}


def test_killed_before_it_could_take_its_rows_back(emulator: Emulator) -> None:
    """Rows of an old epoch that nobody announced are seen by whoever loads the scope, and swept by the next writer."""
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    remember(other, "old")
    work = [{"do": "add", "texts": ["mine", "mine too"]}]
    with Writer(emulator, scope, work, at=[("applying", 1, signal.SIGSTOP), ("applied", 1, signal.SIGKILL)]) as writer:
        writer.wait_until_stopped()
        assert other.delete_all() == 3
        writer.thaw()
        assert writer.result()[2] == -9
    assert len(Rows(emulator, scope).memories()) == 2
    fresh = open_store(emulator).scope(scope)
    assert texts(fresh) == []
    remember(fresh, "new")
    Rows(emulator, scope).audit()


def test_killed_in_the_middle_of_a_second_sweep(emulator: Emulator) -> None:
    """Its history and its memories turn up between the sweeper's look at the one and at the other, and it dies."""
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    remember(other, "old")
    late = [("applying", 1, signal.SIGSTOP), ("applied", 1, signal.SIGKILL)]
    with Writer(emulator, scope, [{"do": "add", "texts": ["secret"]}], at=late) as writer:
        writer.wait_until_stopped()
        assert other.delete_all() == 2
        with Held(emulator, scope, lambda store: store.delete_all(), at=("sweeping", 1)) as sweeper:
            writer.thaw()
            assert writer.result()[2] == -9
            rows = Rows(emulator, scope)
            assert len(rows.memories()) == len(rows.history()) == 1
            sweeper.go()
    assert not rows.memories()
    assert not rows.history()


def test_killed_between_two_late_batches(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen between its memories, which are swept with all others, and their history, which nothing visible tells of:
    a day later, when nobody can be that late any more, the next writer looks once more."""
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    remember(other, "old")
    work = [{"do": "add", "texts": [f"m{i:03}" for i in range(200)]}]
    late = [("applying", 2, signal.SIGSTOP), ("applied", 1, signal.SIGKILL)]
    with Writer(emulator, scope, work, at=late) as writer:
        writer.wait_until_stopped()
        rows = Rows(emulator, scope)
        assert len(rows.memories()) == 201
        assert other.delete_all() == 201
        writer.thaw()
        assert writer.result()[2] == -9
    assert (len(rows.memories()), len(rows.history())) == (0, 200)
    (new,) = remember(other, "new")
    assert "emptied" in rows.head()
    assert len(rows.history()) == 201
    assert [entry.new_text for entry in other.history(new.id)] == ["new"]
    monkeypatch.setattr(sweep, "TOMBSTONE_SECONDS", 0.0)
    remember(other, "a day later")
    assert texts(open_store(emulator).scope(scope)) == ["new", "a day later"]
    assert "emptied" not in rows.head()
    rows.audit()


def test_killed_while_it_takes_its_rows_back(emulator: Emulator) -> None:
    """History goes first, so that what is left is memory rows, which whoever loads the scope sees."""
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    remember(other, "old")
    work = [{"do": "add", "texts": [f"m{i:03}" for i in range(150)]}]
    late = [("applying", 1, signal.SIGSTOP), ("taking back", 2, signal.SIGKILL)]
    with Writer(emulator, scope, work, at=late) as writer:
        writer.wait_until_stopped()
        assert other.delete_all() == 151
        writer.thaw()
        assert writer.result()[2] == -9
    rows = Rows(emulator, scope)
    assert (len(rows.memories()), len(rows.history())) == (100, 0)
    remember(open_store(emulator).scope(scope), "new")
    rows.audit()


def test_roll_forward_of_another_writer_after_everything_was_deleted(emulator: Emulator) -> None:
    """The sleeper is finishing a dead writer's commit when the scope is emptied."""
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    remember(other, "old")
    with Writer(emulator, scope, [{"do": "add", "texts": ["dead"]}], at=[("committed", 1, signal.SIGKILL)]) as dead:
        assert dead.result()[2] == -9
    with Held(emulator, scope, lambda store: remember(store, "mine"), at=("applying", 1)) as sleeper:
        assert other.delete_all() == 2
        with pytest.raises(Conflict) as conflict:
            sleeper.go()
    assert conflict.value.changed is None
    assert conflict.value.latest.memories == {}
    remember(other, "new")
    Rows(emulator, scope).audit()


def test_old_redo_record_is_not_applied_late(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process slept for days between its snapshot, which shows an unfinished commit, and its own commit."""
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    (old,) = remember(other, "v1")
    work = [{"do": "update", "id": old.id, "text": "v2"}]
    with Writer(emulator, scope, work, at=[("committed", 1, signal.SIGKILL)]) as dead:
        assert dead.result()[2] == -9
    sleeper = open_store(emulator).scope(scope)
    base = sleeper.snapshot()
    forget(other, old)
    monkeypatch.setattr(sweep, "TOMBSTONE_SECONDS", 0.0)
    remember(other, "next")  # and its tombstone is gone
    assert old.id not in Rows(emulator, scope).memories()
    with pytest.raises(Conflict):
        sleeper.commit(adding("mine"), base=base)
    assert texts(open_store(emulator).scope(scope)) == ["next"]
    Rows(emulator, scope).audit()


def test_sweep_overtaken_by_an_add(emulator: Emulator) -> None:
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    remember(other, "a", "b")
    with Held(emulator, scope, lambda store: store.delete_all(), at=("committed", 1)) as sleeper:
        remember(other, "new")  # finishes the sweep as well
        Rows(emulator, scope).audit()
        assert sleeper.go() == 2
    assert texts(other) == ["new"]
    Rows(emulator, scope).audit()


def test_asleep_before_its_commit(emulator: Emulator) -> None:
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    (old,) = remember(other, "v1")
    with Held(emulator, scope, lambda store: rewrite(store, old, "mine"), at=("committing", 1)) as sleeper:
        rewrite(other, old, "v2")
        (added,) = remember(other, "more")
        with pytest.raises(Conflict) as conflict:
            sleeper.go()
    assert set(conflict.value.changed or ()) == {old.id, added.id}
    assert [m.text for m in conflict.value.latest.memories.values()] == ["v2", "more"]
    Rows(emulator, scope).audit()


def test_frozen_process(emulator: Emulator) -> None:
    """The same with a real frozen process, as Function Compute freezes an instance."""
    scope = fresh_scope()
    other = open_store(emulator).scope(scope)
    (old,) = remember(other, "v1")
    work = [{"do": "update", "id": old.id, "text": "v2"}]
    with Writer(emulator, scope, work, at=[("applying", 1, signal.SIGSTOP)]) as writer:
        writer.wait_until_stopped()
        rewrite(other, old, "v3")
        writer.thaw()
        assert writer.result()[0] == [2]
    assert texts(open_store(emulator).scope(scope)) == ["v3"]
    Rows(emulator, scope).audit()


def test_conflict_in_the_middle_of_adds(emulator: Emulator) -> None:
    """Two writers on the same base: one wins, the other learns what changed and can go on from there."""
    scope = fresh_scope()
    one, two = (open_store(emulator).scope(scope) for _ in range(2))
    base_one, base_two = one.snapshot(), two.snapshot()
    mine = adding("one")
    one.commit(mine, base=base_one)
    changes = adding("two")
    with pytest.raises(Conflict) as conflict:
        two.commit(changes, base=base_two)
    assert set(conflict.value.changed or ()) == {mine[0].id}
    two.commit(changes, base=conflict.value.latest)
    assert texts(one) == ["one", "two"]
    Rows(emulator, scope).audit()
