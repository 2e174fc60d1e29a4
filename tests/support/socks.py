"""A small SOCKS 5 proxy (RFC 1928, 1929) on loopback, as Clash and ssh -D are: CONNECT only."""

import contextlib
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Self

NONE, PASSWORD, REFUSED = 0, 2, 0xFF


class SocksProxy:
    """`with SocksProxy({"llm.test": port}) as proxy:` connects to that loopback port whoever asks for that name.

    `user`: (name, password) that it insists on. `asked`: the names and ports that it was asked for.
    """

    def __init__(self, names: Mapping[str, int], user: tuple[str, str] | None = None) -> None:
        self.asked: list[tuple[str, int]] = []
        self._names = names
        self._user = user
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError):
            if not self._greeted(client):
                return
            _, command, _, kind = _exactly(client, 4)
            size = {1: 4, 4: 16}.get(kind) or _exactly(client, 1)[0]
            address = _exactly(client, size)
            (port,) = struct.unpack("!H", _exactly(client, 2))
            name = address.decode() if kind == 3 else socket.inet_ntop({1: 2, 4: 10}[kind], address)
            self.asked.append((name, port))
            target = self._names.get(name)
            client.sendall(bytes([5, 0 if command == 1 and target else 4, 0, 1]) + bytes(6))
            if target:
                with socket.create_connection(("127.0.0.1", target)) as upstream:
                    back = threading.Thread(target=_relay, args=(upstream, client), daemon=True)
                    back.start()
                    _relay(client, upstream)
                    back.join()

    def _greeted(self, client: socket.socket) -> bool:
        _, count = _exactly(client, 2)
        offered, wanted = _exactly(client, count), PASSWORD if self._user else NONE
        client.sendall(bytes([5, wanted if wanted in offered else REFUSED]))
        if wanted not in offered or self._user is None:
            return wanted in offered
        _, size = _exactly(client, 2)
        name = _exactly(client, size).decode()
        password = _exactly(client, _exactly(client, 1)[0]).decode()
        good = (name, password) == self._user
        client.sendall(bytes([1, 0 if good else 1]))
        return good


def _exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = client.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
