"""Deleted rows leave nothing behind in the files: not in free pages, not in the log, not in the gaps of pages."""

import random
import shutil
from pathlib import Path

import pytest

from tablestore_emulator.storage.sqlite_storage import Storage, StoredRow
from tablestore_emulator.storage.upkeep import Upkeep

SECRET = b"SECRETTEXT"


def remains(folder: Path) -> int:
    return sum(path.read_bytes().count(SECRET) for path in folder.iterdir() if path.name != "lock")


def lived(storage: Storage, seed: int) -> dict[bytes, bytes]:
    """Rows of two kinds that grow, shrink, come and go among each other; then all secrets are deleted. The others."""
    rng = random.Random(seed)
    harmless: dict[bytes, bytes] = {}
    secrets: set[bytes] = set()
    for _ in range(3000):
        secret = rng.random() < 0.5
        key = b"%s %d" % (b"a" if secret else b"b", rng.randrange(400))
        if rng.random() < 0.2:
            storage.delete(1, key)
            harmless.pop(key, None)
        else:
            data = (SECRET if secret else b"harmless") * rng.randrange(5, 300)
            storage.put(1, StoredRow(key, len(data), data))
            secrets.add(key) if secret else harmless.update({key: data})
        storage.commit()
    for key in sorted(secrets):
        storage.delete(1, key)
    storage.commit()
    return harmless


def data_of(storage: Storage) -> dict[bytes, bytes]:
    return {row.key: row.data for row in storage.scan(1, b"", b"\xff")}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_remains_once_the_store_was_idle(tmp_path: Path, seed: int) -> None:
    storage = Storage(tmp_path)
    harmless = lived(storage, seed)
    upkeep = Upkeep(storage)
    upkeep.wrote(100.0)
    assert remains(tmp_path) > 0
    upkeep.tick(100.4)  # not idle yet
    assert storage.erased
    upkeep.tick(102.0)
    assert not storage.erased
    assert remains(tmp_path) == 0
    assert data_of(storage) == harmless
    storage.close()


@pytest.mark.parametrize("seed", [4, 5])
def test_nothing_remains_after_an_orderly_stop(tmp_path: Path, seed: int) -> None:
    storage = Storage(tmp_path)
    harmless = lived(storage, seed)
    storage.close()
    assert remains(tmp_path) == 0
    assert data_of(Storage(tmp_path)) == harmless


def test_after_a_crash_the_next_start_goes_on(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "a")
    harmless = lived(storage, 6)
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # what kill -9 leaves
    storage.close()
    again = Storage(tmp_path / "b")
    assert again.erased
    Upkeep(again).tick(0.0)
    assert remains(tmp_path / "b") == 0
    assert data_of(again) == harmless
    again.close()


def test_old_versions_leave_the_log_under_steady_load(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    upkeep = Upkeep(storage)
    for second in range(40):
        text = SECRET if second < 10 else b"harmless!!"
        storage.put(1, StoredRow(b"k", 9, text * 5))
        storage.commit()
        upkeep.wrote(second)
        upkeep.tick(second + 0.5)
    assert remains(tmp_path) == 0
    storage.close()


def test_rewriting_rests_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay deletes rows all day long; each time to rewrite a large file would be most of what the store does."""
    storage = Storage(tmp_path)
    upkeep = Upkeep(storage)
    rewritten: list[float] = []
    now = 0.0
    purge = storage.purge

    def counted() -> None:
        rewritten.append(now)
        purge()

    monkeypatch.setattr(storage, "purge", counted)
    monkeypatch.setattr("tablestore_emulator.storage.upkeep.time.monotonic", lambda: now + 0.2)  # it took so long
    for step in range(100):
        now = 2.0 * step
        storage.put(1, StoredRow(b"k", 9, b"x"))
        storage.delete(1, b"k")
        storage.commit()
        upkeep.wrote(now)
        now += 1.5
        upkeep.tick(now)
    assert 15 <= len(rewritten) <= 25
    storage.close()
