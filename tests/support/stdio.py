"""A stdio server as a child, spoken to in bytes: for what no client library would ever send."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from .processes import COMMAND, START, clean_environ

STDIO = (*COMMAND, "--transport=stdio")
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
PING = {"jsonrpc": "2.0", "id": "ping", "method": "ping"}


def line(message: Any) -> bytes:
    """A message as the wire has it."""
    return json.dumps(message, ensure_ascii=False).encode() + b"\n"


def one_shot(
    home: Path, data: bytes, **variables: str
) -> tuple[list[dict[str, Any]], subprocess.CompletedProcess[bytes]]:
    """`printf data | server`: what it answered, and how it ended."""
    ended = subprocess.run(
        STDIO, env=clean_environ(home, **variables), input=data, capture_output=True, timeout=START, check=False
    )
    return [json.loads(answer) for answer in ended.stdout.splitlines()], ended


class StdioServer:
    """`with StdioServer(home) as server:`. Its stdin is closed at the end, and it must end by itself."""

    def __init__(self, home: Path, *, command: Sequence[str] = STDIO, **variables: str) -> None:
        self._log = (home / "stdio.log").open("a+")
        self.process = subprocess.Popen(
            command,
            env=clean_environ(home, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text("utf-8", errors="replace")

    def say(self, *data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"".join(data))
        self.process.stdin.flush()

    def hear(self) -> Any:
        """The next message."""
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def ask(self, message: dict[str, Any]) -> Any:
        self.say(line(message))
        return self.hear()

    def close_input(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close_input()
            self.process.wait(START)
        finally:
            self.process.kill()
            self.process.wait(START)
            assert self.process.stdout
            self.process.stdout.close()
            self._log.close()
