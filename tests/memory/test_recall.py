"""Search and list: read-your-writes, scores, one embedding request beside one read; without a key, by words."""

import random
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from support.fake_openai import FakeOpenAI, Fault
from support.fake_openai import vectors as fake_vectors
from support.plain_store import PlainStore
from support.processes import wait_until
from tablestore_openmemory_mcp.errors import InvalidInput
from tablestore_openmemory_mcp.memory.models.embedder import Embedder
from tablestore_openmemory_mcp.memory.search.ranking import LexicalIndex, best
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import Memory

PREFERENCES = "常量全部采用大写字母加下划线进行命名。我喜欢使用驼峰命名法命名变量。缩进使用四个空格。"


def test_the_best_answer_comes_first_with_the_score_of_the_reference(serving: MemoryService, scope: Scope) -> None:
    serving.add(scope, PREFERENCES)
    hits = serving.search(scope, "常量应该如何命名？")
    assert "常量" in hits[0].memory.text
    assert hits[0].score is not None
    assert 0.5 < hits[0].score <= 1
    assert len(hits) == 3


def test_a_search_is_one_embedding_request_and_one_read(
    service: MemoryService, fake: FakeOpenAI, plain: PlainStore, scope: Scope
) -> None:
    service.add(scope, PREFERENCES)
    fake.forget()
    before = plain.scope(scope).snapshots
    service.search(scope, "常量应该如何命名？")
    assert (fake.count("embeddings"), fake.count("chat")) == (1, 0)
    assert plain.scope(scope).snapshots == before + 1


def test_the_scope_is_read_while_the_embedder_is_asked(
    service: MemoryService, plain: PlainStore, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An embedder that answers once the read has happened, and not before."""
    service.add(scope, PREFERENCES)
    reads = plain.scope(scope).snapshots

    def embed(self: Embedder, texts: Sequence[str], **_: object) -> NDArray[np.float32]:
        wait_until(lambda: plain.scope(scope).snapshots > reads, 5)
        return fake_vectors.embed(texts, 256)

    monkeypatch.setattr(Embedder, "embed", embed)
    assert service.search(scope, "常量")[0].score


def test_limit_and_least_score_are_kept(make: Callable[..., MemoryService], scope: Scope) -> None:
    service = make(TABLESTORE_SEARCH_MEMORY_LIMIT="2", TABLESTORE_SEARCH_MEMORY_MIN_SCORE="0.6")
    service.add(scope, PREFERENCES)
    hits = service.search(scope, "常量全部采用大写字母加下划线进行命名")
    assert 1 <= len(hits) <= 2
    assert all(h.score is not None and h.score >= 0.6 for h in hits)
    assert len(service.search(scope, "常量", limit=1)) == 1


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_an_impossible_limit_is_refused(serving: MemoryService, scope: Scope, limit: int) -> None:
    with pytest.raises(InvalidInput, match="accepted: 1 to 1000"):
        serving.search(scope, "x", limit=limit)


def test_search_list_and_delete_never_import_mem0(fake: FakeOpenAI) -> None:
    """In a fresh process: Mem0 costs a second and 60 MB, and only an add needs it."""
    program = """
import sys
from support.fake_openai import vectors as fake_vectors
from support.plain_store import PlainStore
from support.processes import wait_until
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
scope, store = Scope("u", "c"), PlainStore()
keyless = MemoryService.from_settings(Settings.load({"STORE": "embedded", "EMBEDDER": "none"}), store)
keyless.add(scope, "I live in Shanghai")
service = MemoryService.from_settings(Settings.load(dict(a.split("=", 1) for a in sys.argv[1:])), store)
assert "openai" not in sys.modules
assert service.search(scope, "Shanghai")[0].score
assert service.list(scope).total == 1
assert service.delete_all(scope) == 1
loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"mem0", "qdrant_client", "sqlalchemy", "posthog"})
print("loaded:", loaded)
"""
    arguments = [f"{k}={v}" for k, v in {**fake.environ(), "STORE": "embedded"}.items()]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={"PYTHONPATH": ":".join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "loaded: []", done.stderr


# --- the order ------------------------------------------------------------------------------------------------------


def test_an_index_that_followed_changes_scores_as_one_made_anew() -> None:
    chance = random.Random(3)
    words = ["红", "绿", "蓝", "red", "greens", "bluest", "maxRetries", "max_retries", "我们", "运动", "ＡＢＣ", "café"]
    followed, memories = LexicalIndex(), dict[str, Memory]()
    for step in range(40):
        for n in chance.sample(range(80), chance.choice([1, 1, 30])):  # added, or rewritten
            text = " ".join(chance.choices(words, k=chance.randint(0, 6)))
            memories[str(n)] = Memory(str(n), text, step, step)
        for gone in chance.sample(sorted(memories), chance.choice([0, 1, len(memories) * 3 // 4])):
            del memories[gone]
        anew, now = LexicalIndex(), list(memories.values())
        followed.follow(memories)
        anew.follow(memories)
        for query in ("red 运动", "bluest retries", "我们 abc", "nowhere"):
            expected = anew.scores(query)[anew.slots(now)]
            assert followed.scores(query)[followed.slots(now)] == pytest.approx(expected)


def test_the_best_are_the_first_of_a_full_sort() -> None:
    chance = np.random.default_rng(5)
    for size in (0, 1, 7, 50):
        scores = np.round(chance.normal(size=size), 1)
        scores[chance.random(size) < 0.2] = np.nan
        ranked = sorted(range(size), key=lambda i: (np.isnan(scores[i]), -scores[i], i))
        for k in (0, 1, 5, 50, 100):
            assert best(scores, k) == ranked[:k]


# --- without a key ------------------------------------------------------------------------------------------------


def test_keyless_texts_are_kept_word_for_word(keyless: MemoryService, scope: Scope) -> None:
    said = "我住在上海，I like *spicy* food；  常量 FOO_BAR。"
    [outcome] = keyless.add(scope, said).results
    assert (outcome.event, outcome.memory) == ("ADD", said)
    assert [m.text for m in keyless.list(scope).memories] == [said]


@pytest.mark.parametrize("again", ["我住在上海", "我住在上海。", " 我住在上海！ "])
def test_keyless_near_duplicates_change_nothing(keyless: MemoryService, scope: Scope, again: str) -> None:
    keyless.add(scope, "我住在上海。")
    result = keyless.add(scope, again)
    assert result.results == []
    assert result.message
    assert keyless.list(scope).total == 1


def test_keyless_recalled_memories_said_again_line_by_line_change_nothing(keyless: MemoryService, scope: Scope) -> None:
    for said in ("我住在上海", "I like spicy food"):
        keyless.add(scope, said)
    assert keyless.add(scope, "- 我住在上海\n- I like spicy food").results == []
    assert keyless.add(scope, "1. 我住在上海\n2. I like green tea").results
    assert keyless.list(scope).total == 3


@pytest.mark.parametrize(
    ("first", "second"), [("I like C", "I like C++"), ("use FOO_BAR", "use foo_bar"), ("3月5日开会", "3月6日开会")]
)
def test_keyless_texts_that_differ_are_both_kept(keyless: MemoryService, scope: Scope, first: str, second: str) -> None:
    keyless.add(scope, first)
    assert keyless.add(scope, second).results
    assert keyless.list(scope).total == 2


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("我平时喜欢吃什么口味", "我喜欢吃辣的东西"),
        ("住在哪个城市，上海吗", "我现在住在上海"),
        ("which movies do they love?", "The user loves science fiction movies"),
        ("naming of variables", "Variable names are snake_case"),
        ("maxRetries", "The setting max_retries is 5"),
    ],
)
def test_keyless_recall_finds_words_in_both_languages(
    keyless: MemoryService, scope: Scope, query: str, expected: str
) -> None:
    for said in (
        "我喜欢吃辣的东西",
        "我现在住在上海",
        "The user loves science fiction movies",
        "Variable names are snake_case",
        "The setting max_retries is 5",
        "Meetings are on Tuesday",
    ):
        keyless.add(scope, said)
    [first, *_] = keyless.search(scope, query)
    assert first.memory.text == expected
    assert first.score is None
    assert first.note is None


def test_keyless_recall_that_finds_nothing_answers_with_the_newest(keyless: MemoryService, scope: Scope) -> None:
    for said in ("我喜欢吃辣的东西", "我现在住在上海"):
        keyless.add(scope, said)
    hits = keyless.search(scope, "zebra")
    assert {h.note for h in hits} == {"newest"}
    assert len(hits) == 2


def test_memories_without_vectors_get_them_once_there_is_a_key(
    make: Callable[..., MemoryService], fake: FakeOpenAI, plain: PlainStore, scope: Scope
) -> None:
    keyless = make(OPENAI_API_KEY="")
    for n in range(60):
        keyless.add(scope, f"第{n}条：我喜欢数字{n}")
    service = make()
    service.search(scope, "数字")
    assert fake.count("embeddings") == 1 + 5
    assert sum(m.vector is not None for m in plain.scope(scope).snapshot().memories.values()) == 50
    service.search(scope, "数字")
    fake.forget()
    assert all(h.score for h in service.search(scope, "哪些数字", limit=60))
    assert fake.count("embeddings") == 1
    assert service.list(scope).total == 60


def test_a_new_embedder_model_does_not_mix_with_the_old_one(
    make: Callable[..., MemoryService], plain: PlainStore, scope: Scope
) -> None:
    make().add(scope, PREFERENCES)
    make(EMBEDDER_MODEL="text-embedding-v3").search(scope, "常量")
    assert {m.vector_model for m in plain.scope(scope).snapshot().memories.values()} == {"text-embedding-v3"}


def test_a_search_survives_when_old_memories_cannot_be_embedded(
    make: Callable[..., MemoryService], fake: FakeOpenAI, scope: Scope
) -> None:
    make(OPENAI_API_KEY="").add(scope, "我现在住在上海")
    service = make()
    ok = Fault.slow(0)
    fake.fail_next("embeddings", ok, Fault.refused_key())
    assert [h.memory.text for h in service.search(scope, "住在上海")] == ["我现在住在上海"]


# --- lists --------------------------------------------------------------------------------------------------------


def test_a_list_pages_through_everything_newest_first(keyless: MemoryService, scope: Scope) -> None:
    for n in range(25):
        keyless.add(scope, f"memory number {n}")
    seen: list[Memory] = []
    cursor = None
    while True:
        page = keyless.list(scope, cursor=cursor, limit=10)
        assert page.total == 25
        seen += page.memories
        if page.cursor is None:
            break
        cursor = page.cursor
    assert len({m.id for m in seen}) == 25
    assert [m.updated_at for m in seen] == sorted((m.updated_at for m in seen), reverse=True)


def test_a_page_is_bounded_in_characters(make: Callable[..., MemoryService], scope: Scope) -> None:
    keyless = make(OPENAI_API_KEY="")
    for n in range(15):
        keyless.add(scope, f"{n}" + "x" * 31_000)
    page = keyless.list(scope)
    assert 1 < len(page.memories) < 15
    assert page.cursor
    rest = keyless.list(scope, cursor=page.cursor)
    assert len(page.memories) + len(rest.memories) == 15


@pytest.mark.parametrize("cursor", ["x", "!!!", "W10", "eyJhIjoxfQ", "é"])
def test_a_cursor_of_someone_else_is_refused(keyless: MemoryService, scope: Scope, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        keyless.list(scope, cursor=cursor)


def test_delete_all_says_the_true_count_and_leaves_nothing(keyless: MemoryService, scope: Scope) -> None:
    for n in range(12):
        keyless.add(scope, f"memory number {n}")
    other = Scope(scope.user_id, "another")
    keyless.add(other, "stays")
    assert keyless.delete_all(scope) == 12
    assert keyless.list(scope).memories == []
    assert keyless.search(scope, "memory") == []
    assert keyless.list(other).total == 1
    assert keyless.delete_all(scope) == 0


@pytest.mark.parametrize("bad", ["", "  \n\t ", "a\x00b", "\ud83d lone", "x" * 32_001])
def test_bad_texts_are_refused_with_what_is_accepted(service: MemoryService, scope: Scope, bad: str) -> None:
    for call in (service.add, service.search):
        with pytest.raises(InvalidInput, match="accepted: 1 to 32,000 characters"):
            call(scope, bad)
    assert service.list(scope).total == 0
