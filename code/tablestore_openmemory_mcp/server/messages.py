"""JSON-RPC messages from bytes, with an answer for those that are none."""

import json

from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError, JSONRPCMessage, jsonrpc_message_adapter
from pydantic import ValidationError

SENTENCE = "Not a valid JSON-RPC 2.0 message: one object in UTF-8, without lone surrogates."


def parse(data: bytes | str) -> tuple[JSONRPCMessage | None, JSONRPCError | None]:
    """(message, None), or (None, the error to answer with), or (None, None) when not even an id can be made out.

    The error matters: a client that waits for the answer to an id would otherwise wait until its own timeout.
    """
    try:
        return jsonrpc_message_adapter.validate_json(data, by_name=False), None
    except ValidationError:
        pass
    try:
        loose = json.loads(data)
    except (ValueError, RecursionError):
        return None, None
    ident = loose.get("id") if isinstance(loose, dict) and "method" in loose else None
    if isinstance(ident, bool) or not isinstance(ident, int | str) or (isinstance(ident, str) and not _sound(ident)):
        return None, None
    return None, JSONRPCError(jsonrpc="2.0", id=ident, error=ErrorData(code=INVALID_REQUEST, message=SENTENCE))


def _sound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
