"""What a caller, and /readyz, say of a DATA_DIR whose files are damaged or gone: soon, and without its path."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import anyio
import pytest
from starlette.requests import Request

from support.store import fresh_scope, remember, serving, texts
from tablestore_openmemory_mcp.errors import StoreDamaged, StoreError
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.server.health import Health
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.store import TablestoreStore


def open_embedded(directory: Path) -> TablestoreStore:
    return TablestoreStore.open(Settings.load({"DATA_DIR": str(directory)}))


def readyz(store: TablestoreStore) -> tuple[int, str]:
    """(status, what it says)"""
    request = Request({"type": "http", "method": "GET", "path": "/readyz", "headers": []})
    response = anyio.run(Health(store.ping).readyz, request)
    return response.status_code, json.loads(bytes(response.body))["status"]


def lived(directory: Path, scope: Scope) -> list[str]:
    store = open_embedded(directory)
    for n in range(10):
        remember(store.scope(scope), *(f"{n}.{i} " + "x" * 300 for i in range(20)))
    held = texts(store.scope(scope))
    store.close()
    return held


def check_said(error: StoreError, directory: Path) -> None:
    assert "DATA_DIR" in str(error)
    assert "copy" in str(error)
    assert "moment" not in str(error)
    assert str(directory) not in str(error)
    assert not error.retry


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_emptied_or_cut_file(tmp_path: Path, share: float) -> None:
    """2.0.0 started anew, as if nothing had ever been remembered."""
    scope = fresh_scope()
    lived(tmp_path, scope)
    path = tmp_path / "tablestore" / "tablestore.db"
    os.truncate(path, int(path.stat().st_size * share))
    store = open_embedded(tmp_path)
    for work in (store.ping, lambda: texts(store.scope(scope)), lambda: remember(store.scope(scope), "new")):
        began = time.monotonic()
        with pytest.raises(StoreDamaged) as told:
            work()
        assert time.monotonic() - began < 15
        check_said(told.value, tmp_path)
        assert str(path) in (told.value.detail or "")
    assert readyz(store) == (503, "store damaged")
    store.close()


@pytest.mark.parametrize("rounds", [4, pytest.param(12, marks=pytest.mark.slow)])
def test_pages_that_were_hit(tmp_path: Path, rounds: int) -> None:
    """Each time the memories are as they were, or it is said that they are not."""
    scope = fresh_scope()
    held = lived(tmp_path / "whole", scope)
    told = 0
    for seed in range(rounds):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        shutil.copytree(tmp_path / "whole", folder, ignore=shutil.ignore_patterns("store.json"))
        path = folder / "tablestore" / "tablestore.db"
        with path.open("r+b") as file:
            file.seek(rng.randrange(path.stat().st_size - 200))
            file.write(rng.randbytes(200))
        store = open_embedded(folder)
        try:
            assert texts(store.scope(scope)) == held, seed
        except StoreDamaged as e:
            told += 1
            check_said(e, folder)
        store.close()
        shutil.rmtree(folder)
    assert told >= rounds / 3


@pytest.mark.parametrize("what", ["", "tablestore", "tablestore/tablestore.db"])
def test_removed_under_a_running_server(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "data"
    scope = fresh_scope()
    store = open_embedded(folder)
    remember(store.scope(scope), "kept")
    pid = serving(folder)["pid"]
    gone = folder / what
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    for n in range(3):
        began = time.monotonic()
        with pytest.raises(StoreError) as told:
            remember(store.scope(scope), f"lost {n}")
        assert time.monotonic() - began < 10
        check_said(told.value, folder)
        assert isinstance(told.value, StoreDamaged)
    assert readyz(store) == (503, "store damaged")
    store.close()
    assert pid
