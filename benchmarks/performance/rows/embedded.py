"""Rows of the embedded store. The reference has none."""

import asyncio
import json
import time

import seeding
from bench import DIMENSION, SESSIONS, Bench, path, started
from client import Failed, Session, SseSession, sessions
from measuring import Load, closed_loop
from servers import OURS, Contender, Process, clean
from texts import memories, note, query

LARGE, SMALL = 7_500, 180
KEYLESS = 10  # memories of each user
CLIENTS = 16
SAMPLES = 15

LAG_WINDOW = 65.0  # seconds: what was written in the last minute is read again by every search of a large scope

Figures = dict[str, float]


def large(bench: Bench, _name: str) -> Figures:
    """One session, an embedder without latency. The search index is there; the process has just been started."""
    contender = prepare(bench)
    time.sleep(max(0.0, bench.imported_at + LAG_WINDOW - time.monotonic()))
    with started(contender) as process:
        took = asyncio.run(_large(process.port))
    return {
        "large_ratio": took["large"] / took["small"],
        "large_first": took["first"],
        "large_list": took["list"],
    }


def prepare(bench: Bench) -> Contender:
    """Long before `large` if possible: it waits until the import is a minute old."""
    return _contender(bench, "large", bench.fast_models)


async def _large(port: int) -> Figures:
    small, session = [await SseSession.open(port, path(user)) for user in ("small", "large")]
    await _timed(small, "search_memories")  # the libraries are imported now
    first = await _timed(session, "search_memories")
    took: dict[str, list[float]] = {"small": [], "large": [], "list": []}
    await _timed(session, "list_memories")
    for _ in range(SAMPLES):
        took["small"].append(await _timed(small, "search_memories"))
        took["large"].append(await _timed(session, "search_memories"))
        took["list"].append(await _timed(session, "list_memories"))
    small.close()
    session.close()
    return {"first": first, **{name: sorted(values)[SAMPLES // 2] for name, values in took.items()}}


async def _timed(session: Session, tool: str) -> float:
    """Milliseconds. Raises Failed if it gives nothing."""
    arguments = {"query": query()} if tool == "search_memories" else {}
    begin = time.perf_counter()
    text = await session.tool(tool, **arguments)
    took = 1e3 * (time.perf_counter() - begin)
    if len(text) < 100:
        raise Failed(f"{tool} gave {text!r}")
    return took


def writers(bench: Bench, _name: str) -> Figures:
    """Many clients, one scope, no model: every add is stored word for word, in an order of its own."""
    contender = _contender(bench, "keyless", None)

    async def add(session: Session) -> None:
        await session.tool("add_memories", text=note())

    async def measured(port: int) -> Load:
        user = f"shared{time.monotonic_ns()}"
        async with sessions(port, [path(user)] * CLIENTS) as opened:
            await closed_loop(process, opened, add, seconds=0, calls=1)
            load = await closed_loop(process, opened, add, seconds=bench.seconds)
            listed = len(json.loads(await opened[0].tool("list_memories")))
        if listed < min(len(load.latencies), 1000):
            load.failures.append(f"only {listed} memories are there")
        return load

    with started(contender) as process:
        load = asyncio.run(measured(process.port))
    if load.failures:
        bench.notes["writers_refused"] = load.failures[0][:100]
    p95, refused = load.percentile(0.95) / 1e3, float(len(load.failures))
    return {"writers_p95": p95, "writers_rate": load.rate, "writers_refused": refused}


def keyless(bench: Bench, _name: str) -> Figures:
    """No cloud, no key: the local embedder, and words."""
    contender = _contender(bench, "keyless", None)

    async def search(session: Session) -> None:
        await session.tool("search_memories", query=query())

    async def measured(port: int) -> Load:
        async with sessions(port, [path(f"user{i}") for i in range(SESSIONS)]) as opened:
            await closed_loop(process, opened, search, seconds=0, calls=1)
            return await closed_loop(process, opened, search, seconds=bench.seconds)

    with started(contender) as process:
        load = asyncio.run(measured(process.port))
    bench.notes["keyless"] = f"{load.cpu():.2f} ms of CPU of the server for each; the store has a process of its own"
    if load.failures:
        bench.notes["keyless"] = f"{len(load.failures)} failed: {load.failures[0][:80]}"
    return {"keyless": load.rate}


def _contender(bench: Bench, name: str, models: str | None) -> Contender:
    """A server of ours on an embedded store of its own, which holds what is needed. Without `models` all settings are
    the defaults: texts are stored word for word, and the local embedder makes the vectors."""
    home = bench.home / name
    environ = clean(home, models, STORE="embedded", DATA_DIR=str(home / "data"))
    if models:
        environ["TABLESTORE_VECTOR_DIMENSION"] = str(DIMENSION)
    contender = Contender(name, OURS, environ, bench.home / f"{name}.log")
    if not (home / "data").exists():
        _seed_large(contender) if models else _seed_keyless(contender)
        bench.imported_at = time.monotonic()
    return contender


def _seed_large(contender: Contender) -> None:
    seeding.ours(contender.variables, [seeding.Seed("small", memories(SMALL)), seeding.Seed("large", memories(LARGE))])
    with started(contender) as process:
        asyncio.run(_make_index(process.port))


def _seed_keyless(contender: Contender) -> None:
    async def add(session: Session) -> None:
        await session.tool("add_memories", text=note())

    async def fill(process: Process) -> None:
        async with sessions(process.port, [path(f"user{i}") for i in range(SESSIONS)]) as opened:
            load = await closed_loop(process, opened, add, seconds=0, calls=KEYLESS)
        if load.failures:
            raise Failed(load.failures[0])

    with started(contender) as process:
        asyncio.run(fill(process))


async def _make_index(port: int) -> None:
    session = await SseSession.open(port, path("large"))
    for _ in range(2):
        await _timed(session, "search_memories")
    session.close()
