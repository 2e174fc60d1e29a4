"""Tables are made once, by whoever comes first, and never taken from a newer program or from the reference."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.emulator import Emulator, connect
from support.store import fresh_scope, open_store, remember, texts
from tablestore_openmemory_mcp.errors import StoreError


def tables(emulator: Emulator) -> list[str]:
    return sorted(connect(emulator).list_table())


@pytest.fixture
def empty() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


def test_names(empty: Emulator) -> None:
    open_store(empty).ensure_tables()
    assert tables(empty) == ["mem0_heads", "mem0_history", "mem0_memories", "mem0_sessions"]
    open_store(empty, TABLESTORE_TABLE_NAME="team").ping()
    assert len(tables(empty)) == 8


def test_threads_at_an_empty_instance(empty: Emulator) -> None:
    store = open_store(empty)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: store.scope(fresh_scope()).snapshot(), range(16)))
    assert empty.calls()["CreateTable"] == 4


def test_waits_until_they_are_ready(empty: Emulator) -> None:
    empty.set_faults(table_ready_after=1.5)
    store = open_store(empty).scope(fresh_scope())
    remember(store, "a")
    assert texts(store) == ["a"]


def test_too_many_table_operations(empty: Emulator) -> None:
    empty.fault(apis="CreateTable", error="OTSQuotaExhausted", message="Too frequent table operations.", times=3)
    open_store(empty).ensure_tables()
    assert len(tables(empty)) == 4


def test_interrupted_creation_is_finished(empty: Emulator) -> None:
    empty.fault(apis="CreateTable", error="OTSParameterInvalid", skip=2)
    with pytest.raises(StoreError):
        open_store(empty).ensure_tables()
    assert len(tables(empty)) == 2
    empty.clear_faults()
    open_store(empty).ensure_tables()
    assert len(tables(empty)) == 4


def test_newer_layout_is_refused(empty: Emulator) -> None:
    open_store(empty).ensure_tables()
    key = [("user_id", "/schema"), ("client_name", "/schema")]
    from tablestore import Condition, Row

    connect(empty).update_row("mem0_heads", Row(key, {"put": [("version", 2)]}), Condition("IGNORE"))
    with pytest.raises(StoreError, match=r"newer version.*layout 2.*TABLESTORE_TABLE_NAME"):
        open_store(empty).scope(fresh_scope()).snapshot()


def test_ping_notices_that_tables_are_gone(empty: Emulator) -> None:
    store = open_store(empty)
    store.ping()
    connect(empty).delete_table("mem0_heads")
    with pytest.raises(StoreError, match="gone"):
        store.ping()


def test_history_retention(empty: Emulator) -> None:
    """A time to live of the history table alone, changed when the setting changes, and not looked at otherwise."""

    def kept(name: str) -> int:
        return int(connect(empty).describe_table(f"mem0_{name}").table_options.time_to_live)

    open_store(empty).ping()
    assert kept("history") == -1
    assert "UpdateTable" not in empty.calls()
    for _ in range(2):
        open_store(empty, HISTORY_RETENTION_DAYS="30").ping()
    assert kept("history") == 30 * 24 * 3600
    assert kept("memories") == kept("heads") == kept("sessions") == -1
    assert empty.calls()["UpdateTable"] == 1
    open_store(empty, HISTORY_RETENTION_DAYS="0").ping()
    assert kept("history") == -1
