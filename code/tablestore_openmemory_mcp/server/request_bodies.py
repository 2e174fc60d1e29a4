"""Request bodies, bounded."""

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope


class BodyTooLarge(ValueError):
    """The body has more bytes than allowed. The text says how many are."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body. Raises BodyTooLarge before it holds more than `max_bytes`, ClientDisconnect if it ends early."""
    declared = dict(scope["headers"]).get(b"content-length", b"")
    if declared.isdigit() and int(declared) > max_bytes:
        raise BodyTooLarge(_sentence(max_bytes))
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise BodyTooLarge(_sentence(max_bytes))
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _sentence(max_bytes: int) -> str:
    return f"The body is too large: at most {max_bytes} bytes are taken (MAX_BODY_SIZE)."
