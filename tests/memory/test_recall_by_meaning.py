"""Without a key, by meaning: what words cannot find, in any of the languages; scores, and what to do where nothing is
alike. The embedder is the real one."""

from collections.abc import Callable

import pytest

from support.plain_store import PlainStore
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope

MakeService = Callable[..., MemoryService]

BY_MEANING = {"OPENAI_API_KEY": "", "EMBEDDER": "local", "TABLESTORE_VECTOR_DIMENSION": "512"}

TOLD = (
    "代码里的缩进统一用四个空格",
    "我不吃香菜",
    "Her daughter is in second grade",
    "现在住在上海",
    "He drives an old red van",
    "每周五下午有瑜伽课",
    "Meetings are on Tuesday",
)


@pytest.fixture
def told(make: MakeService, scope: Scope) -> MemoryService:
    """A service with no key whose scope holds TOLD."""
    service = make(**BY_MEANING)
    for text in TOLD:
        service.add(scope, text)
    return service


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("indentation style", TOLD[0]),
        ("cilantro", TOLD[1]),
        ("孩子多大了", TOLD[2]),
        ("Which city is home?", TOLD[3]),
        ("¿Qué coche tiene?", TOLD[4]),
        ("ヨガのクラスはいつですか", TOLD[5]),
        ("縮排風格", TOLD[0]),
    ],
)
def test_what_shares_no_word_is_found(told: MemoryService, scope: Scope, query: str, expected: str) -> None:
    first, *rest = told.search(scope, query)
    assert first.memory.text == expected
    assert first.note is None
    assert first.score is not None
    assert 0.5 < first.score <= 1
    assert len(rest) == len(TOLD) - 1


def test_what_shares_words_is_found(told: MemoryService, scope: Scope) -> None:
    assert told.search(scope, "old red van")[0].memory.text == TOLD[4]
    assert told.search(scope, "香菜")[0].memory.text == TOLD[1]


@pytest.mark.parametrize("query", ["zzz", "?", "quantum physics", "股市行情"])
def test_what_nothing_is_like_is_answered_with_the_newest(make: MakeService, scope: Scope, query: str) -> None:
    service = make(**BY_MEANING)
    for text in ("我喜欢吃辣的东西", "我现在住在上海"):
        service.add(scope, text)
    hits = service.search(scope, query)
    assert [h.memory.text for h in hits] == ["我现在住在上海", "我喜欢吃辣的东西"]
    assert {h.note for h in hits} == {"newest"}
    assert service.search(scope, "where do they live?")[0].note is None


def test_among_many_a_faint_likeness_is_an_answer(told: MemoryService, scope: Scope) -> None:
    assert told.search(scope, "?")[0].note is None


def test_the_least_score_leaves_out_what_is_below(make: MakeService, plain: PlainStore, scope: Scope) -> None:
    service = make(plain, **BY_MEANING, TABLESTORE_SEARCH_MEMORY_MIN_SCORE="0.65")
    for text in TOLD:
        service.add(scope, text)
    hits = service.search(scope, "cilantro")
    assert [h.memory.text for h in hits] == [TOLD[1]]
    assert all(h.score is not None and h.score >= 0.65 for h in hits)
    hits = service.search(scope, "photosynthesis")
    assert {h.note for h in hits} == {"newest"}, "nothing reaches it"
    assert len(hits) == len(TOLD)


@pytest.mark.parametrize("again", ["我不吃香菜", "我不吃香菜。", " 我不吃香菜！"])
def test_what_is_said_again_changes_nothing(told: MemoryService, scope: Scope, again: str) -> None:
    assert told.add(scope, again).results == []
    assert told.list(scope).total == len(TOLD)
