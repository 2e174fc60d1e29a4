"""A TCP relay that keeps what passes: what client and server agreed on is read from the wire, not asked of them."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

# The handshake's answer; a modern client (2026-07-28) sends the version with every request instead.
ANSWERED = re.compile(rb'"protocolVersion":\s*"([\d-]+)"')
SENT = re.compile(rb'"io\.modelcontextprotocol/protocolVersion":\s*"([\d-]+)"')


def negotiated(to_server: bytes, to_client: bytes) -> set[str]:
    """The protocol versions that conversations on this wire settled on."""
    return {v.decode() for v in ANSWERED.findall(to_client) or SENT.findall(to_server)}


class RecordingProxy:
    """Relays every connection made to `url` to a server, and remembers both directions."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._to_server: list[bytes] = []
        self._to_client: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def negotiated(self) -> set[str]:
        with self._lock:
            return negotiated(b"".join(self._to_server), b"".join(self._to_client))

    def close(self) -> None:
        self._listener.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                with self._lock:
                    self._open += [client, server]
                for source, sink, kept in ((client, server, self._to_server), (server, client, self._to_client)):
                    threading.Thread(target=self._relay, args=(source, sink, kept), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, kept: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    kept.append(data)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def recording(upstream: str) -> Iterator[RecordingProxy]:
    proxy = RecordingProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
