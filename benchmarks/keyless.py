"""What a person without a key gets, as their client sees it. A server of its own, as `make run` starts one, is told the
facts of our everyday set over SSE by each person's client, and asked. Prints recall by kind, the time of a search, and
what the process takes.

    python benchmarks/keyless.py                # recall, and search times
    python benchmarks/keyless.py --size 1000    # the times in a memory of so many
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.client.sse import sse_client
from question_sets import Conversation, Use, everyday

WITHIN = 5  # the first so many results
_TIMED = 200  # searches in the large memory
_LISTENING = "listening  http://"
_LOADED = "the local embedder is there"


@dataclass(slots=True)
class Server:
    """A running server; `log` is what it printed."""

    process: "subprocess.Popen[bytes]"
    log: Path
    began: float

    def url(self, user: str) -> str:
        return f"http://127.0.0.1:{self._port()}/mcp/keyless/sse/{user}"

    def _port(self) -> int:
        line = next(line for line in self.log.read_text().splitlines() if line.startswith(_LISTENING))
        return int(line.rpartition(":")[2])

    def wait_for(self, said: str) -> float:
        """Seconds from its start until it said so."""
        while said not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() - self.began > 120:
                raise SystemExit(self.log.read_text())
            time.sleep(0.01)
        return time.monotonic() - self.began

    def megabytes(self) -> float:
        """Resident, of the process itself (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(embedder: str) -> Iterator[Server]:
    """As `make run` starts it, with nothing set but where its data is, and a port of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {"PATH": os.environ["PATH"], "HOME": folder, "STORE": "embedded", "SERVER_PORT": "0"}
        environ |= {"SERVER_HOST": "127.0.0.1", "EMBEDDER": embedder, "MAX_REQUESTS_PER_MINUTE": "100000"}
        log = Path(folder) / "log"
        began = time.monotonic()
        with log.open("wb") as out:
            command = [sys.executable, "-m", "tablestore_openmemory_mcp", "--transport=sse"]
            process = subprocess.Popen(command, env=environ, stdout=out, stderr=out)
        try:
            yield Server(process, log, began)
        finally:
            process.terminate()
            process.wait(30)


async def called(client: Client, tool: str, **arguments: str) -> Any:
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise SystemExit(answer.content[0].text)  # type: ignore[union-attr]
    return json.loads(answer.content[0].text)  # type: ignore[union-attr]


async def asked(server: Server, person: Conversation, times: list[float]) -> dict[str, list[float]]:
    """Recall of each question, by kind; how long each took, in ms, goes to `times`."""
    found: dict[str, list[float]] = defaultdict(list)
    async with Client(sse_client(server.url(person.name.replace(" ", "-")))) as client:
        for text in person.memories.values():
            await called(client, "add_memories", text=text)
        for question in person.questions:
            began = time.perf_counter()
            hits = await called(client, "search_memories", query=question.text)
            times.append(1000 * (time.perf_counter() - began))
            first = {hit["memory"] for hit in hits[:WITHIN]}
            wanted = {person.memories[id_] for id_ in question.evidence}
            found[question.kind].append(len(first & wanted) / min(WITHIN, len(wanted)))
    return found


def recall(server: Server, people: Sequence[Conversation]) -> None:
    """Print it."""
    times: list[float] = []
    found: dict[str, list[float]] = defaultdict(list)
    for person in people:
        for kind, shares in asyncio.run(asked(server, person, times)).items():
            found[kind] += shares
    for kind, shares in sorted(found.items()):
        print(f"{kind:<14}{len(shares):>5}{100 * statistics.mean(shares):>8.1f}")
    every = [share for shares in found.values() for share in shares]
    print(f"{'all':<14}{len(every):>5}{100 * statistics.mean(every):>8.1f}   recall@{WITHIN}, %")
    print(f"a search in about {len(people[0].memories)} memories: {_percentiles(times)}")


async def timed(server: Server, people: Sequence[Conversation], size: int) -> None:
    """How long a search takes in a memory of `size`, whose texts are the set's, each with a number."""
    texts = [text for person in people for text in person.memories.values()]
    queries = [question.text for person in people for question in person.questions]
    async with Client(sse_client(server.url("large"))) as client:
        for n in range(size):
            await called(client, "add_memories", text=f"{texts[n % len(texts)]} ({n})")
        times = []
        for query in (queries * _TIMED)[: _TIMED + 20]:
            began = time.perf_counter()
            await called(client, "search_memories", query=query)
            times.append(1000 * (time.perf_counter() - began))
        before = server.cpu_seconds()
        for query in queries[:_TIMED]:
            await called(client, "search_memories", query=query)
        cpu = 1000 * (server.cpu_seconds() - before) / len(queries[:_TIMED])
    print(f"a search in {size} memories: {_percentiles(times[20:])}, {cpu:.1f} ms of the server's processor")


def _percentiles(times: Sequence[float]) -> str:
    cuts = statistics.quantiles(times, n=20)
    return f"p50 {cuts[9]:.1f} ms, p95 {cuts[18]:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--embedder", default="auto", help="EMBEDDER of the server: auto (default), none")
    parser.add_argument("--use", choices=["choose", "report"], help="only one half of the people")
    parser.add_argument("--size", type=int, default=0, help="also time searches in a memory of so many")
    arguments = parser.parse_args()
    use: Use | None = arguments.use
    people = everyday(use)
    with serving(arguments.embedder) as server:
        opened = server.wait_for(_LISTENING)
        loaded = server.wait_for(_LOADED) if arguments.embedder != "none" else opened
        print(f"the port is open after {opened:.1f} s, the embedder is there after {loaded:.1f} s")
        recall(server, people)
        if arguments.size:
            asyncio.run(timed(server, people, arguments.size))
        print(f"{server.megabytes():.0f} MB resident, the local store's process not counted")


if __name__ == "__main__":
    main()
