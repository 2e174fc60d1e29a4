"""What all measurements share: the emulator, the models, and the two contenders, started when first needed and warm."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from client import SseSession
from seeding import Seed, ours, reference
from servers import OURS, REFERENCE, Contender, Process, clean
from texts import HOME, correction, memories, query

from support.processes import tablestore_environ
from tablestore_emulator.testing import Emulator

LLM, EMBEDDER = 0.5, 0.05  # seconds
DIMENSION = 1536
SESSIONS = 64


def path(user: str) -> str:
    return f"/mcp/cline/sse/{user}"


READERS = [f"reader{i}" for i in range(SESSIONS)]  # ten memories each
WRITERS = [f"writer{i}" for i in range(SESSIONS)]  # one memory each, which every add corrects
SEEDS = [Seed(user, memories(10)) for user in READERS] + [Seed(user, [HOME]) for user in WRITERS]


@dataclass(slots=True)
class Bench:
    """`seconds`: of one measurement. `notes`: what a row's reader should know, by its key."""

    home: Path
    emulator: Emulator
    models: str  # base URL; 500 ms, 50 ms
    fast_models: str  # base URL; without latency
    seconds: float
    imported_at: float = 0.0  # when the large scope of rows/embedded.py was put into place (time.monotonic)
    running: dict[str, Process] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    clients: dict[str, float] = field(default_factory=dict)  # ms of CPU that the load itself took per call
    units: dict[str, dict[str, float]] = field(default_factory=dict)  # what one call of ours costs in Tablestore

    def contender(self, name: str) -> Contender:
        command = OURS if name == "ours" else (REFERENCE,)
        environ = clean(self.home / name, self.models, **tablestore_environ(self.emulator))
        environ["TABLESTORE_VECTOR_DIMENSION"] = str(DIMENSION)
        if name == "reference":
            del environ["STORE"]
        return Contender(name, command, environ, self.home / f"{name}.log")

    def seed(self, names: list[str]) -> None:
        """Tables, and the memories of READERS and WRITERS."""
        if "ours" in names:
            ours(self.contender("ours").variables, SEEDS)
        if "reference" in names:
            self.server("reference")  # makes its table and its index
            reference(self.emulator, SEEDS, DIMENSION)

    def server(self, name: str) -> Process:
        """Running and warm."""
        if name not in self.running:
            self.running[name] = process = self.contender(name).start()
            asyncio.run(_warm(process))
        return self.running[name]

    def stop(self) -> None:
        for process in self.running.values():
            process.kill()
        self.running.clear()


async def _warm(process: Process) -> None:
    session = await SseSession.open(process.port, path("warm"))
    for _ in range(3):
        await session.tool("add_memories", text=correction())
        await session.tool("search_memories", query=query())
    session.close()


@contextmanager
def started(contender: Contender) -> Iterator[Process]:
    process = contender.start()
    try:
        yield process
    finally:
        process.stop()
