"""Files that are not what was written: every answer is right, or says that the data is damaged. Never anything else."""

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tablestore as ots

from support.emulator import Emulator, connect
from support.tables import MAX, MIN, create_table, put, scan
from tablestore_emulator.storage.sqlite_storage import Storage, StorageDamaged, StorageError, StoredRow

ROWS = 120


def filled(folder: Path, *, stopped: bool) -> list[StoredRow]:
    """A database of about sixty pages, some of its rows on pages of their own; its rows."""
    storage = Storage(folder)
    rng = random.Random(5)
    for number in range(ROWS):
        key = f"key {number:04}".encode()
        storage.put(1, StoredRow(key, number, rng.randbytes(rng.choice([40, 300, 9000]))))
        storage.save("table", f"t{number % 5}", f'{{"id": {number}}}')
        storage.commit()
    rows = list(storage.scan(1, b"", b"\xff"))
    if stopped:
        storage.close()
        return rows
    copy = folder.with_name("killed")  # what kill -9 leaves
    shutil.copytree(folder, copy)
    storage.close()
    shutil.rmtree(folder)
    copy.rename(folder)
    return rows


def looked_at(folder: Path) -> tuple[list[StoredRow], dict[str, str]]:
    """Everything, by a program that starts on the folder and stops again."""
    storage = Storage(folder)
    try:
        rows = list(storage.scan(1, b"", b"\xff"))
        assert [storage.get(1, row.key) for row in rows] == rows
        return rows, storage.catalog("table")
    finally:
        storage.close()


def flip(path: Path, rng: random.Random) -> None:
    """One bit, a few bytes, or a whole page that was not there yesterday."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    match rng.randrange(4):
        case 0:
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            data[at : at + 16] = rng.randbytes(len(data[at : at + 16]))
        case 2:
            page = at // 8192 * 8192
            data[page : page + 8192] = bytes(8192)
        case 3:
            one, other = (rng.randrange(len(data) // 8192) * 8192 for _ in range(2))
            data[one : one + 8192], data[other : other + 8192] = (
                data[other : other + 8192],
                data[one : one + 8192],
            )
    path.write_bytes(data)


@pytest.mark.parametrize("rounds", [30, pytest.param(150, marks=pytest.mark.slow)])
@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "killed"])
def test_flipped_bits_and_pages(tmp_path: Path, stopped: bool, rounds: int) -> None:
    rows = filled(tmp_path / "whole", stopped=stopped)
    if not stopped:  # let the database have pages to be hit
        sqlite3.connect(tmp_path / "whole" / "tablestore.db").execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        (tmp_path / "whole" / "tablestore.db-wal").unlink(missing_ok=True)
    whole = looked_at(tmp_path / "whole")
    assert whole[0] == rows
    told = 0
    for seed in range(rounds):
        folder = tmp_path / str(seed)
        shutil.copytree(tmp_path / "whole", folder)
        if not stopped:
            (folder / "tablestore.seal").write_text("{}")
        flip(folder / "tablestore.db", random.Random(seed))
        try:
            assert looked_at(folder) == whole, seed
        except StorageDamaged:
            told += 1
        except StorageError:  # a hit of the format's number: taken for a newer program's file
            assert folder.joinpath("tablestore.db").read_bytes()[60:64] != b"\0\0\0\2"
        shutil.rmtree(folder)
    assert told > rounds / 2


@pytest.mark.parametrize("rounds", [10, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("at", ["header", "frames"])
def test_a_log_that_was_hit(tmp_path: Path, at: str, rounds: int) -> None:
    """What comes after the hit would be lost without a word: SQLite takes it for the trace of a crash."""
    rows = filled(tmp_path / "whole", stopped=False)
    size = (tmp_path / "whole" / "tablestore.db-wal").stat().st_size
    assert size > 50 * 8192
    for seed in range(rounds):
        folder = tmp_path / str(seed)
        shutil.copytree(tmp_path / "whole", folder)
        rng = random.Random(seed)
        with (folder / "tablestore.db-wal").open("r+b") as file:
            place = rng.randrange(8, 32) if at == "header" else rng.randrange(32, size - 40 * 8192)
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))
        try:
            assert looked_at(folder)[0] == rows, seed
        except StorageDamaged:
            continue
        assert False, f"{seed}: a flip at {place} of the log went unnoticed"  # noqa: B011, PT015
    assert looked_at(tmp_path / "whole")[0] == rows


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_half_a_database_is_not_an_empty_one(tmp_path: Path, share: float) -> None:
    filled(tmp_path, stopped=True)
    path = tmp_path / "tablestore.db"
    os.truncate(path, int(path.stat().st_size * share) // 512 * 512)
    for _ in range(2):
        with pytest.raises(StorageDamaged):
            looked_at(tmp_path)


def test_a_lost_database_is_not_an_empty_one(tmp_path: Path) -> None:
    filled(tmp_path, stopped=True)
    (tmp_path / "tablestore.db").unlink()
    for _ in range(2):
        with pytest.raises(StorageDamaged, match="missing"):
            looked_at(tmp_path)


def test_a_first_start_that_was_interrupted_is_none(tmp_path: Path) -> None:
    (tmp_path / "tablestore.db.new").write_bytes(b"half a dra")
    assert looked_at(tmp_path) == ([], {})


def test_a_file_of_version_2_0_is_taken_over(tmp_path: Path) -> None:
    """It has no checksums and no seal."""
    db = sqlite3.connect(tmp_path / "tablestore.db")
    db.executescript(
        "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL;"
        "CREATE TABLE catalog (kind TEXT, name TEXT, value TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;"
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, t INTEGER NOT NULL, k BLOB NOT NULL, size INTEGER NOT NULL,"
        " data BLOB NOT NULL);"
        "CREATE UNIQUE INDEX rows_by_key ON rows (t, k);"
        "INSERT INTO rows (t, k, size, data) VALUES (1, x'61', 3, x'626364');"
        "PRAGMA user_version = 1;"
    )
    db.close()
    for _ in range(2):
        assert looked_at(tmp_path)[0] == [StoredRow(b"a", 3, b"bcd")]


def replace(folder: Path) -> None:
    shutil.copy(folder / "tablestore.db", folder / "other.db")
    (folder / "other.db").replace(folder / "tablestore.db")


def overwrite(folder: Path) -> None:
    storage = Storage(folder.with_name("another"))
    storage.close()
    grown = (folder.with_name("another") / "tablestore.db").read_bytes()
    size = (folder / "tablestore.db").stat().st_size
    (folder / "tablestore.db").write_bytes(grown.ljust(size, b"\0"))


@pytest.mark.parametrize(
    "spoil",
    [
        shutil.rmtree,
        lambda folder: (folder / "tablestore.db").unlink(),
        lambda folder: os.truncate(folder / "tablestore.db", 0),
        lambda folder: (folder / "tablestore.db-wal").unlink(),
        lambda folder: os.truncate(folder / "tablestore.db-wal", 0),
        replace,
        overwrite,
    ],
    ids=["folder", "removed", "emptied", "log removed", "log emptied", "replaced", "overwritten"],
)
def test_files_that_go_away_under_a_running_store(tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    """Nothing is acknowledged that nobody will find again."""
    with Emulator(tmp_path / "data") as emulator:
        client = connect(emulator)
        create_table(client, "t")
        put(client, "t", [("a", "x"), ("b", 1)], [("c", "kept")])
        deadline = time.monotonic() + 30
        while (tmp_path / "data" / "tablestore.db-wal").stat().st_size:  # until it is idle
            assert time.monotonic() < deadline
            time.sleep(0.05)
        put(client, "t", [("a", "x"), ("b", 2)], [("c", "kept")])
        spoil(tmp_path / "data")
        for number in range(3, 5):
            with pytest.raises(ots.OTSServiceError) as told:
                put(client, "t", [("a", "x"), ("b", number)], [("c", "lost")])
            assert told.value.code == "OTSDataDamaged"
            assert str(tmp_path) not in told.value.message
            assert "copy" in told.value.message


def test_a_page_that_is_hit_while_the_store_runs(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        client = connect(emulator)
        create_table(client, "t")
        for number in range(30):
            put(client, "t", [("a", "x"), ("b", number)], [("c", "y" * 50)])
    with Emulator(tmp_path) as emulator:
        client = connect(emulator)
        with (tmp_path / "tablestore.db").open("r+b") as file:
            hit = file.read().replace(b"y" * 50, b"z" * 50)
            file.seek(0)
            file.write(hit)
        for _ in range(2):
            with pytest.raises(ots.OTSServiceError) as told:
                list(scan(client, "t", [("a", MIN), ("b", MIN)], [("a", MAX), ("b", MAX)]))
            assert told.value.code == "OTSDataDamaged"
