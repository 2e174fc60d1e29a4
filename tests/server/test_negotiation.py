"""Accept, Content-Type and what browsers ask first: harmless headers are served, over every HTTP transport."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.inprocess import PlainMemory, plain_app, serving
from support.wire import RawSse, call, text_of
from tablestore_openmemory_mcp.server.transports.negotiation import accepted

HTTP = "/mcp/cline/http/alice"
MODERN = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}
LIST = call(1, "list_memories")
# (headers, message) of a call in each era of the protocol
ERAS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "unsaid": ({}, LIST),
    "2025-11-25": ({"mcp-protocol-version": "2025-11-25"}, LIST),
    "2026-07-28": (
        {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "list_memories"},
        {**LIST, "params": {**LIST["params"], **MODERN}},
    ),
}
PLAIN = [
    None,
    "",
    "*/*",
    "*",
    "application/*",
    "application/json",
    "Application/JSON",
    "application/json;q=0.5, text/event-stream",
    "text/event-stream, application/json ; charset=utf-8",
    "text/html, application/xhtml+xml, */*;q=0.8",
    "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
]
EVENTS = ["text/event-stream", "TEXT/Event-Stream", "text/*", "application/json;q=0, */*"]
NEITHER = ["text/html", "application/xml, image/*", "*/*;q=0"]


def post(url: str, message: Any, headers: dict[str, str], accept: str | None) -> httpx.Response:
    with httpx.Client(timeout=20) as client:
        del client.headers["accept"]  # httpx's own
        given = {"content-type": "application/json", **headers} | ({} if accept is None else {"accept": accept})
        return client.post(url, content=json.dumps(message), headers=given)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("accept", PLAIN)
def test_whoever_takes_json_gets_it(base: str, era: str, accept: str | None) -> None:
    headers, message = ERAS[era]
    answer = post(base + HTTP, message, headers, accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert text_of(answer.json()) == "[]"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("accept", EVENTS)
def test_whoever_takes_only_events_gets_one(base: str, era: str, accept: str) -> None:
    headers, message = ERAS[era]
    answer = post(base + HTTP, message, headers, accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    event, data = answer.text.strip().split("\r\n")
    assert event == "event: message"
    assert text_of(json.loads(data.removeprefix("data: "))) == "[]"
    assert post(base + HTTP, {"jsonrpc": "2.0", "method": "notifications/initialized"}, {}, accept).status_code == 202


def test_an_event_is_one_line_whatever_is_in_it(base: str) -> None:
    strange = "a\u2028b\u2029c\x85d\x0be\x1cf\r\ng\x7f😀"
    post(base + HTTP, call(1, "add_memories", text=strange), {}, None)
    answer = post(base + HTTP, LIST, {}, "text/event-stream")
    (data,) = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    (memory,) = json.loads(text_of(json.loads(data.removeprefix("data: "))))
    assert memory["memory"] == strange


def test_errors_are_no_events(base: str) -> None:
    refused = post(base + HTTP, {"jsonrpc": "2.0", "id": 1}, {}, "text/event-stream")
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/json")


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("accept", NEITHER)
def test_whoever_takes_neither_is_told(base: str, era: str, accept: str) -> None:
    headers, message = ERAS[era]
    refused = post(base + HTTP, message, headers, accept)
    assert refused.status_code == 406
    assert "application/json" in refused.text


KINDS = ["application/json", "Application/JSON; charset=UTF-8", "APPLICATION/JSON", "application/json;charset=utf8"]
OTHERS = ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data; boundary=x"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
def test_json_is_taken_however_it_is_written(base: str, era: str, kind: str) -> None:
    headers, message = ERAS[era]
    assert post(base + HTTP, message, headers | {"content-type": kind}, None).status_code == 200


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", OTHERS)
def test_what_a_foreign_page_may_send_unasked_is_not_taken(base: str, era: str, kind: str) -> None:
    headers, message = ERAS[era]
    refused = post(base + HTTP, message, headers | {"content-type": kind}, None)
    assert refused.status_code == 415
    assert "application/json" in refused.text


def test_a_byte_order_mark_is_no_part_of_a_body(base: str) -> None:
    for headers, message in ERAS.values():
        body = "\ufeff" + json.dumps(message)
        given = headers | {"content-type": "application/json"}
        assert httpx.post(base + HTTP, content=body.encode(), headers=given, timeout=20).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json", ""])
@pytest.mark.parametrize("kind", KINDS)
async def test_sse_minds_no_accept(http: httpx.AsyncClient, accept: str, kind: str) -> None:
    async with RawSse.open(http, "/mcp/cline/sse/alice", {"accept": accept}) as stream:
        assert stream.response.status_code == 200
        answer = await http.post(
            stream.endpoint, content=json.dumps(LIST), headers={"content-type": kind, "accept": accept}
        )
        assert answer.status_code == 202
        assert text_of(await stream.message()) == "[]"


RANGES = ["application/json", "application/*", "*/*", "text/event-stream", "text/*", "text/html", "image/png"]
ELEMENTS = st.tuples(
    st.sampled_from(RANGES), st.sampled_from(["", ";q=1", "; Q=0.3", ";q=0", ";v=1;q=0.001", " ; q=x"])
)


@given(st.lists(ELEMENTS, unique_by=lambda e: e[0]), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_most_specific_range_decides(elements: list[tuple[str, str]], random: Any) -> None:
    """Whatever the order, the case and the white space."""
    known = {kind: "q=0" not in quality or "q=0.001" in quality for kind, quality in elements}
    written = ", ".join(random.choice([str.upper, str.lower, str])(kind) + quality for kind, quality in elements)

    def taken(*candidates: str) -> bool:
        return next((known[c] for c in candidates if c in known), not known)

    takes = accepted([(b"accept", written.encode())])
    assert takes.json == taken("application/json", "application/*", "*/*")
    assert takes.sse == taken("text/event-stream", "text/*", "*/*")


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_no_accept_header_breaks_anything(value: bytes) -> None:
    accepted([(b"accept", value)])


# Browsers

ORIGIN = "https://chat.example.com"
ASKED = (
    "authorization, content-type, x-user-id, x-client-name, mcp-session-id, mcp-protocol-version, last-event-id, "
    "mcp-method, mcp-name, mcp-param-text, traceparent"
)
PATHS = [HTTP, "/mcp", "/mcp/cline/sse/alice", "/sse", "/mcp/messages/?session_id=0"]


def preflight(base: str, path: str, origin: str, method: str, **more: str) -> httpx.Response:
    asked = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": ASKED, **more}
    return httpx.options(base + path, headers=asked, timeout=20)


@pytest.mark.parametrize("allowed", [ORIGIN, "https://Chat.example.com/"], ids=["as sent", "as a person writes it"])
@pytest.mark.parametrize("access", ["auto", "token"])
def test_a_page_that_is_allowed_may_ask_what_is_documented(allowed: str, access: str) -> None:
    app = plain_app(MCP_ALLOWED_ORIGINS=json.dumps([allowed]), MCP_AUTH=access)
    with serving(app) as base:
        for path in PATHS:
            for method in ("GET", "POST", "DELETE"):
                answer = preflight(base, path, ORIGIN, method)
                assert 200 <= answer.status_code < 300
                assert answer.headers["access-control-allow-origin"] == ORIGIN
                assert method in answer.headers["access-control-allow-methods"]
                granted = answer.headers["access-control-allow-headers"].lower()
                assert set(ASKED.split(", ")) <= {name.strip() for name in granted.split(",")}
                assert "origin" in answer.headers["vary"].lower()
        network = preflight(base, HTTP, ORIGIN, "POST", **{"access-control-request-private-network": "true"})
        assert network.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", ["https://evil.example.com", "https://chat.example.com.evil.net", "null", "x"])
def test_a_foreign_page_is_told_nothing(origin: str, memory: PlainMemory) -> None:
    with serving(plain_app(memory, MCP_ALLOWED_ORIGINS=json.dumps([ORIGIN]))) as base:
        for path in PATHS:
            told = [preflight(base, path, origin, method) for method in ("GET", "POST", "DELETE")]
            told.append(httpx.get(base + path, headers={"origin": origin}, timeout=20))
            told.append(httpx.post(base + path, json=LIST, headers={"origin": origin}, timeout=20))
            for answer in told:
                assert answer.status_code >= 400
                assert not [name for name in answer.headers if name.startswith("access-control")]


def test_errors_can_be_read_by_the_page_too() -> None:
    with serving(plain_app(MCP_ALLOWED_ORIGINS=json.dumps([ORIGIN]), MCP_AUTH="token")) as base:
        refused = httpx.post(base + HTTP, json=LIST, headers={"origin": ORIGIN}, timeout=20)
        ended = httpx.delete(base + "/mcp", headers={"origin": ORIGIN}, timeout=20)
    assert refused.status_code == 401
    assert "www-authenticate" in refused.headers["access-control-expose-headers"].lower()
    for answer in (refused, ended):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
