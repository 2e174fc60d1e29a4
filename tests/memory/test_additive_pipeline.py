"""MEMORY_PIPELINE=additive: Mem0's own pipeline, unchanged, over our store; and Mem0's other calls inside the wall."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from support.fake_openai import STYLES, FakeOpenAI, Fault
from support.plain_store import PlainStore
from tablestore_openmemory_mcp.errors import ModelDenied, ModelNonsense
from tablestore_openmemory_mcp.memory.context import Job
from tablestore_openmemory_mcp.memory.mem0.adapters import UnknownFilter
from tablestore_openmemory_mcp.memory.mem0.engine import AdditiveMem0
from tablestore_openmemory_mcp.memory.models.chat import ChatModel
from tablestore_openmemory_mcp.memory.models.embedder import Embedder
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.memory.unit_of_work import Unit
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]


def says(fake: FakeOpenAI, *texts: str, style: str = "plain") -> None:
    answer: dict[str, list[Any]] = {"memory": [{"id": str(n), "text": t} for n, t in enumerate(texts)]}
    fake.answer(lambda body: True, json.dumps(answer) if style == "plain" else STYLES[style](answer))


def test_it_only_ever_adds(
    make: MakeService, store: PlainStore | TablestoreStore, fake: FakeOpenAI, scope: Scope
) -> None:
    service = make(store, MEMORY_PIPELINE="additive")
    says(fake, "User lives in Shanghai", "User likes spicy food")
    assert [o.event for o in service.add(scope, "I live in Shanghai and like spicy food").results] == ["ADD", "ADD"]
    says(fake, "User lives in Beijing", "User likes spicy food")
    [outcome] = service.add(scope, "I moved to Beijing").results
    assert (outcome.event, outcome.memory) == ("ADD", "User lives in Beijing")
    assert service.list(scope).total == 3
    assert "Beijing" in service.search(scope, "lives in Beijing")[0].memory.text
    assert fake.count("chat") == 2
    prompt = [r.body for r in fake.requests if r.route == "chat"][-1]
    assert "User lives in Shanghai" in json.dumps(prompt), "Mem0 shows what is there"


@pytest.mark.parametrize("style", ["fenced", "chatty", "think", "single_quoted", "trailing_comma"])
def test_any_style_is_understood(make: MakeService, fake: FakeOpenAI, scope: Scope, style: str) -> None:
    service = make(MEMORY_PIPELINE="additive")
    says(fake, "User lives in Shanghai", "User likes spicy food", style=style)
    assert len(service.add(scope, "hello").results) == 2


def test_an_answer_cut_twice_keeps_the_whole_memories_and_says_so(
    make: MakeService, fake: FakeOpenAI, scope: Scope
) -> None:
    service = make(MEMORY_PIPELINE="additive")
    says(fake, "User lives in Shanghai", "User likes spicy food", style="truncated")
    result = service.add(scope, "hello")
    assert [o.memory for o in result.results] == ["User lives in Shanghai"]
    assert result.message is not None
    assert "may be missing" in result.message
    assert fake.count("chat") == 2
    says(fake, "User lives in Shanghai", style="truncated")
    with pytest.raises(ModelNonsense, match="half-way"):
        service.add(scope, "hello")


def test_what_mem0_would_swallow_is_reported(make: MakeService, fake: FakeOpenAI, scope: Scope) -> None:
    service = make(MEMORY_PIPELINE="additive")
    with fake.failing("chat", Fault.refused_key()), pytest.raises(ModelDenied, match="OPENAI_API_KEY"):
        service.add(scope, "我住在上海")
    says(fake, "User lives in Shanghai")
    with fake.failing("embeddings", Fault.refused_key()), pytest.raises(ModelDenied, match="OPENAI_API_KEY"):
        service.add(scope, "我住在上海")
    fake.answer(lambda body: True, "I cannot help with that.")
    with pytest.raises(ModelNonsense):
        service.add(scope, "我住在上海")
    assert service.list(scope).total == 0


@pytest.fixture
def mem0(fake: FakeOpenAI, plain: PlainStore, scope: Scope) -> Callable[[], AdditiveMem0]:
    def build() -> AdditiveMem0:
        endpoint = Endpoint("sk-fake", fake.base_url)
        store = plain.scope(scope)
        job = Job(time.monotonic() + 30, lambda step: None)
        embedder = Embedder(endpoint, "text-embedding-v4", 256)
        return AdditiveMem0(store, Unit(store.snapshot()), embedder, ChatModel(endpoint, "qwen-plus"), job)

    return build


def commit(mem0: AdditiveMem0, plain: PlainStore, scope: Scope) -> None:
    unit = mem0.vector_store._unit
    plain.scope(scope).commit(unit.changes, base=unit.base)


def test_mem0_s_own_calls_run_unchanged_inside_the_wall(
    mem0: Callable[[], AdditiveMem0], plain: PlainStore, scope: Scope
) -> None:
    first = mem0()
    [added] = first.add("住在上海", **first.ids, infer=False)["results"]
    assert plain.scope(scope).snapshot().seq == 0, "nothing is stored before the commit"
    commit(first, plain, scope)
    second = mem0()
    second.update(added["id"], "住在北京", metadata={"user_id": "victim", "topic": "home"})
    commit(second, plain, scope)
    third = mem0()
    [row] = third.get_all(filters=dict(third.ids))["results"]
    assert (row["id"], row["memory"], row["user_id"]) == (added["id"], "住在北京", third.ids["user_id"])
    assert row["metadata"]["topic"] == "home"
    assert third.get(added["id"])["memory"] == "住在北京"
    third.delete(added["id"])
    commit(third, plain, scope)
    assert [e["event"] for e in mem0().history(added["id"])] == ["ADD", "UPDATE", "DELETE"]
    assert mem0().get_all(filters=dict(third.ids))["results"] == []


@pytest.mark.parametrize("filters", [{"user_id": "victim"}, {"run_id": "r"}, {"topic": "home"}, {"$or": []}])
def test_a_filter_that_cannot_be_kept_is_an_error(mem0: Callable[[], AdditiveMem0], filters: dict[str, Any]) -> None:
    one = mem0()
    with pytest.raises(UnknownFilter):
        one.vector_store.list({**one.ids, **filters})
    with pytest.raises(UnknownFilter):
        one.vector_store.search("x", [0.0] * 256, filters={**one.ids, **filters})
