"""What was erased is in no file of DATA_DIR any more, in no encoding, and what was not is whole."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.store import deleting, fresh_scope, gone, remember, serving, texts, updating
from tablestore_openmemory_mcp.errors import StoreError
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.model import ScopeStore
from tablestore_openmemory_mcp.store.store import TablestoreStore

SECRETS = ("花生过敏 since 1987", "peanut allergy, severe")
USER = Scope("alice", "claude")


def open_embedded(directory: Path, **more: Any) -> TablestoreStore:
    return TablestoreStore.open(Settings.load({"DATA_DIR": str(directory), **more}))


def found_in(directory: Path) -> dict[str, int]:
    """By file, how often a secret is in it."""
    found = {}
    for path in directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            spelled = [s.encode(code) for s in SECRETS for code in ("utf-8", "utf-16-le", "utf-16-be", "gb18030")]
            if count := sum(map(data.count, spelled)):
                found[path.name] = count
    return found


def nowhere(directory: Path, seconds: int = 30) -> None:
    """The store has that long to be idle for a moment."""
    deadline = time.monotonic() + seconds
    while found := found_in(directory):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def lived(store: TablestoreStore, seed: int = 1) -> tuple[list[ScopeStore], list[str]]:
    """A user who says the secrets again and again, corrects and deletes some, between two others."""
    rng = random.Random(seed)
    mine, others = store.scope(USER), [store.scope(fresh_scope()) for _ in range(2)]
    kept = []
    for round_number in range(30):
        remember(mine, *(f"{rng.choice(SECRETS)} {round_number} " * rng.randrange(1, 60) for _ in range(3)))
        for other in others:
            kept += remember(other, f"harmless {round_number} " * rng.randrange(1, 60))
        base = mine.snapshot()
        old, doomed = rng.sample(list(base.memories.values()), 2)
        new = f"{rng.choice(SECRETS)}, corrected " * rng.randrange(1, 200)
        mine.commit([updating(old, new), deleting(doomed)], base=base)
    return others, sorted(m.text for m in kept)


def held_by(others: list[ScopeStore]) -> list[str]:
    return sorted(text for other in others for text in texts(other))


@pytest.mark.parametrize("crash", [False, True], ids=["orderly", "killed"])
def test_delete_all(tmp_path: Path, crash: bool) -> None:
    store = open_embedded(tmp_path)
    others, kept = lived(store)
    assert found_in(tmp_path)
    assert store.scope(USER).delete_all() == 60
    if crash:
        pid = serving(tmp_path)["pid"]
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        store.ping()
    else:
        for _ in range(10):  # the store is in use meanwhile
            remember(others[0], "more")
            kept.append("more")
    nowhere(tmp_path)
    assert held_by(others) == sorted(kept)
    store.close()
    assert not found_in(tmp_path)


def test_stopped_at_once_after_delete_all(tmp_path: Path) -> None:
    store = open_embedded(tmp_path)
    lived(store)
    store.scope(USER).delete_all()
    store.close()
    assert not found_in(tmp_path)


def test_killed_in_the_middle_of_a_delete_all(tmp_path: Path) -> None:
    """The next writer finishes it; the text is gone then, wherever the first one was stopped."""
    for name, count in (("committed", 1), ("sweeping", 1), ("sweeping", 3)):
        store = open_embedded(tmp_path / f"{name}{count}")
        lived(store, seed=count)
        seen: list[str] = []

        def kill(
            step: str,
            name: str = name,
            count: int = count,
            folder: Path = tmp_path / f"{name}{count}",
            seen: list[str] = seen,
        ) -> None:
            seen.append(step)
            if step == name and seen.count(name) == count:
                os.kill(serving(folder)["pid"], signal.SIGKILL)
                raise StoreError("killed")

        breaking = open_embedded(tmp_path / f"{name}{count}")
        breaking._step = kill
        with contextlib.suppress(StoreError):
            breaking.scope(USER).delete_all()
        remember(store.scope(USER), "fresh")
        nowhere(tmp_path / f"{name}{count}")
        assert texts(store.scope(USER)) == ["fresh"]
        store.close()
        breaking.close()


def erase(directory: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tablestore_openmemory_mcp", "erase", "--user", USER.user_id, *arguments],
        env={**os.environ, "DATA_DIR": str(directory), "STORE": "embedded", **environ},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize("running", [False, True], ids=["alone", "beside a server"])
def test_erase(tmp_path: Path, running: bool) -> None:
    store = open_embedded(tmp_path)
    lived(store)
    if not running:
        store.close()
    done = erase(tmp_path, "--yes")
    assert done.returncode == 0, done.stderr
    assert "60 memories through claude: erased, history included" in done.stdout
    if running:
        nowhere(tmp_path)
        store.close()
    assert not found_in(tmp_path)


def test_one_memory_and_old_wordings_stay_in_its_history(tmp_path: Path) -> None:
    """By design, until they are erased: see docs/memory.md."""
    store = open_embedded(tmp_path)
    (old,) = remember(store.scope(USER), SECRETS[0])
    base = store.scope(USER).snapshot()
    store.scope(USER).commit([updating(old, "harmless")], base=base)
    assert [entry.old_text for entry in store.scope(USER).history(old.id)] == [None, SECRETS[0]]
    store.scope(USER).delete_all()
    nowhere(tmp_path)
    store.close()


def test_what_belongs_to_no_scope(tmp_path: Path) -> None:
    """Rows of the relay, which hold calls."""
    store = open_embedded(tmp_path)
    for n in range(50):
        store.sessions.put("inbox", "x", n, {"call": SECRETS[n % 2] * (n % 7 + 1)})
    store.sessions.delete("inbox", "x", *range(50))
    nowhere(tmp_path)
    store.close()
