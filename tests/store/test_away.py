"""A store that is away, refuses, or swallows what it is sent: nobody queues up, or waits past a deadline."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.emulator import Emulator
from support.store import fresh_scope, open_store, remember, texts
from tablestore_openmemory_mcp.errors import StoreError, StoreUnavailable
from tablestore_openmemory_mcp.single_flight import SharedAttempt

CALLS = 6


def all_at_once(work: Callable[[], object], count: int = CALLS) -> list[tuple[float, StoreError | None]]:
    """How many seconds each took, and what it raised."""

    def timed(_: object) -> tuple[float, StoreError | None]:
        began = time.monotonic()
        try:
            work()
        except StoreError as e:
            return time.monotonic() - began, e
        return time.monotonic() - began, None

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(timed, range(count)))


def test_first_calls_do_not_queue_up(emulator: Emulator) -> None:
    """Throttled for good: the deadline of each is what counts, and there is one attempt for all."""
    emulator.fault(error="OTSServerBusy")
    store = open_store(emulator)
    before = sum(emulator.calls().values())
    results = all_at_once(lambda: store.scope(fresh_scope()).snapshot(deadline=time.monotonic() + 2))
    assert all(took < 5 and isinstance(e, StoreUnavailable) for took, e in results)
    assert sum(emulator.calls().values()) - before < 12  # one caller's, with its growing pauses
    emulator.clear_faults()
    store.ping()


def test_one_waits_no_longer_than_it_can_and_the_attempt_goes_on(emulator: Emulator) -> None:
    emulator.fault(apis="GetRow", delay=3, times=1)
    store = open_store(emulator)
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(store.ping)
        time.sleep(0.2)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.scope(fresh_scope()).snapshot(deadline=time.monotonic() + 0.3)
        assert time.monotonic() - began < 2
        patient.result(30)
    assert texts(store.scope(fresh_scope())) == []


def test_a_crowd_at_a_cold_scope(emulator: Emulator) -> None:
    scope = fresh_scope()
    remember(open_store(emulator).scope(scope), "a")
    store = open_store(emulator)
    store.ping()
    emulator.fault(apis="GetRange", error="OTSServerBusy")
    results = all_at_once(lambda: store.scope(scope).snapshot(deadline=time.monotonic() + 2))
    assert all(took < 4 and isinstance(e, StoreUnavailable) for took, e in results)


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Connections to it are neither taken nor refused: its backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        yield f"http://127.0.0.1:{address[1]}"
        for filler in fillers:
            filler.close()


def test_what_swallows_connections_is_said_to_be_away_at_once(
    emulator: Emulator, black_hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tablestore_openmemory_mcp.store.client import transport

    monkeypatch.setattr(transport, "CONNECT_SECONDS", 1.0)
    store = open_store(emulator, TABLESTORE_ENDPOINT=black_hole)
    with pytest.raises(StoreUnavailable, match=r"cannot be reached.*TABLESTORE_ENDPOINT"):
        store.ping()
    results = all_at_once(store.ping)
    assert sum(took < 0.5 for took, _ in results) >= CALLS - 1  # one may look
    assert all("cannot be reached" in str(e) for _, e in results)


def test_a_return_is_noticed(tmp_path: Path) -> None:
    """However often it was found away; a store that refuses connections is looked at by each call."""
    with Emulator(tmp_path) as emulator:
        store = open_store(emulator).scope(fresh_scope())
        remember(store, "a")
        port = emulator.endpoint.rpartition(":")[2]
    for _ in range(5):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"cannot be reached"):
            store.snapshot()
    assert time.monotonic() - began < 1  # the last one did not try four times
    with Emulator(tmp_path, options=["--port", port]):
        assert texts(store) == ["a"]


def test_throttling_is_no_absence(emulator: Emulator) -> None:
    store = open_store(emulator).scope(fresh_scope())
    remember(store, "a")
    emulator.fault(error="OTSServerBusy")
    with pytest.raises(StoreUnavailable, match="throttling"):
        store.snapshot(deadline=time.monotonic() + 0.5)
    emulator.clear_faults()
    assert texts(store) == ["a"]


def test_an_attempt_is_shared_and_its_failure_too() -> None:
    runs, go = [], threading.Event()

    def work() -> None:
        runs.append(1)
        go.wait(30)
        raise StoreError("no", setting="X")

    attempt = SharedAttempt(work, "late")
    with pytest.raises(StoreUnavailable, match="late"):
        attempt.result(time.monotonic() + 0.05)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(attempt.result, None) for _ in range(8)]
        time.sleep(0.2)
        go.set()
        raised = [w.exception(30) for w in waiting]
    assert len(runs) == 1
    assert {str(e) for e in raised} == {"no (see X)"}
    assert len({id(e) for e in raised}) == 8
    with pytest.raises(StoreError, match="no"):
        attempt.result(None)
    assert len(runs) == 2
