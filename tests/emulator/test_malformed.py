"""Requests that no SDK would send: refused with a reason, never a server error, and nothing is left broken."""

import http.client
import random
from typing import Any

import tablestore as ots
from tablestore import ComparatorType, SingleColumnCondition

from support.emulator import Emulator
from support.ots_wire import error_of, signed
from support.tables import get, put

KEY: list[tuple[str, Any]] = [("a", "x"), ("b", 1)]
ENDS = [("a", ots.INF_MIN), ("b", ots.INF_MIN)], [("a", ots.INF_MAX), ("b", ots.INF_MAX)]


def valid_requests(client: Any, table: str) -> list[tuple[str, bytes]]:
    """One request of each API, as the SDK encodes it."""
    encode = client.protocol.encoder.encode_request
    column = SingleColumnCondition("n", 1, ComparatorType.GREATER_THAN)
    condition = ots.Condition("IGNORE", column)
    batch_write, batch_get = ots.BatchWriteRowRequest(), ots.BatchGetRowRequest()
    item = ots.PutRowItem(ots.Row(KEY, [("n", 2), ("s", "text")]), condition)
    batch_write.add(ots.TableInBatchWriteRowItem(table, [item]))
    batch_get.add(ots.TableInBatchGetRowItem(table, [KEY], ["n"], None, 1))
    update = ots.Row(KEY, {"put": [("f", 0.5)], "delete_all": ["s"], "increment": [("n", 1)]})
    meta = ots.TableMeta("new_table", [("k", "STRING")], [("d", "INTEGER")])
    index = ots.SecondaryIndexMeta("new_index", ["k", "d"], [], ots.SecondaryIndexType.LOCAL_INDEX)
    throughput = ots.ReservedThroughput(ots.CapacityUnit(0, 0))
    calls: dict[str, tuple[Any, ...]] = {
        "PutRow": (table, item.row, condition, ots.ReturnType.RT_PK, None),
        "UpdateRow": (table, update, condition, None, None),
        "GetRow": (table, KEY, ["n"], column, 1, (1, 2), "a", "z", None, None),
        "GetRange": (table, "FORWARD", *ENDS, ["n"], 3, column, 1, None, "a", "z", None, None),
        "BatchWriteRow": (batch_write,),
        "BatchGetRow": (batch_get,),
        "CreateTable": (meta, ots.TableOptions(), throughput, None, [index]),
        "DescribeTable": (table,),
    }
    return [(api, bytes(encode(api, *arguments).SerializeToString())) for api, arguments in calls.items()]


def broken(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + rng.randrange(1, 6)]
            case 2:
                changed[at:at] = rng.randbytes(rng.randrange(1, 6))
            case _:
                changed[at] = rng.choice([0, 0x7F, 0x80, 0xFF])
        if not changed:
            break
    return bytes(changed)


def test_broken_requests_are_refused_not_crashed_on(emulator: Emulator, client: Any, make_table: Any) -> None:
    rng, table = random.Random(1), make_table()
    put(client, table, KEY, [("n", 5)])
    connection = http.client.HTTPConnection(emulator.endpoint.removeprefix("http://"), timeout=30)
    requests, seen = valid_requests(client, table), set[int]()
    for number in range(4000):
        api, valid = requests[number % len(requests)]
        body = broken(valid, rng)
        connection.request("POST", f"/{api}", body, signed(emulator, api, body))
        answer = connection.getresponse()
        text = answer.read()
        seen.add(answer.status)
        assert answer.status in (200, 400, 403, 404, 409), (api, body, answer.status)
        assert answer.status == 200 or error_of(text)[0].startswith("OTS")
    connection.close()
    assert {200, 400} <= seen
    put(client, table, KEY, [("n", 6)])
    assert get(client, table, KEY) == {"n": 6}
