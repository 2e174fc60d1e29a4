"""MCP Inspector: what its linter says of the tools, and what many calls at once do."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.processes import COMMAND, Server, clean_environ
from support.real_clients import node_program

pytestmark = pytest.mark.slow


def inspect(home: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [*node_program("mcp-inspector"), "--cli", *arguments],
        env=clean_environ(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


STRICT = ["--method", "tools/list", "--strict", "--format", "json"]


@pytest.mark.parametrize("transport", ["sse", "http"])
def test_schemas_are_portable(transport: str, base: str, tmp_path: Path) -> None:
    url = f"{base}/mcp/inspector/{transport}/linter"
    assert len(inspect(tmp_path, url, "--transport", transport, *STRICT)["tools"]) == 8


def test_schemas_are_portable_over_stdio(tmp_path: Path) -> None:
    # In a container the embedded store must be asked for by name, and Inspector passes on no variable by itself.
    child = ["-e", "STORE=embedded", "--", *COMMAND, "--transport=stdio"]
    assert len(inspect(tmp_path, *STRICT, *child)["tools"]) == 8


@pytest.mark.parametrize(("transport", "era"), [("sse", "legacy"), ("http", "legacy"), ("http", "modern")])
def test_no_call_of_many_fails(transport: str, era: str, base: str, server: Server, tmp_path: Path) -> None:
    load = inspect(
        tmp_path,
        f"{base}/mcp/inspector/{transport}/load-{transport}-{era}",
        *("--transport", transport, "--protocol-era", era, "--format", "json"),
        *("--method", "tools/call", "--tool-name", "search_memories", "--tool-arg", "query=anything"),
        *("--load", "--load-concurrency", "16", "--load-requests", "500"),
    )
    print(transport, era, load)
    assert (load["requests"], load["ok"], load["errors"], load["toolErrors"]) == (500, 500, 0, 0)
    assert server.process.poll() is None
