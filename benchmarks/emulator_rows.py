"""How fast the emulator's rows are: prints figures, asserts nothing.

    python benchmarks/emulator_rows.py [--rows 100000] [--python PYTHON]

"wire" figures replay requests that the SDK has encoded and signed beforehand, over plain sockets, and so measure the
emulator; "SDK" figures are what a Python program with 16 threads sees, and measure mostly its own codec.
"""

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tablestore as ots
from tablestore.auth import RequestContext

from tablestore_emulator.testing import Emulator

CONNECTIONS = 16
DIMENSION = 1536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows on disk when the start is measured")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the emulator")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("in memory", None), ("on disk", Path(folder) / "a")):
            with Emulator(data, python=args.python) as emulator:
                print(f"-- {name}")
                small_rows(emulator)
                vectors(emulator)
        start(Path(folder) / "b", args.rows, args.python)


def small_rows(emulator: Emulator) -> None:
    """PutRow, GetRow and BatchWriteRow of 1 KB rows."""
    client = connect(emulator, max_connection=CONNECTIONS)
    create(client, "small")
    text = "x" * 1000

    def row(i: int) -> Any:
        return ots.Row([("user", f"u{i % 16}"), ("id", f"{i:08}")], [("text", text)])

    count = 8000
    puts = [encode(client, "PutRow", "small", row(i), ots.Condition("IGNORE"), None, None) for i in range(count)]
    report("wire PutRow 1 KB", count, emulator, lambda: asyncio.run(replay(emulator, puts)))
    key = [("user", "u0"), ("id", f"{0:08}")]
    gets = [encode(client, "GetRow", "small", key, None, None, 1, None, None, None, None, None)] * count
    report("wire GetRow 1 KB", count, emulator, lambda: asyncio.run(replay(emulator, gets)))

    def put_some(number: int) -> None:
        for i in range(100):
            client.put_row("small", row(number * 1000 + i))

    report("SDK  PutRow 1 KB", 1600, emulator, lambda: in_threads(put_some))

    def batch_some(number: int) -> None:
        for start in range(0, 400, 200):
            request = ots.BatchWriteRowRequest()
            items = [ots.PutRowItem(row(number * 1000 + start + i), ots.Condition("IGNORE")) for i in range(200)]
            request.add(ots.TableInBatchWriteRowItem("small", items))
            client.batch_write_row(request)

    report("SDK  BatchWriteRow 200 x 1 KB (rows)", 400 * CONNECTIONS, emulator, lambda: in_threads(batch_some))


def vectors(emulator: Emulator) -> None:
    """GetRange of 1,000 rows with a 1,536-dimension float32 vector each (6 MB: two pages)."""
    client = connect(emulator)
    create(client, "vectors")
    for start in range(0, 1000, 200):
        request = ots.BatchWriteRowRequest()
        items = [
            ots.PutRowItem(
                ots.Row([("user", "u"), ("id", f"{i:08}")], [("vector", bytearray(os.urandom(4 * DIMENSION)))]),
                ots.Condition("IGNORE"),
            )
            for i in range(start, start + 200)
        ]
        request.add(ots.TableInBatchWriteRowItem("vectors", items))
        client.batch_write_row(request)

    def scan() -> None:
        start, end = [("user", "u"), ("id", ots.INF_MIN)], [("user", "u"), ("id", ots.INF_MAX)]
        seen = 0
        while start is not None:
            _, start, rows, _ = client.get_range("vectors", "FORWARD", start, end, max_version=1)
            seen += len(rows)
        if seen != 1000:
            raise RuntimeError(f"{seen} rows came back")

    report("SDK  GetRange 1,000 x 1,536 dimensions (scans)", 1, emulator, scan)


def start(folder: Path, rows: int, python: str) -> None:
    """From the process's start until it listens and answers a row, with many rows on disk."""
    with Emulator(folder, python=python) as emulator:
        client = connect(emulator)
        create(client, "many")
        for start in range(0, rows, 200):
            request = ots.BatchWriteRowRequest()
            items = [
                ots.PutRowItem(
                    ots.Row([("user", "u"), ("id", f"{i:08}")], [("text", "x" * 100)]), ots.Condition("IGNORE")
                )
                for i in range(start, min(start + 200, rows))
            ]
            request.add(ots.TableInBatchWriteRowItem("many", items))
            client.batch_write_row(request)
    began = time.perf_counter()
    with Emulator(folder, python=python) as emulator:
        connect(emulator).get_row("many", [("user", "u"), ("id", f"{rows - 1:08}")], max_version=1)
        print(
            f"-- start with {rows:,} rows on disk: {time.perf_counter() - began:.2f} s, {memory(emulator)} MB resident"
        )


def connect(emulator: Emulator, **options: Any) -> Any:
    logging.getLogger("benchmark").setLevel(logging.ERROR)  # an unset level makes the SDK format every request
    return ots.OTSClient(
        emulator.endpoint, emulator.key_id, emulator.secret, emulator.instance, logger_name="benchmark", **options
    )


def create(client: Any, name: str) -> None:
    meta = ots.TableMeta(name, [("user", "STRING"), ("id", "STRING")])
    client.create_table(meta, ots.TableOptions(), ots.ReservedThroughput(ots.CapacityUnit(0, 0)))


def encode(client: Any, api: str, *arguments: Any) -> bytes:
    """One request's bytes, as the SDK would send them."""
    context = RequestContext(client.credentials_provider.get_credentials())
    query, headers, body = client.protocol.make_request(api, client._signer, context, *arguments)
    lines = [f"POST {query} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def replay(emulator: Emulator, requests: Sequence[bytes]) -> None:
    """Send all requests over CONNECTIONS connections, each waiting for its answer."""
    host, _, port = emulator.endpoint.removeprefix("http://").rpartition(":")

    async def one(mine: Sequence[bytes]) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for request in mine:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0]))
        writer.close()

    await asyncio.gather(*(one(requests[n::CONNECTIONS]) for n in range(CONNECTIONS)))


def in_threads(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def report(what: str, count: int, emulator: Emulator, do: Callable[[], None]) -> None:
    used, began = cpu(emulator), time.perf_counter()
    do()
    took, used = time.perf_counter() - began, cpu(emulator) - used
    print(
        f"{what:48} {count / took:8.0f}/s  {took / count * 1e3:7.3f} ms each, {used / count * 1e3:.3f} ms of server CPU"
    )


def cpu(emulator: Emulator) -> float:
    """Seconds of processor time that the emulator has used (Linux; elsewhere 0)."""
    stat = Path(f"/proc/{emulator.pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(emulator: Emulator) -> int:
    status = Path(f"/proc/{emulator.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)


if __name__ == "__main__":
    main()
