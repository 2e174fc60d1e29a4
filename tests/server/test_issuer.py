"""MCP_AUTH=jwt: tokens of an issuer whose public keys are read over HTTP."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from support.inprocess import plain_app, serving
from support.processes import run_to_end
from support.wire import ACCEPT, call
from tablestore_openmemory_mcp.server.auth.jwt_issuer import Issuer, IssuerUnreachable

pytestmark = pytest.mark.anyio

LIST = call(1, "list_memories")
PUBLIC_URL = "https://memory.example"


class FakeIssuer:
    """An OpenID provider: its configuration and its keys. `reads` counts how often the keys were asked for."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.reads = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                document = issuer.document(self.path)
                body = json.dumps(document).encode()
                self.send_response(200 if document else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def document(self, path: str) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": self.url + "/keys"}
        if path != "/keys":
            return {}
        self.reads += 1
        rsa_key = jwt.algorithms.RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True)
        ec_key = jwt.algorithms.ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True)
        return {"keys": [{**rsa_key, "kid": "r1", "alg": "RS256"}, {**ec_key, "kid": "e1"}]}

    def token(self, *, key: Any = None, kid: str = "r1", algorithm: str = "RS256", **claims: Any) -> str:
        whole = {"iss": self.url, "aud": "memory", "sub": "alice", "exp": int(time.time()) + 60} | claims
        return jwt.encode({k: v for k, v in whole.items() if v is not None}, key or self.rsa, algorithm, {"kid": kid})


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    fake = FakeIssuer()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture
def base(issuer: FakeIssuer) -> Iterator[str]:
    app = plain_app(
        MCP_AUTH="jwt", MCP_AUTH_ISSUER=issuer.url, MCP_AUTH_AUDIENCE="memory", MCP_PUBLIC_URL=PUBLIC_URL + "/"
    )
    with serving(app) as url:
        yield url


async def post(base: str, token: str, user: str = "alice") -> httpx.Response:
    async with httpx.AsyncClient(base_url=base) as http:
        headers = ACCEPT | {"Authorization": f"Bearer {token}"}
        return await http.post(f"/mcp/cline/http/{user}", json=LIST, headers=headers)


async def test_the_issuers_user_has_that_users_memory_only(base: str, issuer: FakeIssuer) -> None:
    assert (await post(base, issuer.token())).status_code == 200
    assert (await post(base, issuer.token(key=issuer.ec, kid="e1", algorithm="ES256"))).status_code == 200
    assert (await post(base, issuer.token(aud=["x", "memory"]))).status_code == 200
    assert (await post(base, issuer.token(), user="bob")).status_code == 403
    assert issuer.reads == 1


async def test_other_tokens_are_refused(base: str, issuer: FakeIssuer) -> None:
    public = issuer.document("/keys")["keys"][0]
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    bad = {
        "another key": issuer.token(key=other),
        "unknown key id": issuer.token(kid="zz"),
        "expired": issuer.token(exp=int(time.time()) - 60),
        "never expires": issuer.token(exp=None),
        "another audience": issuer.token(aud="billing"),
        "no audience": issuer.token(aud=None),
        "another issuer": issuer.token(iss="https://evil.example"),
        "no user": issuer.token(sub=None),
        "everyone": issuer.token(sub="*"),
        "a path": issuer.token(sub="a/b"),
        "a shared secret": issuer.token(key=json.dumps(public["n"]), algorithm="HS256"),
        "unsigned": jwt.encode({"iss": issuer.url, "aud": "memory", "sub": "alice"}, "", "none", {"kid": "r1"}),
    }
    for what, token in bad.items():
        response = await post(base, token)
        assert response.status_code == 401, what
        assert 'error="invalid_token"' in response.headers["www-authenticate"]


async def test_made_up_key_ids_do_not_make_us_ask_the_issuer_each_time(base: str, issuer: FakeIssuer) -> None:
    for n in range(20):
        await post(base, issuer.token(kid=f"made-up-{n}"))
    assert issuer.reads == 1


async def test_a_client_without_a_token_learns_where_to_get_one(base: str, issuer: FakeIssuer) -> None:
    async with httpx.AsyncClient(base_url=base) as http:
        refused = await http.post("/mcp/cline/http/alice", json=LIST, headers=ACCEPT)  # local, but that is not enough
        assert refused.status_code == 401
        where = f"{PUBLIC_URL}/.well-known/oauth-protected-resource"
        assert refused.headers["www-authenticate"] == f'Bearer resource_metadata="{where}"'
        document = (await http.get("/.well-known/oauth-protected-resource")).json()
    assert document["resource"] == PUBLIC_URL
    assert document["authorization_servers"] == [issuer.url]


async def test_an_issuer_that_is_away_is_no_refusal(issuer: FakeIssuer) -> None:
    app = plain_app(
        MCP_AUTH="jwt",
        MCP_AUTH_ISSUER="http://127.0.0.1:9",
        MCP_AUTH_AUDIENCE="memory",
        MCP_PUBLIC_URL=PUBLIC_URL,
    )
    with serving(app) as url:
        assert (await post(url, issuer.token())).status_code == 503


@pytest.mark.parametrize("kind", ["endless head", "endless body", "large", "deep", "silent"])
def test_an_issuer_that_is_never_done(kind: str, monkeypatch: pytest.MonkeyPatch, issuer: FakeIssuer) -> None:
    """Whatever it sends, there is one attempt, it ends, and nobody waits longer for it."""
    monkeypatch.setattr("tablestore_openmemory_mcp.server.auth.jwt_issuer.TIMEOUT", 1.0)
    over = threading.Event()
    asked = []

    def serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = server.accept()
                asked.append(peer)
                threading.Thread(target=_send, args=(peer, kind, over), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/keys"
        checked = Issuer(issuer.url, "memory", "sub", url)
        began = time.monotonic()
        with ThreadPoolExecutor(6) as pool:
            raised = [f.exception() for f in [pool.submit(checked.check, issuer.token()) for _ in range(6)]]
        with pytest.raises(IssuerUnreachable):
            checked.check(issuer.token())
        assert time.monotonic() - began < 4
        assert [type(e) for e in raised] == [IssuerUnreachable] * 6
        assert len(asked) == 1
        over.set()
    assert not [t for t in threading.enumerate() if t.name == "attempt"]


def _send(peer: socket.socket, kind: str, over: threading.Event) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    with peer, contextlib.suppress(OSError):
        peer.recv(65536)
        if kind == "large":
            peer.sendall(head + b"\r\n" + b'{"keys": [' + b" " * 2_000_000 + b"]}")
        elif kind == "deep":
            peer.sendall(head + b"\r\n" + b"[" * 900_000)
        else:
            peer.sendall(head + (b"\r\n" if kind == "endless body" else b""))
            while not over.wait(0.2):
                peer.sendall({"endless head": b"X", "endless body": b" ", "silent": b""}[kind])


def test_what_the_mode_needs(tmp_path: Any) -> None:
    ended = run_to_end(tmp_path, "--transport=http", environ={"MCP_AUTH": "jwt"})
    assert ended.returncode == 2
    assert [line.split()[1] for line in ended.stderr.splitlines()] == [
        "MCP_AUTH_ISSUER",
        "MCP_AUTH_AUDIENCE",
        "MCP_PUBLIC_URL",
    ]
