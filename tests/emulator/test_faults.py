"""What hurts in production, on demand: by option, by the admin endpoint, by the context manager."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
import tablestore as ots
import urllib3
from tablestore.error import OTSClientError, OTSServiceError
from tablestore.retry import DefaultRetryPolicy

from support.emulator import Emulator, connect
from support.tables import create_table, get, put, refused

KEY: list[tuple[str, Any]] = [("a", "x"), ("b", 1)]


@pytest.fixture(autouse=True)
def no_faults_left(emulator: Emulator) -> Any:
    yield
    emulator.clear_faults()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("OTSServerBusy", 503),
        ("OTSPartitionUnavailable", 503),
        ("OTSTimeout", 503),
        ("OTSServerUnavailable", 503),
        ("OTSInternalServerError", 500),
        ("OTSNotEnoughCapacityUnit", 403),
        ("OTSQuotaExhausted", 403),
        ("OTSRowOperationConflict", 409),
        ("OTSTableNotReady", 404),
    ],
)
def test_an_error_before_the_write(emulator: Emulator, client: Any, make_table: Any, code: str, status: int) -> None:
    table = make_table()
    emulator.fault(apis="PutRow", error=code, times=1)
    with refused(code, status):
        put(client, table, KEY, [])
    assert get(client, table, KEY) is None
    put(client, table, KEY, [])
    assert get(client, table, KEY) == {}


def test_an_error_after_the_write_took_effect(emulator: Emulator, client: Any, make_table: Any) -> None:
    table = make_table()
    emulator.fault(apis=["PutRow", "UpdateRow"], error="OTSTimeout", when="after", times=1)
    with refused("OTSTimeout", 503):
        put(client, table, KEY, [("c", 1)])
    assert get(client, table, KEY) == {"c": 1}


def test_an_error_after_does_not_hide_a_real_one(emulator: Emulator, client: Any) -> None:
    emulator.fault(apis="PutRow", error="OTSTimeout", when="after")
    with refused("OTSObjectNotExist", 404):
        put(client, "nowhere", KEY, [])


@pytest.mark.parametrize(("when", "kept"), [("before", None), ("after", {"c": 1})])
def test_a_dropped_connection(emulator: Emulator, client: Any, make_table: Any, when: str, kept: Any) -> None:
    table = make_table()
    emulator.fault(apis="PutRow", drop=True, when=when, times=1)
    with pytest.raises(urllib3.exceptions.HTTPError):
        put(client, table, KEY, [("c", 1)])
    assert get(client, table, KEY) == kept


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_slow_answer(emulator: Emulator, client: Any, make_table: Any, when: str) -> None:
    table = make_table()
    emulator.fault(apis="PutRow", delay=0.3, when=when, times=1)
    began = time.monotonic()
    put(client, table, KEY, [("c", 1)])
    assert time.monotonic() - began >= 0.3
    impatient = connect(emulator, socket_timeout=0.2)
    emulator.fault(apis="DeleteRow", delay=20, when=when, times=1)
    with pytest.raises(urllib3.exceptions.HTTPError):
        impatient.delete_row(table, KEY, ots.Condition("IGNORE"))
    assert get(client, table, KEY) == ({"c": 1} if when == "before" else None)


def test_single_rows_of_a_batch(emulator: Emulator, client: Any, make_table: Any) -> None:
    table = make_table()
    emulator.fault(apis="BatchWriteRow", error="OTSServerBusy", per_row=True, skip=1, times=1)
    request = ots.BatchWriteRowRequest()
    rows = [ots.PutRowItem(ots.Row([("a", "x"), ("b", n)], []), ots.Condition("IGNORE")) for n in range(3)]
    request.add(ots.TableInBatchWriteRowItem(table, rows))
    done = client.batch_write_row(request)
    assert [item.error_code for item in done.get_put_by_table(table)] == [None, "OTSServerBusy", None]
    assert [get(client, table, [("a", "x"), ("b", n)]) for n in range(3)] == [{}, None, {}]


def test_throttling_goes_away_by_the_sdks_own_retries(emulator: Emulator, make_table: Any) -> None:
    table = make_table()
    client = connect(emulator, retry_policy=DefaultRetryPolicy())
    emulator.fault(apis="PutRow", error="OTSNotEnoughCapacityUnit", times=1)
    put(client, table, KEY, [])
    assert emulator.calls()["PutRow"] >= 2
    assert emulator.faults()["rules"][0]["fired"] == 1


def test_a_table_is_not_ready_at_once(emulator: Emulator, client: Any, make_table: Any) -> None:
    emulator.set_faults(table_ready_after=3600)
    table = make_table()
    with refused("OTSTableNotReady", 404):
        put(client, table, KEY, [])
    with refused("OTSTableNotReady", 404):
        get(client, table, KEY)
    assert table in client.list_table()
    client.describe_table(table)
    emulator.set_faults(table_ready_after=0)
    put(client, table, KEY, [])


def test_a_server_with_a_wrong_clock(emulator: Emulator, client: Any) -> None:
    emulator.set_faults(clock_skew=600)
    client.list_table()
    for skew in (-1000, 1000):
        emulator.set_faults(clock_skew=skew)
        # The server refuses the request; the SDK refuses the answer first, for its date is as far off.
        with pytest.raises((OTSServiceError, OTSClientError)) as caught:
            client.list_table()
        assert "15 minutes" in str(caught.value) or "Mismatch between system time" in str(caught.value)


def outcomes(emulator: Emulator, seed: int) -> list[bool]:
    emulator.set_faults(seed=seed, rules=[{"apis": "ListTable", "error": "OTSServerBusy", "probability": 0.5}])
    client, seen = connect(emulator), []
    for _ in range(40):
        try:
            client.list_table()
            seen.append(True)
        except OTSServiceError:
            seen.append(False)
    return seen


def test_the_seed_decides(emulator: Emulator) -> None:
    assert outcomes(emulator, 7) == outcomes(emulator, 7)
    assert outcomes(emulator, 7) != outcomes(emulator, 8)
    assert 5 < sum(outcomes(emulator, 7)) < 35


def test_rules_are_tried_in_order_and_skip(emulator: Emulator, client: Any) -> None:
    emulator.set_faults(
        rules=[
            {"apis": "ListTable", "error": "OTSServerBusy", "skip": 1, "times": 1},
            {"error": "OTSTimeout", "skip": 2, "times": 1},
        ]
    )
    client.list_table()  # skipped by the first rule, then by the second
    with refused("OTSServerBusy", 503):
        client.list_table()
    client.list_table()  # skipped by the second: it has seen this call and the first
    with refused("OTSTimeout", 503):
        client.list_table()


def test_faults_can_be_set_on_the_command_line() -> None:
    rule = json.dumps({"apis": "ListTable", "error": "OTSServerBusy", "message": "as asked", "times": 1})
    options = [
        "--fault",
        rule,
        "--table-ready-after",
        "3600",
        "--seed",
        "9",
        "--index-lag",
        "2",
        "--replica-lags",
        "0,1",
    ]
    with Emulator(options=options) as emulator:
        client = connect(emulator)
        with refused("OTSServerBusy", 503, "as asked"):
            client.list_table()
        create_table(client, "t")
        with refused("OTSTableNotReady", 404):
            get(client, "t", KEY)
        faults = emulator.faults()
        assert (faults["seed"], faults["index_lag"], faults["replica_lags"]) == (9, 2.0, [0.0, 1.0])


@pytest.mark.parametrize(
    "faults",
    [
        {"rules": [{"apis": "PutRow"}]},
        {"rules": [{"error": "OTSTimeout", "when": "during"}]},
        {"rules": [{"error": "OTSTimeout", "probability": 2}]},
        {"rules": [{"error": "OTSTimeout", "typo": 1}]},
        {"rules": [{"drop": True, "per_row": True}]},
        {"no_such_setting": 1},
        {"index_lag": "soon"},
    ],
)
def test_a_fault_that_cannot_be_is_refused_and_changes_nothing(emulator: Emulator, faults: dict[str, Any]) -> None:
    before = emulator.faults()
    with pytest.raises(urllib.error.HTTPError) as caught:
        emulator.set_faults(clock_skew=1, **faults)
    assert caught.value.code == 400
    assert json.loads(caught.value.read())["error"]
    assert emulator.faults() == before


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic wrong"])
def test_strangers_cannot_reach_the_admin_endpoint(emulator: Emulator, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    request = urllib.request.Request(f"{emulator.endpoint}/_admin/faults", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 401
    caught.value.close()
