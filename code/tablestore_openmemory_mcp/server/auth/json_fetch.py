"""Small JSON documents from an HTTP server that may be slow, large, or never done."""

import contextlib
import http.client
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST = 1_000_000  # bytes of one document


def json_document(url: str, seconds: float) -> dict[str, Any]:
    """The JSON object at `url`, http or https. Raises OSError, http.client.HTTPException or ValueError, in the end
    because `seconds` are over or it has more than MOST bytes."""
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - settings.py wants http(s)
    with _watched(seconds) as opener, opener.open(request, timeout=seconds) as response:
        body: bytes = response.read(MOST + 1)
    if len(body) > MOST:
        raise ValueError("too large")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - like any other unusable document
    return document


@contextmanager
def _watched(seconds: float) -> Iterator[urllib.request.OpenerDirector]:
    """What opens connections that are cut after `seconds`: a socket's timeout begins anew with each byte."""
    ends: list[socket.socket] = []
    over = threading.Event()

    class Watched(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            ends.append(self.sock.dup())  # TLS takes the socket itself away
            if over.is_set():
                raise TimeoutError

    class WatchedTls(http.client.HTTPSConnection, Watched):
        pass

    class Http(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Watched, request)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(WatchedTls, request)

    def cut() -> None:
        over.set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield urllib.request.build_opener(Http(), Https())
        if over.is_set():
            raise TimeoutError
    finally:
        timer.cancel()
        for end in ends:
            end.close()
