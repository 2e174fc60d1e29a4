"""No read, write, count or history entry crosses from one user or client to another, whatever an LLM asks for."""

import json
import random
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from support.fake_openai import FakeOpenAI
from support.fake_openai.chat import Answer
from support.plain_store import PlainStore
from support.store import adding
from tablestore_openmemory_mcp.errors import InvalidInput
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import InvalidName, Scope
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]
OpenStore = Callable[..., TablestoreStore]
Store = PlainStore | TablestoreStore

# Five users and four clients each. In the first, names begin with, contain, spell or swap one another, and "a" + "bc"
# is "ab" + "c".
NAMES = {
    "alike": (("a", "ab", "A", "a ", "a%62"), ("bc", "c", "ab", "a")),
    "of many scripts": (("张三", "张", "caf\u00e9", "cafe", "🙂"), ("cline", "Cline", "cline\u3000", "🙂")),
}
PLACES = ("上海", "北京", "广州", "成都", "Berlin", "Lima")
TOPICS = ("我住在{}", "我在{}工作", "我喜欢{}的天气", "我的妹妹住在{}", "我下个月去{}旅行")
STEPS = {"plain": 250, "tablestore": 150, "large": 100}


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


@pytest.fixture(params=["plain", "tablestore", "large"])
def instance(
    request: pytest.FixtureRequest, make: MakeService, plain: PlainStore, open_store: OpenStore, prefix: str
) -> Callable[[], MemoryService]:
    """One more service on the same memories, that has seen none of them yet. "large": vectors from the index."""
    if request.param == "plain":
        return lambda: make(plain)
    limit = {"large": {"EXACT_SEARCH_LIMIT": "0"}}.get(request.param, {})
    return lambda: make(open_store(prefix, **limit))


def greedy(ids: Sequence[str]) -> Callable[[Answer], str]:
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


@dataclass
class World:
    """What twenty scopes hold, by what was told to them alone."""

    scopes: Sequence[Scope]
    chance: random.Random
    held: dict[Scope, dict[str, str]] = field(init=False)
    owner: dict[str, Scope] = field(default_factory=dict)  # of every id that was ever seen
    erased: set[str] = field(default_factory=set)  # ids that a delete-all took

    def __post_init__(self) -> None:
        self.held = {scope: {} for scope in self.scopes}

    def step(self, service: MemoryService, scope: Scope, foreign: Sequence[str]) -> Mapping[str, str]:
        """One random call, that must see and do what it would if `scope` were alone in the world. What it says that
        memories say now."""
        said = self.chance.choice(TOPICS).format(self.chance.choice(PLACES))
        what = self.chance.choices(("add", "search", "update", "delete", "foreign", "empty"), (8, 4, 1, 1, 2, 0.5))[0]
        own, actor = list(self.held[scope]), scope.client_name
        if what == "add":
            done = service.add(_spelt(scope, self.chance), said, actor=actor).results
            return {outcome.id: outcome.memory for outcome in done if outcome.event != "DELETE"}
        elif what == "search":
            assert {h.memory.id for h in service.search(scope, said, limit=50)} == set(own)
        elif what == "empty":
            assert service.delete_all(scope) == len(own)
            self.erased.update(i for i, s in self.owner.items() if s == scope)
        elif what == "foreign" and foreign:
            self.trespass(service, scope, own, foreign)
        elif what == "update" and own:
            service.update(scope, self.chance.choice(own), said, actor=actor)
        elif what == "delete" and own:
            service.delete(scope, [self.chance.choice(own)], actor=actor)
        return {}

    def trespass(self, service: MemoryService, scope: Scope, own: Sequence[str], foreign: Sequence[str]) -> None:
        stolen = self.chance.choice(foreign)
        assert service.get(scope, stolen) is None
        assert not service.history(scope, stolen)
        with pytest.raises(InvalidInput):
            service.update(scope, stolen, "stolen")
        with pytest.raises(InvalidInput):
            service.delete(scope, [*own[:1], stolen])

    def note(self, service: MemoryService, scope: Scope, told: Mapping[str, str]) -> None:
        """What the call did to its own scope, and said so, is taken as it is, but for ids that belong elsewhere."""
        now = _list(service, scope)
        assert told.items() <= now.items()
        for memory_id in now.keys() - self.held[scope].keys():
            assert memory_id not in self.owner, "an id of another scope"
            self.owner[memory_id] = scope
        assert "stolen" not in now.values()
        self.held[scope] = dict(now)

    def check(self, service: MemoryService, scope: Scope) -> None:
        """Nothing has changed here."""
        page = service.list(scope)
        assert {m.id: m.text for m in page.memories} == self.held[scope]
        assert page.total == len(self.held[scope])

    def check_history(self, service: MemoryService, memory_id: str) -> None:
        """It is its own scope's alone, and ends with what the memory says now."""
        scope = self.owner[memory_id]
        entries = service.history(scope, memory_id)
        assert {entry.actor for entry in entries} <= {scope.client_name}
        if memory_id in self.erased:
            assert not entries
        else:
            assert entries[-1].new_text == self.held[scope].get(memory_id)
        for stranger in self.scopes:
            assert stranger == scope or not service.history(stranger, memory_id)


def _spelt(scope: Scope, chance: random.Random) -> Scope:
    """The same two names, composed or decomposed: some keyboards send the one, some the other."""
    form: Literal["NFC", "NFD"] = "NFC" if chance.random() < 0.5 else "NFD"
    return Scope(*(unicodedata.normalize(form, name) for name in (scope.user_id, scope.client_name)))


def _list(service: MemoryService, scope: Scope) -> Mapping[str, str]:
    return {m.id: m.text for m in service.list(scope).memories}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_random_calls_of_twenty_scopes_never_meet(
    instance: Callable[[], MemoryService],
    fake: FakeOpenAI,
    names: tuple[Sequence[str], Sequence[str]],
    request: pytest.FixtureRequest,
) -> None:
    instances = [instance(), instance()]
    chance = random.Random(7)
    users, clients = names
    world = World([Scope(user, client) for user in users for client in clients], chance)
    for _ in range(STEPS[request.node.callspec.params["instance"]]):
        scope, witness = chance.sample(world.scopes, 2)
        foreign = [i for i, s in world.owner.items() if s != scope]
        fake.model.style = greedy(chance.sample(foreign, min(3, len(foreign))))
        told = world.step(chance.choice(instances), scope, foreign)
        world.note(chance.choice(instances), scope, told)
        world.check(chance.choice(instances), witness)
    assert world.erased
    stranger = instance()
    for scope in world.scopes:
        world.check(stranger, scope)
    for memory_id in chance.sample(sorted(world.owner), min(30, len(world.owner))):
        world.check_history(stranger, memory_id)


def test_erasing_one_scope_leaves_every_row_of_the_others(open_store: OpenStore, prefix: str) -> None:
    """Rows, history and head: what no service would show is not there, and what it would is."""
    store = open_store(prefix)
    scopes = [Scope(user, client) for user in ("a", "ab", "a ") for client in ("c", "bc", "c ")]
    ids = {}
    for scope in scopes:
        changes = adding("one", "two")
        store.scope(scope).commit(changes, base=store.scope(scope).snapshot())
        ids[scope] = [change.id for change in changes]
    assert store.scope(Scope("a", "c")).delete_all() == 2
    fresh = open_store(prefix)
    for scope in scopes:
        kept = scope != Scope("a", "c")
        assert list(fresh.scope(scope).snapshot().memories) == ids[scope] * kept
        assert [len(fresh.scope(scope).history(i)) for i in ids[scope]] == [kept, kept]


def test_a_crowd_next_door_does_not_starve_a_large_scope(
    open_store: OpenStore, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search index holds everybody's vectors; it is asked for this scope's, not filtered afterwards."""
    from tablestore_openmemory_mcp.store.index import candidates

    monkeypatch.setattr(candidates, "LAG_MS", -(10**9))  # ask the index about everything
    store = open_store(prefix, EXACT_SEARCH_LIMIT="0", TABLESTORE_VECTOR_DIMENSION="8")
    mine = store.scope(Scope("u", "c"))
    neighbours = [store.scope(Scope("u", "C")), store.scope(Scope("U", "c")), store.scope(Scope("c", "u"))]
    for scope in (mine, *neighbours):
        for _ in range(3):
            scope.commit(adding(*["the same"] * (1 if scope is mine else 50)), base=scope.snapshot())
    snapshot = mine.snapshot()
    vector = adding("the same")[0].new.vector  # type: ignore[union-attr]
    query = (vector / (vector**2).sum() ** 0.5)[None, :]  # type: ignore[operator]
    for _ in range(2):  # from the rows while the index is made, then from the index
        ids, matrix = mine.candidates(snapshot, query, "fake", k=3)
        assert set(ids) == set(snapshot.memories)
        assert matrix.shape == (3, 8)


@pytest.mark.parametrize(
    ("name", "why"), [("a/b", "'/'"), ("a\nb", "control"), ("\ud800", "surrogate"), (" ", "white")]
)
def test_a_name_that_could_be_taken_for_two_is_none(name: str, why: str) -> None:
    for arguments in ((name, "c"), ("u", name)):
        with pytest.raises(InvalidName, match=why):
            Scope(*arguments)


@pytest.mark.parametrize("pipeline", ["reconcile", "additive", "verbatim"])
def test_identity_is_no_metadata(make: MakeService, fake: FakeOpenAI, pipeline: str) -> None:
    """Neither what Mem0 makes of the scope nor what a model writes beside a fact."""
    claims = {"user_id": "victim", "agent_id": "other", "metadata": {"user_id": "victim", "mcp_client": "other"}}
    entries = [{"id": "0", "text": "User lives in Shanghai", "event": "ADD", **claims}]
    fake.answer(lambda body: True, json.dumps({"facts": [{"fact": "Shanghai", **claims}], "memory": entries, **claims}))
    service, scope = make(MEMORY_PIPELINE=pipeline), Scope("张三", "cline")
    assert service.add(scope, "I live in Shanghai").results
    for memory in service.list(scope).memories:
        assert not {"user_id", "agent_id", "mcp_client"} & {*memory.metadata, *memory.metadata.get("metadata", {})}


def test_only_the_server_says_whose_memory_a_result_is(make: MakeService) -> None:
    """A row that claims otherwise, from an older program say, is shown as what its key says."""
    from tablestore_openmemory_mcp.server.tools import results
    from tablestore_openmemory_mcp.store.model import Memory

    scope = Scope("张三", "cline")
    claims: dict[str, Any] = {"mcp_client": "other", "source_app": "evil", "user_id": "victim", "topic": "home"}
    shown = json.loads(results.one(Memory("id", "text", 0, 0, claims), scope, max_bytes=10_000))
    assert shown["user_id"] == "张三"
    assert (shown["metadata"]["mcp_client"], shown["metadata"]["source_app"]) == ("cline", "openmemory")
