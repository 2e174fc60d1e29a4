"""Rows of a warm server on Tablestore: many sessions at once, and one alone."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench import EMBEDDER, READERS, WRITERS, Bench, path
from client import Connection, Failed, HttpSession, Session, SseSession, sessions
from measuring import Load, closed_loop, percentile
from texts import correction, query

REFERENCE_ADDS = 16  # it answers one after the other; 64 would take 74 s
BESIDE = 32
REFERENCE_BESIDE = 8
SAMPLES = 40
HTTP_CLIENTS = 16

Figures = dict[str, float]


@dataclass(slots=True)
class Counting:
    """The load whose calls of Tablestore are counted."""

    load: Load = field(default_factory=Load)


@contextmanager
def counted(bench: Bench, name: str, key: str) -> Iterator[Counting]:
    """Keeps what one call costs in Tablestore: capacity units of rows, and requests. The relay's reads are in it."""
    units, calls, counting = bench.emulator.units(), bench.emulator.calls(), Counting()
    yield counting
    if name == "ours" and counting.load.latencies:
        answered = len(counting.load.latencies)
        after = bench.emulator.units() | {"requests": sum(bench.emulator.calls().values())}
        before = units | {"requests": sum(calls.values())}
        bench.units[key] = {what: round((after[what] - before[what]) / answered, 3) for what in after}


async def search(session: Session) -> None:
    found = json.loads(await session.tool("search_memories", query=query()))
    if not found:
        raise Failed("nothing was found")


async def add(session: Session) -> None:
    await session.tool("add_memories", text=correction())


async def list_memories(session: Session) -> None:
    if len(json.loads(await session.tool("list_memories"))) != 10:
        raise Failed("not ten memories were listed")


def searches(bench: Bench, name: str) -> Figures:
    """Closed loop: all sessions search all the time."""
    server = bench.server(name)

    async def measured() -> Load:
        async with sessions(server.port, [path(user) for user in READERS]) as opened:
            await closed_loop(server, opened, search, seconds=0, calls=1)
            with counted(bench, name, "searches") as counting:
                counting.load = await closed_loop(server, opened, search, seconds=bench.seconds)
            return counting.load

    load = asyncio.run(measured())
    _note(bench, name, "searches", load)
    return {"searches": load.rate, "cpu_search": load.cpu()}


def adds(bench: Bench, name: str) -> Figures:
    """The same with adds; of the reference's sessions only some add, once each."""
    server = bench.server(name)

    async def measured() -> Load:
        async with sessions(server.port, [path(user) for user in WRITERS]) as opened:
            if name == "reference":
                return await closed_loop(server, opened[:REFERENCE_ADDS], add, seconds=0, calls=1)
            await closed_loop(server, opened, add, seconds=0, calls=1)
            with counted(bench, name, "adds") as counting:
                counting.load = await closed_loop(server, opened, add, seconds=1.5 * bench.seconds)
            return counting.load

    load = asyncio.run(measured())
    _note(bench, name, "adds", load)
    return {"adds": load.rate, "cpu_add": load.cpu()}


def alone(bench: Bench, name: str) -> Figures:
    """One session, one search after the other; between them the embedder is asked directly."""
    server = bench.server(name)

    async def measured() -> Figures:
        session = await SseSession.open(server.port, path(READERS[0]))
        embedder = await Connection.open(int(bench.models.split(":")[2].split("/")[0]))
        took: dict[str, list[float]] = {"search": [], "embedder": []}
        for _ in range(SAMPLES):
            begin = time.perf_counter()
            await search(session)
            took["search"].append(time.perf_counter() - begin)
            body = {"model": "text-embedding-v4", "input": [query()], "dimensions": 1536, "encoding_format": "float"}
            begin = time.perf_counter()
            await embedder.send("POST", "/v1/embeddings", json.dumps(body).encode())
            took["embedder"].append(time.perf_counter() - begin)
        session.close()
        embedder.close()
        one, own = percentile(took["search"], 0.5), percentile(took["embedder"], 0.5)
        if name == "ours":
            bench.notes["alone"] = f"ours {one * 1e3:.1f} ms, the embedder {own * 1e3:.1f} ms (asked for {EMBEDDER} s)"
        return {"alone": one / own}

    return asyncio.run(measured())


def beside(bench: Bench, name: str) -> Figures:
    """One session searches while others add without a pause."""
    server = bench.server(name)
    adding = BESIDE if name == "ours" else REFERENCE_BESIDE
    if name == "reference":
        bench.notes["beside"] = f"beside the reference only {REFERENCE_BESIDE} adds run: a search waits for all of them"

    async def measured() -> Figures:
        async with sessions(server.port, [path(user) for user in [READERS[0], *WRITERS[:adding]]]) as opened:
            quiet = await closed_loop(server, opened[:1], search, seconds=bench.seconds / 3)
            calls, seconds = (1, 0.0) if name == "reference" else (None, bench.seconds)
            load = asyncio.create_task(closed_loop(server, opened[1:], add, seconds=seconds, calls=calls))
            await asyncio.sleep(0.2)
            busy = await closed_loop(server, opened[:1], search, seconds=max(0.1, seconds - 0.2))
            failed = (await load).failures + busy.failures
        if failed:
            bench.notes["beside"] = f"{len(failed)} failed: {failed[0][:80]}"
        return {"beside": busy.percentile(0.95) / quiet.percentile(0.5)}

    return asyncio.run(measured())


def opening(bench: Bench, name: str) -> Figures:
    """All at once: the stream, `initialize`, `initialized`."""
    server = bench.server(name)

    async def measured() -> Figures:
        cpu, begin = server.cpu(), time.perf_counter()
        async with sessions(server.port, [path(user) for user in READERS]):
            took, used = time.perf_counter() - begin, server.cpu() - cpu
        if name == "ours":
            bench.notes["opening"] = f"{1e3 * used / len(READERS):.0f} ms of CPU of the server for each"
        return {"opening": took}

    return asyncio.run(measured())


def http_list(bench: Bench, name: str) -> Figures:
    """Streamable HTTP, several clients, ten memories each; every call reads the head of its scope. Ours alone."""
    server = bench.server(name)

    async def measured() -> Load:
        opened = [HttpSession(server.port, f"/mcp/cline/http/{user}") for user in READERS[:HTTP_CLIENTS]]
        await closed_loop(server, opened, list_memories, seconds=0, calls=1)
        before = bench.emulator.calls()
        load = await closed_loop(server, opened, list_memories, seconds=bench.seconds)
        reads = bench.emulator.calls().get("GetRow", 0) - before.get("GetRow", 0)
        bench.notes["http_list"] = (
            f"{HTTP_CLIENTS} clients; {reads / len(load.latencies):.2f} reads and {load.cpu():.2f} ms of CPU each"
        )
        for session in opened:
            session.close()
        return load

    load = asyncio.run(measured())
    _note(bench, name, "http_list", load)
    return {"http_list": load.rate}


def _note(bench: Bench, name: str, key: str, load: Load) -> None:
    if name == "ours":
        bench.clients[key] = 1e3 * load.client_cpu / max(1, len(load.latencies))
    if load.failures:
        bench.notes[key] = f"{name}: {len(load.failures)} failed: {load.failures[0][:80]}"
