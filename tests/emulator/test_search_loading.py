"""The first search after a start reads all rows of its index, and nobody else waits for that."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tablestore as ots

from support.emulator import Emulator, connect
from support.search import INDEX, create_index, indexed_table, remember
from support.tables import create_table
from tablestore_emulator.search.service.loading import Loading

TABLE = "t"
ROWS = 6000


def put_rows(client: Any, table: str, first: int, count: int) -> None:
    for start in range(first, first + count, 200):
        request = ots.BatchWriteRowRequest()
        rows = [
            ots.PutRowItem(ots.Row([("user", "u"), ("id", f"{n:06}")], [("text", f"text {n}"), ("at", n)]), None)
            for n in range(start, min(start + 200, first + count))
        ]
        for row in rows:
            row.condition = ots.Condition("IGNORE")
        request.add(ots.TableInBatchWriteRowItem(table, rows))
        assert client.batch_write_row(request).is_all_succeed()


def found(client: Any) -> int:
    query = ots.SearchQuery(ots.TermQuery("user", "u"), limit=0, get_total_count=True)
    return int(client.search(TABLE, INDEX, query).total_count)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a table, its index, and rows that no search has read."""
    directory = tmp_path_factory.mktemp("data")
    with Emulator(data=directory) as emulator:
        client = connect(emulator)
        indexed_table(client, TABLE)
        create_table(client, "other", ("id", "STRING"))
        put_rows(client, TABLE, 0, ROWS)
    return directory


@pytest.fixture
def emulator(data: Path) -> Iterator[Emulator]:
    with Emulator(data=data) as emulator:
        yield emulator


def searching(emulator: Emulator, pool: ThreadPoolExecutor, count: int = 1) -> "list[Future[int]]":
    """Searches that have come in."""
    sent = [pool.submit(lambda: found(connect(emulator))) for _ in range(count)]
    deadline = time.monotonic() + 60
    while emulator.calls().get("Search", 0) < count and time.monotonic() < deadline:
        time.sleep(0.001)
    return sent


def test_others_are_answered_while_an_index_is_read(emulator: Emulator) -> None:
    client = connect(emulator)
    client.get_row("other", [("id", "x")])  # connected
    with ThreadPoolExecutor() as pool:
        sent = searching(emulator, pool, 3)
        between = 0
        while not all(each.done() for each in sent):
            client.get_row("other", [("id", "x")])
            between += not all(each.done() for each in sent)
        assert [each.result() for each in sent] == [ROWS] * 3
    assert between >= 5
    assert found(client) == ROWS


def test_what_is_written_meanwhile_is_found(emulator: Emulator) -> None:
    """Before and behind where the reading is; and what is deleted is not."""
    client = connect(emulator)
    condition = ots.Condition("IGNORE")
    with ThreadPoolExecutor() as pool:
        [search] = searching(emulator, pool)
        for id_ in ("!first", "~last"):
            remember(client, TABLE, "u", id_, text="new")
        remember(client, TABLE, "u", "003000", text="changed")
        for id_ in ("000001", "005999"):
            client.delete_row(TABLE, ots.Row([("user", "u"), ("id", id_)]), condition)
        search.result()
    assert found(client) == ROWS
    query = ots.SearchQuery(ots.MatchQuery("text", "changed"), limit=10)
    assert [key[1][1] for key, _ in client.search(TABLE, INDEX, query).rows] == ["003000"]
    for id_ in ("!first", "~last"):
        client.delete_row(TABLE, ots.Row([("user", "u"), ("id", id_)]), condition)
    put_rows(client, TABLE, 0, ROWS)
    assert found(client) == ROWS


def test_an_index_that_is_deleted_while_it_is_read(emulator: Emulator) -> None:
    client = connect(emulator)
    with ThreadPoolExecutor() as pool:
        [search] = searching(emulator, pool)
        client.delete_search_index(TABLE, INDEX)
        error = search.exception()
        assert error is None or "does not exist" in str(error)
    create_index(client, TABLE)
    assert found(client) == ROWS


def test_a_row_that_cannot_be_read_is_met_by_whoever_asks() -> None:
    """The reading ends, and is not taken for the whole."""

    class Content:
        def load(self, key: Any, row: Any) -> None: ...

    def rows() -> Iterator[Any]:
        yield b"k", None
        raise sqlite3.DatabaseError("damaged")

    loading = Loading(Content(), rows())  # type: ignore[arg-type]
    assert loading.step(10)
    assert loading.failed
