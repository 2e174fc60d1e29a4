"""Inputs that no well-behaved client sends: malformed HTTP, and well-formed HTTP with malformed JSON-RPC in it.

`malformed(seed, number)` is always the same input for the same two numbers, so that a failure can be looked into.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

HTTP_PATH = "/mcp/fuzz/http/mallory"
SSE_PATH = "/mcp/fuzz/sse/mallory"
MESSAGES_PATH = "/mcp/messages/"
HOST = "localhost"


@dataclass(frozen=True)
class Input:
    """`data` is what goes over the connection. `whole`: it is a complete request, which must be answered."""

    number: int
    kind: str
    data: bytes
    whole: bool


def malformed(seed: int, number: int, session: str) -> Input:
    """The input of this number. `session`: the id of an open SSE session, for those that go to one."""
    random = Random(f"{seed}/{number}")
    kind = random.choices(list(KINDS), weights=[weight for weight, _ in KINDS.values()])[0]
    data, whole = KINDS[kind][1](random, session)
    return Input(number, kind, data, whole)


def malformed_message(random: Random) -> bytes:
    """One JSON-RPC message with something wrong in it, or something that is no JSON-RPC message at all."""
    choice = random.random()
    if choice < 0.15:
        return random.choice(NO_MESSAGES)
    if choice < 0.25:
        return random.randbytes(random.randrange(1, 300))
    message = _message(random)
    for _ in range(random.randrange(1, 4)):
        _spoil(random, message)
    text = json.dumps(message, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    return _mutilated(random, text) if choice < 0.55 else text


# What a message is spoiled with

WRONG: list[Any] = [
    *(None, True, False, 0, -1, 2**31, 2**63, 2**70, 1e308, -0.0, "", " ", [], {}, [[]], [None], {"": None}),
    *("\x00", "\ud800", "\u2028", "🙂" * 50, "x" * 5000, "../../etc/passwd", "%s%n", "NaN", "<script>", "' OR 1=1"),
    *({"$ref": "#"}, {"__proto__": {"x": 1}}, [1, [2, [3, [4]]]], {"a": {"b": {"c": {"d": {}}}}}),
]
METHODS = [
    *("initialize", "ping", "tools/list", "tools/call", "server/discover", "resources/list", "prompts/get"),
    *("notifications/initialized", "notifications/cancelled", "notifications/progress", "logging/setLevel"),
    *("completion/complete", "subscriptions/listen", "tasks/get", "rpc.discover", "", "tools/call ", "\x00", "é" * 100),
]
TOOLS = ["add_memories", "search_memories", "list_memories", "delete_all_memories", "nothing", "", "__class__"]
NO_MESSAGES = [
    *(
        b"",
        b" ",
        b"\n",
        b"null",
        b"true",
        b"0",
        b'""',
        b"[]",
        b"{}",
        b"[[]]",
        b"{",
        b"}",
        b'{"jsonrpc"',
        b"NaN",
        b"'x'",
    ),
    *(b"\xff\xfe", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"\x1f\x8b\x08\x00", b"[" * 5000, b'{"a":' * 3000),
    *(b"9" * 5000, b'"\\ud800"', b'{"jsonrpc":"2.0","jsonrpc":"1.0","id":1,"id":2,"method":"ping"}', b"\x00" * 100),
    *(b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]', b"{} {}", b"1e999"),
]


def _message(random: Random) -> dict[str, Any]:
    arguments = {random.choice(["text", "query", "cursor", "user_id", "x"]): _wrong(random)}
    params: dict[str, Any] = {"name": random.choice(TOOLS), "arguments": arguments}
    if random.random() < 0.2:
        params = {"protocolVersion": random.choice(["2024-11-05", "2099-01-01", "", 7]), "capabilities": {}}
    message = {"jsonrpc": "2.0", "id": random.randrange(9), "method": random.choice(METHODS), "params": params}
    if random.random() < 0.2:
        params["_meta"] = {"progressToken": _wrong(random), "io.modelcontextprotocol/protocolVersion": _wrong(random)}
    if random.random() < 0.1:  # an answer to a question that nobody asked
        message = {"jsonrpc": "2.0", "id": _wrong(random), random.choice(["result", "error"]): _wrong(random)}
    return message


def _wrong(random: Random) -> Any:
    return copy.deepcopy(random.choice(WRONG))  # what is spoiled once must be whole the next time


def _spoil(random: Random, message: dict[str, Any]) -> None:
    """Replace, remove or add one thing somewhere inside."""
    place = message
    while (inner := [v for v in place.values() if isinstance(v, dict) and v]) and random.random() < 0.6:
        place = random.choice(inner)
    key = random.choice(list(place)) if place else "x"
    match random.randrange(4):
        case 0:
            place.pop(key, None)
        case 1:
            place[random.choice(["id", "method", "params", "result", "error", "_meta", "name", "x" * 200])] = 1
        case _:
            place[key] = _wrong(random)


def _mutilated(random: Random, data: bytes) -> bytes:
    """Bytes cut, flipped, doubled or put in."""
    at = random.randrange(len(data) + 1)
    match random.randrange(4):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + random.randbytes(1) + data[at + 1 :]
        case 2:
            return data[:at] + data[random.randrange(len(data)) :]
        case _:
            return data[:at] + random.choice([b"\x00", b"\xff", b"\xc3", b"}", b'"', b"\\u", b"\r\n\r\n"]) + data[at:]


# HTTP around it

VERSIONS = [
    "2024-11-05",
    "2025-06-18",
    "2025-11-25",
    "2026-07-28",
    "1999-01-01",
    "x" * 300,
    "",
    "2026-07-28, 2025-11-25",
]
TYPES = [
    *(
        "application/json",
        "application/json; charset=utf-16",
        "text/plain",
        "",
        "*/*",
        "application/json,application/json",
    ),
    *("multipart/form-data", "application/x-www-form-urlencoded", "APPLICATION/JSON", "\xff", "text/event-stream"),
]
ACCEPTS = ["application/json, text/event-stream", "application/json", "*/*", "", "text/html", ";q=", "\xff", "," * 500]


def _request(random: Random, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    given = {"Host": HOST, "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _headers(random: Random) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": ACCEPTS[0]}
    if random.random() < 0.2:
        headers["Content-Type"] = random.choice(TYPES)
    if random.random() < 0.2:
        headers["Accept"] = random.choice(ACCEPTS)
    if random.random() < 0.4:
        headers["MCP-Protocol-Version"] = random.choice(VERSIONS)
    if random.random() < 0.3:
        headers["Mcp-Method"] = random.choice(["tools/call", "tools/list", "ping", "", "\xff"])
        headers["Mcp-Name"] = random.choice([*TOOLS, "=?base64?//8=?=", "=?base64?x?="])
    if random.random() < 0.1:
        headers["Mcp-Session-Id"] = random.choice(["0" * 32, "", "x" * 3000, "\xff"])
    if random.random() < 0.1:
        headers["Content-Encoding"] = random.choice(["gzip", "br", "identity", "\x7f"])
    return headers


def over_http(random: Random, _session: str) -> tuple[bytes, bool]:
    return _request(random, "POST", HTTP_PATH, malformed_message(random), _headers(random)), True


def to_a_session(random: Random, session: str) -> tuple[bytes, bool]:
    path = f"{MESSAGES_PATH}?session_id={session}"
    return _request(random, "POST", path, malformed_message(random), _headers(random)), True


def to_no_session(random: Random, session: str) -> tuple[bytes, bool]:
    ids = [
        "",
        "0" * 32,
        session[:-1],
        session + "0",
        "%00",
        "x" * 4000,
        "%ff",
        f"{session}&session_id=1",
        session[::-1],
    ]
    path = random.choice(["?session_id=", "?SESSION_ID=", "?", "?x=", "?session_id[]="]) + random.choice(ids)
    return _request(random, "POST", MESSAGES_PATH + path, malformed_message(random), _headers(random)), True


def with_odd_names(random: Random, _session: str) -> tuple[bytes, bool]:
    names = [
        *("%00", "%0d%0aX:1", "%2F", "%2e%2e", "..", "%ff", "%c0%80", "%ed%a0%80", "%", "%zz", "a" * 300, "a" * 9000),
        *("%E5%BC%A0", "%20", "*", "'", "%7f", "%E2%80%AE", "alice", "", "%F0%9F%99%82", "{user_id}", ";x=1"),
    ]
    transport = random.choice(["sse", "http", "SSE", "", "messages", "stdio"])
    path = f"/mcp/{random.choice(names)}/{transport}/{random.choice(names)}" + random.choice(["", "/", "//", "?", "#"])
    method = random.choice(["GET", "POST", "POST", "HEAD", "OPTIONS", "DELETE", "PUT", "TRACE", "get", "FOO"])
    body = malformed_message(random) if method == "POST" else b""
    return _request(random, method, path, body, _headers(random)), True


def odd_framing(random: Random, _session: str) -> tuple[bytes, bool]:
    """Lengths that are wrong, twice there or no numbers; chunks that are none; headers that are none."""
    body = malformed_message(random)
    right = str(len(body))
    lines = random.choice(
        [
            [f"Content-Length: {len(body) + 50}"],
            ["Content-Length: -1"],
            ["Content-Length: 99999999999999999999"],
            [f"Content-Length: {right}", "Content-Length: 0"],
            [f"Content-Length: {right}", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: chunked"],
            ["Transfer-Encoding: gzip, chunked, x"],
            ["Content-Length: abc"],
            ["X" * 70_000 + ": y", f"Content-Length: {right}"],
            [f"X-{i}: y" for i in range(random.choice([50, 2000]))],
            ["No colon here", f"Content-Length: {right}"],
            [" folded: line", f"Content-Length: {right}"],
            ["Nul: \x00", f"Content-Length: {right}"],
            ["Expect: 100-continue", f"Content-Length: {right}"],
            ["Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"],
            ["Connection: upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"],
        ]
    )
    head = [f"POST {HTTP_PATH} HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json", *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body, False


def no_http(random: Random, _session: str) -> tuple[bytes, bool]:
    """Other protocols, and requests that break off."""
    whole = _request(random, "POST", HTTP_PATH, malformed_message(random), _headers(random))
    others = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(200),
        random.randbytes(random.randrange(1, 2000)),
        b"\r\n" * random.randrange(1, 500),
        b"GET " + b"/" * random.choice([1000, 70_000]) + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        whole[: random.randrange(len(whole))],
        whole.replace(b"\r\n", b"\n"),
        whole + whole[: random.randrange(len(whole))],
        _mutilated(random, whole),
        b"",
    ]
    return random.choice(others), False


def a_stream_that_breaks_off(random: Random, _session: str) -> tuple[bytes, bool]:
    headers = random.choice([{}, {"Last-Event-ID": "\xff"}, {"Accept": "x"}, {"Range": "bytes=0-"}])
    return _request(random, "GET", SSE_PATH, b"", headers), True


Make = Callable[[Random, str], tuple[bytes, bool]]

KINDS: dict[str, tuple[int, Make]] = {
    "JSON-RPC over HTTP": (35, over_http),
    "JSON-RPC to a session": (25, to_a_session),
    "no such session": (7, to_no_session),
    "odd names": (13, with_odd_names),
    "odd framing": (8, odd_framing),
    "no HTTP": (8, no_http),
    "a stream that breaks off": (4, a_stream_that_breaks_off),
}
