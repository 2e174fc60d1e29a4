from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.emulator import Emulator
from support.store import open_store
from tablestore_openmemory_mcp.store.session_rows import SessionRow, SessionRows


def columns(row: SessionRow | None) -> Mapping[str, object]:
    assert row is not None
    return row.columns


@pytest.fixture
def rows(emulator: Emulator) -> SessionRows:
    return open_store(emulator).sessions


def test_rows(rows: SessionRows) -> None:
    assert rows.create("inbox", "s1", 1, {"state": "new", "body": b"\x00\xff"})
    assert not rows.create("inbox", "s1", 1, {"state": "other"})
    rows.put("inbox", "s1", 3, {"state": "new"})
    rows.put("inbox", "s2", 2, {"state": "new"})
    assert columns(rows.get("inbox", "s1", 1)) == {"state": "new", "body": b"\x00\xff"}
    assert rows.get("inbox", "s1", 2) is None
    assert [row.n for row in rows.list("inbox", "s1")] == [1, 3]
    assert [row.n for row in rows.list("inbox", "s1", first=2)] == [3]
    assert [(row.id, row.n) for row in rows.list("inbox")] == [("s1", 1), ("s1", 3), ("s2", 2)]
    rows.delete("inbox", "s1", 1, 3, 99)
    assert [row.id for row in rows.list("inbox")] == ["s2"]


def test_compare_and_set(rows: SessionRows) -> None:
    rows.put("inbox", "claimed", 1, {"state": "new", "by": "a"})
    assert rows.change("inbox", "claimed", 1, {"state": "taken"}, where="state", was="new", remove=("by",))
    assert not rows.change("inbox", "claimed", 1, {"state": "withdrawn"}, where="state", was="new")
    assert not rows.change("inbox", "claimed", 2, {"state": "taken"}, where="state", was="new")
    assert columns(rows.get("inbox", "claimed", 1)) == {"state": "taken"}


def test_one_claims_it(emulator: Emulator, rows: SessionRows) -> None:
    rows.put("inbox", "race", 1, {"state": "new"})
    with ThreadPoolExecutor(8) as pool:
        won = list(
            pool.map(lambda i: rows.change("inbox", "race", 1, {"state": str(i)}, where="state", was="new"), range(8))
        )
    assert won.count(True) == 1
    assert columns(rows.get("inbox", "race", 1)) == {"state": str(won.index(True))}


def test_everyone_gets_the_same_secret(emulator: Emulator) -> None:
    stores = [open_store(emulator) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda store: store.sessions.secret("signing"), stores))
    assert len(made) == 1
    assert len(made.pop()) == 43
    assert stores[0].sessions.secret("another") != stores[0].sessions.secret("signing")


def test_secret_survives_a_lost_answer(emulator: Emulator, rows: SessionRows) -> None:
    emulator.fault(apis="PutRow", drop=True, when="after", times=1)
    assert rows.secret("lost") == open_store(emulator).sessions.secret("lost")
