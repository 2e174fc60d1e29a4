"""The keyless mode's store: one emulator per data directory, whoever starts it, whoever dies."""

import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from support.store import fresh_scope, gone, remember, serving, texts
from tablestore_openmemory_mcp.errors import StoreError
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.client import embedded
from tablestore_openmemory_mcp.store.store import TablestoreStore

TESTS = Path(__file__).parents[1]
PROCESS = """
import sys
from support.store import remember, texts
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.store import TablestoreStore
store = TablestoreStore.open(Settings.load({"DATA_DIR": sys.argv[1]}))
scope = store.scope(Scope("u", "c"))
print(len(texts(scope)), flush=True)
for line in sys.stdin:
    remember(scope, line.strip())
    print(*sorted(texts(scope)), flush=True)
store.close()
"""


def open_embedded(directory: Path) -> TablestoreStore:
    return TablestoreStore.open(Settings.load({"DATA_DIR": str(directory)}))


class Process:
    """A process with a store on the directory; each line it is told is remembered."""

    def __init__(self, directory: Path) -> None:
        self._process = process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        )
        assert process.stdin
        assert process.stdout
        self._stdin, self._stdout = process.stdin, process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ready(self) -> str:
        return self._stdout.readline().strip()

    def tell(self, line: str) -> list[str]:
        self._stdin.write(line + "\n")
        self._stdin.flush()
        return self._stdout.readline().split()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> tuple[str, str]:
        return self._process.communicate()


def test_memories_survive_a_restart(tmp_path: Path) -> None:
    scope = fresh_scope()
    store = open_embedded(tmp_path / "new" / "dir")
    remember(store.scope(scope), "住在上海")
    pid = serving(tmp_path / "new" / "dir")["pid"]
    store.close()
    assert gone(pid)
    again = open_embedded(tmp_path / "new" / "dir")
    assert texts(again.scope(scope)) == ["住在上海"]
    again.close()


def test_keys_are_random_and_private(tmp_path: Path) -> None:
    stores = [open_embedded(tmp_path / name) for name in "ab"]
    for store in stores:
        store.ping()
    keys = {serving(tmp_path / name)["access_key_secret"] for name in "ab"}
    assert len(keys) == 2
    assert all(len(key) == 64 for key in keys)
    for name in ("store.key", "store.json"):
        assert stat.S_IMODE((tmp_path / "a" / name).stat().st_mode) == 0o600
    commands = Path(f"/proc/{serving(tmp_path / 'a')['pid']}/cmdline")
    if commands.exists():
        assert not any(key in commands.read_text() for key in keys)
    for store in stores:
        store.close()


def test_processes_share_a_directory_and_take_over(tmp_path: Path) -> None:
    with Process(tmp_path) as first, Process(tmp_path) as second:
        assert {first.ready(), second.ready()} == {"0"}
        owner_pid = serving(tmp_path)["pid"]
        assert first.tell("one") == ["one"]
        assert second.tell("two") == ["one", "two"]
        parent = int(Path(f"/proc/{owner_pid}/stat").read_text().split()[3])
        owner, other = (first, second) if parent == first._process.pid else (second, first)
        owner.kill()
        assert other.tell("three") == ["one", "three", "two"]  # whether or not the old one has stopped yet
        assert gone(owner_pid)
        assert other.tell("four") == ["four", "one", "three", "two"]
        with Process(tmp_path) as third:
            assert third.ready() == "4"
            assert third.tell("five") == ["five", "four", "one", "three", "two"]


def test_eight_at_a_fresh_directory(tmp_path: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(tmp_path)) for _ in range(8)]
        assert {process.ready() for process in processes} == {"0"}
        assert len(processes[-1].tell("x")) == 1


def test_a_process_ends_with_its_child(tmp_path: Path) -> None:
    with Process(tmp_path) as process:
        process.ready()
        process.tell("x")
        pid = serving(tmp_path)["pid"]
        process.end()
        assert gone(pid)


def test_emulator_killed(tmp_path: Path) -> None:
    """Not only its owner: the emulator itself may die."""
    store = open_embedded(tmp_path).scope(fresh_scope())
    remember(store, "a")
    os.kill(serving(tmp_path)["pid"], signal.SIGKILL)
    remember(store, "b")
    assert texts(store) == ["a", "b"]


def test_emulator_killed_again_and_again_under_writes(tmp_path: Path) -> None:
    """What was acknowledged is there; what was not is there whole, once, or not at all."""
    scope = fresh_scope()
    store = open_embedded(tmp_path).scope(scope)
    store.snapshot()
    acknowledged, done = [], threading.Event()

    def write() -> None:
        n = 0
        while not done.is_set():
            remember(store, f"{n} left", f"{n} right")
            acknowledged.append(n)
            n += 1

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        for _ in range(4):
            enough = len(acknowledged) + 5
            while len(acknowledged) < enough and not writing.done():
                time.sleep(0.005)
            os.kill(serving(tmp_path)["pid"], signal.SIGKILL)
        done.set()
        writing.result(120)
    expected = [f"{n} {side}" for n in acknowledged for side in ("left", "right")]
    assert texts(open_embedded(tmp_path).scope(scope)) == expected


def test_slow_emulator_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not answer in time is alive all the same: it holds the directory, and its address stays."""
    first = open_embedded(tmp_path)
    first.ping()
    pid = serving(tmp_path)["pid"]
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(embedded, "ANSWER_SECONDS", 0.2)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(open_embedded(tmp_path).ping)
        time.sleep(1)  # it fails to attach, and to start another one
        os.kill(pid, signal.SIGCONT)
        other.result(60)
    assert serving(tmp_path)["pid"] == pid
    first.close()


def test_unusable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="DATA_DIR"):
        open_embedded(tmp_path / "file").ping()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the file size of another process")
def test_full_disk(tmp_path: Path) -> None:
    """It does not pass by itself: told at once, with the cause; reads go on, and writes once there is room again."""
    scope = fresh_scope()
    store = open_embedded(tmp_path)
    remember(store.scope(scope), "before")
    pid = serving(tmp_path)["pid"]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"data directory cannot be written.*DATA_DIR") as told:
            remember(store.scope(scope), "lost")
        assert time.monotonic() - began < 10  # of the twenty seconds that are granted to what may pass
        assert not told.value.retry
        assert texts(store.scope(scope)) == texts(open_embedded(tmp_path).scope(scope)) == ["before"]
        with pytest.raises(StoreError, match="DATA_DIR"):
            store.scope(scope).delete_all()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    remember(store.scope(scope), "after")
    assert serving(tmp_path)["pid"] == pid
    store.close()
    assert texts(open_embedded(tmp_path).scope(scope)) == ["before", "after"]


def test_newer_data_is_refused(tmp_path: Path) -> None:
    import sqlite3

    store = open_embedded(tmp_path)
    store.ping()
    store.close()
    (database,) = (
        path for path in (tmp_path / "tablestore").iterdir() if path.suffix in (".db", ".sqlite", ".sqlite3")
    )
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 9999")
    with pytest.raises(StoreError, match=r"did not start.*newer.*DATA_DIR"):
        open_embedded(tmp_path).ping()
