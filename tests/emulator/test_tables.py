"""CreateTable, DescribeTable, UpdateTable, ListTable, DeleteTable."""

from typing import Any

import pytest
import tablestore as ots
from tablestore.protobuf import table_store_pb2 as pb

from support.emulator import Emulator, connect
from support.tables import create_table, get, put, refused


def test_a_table_is_described_as_it_was_created(client: Any) -> None:
    key, defined = [("z", "STRING"), ("a", "INTEGER"), ("m", "BINARY")], [("d", "DOUBLE"), ("s", "STRING")]
    meta = ots.TableMeta("described", key, defined)
    client.create_table(
        meta, ots.TableOptions(86400, 3, 3600, allow_update=False), ots.ReservedThroughput(ots.CapacityUnit(5, 7))
    )
    found = client.describe_table("described")
    assert found.table_meta.schema_of_primary_key == key
    assert sorted(found.table_meta.defined_columns) == defined
    options = found.table_options
    assert (options.time_to_live, options.max_version, options.max_time_deviation) == (86400, 3, 3600)
    assert options.allow_update is False
    units = found.reserved_throughput_details.capacity_unit
    assert (units.read, units.write) == (5, 7)


def test_defaults_are_the_services(client: Any, make_table: Any) -> None:
    options = client.describe_table(make_table()).table_options
    assert (options.time_to_live, options.max_version, options.max_time_deviation) == (-1, 1, 86400)


def test_other_sdks_find_the_status_that_they_require(emulator: Emulator, client: Any, make_table: Any) -> None:
    """Field 4, table_status: missing in the Python SDK's protocol file, required in the others'."""
    request = pb.DescribeTableRequest(table_name=make_table())
    context_free = client.protocol
    _, headers, body = context_free.make_request("DescribeTable", client._signer, _context(client), request.table_name)
    _, _, _, answer = client.connection.send_receive("/DescribeTable", headers, body)
    described = pb.DescribeTableResponse()
    described.ParseFromString(answer)
    assert answer.endswith(b"\x20\x01")
    assert described.table_meta.table_name == request.table_name


def _context(client: Any) -> Any:
    from tablestore.auth import RequestContext

    return RequestContext(client.credentials_provider.get_credentials())


def test_tables_come_and_go(client: Any) -> None:
    create_table(client, "comes")
    put(client, "comes", [("a", "x"), ("b", 1)], [("c", 1)])
    with refused("OTSObjectAlreadyExist", 409, "already exists"):
        create_table(client, "comes")
    assert "comes" in client.list_table()
    client.delete_table("comes")
    assert "comes" not in client.list_table()
    for call in (client.delete_table, client.describe_table):
        with refused("OTSObjectNotExist", 404):
            call("comes")
    create_table(client, "comes")
    assert get(client, "comes", [("a", "x"), ("b", 1)]) is None


def test_a_refused_change_of_options_changes_nothing(client: Any, make_table: Any) -> None:
    table = make_table()
    with refused("OTSParameterInvalid", 400):
        client.update_table(table, ots.TableOptions(time_to_live=90000, max_version=0, max_time_deviation=None))
    assert client.describe_table(table).table_options.time_to_live == -1


def test_options_change_and_the_rest_stays(client: Any, make_table: Any) -> None:
    table = make_table(max_version=2)
    client.update_table(table, ots.TableOptions(time_to_live=90000, max_version=None, max_time_deviation=None))
    options = client.describe_table(table).table_options
    assert (options.time_to_live, options.max_version, options.max_time_deviation) == (90000, 2, 86400)


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        ("1st", [("a", "STRING")], "Invalid table name: '1st'"),
        ("标签", [("a", "STRING")], "Invalid table name"),
        ("x" * 256, [("a", "STRING")], "Invalid table name"),
        ("bad", [], "number of primary key columns"),
        ("bad", [(n, "STRING") for n in "abcde"], "number of primary key columns"),
        ("bad", [("user-id", "STRING")], "Invalid column name: 'user-id'"),
        ("bad", [("a", "STRING"), ("a", "INTEGER")], "Duplicated primary key name: 'a'"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(client: Any, name: str, key: list[Any], words: str) -> None:
    meta = ots.TableMeta(name, key)
    with refused("OTSParameterInvalid", 400, words):
        client.create_table(meta, ots.TableOptions(), ots.ReservedThroughput(ots.CapacityUnit(0, 0)))
    assert name not in client.list_table()


@pytest.mark.parametrize("options", [{"max_version": 0}, {"time_to_live": 5}, {"max_time_deviation": 0}])
def test_options_that_cannot_be_are_refused(client: Any, options: dict[str, Any]) -> None:
    with refused("OTSParameterInvalid", 400):
        create_table(client, "bad", **options)


def test_an_instance_holds_64_tables() -> None:
    with Emulator() as emulator:
        client = connect(emulator)
        for number in range(64):
            create_table(client, f"t{number}")
        with refused("OTSQuotaExhausted", 403):
            create_table(client, "one_more")
