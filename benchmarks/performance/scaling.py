"""How latency, memory and reads grow with the memories of a scope and with the sessions, ours and the reference's.

    make bench-scaling                                       # everything, and the pictures of docs/images
    python benchmarks/performance/scaling.py --memories 100,1000 --sessions 1,8 --out FOLDER

Searches alone, at an embedder that takes 50 ms. By memories: one session, one scope, a new process for each size. By
sessions: all search all the time, ten memories each; the reference answers one call of each session. The reads are
those of a warm process, later than a minute after the last write. Writes scaling.json and the pictures, in both
languages.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import pictures  # noqa: E402
import seeding  # noqa: E402
import table  # noqa: E402
from bench import DIMENSION, EMBEDDER, LLM, path  # noqa: E402
from circumstances import circumstances  # noqa: E402
from client import SseSession, sessions  # noqa: E402
from measuring import closed_loop, percentile  # noqa: E402
from rows.under_load import search  # noqa: E402
from servers import OURS, REFERENCE, Contender, Process, clean, fake_models, stop_on_sigterm  # noqa: E402
from texts import memories  # noqa: E402

from support.processes import tablestore_environ  # noqa: E402
from tablestore_emulator.testing import Emulator  # noqa: E402

READS = ("GetRow", "GetRange", "BatchGetRow", "Search")
SAMPLES = 9
WARM = 4  # searches, after which a large scope is read as a whole, in the background
READ_IN_BACKGROUND = 1_000.0  # memories a second, at least
LAG_WINDOW = 65.0  # seconds: what was written in the last minute is read again by every search of a large scope


@dataclass(frozen=True, slots=True)
class Point:
    """At `n` memories or sessions. `reads`: calls of Tablestore per search; `units`: read units of its rows."""

    n: int
    first_ms: float
    p50_ms: float
    per_second: float
    memory_mb: float
    reads: float
    units: float


class Reads:
    """What was read since it was made."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._before = self._now()

    def since(self) -> tuple[int, int]:
        """(calls, units)"""
        calls, units = self._now()
        return calls - self._before[0], units - self._before[1]

    def _now(self) -> tuple[int, int]:
        calls = self._emulator.calls()
        return sum(calls.get(api, 0) for api in READS), self._emulator.units()["read"]


def by_memories(contender: Contender, emulator: Emulator, sizes: list[int]) -> list[Point]:
    for size in sizes:
        _say(f"{contender.name}: putting {size:,} memories into place")
        _seed(contender, emulator, [seeding.Seed(f"of{size}", memories(size))])
        if contender.name == "ours":
            _ask(contender, emulator, size)  # makes the search index, if it needs one
    time.sleep(LAG_WINDOW)
    points = []
    for size in sizes:
        _say(f"{contender.name}: {size:,} memories")
        points.append(_ask(contender, emulator, size))
    return points


def _ask(contender: Contender, emulator: Emulator, size: int) -> Point:
    async def asked(process: Process) -> Point:
        session = await SseSession.open(process.port, path(f"of{size}"))
        begin = time.perf_counter()
        await search(session)
        first = time.perf_counter() - begin
        for _ in range(WARM):
            await search(session)
        await asyncio.sleep(min(30.0, size / READ_IN_BACKGROUND))
        reads = Reads(emulator)
        load = await closed_loop(process, [session], search, seconds=0, calls=SAMPLES)
        calls, units = reads.since()
        session.close()
        if load.failures:
            raise RuntimeError(f"{contender.name}, {size} memories: {load.failures[0]}")
        return _point(size, first, load.latencies, load.rate, process, calls, units)

    process = contender.start()
    try:
        return asyncio.run(asked(process))
    finally:
        process.kill()


def by_sessions(contender: Contender, emulator: Emulator, numbers: list[int], seconds: float) -> list[Point]:
    _say(f"{contender.name}: memories of {max(numbers)} users")
    _seed(contender, emulator, [seeding.Seed(f"user{i}", memories(10)) for i in range(max(numbers))])
    points = []
    for number in numbers:
        _say(f"{contender.name}: {number} sessions")
        process = contender.start()
        try:
            points.append(asyncio.run(_at_once(contender, process, emulator, number, seconds)))
        finally:
            process.kill()
    return points


async def _at_once(contender: Contender, process: Process, emulator: Emulator, number: int, seconds: float) -> Point:
    slow = contender.name == "reference" and number > 8
    async with sessions(process.port, [path(f"user{i}") for i in range(number)]) as opened:
        begin = time.perf_counter()
        await search(opened[0])
        first = time.perf_counter() - begin
        if not slow:
            await closed_loop(process, opened, search, seconds=0, calls=1)
        reads = Reads(emulator)
        load = await closed_loop(process, opened, search, seconds=seconds, calls=1 if slow else None)
        calls, units = reads.since()
    if load.failures:
        raise RuntimeError(f"{contender.name}, {number} sessions: {load.failures[0]}")
    return _point(number, first, load.latencies, load.rate, process, calls, units)


def _point(n: int, first: float, took: list[float], rate: float, process: Process, calls: int, units: int) -> Point:
    figures = first * 1e3, percentile(took, 0.5) * 1e3, rate, process.resident(), calls / len(took), units / len(took)
    return Point(n, *(round(figure, 2) for figure in figures))


def _seed(contender: Contender, emulator: Emulator, seeds: list[seeding.Seed]) -> None:
    if contender.name == "ours":
        seeding.ours(contender.variables, seeds)
    else:
        seeding.reference(emulator, seeds, DIMENSION)


def measured(name: str, memories: list[int], numbers: list[int], seconds: float) -> dict[str, list[dict[str, Any]]]:
    """All points of one contender, on an emulator of its own."""
    with tempfile.TemporaryDirectory() as home, Emulator() as emulator, fake_models(LLM, EMBEDDER) as models:
        environ = clean(Path(home) / "server", models, **tablestore_environ(emulator))
        environ |= {"TABLESTORE_VECTOR_DIMENSION": str(DIMENSION), "MAX_MEMORIES": "1000000"}
        if name == "reference":
            del environ["STORE"]
        contender = Contender(name, OURS if name == "ours" else (REFERENCE,), environ, Path(home) / "log")
        if name == "reference":
            contender.start().kill()  # makes its table and its index
        found = {
            "sessions": by_sessions(contender, emulator, numbers, seconds),
            "memories": by_memories(contender, emulator, memories),
        }
        return {what: [asdict(point) for point in points] for what, points in found.items()}


def main() -> None:
    stop_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=_numbers, default=[100, 1_000, 10_000, 100_000], metavar="N,N")
    parser.add_argument("--sessions", type=_numbers, default=[1, 4, 16, 64, 256, 512], metavar="N,N")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one measurement")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", metavar="FOLDER")
    parser.add_argument("--without-reference", action="store_true")
    parser.add_argument("--draw-only", action="store_true", help="the pictures of the scaling.json that is there")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)  # before the half hour, not after it
    data = arguments.out / "scaling.json"
    if not arguments.draw_only:
        document = {**circumstances(), "embedder_seconds": EMBEDDER, "dimension": DIMENSION}
        for name in ["ours"] if arguments.without_reference else ["ours", "reference"]:
            document[name] = measured(name, arguments.memories, arguments.sessions, arguments.seconds)
            table.write(data, document)  # what is there is not lost if the next one fails
    pictures.draw(json.loads(data.read_text()), arguments.out)


def _numbers(text: str) -> list[int]:
    return sorted({int(part) for part in text.split(",")})


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
