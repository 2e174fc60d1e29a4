"""One message of the handshake's protocols (until 2025-11-25) over Streamable HTTP, and its answer.

The SDK's manager (mcp 2.3) makes for each of them a transport, five memory streams and four tasks, as if more could
follow. Nothing can: a stateless answer is one JSON body, so there is nobody to cancel it, and progress has no way to
the client. Its `serve_one`, which the newer protocol's requests go through, is all that is needed.
"""

import logging
from collections.abc import Mapping
from typing import Any

import anyio
from mcp.server import Server
from mcp.server.connection import Connection
from mcp.server.runner import serve_one
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data
from mcp.shared.message import MessageMetadata, ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)
from starlette.responses import Response

from ..caller import Caller

logger = logging.getLogger(__name__)


async def exchange(server: "Server[Any]", message: JSONRPCMessage, version: str, caller: Caller) -> Response:
    """What HTTP answers to `message`, sent by `caller` in the protocol `version`. A notification, or an answer to what
    we never ask, has no effect."""
    if not isinstance(message, JSONRPCRequest):
        return Response(None, 202, media_type="application/json")
    answer = await _answer(server, message, version, caller)
    return Response(answer.model_dump_json(by_alias=True, exclude_unset=True), media_type="application/json")


async def _answer(
    server: "Server[Any]", request: JSONRPCRequest, version: str, caller: Caller
) -> JSONRPCResponse | JSONRPCError:
    try:
        result = await serve_one(
            server,
            _Request(request, caller),
            request.method,
            request.params,
            connection=Connection.from_envelope(version, None, None),
            lifespan_state={},
        )
    except Exception as e:
        error = handler_exception_to_error_data(e)
        if error is None:
            logger.exception("a request failed in an unforeseen way")
            error = ErrorData(code=INTERNAL_ERROR, message="Internal server error")
        return JSONRPCError(jsonrpc="2.0", id=request.id, error=error)
    return JSONRPCResponse(jsonrpc="2.0", id=request.id, result=result)


class _Request:
    """A DispatchContext of the SDK, of a request that can only be answered."""

    def __init__(self, request: JSONRPCRequest, caller: Caller) -> None:
        self.transport = TransportContext(kind="streamable-http", can_send_request=False)
        self.can_send_request = False
        self.request_id: RequestId | None = request.id
        self.message_metadata: MessageMetadata = ServerMessageMetadata(request_context=caller)
        self.cancel_requested = anyio.Event()  # which never happens

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        return None

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        return None
