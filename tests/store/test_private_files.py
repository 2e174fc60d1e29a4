"""The embedded store's key, lock and log: nobody else's to read, and never half there."""

import json
import logging
import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.store import fresh_scope, remember, texts
from tablestore_emulator.protocol.auth import ACCESS_KEY_VARIABLE, access_keys
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.client import private_files
from tablestore_openmemory_mcp.store.client.private_files import kept_key, opened_private, warn_of_others, write_private
from tablestore_openmemory_mcp.store.store import TablestoreStore

KEY = "embedded:" + "0123456789abcdef" * 4
OLDER = "embedded:" + "fedcba9876543210" * 4
DAMAGED = {
    "empty": b"",
    "blank": b" \n",
    "half": KEY[:30].encode(),
    "the default": b"emulator:emulator",
    "no secret": b"embedded:",
    "zeros": bytes(73),
    "not text": b"\xff\xfe" * 40,
    "two": f"{KEY}\n{KEY}".encode(),
}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_embedded(directory: Path) -> TablestoreStore:
    return TablestoreStore.open(Settings.load({"DATA_DIR": str(directory)}))


def accepts(endpoint: str, secret: str) -> bool:
    """Whether the emulator takes this secret for the admin's."""
    request = urllib.request.Request(f"{endpoint}/_admin/calls", headers={"Authorization": f"Bearer {secret}"})
    try:
        with urllib.request.urlopen(request, timeout=30):
            return True
    except urllib.error.HTTPError:
        return False


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_key_file_is_never_the_published_key(tmp_path: Path, damage: Any) -> None:
    tmp_path.chmod(0o700)
    key = tmp_path / "store.key"
    key.write_bytes(DAMAGED[damage])
    key.chmod(0o600)
    scope = fresh_scope()
    store = open_embedded(tmp_path)
    remember(store.scope(scope), "a")
    found = json.loads((tmp_path / "store.json").read_text())
    assert len(found["access_key_secret"]) == 64
    assert key.read_text() == f"embedded:{found['access_key_secret']}"
    assert accepts(found["endpoint"], found["access_key_secret"])
    assert not accepts(found["endpoint"], "emulator")
    store.close()
    again = open_embedded(tmp_path)
    assert texts(again.scope(scope)) == ["a"]
    again.close()


def test_processes_that_are_attached_go_on_when_the_key_file_was_damaged(tmp_path: Path) -> None:
    first, second = open_embedded(tmp_path), open_embedded(tmp_path)
    scope = fresh_scope()
    remember(first.scope(scope), "a")
    assert texts(second.scope(scope)) == ["a"]
    (tmp_path / "store.key").write_text("")
    first.close()  # and with it the emulator
    third = open_embedded(tmp_path)
    remember(third.scope(scope), "b")
    assert texts(second.scope(scope)) == ["a", "b"]
    third.close()
    second.close()


def test_only_the_owner_may_read_anything(tmp_path: Path) -> None:
    """Whatever the umask is, and whatever an earlier version left."""
    old = os.umask(0)
    try:
        folder = tmp_path / "data"
        folder.mkdir(mode=0o755)
        for name in ("store.log", "store.lock"):
            (folder / name).write_text("")
            (folder / name).chmod(0o666)
        store = open_embedded(folder)
        remember(store.scope(fresh_scope()), "a")
    finally:
        os.umask(old)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"store.log", "store.lock", "store.key", "store.json"} <= {path.name for path in files}
    assert {path.name: oct(mode_of(path)) for path in files if mode_of(path) & 0o077} == {}
    store.close()


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o700])
def test_a_folder_that_others_may_open_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(mode)
    with caplog.at_level(logging.WARNING, private_files.__name__):
        store = open_embedded(folder)
        store.ping()
        store.ping()
        store.close()
    told = [record.getMessage() for record in caplog.records if "DATA_DIR" in record.getMessage()]
    assert len(told) == (mode != 0o700)
    assert all(f"{mode:o}" in line and str(tmp_path) not in line for line in told)
    assert mode_of(folder) == mode


@settings(deadline=None)  # it waits for the disk
@given(before=st.binary(max_size=100), last=st.sampled_from(["", "emulator:emulator", OLDER]))
def test_whatever_is_in_the_file_the_key_is_whole(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, last: str
) -> None:
    path = tmp_path_factory.mktemp("key") / "store.key"
    path.write_bytes(before)
    path.chmod(0o600)
    key = kept_key(path, last)
    assert private_files._KEY.fullmatch(key)
    assert path.read_text() == kept_key(path) == key
    assert mode_of(path) == 0o600
    if last == OLDER:
        assert key == OLDER


def test_a_key_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "store.key"
    path.write_text(KEY)
    path.chmod(0o600)
    assert kept_key(path) == KEY
    path.chmod(0o644)
    new = kept_key(path, KEY)
    assert new != KEY
    assert mode_of(path) == 0o600
    assert kept_key(path) == new


KILLED = """
import os, sys
from pathlib import Path
from tablestore_openmemory_mcp.store.client import private_files
step, path = sys.argv[1], Path(sys.argv[2])
def die(*_): os._exit(9)
if step == "written":
    os.fsync = die
elif step == "synced":
    Path.replace = die
private_files.write_private(path, "n" * 100)
"""


@pytest.mark.parametrize("step", ["written", "synced", "replaced"])
def test_killed_while_writing_the_old_text_is_there_or_the_new(tmp_path: Path, step: str) -> None:
    path = tmp_path / "file"
    write_private(path, "old")
    subprocess.run([sys.executable, "-c", KILLED, step, path], check=False)
    assert path.read_text() == ("n" * 100 if step == "replaced" else "old")
    write_private(path, "next")
    assert path.read_text() == "next"


def test_a_full_disk_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    write_private(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_text_and_name_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        synced.append(stat.S_IFMT(os.fstat(fd).st_mode))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    write_private(tmp_path / "file", "text")
    assert synced == [stat.S_IFREG, stat.S_IFDIR]


def test_a_log_of_ours_is_emptied_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old")
    path.chmod(0o644)
    with opened_private(path) as log:
        log.write(b"new")
    assert (path.read_text(), mode_of(path)) == ("new", 0o600)
    warn_of_others(tmp_path)


@pytest.mark.parametrize("left", ["", "null", "[]", "1", '{"pid": 1}', '"x"'])
def test_an_endpoint_file_that_says_nothing_is_written_anew(tmp_path: Path, left: str) -> None:
    (tmp_path / "store.json").write_text(left)
    store = open_embedded(tmp_path)
    store.ping()
    assert "endpoint" in json.loads((tmp_path / "store.json").read_text())
    store.close()


@pytest.mark.parametrize("value", ["", " ", ":", "id:", ":secret", "id"])
def test_an_emulator_asked_for_an_empty_key_does_not_start(value: Any) -> None:
    with pytest.raises(ValueError, match=ACCESS_KEY_VARIABLE):
        access_keys([], {ACCESS_KEY_VARIABLE: value})
    done = subprocess.run(
        [sys.executable, "-m", "tablestore_emulator", "--port", "0", "--exit-with-parent"],
        env={**os.environ, ACCESS_KEY_VARIABLE: value},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert ACCESS_KEY_VARIABLE in done.stderr


def test_the_emulator_s_keys() -> None:
    assert [(c.key_id, c.secret) for c in access_keys([], {})] == [("emulator", "emulator")]
    assert [(c.key_id, c.secret) for c in access_keys([], {ACCESS_KEY_VARIABLE: "a:b"})] == [("a", "b")]
    assert [(c.key_id, c.secret) for c in access_keys(["c:d"], {ACCESS_KEY_VARIABLE: ""})] == [("c", "d")]
