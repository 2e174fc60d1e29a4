"""An embedder that refuses one text: the others are stored with their vectors, and this one without."""

import time
from collections.abc import Callable

import pytest

from support.fake_openai import FakeOpenAI, Fault
from support.plain_store import PlainStore
from tablestore_openmemory_mcp.errors import ModelError
from tablestore_openmemory_mcp.memory.models.embedder import Embedder, TextRefused
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]
FACTS = ["住在上海", "喜欢吃辣的东西", "爱看科幻电影"]
SAID = "我住在上海。我喜欢吃辣的东西。我爱看科幻电影。"


@pytest.mark.parametrize("refused", FACTS)
def test_one_of_three_facts_is_stored_without_a_vector(
    serving: MemoryService, store: PlainStore | TablestoreStore, fake: FakeOpenAI, scope: Scope, refused: str
) -> None:
    fake.model.refused_texts = frozenset({refused})
    result = serving.add(scope, SAID)
    assert sorted(o.memory for o in result.results) == sorted(FACTS)
    assert "One memory was stored without a vector" in (result.message or "")
    assert "inappropriate" in (result.message or "")
    models = {m.text: m.vector_model for m in store.scope(scope).snapshot().memories.values()}
    assert models == {text: None if text == refused else "text-embedding-v4" for text in FACTS}
    assert refused in [h.memory.text for h in serving.search(scope, refused[-2:])], "found by its words"


def test_a_text_that_is_always_refused_is_asked_about_once_more_and_then_left(
    make: MakeService, plain: PlainStore, fake: FakeOpenAI, scope: Scope
) -> None:
    make(OPENAI_API_KEY="", MEMORY_PIPELINE="verbatim").add(scope, FACTS[0])
    make(OPENAI_API_KEY="", MEMORY_PIPELINE="verbatim").add(scope, FACTS[1])
    fake.model.refused_texts = frozenset({FACTS[0]})
    service = make()
    service.search(scope, "吃")
    fake.forget()
    for n in range(3):
        service.search(scope, f"吃 {n}")
    assert fake.count("embeddings") == 3, "the queries alone"
    fake.model.refused_texts = frozenset()
    other = make(EMBEDDER_MODEL="another")
    other.search(scope, "吃")
    assert {m.vector_model for m in plain.scope(scope).snapshot().memories.values()} == {"another"}


def test_what_was_refused_at_the_add_is_not_asked_about_by_searches(
    service: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    fake.model.refused_texts = frozenset({FACTS[2]})
    service.add(scope, SAID)
    fake.forget()
    service.search(scope, "电影")
    assert fake.count("embeddings") == 1


def test_the_verbatim_pipeline_keeps_a_refused_text(make: MakeService, fake: FakeOpenAI, scope: Scope) -> None:
    fake.model.refused_texts = frozenset({SAID})
    result = make(MEMORY_PIPELINE="verbatim").add(scope, SAID)
    assert [o.memory for o in result.results] == [SAID]
    assert "without a vector" in (result.message or "")


def test_an_embedder_that_refuses_everything_is_an_error(
    service: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    with (
        fake.failing("embeddings", Fault("status", 400, message="No.")),
        pytest.raises(ModelError, match="EMBEDDER_MODEL"),
    ):
        service.add(scope, SAID)
    assert service.list(scope).total == 0


@pytest.mark.parametrize("bad", [{0}, {9}, {3, 7}, {4, 15, 22}, set(range(25))])
def test_the_search_for_what_is_refused_is_bounded(fake: FakeOpenAI, bad: set[int]) -> None:
    texts = [f"text {n}" for n in range(25)]
    fake.model.refused_texts = frozenset(texts[n] for n in bad)
    embedder = Embedder(Endpoint("sk-fake", fake.base_url), "any", 64)
    made = embedder.embed_each(texts, deadline=time.monotonic() + 30)
    assert fake.count("embeddings") <= 3 + 8 + 1
    assert set(made.refused) <= bad <= set(made.missing)
    if len(bad) == 1:
        assert set(made.missing) == set(made.refused) == bad
    with pytest.raises(TextRefused):
        embedder.embed(texts, deadline=time.monotonic() + 30)


def test_an_update_to_a_refused_text_is_stored_and_says_so(make: MakeService, fake: FakeOpenAI, scope: Scope) -> None:
    service = make(MEMORY_PIPELINE="verbatim")
    [added] = service.add(scope, "Likes tea").results
    fake.model.refused_texts = frozenset(["Likes what is refused"])
    outcome = service.update(scope, added.id, "Likes what is refused")
    assert "without a vector" in (outcome.note or "")
    [memory] = service.list(scope).memories
    assert (memory.text, memory.vector, memory.vector_model) == ("Likes what is refused", None, None)
    fake.model.refused_texts = frozenset()
    assert service.update(scope, added.id, "Likes coffee").note is None
    assert service.list(scope).memories[0].vector is not None
