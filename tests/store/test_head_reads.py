"""Heads that many wait for at once: few requests, none older than the question, and nobody's error another's."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from support.emulator import Emulator
from support.processes import wait_until
from support.store import fresh_scope, open_store, remember, texts
from tablestore_openmemory_mcp.errors import StoreUnavailable
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.client.requests import MAX_GET_ROWS
from tablestore_openmemory_mcp.store.commit.head_reads import AT_ONCE
from tablestore_openmemory_mcp.store.store import TablestoreStore

SECONDS = 60.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(AT_ONCE + 2 * MAX_GET_ROWS) as pool:
        yield pool


def some_scopes(store: TablestoreStore, count: int) -> list[Scope]:
    scopes = [fresh_scope() for _ in range(count)]
    for n, scope in enumerate(scopes):
        remember(store.scope(scope), f"of {n}")
    return scopes


def read(store: TablestoreStore, scope: Scope) -> list[str]:
    return texts(store.scope(scope))


@contextmanager
def all_busy(emulator: Emulator, store: TablestoreStore, pool: ThreadPoolExecutor) -> Iterator[list["Future[Any]"]]:
    """As many reads are under way as may be, and have read; their answers come after the block at the earliest."""
    busy = some_scopes(store, AT_ONCE)
    before = emulator.calls()["GetRow"]
    emulator.fault(apis="GetRow", delay=1.5, when="after", times=AT_ONCE)
    sent = [pool.submit(texts, store.scope(scope)) for scope in busy]
    wait_until(lambda: emulator.calls()["GetRow"] == before + AT_ONCE, SECONDS)
    yield sent
    assert [each.result(SECONDS) for each in sent] == [[f"of {n}"] for n in range(AT_ONCE)]


def waiting(store: TablestoreStore, pool: ThreadPoolExecutor, work: list[Callable[[], Any]]) -> "list[Future[Any]]":
    sent = [pool.submit(each) for each in work]
    reads = store._built()._head_reads
    wait_until(lambda: len(reads._queue) >= len(work), SECONDS)
    return sent


def test_those_who_wait_are_one_request(emulator: Emulator, pool: ThreadPoolExecutor) -> None:
    store = open_store(emulator)
    scopes = some_scopes(store, 20)
    before = Counter(emulator.calls())
    with all_busy(emulator, store, pool):
        spent = Counter(emulator.calls()) - before
        sent = waiting(store, pool, [partial(read, store, scope) for scope in scopes * 2])
    assert [each.result(SECONDS) for each in sent] == [[f"of {n}"] for n in range(20)] * 2
    assert Counter(emulator.calls()) - before - spent == {"BatchGetRow": 1}


def test_no_more_rows_than_a_request_may_have(emulator: Emulator, pool: ThreadPoolExecutor) -> None:
    store = open_store(emulator)
    scopes = some_scopes(store, 3)
    count = MAX_GET_ROWS + 20
    before = emulator.calls().get("BatchGetRow", 0)
    with all_busy(emulator, store, pool):
        sent = waiting(store, pool, [partial(read, store, scopes[n % 3]) for n in range(count)])
    assert [each.result(SECONDS) for each in sent] == [[f"of {n % 3}"] for n in range(count)]
    assert emulator.calls()["BatchGetRow"] == before + 2


def test_alone_nobody_waits(emulator: Emulator) -> None:
    store = open_store(emulator)
    [scope] = some_scopes(store, 1)
    before = Counter(emulator.calls())
    assert texts(store.scope(scope)) == ["of 0"]
    assert Counter(emulator.calls()) - before == {"GetRow": 1}


def test_a_read_that_began_before_the_question_is_not_its_answer(emulator: Emulator, pool: ThreadPoolExecutor) -> None:
    """Another process's add was acknowledged before this process was asked."""
    store, other = open_store(emulator), open_store(emulator)
    [scope] = some_scopes(store, 1)
    store.scope(scope).snapshot()
    before = emulator.calls()["GetRow"]
    emulator.fault(apis="GetRow", delay=1.5, when="after", times=AT_ONCE)
    early = [pool.submit(texts, store.scope(scope)) for _ in range(AT_ONCE)]
    wait_until(lambda: emulator.calls()["GetRow"] == before + AT_ONCE, SECONDS)
    remember(other.scope(scope), "acknowledged")
    late = waiting(store, pool, [lambda: texts(store.scope(scope))] * 3)
    assert [each.result(SECONDS) for each in late] == [["of 0", "acknowledged"]] * 3
    assert all(each.result(SECONDS)[0] == "of 0" for each in early)


def test_a_scope_that_moved_on_is_refreshed_not_loaded_anew(emulator: Emulator, pool: ThreadPoolExecutor) -> None:
    """The slots of so many scopes do not fit into one request."""
    store, other = open_store(emulator), open_store(emulator)
    scopes = some_scopes(store, 12)
    for n, scope in enumerate(scopes):
        store.scope(scope).snapshot()
        for i in range(n + 1):  # so that each asks for other slots of the ring
            remember(store.scope(scope), f"{i}")
    for scope in scopes:
        remember(other.scope(scope), "theirs")
    with all_busy(emulator, store, pool):
        before = Counter(emulator.calls())
        sent = waiting(store, pool, [partial(read, store, scope) for scope in scopes])
    assert all(each.result(SECONDS)[-1] == "theirs" for each in sent)
    assert (Counter(emulator.calls()) - before)["GetRange"] == 0


def test_each_waits_as_long_as_it_can(emulator: Emulator, pool: ThreadPoolExecutor) -> None:
    store = open_store(emulator)
    scopes = some_scopes(store, 2)
    with all_busy(emulator, store, pool):
        hurried, patient = waiting(
            store,
            pool,
            [
                lambda: store.scope(scopes[0]).snapshot(deadline=time.monotonic() + 0.5),
                lambda: texts(store.scope(scopes[1])),
            ],
        )
        with pytest.raises(StoreUnavailable):
            hurried.result(SECONDS)
        assert not patient.done()
    assert patient.result(SECONDS) == ["of 1"]


@pytest.mark.parametrize("error", ["OTSServerBusy", "OTSParameterInvalid"])
def test_one_row_s_error_is_not_the_others(emulator: Emulator, pool: ThreadPoolExecutor, error: str) -> None:
    """What is busy is asked for again; after any other refusal each asks for its own."""
    store = open_store(emulator)
    scopes = some_scopes(store, 5)
    with all_busy(emulator, store, pool):
        emulator.fault(apis="BatchGetRow", error=error, message="no", per_row=True, times=1)
        sent = waiting(store, pool, [partial(read, store, scope) for scope in scopes])
    assert [each.result(SECONDS) for each in sent] == [[f"of {n}"] for n in range(5)]
    emulator.clear_faults()


def test_a_store_that_is_away_is_away_for_all(emulator: Emulator, pool: ThreadPoolExecutor) -> None:
    store = open_store(emulator)
    scopes = some_scopes(store, 4)
    until = time.monotonic() + 4
    with all_busy(emulator, store, pool):
        emulator.fault(apis=["BatchGetRow", "GetRow"], drop=True)
        sent = waiting(store, pool, [partial(store.scope(scope).snapshot, deadline=until) for scope in scopes])
    assert all(isinstance(each.exception(SECONDS), StoreUnavailable) for each in sent)
    emulator.clear_faults()
    assert texts(store.scope(scopes[0])) == ["of 0"]


def test_any_number_at_once(emulator: Emulator, pool: ThreadPoolExecutor) -> None:
    store = open_store(emulator)
    scopes = some_scopes(store, 10)
    go = threading.Barrier(60)

    def work(n: int) -> list[list[str]]:
        go.wait(SECONDS)
        return [texts(store.scope(scopes[(n + i) % 10])) for i in range(10)]

    for n, sent in enumerate([pool.submit(work, n) for n in range(60)]):
        assert sent.result(SECONDS) == [[f"of {(n + i) % 10}"] for i in range(10)]
    reads = store._built()._head_reads
    assert (reads._under_way, reads._queue) == (0, [])
