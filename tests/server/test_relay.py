"""SSE on several instances behind a balancer without affinity. Real processes on one emulator."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from support.balancer import Balancer
from support.emulator import Emulator
from support.processes import Server, tablestore_environ
from support.wire import RawSse, call, text_of, until
from tablestore_openmemory_mcp.server.auth.tokens import Tokens

pytestmark = pytest.mark.anyio

SECRET = "a signing secret that is long enough"
TOKENS = Tokens([SECRET], lambda: pytest.fail("the secret is given"))


def bearer(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS.mint([user], ['*'], 3600).token}"}


def cloud(emulator: Emulator) -> dict[str, str]:
    return {
        **tablestore_environ(emulator),
        "MEMORY_PIPELINE": "verbatim",
        "MCP_AUTH": "token",
        "MCP_AUTH_SECRET": SECRET,
    }


@contextmanager
def instances(home: Path, n: int) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator())
        servers = []
        for i in range(n):
            (home / str(i)).mkdir()
            servers.append(stack.enter_context(Server(home / str(i), **cloud(emulator))))
        for server in servers:
            server.port  # noqa: B018 - waits for it
        yield servers


def base(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


async def converse(http: httpx.AsyncClient, user: str, calls: int) -> None:
    """Every POST of a session goes to the next instance. On a machine that is too busy to claim a message in time the
    answer is 404: then it did not run, and will not, so it is said again in a new session."""
    headers = bearer(user)
    said = 0
    while said < calls:
        async with RawSse.open(http, f"/mcp/cline/sse/{user}", headers) as stream:
            while said < calls:
                text = f"fact {said} of {user}"
                response = await stream.post(call(said, "add_memories", text=text), headers)
                if response.status_code == 404:
                    break
                assert response.status_code == 202, response.text
                answer = await stream.message()
                assert answer["id"] == said
                assert text in text_of(answer)
                said += 1


@pytest.mark.parametrize(
    ("sessions", "calls"), [(8, 5), pytest.param(50, 20, marks=pytest.mark.slow)], ids=["few", "many"]
)
async def test_no_call_is_lost_run_twice_or_crossed(tmp_path: Path, sessions: int, calls: int) -> None:
    with instances(tmp_path, 3) as servers, Balancer(lambda: [server.port for server in servers]) as balancer:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=balancer.url, timeout=120, limits=limits) as http:
            async with anyio.create_task_group() as tasks:
                for n in range(sessions):
                    tasks.start_soon(converse, http, f"user-{n}", calls)
            for n in range(sessions):
                user = f"user-{n}"
                headers = bearer(user) | {"Accept": "application/json, text/event-stream"}
                listed = await http.post(f"/mcp/cline/http/{user}", json=call(1, "list_memories"), headers=headers)
                text = text_of(listed.json())
                assert text.count('"id":') == calls
                assert all(text.count(f'"memory":"fact {i} of {user}"') == 1 for i in range(calls))


async def test_what_the_relay_refuses(tmp_path: Path) -> None:
    with instances(tmp_path, 2) as (holder, other):
        async with httpx.AsyncClient(base_url=base(holder), timeout=30) as http:
            async with RawSse.open(http, "/mcp/cline/sse/alice", bearer("alice")) as stream:
                elsewhere = base(other) + stream.endpoint
                message = call(1, "list_memories")
                mine = {"Authorization": stream.response.request.headers["authorization"]}
                another = await http.post(elsewhere, json=message, headers=bearer("alice"))
                assert another.status_code == 404  # another token of the same user
                broken = await http.post(elsewhere, content=b"{", headers=mine | {"content-type": "application/json"})
                assert broken.status_code == 400
                unknown = await http.post(
                    base(other) + "/mcp/messages/?session_id=" + "0" * 32, json=message, headers=mine
                )
                assert unknown.status_code == 404
                assert (await stream.post(message, mine)).status_code == 202  # none of this harmed the session
                assert text_of(await stream.message()) == "[]"

            async def gone() -> bool:
                return (await http.post(elsewhere, json=message, headers=mine)).status_code == 404

            await until(gone, 10)


async def test_a_dead_instance_is_noticed_and_nobody_hangs(tmp_path: Path) -> None:
    with instances(tmp_path, 2) as (holder, other):
        async with httpx.AsyncClient(timeout=30) as http:
            headers = bearer("alice")
            async with http.stream("GET", base(holder) + "/mcp/cline/sse/alice", headers=headers) as response:
                lines = response.aiter_lines()
                while not (line := await anext(lines)).startswith("data:"):
                    pass
                elsewhere = base(other) + line.removeprefix("data:").strip()
                holder.kill()
                began = time.monotonic()
                refused = await http.post(elsewhere, json=call(1, "add_memories", text="x"), headers=headers)
                assert refused.status_code == 404
                assert time.monotonic() - began < 15  # PATIENCE is 2
            again = await http.post(elsewhere, json=call(2, "add_memories", text="x"), headers=headers)
            assert again.status_code == 404
            listing = headers | {"Accept": "application/json, text/event-stream"}
            listed = await http.post(
                base(other) + "/mcp/cline/http/alice", json=call(3, "list_memories"), headers=listing
            )
            assert text_of(listed.json()) == "[]"  # what was told to be gone did not run


class Persistent:
    """A client of the Python kind: when its stream or a call fails, it opens a new session and goes on."""

    def __init__(self, http: httpx.AsyncClient, user: str) -> None:
        self._http = http
        self._user = user
        self._headers = bearer(user)
        self.acknowledged: list[str] = []
        self.tried: list[str] = []
        self.longest = 0.0  # seconds one attempt took, answered or not

    async def run(self, ends: anyio.Event) -> None:
        while not ends.is_set():
            try:
                async with RawSse.open(self._http, f"/mcp/cline/sse/{self._user}", self._headers) as stream:
                    while not ends.is_set():
                        await self._add(stream)
            except (httpx.HTTPError, AssertionError, TimeoutError):
                await anyio.sleep(0.2)

    async def _add(self, stream: RawSse) -> None:
        text = f"fact {len(self.tried)} of {self._user}"
        self.tried.append(text)
        began = time.monotonic()
        try:
            with anyio.fail_after(60):
                response = await stream.post(call(1, "add_memories", text=text), self._headers)
                assert response.status_code == 202
                assert text in text_of(await stream.message())
            self.acknowledged.append(text)
        finally:
            self.longest = max(self.longest, time.monotonic() - began)


@pytest.mark.slow
async def test_instances_die_and_come_back(tmp_path: Path) -> None:
    """One instance after the other is killed and replaced. Nothing acknowledged is lost, nothing runs twice, nobody
    hangs."""
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator())
        servers: list[Server] = []

        def begin() -> Server:
            home = tmp_path / str(time.monotonic_ns())
            home.mkdir()
            return stack.enter_context(Server(home, **cloud(emulator)))

        servers = [begin() for _ in range(3)]
        ports = [server.port for server in servers]
        balancer = stack.enter_context(Balancer(lambda: ports))
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=balancer.url, timeout=60, limits=limits) as http:
            clients = [Persistent(http, f"user-{n}") for n in range(9)]
            ends = anyio.Event()
            async with anyio.create_task_group() as tasks:
                for client in clients:
                    tasks.start_soon(client.run, ends)
                for victim in (0, 1, 2):
                    await anyio.sleep(20)
                    await anyio.to_thread.run_sync(servers[victim].kill)
                    servers[victim] = begin()
                    ports[victim] = await anyio.to_thread.run_sync(getattr, servers[victim], "port")
                await anyio.sleep(10)
                ends.set()
            for client in clients:
                user, headers = client._user, client._headers
                listing = headers | {"Accept": "application/json, text/event-stream"}
                listed = await http.post(f"/mcp/cline/http/{user}", json=call(1, "list_memories"), headers=listing)
                text = text_of(listed.json())
                assert client.acknowledged
                for fact in client.tried:
                    times = text.count(f'"memory":"{fact}"')
                    assert times == 1 if fact in client.acknowledged else times <= 1
            acknowledged, tried = (sum(len(getattr(c, n)) for c in clients) for n in ("acknowledged", "tried"))
            longest = max(client.longest for client in clients)
            print(f"{acknowledged} of {tried} adds acknowledged, the longest attempt took {longest:.1f} s")
            assert longest < 30
