"""What one call costs the event loop, in counts: threads it goes to, tasks, spans. Whatever comes back fails here."""

import asyncio
import contextlib
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from starlette.types import Message, Scope

from support.inprocess import PlainBackend, PlainMemory, plain_app, serving, settings
from support.processes import COMMAND, START, clean_environ
from support.wire import ACCEPT, RawSse, call, text_of
from tablestore_openmemory_mcp import cli
from tablestore_openmemory_mcp.server.app import App

pytestmark = pytest.mark.anyio
HTTP = "/mcp/cline/http/alice"


@contextlib.contextmanager
def hops(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every piece of work that the process hands to a thread while the block runs."""
    handed: list[str] = []
    submit, run_sync = ThreadPoolExecutor.submit, anyio.to_thread.run_sync

    def submitted(self: ThreadPoolExecutor, work: Any, /, *args: Any, **named: Any) -> Any:
        handed.append("worker")
        return submit(self, work, *args, **named)

    async def ran(work: Any, *args: Any, **named: Any) -> Any:
        handed.append(f"{work}")
        return await run_sync(work, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ThreadPoolExecutor, "submit", submitted)
        patch.setattr(anyio.to_thread, "run_sync", ran)
        yield handed


async def test_a_call_goes_to_one_thread(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawSse.open(http, "/mcp/cline/sse/alice") as stream:
        await stream.ask(call(0, "list_memories"))  # whose connection it is was asked now
        await http.post(HTTP, json=call(0, "list_memories"), headers=ACCEPT)
        with hops(monkeypatch) as handed:
            for n in range(1, 4):
                assert text_of(await stream.ask(call(n, "search_memories", query="tea"))) == "[]"
                answered = await http.post(HTTP, json=call(n, "search_memories", query="tea"), headers=ACCEPT)
                assert text_of(answered.json()) == "[]"
        assert handed == ["worker"] * 6


async def test_a_token_that_is_known_goes_to_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings({"MCP_AUTH_SECRET": "a signing secret that is long enough"})
    backend = PlainBackend(PlainMemory(), given)
    token = backend.tokens().mint(["alice"], ["*"], 600).token
    with serving(App(given, backend)) as base:
        async with httpx.AsyncClient(base_url=base, headers=ACCEPT | {"authorization": f"Bearer {token}"}) as http:
            await http.post(HTTP, json=call(0, "list_memories"))
            with hops(monkeypatch) as handed:
                for n in range(3):
                    assert text_of((await http.post(HTTP, json=call(n, "list_memories"))).json()) == "[]"
            assert handed == ["worker"] * 3


@contextlib.contextmanager
def new_tasks() -> Iterator[list[Any]]:
    """The coroutines of the tasks that begin on this event loop while the block runs."""
    loop, begun = asyncio.get_running_loop(), []

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **named: Any) -> "asyncio.Task[Any]":
        begun.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **named)

    loop.set_task_factory(make)
    try:
        yield begun
    finally:
        loop.set_task_factory(None)


class Direct:
    """The application without a network: each method is one request."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.said: asyncio.Queue[bytes] = asyncio.Queue()

    async def post(self, path: str, message: dict[str, Any]) -> bytes:
        path, _, query = path.partition("?")
        body, answer = json.dumps(message).encode(), bytearray()

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            answer.extend(message.get("body", b""))

        await self._app(_scope("POST", path, query), receive, send)
        return bytes(answer)

    async def stream(self, path: str) -> None:
        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            if message.get("body"):
                self.said.put_nowait(message["body"])

        await self._app(_scope("GET", path, ""), receive, send)

    async def event(self) -> str:
        return (await self.said.get()).decode().partition("data: ")[2].strip()


def _scope(method: str, path: str, query: str) -> Scope:
    headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
    }


@contextlib.asynccontextmanager
async def lifespan(app: App) -> Any:
    async with app._lifespan(app._starlette):
        yield


async def test_a_call_over_http_begins_no_task() -> None:
    app = plain_app(MCP_AUTH="anonymous")
    async with lifespan(app):
        direct = Direct(app)
        with new_tasks() as begun:
            for n in range(3):
                answer = json.loads(await direct.post(HTTP, call(n, "search_memories", query="tea")))
                assert answer["id"] == n
                assert text_of(answer) == "[]"
        assert begun == []


async def test_a_call_over_sse_begins_one_task_and_progress_another() -> None:
    app = plain_app(MCP_AUTH="anonymous")
    async with lifespan(app), anyio.create_task_group() as tasks:
        direct = Direct(app)
        tasks.start_soon(direct.stream, "/mcp/cline/sse/alice")
        messages = await direct.event()
        with new_tasks() as begun:
            for n in range(3):
                await direct.post(messages, call(n, "add_memories", text="I drink tea."))
                assert json.loads(await direct.event())["id"] == n
        assert len(begun) == 3
        asking = call(7, "add_memories", text="I drink tea.")
        asking["params"]["_meta"] = {"progressToken": "seven"}
        with new_tasks() as begun:
            await direct.post(messages, asking)
            told = [json.loads(await direct.event()) for _ in range(3)]
        assert [message.get("method") for message in told] == ["notifications/progress"] * 2 + [None]
        assert len(begun) == 2
        tasks.cancel_scope.cancel()


SPANS = """
import anyio
from contextlib import contextmanager
from mcp_types import JSONRPCRequest
from opentelemetry import trace
from support.inprocess import PlainMemory, settings
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.server.caller import STDIO, Caller
from tablestore_openmemory_mcp.server.logs import CallLog
from tablestore_openmemory_mcp.server.tools.calls import Calls
from tablestore_openmemory_mcp.server.transports.http_exchange import exchange

begun = []

class Tracer(trace.NoOpTracer):
    @contextmanager
    def start_as_current_span(self, name, *args, **named):
        begun.append(name)
        yield trace.INVALID_SPAN

class Provider(trace.TracerProvider):
    def get_tracer(self, *args, **named):
        return Tracer()

class Proxy(trace.ProxyTracer):
    def start_as_current_span(self, name, *args, **named):
        begun.append(f"nobody listens to {name}")
        return super().start_as_current_span(name, *args, **named)

import mcp.shared._otel as sdk
sdk._tracer.__class__ = Proxy
server = Calls(settings({}), PlainMemory, CallLog()).server()

def ping():
    request = JSONRPCRequest(jsonrpc="2.0", id=1, method="ping")
    anyio.run(exchange, server, request, "2025-11-25", Caller(Scope("alice", "cline"), STDIO, "r"))

ping()
assert begun == [], begun
trace.set_tracer_provider(Provider())  # however late
ping()
assert begun == ["nobody listens to ping", "ping"], begun
"""


def test_messages_are_traced_only_if_somebody_collects_the_spans() -> None:
    """In a process of its own: a tracer provider is set for good."""
    done = subprocess.run(
        [sys.executable, "-c", SPANS],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr


def test_the_garbage_collector_rests_while_libraries_are_imported() -> None:
    with contextlib.suppress(ImportError), cli._objects_that_stay():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    assert gc.get_freeze_count()
    gc.unfreeze()


def imported(arguments: list[str], environ: dict[str, str], said: str = "") -> tuple[set[str], str]:
    """The top-level modules that Python imports, or tries to, with these arguments; and what the process printed."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env=environ,
        input=said,
        capture_output=True,
        text=True,
        timeout=START,
        check=True,
    )
    lines = [line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if "import time:" in line]
    return {line.partition(".")[0] for line in lines} - sys.stdlib_module_names, ended.stdout


def test_stdio_imports_no_library_beyond_the_sdk_before_its_first_answer(tmp_path: Path) -> None:
    environ = clean_environ(tmp_path)
    version = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}}
    initialize = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": version})
    ours, answer = imported([*COMMAND[1:], "--transport=stdio"], environ, initialize + "\n")
    assert json.loads(answer)["result"]["protocolVersion"] == "2025-06-18"
    sdk, _ = imported(["-c", "import mcp.server, pydantic"], environ)
    assert ours - sdk == {"tablestore_openmemory_mcp", "platformdirs"}
