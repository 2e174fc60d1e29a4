"""Queries that wait travel together: few requests, each query its own vector, and no query suffers from another."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fake_openai import FakeOpenAI, Fault
from support.processes import wait_until
from tablestore_openmemory_mcp.errors import ModelError
from tablestore_openmemory_mcp.memory.models import query_embedder
from tablestore_openmemory_mcp.memory.models.embedder import BATCH, Embedder, TextRefused
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint
from tablestore_openmemory_mcp.memory.models.local.local_embedder import StillLoading
from tablestore_openmemory_mcp.memory.models.query_embedder import REQUESTS, QueryEmbedder, Vector, _Vectors
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope

DIMENSION = 64
FOREVER = 60.0  # seconds: longer than a test waits

MakeService = Callable[..., MemoryService]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a busy machine takes is not what is tested here."""
    monkeypatch.setattr(query_embedder, "PATIENCE", FOREVER)


@pytest.fixture
def embedder(fake: FakeOpenAI) -> Iterator[Embedder]:
    made = Embedder(Endpoint("sk-fake", fake.base_url), "text-embedding", DIMENSION)
    yield made
    made.close()


@pytest.fixture
def queries(embedder: Embedder) -> Iterator[QueryEmbedder]:
    made = QueryEmbedder(embedder)
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


def vector(queries: QueryEmbedder, query: str) -> Vector:
    deadline = time.monotonic() + 20
    return queries.wait(queries.ask(query, deadline), deadline)


def started(pool: ThreadPoolExecutor, queries: QueryEmbedder, texts: Sequence[str]) -> "list[Future[Vector]]":
    """A thread for each that waits for its vector; returns when all have asked, the first before all others."""
    deadline = time.monotonic() + 20
    asked = [queries.ask(texts[0], deadline)]
    wait_until(lambda: not queries._waiting, 10)
    asked += [queries.ask(text, deadline) for text in texts[1:]]
    return [pool.submit(queries.wait, one, deadline) for one in asked]


def sizes(fake: FakeOpenAI) -> list[int]:
    return [len(request.inputs) for request in fake.requests]


def numbered(n: int) -> list[str]:
    return [f"question {i} about subject {i % 7}" for i in range(n)]


def test_32_searches_at_a_time_take_five_requests(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_embedder, "LINGER", FOREVER)
    service.add(scope, "我住在上海")
    queries = service._recall._queries
    assert queries is not None
    fake.forget()
    with fake.holding("embeddings"):
        searches = [pool.submit(service.search, scope, f"{text} 上海") for text in numbered(32)]
        wait_until(lambda: len(queries._asked) == 32, 20)
    assert all(found.result()[0].score for found in searches)
    assert len(sizes(fake)) <= 5
    assert max(sizes(fake)) == BATCH


def test_each_gets_its_own_vector(
    embedder: Embedder, queries: QueryEmbedder, fake: FakeOpenAI, pool: ThreadPoolExecutor
) -> None:
    texts = numbered(64)
    with fake.holding("embeddings"):
        waiting = started(pool, queries, texts)
        fake.wait_for("embeddings", REQUESTS)
        assert fake.count("embeddings") == REQUESTS, "no more are under way at a time"
    given = [one.result() for one in waiting]
    assert max(sizes(fake)) <= BATCH
    expected = embedder.embed(texts, deadline=time.monotonic() + 20)
    np.testing.assert_array_equal(np.stack(given), expected)


def test_one_alone_goes_at_once_and_two_need_not_wait_for_a_third(
    queries: QueryEmbedder, fake: FakeOpenAI, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_embedder, "LINGER", FOREVER)
    for text in numbered(3):
        vector(queries, text)
    assert sizes(fake) == [1, 1, 1], "nobody else was under way"
    monkeypatch.setattr(query_embedder, "LINGER", 0.01)
    fake.fail_next("embeddings", Fault.slow(5))
    [slow] = started(pool, queries, ["the slow one"])
    fake.wait_for("embeddings", 4)
    assert vector(queries, "the quick one").shape == (DIMENSION,)
    assert not slow.done(), "one slow request does not stall the others"
    slow.cancel()


def test_equal_queries_are_asked_once_and_known_afterwards(
    queries: QueryEmbedder, fake: FakeOpenAI, pool: ThreadPoolExecutor
) -> None:
    with fake.holding("embeddings"):
        waiting = started(pool, queries, ["the same"] * 20)
        fake.wait_for("embeddings", 1)
    first, *others = [one.result() for one in waiting]
    assert all(np.array_equal(first, other) for other in others)
    np.testing.assert_array_equal(vector(queries, "the same"), first)
    assert sizes(fake) == [1]
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1.0


def test_what_is_known_is_found_while_the_embedder_is_away(queries: QueryEmbedder, fake: FakeOpenAI) -> None:
    known = vector(queries, "known")
    with fake.failing("embeddings", Fault.refused_key()):
        with pytest.raises(ModelError):
            vector(queries, "new")
        np.testing.assert_array_equal(vector(queries, "known"), known)


def test_another_model_or_dimension_knows_nothing_of_it(fake: FakeOpenAI) -> None:
    """A QueryEmbedder has but one embedder; the name of a vector holds its model all the same."""
    kept = _Vectors(1_000_000)
    kept.keep("a", "x", np.ones(4, np.float32))
    assert kept.get("a", "x") is not None
    assert kept.get("b", "x") is None
    assert kept.get("a", "y") is None


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 64)), max_size=60),
    st.integers(0, 3_000),
)
def test_the_bytes_of_what_is_known_are_bounded_and_the_oldest_goes_first(
    asked: list[tuple[int, int]], most: int
) -> None:
    kept, expected = _Vectors(most), dict[str, Vector]()
    for number, size in asked:
        text, made = str(number), np.full(size, number, np.float32)
        expected.pop(text, None)
        kept.keep("m", text, made)
        expected[text] = made
        while sum(v.nbytes + query_embedder._OVERHEAD for v in expected.values()) > most:
            del expected[next(iter(expected))]
    for number in range(13):
        found = kept.get("m", str(number))
        assert (found is None) == (str(number) not in expected)
        assert found is None or np.array_equal(found, expected[str(number)])


@pytest.mark.parametrize("bad", [1, 9])
def test_a_text_that_is_refused_takes_no_other_with_it(
    queries: QueryEmbedder, fake: FakeOpenAI, pool: ThreadPoolExecutor, bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_embedder, "LINGER", FOREVER)
    texts = numbered(1 + BATCH)
    fake.model.refused_texts = frozenset({texts[bad]})
    with fake.holding("embeddings"):
        waiting = started(pool, queries, texts)
        fake.wait_for("embeddings", 2)
    for n, one in enumerate(waiting):
        if n == bad:
            with pytest.raises(TextRefused):
                one.result()
        else:
            assert one.result().shape == (DIMENSION,)
    assert sorted(sizes(fake)) == [1] * (1 + BATCH) + [BATCH]
    fake.forget()
    with fake.holding("embeddings"):
        waiting = started(pool, queries, [f"new {text}" for text in texts])
        fake.wait_for("embeddings", 2)
    assert sorted(sizes(fake)) == [1, BATCH], "the number was not what it refused"
    assert all(one.result().shape for one in waiting)


@pytest.mark.parametrize("limit", [1, 4])
def test_an_embedder_that_takes_fewer_at_once_is_asked_so_soon(
    queries: QueryEmbedder, fake: FakeOpenAI, pool: ThreadPoolExecutor, limit: int
) -> None:
    fake.model.batch_limit = limit
    for turn in range(8):
        with fake.holding("embeddings"):
            waiting = started(pool, queries, [f"{turn} {text}" for text in numbered(40)])
            fake.wait_for("embeddings", 1)
        assert all(one.result().shape == (DIMENSION,) for one in waiting)
        fake.forget()
        if queries._most <= limit:
            break
    assert queries._most <= limit
    with fake.holding("embeddings"):
        waiting = started(pool, queries, numbered(40))
        fake.wait_for("embeddings", 1)
    assert all(one.result().shape == (DIMENSION,) for one in waiting)
    assert max(sizes(fake)) <= limit


def test_one_that_is_away_is_not_asked_by_those_who_wait(
    queries: QueryEmbedder, fake: FakeOpenAI, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_embedder, "LINGER", FOREVER)
    with fake.failing("embeddings", Fault.refused_key()):
        with fake.holding("embeddings"):
            waiting = started(pool, queries, numbered(64))
            fake.wait_for("embeddings", REQUESTS)
        for one in waiting:
            with pytest.raises(ModelError, match="refused the key"):
                one.result()
    assert fake.count("embeddings") == REQUESTS


def test_an_embedder_that_is_still_loading_is_no_fault_of_a_query(
    queries: QueryEmbedder, fake: FakeOpenAI, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone would wait once more, until the search has no patience left, and takes it to be away."""
    monkeypatch.setattr(query_embedder, "LINGER", 0.0)
    loading = threading.Event()
    asked: list[None] = []

    def prepare() -> None:
        asked.append(None)
        loading.wait(10)
        raise StillLoading("The local embedder is still being loaded")

    monkeypatch.setattr(queries.embedder, "prepare", prepare)
    waiting = started(pool, queries, numbered(32))
    loading.set()
    for one in waiting:
        with pytest.raises(StillLoading):
            one.result()
    assert len(asked) <= 2 * REQUESTS
    monkeypatch.undo()
    assert vector(queries, "loaded").shape == (DIMENSION,)
    assert fake.count("embeddings") == 1


def test_a_thread_without_work_ends(queries: QueryEmbedder, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_embedder, "_UNUSED", 0.05)
    vector(queries, "one")
    wait_until(lambda: queries._threads == 0, 10)
    vector(queries, "another")
    assert queries._threads <= 1


def test_who_asks_while_a_thread_wakes_up_is_looked_after(
    queries: QueryEmbedder, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that is counted as free takes ten; for the others there must be more threads at once, not later."""
    deadline = time.monotonic() + 20
    monkeypatch.setattr(query_embedder, "LINGER", FOREVER)
    with fake.holding("embeddings"):
        queries.ask("first", deadline)
        fake.wait_for("embeddings", 1)
        queries.ask("second", deadline)
        wait_until(lambda: queries._unoccupied == 1, 10)
        with queries._changed:  # the one that waits cannot run before all have asked
            asked = [queries.ask(text, deadline) for text in numbered(3 * BATCH)]
        fake.wait_for("embeddings", REQUESTS)
    for one in asked[: 2 * BATCH]:
        queries.wait(one, deadline)
