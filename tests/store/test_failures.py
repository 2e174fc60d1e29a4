"""What a person reads when Tablestore cannot or will not, and how long it takes."""

import random
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.emulator import Emulator
from support.store import Rows, adding, fresh_scope, memory, open_store, remember, texts, updating
from tablestore_openmemory_mcp.errors import LimitExceeded, StoreDenied, StoreError, StoreUnavailable
from tablestore_openmemory_mcp.store.model import Change


@pytest.mark.parametrize("error", ["OTSServerBusy", "OTSPartitionUnavailable", "OTSNotEnoughCapacityUnit"])
def test_passing_trouble_is_waited_out(emulator: Emulator, error: str) -> None:
    store = open_store(emulator).scope(fresh_scope())
    for api in ("GetRow", "UpdateRow", "BatchWriteRow", "GetRange", "BatchGetRow"):
        emulator.fault(apis=api, error=error, times=1)
    remember(store, "a")
    assert texts(store) == ["a"]


@pytest.mark.parametrize("api", ["BatchWriteRow", "BatchGetRow"])
def test_single_rows_of_a_batch(emulator: Emulator, api: str) -> None:
    scope = fresh_scope()
    store, other = (open_store(emulator).scope(scope) for _ in range(2))
    remember(store, "a")
    texts(other)
    emulator.fault(apis=api, error="OTSRowOperationConflict", per_row=True, times=3)
    remember(store, "b", "c", "d")
    assert texts(other) == ["a", "b", "c", "d"]


def test_throttled_beyond_the_deadline(emulator: Emulator) -> None:
    store = open_store(emulator).scope(fresh_scope())
    base = store.snapshot()
    emulator.fault(error="OTSServerBusy")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="busy or throttling") as e:
        store.commit(adding("a"), base=base, deadline=time.monotonic() + 1)
    assert e.value.retry
    assert time.monotonic() - began < 10
    emulator.clear_faults()
    assert texts(store) == []


def test_a_quota_is_not_waited_for(emulator: Emulator) -> None:
    store = open_store(emulator).scope(fresh_scope())
    base = store.snapshot()
    emulator.fault(apis="UpdateRow", error="OTSQuotaExhausted", message="The storage quota is used up.")
    before = emulator.calls().get("UpdateRow", 0)
    with pytest.raises(StoreError, match=r"can take no more.*storage quota.*TABLESTORE_ENDPOINT"):
        store.commit(adding("a"), base=base)
    assert emulator.calls()["UpdateRow"] == before + 1


def test_slow_beyond_the_deadline(emulator: Emulator) -> None:
    store = open_store(emulator).scope(fresh_scope())
    base = store.snapshot()
    emulator.fault(apis=["UpdateRow", "GetRow"], delay=30)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"in time|too long"):
        store.commit(adding("a"), base=base, deadline=time.monotonic() + 1)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("variable", "value"),
    [("TABLESTORE_ACCESS_KEY_SECRET", "wrong"), ("TABLESTORE_ACCESS_KEY_ID", "nobody")],
)
def test_wrong_key(emulator: Emulator, variable: str, value: Any) -> None:
    with pytest.raises(StoreDenied, match="TABLESTORE_ACCESS_KEY_ID") as e:
        open_store(emulator, **{variable: value}).ping()
    assert not e.value.retry
    assert emulator.secret not in str(e.value)


def test_wrong_instance(emulator: Emulator) -> None:
    with pytest.raises(StoreDenied, match="TABLESTORE_INSTANCE_NAME"):
        open_store(emulator, TABLESTORE_INSTANCE_NAME="other").ping()


@pytest.mark.parametrize(
    "endpoint", ["https://127.0.0.1:{port}", "http://127.0.0.1:99999", "http://127.0.0.1:abc", "http://a..b"]
)
def test_wrong_endpoint(emulator: Emulator, endpoint: str) -> None:
    port = emulator.endpoint.rpartition(":")[2]
    with pytest.raises(StoreUnavailable, match="TABLESTORE_ENDPOINT"):
        open_store(emulator, TABLESTORE_ENDPOINT=endpoint.format(port=port)).ping()


def test_no_permission(emulator: Emulator) -> None:
    store = open_store(emulator)
    store.ping()
    emulator.fault(error="OTSNoPermissionAccess")
    with pytest.raises(StoreDenied, match="not permit"):
        store.ping()


def test_expired_token_and_rotation() -> None:
    with Emulator() as emulator:
        emulator.add_credential("STS.old", "s1", "t1", expires_at=time.time() - 1)
        emulator.add_credential("STS.new", "s2", "t2", expires_at=time.time() + 1000)
        keys = {"TABLESTORE_ACCESS_KEY_ID": "STS.old", "TABLESTORE_ACCESS_KEY_SECRET": "s1"}
        store = open_store(emulator, **keys, TABLESTORE_STS_TOKEN="t1")
        with pytest.raises(StoreDenied, match="TABLESTORE_STS_TOKEN"):
            store.ping()
        store.use_credentials("STS.new", "s2", "t2")
        store.ping()
        store.use_credentials("STS.old", "s1", "t1")
        with pytest.raises(StoreDenied):
            store.ping()


def test_gone_and_back(tmp_path: Path) -> None:
    scope = fresh_scope()
    with Emulator(tmp_path) as emulator:
        store = open_store(emulator).scope(scope)
        remember(store, "a")
        port = emulator.endpoint.rpartition(":")[2]
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"cannot be reached.*TABLESTORE_ENDPOINT"):
        store.snapshot()
    assert time.monotonic() - began < 10
    with Emulator(tmp_path, options=["--port", port]):
        remember(store, "b")
        assert texts(store) == ["a", "b"]


def test_nobody_there(emulator: Emulator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(StoreUnavailable, match="TABLESTORE_ENDPOINT"):
        open_store(emulator, TABLESTORE_ENDPOINT=f"http://127.0.0.1:{port}").ping()


def test_something_else_there(emulator: Emulator) -> None:
    """A web server that answers 404 to everything is not a Tablestore."""

    def answer(server: Any) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot found")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(StoreError, match="TABLESTORE_ENDPOINT"):
            open_store(emulator, TABLESTORE_ENDPOINT=f"http://127.0.0.1:{port}").ping()
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_wrong_clock() -> None:
    with Emulator(clock_skew=3600) as emulator, pytest.raises(StoreError, match=r"clock|time") as e:
        open_store(emulator).ping()
    assert not isinstance(e.value, StoreUnavailable)


def test_full(emulator: Emulator) -> None:
    store = open_store(emulator, MAX_MEMORIES="3").scope(fresh_scope())
    remember(store, "a", "b")
    with pytest.raises(LimitExceeded, match="MAX_MEMORIES"):
        remember(store, "c", "d")
    remember(store, "c")
    assert len(texts(store)) == 3


def incompressible(characters: int) -> str:
    return "".join(random.Random(0).choices([chr(0x4E00 + i) for i in range(20_000)], k=characters))


def test_too_much_for_one_commit(emulator: Emulator) -> None:
    store = open_store(emulator).scope(fresh_scope())
    noise = incompressible(1_200_000)
    with pytest.raises(LimitExceeded, match="one commit"):
        remember(store, *(noise[i : i + 4000] for i in range(0, len(noise), 4000)))
    assert texts(store) == []


def test_texts_at_their_limit(emulator: Emulator) -> None:
    """MAX_TEXT_LENGTH may be 500,000 characters; a commit of one such text fits."""
    scope = fresh_scope()
    text = incompressible(500_000)
    remember(open_store(emulator).scope(scope), text)
    assert texts(open_store(emulator).scope(scope)) == [text]


@pytest.mark.parametrize(
    "given",
    [
        {"text": "\U0001d160" * 200_000},  # each is three characters in Unicode NFC, and four bytes each in UTF-8
        {"text": "x" * 3_000_000},
        {"metadata": {"x": "y" * 3_000_000}},
        {"expires_at": 2**63},
        {"id": "é" * 600},
    ],
    ids=["nfc", "text", "metadata", "number", "id"],
)
def test_what_no_row_can_hold_is_refused_before_it_is_decided(emulator: Emulator, given: Any) -> None:
    """It may well fit into the redo record, which is compressed; then nobody could ever write its rows."""
    scope = fresh_scope()
    store = open_store(emulator).scope(scope)
    (old,) = remember(store, "old")
    given = {k: unicodedata.normalize("NFC", v) if isinstance(v, str) else v for k, v in given.items()}
    new = replace(memory("new"), **given)
    with pytest.raises(LimitExceeded):
        store.commit([Change("ADD", new.id, new)], base=store.snapshot())
    if "text" in given:
        with pytest.raises(LimitExceeded):
            store.commit([updating(old, given["text"])], base=store.snapshot())
    remember(open_store(emulator).scope(scope), "next")
    assert texts(store) == ["old", "next"]
    Rows(emulator, scope).audit()


def test_long_texts_replace_each_other(emulator: Emulator) -> None:
    """The history row of the second holds both."""
    scope = fresh_scope()
    store = open_store(emulator).scope(scope)
    (old,) = remember(store, "x" * 2_000_000)
    store.commit([updating(old, "y" * 2_000_000)], base=store.snapshot())
    assert texts(open_store(emulator).scope(scope)) == ["y" * 2_000_000]
    Rows(emulator, scope).audit()


def test_opening_needs_no_network_and_no_sdk(emulator: Emulator) -> None:
    code = """
import sys
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.store import TablestoreStore
TablestoreStore.open(Settings.load({}))
TablestoreStore.open(Settings.load({"TABLESTORE_ENDPOINT": "http://192.0.2.1", "TABLESTORE_INSTANCE_NAME": "x",
  "TABLESTORE_ACCESS_KEY_ID": "x", "TABLESTORE_ACCESS_KEY_SECRET": "x", "MEMORY_PIPELINE": "verbatim"}))
assert not {"tablestore", "numpy", "urllib3"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_logs_hold_no_text(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    store = open_store(emulator).scope(fresh_scope())
    remember(store, "a very private fact")
    emulator.fault(apis="BatchWriteRow", error="OTSParameterInvalid")
    remember(store, "another private fact")
    assert "finishes it" in caplog.text
    assert "private" not in caplog.text
    assert emulator.secret not in caplog.text
