"""What an add does, and what it costs, counted in real HTTP requests."""

import threading
from collections import Counter
from collections.abc import Callable

import pytest

from support.emulator import Emulator
from support.fake_openai import FakeOpenAI
from support.plain_store import PlainStore
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]
OpenStore = Callable[..., TablestoreStore]

CONSTANTS = "常量全部采用大写字母加下划线进行命名"


def texts(service: MemoryService, scope: Scope) -> list[str]:
    return sorted(m.text for m in service.list(scope).memories)


def test_three_preferences_are_three_memories_after_one_llm_call(
    serving: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    result = serving.add(scope, f"请记住我的编码偏好：{CONSTANTS}。我喜欢使用驼峰命名法命名变量。缩进使用四个空格。")
    assert [o.event for o in result.results] == ["ADD"] * 3
    assert result.message is None
    assert len(serving.list(scope).memories) == 3
    assert (fake.count("chat"), fake.count("embeddings")) == (1, 1)


def test_a_correction_rewrites_the_old_memory_in_place(serving: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    first = serving.add(scope, f"{CONSTANTS}。我喜欢使用驼峰命名法命名变量。缩进使用四个空格。").results
    camel = next(o for o in first if "驼峰" in o.memory)
    fake.forget()
    result = serving.add(scope, "我喜欢使用小写字母加下划线命名变量")
    [outcome] = result.results
    assert (outcome.event, outcome.id, outcome.previous_memory) == ("UPDATE", camel.id, camel.memory)
    assert "小写字母加下划线" in outcome.memory
    assert (fake.count("extraction"), fake.count("update")) == (1, 1)
    assert fake.count("embeddings") == 2  # the fact, and the text as the model rewrote it
    assert len(serving.list(scope).memories) == 3


def test_lineage_keeps_old_text_client_and_time(
    serving: MemoryService, store: PlainStore | TablestoreStore, scope: Scope
) -> None:
    [added] = serving.add(scope, "我住在上海", actor="cline").results
    [moved] = serving.add(scope, "我现在住在北京", actor="cherry").results
    assert moved.id == added.id
    first, second = store.scope(scope).history(added.id)
    assert (first.event, first.new_text, first.actor) == ("ADD", added.memory, "cline")
    assert (second.event, second.old_text, second.new_text) == ("UPDATE", added.memory, moved.memory)
    assert second.actor == "cherry"
    assert (first.reason, second.reason) == (None, "corrected")
    serving.update(scope, added.id, "我住在广州")
    serving.add(scope, "忘掉我住在广州")
    assert [(e.event, e.reason) for e in store.scope(scope).history(added.id)[2:]] == [
        ("UPDATE", "asked for"),
        ("DELETE", "asked for"),
    ]
    assert second.at >= first.at > 0


def test_forgetting_on_request_deletes_and_stores_nothing(serving: MemoryService, scope: Scope) -> None:
    serving.add(scope, "我喜欢吃辣的东西。我住在上海。")
    [outcome] = serving.add(scope, "忘掉我喜欢吃辣的东西").results
    assert outcome.event == "DELETE"
    assert texts(serving, scope) == ["住在上海"] or texts(serving, scope) == ["我住在上海"]


def test_a_wish_to_forget_what_nobody_said_is_answered_and_not_stored(serving: MemoryService, scope: Scope) -> None:
    result = serving.add(scope, "忘掉我喜欢吃辣的东西")
    assert result.results == []
    assert result.message is not None
    assert "to be forgotten" in result.message
    assert serving.list(scope).total == 0


def test_what_is_known_changes_nothing_and_says_so(serving: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    serving.add(scope, "我住在上海")
    fake.forget()
    result = serving.add(scope, "我住在上海。")
    assert result.results == []
    assert result.message is not None
    assert "already remembered" in result.message


def test_nothing_worth_storing_is_said(serving: MemoryService, scope: Scope) -> None:
    result = serving.add(scope, "你好")
    assert result.results == []
    assert result.message is not None
    assert "worth remembering" in result.message


@pytest.mark.parametrize(("facts", "embeddings"), [(10, 1), (11, 2), (20, 2)])
def test_embedding_requests_are_a_tenth_of_the_facts(
    serving: MemoryService, fake: FakeOpenAI, scope: Scope, facts: int, embeddings: int
) -> None:
    topics = "阅读跑步游泳滑雪摄影烹饪园艺围棋书法钢琴吉他登山骑行钓鱼唱歌编织瑜伽网球篮球木工"
    result = serving.add(scope, "。".join(f"我喜欢{topics[2 * n : 2 * n + 2]}" for n in range(facts)))
    assert len(result.results) == facts
    assert (fake.count("chat"), fake.count("embeddings")) == (1, embeddings)


@pytest.mark.parametrize("facts", [1, 20])
def test_an_add_is_four_round_trips_to_the_store(
    make: MakeService, open_store: OpenStore, prefix: str, emulator: Emulator, scope: Scope, facts: int
) -> None:
    topics = "阅读跑步游泳滑雪摄影烹饪园艺围棋书法钢琴吉他登山骑行钓鱼唱歌编织瑜伽网球篮球木工"
    for environ in ({}, {"ADD_FALLBACK": "verbatim"}):
        service = make(open_store(prefix), **environ)
        here = Scope(scope.user_id, f"{facts} {environ}")
        service.list(here)  # the tables are there
        before = Counter(emulator.calls())
        added = service.add(here, "。".join(f"我喜欢{topics[2 * n : 2 * n + 2]}" for n in range(facts)))
        assert len(added.results) == facts
        spent = Counter(emulator.calls()) - before
        assert spent == {"GetRow": 1, "UpdateRow": 2, "BatchWriteRow": 1}, environ


def test_a_search_is_one_embedding_request_and_one_row(
    make: MakeService, open_store: OpenStore, prefix: str, emulator: Emulator, fake: FakeOpenAI, scope: Scope
) -> None:
    service = make(open_store(prefix))
    service.add(scope, "我住在上海。我喜欢吃辣的东西。")
    fake.forget()
    before = Counter(emulator.calls())
    assert service.search(scope, "我住在哪里")
    assert Counter(emulator.calls()) - before == {"GetRow": 1}
    assert (fake.count("chat"), fake.count("embeddings")) == (0, 1)


def test_an_add_reads_the_scope_once_and_commits_once(service: MemoryService, plain: PlainStore, scope: Scope) -> None:
    store = plain.scope(scope)
    service.add(scope, "我住在上海。我喜欢吃辣的东西。我爱看科幻电影。")
    assert (store.snapshots, store.commits) == (1, 1)


def test_progress_is_told_in_words(serving: MemoryService, scope: Scope) -> None:
    serving.add(scope, "我住在上海")
    steps: list[str] = []
    serving.add(scope, "我现在住在北京", progress=steps.append)
    assert steps[0] == "extracting facts"
    assert steps == ["extracting facts", "comparing with 1 memory", "writing"]


def test_many_writers_of_the_same_facts_leave_each_once(serving: MemoryService, scope: Scope) -> None:
    topics = ["阅读", "跑步", "游泳", "滑雪", "摄影", "烹饪", "园艺", "围棋"]
    said = "。".join(f"我喜欢{topic}" for topic in topics)
    threads = [threading.Thread(target=serving.add, args=(scope, said)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(serving.list(scope).memories) == len(topics)


def test_two_corrections_at_once_leave_one_winner_and_the_whole_lineage(
    serving: MemoryService, fake: FakeOpenAI, store: PlainStore | TablestoreStore, scope: Scope
) -> None:
    [added] = serving.add(scope, "我住在上海").results
    fake.forget()
    with fake.holding("chat"):
        threads = [threading.Thread(target=serving.add, args=(scope, f"我现在住在{city}")) for city in ("北京", "广州")]
        for thread in threads:
            thread.start()
        fake.wait_for("extraction", 2)
    for thread in threads:
        thread.join()
    [memory] = serving.list(scope).memories
    lineage = store.scope(scope).history(added.id)
    assert [e.event for e in lineage] == ["ADD", "UPDATE", "UPDATE"]
    assert lineage[1].new_text == lineage[2].old_text
    assert lineage[2].new_text == memory.text
    assert fake.count("update") <= 2 * 3
