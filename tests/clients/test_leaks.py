"""What open, unread and dropped connections cost the server, and that it gives everything back.

LEAK_ROUNDS chooses how many connections are made and dropped.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import tablestore

from support.emulator import Emulator, connect
from support.observed import descriptors, memory, threads
from support.processes import Server, tablestore_environ, wait_until
from support.raw_connections import INITIALIZE, RawConnection, RawStream, raw_streams, tool_call

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("LEAK_ROUNDS", "20000"))
WARM_UP = 1_000  # rounds until pools, caches and the allocator have grown to their size
IDLE_SESSIONS = 500
MAX_PER_SESSION = 150_000  # bytes
MAX_PER_ROUND = 1_000  # bytes: less than any task, session or buffer that would stay behind takes
POOL = 4  # worker threads for adds, and as many for the rest
PATIENCE = 60.0
HTTP = "/mcp/raw/http/alice"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    pools = {"SEARCH_WORKERS": str(POOL), "ADD_WORKERS": str(POOL)}
    with Server(tmp_path, MAX_SESSIONS=str(IDLE_SESSIONS), LOG_LEVEL="WARNING", **pools) as running:
        with RawConnection(running.port) as first:  # by now everything is imported
            first.post(HTTP, tool_call("list_memories"))
            assert first.status() == 200
        yield running


def test_idle_sessions_are_cheap(server: Server) -> None:
    port, pid = server.port, server.process.pid
    with raw_streams(port, 50, user="first") as streams:
        for stream in streams:
            stream.initialize()
    settle(pid, descriptors(pid) - 50)
    before, held = memory(pid), descriptors(pid)

    with raw_streams(port, IDLE_SESSIONS) as streams:
        for stream in streams:
            stream.initialize()
        each = (memory(pid) - before) / IDLE_SESSIONS
        print(f"{each / 1000:.1f} kB per idle session")
        assert each < MAX_PER_SESSION
        with RawStream(port, "one-too-many") as refused:
            assert refused.opened == 429
        assert streams[0].tell(tool_call("list_memories")) == 202
        streams[0].until(b'"isError":false')

    settle(pid, held)


def test_a_client_that_never_reads_is_bounded(server: Server) -> None:
    port, pid = server.port, server.process.pid
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
        accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        for i in range(20):
            call = tool_call("add_memories", {"text": f"{i} " + "long " * 6_000})
            client.post("/mcp/raw/http/reader0", content=call, headers=accept).raise_for_status()
    held, before = descriptors(pid), memory(pid)

    most, statuses = 0, []
    with RawStream(port, "reader0", receive_buffer=4096) as lazy, RawStream(port, "reader0") as eager:
        lazy.initialize()
        for i in range(200):  # 120 MB of answers
            statuses.append(lazy.tell(tool_call("list_memories", ident=i)))
            most = max(most, memory(pid) - before)
            if statuses[-1] == 404:
                break
        print(f"{most / 1e6:.0f} MB more for one that does not read; told {len(statuses)} times")
        assert statuses[-1] == 404, "its stream should have been cut"
        assert most < 40_000_000
        assert eager.tell(tool_call("list_memories", ident=1)) == 202
        eager.until(b'"isError":false')

    settle(pid, held)


def test_connections_that_drop_leave_nothing(server: Server) -> None:
    port, pid = server.port, server.process.pid
    held = descriptors(pid)
    drop_all(port, range(WARM_UP))
    settle(pid, held)
    before, threads_before = memory(pid), threads(pid)

    drop_all(port, range(ROUNDS))

    settle(pid, held)
    each = (memory(pid) - before) / ROUNDS
    print(f"{ROUNDS} rounds: {each:.0f} bytes each, {threads_before} threads before, {threads(pid)} after")
    assert each < MAX_PER_ROUND
    assert threads(pid) <= threads_before + 2 * POOL
    with raw_streams(port, IDLE_SESSIONS, user="refill") as streams:  # MAX_SESSIONS: none is left over
        assert {stream.opened for stream in streams} == {200}
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_streams_that_drop_leave_no_row(tmp_path: Path) -> None:
    """Instances that share a Tablestore write down which of them holds a stream."""
    with Emulator() as emulator:
        cloud = tablestore_environ(emulator) | {"MEMORY_PIPELINE": "verbatim", "LOG_LEVEL": "WARNING"}
        client = connect(emulator)
        with Server(tmp_path, **cloud) as server:
            with raw_streams(server.port, 1):
                wait_until(lambda: streams_noted(client) == 1, PATIENCE)
            drop_all(server.port, range(ROUNDS // 20))
            wait_until(lambda: streams_noted(client) == 0, PATIENCE, lambda: f"{streams_noted(client)} rows left")


def streams_noted(client: tablestore.OTSClient) -> int:
    first = [("kind", "stream"), ("id", tablestore.INF_MIN), ("n", tablestore.INF_MIN)]
    last = [("kind", "stream"), ("id", tablestore.INF_MAX), ("n", tablestore.INF_MAX)]
    _, _, rows, _ = client.get_range("mem0_sessions", "FORWARD", first, last, limit=5_000, max_version=1)
    return len(rows)


def drop_all(port: int, rounds: range) -> None:
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda number: drop(port, number), rounds):
            pass


def drop(port: int, number: int) -> None:
    """Go a part of the way that a client goes, and vanish: without a word or with a reset."""
    reset = number % 2 == 0
    match number % 8:
        case 0 | 1:
            connection = RawConnection(port)
            connection.get(f"/mcp/raw/sse/user{number % 97}")  # gone before the stream is open
        case 2 | 3:
            connection = RawStream(port, f"user{number % 97}")
        case 4 | 5:
            connection = stream = RawStream(port, f"user{number % 97}")
            stream.initialize()
            stream.tell(tool_call("search_memories", {"query": "anything"}))  # gone before its answer
        case 6:
            connection = RawConnection(port)
            connection.post(HTTP, tool_call("list_memories"))
        case _:
            connection = RawConnection(port)
            connection.post(HTTP, INITIALIZE + b" " * 100)
            connection.socket.send(
                b"POST /mcp/raw/http/alice HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{"
            )
    connection.drop(reset=reset)


def settle(pid: int, held: int) -> None:
    """Wait until it has closed what it opened since it held that many descriptors."""
    # Each worker thread may have opened a connection to the store, and keeps it.
    wait_until(
        lambda: descriptors(pid) <= held + 2 * POOL + 1, PATIENCE, lambda: f"{held} before, {descriptors(pid)} now"
    )
