from concurrent.futures import ThreadPoolExecutor

import pytest

from support.store import open_store


@pytest.fixture
def rows(emulator):
    return open_store(emulator).sessions


def test_rows(rows):
    assert rows.create("inbox", "s1", 1, {"state": "new", "body": b"\x00\xff"})
    assert not rows.create("inbox", "s1", 1, {"state": "other"})
    rows.put("inbox", "s1", 3, {"state": "new"})
    rows.put("inbox", "s2", 2, {"state": "new"})
    assert rows.get("inbox", "s1", 1).columns == {"state": "new", "body": b"\x00\xff"}
    assert rows.get("inbox", "s1", 2) is None
    assert [row.n for row in rows.list("inbox", "s1")] == [1, 3]
    assert [row.n for row in rows.list("inbox", "s1", first=2)] == [3]
    assert [(row.id, row.n) for row in rows.list("inbox")] == [("s1", 1), ("s1", 3), ("s2", 2)]
    rows.delete("inbox", "s1", 1, 3, 99)
    assert [row.id for row in rows.list("inbox")] == ["s2"]


def test_compare_and_set(rows):
    rows.put("inbox", "claimed", 1, {"state": "new", "by": "a"})
    assert rows.change("inbox", "claimed", 1, {"state": "taken"}, where="state", was="new", remove=("by",))
    assert not rows.change("inbox", "claimed", 1, {"state": "withdrawn"}, where="state", was="new")
    assert not rows.change("inbox", "claimed", 2, {"state": "taken"}, where="state", was="new")
    assert rows.get("inbox", "claimed", 1).columns == {"state": "taken"}


def test_one_claims_it(emulator, rows):
    rows.put("inbox", "race", 1, {"state": "new"})
    with ThreadPoolExecutor(8) as pool:
        won = list(
            pool.map(lambda i: rows.change("inbox", "race", 1, {"state": str(i)}, where="state", was="new"), range(8))
        )
    assert won.count(True) == 1
    assert rows.get("inbox", "race", 1).columns == {"state": str(won.index(True))}


def test_everyone_gets_the_same_secret(emulator):
    stores = [open_store(emulator) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda store: store.sessions.secret("signing"), stores))
    assert len(made) == 1
    assert len(made.pop()) == 43
    assert stores[0].sessions.secret("another") != stores[0].sessions.secret("signing")


def test_secret_survives_a_lost_answer(emulator, rows):
    emulator.fault(apis="PutRow", drop=True, when="after", times=1)
    assert rows.secret("lost") == open_store(emulator).sessions.secret("lost")
