"""Stores on an emulator, writers as processes of their own, and a look at the rows without the store."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from support.emulator import Emulator, connect
from support.real_instance import RealInstance
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.client.connection import CloudConnector
from tablestore_openmemory_mcp.store.model import Change, Memory, ScopeStore
from tablestore_openmemory_mcp.store.store import TablestoreStore

DIMENSION = 8
START_SECONDS = 120  # generous: a loaded machine imports slowly
_numbers = itertools.count()
_born = 0  # no two memories of the same age: lists have one order


def prefix_of(emulator: Emulator | RealInstance) -> str:
    """Of the tables' names: the default one, but on a real instance, where others may have theirs."""
    return emulator.prefix if isinstance(emulator, RealInstance) else "mem0"


def environ(emulator: Emulator | RealInstance, **more: str) -> dict[str, str]:
    """The environment variables that point a store at `emulator`. Without a key among `more`, vectors are given: the
    local embedder is not loaded."""
    return {
        "TABLESTORE_ENDPOINT": emulator.endpoint,
        "TABLESTORE_INSTANCE_NAME": emulator.instance,
        "TABLESTORE_ACCESS_KEY_ID": emulator.key_id,
        "TABLESTORE_ACCESS_KEY_SECRET": emulator.secret,
        "TABLESTORE_TABLE_NAME": prefix_of(emulator),
        "TABLESTORE_VECTOR_DIMENSION": str(DIMENSION),
        "MEMORY_PIPELINE": "verbatim",
        **({} if more.get("OPENAI_API_KEY") else {"EMBEDDER": "none"}),
        **more,
    }


def open_store(emulator: Emulator, **more: str) -> TablestoreStore:
    """A store with a cache of its own, as another process would have."""
    return open_environ(environ(emulator, **more))


def open_environ(variables: Mapping[str, str]) -> TablestoreStore:
    """The same, on whatever `variables` point at."""
    return TablestoreStore.open(Settings.load(variables))


def fresh_scope(user: str = "用户") -> Scope:
    """One that no other test uses."""
    return Scope(f"{user} {os.getpid()}-{next(_numbers)}", "cline 🚀")


def memory(text: str, *, id: str | None = None, vector: Sequence[float] | None = None, **more: Any) -> Memory:
    """An uncommitted memory; its vector follows from the text unless given."""
    seed = int.from_bytes(text.encode()[:8].ljust(8), "little")
    made = np.random.default_rng(seed).normal(size=DIMENSION) if vector is None else vector
    global _born
    now = _born = max(_born + 1, time.time_ns() // 1_000_000)
    return Memory(
        id=id or str(uuid.uuid4()),
        text=text,
        created_at=now,
        updated_at=now,
        metadata={"source_app": "test"},
        vector=np.asarray(made, np.float32),
        vector_model="fake",
        **more,
    )


def adding(*texts: str) -> list[Change]:
    """A commit's changes that add `texts`."""
    return [Change("ADD", m.id, m, actor="test") for m in map(memory, texts)]


def updating(old: Memory, text: str) -> Change:
    """The change that rewrites `old` in place."""
    new = memory(text, id=old.id)
    return Change("UPDATE", old.id, new, old_text=old.text, reason="corrected", actor="test")


def deleting(old: Memory) -> Change:
    """The change that deletes `old`."""
    return Change("DELETE", old.id, None, old_text=old.text, actor="test")


def remember(store: ScopeStore, *texts: str) -> list[Memory]:
    """Add `texts` in one commit; the memories as committed."""
    changes = adding(*texts)
    after = store.commit(changes, base=store.snapshot())
    return [after.memories[change.id] for change in changes]


@contextmanager
def clock_off_by(seconds: float) -> Iterator[None]:
    """This process stamps what it writes with another time; the SDK's requests keep the right one."""
    right, born = time.time_ns, _born
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: right() + int(seconds * 1e9))
        patch.setitem(globals(), "_born", born)
        yield


def texts(store: ScopeStore) -> list[str]:
    """What the scope holds, oldest first."""
    return [m.text for m in store.snapshot().memories.values()]


class Rows:
    """The tables as the unmodified SDK sees them."""

    def __init__(self, emulator: Emulator, scope: Scope, prefix: str | None = None) -> None:
        self._client = connect(emulator)
        self._scope = [("user_id", scope.user_id), ("client_name", scope.client_name)]
        self._prefix = prefix or prefix_of(emulator)

    def head(self) -> dict[str, Any]:
        """Columns of the head row; empty if there is none."""
        _, row, _ = self._client.get_row(f"{self._prefix}_heads", self._scope, max_version=1)
        return {} if row is None else {name: value for name, value, _ in row.attribute_columns}

    def memories(self) -> dict[str, dict[str, Any]]:
        """Columns by memory id, tombstones and invisible rows included."""
        return {key[2]: columns for key, columns in self._range("memories", "memory_id")}

    def history(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Columns by (memory id, rev)."""
        return {(key[2], key[3]): columns for key, columns in self._range("history", "memory_id", "rev")}

    def audit(self) -> None:
        """What must hold once every writer is done: nothing pending, nothing invisible, everything accounted for."""
        head, memories, history = self.head(), self.memories(), self.history()
        assert "pending" not in head
        assert "sweep" not in head
        living = {id_: m for id_, m in memories.items() if not m.get("deleted")}
        assert head.get("count", 0) == len(living)
        assert head.get("expiring", 0) == sum("expires_at" in m for m in living.values())
        assert {m["epoch"] for m in memories.values()} <= {head.get("epoch")}
        assert {h["epoch"] for h in history.values()} <= {head.get("epoch")}
        for id_, m in living.items():
            lineage = [h for (of, _), h in sorted(history.items()) if of == id_]
            assert lineage[-1]["new_text"] == m["text"]
            assert lineage[0]["event"] == "ADD"

    def _range(self, table: str, *more: str) -> list[tuple[list[Any], dict[str, Any]]]:
        from tablestore import INF_MAX, INF_MIN

        start: Any = [*self._scope, *((name, INF_MIN) for name in more)]
        end = [*self._scope, *((name, INF_MAX) for name in more)]
        found = []
        while start:
            _, start, rows, _ = self._client.get_range(f"{self._prefix}_{table}", "FORWARD", start, end, max_version=1)
            found += rows
        return [([value for _, value in row.primary_key], {n: v for n, v, _ in row.attribute_columns}) for row in found]


class Held:
    """A writer on a thread, with a store of its own, that is held where it reaches `step` for the n-th time."""

    def __init__(
        self, emulator: Emulator, scope: Scope, work: Callable[[ScopeStore], Any], *, at: tuple[str, int] | None = None
    ) -> None:
        self._at, self._seen = at, Counter[str]()
        self._reached, self._go = threading.Event(), threading.Event()
        self.steps: list[str] = []
        settings = Settings.load(environ(emulator))
        self.store = TablestoreStore(settings, CloudConnector(settings), step=self._step).scope(scope)
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(work, self.store)

    def __enter__(self) -> Self:
        if self._at:
            assert self._reached.wait(START_SECONDS), f"only reached {self.steps}"
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._pool.shutdown()

    def go(self) -> Any:
        """Let it go on to its end; what its work returned."""
        self._go.set()
        return self._future.result(START_SECONDS)

    def _step(self, name: str) -> None:
        self._seen[name] += 1
        self.steps.append(name)
        if self._at == (name, self._seen[name]):
            self._reached.set()
            assert self._go.wait(START_SECONDS)


class Writer:
    """A store in a process of its own, doing `work` (see store_child.py) and stopping itself where it is told to.

    `at`: (step, n, signal): it sends itself the signal when it reaches the step for the n-th time.
    """

    def __init__(
        self,
        emulator: Emulator,
        scope: Scope,
        work: Sequence[dict[str, Any]],
        *,
        at: Sequence[tuple[str, int, signal.Signals]] = (),
        **more: str,
    ) -> None:
        task = {
            "environ": environ(emulator, **more),
            "scope": [scope.user_id, scope.client_name],
            "work": work,
            "at": {f"{step} {n}": int(number) for step, n, number in at},
        }
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("store_child.py")), json.dumps(task)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def wait_until_stopped(self) -> None:
        """Until it has sent itself SIGSTOP."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self._process.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                return
            assert not pid, f"it ended with {os.waitstatus_to_exitcode(status)} instead of stopping"
            time.sleep(0.01)
        raise TimeoutError("the writer did not reach its step")

    def thaw(self) -> None:
        """Let a stopped one go on."""
        self._process.send_signal(signal.SIGCONT)

    def result(self) -> tuple[list[Any], list[str], int]:
        """(one answer per acknowledged piece of work, the steps it went through, exit status)."""
        out, _ = self._process.communicate(timeout=START_SECONDS)
        lines = [json.loads(line) for line in out.splitlines()]
        answers = [line["answer"] for line in lines if "answer" in line]
        return answers, [line["step"] for line in lines if "step" in line], self._process.returncode


def serving(directory: Path) -> dict[str, Any]:
    """What the embedded store of a DATA_DIR left there: where it is, its key, its pid."""
    found: dict[str, Any] = json.loads((directory / "store.json").read_text())
    return found


def gone(pid: int, seconds: float = 30) -> bool:
    """Whether a process ends (or is a zombie) within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
