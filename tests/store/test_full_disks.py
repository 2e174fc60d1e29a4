"""A disk that is full to the last block: what is there can be read and deleted, and a killed store opens again."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.small_disk import empty, fill, small_disk
from support.store import deleting, fresh_scope, gone, remember, serving, texts
from tablestore_openmemory_mcp.errors import StoreError
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.store import TablestoreStore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")


def open_embedded(directory: Path) -> TablestoreStore:
    return TablestoreStore.open(Settings.load({"DATA_DIR": str(directory)}))


def until(condition: Callable[[], bool], seconds: int = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 40) as folder:
        yield folder


@pytest.fixture
def store(disk: Path) -> Iterator[TablestoreStore]:
    """With its reserve, as any that has run for a second."""
    store = open_embedded(disk / "data")
    store.ping()
    until((disk / "data" / "tablestore" / "reserve-1").exists)
    yield store
    store.close()


def noise(characters: int) -> str:
    return os.urandom(characters // 2).hex()  # nothing that a redo record could make small


def refused(store: TablestoreStore, scope: Scope) -> int:
    """Adds are, once the room that the files still have is used up; how many were not."""
    taken, said = 0, None
    while said is None:
        try:
            remember(store.scope(scope), noise(200_000))
            taken += 1
        except StoreError as e:
            said = e
    assert "cannot be written" in str(said)
    assert "DATA_DIR" in str(said)
    assert not said.retry
    return taken


def test_deleting_makes_room(disk: Path, store: TablestoreStore) -> None:
    one, two, three = fresh_scope(), fresh_scope(), fresh_scope()
    for scope in (one, two, three):
        for _ in range(2):
            remember(store.scope(scope), *(noise(10_000) for _ in range(100)))
    fill(disk)
    held = 200 + refused(store, one)
    assert len(texts(store.scope(one))) == held
    base = store.scope(three).snapshot()
    store.scope(three).commit([deleting(base.memories[id_]) for id_ in list(base.memories)[:1]], base=base)
    assert len(texts(store.scope(three))) == 199
    assert store.scope(two).delete_all() == 200
    assert texts(store.scope(two)) == []
    assert store.clients(two.user_id)[two.client_name].swept
    remember(store.scope(three), noise(5_000))  # what was deleted made room for
    empty(disk)
    until((disk / "data" / "tablestore" / "reserve-1").exists)
    remember(store.scope(one), noise(100_000))
    assert len(texts(store.scope(one))) == held + 1


def test_delete_all_may_be_the_first_to_notice(disk: Path, store: TablestoreStore) -> None:
    scope = fresh_scope()
    for _ in range(3):
        remember(store.scope(scope), *(noise(10_000) for _ in range(100)))
    fill(disk)
    assert store.scope(scope).delete_all() == 300
    assert store.clients(scope.user_id)[scope.client_name].swept


@pytest.mark.parametrize("reserved", [True, False], ids=["reserve", "nothing reserved"])
def test_killed_on_a_full_disk(disk: Path, store: TablestoreStore, reserved: bool) -> None:
    """And a store of version 2.0.0 has no reserve."""
    scope = fresh_scope()
    remember(store.scope(scope), *(noise(10_000) for _ in range(50)))
    fill(disk)
    held = 50 + refused(store, scope)
    pid = serving(disk / "data")["pid"]
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    if not reserved:
        for part in (disk / "data" / "tablestore").glob("reserve-*"):
            part.unlink()
    fill(disk)
    again = open_embedded(disk / "data")
    assert len(texts(again.scope(scope))) == held
    held += refused(again, scope)
    if reserved:
        assert again.scope(scope).delete_all() == held
        held = 0
    empty(disk)
    again.close()
    assert len(texts(open_embedded(disk / "data").scope(scope))) == held
