"""Function Compute's front door in small: it starts instances, adds headers, freezes, recycles, cuts and refuses."""

import contextlib
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
import httpx
import uvicorn
from anyio.from_thread import BlockingPortal
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from .function_compute import Instance, Role

Routing = Literal["round-robin", "affinity"]
HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"upgrade", b"content-length"}
SESSION = re.compile(rb"session_id=([0-9a-fA-F-]+)")


class Cut(Exception):
    """The platform ended the response half-way: the function's timeout, or its instance is gone."""


@dataclass
class Slot:
    """An instance and what the platform knows of it."""

    instance: Instance
    active: int = 0  # requests under way
    retiring: bool = False
    frozen: bool = False
    sessions: set[str] = field(default_factory=set)


class Gateway:
    """ASGI. `start` makes an instance (and may block); the others are the function's configuration.

    Everything but `start` runs on one event loop, so state needs no lock; an instance is frozen as soon as it has no
    request, as the harshest platform would.
    """

    def __init__(
        self,
        start: Callable[[], Instance],
        role: Role,
        *,
        concurrency: int = 20,
        max_instances: int = 4,
        timeout: float = 3600.0,
        routing: Routing = "round-robin",
    ) -> None:
        self._start = start
        self._role = role
        self._concurrency = concurrency
        self._max_instances = max_instances
        self._timeout = timeout
        self._routing = routing
        self._slots: list[Slot] = []
        self._starting = 0
        self._turn = 0
        self._client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_keepalive_connections=0))
        self.counts = {"requests": 0, "frozen": 0, "recycled": 0, "cut": 0, "refused": 0, "started": 0}

    # Requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if any(name.startswith(b"x-fc-") for name, _ in scope["headers"]):
            await PlainTextResponse("headers may not begin with x-fc-", 400)(scope, receive, send)
            return
        self.counts["requests"] += 1
        slot = await self._acquire(parse_qs(scope["query_string"].decode()).get("session_id", [""])[0])
        if slot is None:
            self.counts["refused"] += 1
            await PlainTextResponse("ResourceExhausted", 429)(scope, receive, send)
            return
        try:
            with anyio.move_on_after(self._timeout) as limit:
                whole = await self._forward(slot, scope, receive, send)
            if limit.cancelled_caught or not whole:
                self.counts["cut"] += 1
                raise Cut
        finally:
            self._release(slot)

    async def _acquire(self, session: str = "") -> Slot | None:
        usable = [slot for slot in self._slots if not slot.retiring]
        if self._routing == "affinity" and session:
            bound = [slot for slot in usable if session in slot.sessions]
            if bound and bound[0].active >= self._concurrency:
                return None
            usable = bound or usable
        free = [slot for slot in usable if slot.active < self._concurrency]
        if not free and len(self._slots) + self._starting < self._max_instances:
            free = [await self.scale_out()]
        if not free:
            return None
        self._turn += 1
        slot = free[self._turn % len(free)]
        slot.active += 1
        if slot.frozen:
            slot.frozen = False
            slot.instance.thaw()
        return slot

    def _release(self, slot: Slot) -> None:
        slot.active -= 1
        if slot.active == 0 and not slot.retiring:
            slot.frozen = True
            slot.instance.freeze()
            self.counts["frozen"] += 1

    async def _forward(self, slot: Slot, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the instance answered to the end."""
        body = await _read(receive)
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        headers = [(n, v) for n, v in scope["headers"] if n not in HOP_BY_HOP]
        headers += [(n.encode(), v.encode()) for n, v in slot.instance.headers("/http-invoke").items()]
        headers.append((b"x-forwarded-for", scope["client"][0].encode()))
        url = slot.instance.url + (scope["raw_path"] + query).decode("latin-1")
        whole = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_disconnect, receive, tasks)
            try:
                async with self._client.stream(scope["method"], url, headers=headers, content=body) as response:
                    await self._answer(slot, response, send)
            except httpx.TransportError:
                whole = False
            tasks.cancel_scope.cancel()
        return whole

    async def _answer(self, slot: Slot, response: httpx.Response, send: Send) -> None:
        headers = [(n.lower(), v) for n, v in response.headers.raw if n.lower() not in HOP_BY_HOP]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        streams = b"text/event-stream" in dict(headers).get(b"content-type", b"")
        async for chunk in response.aiter_raw():
            if streams and (found := SESSION.search(chunk)):
                slot.sessions.add(found[1].decode())
                streams = False
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def invoke(self, event: Any) -> dict[str, Any]:
        """What `s invoke` gets: a request through the API, to any instance."""
        slot = await self._acquire()
        assert slot
        try:
            return await anyio.to_thread.run_sync(slot.instance.invoke, event)
        finally:
            self._release(slot)

    # Instances

    async def scale_out(self) -> Slot:
        """One more instance, ready for requests."""
        self._starting += 1
        try:
            instance = await anyio.to_thread.run_sync(self._ready)
        finally:
            self._starting -= 1
        slot = Slot(instance)
        self._slots.append(slot)
        self.counts["started"] += 1
        return slot

    def _ready(self) -> Instance:
        instance = self._start()
        instance.await_port()
        assert instance.initialize().status_code == 200
        return instance

    async def recycle_oldest(self) -> None:
        """Replace an instance: it gets no more requests, /pre-stop, and then is gone with whatever streams it held."""
        fresh = await self.scale_out()
        old = min((s for s in self._slots if s is not fresh and not s.retiring), key=lambda s: s.instance.started)
        old.retiring = True
        old.instance.thaw()
        await anyio.to_thread.run_sync(old.instance.pre_stop)
        await anyio.to_thread.run_sync(old.instance.kill)
        self._slots.remove(old)
        self.counts["recycled"] += 1

    async def aclose(self) -> None:
        for slot in self._slots:
            slot.instance.thaw()
            await anyio.to_thread.run_sync(slot.instance.kill)
        await self._client.aclose()


class Running:
    """A gateway that serves on `url`, driven from a test's thread."""

    def __init__(self, gateway: Gateway, url: str, portal: BlockingPortal) -> None:
        self.gateway = gateway
        self.url = url
        self._portal = portal

    def do(self, action: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Run an action of the gateway on its event loop."""
        return self._portal.call(action, *arguments)


@contextlib.contextmanager
def serving(gateway: Gateway, *, instances: int = 1) -> Iterator[Running]:
    """`gateway` on a free loopback port, with that many instances."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(uvicorn.Config(gateway, lifespan="off", log_level="critical", timeout_graceful_shutdown=1))
    portals: list[BlockingPortal] = []
    ready = threading.Event()

    async def main() -> None:
        async with BlockingPortal() as portal:
            portals.append(portal)
            ready.set()
            await server.serve(sockets=[sock])
            await gateway.aclose()

    thread = threading.Thread(target=anyio.run, args=(main,), daemon=True)
    thread.start()
    assert ready.wait(30)
    running = Running(gateway, f"http://127.0.0.1:{sock.getsockname()[1]}", portals[0])
    try:
        for _ in range(instances):
            running.do(gateway.scale_out)
        yield running
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message: Message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _cancel_on_disconnect(receive: Receive, tasks: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    tasks.cancel_scope.cancel()
