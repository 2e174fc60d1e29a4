"""Who comes in without a token, and who is told to stay out."""

import httpx
import pytest

from support.inprocess import plain_app, serving
from support.wire import ACCEPT, RawSse, call
from tablestore_openmemory_mcp.server.auth.loopback import is_local, is_loopback_name

pytestmark = pytest.mark.anyio

FORWARDED = {
    "X-Forwarded-For": "1.2.3.4",
    "X-Forwarded-Host": "a.example",
    "X-Forwarded-Proto": "https",
    "Forwarded": "for=1.2.3.4",
    "X-Real-IP": "127.0.0.1",
    "Via": "1.1 proxy",
    "CF-Connecting-IP": "1.2.3.4",
    "Cf-Ray": "x",
    "X-FC-Request-Id": "x",
    "Fly-Client-IP": "1.2.3.4",
    "Tailscale-User-Login": "x",
}


@pytest.mark.parametrize("header", FORWARDED)
async def test_whoever_comes_through_a_proxy_needs_a_token(http: httpx.AsyncClient, header: str) -> None:
    headers = {header: FORWARDED[header]}
    for response in (
        await http.get("/mcp/cline/sse/alice", headers=headers),
        await http.post("/mcp/cline/http/alice", json=call(1, "list_memories"), headers=ACCEPT | headers),
        await http.post("/mcp/messages/?session_id=x", json={}, headers=headers),
    ):
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert "MCP_AUTH=anonymous" in response.text


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "192.168.1.5:8765", "127.0.0.1.nip.io", ""])
async def test_a_foreign_host_name_needs_a_token(http: httpx.AsyncClient, host: str) -> None:
    response = await http.get("/mcp/cline/sse/alice", headers={"Host": host})
    assert response.status_code == 401


@pytest.mark.parametrize("peer", ["10.0.0.9", "172.17.0.1", "::ffff:10.0.0.9", "fe80::1", ""])
def test_a_peer_elsewhere_is_not_local(peer: str) -> None:
    headers = [(b"host", b"localhost:8765")]
    assert not is_local({"type": "http", "client": (peer, 1), "headers": headers})
    assert not is_local({"type": "http", "client": None, "headers": headers})
    assert is_local({"type": "http", "client": ("127.0.0.1", 1), "headers": headers})
    assert is_local({"type": "http", "client": ("::1", 1), "headers": headers})
    assert not is_local({"type": "http", "client": ("127.0.0.1", 1), "headers": [*headers, (b"host", b"x.example")]})
    assert not is_local({"type": "http", "http_version": "1.0", "client": ("127.0.0.1", 1), "headers": headers})


def test_names_of_this_machine() -> None:
    for name in ("localhost", "LOCALHOST:8765", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8765"):
        assert is_loopback_name(name)
    for name in ("", "example.com", "localhost.example.com", "localhost:80@evil", "[::2]", "0.0.0.0", "[fe80::1]:80"):
        assert not is_loopback_name(name)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost.evil.example", "file://", ""])
async def test_a_page_of_another_origin_is_refused(http: httpx.AsyncClient, origin: str) -> None:
    headers = ACCEPT | {"Origin": origin}
    response = await http.post("/mcp/cline/http/alice", json=call(1, "list_memories"), headers=headers)
    assert response.status_code == 403


PATHS = ["/", "/mcp/cline/sse/alice", "/mcp/cline/http/alice", "/sse", "/mcp", "/mcp/messages/", "/healthz", "/readyz"]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "", "new-word"])
@pytest.mark.parametrize("mode", ["navigate", "no-cors"])
async def test_a_foreign_page_s_request_without_an_origin_is_refused(
    http: httpx.AsyncClient, site: str, mode: str
) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
    for path in PATHS:
        for method in ("GET", "HEAD", "POST"):
            assert (await http.request(method, path, headers=headers)).status_code == 403, (method, path)


async def test_foreign_pages_do_not_use_up_the_user_s_streams() -> None:
    app = plain_app(MAX_SESSIONS_PER_USER="2")
    with serving(app) as base:
        async with httpx.AsyncClient(base_url=base) as client:
            for _ in range(4):
                page = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
                assert (await client.get("/mcp/cline/sse/alice", headers=page)).status_code == 403
            assert len(app.sessions) == 0
            async with RawSse.open(client, "/mcp/cline/sse/alice") as stream:
                assert stream.response.status_code == 200


async def test_two_words_about_the_site_are_none(http: httpx.AsyncClient) -> None:
    headers = [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")]
    assert (await http.get("/mcp/cline/sse/alice", headers=headers)).status_code == 403


@pytest.mark.parametrize("site", ["none", "same-origin"])
async def test_what_the_person_opens_is_not_refused(http: httpx.AsyncClient, site: str) -> None:
    assert (await http.get("/healthz", headers={"Sec-Fetch-Site": site})).status_code == 200
    async with RawSse.open(http, "/mcp/cline/sse/alice", {"Sec-Fetch-Site": site}) as stream:
        assert stream.response.status_code == 200


async def test_an_allowed_page_may_be_of_another_site() -> None:
    with serving(plain_app(MCP_ALLOWED_ORIGINS='["https://app.example"]')) as base:
        async with httpx.AsyncClient(base_url=base) as client:
            page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
            async with RawSse.open(client, "/mcp/cline/sse/alice", page) as stream:
                assert stream.response.status_code == 200
            answer = await client.post("/mcp/cline/http/alice", json=call(1, "list_memories"), headers=ACCEPT | page)
            assert answer.status_code == 200
            asked = page | {"Access-Control-Request-Method": "POST"}
            assert (await client.options("/mcp/cline/http/alice", headers=asked)).status_code == 200


async def test_pages_of_this_machine_and_allowed_ones_may_call() -> None:
    app = plain_app(MCP_ALLOWED_ORIGINS='["https://app.example"]')
    with serving(app) as base:
        async with httpx.AsyncClient(base_url=base) as client:
            for origin in ("http://localhost:6274", "https://app.example"):
                headers = ACCEPT | {"Origin": origin}
                answer = await client.post("/mcp/cline/http/alice", json=call(1, "list_memories"), headers=headers)
                assert answer.status_code == 200
            asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
            preflight = await client.options("/mcp/cline/http/alice", headers=asked)
            assert preflight.headers["access-control-allow-origin"] == "https://app.example"
            asked["Origin"] = "https://evil.example"
            preflight = await client.options("/mcp/cline/http/alice", headers=asked)
            assert "access-control-allow-origin" not in preflight.headers


async def test_no_cors_unless_origins_are_given(http: httpx.AsyncClient) -> None:
    response = await http.post(
        "/mcp/cline/http/alice", json=call(1, "list_memories"), headers=ACCEPT | {"Origin": "http://localhost:1"}
    )
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_anonymous_serves_strangers_but_not_foreign_pages() -> None:
    with serving(plain_app(MCP_AUTH="anonymous")) as base:
        async with httpx.AsyncClient(base_url=base) as client:
            through_proxy = {"X-Forwarded-For": "1.2.3.4", "Host": "memory.example"}
            async with RawSse.open(client, "/mcp/cline/sse/alice", through_proxy) as stream:
                assert stream.response.status_code == 200
            page = ACCEPT | {"Origin": "http://evil.example"}
            refused = await client.post("/mcp/cline/http/alice", json=call(1, "list_memories"), headers=page)
            assert refused.status_code == 403


async def test_health_is_open_to_all_and_tells_nothing(http: httpx.AsyncClient) -> None:
    stranger = {"X-Forwarded-For": "1.2.3.4"}
    assert (await http.get("/healthz", headers=stranger)).json()["status"] == "ok"
    assert (await http.get("/readyz", headers=stranger)).json() == {"status": "ready"}
