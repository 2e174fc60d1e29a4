"""A word is found however it was typed: one folding for what is indexed and for what is asked."""

import tracemalloc
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tablestore_openmemory_mcp.memory.search import tokenizer as module
from tablestore_openmemory_mcp.memory.search.ranking import LexicalIndex
from tablestore_openmemory_mcp.memory.search.simplified_chinese import SIMPLIFIED, TRADITIONAL
from tablestore_openmemory_mcp.memory.search.tokenizer import tokens
from tablestore_openmemory_mcp.memory.search.unicode_folding import fold
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import Memory

ALIKE = [  # what is remembered, what is asked; and the other way round
    ("GitHub", "github"),
    ("JavaScript", "javascript"),
    ("iPhone", "iphone"),
    ("PostgreSQL", "postgresql"),
    ("HTTPServerFactory", "http server"),
    ("HTTPServerFactory", "httpserverfactory"),
    ("maxRetries", "max_retries"),
    ("max-retries", "maxRetries"),
    ("café Zürich", "cafe zurich"),
    ("CAFÉ", "café"),
    ("Straße", "strasse"),
    ("STRASSE", "straße"),
    ("Ёлка", "елка"),
    ("Nguyễn", "nguyen"),
    ("Đà Nẵng", "da nang"),
    ("smørrebrød", "smorrebrod"),
    ("Łódź", "lodz"),
    ("Ærø", "aero"),
    ("œuvre", "oeuvre"),
    ("İstanbul", "istanbul"),
    ("ΟΔΟΣ", "οδός"),
    ("שָׁלוֹם", "שלום"),
    ("مُحَمَّد", "محمد"),
    ("廣東話", "广东话"),
    ("臺灣", "台湾"),
    ("Python3", "python"),
    ("Python3", "python 3"),
    ("72kg", "72 kg"),
    ("１２３", "123"),
    ("1,299", "1299"),
    ("1,299,000", "1299000"),
    ("ＦＵＬＬ　ｗｉｄｔｈ", "full width"),
    ("Wi-Fi", "wifi"),
    ("Wi‑Fi", "WiFi"),
    ("e-mail", "email"),
    ("👍🏽", "👍"),
    ("❤️", "❤"),
    ("👩‍💻", "👩"),
]
DIFFERENT = [
    ("が", "か"),
    ("мой", "мои"),
    ("1,29", "129"),
    ("3.14159", "314159"),
    ("👍", "👎"),
    ("C", "D"),
]

words = st.sampled_from([side for pair in ALIKE for side in pair])
texts = st.one_of(st.text(max_size=60), st.lists(st.one_of(words, st.text(max_size=8)), max_size=6).map(" ".join))


def found(remembered: str, asked: str) -> bool:
    index = LexicalIndex()
    memories = [Memory("0", remembered, 0, 0), Memory("1", "nothing alike, 别的事情", 0, 0)]
    index.follow({m.id: m for m in memories})
    hit, other = index.scores(asked)[index.slots(memories)]
    return bool(hit > 0 and other == 0)


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_it_is_found_however_it_was_typed(one: str, other: str) -> None:
    assert found(one, other)
    assert found(other, one)
    assert found(f"I wrote {one}, you see", other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_is_another_word_stays_one(one: str, other: str) -> None:
    assert not found(one, other)
    assert not found(other, one)


def test_a_search_finds_them(keyless: MemoryService, scope: Scope) -> None:
    for one, _ in ALIKE:
        keyless.add(scope, f"note: {one}")
    for one, other in ALIKE:
        assert any(one in hit.memory.text for hit in keyless.search(scope, other, limit=5)), (one, other)


@given(texts)
@settings(max_examples=500, deadline=None)
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(texts)
@settings(max_examples=500, deadline=None)
def test_how_the_marks_are_encoded_makes_no_difference(text: str) -> None:
    assert fold(unicodedata.normalize("NFC", text)) == fold(unicodedata.normalize("NFD", text)) == fold(text)
    assert tokens(unicodedata.normalize("NFC", text)) == tokens(unicodedata.normalize("NFD", text))


@given(texts)
@settings(max_examples=300, deadline=None)
def test_a_text_finds_itself_in_capitals_and_without(text: str) -> None:
    terms = set(tokens(text))
    assert terms == set(tokens(fold(text)))
    if terms:
        index = LexicalIndex()
        memory = Memory("0", text, 0, 0)
        index.follow({"0": memory})
        assert index.scores(text)[index.slots([memory])] > 0


def test_the_table_of_characters_is_one() -> None:
    assert len(TRADITIONAL) == len(SIMPLIFIED) == len(set(TRADITIONAL)) > 2500
    assert not set(TRADITIONAL) & set(SIMPLIFIED)
    assert "".join(tokens("憂鬱的臺灣烏龜尋找龍鳳麵館")) == "忧郁台湾乌龟寻找龙凤面馆"


@pytest.mark.parametrize("length", [1000, 32_000])
@pytest.mark.parametrize("piece", ["a", "aB", "A", "1,", "1", "a-", "_", "é", "廣", "👍", "a1", "e\u0301", "Ab9"])
def test_a_long_word_has_few_terms_none_of_them_long(piece: str, length: int) -> None:
    terms = tokens(piece * (length // len(piece)))
    assert max(map(len, terms), default=0) <= 64
    assert len(terms) <= length


def test_the_terms_that_are_kept_are_bounded_in_bytes() -> None:
    """Whatever is searched for: long words, words of rare letters, of many parts."""
    module._terms.cache_clear()
    tracemalloc.start()
    try:
        for n in range(3000):
            tokens(f"{n}" + "x" * 32_000)
        for n in range(20_000):
            tokens(f"{chr(0x10400 + n % 39) * 18}{n:06}")
            tokens(f"AbCdEfG{n}H" + f"{n:015}"[:10])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        module._terms.cache_clear()
    assert held < 16_000_000
