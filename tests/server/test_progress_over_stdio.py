"""A long add says how far it is, over stdio: the command as a child, and a model that takes its time."""

from functools import partial
from pathlib import Path

import anyio
import pytest
from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

from support.fake_openai import FakeOpenAI
from support.processes import COMMAND, START, clean_environ

pytestmark = pytest.mark.anyio


async def test_progress_is_told_over_stdio(tmp_path: Path) -> None:
    told: list[tuple[float, str | None]] = []
    heard = anyio.Event()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))
        heard.set()

    with FakeOpenAI() as llm, (tmp_path / "stdio.log").open("w") as log:
        child = StdioServerParameters(
            command=COMMAND[0],
            args=[*COMMAND[1:], "--transport=stdio"],
            env=clean_environ(tmp_path, **llm.environ()),
        )
        async with stdio_client(child, errlog=log) as streams, ClientSession(*streams) as session:
            await session.initialize()
            await session.call_tool("add_memories", {"text": "我住在上海"})
            assert told == []  # it did not ask
            async with anyio.create_task_group() as tasks:
                with llm.holding("chat"), anyio.fail_after(START):
                    moved = {"text": "我现在住在北京"}
                    tasks.start_soon(partial(session.call_tool, "add_memories", moved, progress_callback=tell))
                    await heard.wait()  # while the model still thinks
                    assert told == [(1, "extracting facts")]
    assert told == [(1, "extracting facts"), (2, "comparing with 1 memory"), (3, "writing")]
