"""Whole adds, with answers that weak models gave: what nothing said is about stays, whatever the embedder can tell."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from support.fake_openai import FakeOpenAI, vectors
from support.fake_openai.chat import kind_of
from support.fake_openai.styles import STYLES, WEAK, Style
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.memory.unit_of_work import now_ms
from tablestore_openmemory_mcp.scope import Scope

MakeService = Callable[..., MemoryService]
Entry = Mapping[str, Any]
DAY = 24 * 60 * 60 * 1000
OLD = re.compile(r"current content of my memory.*?```(.*?)```", re.DOTALL)


def blind(texts: Iterable[str], dimensions: int, topics: Mapping[str, str] | None = None) -> NDArray[np.float32]:
    """Every text is the same to it."""
    return np.tile(np.eye(1, dimensions, dtype=np.float32), (len(list(texts)), 1))


def rolling_dice(texts: Iterable[str], dimensions: int, topics: Mapping[str, str] | None = None) -> NDArray[np.float32]:
    """Any two texts are about as near, as with multilingual-e5 (0.8), and what is nearer is chance."""

    def one(text: str) -> NDArray[np.float64]:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        vector = np.random.default_rng(seed).normal(size=dimensions)
        vector[0] += 2 * np.sqrt(dimensions)
        return vector / np.linalg.norm(vector)

    return np.stack([one(text) for text in texts]).astype(np.float32)


@pytest.fixture(params=["able", "blind", "rolling dice"])
def embedder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the fake embeds; what it decides does not depend on it."""
    other = {"blind": blind, "rolling dice": rolling_dice}.get(request.param)
    if other:
        monkeypatch.setattr(vectors, "embed", other)
    return str(request.param)


def is_extraction(body: Entry) -> bool:
    return kind_of(body) == "extraction"


def is_update(body: Entry) -> bool:
    return kind_of(body) == "update"


def says(fake: FakeOpenAI, facts: Sequence[str], entries: Sequence[Entry]) -> None:
    """What the model answers next. An entry's "id" is the text of the memory that it names."""

    def decided(body: Entry) -> str:
        found = OLD.search(body["messages"][0]["content"])
        aliases = {e["text"]: e["id"] for e in json.loads(found[1])} if found else {}
        return json.dumps({"memory": [{**e, "id": aliases.get(e["id"], "99")} for e in entries]}, ensure_ascii=False)

    fake.answer(is_extraction, json.dumps({"facts": list(facts)}, ensure_ascii=False))
    fake.answer(is_update, decided)


def remember(service: MemoryService, fake: FakeOpenAI, scope: Scope, *texts: str) -> None:
    """Each as a memory of its own."""
    for text in texts:
        says(fake, [text], [])
        service.add(scope, text)


def texts(service: MemoryService, scope: Scope) -> set[str]:
    return {m.text for m in service.list(scope).memories}


def update(memory: str, text: str, old: str | None = None, **link: int) -> Entry:
    return {"id": memory, "text": text, "event": "UPDATE", **({"old_memory": old} if old else {}), **link}


def delete(memory: str, **link: int) -> Entry:
    return {"id": memory, "text": memory, "event": "DELETE", **link}


def none(memory: str, **link: int) -> Entry:
    return {"id": memory, "text": memory, "event": "NONE", **link}


ALLERGY, ASPIRIN, ROME, SNACKS = (
    "Allergic to peanuts", "Takes aspirin daily", "Lives in Rome", "Eats late snacks on weekends",
)  # fmt: skip
KNOWN = (ALLERGY, ASPIRIN, ROME, SNACKS)
REWORDED, MOVED = update(ALLERGY, "Has a peanut allergy", ALLERGY), update(ROME, "Lives in Milan", ROME)
MERGED = update(ALLERGY, "Allergic to peanuts; takes aspirin daily", ALLERGY)
ADDED = {"id": "9", "text": "Has a cat", "event": "ADD"}
ALL_DELETED = [delete(text) for text in KNOWN]

# A fact, what the model decides, and the memory that the fact is about (None: it is added, and all others stay).
SLIPS: Mapping[str, tuple[str, Sequence[Entry], str | None]] = {
    "reworded first": ("Lives in Milan", [REWORDED, MOVED], ROME),
    "moved first": ("Lives in Milan", [MOVED, REWORDED], ROME),
    "linked to the wrong one": ("Lives in Milan", [{**REWORDED, "fact": 1}, MOVED], ROME),
    "merged": ("Has a cat", [MERGED, delete(ASPIRIN), ADDED], None),
    "merged, with links": ("Has a cat", [{**MERGED, "fact": 1}, delete(ASPIRIN, fact=1)], None),
    "another field": ("Flies to Tokyo in October", [update(SNACKS, "Flies to Tokyo in October")], None),
    "another field, linked": ("Flies to Tokyo in October", [update(SNACKS, "Flies to Tokyo in October", fact=1)], None),
    "a daughter over an allergy": ("Has a daughter aged 7", [update(ALLERGY, "Has a daughter aged 7", fact=1)], None),
    "deleted beside an addition": ("Has a cat", [delete(ALLERGY), ADDED], None),
    "unchanged with another's text": ("Has a cat", [update(t, t, KNOWN[n - 1]) for n, t in enumerate(KNOWN)], None),
    "all deleted": ("Has a cat", ALL_DELETED, None),
    "all deleted, with links": ("Has a cat", [{**entry, "fact": 1} for entry in ALL_DELETED], None),
    "in another language": ("养了一只猫", [update(ALLERGY, "养了一只猫", ALLERGY, fact=1), delete(ROME, fact=1)], None),
    "0 where no fact is meant": ("Lives in Milan", [none(ALLERGY, fact=0), {**MOVED, "fact": 1}], ROME),
    "counted from 0": ("Lives in Milan", [none(ALLERGY), {**MOVED, "fact": 0}], ROME),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_changes_nothing_that_the_fact_is_not_about(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, embedder: str, slip: str
) -> None:
    assert after(service, fake, scope, slip) == expected(slip)


@pytest.mark.parametrize("slip", SLIPS)
def test_nor_with_a_person_s_own_prompt(make: MakeService, fake: FakeOpenAI, scope: Scope, slip: str) -> None:
    service = make(MEM0_UPDATE_MEMORY_PROMPT="You keep my memories. Correct them.")
    assert after(service, fake, scope, slip) == expected(slip)


def after(service: MemoryService, fake: FakeOpenAI, scope: Scope, slip: str) -> set[str]:
    remember(service, fake, scope, *KNOWN)
    fact, entries, _ = SLIPS[slip]
    says(fake, [fact], entries)
    service.add(scope, fact)
    return texts(service, scope)


def expected(slip: str) -> set[str]:
    fact, _, about = SLIPS[slip]
    return {*KNOWN, fact} - {about}


def test_a_person_s_own_prompt_still_asks_for_the_links(make: MakeService, fake: FakeOpenAI, scope: Scope) -> None:
    service = make(MEM0_UPDATE_MEMORY_PROMPT="You keep my memories. Correct them.")
    remember(service, fake, scope, ROME)
    fake.forget()
    says(fake, ["Lives in Milan"], [MOVED])
    service.add(scope, "Lives in Milan")
    [asked] = [r.body["messages"][0]["content"] for r in fake.requests if r.kind == "update"]
    assert asked.startswith("You keep my memories.")
    assert "1. Lives in Milan" in asked
    assert '"fact"' in asked


# --- the fake's weak styles ----------------------------------------------------------------------------------------

LIFE = ("我住在上海。", "我对花生过敏。", "我喜欢吃辣的东西。", "I play chess on Sundays.", "My sister is a dentist.")
SAID = {
    "我现在住在北京": "上海",
    "I drive an old red van.": None,
    "我养了一只黑猫。我现在住在深圳。": "北京",
    "I no longer play chess on Sundays.": "chess",
}
WRONG_IDS = ("shifted_ids", "hallucinated_ids", "duplicated_ids", "missing_ids")
DRESSED: Mapping[str, Style] = {**WEAK, **{name: STYLES[name] for name in WRONG_IDS}}


@pytest.mark.parametrize("style", DRESSED)
def test_whatever_a_weak_model_writes_unconcerned_memories_stay(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, style: str, embedder: str
) -> None:
    for text in LIFE:
        service.add(scope, text)
    fake.model.style = DRESSED[style]
    for said, about in SAID.items():
        before = texts(service, scope)
        service.add(scope, said)
        now = texts(service, scope)
        assert {text for text in before if about is None or about not in text} - now == set()
        assert len(now) >= len(before)


# --- what a decision may not do besides ----------------------------------------------------------------------------


def test_a_broken_text_is_not_written_over_a_memory(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, embedder: str
) -> None:
    remember(service, fake, scope, "Likes the café on Main Street", ALLERGY)
    fact = "Likes the café on High Street"
    says(fake, [fact], [update("Likes the café on Main Street", "Likes the caf\ufffd on High Street", fact=1)])
    fake.forget()
    service.add(scope, fact)
    assert fake.count("update") == 2, "it was asked for a sound text once more"
    assert texts(service, scope) == {fact, ALLERGY}


def test_what_a_memory_says_may_hold_such_a_character(service: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    remember(service, fake, scope, "Likes the caf\ufffd on Main Street")
    fact = "Likes the caf\ufffd on High Street"
    says(fake, [fact], [update("Likes the caf\ufffd on Main Street", fact, fact=1)])
    fake.forget()
    service.add(scope, fact)
    assert fake.count("update") == 1
    assert texts(service, scope) == {fact}


def test_what_is_true_for_a_while_deletes_nothing_that_outlives_it(
    service: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    """The first contradicted memory was left beside the newcomer; the second was deleted for good."""
    known = ["Lives in Rome", "Lives in Rome near the station"]
    remember(service, fake, scope, *known)
    says(fake, ["Lives in Milan"], [update(known[0], "Lives in Milan", fact=1), delete(known[1], fact=1)])
    service.add(scope, "Lives in Milan", expires_at=now_ms() + DAY)
    assert texts(service, scope) == {*known, "Lives in Milan"}


def test_another_writer_s_words_are_not_overwritten_by_what_was_decided_before(
    make: MakeService, fake: FakeOpenAI, scope: Scope
) -> None:
    """The target says something else by the time the decision is to be committed: the model is asked again."""
    service, other = make(), make()
    remember(service, fake, scope, ROME, ALLERGY)
    target = next(m.id for m in service.list(scope).memories if m.text == ROME)
    says(fake, ["Lives in Milan"], [MOVED])
    decided = fake._canned[0][1]
    assert callable(decided)
    meanwhile = ["Keeps the keys of Rome's oldest church"]

    def late(body: Entry) -> str:
        if meanwhile:
            other.update(scope, target, meanwhile.pop())
        return decided(body)

    fake.answer(is_update, late)
    fake.forget()
    service.add(scope, "Lives in Milan")
    assert fake.count("update") == 2
    assert texts(service, scope) == {"Keeps the keys of Rome's oldest church", "Lives in Milan", ALLERGY}
