"""Above EXACT_SEARCH_LIMIT the search index proposes and the same ranking decides: what that loses, and what not."""

import random
from collections.abc import Callable, Iterator

import pytest

from support.emulator import Emulator
from support.fake_openai import FakeOpenAI, vectors
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.memory.unit_of_work import UnitOfWork
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]
OpenStore = Callable[..., TablestoreStore]

WHO = "我/妹妹/同事小王/邻居/老师/my brother/the team/our landlord/医生/客户"
DOES = "喜欢/讨厌/上周买了/打算学/likes/stopped using/下个月要参加/推荐了/moved to/worries about"
WHAT = (
    "川菜/围棋/马拉松/科幻电影/PostgreSQL/驼峰命名/浅色主题/Berlin/滑雪/花生酱/weekly reports/二手相机/Rust/猫/雨天/tea"
    "/night trains/钢琴课/古典音乐/单元测试/租房合同/cold brew/露营/微服务/牙医预约/the new office"
    "/房贷/羽毛球/板凳/scuba diving"
)


def said(chance: random.Random) -> str:
    """A sentence of two languages and a number: many are alike, none are the same."""
    who, does, what, more = (chance.choice(words.split("/")) for words in (WHO, DOES, WHAT, WHAT))
    return f"{who}{does}{what}，{more}，{chance.random()}"


def fill(store: TablestoreStore, scope: Scope, count: int, dimension: int = 256) -> None:
    chance = random.Random(7)
    scoped = store.scope(scope)
    base = scoped.snapshot()
    for begin in range(0, count, 100):
        unit = UnitOfWork(base)
        texts = [said(chance) for _ in range(min(100, count - begin))]
        for text, vector in zip(texts, vectors.embed(texts, dimension), strict=True):
            unit.add(text, vector, "text-embedding-v4")
        base = scoped.commit(unit.changes, base=base)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """Its search index is late, and its replicas do not agree how late."""
    with Emulator(options=["--index-lag", "5", "--replica-lags", "0,1,2.5"]) as running:
        yield running


def overlap(large: MemoryService, exact: MemoryService, scope: Scope, queries: int) -> float:
    """The mean share of the exact search's ten that the large scope's search finds too."""
    chance = random.Random(11)
    shares = []
    for _ in range(queries):
        query = said(chance).rpartition("，")[0]
        best = {h.memory.id for h in exact.search(scope, query, limit=10)}
        shares.append(len(best & {h.memory.id for h in large.search(scope, query, limit=10)}) / len(best))
    return sum(shares) / len(shares)


@pytest.mark.parametrize(("count", "queries"), [(600, 20), pytest.param(20_000, 100, marks=pytest.mark.slow)])
def test_the_index_s_candidates_lead_to_nearly_the_exact_answer(
    make: MakeService, open_store: OpenStore, prefix: str, scope: Scope, count: int, queries: int
) -> None:
    exact = open_store(prefix, EXACT_SEARCH_LIMIT="100000")
    fill(exact, scope, count)
    large = make(open_store(prefix, EXACT_SEARCH_LIMIT="0"))
    assert overlap(large, make(exact), scope, queries) >= 0.9


def test_in_a_large_scope_too_what_was_added_is_found_and_what_was_deleted_is_gone(
    make: MakeService, open_store: OpenStore, prefix: str, scope: Scope, fake: FakeOpenAI
) -> None:
    store = open_store(prefix, EXACT_SEARCH_LIMIT="0")
    fill(store, scope, 200)
    service, other = make(store), make(open_store(prefix, EXACT_SEARCH_LIMIT="0"))
    service.search(scope, "x")
    [added] = service.add(scope, "我住在上海").results
    assert other.search(scope, "我住在哪个城市，上海吗")[0].memory.id == added.id
    fake.forget()
    [moved] = other.add(scope, "我现在住在北京").results
    assert (moved.event, moved.id) == ("UPDATE", added.id)
    assert service.search(scope, "我住在北京")[0].memory.text == moved.memory
    service.delete(scope, [added.id])
    assert added.id not in {h.memory.id for h in other.search(scope, "我住在北京", limit=50)}
    assert other.list(scope).total == 200
