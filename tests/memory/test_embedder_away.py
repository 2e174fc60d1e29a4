"""Search while the embedder is away: by words, at once, with a note; and not asked again by everybody."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.fake_openai import FakeOpenAI, Fault
from support.processes import wait_until
from tablestore_openmemory_mcp.memory.models import query_embedder
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope

KEPT, OTHER = "住在上海", "养了一只橘猫"

MakeService = Callable[..., MemoryService]


@pytest.fixture
def filled(service: MemoryService, fake: FakeOpenAI, scope: Scope) -> MemoryService:
    for text in (f"我{KEPT}", f"我{OTHER}"):
        service.add(scope, text)
    fake.forget()
    return service


def by_words(service: MemoryService, scope: Scope, query: str = "上海") -> str:
    """The note of a search that finds KEPT by its words."""
    first, *others = service.search(scope, query)
    assert (first.memory.text, first.score) == (KEPT, None)
    assert all(hit.note is None for hit in others)
    assert first.note is not None
    assert first.note.startswith("Ranked by words alone: The embedder ")
    return first.note


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.refused_key(), "OPENAI_API_KEY"),
        (Fault.throttled(retry_after=20), "throttling"),
        (Fault.throttled(), "throttling"),
        (Fault.broken(500), "EMBEDDER_MODEL"),
        (Fault.broken(503), "EMBEDDER_MODEL"),
        (Fault.no_such_model(), "not found"),
        (Fault.drop(), "cannot be reached"),
        (Fault.hang(), "in time"),
        (Fault.blanks(), "in time"),
    ],
    ids=lambda value: f"{value.trouble} {value.status}" if isinstance(value, Fault) else "",
)
def test_words_find_it_and_the_note_says_why(
    filled: MemoryService, fake: FakeOpenAI, scope: Scope, fault: Fault, says: str
) -> None:
    with fake.failing("embeddings", fault):
        started = time.monotonic()
        assert says in by_words(filled, scope)
        assert time.monotonic() - started < query_embedder.PATIENCE + 3
        asked = fake.count("embeddings")
        assert asked <= 2
        for _ in range(5):
            assert says in by_words(filled, scope)
        assert fake.count("embeddings") == asked, "it is known to be away"


def test_nobody_listens_there(make: MakeService, fake: FakeOpenAI, filled: MemoryService, scope: Scope) -> None:
    service = make(OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    started = time.monotonic()
    assert "Connection refused" in by_words(service, scope)
    assert time.monotonic() - started < query_embedder.PATIENCE


def test_what_shares_no_word_is_still_answered_with_the_newest(
    filled: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    with fake.failing("embeddings", Fault.refused_key()):
        first, second = filled.search(scope, "zebra")
    assert first.note is not None
    assert first.note.startswith("newest. Ranked by words alone")
    assert second.note == "newest"


def test_one_probes_after_a_while_and_the_others_do_not_wait(
    filled: MemoryService, fake: FakeOpenAI, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_embedder, "AWAY_SECONDS", 1.0)
    with fake.failing("embeddings", Fault.hang()):
        by_words(filled, scope)
        asked = fake.count("embeddings")
        time.sleep(1.1)
        monkeypatch.setattr(query_embedder, "AWAY_SECONDS", 30.0)
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: by_words(filled, scope), range(20)))
        assert fake.count("embeddings") == asked + 1


def test_it_is_asked_again_once_it_is_back(
    filled: MemoryService, fake: FakeOpenAI, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_embedder, "AWAY_SECONDS", 0.5)
    with fake.failing("embeddings", Fault.refused_key()):
        by_words(filled, scope)
    time.sleep(0.6)
    for _ in range(2):
        [first, _] = filled.search(scope, "上海")
        assert first.score
        assert first.note is None


def test_a_slow_one_is_back_as_soon_as_it_has_answered(
    filled: MemoryService, fake: FakeOpenAI, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local model that has to be loaded first: its answer comes when the search has ended."""
    monkeypatch.setattr(query_embedder, "PATIENCE", 0.2)
    fake.fail_next("embeddings", Fault.slow(1.5))
    assert "in time" in by_words(filled, scope)
    monkeypatch.setattr(query_embedder, "PATIENCE", 5.0)
    wait_until(lambda: filled.search(scope, "上海")[0].score, 10)


def test_a_text_that_it_refuses_does_not_make_it_away(filled: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    fake.fail_next("embeddings", Fault("status", 400, message="Input data may contain inappropriate content."))
    assert "inappropriate" in by_words(filled, scope)
    assert filled.search(scope, "上海")[0].score


def test_no_thread_is_left_waiting_for_it(filled: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    def asking() -> int:
        return sum(thread.name == "embed-query" for thread in threading.enumerate())

    with fake.failing("embeddings", Fault.hang()):
        for _ in range(10):
            by_words(filled, scope)
        assert asking() == 1
