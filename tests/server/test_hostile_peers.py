"""Peers that never read, vanish, or send what is no protocol: the server goes on, and holds on to nothing.

Small doses, for every run of the tests; `make test-leaks` and `make test-fuzz` have the large ones.
"""

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest

from support.inprocess import PlainMemory, plain_app, serving
from support.processes import Server
from support.wire import ACCEPT, RawSse, call, text_of, until
from tablestore_openmemory_mcp.server.transports.sse.sessions import MAX_WAITING

pytestmark = pytest.mark.anyio

SSE = "/mcp/cline/sse/alice"


def address(base: str) -> tuple[str, int]:
    url = httpx.URL(base)
    return url.host, url.port or 80


@contextlib.asynccontextmanager
async def mute(base: str, path: str = SSE) -> AsyncIterator[str]:
    """A stream whose client reads its endpoint and never again; the endpoint."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address(base))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    while not (line := await reader.readline()).startswith(b"data: "):
        assert line
    try:
        yield line[6:].decode().strip()
    finally:
        writer.transport.abort()


async def test_a_client_that_never_reads_holds_no_more_than_its_limit(memory: PlainMemory) -> None:
    app = plain_app(memory, MAX_TEXT_LENGTH="500000")
    with serving(app) as base:
        async with httpx.AsyncClient(base_url=base, timeout=20) as http, RawSse.open(http, "/mcp/c/sse/bob") as other:
            await http.post("/mcp/cline/http/alice", json=call(0, "add_memories", text="x" * 400_000), headers=ACCEPT)
            async with mute(base) as endpoint:
                assert len(app.sessions) == 2
                sent = 0
                while (await http.post(endpoint, json=call(sent, "list_memories"))).status_code != 404:
                    sent += 1
                    assert sent * 400_000 < 10 * MAX_WAITING, "nobody cut it off"
                    assert text_of(await other.ask(call(sent, "list_memories"))) == "[]"
                with anyio.fail_after(20):
                    while len(app.sessions) != 1:  # noqa: ASYNC110 - the app is on another thread
                        await anyio.sleep(0.02)


async def test_connecting_and_vanishing_leaves_nothing(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        base = f"http://127.0.0.1:{server.port}"
        status = Path(f"/proc/{server.process.pid}/status")

        def held() -> tuple[int, int]:
            """(descriptors, KB of memory)"""
            memory = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
            return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())), int(memory.split()[1])

        async def vanish(times: int) -> None:
            for n in range(times):
                if n % 3 == 0:  # without even waiting for an answer
                    _, writer = await asyncio.open_connection(*address(base))
                    writer.write(f"GET {SSE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    writer.transport.abort()
                else:
                    async with mute(base):
                        pass

        await vanish(100)
        descriptors, memory = held()
        await vanish(300)

        async def gone() -> bool:
            return held()[0] <= descriptors + 2

        await until(gone, 20)
        assert held()[1] - memory < 8_000  # KB


def mutated(chance: random.Random, sane: bytes) -> bytes:
    """`sane` with some bytes changed, dropped, doubled or added."""
    data = bytearray(sane)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at:at] = chance.randbytes(chance.randint(1, 20))
            case 1:
                del data[at : at + chance.randint(1, 30)]
            case 2:
                data[at : at + 1] = chance.choice([b"\r\n", b"\0", b"%", b"\xff", b"{", b'"', b"[", b"\\ud800", b"-1"])
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 60)]
            case _:
                data[at:at] = b"[" * chance.choice([1, 300, 5_000])
    return bytes(data)


def sane_request(chance: random.Random, endpoint: str) -> bytes:
    message = chance.choice(
        [
            call(1, "add_memories", text="x"),
            call(1, "search_memories", query="x"),
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}},
            {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
            {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": {}}},
        ]
    )
    body = json.dumps(message).encode()
    path = chance.choice(["/mcp/cline/http/alice", endpoint, "/mcp", "/mcp/cline/sse/alice", "/healthz"])
    version = chance.choice(["", "MCP-Protocol-Version: 2025-06-18\r\n", "MCP-Protocol-Version: 2026-07-28\r\n"])
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{version}"
        f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def answer_to(base: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address(base))
    try:
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read(100_000)
    except (OSError, TimeoutError):
        return b""
    finally:
        writer.transport.abort()


async def test_malformed_requests() -> None:
    chance = random.Random(20261122)
    app = plain_app(MAX_REQUESTS_PER_MINUTE="1000000")
    with serving(app) as base:
        async with httpx.AsyncClient(base_url=base) as http, RawSse.open(http, "/mcp/c/sse/bob") as stream:
            for n in range(600):
                sane = sane_request(chance, stream.endpoint)
                head, _, body = sane.partition(b"\r\n\r\n")
                if n % 2:  # a sound envelope around a broken message reaches further in
                    body = mutated(chance, body)
                    head = head.rpartition(b"Content-Length")[0] + f"Content-Length: {len(body)}".encode()
                    request = head + b"\r\n\r\n" + body
                else:
                    request = mutated(chance, sane)
                answer = await answer_to(base, request)
                assert b"Traceback" not in answer
                assert b" 500 " not in answer.partition(b"\r\n")[0], request
            assert (await http.get("/healthz")).status_code == 200
            with anyio.fail_after(10):
                assert (await stream.post(call("last", "list_memories"))).status_code == 202
                while (await stream.message()).get("id") != "last":
                    pass

        async def all_closed() -> bool:
            return len(app.sessions) == 0

        await until(all_closed, 10)
