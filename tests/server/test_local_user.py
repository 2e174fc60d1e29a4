"""Without a token: this machine's own user, over real connections, and nobody who comes through another's program."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.inprocess import PlainBackend, PlainMemory, plain_app, serving, settings
from support.other_users import NOBODY, RESET, SOMEBODY, forwarding, require_root
from support.processes import Server
from support.wire import ACCEPT, RawSse, call
from tablestore_openmemory_mcp.server.app import App
from tablestore_openmemory_mcp.server.auth.peers.connection import KEY, Connection
from tablestore_openmemory_mcp.server.auth.peers.owner import End, OwnUser, system_peers

pytestmark = pytest.mark.anyio

HTTP = "/mcp/cline/http/alice"
LIST = call(1, "list_memories")


def port_of(base: str) -> int:
    port = httpx.URL(base).port
    assert port
    return port


@contextlib.contextmanager
def nginx(folder: Path, port: int, location: str) -> Iterator[int]:
    """A real nginx whose workers are `nobody`, with one `proxy_pass` and nothing else; its port."""
    require_root()
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed; the forwarder above stands for it")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        own = probe.getsockname()[1]
    folder.chmod(0o755)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; user nobody nogroup; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
        f"http {{ access_log off; {temporary}"
        f"server {{ listen 127.0.0.1:{own}; location / {{ proxy_pass http://127.0.0.1:{port}; {location} }} }} }}"
    )
    with subprocess.Popen([program, "-c", str(configuration), "-p", str(folder)]) as process:
        try:
            deadline = time.monotonic() + 30
            while socket.socket().connect_ex(("127.0.0.1", own)):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield own
        finally:
            process.terminate()


async def check_that_a_stranger_is_refused(port: int, headers: dict[str, str]) -> None:
    """Every way in asks for a token in a sentence that says how to get one."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
        requests = (  # a stream that opened would never end: so it is not the first that is asked for
            client.build_request("POST", HTTP, json=LIST, headers=ACCEPT),
            client.build_request("POST", "/mcp/messages/?session_id=x", json=LIST),
            client.build_request("GET", "/"),
            client.build_request("GET", "/mcp/cline/sse/alice"),
        )
        for request in requests:
            answer = await client.send(request)
            assert answer.status_code == 401
            assert "tablestore-openmemory-mcp token" in answer.text
            assert "MCP_AUTH=anonymous" in answer.text
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("uid", [NOBODY, SOMEBODY])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8765"])
async def test_whoever_another_user_s_program_forwards_needs_a_token(
    http: httpx.AsyncClient, uid: int, host: str
) -> None:
    to = ("127.0.0.1", port_of(str(http.base_url)))
    assert (await http.post(HTTP, json=LIST, headers=ACCEPT)).status_code == 200
    with forwarding(uid, to) as port:
        await check_that_a_stranger_is_refused(port, {"Host": host})


async def test_a_token_is_good_through_any_proxy() -> None:
    given = settings({"MCP_AUTH_SECRET": "a signing secret that is long enough"})
    backend = PlainBackend(PlainMemory(), given)
    token = backend.tokens().mint(["alice"], ["*"], 60).token
    with serving(App(given, backend)) as base, forwarding(NOBODY, ("127.0.0.1", port_of(base))) as port:
        headers = ACCEPT | {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post(HTTP, json=LIST, headers=headers)).status_code == 200
            assert (await client.post(HTTP, json=LIST, headers=ACCEPT)).status_code == 401


@pytest.mark.parametrize("location", ["", "proxy_http_version 1.1;"], ids=["as it comes", "HTTP 1.1"])
async def test_a_default_nginx(base: str, tmp_path: Path, location: str) -> None:
    with nginx(tmp_path, port_of(base), location) as port:
        await check_that_a_stranger_is_refused(port, {})


async def test_http_1_0_is_a_proxy_s(base: str) -> None:
    for version, expected in ((10, 401), (11, 200)):
        connection = http.client.HTTPConnection("127.0.0.1", port_of(base), timeout=30)
        vars(connection).update(_http_vsn=version, _http_vsn_str=f"HTTP/{version / 10}")
        connection.request("POST", HTTP, json.dumps(LIST), ACCEPT | {"Content-Type": "application/json"})
        assert connection.getresponse().status == expected
        connection.close()


async def test_the_server_of_the_command(tmp_path: Path) -> None:
    with Server(tmp_path) as server, forwarding(SOMEBODY, ("127.0.0.1", server.port)) as port:
        await check_that_a_stranger_is_refused(port, {"Host": "localhost"})
        async with httpx.AsyncClient(base_url=f"http://localhost:{server.port}", timeout=60) as client:
            assert (await client.post(HTTP, json=LIST, headers=ACCEPT)).status_code == 200


class Counted:
    """The system's answer, and which connections it was asked about."""

    def __init__(self) -> None:
        self._peers = system_peers()
        self.asked: list[End] = []

    def own(self, peer: End, server: End) -> bool:
        self.asked.append(peer)
        return self._peers.own(peer, server)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    peers = Counted()
    monkeypatch.setattr("tablestore_openmemory_mcp.server.auth.peers.owner.system_peers", lambda: peers)
    return peers


async def test_the_system_is_asked_once_per_connection(counted: Counted) -> None:
    with serving(plain_app()) as base:
        for _ in range(2):
            async with httpx.AsyncClient(base_url=base) as client:
                for _ in range(5):
                    assert (await client.post(HTTP, json=LIST, headers=ACCEPT)).status_code == 200
        assert len(counted.asked) == 2
        async with httpx.AsyncClient(base_url=base) as client, RawSse.open(client, "/mcp/cline/sse/alice") as stream:
            await stream.ask(LIST)
            await stream.ask(LIST)
        assert len(counted.asked) == 4  # the stream, and the messages'


async def test_nobody_is_asked_about_who_needs_a_token_anyway(counted: Counted) -> None:
    with serving(plain_app()) as base:
        async with httpx.AsyncClient(base_url=base) as client:
            for headers in ({"Via": "1.1 proxy"}, {"Host": "memory.example"}, {"Authorization": "Bearer x"}):
                assert (await client.get("/mcp/cline/sse/alice", headers=headers)).status_code == 401
            await client.get("/healthz")
    assert counted.asked == []


@pytest.mark.parametrize("ours_first", [True, False])
async def test_what_was_found_out_ends_with_the_connection(base: str, ours_first: bool) -> None:
    """A port is another user's a moment after it was closed."""
    require_root()
    server = ("127.0.0.1", port_of(base))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    for ours in (ours_first, not ours_first, ours_first):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)  # or the port would stay taken for a while
            client.bind(("127.0.0.1", port))
            if not ours:
                fchown(client, NOBODY)
            client.settimeout(30)
            client.connect(server)
            for _ in range(2):
                client.sendall(b"HEAD /mcp/cline/sse/alice HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert client.recv(65_536).split()[1] == (b"200" if ours else b"401")


def fchown(sock: socket.socket, uid: int) -> None:
    """As if that user had made it: what the kernel looks at."""
    os.fchown(sock.fileno(), uid, -1)


class OursByNow:
    """Says yes: by now the pair of ports is a connection of our own user."""

    def own(self, peer: End, server: End) -> bool:
        return True


async def test_a_connection_that_was_reset_is_not_taken_for_the_next_one_on_its_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stranger = socket.create_connection(server.getsockname())
        accepted, client = server.accept()
        with accepted:
            scope = {"client": client, "server": accepted.getsockname(), "state": {KEY: Connection(accepted)}}
            assert await OwnUser(OursByNow()).sent(scope)
            scope["state"] = {KEY: Connection(accepted)}
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            stranger.close()
            for _ in range(2):  # and that is remembered
                assert not await OwnUser(OursByNow()).sent(scope)
