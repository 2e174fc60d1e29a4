"""JSON-RPC messages from bytes, with an answer for those that are none."""

import json
from typing import Any

from mcp_types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError, JSONRPCMessage, jsonrpc_message_adapter
from pydantic import ValidationError

SENTENCE = "Not a valid JSON-RPC 2.0 message: one object in UTF-8, without lone surrogates."
NO_JSON = "Parse error: send one JSON-RPC 2.0 message in UTF-8."
_BOM = b"\xef\xbb\xbf"


def without_bom(data: bytes) -> bytes:
    """`data` without a UTF-8 byte order mark. PowerShell and some editors write one, and RFC 8259 lets us ignore it."""
    return data.removeprefix(_BOM)


def parse(data: bytes | str) -> tuple[JSONRPCMessage | None, JSONRPCError | None]:
    """(message, None), or (None, the error to answer with), or (None, None) when not even an id can be made out.

    The error matters: a client that waits for the answer to an id would otherwise wait until its own timeout.
    """
    data = without_bom(data) if isinstance(data, bytes) else data
    try:
        return jsonrpc_message_adapter.validate_json(data, by_name=False), None
    except ValidationError:
        pass
    try:
        ident = _ident(json.loads(data.decode() if isinstance(data, bytes) else data))
    except (ValueError, RecursionError):
        return None, None
    return None, None if ident is None else _error(ident, INVALID_REQUEST, SENTENCE)


def refusal(data: bytes) -> JSONRPCError:
    """The answer to what `parse` made no message of, on a transport that has no other word for it: -32600 to JSON,
    -32700 to everything else. It has the request's id if one can be made out, or nobody would know that it is meant."""
    data = without_bom(data)
    try:
        return _error(_ident(json.loads(data.decode())), INVALID_REQUEST, SENTENCE)
    except (ValueError, RecursionError):
        pass
    try:
        ident = _ident(json.loads(data.decode(errors="replace")))
    except (ValueError, RecursionError):
        ident = None
    return _error(None if isinstance(ident, str) and "\ufffd" in ident else ident, PARSE_ERROR, NO_JSON)


def too_long(most: int) -> JSONRPCError:
    """The answer to a message of more than `most` bytes, of which nothing was kept, not even the id."""
    return _error(None, INVALID_REQUEST, f"The message is too long: at most {most} bytes are taken (MAX_BODY_SIZE).")


def _error(ident: int | str | None, code: int, sentence: str) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=ident, error=ErrorData(code=code, message=sentence))


def _ident(loose: Any) -> int | str | None:
    """The id of what looks like a request, if it can be sent back."""
    ident = loose.get("id") if isinstance(loose, dict) and "method" in loose else None
    if isinstance(ident, bool) or not isinstance(ident, int | str) or (isinstance(ident, str) and not _sound(ident)):
        return None
    return ident


def _sound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
