"""A writer killed at every step of an add, an update and a delete-all loses nothing acknowledged and halves nothing."""

import signal
from collections.abc import Sequence
from typing import Any

import pytest

from support.emulator import Emulator
from support.store import Rows, Writer, fresh_scope, open_store, remember, texts
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import Memory, ScopeStore

COMMIT = [("committing", 1), ("committed", 1), ("applying", 1), ("applied", 1), ("cleared", 1)]
SWEEP = [("committing", 1), ("committed", 1), ("sweeping", 1), ("sweeping", 2), ("sweeping", 3), ("swept", 1)]
DECIDED_AT = "committed"


def survives(
    emulator: Emulator, work: dict[str, Any], at: tuple[str, int], before: Sequence[str], after: Sequence[str]
) -> tuple[Scope, list[Memory], ScopeStore]:
    """Kill the writer of `work` at `at`; the scope is as before or after it, never between; the next writer tidies."""
    scope = fresh_scope()
    store = open_store(emulator).scope(scope)
    old = remember(store, *before)
    work = {k: (old[0].id if v == "FIRST" else v) for k, v in work.items()}
    with Writer(emulator, scope, [work], at=[(*at, signal.SIGKILL)]) as writer:
        answers, steps, status = writer.result()
    assert status == -9
    assert answers == []
    assert steps[-1] == at[0]

    expected = after if DECIDED_AT in steps else before
    assert texts(store) == expected  # a reader with a warm cache
    other = open_store(emulator).scope(scope)
    assert texts(other) == expected  # and one that starts afresh
    assert other.snapshot().seq == store.snapshot().seq

    remember(other, "next")
    assert texts(store) == [*expected, "next"]
    Rows(emulator, scope).audit()
    return scope, old, other


@pytest.mark.parametrize("at", COMMIT)
def test_add(emulator: Emulator, at: tuple[str, int]) -> None:
    survives(emulator, {"do": "add", "texts": ["喜欢吃辣", "住在上海"]}, at, ["a"], ["a", "喜欢吃辣", "住在上海"])


@pytest.mark.parametrize("at", COMMIT)
def test_update(emulator: Emulator, at: tuple[str, int]) -> None:
    work = {"do": "update", "id": "FIRST", "text": "新的"}
    _, old, store = survives(emulator, work, at, ["旧的"], ["新的"] if at[0] != "committing" else ["旧的"])
    lineage = [(entry.event, entry.old_text, entry.new_text) for entry in store.history(old[0].id)]
    happened = [("UPDATE", "旧的", "新的")] if at[0] != "committing" else []
    assert lineage == [("ADD", None, "旧的"), *happened]


@pytest.mark.parametrize("at", COMMIT)
def test_delete(emulator: Emulator, at: tuple[str, int]) -> None:
    survives(emulator, {"do": "delete", "id": "FIRST"}, at, ["a", "b"], ["b"])


@pytest.mark.parametrize("at", SWEEP)
def test_delete_all(emulator: Emulator, at: tuple[str, int]) -> None:
    scope, old, store = survives(emulator, {"do": "delete_all"}, at, ["a", "b", "c"], [])
    if at[0] != "committing":
        assert [len(store.history(m.id)) for m in old] == [0, 0, 0]
        assert len(Rows(emulator, scope).history()) == 1  # of "next" alone


def test_killed_between_the_batches_of_one_commit(emulator: Emulator) -> None:
    """150 memories and their history are two batches."""
    scope = fresh_scope()
    many = [f"m{i:03}" for i in range(150)]
    with Writer(emulator, scope, [{"do": "add", "texts": many}], at=[("applying", 2, signal.SIGKILL)]) as writer:
        assert writer.result()[2] == -9
    assert len(Rows(emulator, scope).history()) < 150
    store = open_store(emulator).scope(scope)
    assert texts(store) == many
    remember(open_store(emulator).scope(scope), "next")
    assert len(texts(store)) == 151
    Rows(emulator, scope).audit()


@pytest.mark.parametrize("at", [("applying", 1), ("rolled forward", 1), ("committing", 1), ("committed", 1)])
def test_killed_while_it_finishes_the_commit_of_one_that_was_killed(emulator: Emulator, at: tuple[str, int]) -> None:
    scope = fresh_scope()
    store = open_store(emulator).scope(scope)
    remember(store, "a")
    for text, step in (("b", ("committed", 1)), ("c", at)):
        with Writer(emulator, scope, [{"do": "add", "texts": [text]}], at=[(*step, signal.SIGKILL)]) as writer:
            assert writer.result()[2] == -9
    expected = ["a", "b", "c"] if at[0] == "committed" else ["a", "b"]
    assert texts(store) == texts(open_store(emulator).scope(scope)) == expected
    remember(store, "next")
    assert texts(open_store(emulator).scope(scope)) == [*expected, "next"]
    Rows(emulator, scope).audit()


@pytest.mark.parametrize("at", SWEEP)
def test_delete_all_killed_over_a_commit_that_was_killed(emulator: Emulator, at: tuple[str, int]) -> None:
    scope = fresh_scope()
    store = open_store(emulator).scope(scope)
    remember(store, "a")
    for work, step in (({"do": "add", "texts": ["b"]}, ("applying", 1)), ({"do": "delete_all"}, at)):
        with Writer(emulator, scope, [work], at=[(*step, signal.SIGKILL)]) as writer:
            assert writer.result()[2] == -9
    left = ["a", "b"] if at[0] == "committing" else []
    assert texts(store) == left
    assert open_store(emulator).scope(scope).delete_all() == len(left)
    assert not Rows(emulator, scope).memories()
    assert not Rows(emulator, scope).history()
    Rows(emulator, scope).audit()


def test_steps_are_all_of_them(emulator: Emulator) -> None:
    """If the protocol gets another step, the tests above must kill there too."""
    scope = fresh_scope()
    work: list[dict[str, Any]] = [{"do": "add", "texts": ["a"]}, {"do": "delete_all"}]
    with Writer(emulator, scope, work) as writer:
        answers, steps, status = writer.result()
    assert (answers, status) == ([1, 1], 0)
    assert steps == [name for name, _ in COMMIT + SWEEP]
