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
from support.processes import Server
from support.wire import RawSse, call, text_of, until
from tablestore_openmemory_mcp.server.auth.tokens import Tokens

pytestmark = pytest.mark.anyio

SECRET = "s" * 32
TOKENS = Tokens([SECRET], lambda: pytest.fail("the secret is given"))


def bearer(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS.mint([user], ['*'], 3600).token}"}


def cloud(emulator: Emulator) -> dict[str, str]:
    return {
        "STORE": "tablestore",
        "TABLESTORE_ENDPOINT": emulator.endpoint,
        "TABLESTORE_INSTANCE_NAME": emulator.instance,
        "TABLESTORE_ACCESS_KEY_ID": emulator.key_id,
        "TABLESTORE_ACCESS_KEY_SECRET": emulator.secret,
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
    """One session whose every POST goes to the next instance."""
    headers = bearer(user)
    async with RawSse.open(http, f"/mcp/cline/sse/{user}", headers) as stream:
        for n in range(calls):
            response = await stream.post(call(n, "add_memories", text=f"fact {n} of {user}"), headers)
            assert response.status_code == 202, response.text
            answer = await stream.message()
            assert answer["id"] == n
            assert f"fact {n} of {user}" in text_of(answer)


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
                assert (await http.post(elsewhere, json=message, headers=mine)).status_code == 202
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
