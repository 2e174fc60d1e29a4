"""What may come over stdin besides well-formed messages, and how a stdio server ends. Real processes and pipes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.fake_openai import FakeOpenAI
from support.processes import START, alive, clean_environ, wait_until
from support.stdio import INITIALIZE, INITIALIZED, PING, STDIO, StdioServer, line, one_shot
from support.wire import call, text_of
from tablestore_openmemory_mcp.server.transports.messages import parse, refusal
from tablestore_openmemory_mcp.server.transports.stdio_streams import lines

BOM = "\ufeff".encode()


def test_what_was_asked_before_stdin_ended_is_answered(tmp_path: Path) -> None:
    """`printf … | server`. The last line even without its end."""
    asked = [INITIALIZE, INITIALIZED, call(1, "add_memories", text="我住在上海"), call(2, "list_memories")]
    answers, ended = one_shot(tmp_path, b"".join(map(line, asked)).rstrip(b"\n"))
    assert ended.returncode == 0
    assert sorted(answer["id"] for answer in answers) == [0, 1, 2]
    assert all("result" in answer for answer in answers)
    assert b"leaving: stdin ended" in ended.stderr


def test_no_answer_is_lost_at_the_end(tmp_path: Path) -> None:
    wrong = [data for data, _, _ in WRONG.values() if len(data) < 1000]
    answers, ended = one_shot(tmp_path, line(INITIALIZE) + b"\n".join(wrong * 20))
    assert len(answers) == 1 + 20 * len(wrong)
    assert ended.returncode == 0
    for only in (b"hello", b"[]\n", b"hello\n[]"):
        assert len(one_shot(tmp_path, only)[0]) == len(only.split())


def test_a_slow_call_is_answered_after_stdin_ended(tmp_path: Path) -> None:
    with FakeOpenAI() as llm, StdioServer(tmp_path, **llm.environ()) as server:
        assert server.ask(INITIALIZE)["id"] == 0
        with llm.holding("chat"):
            server.say(line(call(1, "add_memories", text="I live in Shanghai.")))
            wait_until(lambda: llm.count("extraction"), START)
            server.close_input()
            wait_until(lambda: "leaving: stdin ended" in server.log, START)
        assert "ADD" in text_of(server.hear())
        assert server.process.wait(START) == 0


def test_a_call_that_outlasts_the_grace_does_not_hold_the_process(tmp_path: Path) -> None:
    with FakeOpenAI() as llm, StdioServer(tmp_path, SHUTDOWN_GRACE="0.5", **llm.environ()) as server:
        assert server.ask(INITIALIZE)["id"] == 0
        with llm.holding("chat"):
            server.say(line(call(1, "add_memories", text="I live in Shanghai.")))
            wait_until(lambda: llm.count("extraction"), START)
            server.close_input()
            assert server.process.wait(20) == 0  # the model would keep it for fifty seconds
        assert "SHUTDOWN_GRACE" in server.log


def test_a_cancelled_call_holds_no_end_up(tmp_path: Path) -> None:
    with FakeOpenAI() as llm, StdioServer(tmp_path, **llm.environ()) as server:
        assert server.ask(INITIALIZE)["id"] == 0
        with llm.holding("chat"):
            server.say(line(call(1, "add_memories", text="I live in Shanghai.")))
            wait_until(lambda: llm.count("extraction"), START)
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
            server.say(line(cancel), line(PING))
            assert server.hear() == {"jsonrpc": "2.0", "id": "ping", "result": {}}
            server.close_input()
        assert server.process.wait(START) == 0
        assert "SHUTDOWN_GRACE" not in server.log


@pytest.mark.parametrize("before", [b"", b"\n", b" \r\n"], ids=["first", "after a blank line", "after white space"])
def test_a_byte_order_mark_is_no_part_of_a_message(tmp_path: Path, before: bytes) -> None:
    answers, ended = one_shot(tmp_path, before + BOM + line(INITIALIZE).replace(b"\n", b"\r\n"))
    assert [(answer["id"], "result" in answer) for answer in answers] == [(0, True)]
    assert ended.returncode == 0


WRONG: dict[str, tuple[bytes, Any, int]] = {
    "garbage": (b"hello", None, -32700),
    "half an object": (b'{"jsonrpc":"2.0","id":7,"method":"ping"', None, -32700),
    "a batch": (line([PING]).strip(), None, -32600),
    "an empty batch": (b"[]", None, -32600),
    "a number": (b"3", None, -32600),
    "no method": (b'{"jsonrpc":"2.0","id":7}', None, -32600),
    "another version": (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', 7, -32600),
    "UTF-16": (json.dumps(PING).encode("utf-16"), None, -32700),
    "Latin-1": (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"x":"caf\xe9"}}', 7, -32700),
    "Latin-1 in the id": (b'{"jsonrpc":"2.0","id":"caf\xe9","method":"ping"}', None, -32700),
    "half a character": ('{"jsonrpc":"2.0","id":7,"method":"上'.encode()[:-1], None, -32700),
    "a lone surrogate": (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":"\\ud83d"}}', 7, -32600),
    "too long": (b'{"jsonrpc":"2.0","id":7,"method":"' + b"x" * 200_000 + b'"}', None, -32600),
    "too deep": (b"[" * 90_000, None, -32700),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StdioServer]:
    with StdioServer(tmp_path_factory.mktemp("plain"), MAX_BODY_SIZE="100000") as server:
        server.ask(INITIALIZE)
        yield server


@pytest.mark.parametrize(("data", "ident", "code"), WRONG.values(), ids=WRONG)
def test_a_line_that_is_no_message_is_answered(plain: StdioServer, data: bytes, ident: Any, code: int) -> None:
    plain.say(data, b"\n")
    answer = plain.hear()
    assert (answer["id"], answer["error"]["code"]) == (ident, code)
    assert "pydantic" not in answer["error"]["message"]
    assert plain.ask(PING) == {"jsonrpc": "2.0", "id": "ping", "result": {}}  # it goes on, and said one thing only


def test_invalid_utf_8_is_never_stored(plain: StdioServer) -> None:
    broken = line(call(5, "add_memories", text="I like the café")).replace("é".encode(), b"\xe9")
    plain.say(broken)
    assert plain.hear()["error"]["code"] == -32700
    assert "[]" in text_of(plain.ask(call(6, "list_memories")))


def test_a_longest_line_is_taken(plain: StdioServer) -> None:
    ping = line({**PING, "params": {"_meta": {"x": ""}}})
    full = ping.replace(b'""', b'"' + b"x" * (100_000 - len(ping) + 1) + b'"')
    assert len(full) == 100_001
    plain.say(full)
    assert plain.hear()["id"] == "ping"


# A client that is killed while another process, here this one, holds its end of the pipe.
CLIENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[2:], stdin=int(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_with_its_parent_though_the_pipe_stays_open(tmp_path: Path) -> None:
    theirs, ours = os.pipe()
    with (tmp_path / "log").open("w") as log:
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(theirs), *STDIO],
            env=clean_environ(tmp_path),
            pass_fds=[theirs],
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        os.close(theirs)
        assert client.stdout
        server = int(client.stdout.readline())
        os.write(ours, line(INITIALIZE))
        assert json.loads(client.stdout.readline())["id"] == 0
        client.kill()
        client.wait()
        wait_until(lambda: not alive(server), START)
        assert "leaving: the process that started this one has ended" in (tmp_path / "log").read_text()
    finally:
        os.close(ours)
        client.kill()
        client.wait()


def test_a_launcher_may_end_before_the_client_speaks(tmp_path: Path) -> None:
    launch = ("/bin/sh", "-c", 'exec 3<&0; "$@" <&3 3<&- &', "sh", *STDIO)
    with StdioServer(tmp_path, command=launch) as launcher:
        assert launcher.process.wait(START) == 0
        wait_until(lambda: "listening" in launcher.log, START)
        assert launcher.ask(INITIALIZE)["id"] == 0
        assert launcher.ask(PING)["id"] == "ping"
        launcher.close_input()
        wait_until(lambda: "leaving: stdin ended" in launcher.log, START)


def test_it_ends_when_nobody_reads(tmp_path: Path) -> None:
    with StdioServer(tmp_path) as server:
        assert server.ask(INITIALIZE)["id"] == 0
        assert server.process.stdout
        server.process.stdout.close()
        server.say(line(PING))
        assert server.process.wait(START) == 0
        assert "leaving: stdout is closed" in server.log
        assert "Traceback" not in server.log


def test_what_a_library_prints_is_no_message(tmp_path: Path) -> None:
    """As some do when they are imported."""
    (tmp_path / "sitecustomize.py").write_text(
        "import builtins, os\n"
        "real = builtins.__import__\n"
        "def noisy(name, *rest, **more):\n"
        "    if name == 'mem0' or name.startswith('numpy'):\n"
        "        print('noise'); os.write(1, b'more noise\\n'); os.system('echo a child, too')\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = noisy\n"
    )
    asked = [INITIALIZE, call(1, "add_memories", text="x"), call(2, "list_memories")]
    answers, ended = one_shot(tmp_path, b"".join(map(line, asked)), PYTHONPATH=str(tmp_path))
    assert b"noise" in ended.stderr
    assert sorted(answer["id"] for answer in answers) == [0, 1, 2]


@given(st.binary(max_size=300), st.integers(1, 40), st.integers(1, 20))
@settings(deadline=None, max_examples=300)
def test_lines_do_not_depend_on_how_they_arrive(data: bytes, chunk: int, longest: int) -> None:
    source = [data[i : i + chunk] for i in range(0, len(data), chunk)]
    expected = [part if len(part) <= longest else None for part in data.split(b"\n")]
    if expected[-1] == b"":
        expected.pop()
    assert list(lines(lambda: source.pop(0) if source else b"", longest)) == expected


MESSAGES = st.builds(
    lambda message, at, junk: json.dumps(message, ensure_ascii=False).encode()[:at] + junk,
    st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "params"]), st.sampled_from(["2.0", 1, "é", [], {}])),
    st.integers(0, 80),
    st.binary(max_size=10),
)


@given(st.one_of(MESSAGES, st.binary(max_size=80)))
@settings(deadline=None, max_examples=500)
def test_every_line_is_a_message_or_gets_an_error(data: bytes) -> None:
    message, error = parse(data)
    if message is not None:
        assert data.decode()  # or it would hold what nobody said
        return
    answer = json.loads((error or refusal(data)).model_dump_json(by_alias=True, exclude_unset=True))
    assert answer["jsonrpc"] == "2.0"
    assert answer["error"]["code"] in (-32600, -32700)
    assert "\ufffd" not in json.dumps(answer["id"], ensure_ascii=False)
