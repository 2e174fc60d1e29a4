"""Plain events: `s invoke -e '{"action": "status"}'`.

"add", "search", "list" and "delete_all" become a tool call to the application itself, so they pass the same door with
the same token, the same checks, pools and log as any client's. "token" is the operator's, who shows it by MCP_MINT_KEY:
see operator.py. "status" tells whoever else invokes the function no more than the open paths tell everyone.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from starlette.types import ASGIApp, Message
from starlette.types import Scope as AsgiScope

from ..composition import Composition
from ..errors import ServiceError
from ..scope import InvalidName, Scope
from .deployment_notice import public_status, status
from .operator import is_operator, token

TOOLS = {
    "add": ("add_memories", "text"),
    "search": ("search_memories", "query"),
    "list": ("list_memories", None),
    "delete_all": ("delete_all_memories", None),
}
USAGE = (
    'Send {"action": "status"}, {"action": "token", "key": MCP_MINT_KEY, "user": "alice", "client": "cline"}, or one '
    'of {"action": "add", "text": ...}, {"action": "search", "query": ...}, {"action": "list"} and '
    '{"action": "delete_all"} with "user", "client" and "token".'
)
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
    (b"host", b"function"),
]


class Invocations:
    """Answers events through `app`, whose lifespan must be running. `ready`: whether the store can be reached, at
    next to no cost."""

    def __init__(self, app: ASGIApp, composition: Composition, ready: Callable[[], Awaitable[bool]]) -> None:
        self._app = app
        self._composition = composition
        self._ready = ready

    async def answer(self, event: Any, request_id: str) -> dict[str, Any]:
        """`{"result": ...}`, or `{"error": sentence}`."""
        action = event.get("action") if isinstance(event, dict) else None
        try:
            if action == "status":
                return {"result": await self._status(event)}
            if action == "token":
                return {"result": await anyio.to_thread.run_sync(token, self._composition, event)}
            if action in TOOLS:
                return await self._call(action, event, request_id)
        except (ServiceError, InvalidName) as e:
            return {"error": str(e)}
        return {"error": USAGE}

    async def _status(self, event: dict[str, Any]) -> dict[str, Any]:
        settings = self._composition.settings
        if is_operator(settings, event):
            return await anyio.to_thread.run_sync(status, self._composition)
        return public_status(settings, reachable=await self._ready())

    async def _call(self, action: str, event: dict[str, Any], request_id: str) -> dict[str, Any]:
        tool, argument = TOOLS[action]
        whose = Scope(str(event.get("user", "")), str(event.get("client", "")))
        arguments = {argument: event.get(argument)} if argument else {}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        headers = (
            [*_HEADERS, (b"authorization", f"Bearer {event['token']}".encode())] if event.get("token") else _HEADERS
        )
        scope: AsgiScope = {
            "type": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            "scheme": "https",
            "method": "POST",
            "path": f"/mcp/{whose.client_name}/http/{whose.user_id}",
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "client": None,  # nobody's machine: never taken for a local caller
            "server": None,
            "request_id": request_id,
        }
        status_code, body = await _request(self._app, scope, json.dumps(call).encode())
        return _outcome(status_code, body)


def _outcome(status_code: int, body: bytes) -> dict[str, Any]:
    if status_code != 200:
        return {"error": body.decode(errors="replace")}
    answer = json.loads(body)
    if "error" in answer:
        return {"error": answer["error"]["message"]}
    text = "".join(block.get("text", "") for block in answer["result"]["content"])
    return {"error": text} if answer["result"].get("isError") else {"result": _parsed(text)}


async def _request(app: ASGIApp, scope: AsgiScope, body: bytes) -> tuple[int, bytes]:
    status_code, received = 500, bytearray()
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not pending:
            await anyio.sleep_forever()  # the caller does not hang up
        return pending.pop()

    async def send(message: Message) -> None:
        nonlocal status_code
        if message["type"] == "http.response.start":
            status_code = message["status"]
        else:
            received.extend(message.get("body", b""))

    await app(scope, receive, send)
    return status_code, bytes(received)


def _parsed(text: str) -> Any:
    """JSON, or the sentence that it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text
