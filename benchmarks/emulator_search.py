"""How fast the emulator's search index is, and how much memory it takes.

    python benchmarks/emulator_search.py             the engine alone: KNN, Match, phrase, range, sort
    python benchmarks/emulator_search.py --wire      also over TCP, with the official SDK
    python benchmarks/emulator_search.py --wire      also over TCP with the official SDK, from a data directory
    python benchmarks/emulator_search.py --quick     a tenth of the sizes, to see that it runs

Prints figures; judges nothing. The engine part runs in this process, so the resident memory it reports is the index's.
"""

import argparse
import logging
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "emulator"))

from tablestore_emulator.search.query.queries import (
    Bool,
    FieldSort,
    Knn,
    Match,
    MatchAll,
    MatchPhrase,
    Query,
    Range,
    Request,
    ScoreSort,
    Terms,
)
from tablestore_emulator.search.schema import FieldSpec, FieldType, IndexSpec
from tablestore_emulator.search.search_index import SearchIndex
from tablestore_emulator.search.values import Row

DIMENSION = 1536
TOPICS = ["代码", "偏好", "变量", "命名", "旅行", "北京", "上海", "高铁", "酒店", "预算"]
TOPICS += ["咖啡", "早餐", "会议", "项目", "缓存", "测试", "部署", "日志", "安全", "数据库"]
WORDS = [f"word{n}" for n in range(5000)]
SPEC = IndexSpec.of(
    ("user", "id"),
    FieldSpec("user", FieldType.KEYWORD),
    FieldSpec("text", FieldType.TEXT),
    FieldSpec("at", FieldType.LONG),
    FieldSpec("vector", FieldType.VECTOR, dimension=DIMENSION),
)


def megabytes() -> float:
    """Resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def rows(count: int, *, vectors: bool) -> Iterator[tuple[bytes, Row]]:
    chance = random.Random(1)
    numbers = np.random.default_rng(1)
    for n in range(count):
        text = "".join(chance.choices(TOPICS, k=6)) + " " + " ".join(chance.choices(WORDS, k=6))
        columns = {"user": f"user{n % 100}", "id": n, "text": text, "at": n}
        if vectors:
            columns["vector"] = numbers.standard_normal(DIMENSION, np.float32).tobytes()
        yield n.to_bytes(8, "big"), Row(columns)


def timed(name: str, call: Callable[[], object], repeats: int = 9) -> None:
    """Prints wall times, and this process's own CPU time, which other work on the machine disturbs less."""
    call()
    walls, cpus = [], []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        call()
        cpus.append((time.process_time() - cpu) * 1e3)
        walls.append((time.perf_counter() - start) * 1e3)
    wall, own = statistics.median(walls), statistics.median(cpus)
    print(f"  {name:<42} median {wall:8.2f} ms   worst {max(walls):8.2f} ms   own CPU {own:7.2f} ms")


def fill(count: int, *, vectors: bool) -> SearchIndex:
    before, start = megabytes(), time.perf_counter()
    index = SearchIndex(SPEC)
    for key, row in rows(count, vectors=vectors):
        index.apply(key, row)
    seconds, grown = time.perf_counter() - start, megabytes() - before
    size = count * DIMENSION * 4 / 1e6 if vectors else 0
    print(
        f"  {count:,} rows in {seconds:.1f} s ({count / seconds:,.0f}/s, generating them included); +{grown:.0f} MB",
        end="",
    )
    print(f", the vectors alone {size:.0f} MB: {grown / size:.2f} times" if vectors else "")
    return index


def knn(count: int) -> None:
    print(f"KNN over {count:,} x {DIMENSION}")
    index = fill(count, vectors=True)
    numbers = np.random.default_rng(2)

    def ask(filter: Query | None = None) -> None:
        vector = tuple(numbers.standard_normal(DIMENSION).tolist())
        index.search(Request(Knn("vector", vector, 10, filter), sort=(ScoreSort(),)))

    timed("top 10", ask)
    timed("top 10 of one user in a hundred", lambda: ask(Terms("user", ("user7",))))
    timed("top 10 of half the rows", lambda: ask(Range("at", low=count // 2)))


def text(count: int) -> None:
    print(f"Text, numbers and keywords over {count:,}")
    index = fill(count, vectors=False)

    def search(query: Query, *sort: ScoreSort | FieldSort) -> Callable[[], object]:
        request = Request(query, sort=sort) if sort else Request(query)
        return lambda: index.search(request)

    timed("Match, 8 common tokens, by score", search(Match("text", "北京高铁 酒店预算"), ScoreSort()))
    timed("Match, one rare token, by score", search(Match("text", "word42"), ScoreSort()))
    mine = Bool(must=(Match("text", "北京的酒店"),), filter=(Terms("user", ("user7",)),))
    timed("Match of one user in a hundred, by score", search(mine, ScoreSort()))
    timed("MatchPhrase, 4 characters", search(MatchPhrase("text", "北京高铁"), ScoreSort()))
    timed("Range over half, primary key order", search(Range("at", low=count // 2)))
    timed("MatchAll by a field, descending", search(MatchAll(), FieldSort("at", descending=True)))
    number = iter(range(count, 10**9))

    def write() -> None:
        n = next(number)
        index.apply(n.to_bytes(8, "big"), Row({"user": "new", "id": n, "text": "新的记忆", "at": n}))

    timed("one row written", write, 99)
    timed("one row written, then Match by score", lambda: (write(), search(Match("text", "新的"), ScoreSort())()))


def wire(count: int) -> None:
    """Write with one process, then start another on the same directory: its first search loads the vectors."""
    import tablestore as ots

    from tablestore_emulator.testing import Emulator

    def connect(emulator: Emulator) -> ots.OTSClient:
        logging.getLogger("quiet").setLevel(logging.CRITICAL)
        keys = emulator.key_id, emulator.secret, emulator.instance
        return ots.OTSClient(emulator.endpoint, *keys, logger_name="quiet", socket_timeout=300)

    def searcher(client: ots.OTSClient, query: ots.Query) -> Callable[[], object]:
        by_score = ots.Sort([ots.ScoreSort(ots.SortOrder.DESC)])
        return lambda: client.search("t", "i", ots.SearchQuery(query, limit=10, sort=by_score))

    print(f"Over TCP, {count:,} rows on disk")
    with tempfile.TemporaryDirectory() as directory:
        with Emulator(Path(directory)) as emulator:
            client = connect(emulator)
            options = ots.VectorOptions(ots.VectorDataType.VD_FLOAT_32, ots.VectorMetricType.VM_COSINE, DIMENSION)
            fields = [
                ots.FieldSchema("text", ots.FieldType.TEXT),
                ots.FieldSchema("vector", ots.FieldType.VECTOR, vector_options=options),
            ]
            meta = ots.TableMeta("t", [("user", "STRING"), ("id", "INTEGER")])
            client.create_table(meta, ots.TableOptions(), ots.ReservedThroughput(ots.CapacityUnit(0, 0)))
            client.create_search_index("t", "i", ots.SearchIndexMeta(fields))
            items = (put_item(row) for _, row in rows(count, vectors=True))
            while batch := list(islice(items, 200)):
                request = ots.BatchWriteRowRequest()
                request.add(ots.TableInBatchWriteRowItem("t", batch))
                client.batch_write_row(request)
        start = time.perf_counter()
        with Emulator(Path(directory)) as emulator:
            print(f"  start: {time.perf_counter() - start:.2f} s, {anonymous(emulator.pid):.0f} MB of its own")
            client, knn = connect(emulator), ots.KnnVectorQuery("vector", 10, [1.0] * DIMENSION)
            start = time.perf_counter()
            searcher(client, knn)()
            seconds, size = time.perf_counter() - start, count * DIMENSION * 4 / 1e6
            print(
                f"  first search, which loads: {seconds:.1f} s; then {anonymous(emulator.pid):.0f} MB of its own",
                end="",
            )
            print(f" for {size:.0f} MB of vectors")
            timed("KNN, top 10", searcher(client, knn))
            timed("Match by score", searcher(client, ots.MatchQuery("text", "北京高铁")))


def put_item(row: Row) -> object:
    import tablestore as ots

    values = {n: bytearray(v) if isinstance(v, bytes) else v for n, v in row.columns.items()}  # bytes would be a string
    key = [("user", values.pop("user")), ("id", values.pop("id"))]
    return ots.PutRowItem(ots.Row(key, list(values.items())), ots.Condition("IGNORE"))


def anonymous(pid: int) -> float:
    """Megabytes that are the process's own: not the mapped database file, which the kernel can drop."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    parser.add_argument("--wire", action="store_true", help="also over TCP (writes a data directory of 1 GB)")
    options = parser.parse_args()
    part = 10 if options.quick else 1
    for count in (10_000, 100_000):
        knn(count // part)
    text(100_000 // part)
    if options.wire:
        wire(100_000 // part)


if __name__ == "__main__":
    main()
