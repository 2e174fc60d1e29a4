"""The SDK's HTTP connection, with a deadline per call.

The SDK (6.4.8) knows one timeout for the life of a client, lets urllib3 repeat what never connected three times without
a pause, and keeps sockets for ever; a frozen Function Compute instance thaws with dead ones.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tablestore.connection import ConnectionPool
from urllib3 import Timeout

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
IDLE_SECONDS = 45.0  # the service and the NAT in front of it drop idle connections after a minute or more
MAX_CONNECTIONS = 64


class Transport(ConnectionPool):  # type: ignore[misc]
    """Takes the place of `OTSClient.connection`. Any thread may use it."""

    def __init__(self, host: str, path: str) -> None:
        super().__init__(host, path, timeout=ANSWER_SECONDS, maxsize=MAX_CONNECTIONS)
        self._call = threading.local()
        self._last_used = time.time()  # wall clock: the monotonic one stands still while a machine sleeps

    @contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """Calls of this thread in this block end by `deadline` (time.monotonic())."""
        self._call.deadline = deadline
        try:
            yield
        finally:
            del self._call.deadline

    def send_receive(self, url: str, request_headers: Any, request_body: Any) -> tuple[int, str, dict[str, str], bytes]:
        now, last = time.time(), self._last_used
        self._last_used = now
        if now - last > IDLE_SECONDS:
            self.pool.clear()
        left = max(0.05, self._call.deadline - time.monotonic())
        response = self.pool.urlopen(
            "POST",
            self.host + self.path + url,
            body=request_body,
            headers=request_headers,
            redirect=False,
            assert_same_host=False,
            retries=False,
            timeout=Timeout(connect=min(left, CONNECT_SECONDS), read=min(left, ANSWER_SECONDS)),
        )
        return response.status, response.reason, dict(response.headers), response.data
