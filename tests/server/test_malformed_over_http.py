"""What is JSON but no message gets a sentence and its id back over Streamable HTTP, and nothing of a validator's."""

import json
from typing import Any

import httpx
import pytest

from support.inprocess import PlainMemory, plain_app, serving
from support.wire import ACCEPT, RawSse, call, text_of
from tablestore_openmemory_mcp.server.transports.messages import SENTENCE

HTTP = "/mcp/cline/http/alice"
VERSIONS: list[dict[str, str]] = [{}, {"mcp-protocol-version": "2025-11-25"}]


@pytest.mark.parametrize("version", VERSIONS, ids=["unsaid", "said"])
@pytest.mark.parametrize(
    ("body", "ident"),
    [
        ({"jsonrpc": "2.0", "id": 7, "method": 3}, 7),
        ({"jsonrpc": "1.0", "id": "a", "method": "tools/list"}, "a"),
        ([call(1, "list_memories")], None),
        ({"secret": "of the body"}, None),
        (3, None),
    ],
    ids=["method", "version", "batch", "object", "number"],
)
def test_json_that_is_no_message_gets_a_sentence(body: Any, ident: int | str | None, version: dict[str, str]) -> None:
    with serving(plain_app()) as base:
        refused = httpx.post(base + HTTP, json=body, headers=ACCEPT | version, timeout=20)
    assert refused.status_code == 400
    assert refused.json() == {"jsonrpc": "2.0", "id": ident, "error": {"code": -32600, "message": SENTENCE}}


def test_what_is_no_json_is_a_parse_error() -> None:
    with serving(plain_app()) as base:
        headers = ACCEPT | {"content-type": "application/json"}
        refused = httpx.post(base + HTTP, content=b"{", headers=headers, timeout=20)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32700)
    assert "pydantic" not in refused.text


@pytest.mark.parametrize("version", [*VERSIONS, {"mcp-protocol-version": "2026-07-28"}], ids=["unsaid", "said", "new"])
@pytest.mark.parametrize("text", ["café".encode("latin-1"), "上海".encode("gbk"), "上海".encode()[:-1]])
def test_what_is_no_utf_8_is_never_stored(text: bytes, version: dict[str, str]) -> None:
    memory = PlainMemory()
    body = json.dumps(call(1, "add_memories", text="TEXT")).encode().replace(b"TEXT", text)
    headers = ACCEPT | version | {"content-type": "application/json"}
    with serving(plain_app(memory)) as base:
        refused = httpx.post(base + HTTP, content=body, headers=headers, timeout=20)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32700)
    assert memory.by_scope == {}


@pytest.mark.anyio
async def test_nor_over_sse(http: httpx.AsyncClient, memory: PlainMemory) -> None:
    body = json.dumps(call(1, "add_memories", text="TEXT")).encode().replace(b"TEXT", b"caf\xe9")
    async with RawSse.open(http, "/mcp/cline/sse/alice") as stream:
        refused = await http.post(stream.endpoint, content=body, headers={"content-type": "application/json"})
        assert refused.status_code == 400
        marked = "\ufeff".encode() + json.dumps(call(2, "list_memories")).encode()
        taken = await http.post(stream.endpoint, content=marked, headers={"content-type": "application/json"})
        assert taken.status_code == 202
        assert text_of(await stream.message()) == "[]"
    assert memory.by_scope == {}
