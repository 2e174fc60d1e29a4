"""Malformed HTTP and JSON-RPC in great number: the server goes on, tells nothing of its inside, and keeps nothing.

FUZZ_INPUTS and FUZZ_SEED choose how many and which.
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import IO

import pytest

from support.malformed import HTTP_PATH, Input, malformed, malformed_message
from support.observed import descriptors, memory
from support.processes import COMMAND, Server, clean_environ, wait_until

pytestmark = pytest.mark.slow

INPUTS = int(os.environ.get("FUZZ_INPUTS", "10000"))
SEED = int(os.environ.get("FUZZ_SEED", "20261122"))
WORKERS = 4
MAX_SESSIONS = 2 * WORKERS
PATIENCE = 30.0  # seconds for an answer to a complete request
GLANCE = 0.05  # seconds for what need not be answered
TELLTALE = (b"Traceback", b'File "', b'.py"', b".py:", b"site-packages")


class Stream:
    """An SSE session that is kept open and read all the time."""

    def __init__(self, port: int, user: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.sendall(f"GET /mcp/fuzz/sse/{user} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self._lock = threading.Lock()
        self._received = b""
        threading.Thread(target=self._read, daemon=True).start()
        wait_until(lambda: b"session_id=" in self.received or self.ended, PATIENCE, lambda: repr(self.received))
        assert not self.ended, self.received
        self.session = self.received.split(b"session_id=")[1][:32].decode()

    ended = False

    @property
    def received(self) -> bytes:
        with self._lock:
            return self._received

    def _read(self) -> None:
        self._socket.settimeout(None)
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65536):
                with self._lock:
                    self._received += data
        self.ended = True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextlib.contextmanager
def streams(port: int, count: int) -> Iterator[list[Stream]]:
    opened: list[Stream] = []
    try:
        for i in range(count):
            opened.append(Stream(port, f"witness{i}"))  # noqa: PERF401 - what was opened is closed after a failure
        yield opened
    finally:
        for stream in opened:
            stream.close()


def send(port: int, sent: Input) -> int | None:
    """The status of the answer; None if there was none. Raises AssertionError for an answer that should not be."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE if sent.whole else GLANCE) as connection:
        response = http.client.HTTPResponse(connection, method=sent.data[:4].decode("latin-1"))  # HEAD has no body
        try:
            connection.sendall(sent.data)
            response.begin()
            streaming = response.headers.get_content_type() == "text/event-stream"
            body = response.read1(65536) if streaming else response.read()
        except (TimeoutError, OSError, http.client.HTTPException):
            assert not sent.whole, f"no answer to {sent}"
            return None
    assert response.status < 500 or response.status in (501, 503, 505), f"{response.status} {body!r} to {sent}"
    assert not any(word in body for word in TELLTALE), f"{body!r} to {sent}"
    return response.status


def test_malformed_inputs(tmp_path: Path) -> None:
    with Server(tmp_path, MAX_SESSIONS=str(MAX_SESSIONS), MAX_SESSIONS_PER_USER=str(MAX_SESSIONS)) as server:
        port, pid = server.port, server.process.pid
        assert ask(port) == []
        descriptors_before, memory_before = descriptors(pid), memory(pid)
        seen: Counter[str] = Counter()
        with streams(port, WORKERS) as witnesses, ThreadPoolExecutor(WORKERS) as pool:

            def work(number: int) -> tuple[str, int | None]:
                sent = malformed(SEED, number, witnesses[number % WORKERS].session)
                return sent.kind, send(port, sent)

            for number, (kind, status) in enumerate(pool.map(work, range(INPUTS))):
                seen[f"{kind}: {status}"] += 1
                if number % 500 == 499:
                    assert ask(port) == []
            for witness in witnesses:
                assert not witness.ended, "a session was lost"
                assert not any(word in witness.received for word in TELLTALE), witness.received[-2000:]
        print(*(f"{count:6} {what}" for what, count in sorted(seen.items())), sep="\n")

        wait_until(lambda: descriptors(pid) <= descriptors_before + 2, PATIENCE, lambda: str(descriptors(pid)))
        with streams(port, MAX_SESSIONS):  # none is left over
            pass
        print(f"memory: {memory_before / 1e6:.0f} MB before, {memory(pid) / 1e6:.0f} MB after")
        assert server.stop() == 0
        assert "Traceback" not in server.log
        assert '"level": "ERROR"' not in server.log, [line for line in server.log.splitlines() if "ERROR" in line][:5]


def ask(port: int) -> object:
    """A well-formed call, of a user whom nobody else is."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_memories", "arguments": {}}}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection.request("POST", HTTP_PATH.replace("mallory", "witness"), json.dumps(call), headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return json.loads(answer["result"]["content"][0]["text"])


def test_malformed_lines_on_stdin(tmp_path: Path) -> None:
    random = Random(f"{SEED}/stdin")
    lines = [malformed_message(random).replace(b"\n", b" ") for _ in range(INPUTS // 10)]
    with (tmp_path / "stderr").open("w+b") as log:
        child = subprocess.Popen(
            [*COMMAND, "--transport=stdio"],
            env=clean_environ(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        watchdog = threading.Timer(300, child.kill)
        watchdog.start()
        try:
            assert child.stdin
            assert child.stdout
            with ThreadPoolExecutor(1) as writer:
                writer.submit(_write, child.stdin, [*lines, b'{"jsonrpc":"2.0","id":"last","method":"ping"}'])
                said = b""
                while line := child.stdout.readline():  # until it has read all that came before the ping
                    said += line
                    if json.loads(line).get("id") == "last":
                        break
            child.stdin.close()
            said += child.stdout.read()
            assert child.wait() == 0
        finally:
            watchdog.cancel()
            child.kill()
        assert {"jsonrpc": "2.0", "id": "last", "result": {}} in [json.loads(line) for line in said.splitlines()]
        assert not any(word in said for word in TELLTALE)
        log.seek(0)
        assert b"Traceback" not in log.read()


def _write(sink: IO[bytes], lines: list[bytes]) -> None:
    for line in lines:
        sink.write(line + b"\n")
    sink.flush()
