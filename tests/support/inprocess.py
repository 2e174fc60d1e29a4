"""The server's own application on a real port of this process, over a memory service that needs nothing.

For tests of the transports and the door. Tests of what a user sees run the command as a process, on the real stack.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from tablestore_openmemory_mcp.memory.model import AddResult, Hit, Outcome, Page, Progress
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.server.app import App
from tablestore_openmemory_mcp.server.auth.tokens import Row, Tokens
from tablestore_openmemory_mcp.server.listening.connections import Limits
from tablestore_openmemory_mcp.server.listening.protocol import Config
from tablestore_openmemory_mcp.server.listening.serve import BoundedServer
from tablestore_openmemory_mcp.server.listening.sockets import listen
from tablestore_openmemory_mcp.server.tools.spec import MemoryApi
from tablestore_openmemory_mcp.server.transports.sse.relay_store import Rows
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.model import Memory


@dataclass
class PlainMemory:
    """The memory service's protocol over a dict. `hold` keeps adds waiting until it is set, as a slow LLM would."""

    hold: threading.Event = field(default_factory=threading.Event)
    started: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    by_scope: dict[Scope, list[Memory]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.hold.set()

    def add(
        self,
        scope: Scope,
        text: str,
        *,
        actor: str | None = None,
        progress: Progress | None = None,
        deadline: float | None = None,
        expires_at: int | None = None,
    ) -> AddResult:
        self.started.release()
        if progress:
            progress("extracting")
        assert self.hold.wait(30)
        if progress:
            progress("writing")
        now = round(time.time() * 1000)
        with self.lock:
            memories = self.by_scope.setdefault(scope, [])
            memory = Memory(f"{len(memories)}", text, now, now)
            memories.append(memory)
        return AddResult([Outcome(memory.id, text, "ADD")])

    def search(self, scope: Scope, query: str, *, limit: int | None = None) -> list[Hit]:
        return [Hit(m, 0.5) for m in self.by_scope.get(scope, []) if query in m.text][: limit or 10]

    def list(self, scope: Scope, *, cursor: str | None = None, limit: int | None = None) -> Page:
        memories = self.by_scope.get(scope, [])[::-1]
        begin = int(cursor or 0)
        end = begin + (limit or 100)
        return Page(memories[begin:end], len(memories), str(end) if end < len(memories) else None)

    def delete_all(self, scope: Scope) -> int:
        return len(self.by_scope.pop(scope, []))


class PlainBackend:
    """What the server needs of the program, without a store: tokens are signed with MCP_AUTH_SECRET."""

    def __init__(self, memory: PlainMemory, settings: Settings) -> None:
        self._memory = memory
        self._tokens = Tokens(settings.auth_secrets, PlainRows)

    def memory(self) -> MemoryApi:
        return cast(MemoryApi, self._memory)  # the tools that every server has need no more of it

    def tokens(self) -> Tokens:
        return self._tokens

    def rows(self) -> Rows:
        raise NotImplementedError  # only with SSE_RELAY=on

    def ping(self) -> None:
        return None


class PlainRows:
    """Rows of a store that holds none."""

    def secret(self, name: str, *, deadline: float) -> str:
        return name * 32

    def list(self, kind: str, *, deadline: float) -> list[Row]:
        return []

    def put(self, kind: str, id_: str, n: int, columns: Mapping[str, Any]) -> None:
        raise NotImplementedError


@contextlib.contextmanager
def serving(app: App, limits: Limits | None = None) -> Iterator[str]:
    """`app` on a free loopback port; its base URL."""
    sockets = listen("127.0.0.1", 0)
    server = BoundedServer(Config(app, limits or Limits.of(settings({}))))
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        app.drain()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def plain_app(memory: PlainMemory | None = None, **environ: str) -> App:
    """An application over `memory`; `environ` are settings by their variables' names."""
    return App(settings(environ), PlainBackend(memory or PlainMemory(), settings(environ)))


def settings(environ: Mapping[str, str]) -> Settings:
    """With the tools that every server has: PlainMemory can do no more."""
    return Settings.load({"STORE": "embedded", "EXTRA_TOOLS": "false", **environ})
