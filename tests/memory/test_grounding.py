"""What a text does not say is not stored, whatever the model gives; what it says is, in whatever words or language."""

import json
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.fake_openai import WEAK, FakeOpenAI
from tablestore_openmemory_mcp.memory.add.fallback import is_pending
from tablestore_openmemory_mcp.memory.add.grounding import PAIRS, Grounding, examples_in, learnt
from tablestore_openmemory_mcp.memory.mem0.engine import prompts
from tablestore_openmemory_mcp.memory.models.embedder import Embedded, Embedder
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope

PROMPT = prompts(None, None).extraction("")[0]["content"]
SAID = json.loads((Path(__file__).parents[2] / "benchmarks" / "data" / "said.json").read_text())
MakeService = Callable[..., MemoryService]


class Topics(Embedder):
    """Knows the topic of each text that it was told of, in any language; `blind`: gives all texts much the same."""

    def __init__(self, topics: dict[str, int], *, blind: bool = False) -> None:
        self.model, self.dimension = f"topics {blind}", 200
        self._topics = topics
        self._blind = blind
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str], *, deadline: float, retries: float = 0) -> Any:
        self.asked += texts
        made = np.zeros((len(texts), self.dimension), np.float32)
        for i, text in enumerate(texts):
            noise = np.random.default_rng(zlib.crc32(text.encode())).normal(0, 0.02, self.dimension)
            made[i] = noise
            made[i, -1 if self._blind else self._topics.get(text, len(self._topics) % 199)] += 1
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    def embed_each(self, texts: Sequence[str], *, deadline: float) -> Embedded:
        return Embedded(self.embed(texts, deadline=deadline), {})


def known_topics() -> dict[str, int]:
    """The pairs that an embedder is asked about, and the sets of texts, n-th of both languages about the same."""
    topics = {side: n for written in PAIRS.values() for n, pair in enumerate(written) for side in pair}
    for language in ("en", "zh"):
        for n, entry in enumerate(SAID[language]):
            topics |= dict.fromkeys([entry["said"], *entry["facts"]], 20 + n)
    return topics


def judged(facts: Sequence[str], text: str, embedder: Embedder | None) -> set[str]:
    return Grounding(PROMPT).invented(facts, text, embedder, time.monotonic() + 30)


def test_an_embedder_is_believed_where_it_can_tell_and_not_where_it_cannot() -> None:
    assert all(bound is not None for bound in learnt(Topics(known_topics()), 0).values())
    assert set(learnt(Topics({}, blind=True), 0).values()) == {None}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    "embedder", [None, Topics(known_topics()), Topics({}, blind=True)], ids=["no", "good", "blind"]
)
def test_every_fact_of_68_texts_passes_in_both_languages(language: str, embedder: Embedder | None) -> None:
    other = {"en": "zh", "zh": "en"}[language]
    for n, entry in enumerate(SAID[language]):
        assert judged([*entry["facts"], *SAID[other][n]["facts"]], entry["said"], embedder) == set(), entry


@pytest.mark.parametrize("language", ["en", "zh"])
def test_facts_of_other_texts_do_not_pass(language: str) -> None:
    embedder = Topics(known_topics())
    entries = SAID[language]
    wrong = 0
    for n, entry in enumerate(entries):
        others = [fact for i in range(3) for fact in entries[(n + 5 * (i + 1)) % len(entries)]["facts"]]
        wrong += len(set(others) - judged(others, entry["said"], embedder))
    assert wrong <= 0.06 * 3 * len(entries), "but for those that share words, or half of them, by chance"


@pytest.mark.parametrize(
    "embedder", [None, Topics(known_topics()), Topics({}, blind=True)], ids=["no", "good", "blind"]
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_prompt_s_own_sentences_are_no_facts(language: str, embedder: Embedder | None) -> None:
    copied = [*examples_in(PROMPT), PROMPT[PROMPT.index("Today's date") :].split(".")[0]]
    assert len(copied) == 6
    passed = [judged(copied, entry["said"], embedder) ^ set(copied) for entry in SAID[language]]
    assert sum(map(len, passed)) <= 0.03 * 6 * len(passed)


def test_an_example_of_the_prompt_that_was_said_is_a_fact() -> None:
    assert (
        judged(["Name is John", "Is a Software engineer"], "Hi, I'm a software engineer, my name is John.", None)
        == set()
    )
    assert judged(["Name is John"], "My name is Peter.", None) == {"Name is John"}


def test_words_that_are_there_cost_no_request() -> None:
    embedder = Topics({})
    assert judged(["Lives in Lisbon", "User is allergic to peanuts"], SAID["en"][0]["said"], embedder) == set()
    assert embedder.asked == []


def test_a_fact_in_a_long_text_is_compared_with_its_part() -> None:
    topics = known_topics()
    text, fact = "。".join(["今天什么也没有发生"] * 100 + ["啊"]), "Nothing happened"
    embedder = Topics(topics)
    judged([fact], text, embedder)
    pieces = [t for t in embedder.asked if t in text]
    assert 2 <= len(pieces) <= 10
    assert "".join(p[-30:] for p in pieces)


# --- through the service ------------------------------------------------------------------------------------------

BEFORE = "我住在上海。我喜欢吃辣的东西。我爱看科幻电影。"
WRONG = ("John", "date", "Central Park")


@pytest.mark.parametrize("style", sorted(set(WEAK) - {"echoing_updates"}))
def test_what_weak_models_write_is_understood_and_nothing_invented_is_stored(
    make: MakeService, fake: FakeOpenAI, scope: Scope, style: str
) -> None:
    service = make(TABLESTORE_VECTOR_DIMENSION="1024")
    fake.model.topics = {side: str(n) for pairs in PAIRS.values() for n, pair in enumerate(pairs) for side in pair}
    fake.model.style = WEAK[style]
    result = service.add(scope, BEFORE)
    texts = [m.text for m in service.list(scope).memories]
    assert len(texts) == 3, texts
    assert not any(word in text for text in texts for word in WRONG)
    assert fake.count("extraction") <= 2
    if style in ("parroting", "inventing"):
        assert "left out" in (result.message or "")
        complaint = [r for r in fake.requests if r.kind == "extraction"][1].body["messages"][-1]["content"]
        assert "not in the input" in complaint


def test_a_model_that_invents_once_is_asked_once_more(service: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    fake.style_next(WEAK["parroting"])
    result = service.add(scope, BEFORE)
    assert (len(result.results), result.message) == (3, None)
    assert fake.count("extraction") == 2


def test_where_all_is_invented_the_text_is_kept(service: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    fake.answer(lambda body: True, json.dumps({"facts": ["Name is John"]}))
    result = service.add(scope, "我下周二去北京出差")
    assert "word for word" in (result.message or "")
    [memory] = service.list(scope).memories
    assert (memory.text, is_pending(memory)) == ("我下周二去北京出差", True)
    service.add(scope, "我对花生过敏")
    assert all(not is_pending(m) for m in service.list(scope).memories if "北京" in m.text), "asked about once more"


def test_a_good_answer_costs_one_embedding_request(service: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    service.add(scope, BEFORE)
    assert (fake.count("chat"), fake.count("embeddings")) == (1, 1)
