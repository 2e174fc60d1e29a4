"""SSE sessions: what survives, what is bounded, and whose they are."""

import contextlib
import threading

import anyio
import httpx
import pytest

from support.inprocess import PlainMemory, plain_app, serving, settings
from support.wire import ACCEPT, RawSse, call, text_of, until
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.server.caller import Caller, Principal
from tablestore_openmemory_mcp.server.transports.sse import sessions

pytestmark = pytest.mark.anyio

SSE = "/mcp/cline/sse/alice"
ALICE = Scope("alice", "cline")


async def test_a_stream_that_never_initialized_serves_calls(http: httpx.AsyncClient) -> None:
    """An EventSource that reconnects does not initialize again."""
    async with RawSse.open(http, SSE) as stream:
        assert text_of(await stream.ask(call(1, "list_memories"))) == "[]"


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_every_handshake_version_is_spoken(http: httpx.AsyncClient, version: str) -> None:
    initialize = {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}},
    }
    async with RawSse.open(http, SSE) as stream:
        answer = await stream.ask(initialize)
        assert answer["result"]["protocolVersion"] == version
        await stream.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert len((await stream.ask({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))["result"]["tools"]) == 4


async def test_what_is_no_session_is_said(http: httpx.AsyncClient) -> None:
    async with RawSse.open(http, SSE) as stream:
        gone = stream.endpoint
        for endpoint, status in (
            ("/mcp/messages/", 400),
            ("/mcp/messages/?session_id=", 400),
            ("/mcp/messages/?session_id=" + "0" * 32, 404),
            ("/mcp/messages/?session_id=../../etc", 404),
        ):
            assert (await http.post(endpoint, json=call(1, "list_memories"))).status_code == status
        assert (await http.post(gone, content=b"{}", headers={"content-type": "text/plain"})).status_code == 400
        assert (await http.post(gone, content=b"{nonsense", headers=JSON)).status_code == 400
        assert (await http.post(gone, content=b"[]", headers=JSON)).status_code == 400
        assert text_of(await stream.ask(call(2, "list_memories"))) == "[]"  # and the session goes on

        async def closed() -> bool:
            return (await http.post(gone, json=call(3, "list_memories"))).status_code == 404

    await until(closed)


JSON = {"content-type": "application/json"}


async def test_a_message_that_is_none_is_answered_when_it_has_an_id(http: httpx.AsyncClient) -> None:
    async with RawSse.open(http, SSE) as stream:
        surrogate = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"\\ud800"}}'
        assert (await http.post(stream.endpoint, content=surrogate, headers=JSON)).status_code == 202
        answer = await stream.message()
        assert answer["id"] == 7
        assert "surrogates" in answer["error"]["message"]


async def test_bodies_are_bounded(memory: PlainMemory) -> None:
    with serving(plain_app(memory, MAX_BODY_SIZE="20000")) as base:
        async with httpx.AsyncClient(base_url=base) as http, RawSse.open(http, SSE) as stream:
            huge = call(1, "add_memories", text="x" * 30_000)
            assert (await stream.post(huge)).status_code == 413
            assert (await http.post("/mcp/cline/http/alice", json=huge, headers=ACCEPT)).status_code == 413

            async def endless() -> object:
                for _ in range(100):
                    yield b" " * 1000

            undeclared = await http.post(stream.endpoint, content=endless(), headers=JSON)  # type: ignore[arg-type]
            assert undeclared.status_code == 413
            assert text_of(await stream.ask(call(2, "list_memories"))) == "[]"
    assert memory.by_scope == {}


async def test_slow_adds_delay_no_search(http: httpx.AsyncClient, memory: PlainMemory) -> None:
    memory.hold.clear()
    async with RawSse.open(http, SSE) as slow, RawSse.open(http, SSE) as fast:
        for n in range(32):
            assert (await slow.post(call(n, "add_memories", text=str(n)))).status_code == 202
        for _ in range(32):
            assert await anyio.to_thread.run_sync(memory.started.acquire, True, 10)
        with anyio.fail_after(5):
            for n in range(20):
                assert text_of(await fast.ask(call(n, "search_memories", query="x"))) == "[]"
        memory.hold.set()
        assert {(await slow.message())["id"] for _ in range(32)} == set(range(32))


async def test_too_many_unanswered_calls_are_refused(memory: PlainMemory) -> None:
    memory.hold.clear()
    with serving(plain_app(memory, MAX_CALLS_PER_SESSION="3")) as base:
        async with httpx.AsyncClient(base_url=base) as http, RawSse.open(http, SSE) as stream:
            for n in range(3):
                assert (await stream.post(call(n, "add_memories", text="x"))).status_code == 202
            refused = await stream.post(call(3, "add_memories", text="x"))
            assert refused.status_code == 429
            assert "MAX_CALLS_PER_SESSION" in refused.text
            memory.hold.set()
            for _ in range(3):
                await stream.message()
            assert text_of(await stream.ask(call(4, "list_memories")))
    assert len(memory.by_scope[ALICE]) == 3


async def test_a_cancelled_call_frees_its_place_and_its_write_is_whole(memory: PlainMemory) -> None:
    memory.hold.clear()
    with serving(plain_app(memory, MAX_CALLS_PER_SESSION="1")) as base:
        async with httpx.AsyncClient(base_url=base) as http, RawSse.open(http, SSE) as stream:
            await stream.post(call(1, "add_memories", text="x"))
            assert await anyio.to_thread.run_sync(memory.started.acquire, True, 10)
            cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
            assert (await stream.post(cancelled)).status_code == 202
            memory.hold.set()

            async def accepted() -> bool:
                return (await stream.post(call(2, "list_memories"))).status_code == 202

            await until(accepted)
            answer = await stream.message()
            assert answer["id"] == 2  # the cancelled one is never answered
    assert [m.text for m in memory.by_scope[ALICE]] == ["x"]


async def test_a_write_goes_on_when_its_client_hangs_up(http: httpx.AsyncClient, memory: PlainMemory) -> None:
    memory.hold.clear()
    async with RawSse.open(http, SSE) as stream:
        await stream.post(call(1, "add_memories", text="said before hanging up"))
        assert await anyio.to_thread.run_sync(memory.started.acquire, True, 10)
    memory.hold.set()

    async def stored() -> bool:
        return bool(memory.by_scope.get(ALICE))

    await until(stored)


async def test_streams_are_bounded_per_user_and_in_all() -> None:
    with serving(plain_app(MAX_SESSIONS="3", MAX_SESSIONS_PER_USER="2")) as base:
        async with (
            httpx.AsyncClient(base_url=base) as http,
            RawSse.open(http, SSE),
            RawSse.open(http, SSE) as second,
        ):
            third = await http.get(SSE)
            assert third.status_code == 429
            assert "MAX_SESSIONS_PER_USER" in third.text
            async with RawSse.open(http, "/mcp/cline/sse/bob"):
                fourth = await http.get("/mcp/cline/sse/carol")
                assert fourth.status_code == 429
                assert text_of(await second.ask(call(1, "list_memories"))) == "[]"


async def test_an_idle_stream_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tablestore_openmemory_mcp.server.transports.sse.endpoint.PING_INTERVAL", 0.05)
    with serving(plain_app(SESSION_IDLE_TIMEOUT="0.2")) as base:
        async with httpx.AsyncClient(base_url=base) as http, RawSse.open(http, SSE) as stream:
            with anyio.fail_after(5):
                assert await stream.event() is None


async def test_draining_answers_what_runs_and_then_ends_the_streams(memory: PlainMemory) -> None:
    memory.hold.clear()
    app = plain_app(memory)
    with serving(app) as base:
        async with (
            httpx.AsyncClient(base_url=base) as http,
            RawSse.open(http, SSE) as busy,
            RawSse.open(http, SSE) as idle,
        ):
            await busy.post(call(1, "add_memories", text="x"))
            assert await anyio.to_thread.run_sync(memory.started.acquire, True, 10)
            app.drain()
            assert (await http.get("/readyz")).status_code == 503
            refused = await busy.ask(call(2, "add_memories", text="y"))
            assert "shutting down" in text_of(refused)
            threading.Timer(0.1, memory.hold.set).start()
            assert "ADD" in text_of(await busy.message())
            assert await busy.event() is None
            assert await idle.event() is None
    assert [m.text for m in memory.by_scope[ALICE]] == ["x"]


async def test_what_all_streams_leave_unread_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may leave 4 MB unread, and there may be a thousand."""
    monkeypatch.setattr(sessions, "MAX_WAITING_IN_ALL", 10_000_000)
    known = sessions.Sessions(settings({}))
    with contextlib.ExitStack() as stack:
        caller = Caller(ALICE, Principal("local"), "")
        greedy, *others = [stack.enter_context(known.open(caller)) for _ in range(30)]
        for _ in range(3):
            greedy.emit("message", "x" * 1_000_000)
        for other in others[:7]:
            other.emit("message", "x" * 900_000)
        assert not any(session.scope.cancel_called for session in known)
        others[7].emit("message", "x" * 900_000)
        assert [session.scope.cancel_called for session in (greedy, *others)] == [True] + [False] * 29
