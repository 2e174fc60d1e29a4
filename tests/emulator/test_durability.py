"""kill -9 under write load: whatever was acknowledged is there, and every stored byte still adds up."""

import random
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tablestore as ots

from support.emulator import Emulator, connect
from support.tables import MAX, MIN, create_table, get, put, refused, scan

WRITERS = 4
LOCAL = ots.SecondaryIndexType.LOCAL_INDEX


class Writer(threading.Thread):
    """Writes rows of its own until the emulator dies; knows what was acknowledged, and the one write in doubt."""

    def __init__(self, emulator: Emulator, name: str, rng: random.Random, on_ack: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._client = connect(emulator)
        self.owner = name
        self._rng = rng
        self._on_ack = on_ack
        self.acked: dict[int, int | None] = {}
        self.doubtful: dict[int, int | None] = {}

    def run(self) -> None:
        value = 0
        while True:
            numbers = self._rng.sample(range(40), self._rng.choice([1, 1, 5]))
            value += 1
            change = {n: (None if self._rng.random() < 0.2 else value) for n in numbers}
            try:
                self._write(change)
            except Exception:  # whatever a dying server looks like from here
                self.doubtful = change
                return
            self.acked |= change
            self._on_ack()

    def _write(self, change: dict[int, int | None]) -> None:
        request = ots.BatchWriteRowRequest()
        items = [self._item(number, value) for number, value in change.items()]
        request.add(ots.TableInBatchWriteRowItem("t", items))
        if not self._client.batch_write_row(request).is_all_succeed():
            raise RuntimeError("a row failed")

    def _item(self, number: int, value: int | None) -> Any:
        key = [("a", self.owner), ("b", number)]
        if value is None:
            return ots.DeleteRowItem(ots.Row(key), ots.Condition("IGNORE"))
        columns = [("value", value), ("filler", "x" * self._rng.randrange(3000))]
        return ots.PutRowItem(ots.Row(key, columns), ots.Condition("IGNORE"))


def rows(client: Any) -> dict[tuple[str, int], int]:
    """Read through the SDK, which verifies every checksum."""
    found = scan(client, "t", [("a", MIN), ("b", MIN)], [("a", MAX), ("b", MAX)])
    return {
        (r.primary_key[0][1], r.primary_key[1][1]): dict(c[:2] for c in r.attribute_columns)["value"] for r in found
    }


def index_rows(client: Any) -> dict[tuple[str, int], int]:
    names = ("a", "value", "b")
    found = scan(client, "by_value", [(n, MIN) for n in names], [(n, MAX) for n in names])
    return {(r.primary_key[0][1], r.primary_key[2][1]): r.primary_key[1][1] for r in found}


def kill_rounds(data: Path, rounds: int, seed: int) -> None:
    """Each start first checks what the kill before it left behind."""
    rng = random.Random(seed)
    before: dict[tuple[str, int], int] = {}
    writers: list[Writer] = []
    for round_number in range(rounds + 1):
        with Emulator(data) as emulator:
            client = connect(emulator)
            if round_number == 0:
                index = ots.SecondaryIndexMeta("by_value", ["a", "value"], [], LOCAL)
                create_table(client, "t", defined=[("value", "INTEGER")], indexes=[index])
            found = rows(client)
            assert index_rows(client) == found
            for writer in writers:
                check(writer, before, found)
            before, acks = found, threading.Semaphore(0)
            writers = [Writer(emulator, f"w{n}", random.Random(rng.random()), acks.release) for n in range(WRITERS)]
            for writer in writers:
                writer.start()
            for _ in range(rng.randrange(1, 60)):
                assert acks.acquire(timeout=60)
            emulator.kill()
            for writer in writers:
                writer.join(60)
                assert not writer.is_alive()


def check(writer: Writer, before: dict[tuple[str, int], int], found: dict[tuple[str, int], int]) -> None:
    """The writer's rows are as acknowledged, with the write in doubt wholly there or not at all."""

    def owned(all_rows: dict[tuple[str, int], int]) -> dict[int, int]:
        return {number: value for (owner, number), value in all_rows.items() if owner == writer.owner}

    acked: dict[int, int | None] = {**owned(before), **writer.acked}
    possible = [{n: v for n, v in state.items() if v is not None} for state in (acked, {**acked, **writer.doubtful})]
    assert owned(found) in possible


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    kill_rounds(tmp_path, rounds=12, seed=1)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the file size of another process")
def test_a_full_disk_refuses_writes_and_loses_nothing(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        client = connect(emulator)
        create_table(client, "t")
        key = [("a", "x"), ("b", 1)]
        put(client, "t", key, [("c", "kept")])
        unlimited = resource.prlimit(emulator.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(emulator.pid, resource.RLIMIT_FSIZE, (4096, unlimited[1]))
        for _ in range(2):
            with refused("OTSQuotaExhausted", 403, "data directory cannot be written"):
                put(client, "t", key, [("c", "lost")])
            assert get(client, "t", key) == {"c": "kept"}
        resource.prlimit(emulator.pid, resource.RLIMIT_FSIZE, unlimited)
        put(client, "t", [("a", "x"), ("b", 2)], [])
    with Emulator(tmp_path) as emulator:
        assert get(connect(emulator), "t", key) == {"c": "kept"}


@pytest.mark.slow
def test_500_rounds_of_kill_9(tmp_path: Path) -> None:
    kill_rounds(tmp_path, rounds=500, seed=2)
