"""What an LLM need not be asked again, and how often a user may ask it: known to every instance, not to one process."""

import threading
from collections.abc import Callable
from datetime import date

import pytest

from support.emulator import Emulator
from support.fake_openai import STYLES, FakeOpenAI
from support.plain_store import PlainStore
from tablestore_openmemory_mcp.errors import LimitExceeded, StoreError
from tablestore_openmemory_mcp.memory.add import deduplication as repeats
from tablestore_openmemory_mcp.memory.models import prompts
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.memory.unit_of_work import UnitOfWork
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]
OpenStore = Callable[..., TablestoreStore]

SAID = "我住在上海。我喜欢吃辣的东西。"


@pytest.fixture
def instances(make: MakeService, open_store: OpenStore, prefix: str) -> Callable[..., MemoryService]:
    """`instances(VARIABLE=…)`: one more instance, with a store and a cache of its own."""
    return lambda **environ: make(open_store(prefix), **environ)


# --- repeats ------------------------------------------------------------------------------------------------------


def test_the_same_text_again_costs_no_llm_call(serving: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    serving.add(scope, SAID)
    fake.forget()
    result = serving.add(scope, f"  {SAID}\n")
    assert (result.results, fake.requests) == ([], [])
    assert result.message is not None
    assert "already" in result.message


def test_any_instance_knows_a_repeat(instances: Callable[..., MemoryService], fake: FakeOpenAI, scope: Scope) -> None:
    first, second = instances(), instances()
    assert second.list(scope).total == 0, "it holds a cached scope from before"
    first.add(scope, SAID)
    first.add(scope, "我现在住在北京")
    fake.forget()
    assert second.add(scope, "我现在住在北京").results == []
    assert instances().add(scope, "我现在住在北京").results == []
    assert fake.requests == []
    second.add(scope, SAID)
    assert fake.count("extraction") == 1, "one of the two memories that it made was corrected since"


@pytest.mark.parametrize("between", ["corrected", "rewritten", "deleted", "emptied", "half deleted"])
def test_the_same_text_is_heard_again_once_what_it_left_has_changed(
    serving: MemoryService, fake: FakeOpenAI, scope: Scope, between: str
) -> None:
    home, food = serving.add(scope, SAID).results
    if between == "corrected":
        serving.add(scope, "我现在住在北京")
    elif between == "rewritten":
        serving.update(scope, home.id, "我住在杭州")
    elif between == "deleted":
        serving.delete(scope, [home.id, food.id])
    elif between == "half deleted":
        serving.delete(scope, [home.id])
    else:
        serving.delete_all(scope)
    fake.forget()
    assert serving.add(scope, SAID).results
    assert fake.count("extraction") == 1
    assert any("上海" in m.text for m in serving.list(scope).memories)


def test_a_text_said_again_after_a_change_and_back_is_a_repeat_of_the_last_time_only(
    serving: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    serving.add(scope, "我住在上海")
    serving.add(scope, "我现在住在北京")
    serving.add(scope, "我住在上海")
    fake.forget()
    assert serving.add(scope, "我住在上海").results == []
    assert fake.requests == []
    serving.add(scope, "我现在住在北京")
    assert fake.count("extraction") == 1


def test_two_commits_of_one_text_do_not_add_up_to_a_whole_one(plain: PlainStore, scope: Scope) -> None:
    store = plain.scope(scope)
    for kept in ("a", "b"):
        unit = UnitOfWork(store.snapshot())
        for text in ("a", "b"):
            unit.add(f"{text}{kept}", None, None)
        after = store.commit(repeats.sign(unit, "name").changes, base=unit.base)
        assert repeats.stands(after, "name")
        gone = UnitOfWork(after)
        gone.delete(next(o.id for o in unit.outcomes if o.memory == f"{kept}{kept}"))
        store.commit(gone.changes, base=after)
    assert len(store.snapshot().memories) == 2
    assert not repeats.stands(store.snapshot(), "name")


def test_a_new_vector_or_a_search_does_not_make_a_repeat_unheard(
    make: MakeService, store: PlainStore | TablestoreStore, fake: FakeOpenAI, scope: Scope
) -> None:
    make(store).add(scope, SAID)
    other = make(store, EMBEDDER_MODEL="another-embedder")
    other.search(scope, "上海")
    assert {m.vector_model for m in store.scope(scope).snapshot().memories.values()} == {"another-embedder"}
    fake.forget()
    assert other.add(scope, SAID).results == []
    assert fake.requests == []


@pytest.mark.parametrize(
    "environ",
    [{"LLM_MODEL": "qwen-max"}, {"MEM0_FACT_EXTRACTION_PROMPT": "提取事实。"}, {"MEM0_UPDATE_MEMORY_PROMPT": "更新。"}],
    ids=lambda environ: next(iter(environ)),
)
def test_another_model_or_prompt_is_asked_anew(
    make: MakeService, store: PlainStore | TablestoreStore, fake: FakeOpenAI, scope: Scope, environ: dict[str, str]
) -> None:
    make(store).add(scope, SAID)
    fake.forget()
    make(store, **environ).add(scope, SAID)
    assert fake.count("extraction") == 1


def test_the_next_day_a_text_may_mean_something_else(
    serving: MemoryService, fake: FakeOpenAI, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.add(scope, "我明天去北京出差")

    class Tomorrow(date):
        @classmethod
        def today(cls) -> "Tomorrow":
            return cls.fromordinal(date.today().toordinal() + 1)

    monkeypatch.setattr(prompts, "date", Tomorrow)
    fake.forget()
    serving.add(scope, "我明天去北京出差")
    assert fake.count("extraction") == 1


def test_another_scope_s_repeat_is_no_repeat(serving: MemoryService) -> None:
    serving.add(Scope("u", "a"), "我住在上海")
    assert serving.add(Scope("u", "b"), "我住在上海").results
    assert serving.add(Scope("v", "a"), "我住在上海").results


# --- budget -------------------------------------------------------------------------------------------------------


def test_a_day_s_budget_is_the_user_s_whatever_the_client_and_the_instance(
    instances: Callable[..., MemoryService], fake: FakeOpenAI
) -> None:
    first, second = (instances(LLM_CALLS_PER_USER_PER_DAY="2") for _ in range(2))
    first.add(Scope("u", "a"), "我住在上海")
    second.add(Scope("u", "b"), "我住在上海")
    for service in (first, second, instances(LLM_CALLS_PER_USER_PER_DAY="2")):
        with pytest.raises(LimitExceeded, match="LLM_CALLS_PER_USER_PER_DAY"):
            service.add(Scope("u", "a"), "我喜欢吃辣的东西")
    assert second.add(Scope("another", "a"), "我喜欢吃辣的东西").results
    assert fake.count("chat") == 3


def test_a_budget_is_exact_however_many_spend_it_at_once(
    instances: Callable[..., MemoryService], fake: FakeOpenAI
) -> None:
    services = [instances(LLM_CALLS_PER_USER_PER_DAY="5") for _ in range(4)]
    refused = []

    def add(n: int) -> None:
        try:
            services[n % 4].add(Scope("u", f"client {n}"), "我住在上海")
        except LimitExceeded:
            refused.append(n)

    threads = [threading.Thread(target=add, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (fake.count("chat"), len(refused)) == (5, 7)


def test_a_budget_counts_each_day_by_itself(open_store: OpenStore, prefix: str) -> None:
    counts = open_store(prefix).sessions
    assert [counts.take("llm calls", "张三", day, 2) for day in ("2026-11-22",) * 3] == [True, True, False]
    assert [counts.take("llm calls", "张三", day, 2) for day in ("2026-11-23",) * 3] == [True, True, False]
    assert counts.take("llm calls", "张", "2026-11-23", 2)


def test_a_count_that_is_not_answered_is_found_out_and_never_free(
    open_store: OpenStore, prefix: str, emulator: Emulator
) -> None:
    counts = open_store(prefix).sessions
    assert counts.take("llm calls", "u", "d", 9)
    emulator.fault(apis="UpdateRow", drop=True, when="after", times=1)
    assert counts.take("llm calls", "u", "d", 9)
    row = counts.get("llm calls", "u", 0)
    assert row is not None
    assert row.columns["taken"] == "d 3", "whose the unanswered one was cannot be told"


def test_without_a_budget_nothing_is_counted(
    instances: Callable[..., MemoryService], open_store: OpenStore, prefix: str, scope: Scope
) -> None:
    instances().add(scope, SAID)
    assert list(open_store(prefix).sessions.list("llm calls")) == []


def test_an_llm_is_not_paid_for_what_cannot_be_stored(
    instances: Callable[..., MemoryService], fake: FakeOpenAI, emulator: Emulator, scope: Scope
) -> None:
    service = instances()
    service.add(scope, "我住在上海")
    fake.forget()
    emulator.fault(error="OTSNoPermissionAccess")
    try:
        with pytest.raises(StoreError):
            service.add(scope, "我喜欢吃辣的东西")
    finally:
        emulator.clear_faults()
    assert fake.requests == []


def test_an_answer_that_stopped_half_way_is_no_repeat(serving: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    fake.style_next(STYLES["truncated"], STYLES["truncated"])
    first = serving.add(scope, "我住在上海。我喜欢吃辣的东西。我爱看科幻电影。")
    assert first.message is not None
    assert "half-way" in first.message
    fake.forget()
    assert serving.add(scope, "我住在上海。我喜欢吃辣的东西。我爱看科幻电影。").results, "what was missing comes now"
    assert fake.count("extraction") == 1
