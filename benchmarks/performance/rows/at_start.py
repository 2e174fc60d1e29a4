"""Rows of a process that has just been started."""

import asyncio
import subprocess
import time

from bench import EMBEDDER, LLM, READERS, Bench, path, started
from client import SseSession
from servers import START
from texts import correction, query

from support.stdio import INITIALIZE, line

Figures = dict[str, float]


def cold_start(bench: Bench, name: str) -> Figures:
    """From the start of the process, over SSE; the tables and ten memories are there."""

    async def first(port: int, begin: float) -> float:
        session = await SseSession.open(port, path(READERS[0]))
        await session.tool("search_memories", query=query())
        took = time.perf_counter() - begin
        session.close()
        return took

    with started(bench.contender(name)) as process:
        port_open = time.perf_counter() - process.begin
        first_search = asyncio.run(first(process.port, process.begin))
        return {"port_open": port_open, "first_search": first_search, "memory": process.resident()}


def first_add(bench: Bench, name: str) -> Figures:
    """The first call that a new process gets. The user has no memory: one LLM call, one embedding."""

    async def first(port: int) -> float:
        session = await SseSession.open(port, path(f"new{time.monotonic_ns()}"))
        begin = time.perf_counter()
        await session.tool("add_memories", text=correction())
        took = time.perf_counter() - begin
        session.close()
        return took

    with started(bench.contender(name)) as process:
        return {"first_add": asyncio.run(first(process.port)) - LLM - EMBEDDER}


def stdio(bench: Bench, name: str) -> Figures:
    """With the files of the program in the machine's cache."""
    contender = bench.contender(name)
    begin = time.perf_counter()
    with contender.log.open("ab") as log:
        process = subprocess.Popen(
            [*contender.command, "--transport=stdio"],
            env=contender.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line(INITIALIZE))
    process.stdin.flush()
    answered = process.stdout.readline()
    took = time.perf_counter() - begin
    process.stdin.close()
    try:
        process.wait(START)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    if b'"serverInfo"' not in answered:
        raise RuntimeError(f"{name} answered over stdio: {answered[:200]!r}")
    return {"stdio": took}
