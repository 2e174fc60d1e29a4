"""`migrate` and `erase` as processes: with the store away, stopped half-way, and asked by a person."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.emulator import Emulator
from support.fake_openai import FakeOpenAI
from support.processes import COMMAND, Server, clean_environ, run_to_end, tablestore_environ, wait_until
from support.release_1x import OldTable
from support.store import Rows, open_environ
from tablestore_openmemory_mcp.scope import Scope

ALICE = Scope("alice", "cline")


@pytest.fixture
def environ(emulator: Emulator) -> dict[str, str]:
    return {**tablestore_environ(emulator), "MEMORY_PIPELINE": "verbatim"}


@pytest.fixture
def old(emulator: Emulator) -> Iterator[OldTable]:
    table = OldTable(emulator)
    yield table
    emulator.clear_faults()
    table.drop()


def run(home: Path, environ: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    done = run_to_end(home, *arguments, environ=environ)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def texts(environ: Mapping[str, str], scope: Scope = ALICE) -> list[str]:
    return sorted(m.text for m in open_environ(environ).scope(scope).snapshot().memories.values())


@pytest.mark.parametrize("command", ["migrate", "erase --user alice"])
def test_the_store_is_away(tmp_path: Path, environ: dict[str, str], command: str) -> None:
    status, said = run(tmp_path, {**environ, "TABLESTORE_ENDPOINT": "http://127.0.0.1:9"}, *command.split())
    assert status == 2
    assert said.startswith("tablestore-openmemory-mcp: ")
    assert said.count("\n") == 1
    assert "TABLESTORE_ENDPOINT" in said


def test_help(tmp_path: Path, environ: dict[str, str]) -> None:
    status, said = run(tmp_path, environ, "migrate", "--help")
    assert status == 0
    for option in ("--from", "--yes", "--map", "--user", "--re-embed", "--json"):
        assert option in said


@pytest.mark.parametrize("bad", [["--map", "alice"], ["--nothing"], ["table"], ["--from", "not there"]])
def test_bad_input(tmp_path: Path, environ: dict[str, str], bad: list[str]) -> None:
    assert run(tmp_path, environ, "migrate", *bad)[0] == 2


def test_stopped_half_way(tmp_path: Path, environ: dict[str, str], old: OldTable, emulator: Emulator) -> None:
    for i in range(600):
        old.put(f"fact {i}")
    emulator.fault(apis="BatchWriteRow", delay=3.0, skip=1, times=1)
    process = subprocess.Popen(
        [*COMMAND, "migrate", "--yes"],
        env=clean_environ(tmp_path, **environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    wait_until(lambda: emulator.faults()["rules"][0]["fired"] or process.poll() is not None, 60)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert 0 < len(texts(environ)) < 600
    old.put("one more")
    assert run(tmp_path, environ, "migrate", "--yes")[0] == 0
    assert texts(environ) == sorted([*(f"fact {i}" for i in range(600)), "one more"])
    Rows(emulator, ALICE).audit()


def test_two_at_once(tmp_path: Path, environ: dict[str, str], old: OldTable, emulator: Emulator) -> None:
    for i in range(450):
        old.put(f"fact {i}")
    command, clean = [*COMMAND, "migrate", "--yes", "--json"], clean_environ(tmp_path, **environ)
    both = [subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert json.loads(out)["rows"] == 450
    assert len(texts(environ)) == 450
    store = open_environ(environ).scope(ALICE)
    assert [h for id_ in store.snapshot().memories if len(h := store.history(id_)) != 1] == []
    Rows(emulator, ALICE).audit()


def test_erasing_tells_of_the_old_table(tmp_path: Path, environ: dict[str, str], old: OldTable) -> None:
    old.put("one")
    old.put("two", client="Cherry Studio")
    old.put("another's", user="bob")
    old.put("nobody's", columns={"payload_source": "{"} | {"payload": "["})
    before = old.rows()
    status, said = run(tmp_path, environ, "erase", "--user", "alice")
    assert status == 0
    assert "2 memories in table mem0 of release 1.x (1 through Cherry Studio, 1 through cline)" in said
    assert "--include-1x" in said
    status, said = run(tmp_path, environ, "erase", "--user", "alice", "--yes")
    assert status == 1  # something of her is left
    assert "Left as it was: 2 memories in table mem0" in said
    assert "Rows in table mem0 of release 1.x that do not say whose they are: 1." in said
    status, said = run(tmp_path, environ, "erase", "--user", "alice", "--include-1x")
    assert "--yes" in said  # nobody is there to be asked
    assert old.rows() == before
    status, said = run(tmp_path, environ, "erase", "--user", "alice", "--include-1x", "--yes")
    assert status == 0
    assert "deleted" in said
    assert "history.db" in said
    assert sorted(row["text"] for row in old.rows().values()) == ["another's", "nobody's"]


def test_erasing_with_keys_that_may_not_look_there(
    tmp_path: Path, environ: dict[str, str], old: OldTable, emulator: Emulator
) -> None:
    """They may be good for our own tables alone. What is ours is erased; the rest is said, and is no success."""
    old.put("one")
    run(tmp_path, environ, "migrate", "--yes")
    emulator.fault(apis="DescribeTable", error="OTSNoPermissionAccess")
    status, said = run(tmp_path, environ, "erase", "--user", "alice", "--yes")
    assert status == 1
    assert "1 memory through cline: erased" in said
    assert "Whether table mem0 of release 1.x holds more is not known." in said
    assert texts(environ) == []


def test_who_was_erased_is_not_brought_back(tmp_path: Path, environ: dict[str, str], old: OldTable) -> None:
    """Though nothing of her had been taken over when she was erased. What release 1.x hears later is."""
    old.put("before")
    assert run(tmp_path, environ, "erase", "--user", "alice", "--yes")[0] == 1
    old.put("later", created="2126-01-01T00:00:00-08:00")
    status, said = run(tmp_path, environ, "migrate", "--yes")
    assert (status, texts(environ)) == (0, ["later"])
    assert "of a user who was erased here" in said
    assert run(tmp_path, environ, "migrate", "--yes", "--again")[0] == 0
    assert texts(environ) == ["before", "later"]


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1)])
def test_a_person_is_asked(tmp_path: Path, environ: dict[str, str], old: OldTable, answer: str, left: int) -> None:
    old.put("one")
    run(tmp_path, environ, "migrate", "--yes")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "erase", "--user", "alice", "--include-1x"],
        env=clean_environ(tmp_path, **environ),
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(follower)
    os.write(leader, answer.encode())
    said, _ = process.communicate(timeout=60)
    os.close(leader)
    assert process.returncode == 0
    assert "Erase for good" in said
    assert (len(old.rows()), len(texts(environ))) == (left, left)


@contextmanager
def server(home: Path, environ: Mapping[str, str]) -> Iterator[Server]:
    with Server(home, **environ) as running:
        assert running.port
        yield running


@pytest.mark.slow  # waits for what a server does some seconds after its start
def test_a_word_at_the_start(tmp_path: Path, environ: dict[str, str], old: OldTable, emulator: Emulator) -> None:
    """After the start, and only while there is something to take over."""
    notice = "memories of release 1.x are in table mem0; `tablestore-openmemory-mcp migrate` takes them over."
    for i in range(3):
        old.put(f"fact {i}")
    before = old.rows()
    with server(tmp_path, environ) as running:
        wait_until(lambda: f"3 {notice}" in running.log, 30, lambda: running.log)
    assert old.rows() == before
    assert run(tmp_path, environ, "migrate", "--yes")[0] == 0
    described = emulator.calls().get("DescribeTable", 0)
    with server(tmp_path, environ) as running:
        wait_until(lambda: emulator.calls().get("DescribeTable", 0) > described, 30)
        assert running.stop() == 0
        assert "release 1.x" not in running.log


@pytest.mark.slow
def test_no_word_where_there_is_nothing(tmp_path: Path, environ: dict[str, str], emulator: Emulator) -> None:
    described = emulator.calls().get("DescribeTable", 0)
    with server(tmp_path, environ) as running:
        wait_until(lambda: emulator.calls().get("DescribeTable", 0) > described, 30)
        assert running.stop() == 0
        assert "release 1.x" not in running.log
    assert emulator.calls()["DescribeTable"] == described + 1


def test_the_server_and_migrate_beside_it(
    tmp_path: Path, environ: dict[str, str], old: OldTable, llm: FakeOpenAI
) -> None:
    """A server that runs sees what is taken over with its next call."""
    from support.clients import over_sse

    old.put("喜欢吃辣的东西")
    with Server(tmp_path, **environ, **llm.environ()) as running, over_sse(running.url("cline", "alice")) as client:
        assert client.memories() == []
        assert run(tmp_path, {**environ, **llm.environ()}, "migrate", "--yes")[0] == 0
        assert client.texts() == ["喜欢吃辣的东西"]
        assert [m["memory"] for m in client.search("辣")] == ["喜欢吃辣的东西"]
