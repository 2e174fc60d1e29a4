"""No read, write, count or history entry crosses from one user or client to another, whatever an LLM asks for."""

import json
import random
from collections.abc import Callable

import pytest

from support.fake_openai import FakeOpenAI
from support.fake_openai.chat import Answer
from support.plain_store import PlainStore
from tablestore_openmemory_mcp.errors import InvalidInput
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]
Store = PlainStore | TablestoreStore

SCOPES = [
    Scope(user, client) for user in ("张三", "alice", "A", "a", "a b") for client in ("cline", "Cherry", "a b", "🙂")
]
PLACES = ("上海", "北京", "广州", "成都", "Berlin", "Lima")
TOPICS = ("我住在{}", "我在{}工作", "我喜欢{}的天气", "我的妹妹住在{}", "我下个月去{}旅行")
STEPS = {"plain": 250, "tablestore": 80}


def test_client_b_s_add_does_not_rewrite_client_a_s_memory(make: MakeService, store: Store, fake: FakeOpenAI) -> None:
    """The reference does: it looks old memories up by user alone (its bundled mem0 0.1.114)."""
    service = make(store)
    a, b = Scope("u", "client A"), Scope("u", "client B")
    [mine] = service.add(a, "我住在上海").results
    fake.forget()
    [theirs] = service.add(b, "我现在住在北京").results
    assert theirs.event == "ADD"
    assert fake.count("update") == 0
    assert [m.text for m in service.list(a).memories] == [mine.memory]
    assert [h.memory.id for h in service.search(b, "住在哪里")] == [theirs.id]


def greedy(ids: list[str]) -> Callable[[Answer], str]:
    """A model that also rewrites and deletes memories of everybody else, whose ids it has somehow learned."""

    def dress(answer: Answer) -> str:
        if "memory" not in answer:
            return json.dumps(answer, ensure_ascii=False)
        stolen = [
            entry
            for memory_id in ids
            for entry in (
                {"id": memory_id, "text": "stolen", "event": "UPDATE", "old_memory": "我住在上海"},
                {"id": memory_id, "text": "", "event": "DELETE"},
            )
        ]
        return json.dumps({"memory": stolen + answer["memory"] + stolen}, ensure_ascii=False)

    return dress


@pytest.mark.parametrize("seed", [1, 2])
def test_random_calls_of_twenty_scopes_never_meet(
    make: MakeService, store: Store, fake: FakeOpenAI, seed: int, request: pytest.FixtureRequest
) -> None:
    service = make(store)
    chance = random.Random(seed)
    state: dict[Scope, dict[str, str]] = {scope: {} for scope in SCOPES}
    owner: dict[str, Scope] = {}
    for _ in range(STEPS[request.node.callspec.params["store"]]):
        scope = chance.choice(SCOPES)
        foreign = [i for i, s in owner.items() if s != scope]
        fake.model.style = greedy(chance.sample(foreign, min(3, len(foreign))))
        _act(service, chance, scope, state, foreign)
        now = {m.id: m.text for m in service.list(scope).memories}
        for memory_id in now.keys() - state[scope].keys():
            assert memory_id not in owner, "an id of another scope"
            owner[memory_id] = scope
        state[scope] = now
        assert "stolen" not in now.values()
        witness = chance.choice(SCOPES)
        page = service.list(witness)
        assert {m.id: m.text for m in page.memories} == state[witness]
        assert page.total == len(state[witness])
    for memory_id, scope in owner.items():
        assert bool(service.history(scope, memory_id)) >= (memory_id in state[scope])
        stranger = chance.choice([s for s in SCOPES if s != scope])
        assert not service.history(stranger, memory_id)


def _act(
    service: MemoryService,
    chance: random.Random,
    scope: Scope,
    state: dict[Scope, dict[str, str]],
    foreign: list[str],
) -> None:
    said = chance.choice(TOPICS).format(chance.choice(PLACES))
    what = chance.choices(("add", "search", "update", "delete", "foreign", "empty"), (8, 4, 1, 1, 2, 0.3))[0]
    own = list(state[scope])
    if what == "add":
        service.add(scope, said)
    elif what == "search":
        assert {h.memory.id for h in service.search(scope, said, limit=50)} == set(own)
    elif what == "empty":
        assert service.delete_all(scope) == len(own)
    elif what == "foreign" and foreign:
        stolen = chance.choice(foreign)
        assert service.get(scope, stolen) is None
        with pytest.raises(InvalidInput):
            service.update(scope, stolen, "stolen")
        with pytest.raises(InvalidInput):
            service.delete(scope, [*own[:1], stolen])
    elif what == "update" and own:
        service.update(scope, chance.choice(own), said)
    elif what == "delete" and own:
        service.delete(scope, [chance.choice(own)])
