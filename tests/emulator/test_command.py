"""The command: how it says that it is ready, what it refuses, how it ends, and `dump`."""

import json
import os
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tablestore as ots

from support.emulator import Emulator, connect
from support.tables import create_table, get, put

COMMAND = [sys.executable, "-m", "tablestore_emulator"]
KEY: list[tuple[str, Any]] = [("a", "x"), ("b", 1)]


@contextmanager
def running(*options: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, *map(str, options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def run(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, options)], capture_output=True, text=True, timeout=60)


def wait_for(path: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_it_says_that_it_is_ready_for_programs_and_for_shells() -> None:
    with running("--port", 0, "--access-key", "me:secret", "--instance", "mine") as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert (ready["instance"], ready["access_key_id"], ready["access_key_secret"]) == ("mine", "me", "secret")
        assert ready["pid"] == process.pid
        exports = dict(process.stdout.readline().removeprefix("export ").strip().split("=", 1) for _ in range(4))
        assert exports == {
            "TABLESTORE_ENDPOINT": ready["endpoint"],
            "TABLESTORE_INSTANCE_NAME": "mine",
            "TABLESTORE_ACCESS_KEY_ID": "me",
            "TABLESTORE_ACCESS_KEY_SECRET": "secret",
        }
        client = ots.OTSClient(ready["endpoint"], "me", "secret", "mine")
        assert list(client.list_table()) == []
        process.terminate()
        assert process.wait(30) == 0


def test_a_ready_file_is_private_and_keeps_the_secret_off_the_screen(tmp_path: Path) -> None:
    file = tmp_path / "ready.json"
    with running("--port", 0, "--ready-file", file, TABLESTORE_EMULATOR_ACCESS_KEY="id:hidden") as process:
        ready = wait_for(file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert (ready["access_key_id"], ready["access_key_secret"]) == ("id", "hidden")
        client = ots.OTSClient(ready["endpoint"], "id", "hidden", ready["instance"])
        assert list(client.list_table()) == []
        process.terminate()
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output, errors) == (0, "", "")


def test_one_process_serves_a_data_directory(tmp_path: Path) -> None:
    with Emulator(tmp_path):
        second = subprocess.run(
            [*COMMAND, "--port", "0", "--data", tmp_path], capture_output=True, text=True, timeout=60
        )
    assert second.returncode == 3
    assert second.stderr.count("\n") == 1
    assert "Another process is serving" in second.stderr
    with Emulator(tmp_path) as emulator:
        connect(emulator).list_table()


def test_a_taken_port_is_an_error_unless_another_will_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("--port", port)
        assert refused.returncode == 1
        assert "in use" in refused.stderr
        with running("--port", port, "--port-fallback", "--ready-file", tmp_path / "ready"):
            assert not wait_for(tmp_path / "ready")["endpoint"].endswith(f":{port}")


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    with running("--port", 0, "--exit-with-parent", "--data", tmp_path / "d", "--ready-file", file) as process:
        wait_for(file)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
    with Emulator(tmp_path / "d"):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--access-key", "no colon"], "ID:SECRET"),
        (["--fault", "{}"], "needs an error"),
        (["--fault", "not json"], "Expecting value"),
        (["--port", "many"], "invalid int value"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(options: list[str], words: str) -> None:
    done = run(*options)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_data_of_a_newer_format_is_refused_and_kept(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        create_table(connect(emulator), "t")
    database = sqlite3.connect(tmp_path / "tablestore.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    for options in (("--port", 0), ("dump", "t")):
        done = run(*options, "--data", tmp_path)
        assert done.returncode == 1
        assert "written by a newer tablestore-emulator (format 99, this one knows 2)" in done.stderr
        assert done.stderr.count("\n") == 1


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tablestore.db").write_text("these are not the bytes you are looking for\n" * 100)
    done = run("--port", 0, "--data", tmp_path)
    assert done.returncode == 1
    assert "is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def dump(*arguments: object) -> list[Any]:
    done = run("dump", *arguments)
    done.check_returncode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_dump_prints_rows_beside_a_running_emulator(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        client = connect(emulator)
        create_table(client, "t")
        put(client, "t", KEY, [("text", "我喜欢茶"), ("blob", bytearray(b"\x00\xff")), ("f", 0.5), ("yes", True)])
        put(client, "t", [("a", "w"), ("b", 2)], [])
        rows = dump("t", "--data", tmp_path)
        assert rows == [
            {"primary_key": {"a": "w", "b": 2}, "columns": {}},
            {
                "primary_key": {"a": "x", "b": 1},
                "columns": {"blob": {"base64": "AP8="}, "f": 0.5, "text": "我喜欢茶", "yes": True},
            },
        ]
        assert [(line["table"], line["rows"]) for line in dump("--data", tmp_path)] == [("t", 2)]
    missing = run("dump", "u", "--data", tmp_path)
    assert (missing.returncode, "There is no table u" in missing.stderr) == (1, True)


def test_memory_is_forgotten_and_a_directory_is_not(tmp_path: Path) -> None:
    for data, kept in ((None, None), (tmp_path, {"c": 1})):
        with Emulator(data) as emulator:
            create_table(connect(emulator), "t")
            put(connect(emulator), "t", KEY, [("c", 1)])
        with Emulator(data) as emulator:
            client = connect(emulator)
            assert list(client.list_table()) == (["t"] if data else [])
            if data:
                assert get(client, "t", KEY) == kept


def test_the_version_is_the_packages() -> None:
    done = run("--version")
    name, version = done.stdout.split()
    assert name in ("tablestore-emulator", "tablestore-openmemory-mcp")
    assert version[0].isdigit()
