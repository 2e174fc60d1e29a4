"""The public `mcp` client, driven from plain tests: one connection, four tools, JSON parsed."""

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from . import discretion
from .processes import clean_environ

TIMEOUT = 90.0  # seconds of one call: above the server's own deadlines, so that its answer is what is tested


class ToolFailed(Exception):
    """The tool answered with an error; its text, as the model would read it."""


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    failed: bool


class MemoryClient:
    """One MCP session. Methods block; `begin` does not."""

    def __init__(self, portal: BlockingPortal, session: Client) -> None:
        self._portal = portal
        self._session = session

    def begin(self, tool: str, **arguments: Any) -> "Future[Answer]":
        """Call a tool without waiting."""
        return self._portal.start_task_soon(self._call, tool, arguments)

    def call(self, tool: str, **arguments: Any) -> Answer:
        return self.begin(tool, **arguments).result(TIMEOUT)

    def tools(self) -> list[str]:
        return [tool.name for tool in self._portal.call(self._session.list_tools).tools]

    def described(self) -> list[dict[str, Any]]:
        """The tools as a client hands them to its model."""
        listed = self._portal.call(self._session.list_tools).tools
        return [{"name": t.name, "description": t.description, "parameters": t.input_schema} for t in listed]

    def add(self, text: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._json("add_memories", text=text)
        return answer

    def search(self, query: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self._json("search_memories", query=query)
        return answer

    def memories(self) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self._json("list_memories")
        return answer

    def texts(self) -> list[str]:
        """The memories' texts, newest first."""
        return [memory["memory"] for memory in self.memories()]

    def delete_all(self) -> dict[str, int]:
        """`{"deleted"}`, read from the sentence."""
        answer = self.call("delete_all_memories")
        if answer.failed:
            raise ToolFailed(answer.text)
        found = re.fullmatch(r"Successfully deleted (\d+) memories", answer.text)
        assert found, answer.text
        return {"deleted": int(found[1])}

    def _json(self, tool: str, **arguments: Any) -> Any:
        answer = self.call(tool, **arguments)
        if answer.failed:
            raise ToolFailed(answer.text)
        return json.loads(answer.text)

    async def _call(self, tool: str, arguments: Mapping[str, Any]) -> Answer:
        for said in (arguments.get("text"), arguments.get("query")):
            if isinstance(said, str):
                discretion.said(said)
        result = await self._session.call_tool(tool, dict(arguments), read_timeout_seconds=TIMEOUT)
        text = "".join(getattr(block, "text", "") for block in result.content)
        return Answer(text, bool(result.is_error))


@contextlib.contextmanager
def over_sse(url: str, headers: dict[str, str] | None = None) -> Iterator[MemoryClient]:
    """A new session on a server's SSE address."""
    with _connected(sse_client(url, headers=headers, timeout=30)) as client:
        yield client


@contextlib.contextmanager
def over_http(url: str, headers: dict[str, str] | None = None) -> Iterator[MemoryClient]:
    """A client of a server's Streamable HTTP address."""
    http = httpx2.AsyncClient(headers=headers, timeout=TIMEOUT)
    with _connected(streamable_http_client(url, http_client=http)) as client:
        yield client


@contextlib.contextmanager
def over_stdio(home: Path, *, pid_file: Path | str = "", **variables: str) -> Iterator[MemoryClient]:
    """A server of its own, as this client's child. `pid_file` gets the child's process id."""
    command = f'echo $$ > "{pid_file or home / "stdio.pid"}"; exec "{sys.executable}" -m tablestore_openmemory_mcp "$@"'
    child = StdioServerParameters(
        command="/bin/sh",
        args=["-c", command, "sh", "--transport=stdio"],
        env=clean_environ(home, **variables),
    )
    with (home / "stdio.log").open("a") as log, _connected(stdio_client(child, errlog=log)) as client:
        yield client
    discretion.check((home / "stdio.log").read_text("utf-8", errors="replace"))


@contextlib.contextmanager
def _connected(transport: Any) -> Iterator[MemoryClient]:
    with start_blocking_portal() as portal:
        session = portal.wrap_async_context_manager(Client(transport, read_timeout_seconds=TIMEOUT))
        client = MemoryClient(portal, session.__enter__())
        try:
            yield client
        finally:  # not told of a test's failure: it would come back wrapped in groups of groups
            session.__exit__(None, None, None)
