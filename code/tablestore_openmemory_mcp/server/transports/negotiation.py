"""Accept and Content-Type, read as HTTP means them (RFC 9110), and put to the MCP SDK as it wants them.

The SDK (mcp 2.3.0) answers 406 without an Accept header and 415 to `Application/JSON`.
"""

from dataclasses import dataclass

from starlette.types import Message, Send

JSON, SSE = "application/json", "text/event-stream"
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which of the two kinds of answer the client takes."""

    json: bool
    sse: bool


def accepted(headers: Headers) -> Accepted:
    """What the Accept headers say. None at all, or an empty one, means anything."""
    ranges = dict(_ranges(",".join(_values(headers, b"accept"))))
    if not ranges:
        return Accepted(json=True, sse=True)
    return Accepted(json=_quality(ranges, JSON) > 0, sse=_quality(ranges, SSE) > 0)


def is_json(headers: Headers) -> bool:
    """Whether the Content-Type is application/json, however it is written."""
    kinds = ",".join(_values(headers, b"content-type")).split(",")
    return any(kind.partition(";")[0].strip().lower() == JSON for kind in kinds)


def normalised(headers: Headers, takes: Accepted) -> Headers:
    """The headers of a JSON request as the SDK wants them. It is always asked for JSON."""
    kept = [(name, value) for name, value in headers if name not in (b"accept", b"content-type")]
    accept = f"{JSON}, {SSE}" if takes.sse else JSON
    return [*kept, (b"accept", accept.encode()), (b"content-type", JSON.encode())]


def as_event(send: Send) -> Send:
    """A `send` that gives a client which takes only event streams a JSON answer as a stream of one event. An error of
    HTTP stays what it is."""
    start: Message = {}
    body = bytearray()

    async def converted(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        kind = dict(start["headers"]).get(b"content-type", b"")
        content = bytes(body)
        if start["status"] == 200 and kind.startswith(JSON.encode()):
            content = b"event: message\r\ndata: " + _one_line(content) + b"\r\n\r\n"
            changed = (b"content-type", b"content-length", b"cache-control")
            headers = [(name, value) for name, value in start["headers"] if name.lower() not in changed]
            told = ((b"content-type", SSE.encode()), (b"content-length", b"%d" % len(content)))
            start = {**start, "headers": [*headers, *told, (b"cache-control", b"no-store")]}
        await send(start)
        await send({"type": "http.response.body", "body": content})

    return converted


def _one_line(content: bytes) -> bytes:
    """JSON without what some SSE clients take for the end of a line (as server/transports/sse/sessions.py has it)."""
    for character in "\x85\u2028\u2029":
        content = content.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    return content


def _values(headers: Headers, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def _ranges(accept: str) -> list[tuple[str, float]]:
    """(media range, quality) of each element; what is no quality counts as 1."""
    found = []
    for element in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in element.split(";"))
        if not kind:
            continue
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 1.0
        found.append((kind, quality))
    return found


def _quality(ranges: dict[str, float], kind: str) -> float:
    """The most specific range that covers `kind` decides."""
    for candidate in (kind, f"{kind.partition('/')[0]}/*", "*/*", "*"):  # "*": what Java's HttpURLConnection sends
        if candidate in ranges:
            return ranges[candidate]
    return 0.0
