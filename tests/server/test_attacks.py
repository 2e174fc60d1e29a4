"""Strangers who hold connections, drip, or send without end: they are cut off, the others are served, nothing grows.

Small doses on loopback, with the times shortened; two tests run a whole process.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from support.attackers import SOON, Peer, peer, peers
from support.inprocess import PlainMemory, plain_app, serving
from support.observed import descriptors, memory
from support.processes import COMMAND, Server
from support.wire import ACCEPT, RawSse, call, text_of, until
from tablestore_openmemory_mcp.server.auth.peers.connection import connection_of
from tablestore_openmemory_mcp.server.listening import protocol
from tablestore_openmemory_mcp.server.listening.connections import Limits

pytestmark = pytest.mark.anyio

HTTP = "/mcp/cline/http/alice"
SSE = "/mcp/cline/sse/alice"
POST = (
    b"POST /mcp/cline/http/alice HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Accept: application/json, text/event-stream\r\n"
)
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def served(http: httpx.AsyncClient) -> None:
    """A good client gets its answer."""
    response = await http.post(HTTP, json=call(1, "list_memories"), headers=ACCEPT)
    assert response.status_code == 200, response.text


async def closed(many: list[Peer], at_least: int) -> None:
    async def enough() -> bool:
        return sum(one.closed for one in many) >= at_least

    await until(enough, SOON)


async def insisting(one: Peer, data: bytes, pause: float = 0.02) -> None:
    """Send `data` again and again, until the server has closed."""
    began = time.monotonic()
    while not one.closed and time.monotonic() - began < SOON:
        await one.say(data)
        await asyncio.sleep(pause)
    assert one.closed


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SILENT_TIME", "HEAD_TIME", "BODY_TIME", "ANSWERED_EARLY", "LINGER"):
        monkeypatch.setattr(protocol, name, 0.5)


# Times


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 0),
        (b"\r\n\r\n", 408),
        (b"G", 408),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: abc", 408),
        (POST + b"Content-Length: 100\r\n\r\n{", 408),
        (CHUNKED + b"5\r\n{", 408),
        (POST + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n", 100),
    ],
    ids=["nothing", "line ends", "a letter", "half a head", "half a body", "half a chunk", "after 100"],
)
async def test_what_is_half_sent_ends(hasty: None, base: str, memory: PlainMemory, sent: bytes, status: int) -> None:
    async with peers(base, 20) as many, httpx.AsyncClient(base_url=base) as http:
        for one in many:
            await one.say(sent)
        await served(http)
        answers = await asyncio.gather(*(one.answer() for one in many))
        assert {int(answer.split()[1]) if answer else 0 for answer in answers} == {status}
        await served(http)
    assert memory.by_scope == {}


@pytest.mark.parametrize("sent", [b"", POST + b"Content-Length: 1000000\r\n\r\n", CHUNKED + b"fffff\r\n"])
async def test_dripping_does_not_put_the_end_off(hasty: None, base: str, sent: bytes) -> None:
    async with peer(base) as slow, httpx.AsyncClient(base_url=base) as http:
        await slow.say(sent)
        await insisting(slow, b"x")
        await served(http)


async def test_a_slow_body_that_keeps_its_rate_is_taken(
    hasty: None, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    monkeypatch.setattr(protocol, "BODY_RATE", 2_000)
    body = json.dumps(call(1, "add_memories", text="x" * 20_000)).encode()
    async with peer(base) as slow:
        await slow.say(POST + b"Content-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 1_000):  # takes four times BODY_TIME
            await slow.say(body[at : at + 1_000])
            await asyncio.sleep(0.1)
        assert await slow.status() == 200


async def test_an_idle_connection_ends(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setattr(protocol, "KEEP_ALIVE", 0.5)
    async with peer(base) as one:
        await one.say(HEALTH + HEALTH)
        assert (await one.answer()).count(b"HTTP/1.1 200 ") == 2


async def test_a_body_without_end_after_its_answer_ends(hasty: None, base: str) -> None:
    async with peer(base) as endless:
        await endless.say(POST + b"Content-Length: 99999999999\r\n\r\n")
        assert await endless.status() == 413
        await insisting(endless, b"x" * 10_000)


async def test_an_answer_that_nobody_takes_is_dropped(monkeypatch: pytest.MonkeyPatch, memory: PlainMemory) -> None:
    monkeypatch.setattr(protocol, "UNREAD_TIME", 1.0)
    app = plain_app(memory, MAX_TEXT_LENGTH="500000", MAX_RESULT_SIZE="20000000")
    with serving(app) as base:
        async with httpx.AsyncClient(base_url=base) as http, peer(base) as deaf:
            for n in range(40):
                await http.post(HTTP, json=call(n, "add_memories", text="x" * 400_000), headers=ACCEPT)
            body = json.dumps(call(1, "list_memories")).encode()
            deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await deaf.say(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await asyncio.sleep(4)
            await served(http)
            deaf.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await deaf.answer()) < 15_000_000


# Sizes


def head(target: int = 8, headers: int = 3, size: int = 100) -> bytes:
    """A GET for a path that does not exist: a target of `target` bytes, so many headers, in all at least `size`."""
    lines = [b"GET /%s HTTP/1.1" % (b"x" * (target - 1)), b"Host: localhost"]
    lines += [b"X-%d: y" % n for n in range(headers - 2)]
    lines += [b"X-Pad: "]
    whole = b"\r\n".join([*lines, b"", b""])
    return whole.replace(b"X-Pad: ", b"X-Pad: " + b"z" * max(0, size - len(whole)))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (head(target=8_192), 404),
        (head(target=8_193), 414),
        (head(target=1_000_000), 414),
        (head(headers=100), 404),
        (head(headers=101), 431),
        (head(headers=5_000), 431),
        (head(size=65_000), 404),
        (head(size=65_700), 431),
        (head(size=1_000_000), 431),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else f"{len(value)} bytes",
)
async def test_heads_are_bounded(base: str, sent: bytes, status: int) -> None:
    async with peer(base) as one:
        saying = asyncio.create_task(one.say(sent))
        assert await one.status() == status
        if status != 404:
            await one.answer()  # it closes, too
        await saying


@pytest.fixture(scope="module")
def lasting() -> Iterator[str]:
    with serving(plain_app()) as url:
        yield url


@settings(max_examples=60, deadline=None)
@given(
    target=st.sampled_from([1, 100, 8_192, 8_193, 9_000]),
    headers=st.sampled_from([3, 100, 101]),
    size=st.sampled_from([100, 20_000, 65_400, 65_600, 140_000]),
    cuts=st.lists(st.integers(0, 140_000), max_size=6),
)
def test_it_does_not_matter_how_a_head_is_cut_into_packets(
    lasting: str, target: int, headers: int, size: int, cuts: list[int]
) -> None:
    sent = head(target, headers, size)

    async def status() -> int:
        async with peer(lasting) as one:
            for begin, end in pairwise(sorted({0, len(sent), *(cut % len(sent) for cut in cuts)})):
                await one.say(sent[begin:end])
                await asyncio.sleep(0.001)
            return await one.status()

    too_much = headers > 100 or len(sent) > 65_536
    expected = 414 if target > 8_192 else 431 if too_much else 404
    assert asyncio.run(status()) == expected


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET / HTTP/1.1\r\nX: ", b"A" * 100_000),
        (b"GET / HTTP/1.1\r\n", b"A" * 100_000),
        (b"GET / HTTP/1.1\r\n", b"A: b\r\n" * 16_000),
        (b"GET /", b"A" * 100_000),
        (b"", b"\r\n" * 50_000),
        (b"", b"A" * 100_000),
    ],
    ids=["value", "name", "headers", "target", "line ends", "method"],
)
async def test_an_endless_head_is_refused_while_it_is_read(hasty: None, base: str, begin: bytes, more: bytes) -> None:
    async with peer(base) as endless:
        told = asyncio.create_task(endless.status())
        await endless.say(begin)
        sent = 0
        while not endless.closed:
            await endless.say(more)
            await asyncio.sleep(0)  # or the answer would not be read while all that is said fits into a socket
            sent += 1
            assert sent < 20_000  # 2 GB; the answer, LINGER and LINGER_BYTES come long before
        assert await told in (400, 414, 431)


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"", b"1;" + b"e" * 1_000 + b"\r\nx\r\n"),
        (b"1;", b"e" * 1_000),
        (b"0\r\nX-Trailer: ", b"y" * 1_000),
        (b"0\r\n", b"X: y\r\n" * 100),
    ],
    ids=["extensions", "an extension", "a trailer", "trailers"],
)
async def test_what_is_around_a_body_is_bounded(base: str, begin: bytes, more: bytes) -> None:
    async with peer(base) as endless:
        await endless.say(CHUNKED + begin)
        for _ in range(2_000):
            await endless.say(more)
            if endless.closed:
                break
        assert await endless.status() == 400


async def test_small_chunks_are_no_attack(base: str) -> None:
    body = json.dumps(call(1, "add_memories", text="x" * 30_000)).encode()
    async with peer(base) as one:
        await one.say(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert await one.status() == 200


async def test_a_trailer_does_not_become_a_header(base: str) -> None:
    body = json.dumps(call(1, "list_memories")).encode()
    late = b"MCP-Protocol-Version: 1900-01-01\r\nAccept: nothing/at-all\r\n"
    async with peer(base) as one:
        await one.say(CHUNKED + b"%x\r\n" % len(body) + body + b"\r\n0\r\n" + late + b"\r\n")
        assert await one.status() == 200


async def test_a_flood_of_requests_on_one_connection_ends(base: str, memory: PlainMemory) -> None:
    memory.hold.clear()
    body = json.dumps(call(1, "add_memories", text="x")).encode()
    try:
        async with peer(base) as one, httpx.AsyncClient(base_url=base) as http:
            await one.say(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body + HEALTH * 5_000)
            assert await one.answer() == b""
            await served(http)
    finally:
        memory.hold.set()


# Numbers


async def test_who_has_waited_longest_makes_room() -> None:
    with serving(plain_app(), Limits(connections=20, waiting_per_address=20)) as base:
        async with httpx.AsyncClient(base_url=base) as http, RawSse.open(http, SSE) as stream, peers(base, 60) as many:
            await served(http)
            await closed(many, 60 - 20)
            assert not many[-1].closed
            assert text_of(await stream.ask(call(1, "list_memories"))) == "[]"  # who is at work is never cut


async def test_one_address_does_not_take_all_places() -> None:
    with serving(plain_app(), Limits(connections=40, waiting_per_address=10)) as base:
        async with peers(base, 30) as many, httpx.AsyncClient(base_url=base) as http:
            await served(http)
            await closed(many, 20)


async def test_when_all_are_at_work_the_next_is_told() -> None:
    with serving(plain_app(), Limits(connections=3, waiting_per_address=3)) as base:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                http = await stack.enter_async_context(httpx.AsyncClient(base_url=base))
                await stack.enter_async_context(RawSse.open(http, SSE))
            async with peer(base) as late:
                told = await late.answer()
                assert told.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after" in told


async def test_requests_of_one_connection_share_what_was_learnt_of_it() -> None:
    """Such as what the operating system says of its other end, which is asked once."""

    asked: Counter[object] = Counter()

    async def count(request: Request) -> Response:
        connection = connection_of(request.scope)
        assert connection is not None
        asked[connection] += 1
        return PlainTextResponse(str(asked[connection]))

    app = Starlette(routes=[Route("/", count)])
    app.drain = lambda: None  # type: ignore[attr-defined]
    with serving(app) as base:  # type: ignore[arg-type]
        for _ in range(2):
            async with httpx.AsyncClient(base_url=base) as http:
                assert [(await http.get("/")).text for _ in range(3)] == ["1", "2", "3"]


# Whole processes


async def test_more_silent_connections_than_descriptors(tmp_path: Path) -> None:
    few = ("sh", "-c", 'ulimit -S -n 128; ulimit -H -n 512; exec "$@"', "sh", *COMMAND)
    with Server(tmp_path, command=few) as server:
        base, pid = f"http://127.0.0.1:{server.port}", server.process.pid
        async with httpx.AsyncClient(base_url=base, timeout=60) as http:
            await served(http)
            held, said = descriptors(pid), len(server.log)
            assert soft_limit(pid) == 512  # raised as far as it may be
            async with peers(base, 700) as many:
                for _ in range(5):
                    await served(http)
                    async with httpx.AsyncClient(base_url=base, timeout=60) as newcomer:
                        await served(newcomer)
                assert descriptors(pid) < 512
                assert sum(not one.closed for one in many) < 400

            async def given_back() -> bool:
                return descriptors(pid) <= held + 2

            await until(given_back, SOON)
            await served(http)
        assert len(server.log) - said < 20_000


def soft_limit(pid: int) -> int:
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return int(next(line for line in limits if line.startswith("Max open files")).split()[3])


async def test_endless_heads_take_no_memory(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        base, pid = f"http://127.0.0.1:{server.port}", server.process.pid
        async with httpx.AsyncClient(base_url=base, timeout=60) as http:
            await served(http)
            before, most = memory(pid), 0
            async with peers(base, 20) as many:
                for one in many:
                    await one.say(b"GET / HTTP/1.1\r\nX: ")
                for _ in range(100):  # 200 MB in all
                    for one in many:
                        if not one.closed:
                            await one.say(b"A" * 100_000)
                    most = max(most, memory(pid) - before)
            await served(http)
            print(f"{most / 1e6:.0f} MB more")
            assert most < 25_000_000
