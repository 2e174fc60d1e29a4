"""A broken text is never stored: a damaged answer is understood as it was meant, or refused."""

import contextlib
import json
import time
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from support.fake_openai import FakeOpenAI
from tablestore_openmemory_mcp.memory.models.answer_parsing import Unparseable, cut_at, decisions_in, facts_in, sound
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope

WORDS = st.sampled_from(
    [
        "tea",
        "Rome",
        "Has a cat",
        "it's",
        "O'Neill's",
        "C++",
        "x[0]",
        "f(a, b)",
        "喜欢喝茶",
        "住在上海",
        "他说“好”",
        "a, b",
        "3:41",
    ]
)
FACTS = st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=5, unique=True)
DAMAGES = ("drop", "double", "single", "slash", "slash single", "curly")


def damaged(text: str, at: int, damage: str) -> str:
    """`text`, in which the quote at `at` is damaged."""
    put = {"drop": "", "double": '""', "single": "'", "slash": '\\"', "slash single": "\\'", "curly": "”"}[damage]
    return text[:at] + put + text[at + 1 :]


def structural_quotes(text: str) -> list[int]:
    return [i for i, c in enumerate(text) if c == '"' and text[i - 1] != "\\"]


@settings(max_examples=600, deadline=None)
@given(FACTS, st.data())
def test_facts_of_a_damaged_answer_are_as_they_were_meant(facts: list[str], data: st.DataObject) -> None:
    answer = json.dumps({"facts": facts}, ensure_ascii=False)
    for _ in range(data.draw(st.integers(1, 2))):
        quotes = [q for q in structural_quotes(answer) if q > answer.index("[")]
        assume(quotes)
        answer = damaged(answer, data.draw(st.sampled_from(quotes)), data.draw(st.sampled_from(DAMAGES)))
    with contextlib.suppress(ValueError):
        json.loads(answer)
        assume(False)  # two facts that became one are valid JSON, and nobody can tell
    try:
        read = facts_in(answer)
    except Unparseable:
        return
    if cut_at(answer):  # asked again; the last of a second one is not kept
        read = read[:-1]
    assert set(read) <= {fact.strip() for fact in facts}, answer


@given(FACTS, st.sampled_from(DAMAGES))
def test_wholly_misquoted_answers_are_as_they_were_meant(facts: list[str], damage: str) -> None:
    answer = json.dumps({"facts": facts}, ensure_ascii=False)
    for at in reversed(structural_quotes(answer)):
        answer = damaged(answer, at, damage)
    with contextlib.suppress(Unparseable):
        assert set(facts_in(answer)) <= set(facts), answer


def test_the_answer_of_the_report() -> None:
    assert facts_in("{\"facts\": [\\'Improves tennis\\']}") == ["Improves tennis"]
    for broken in ("Improves tennis']}", "['Improves tennis", 'Improves tennis" ]'):
        with pytest.raises(Unparseable):
            sound(broken)
    for whole in ("Reads data['name']", "Uses [[wiki]] links", "Says “hi”", "Likes {braces}"):
        assert sound(whole) == whole


@pytest.mark.parametrize("lost", ["caf\ufffd", "caf\\u00e9", "caf\\xe9"])
def test_characters_that_were_lost_are_asked_for_again(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, lost: str
) -> None:
    fake.style_next(lambda answer: json.dumps({"facts": [f"Loves the {lost} in Rome"]}))
    [outcome] = service.add(scope, "I love the café in Rome").results
    assert "café" in outcome.memory
    assert fake.count("extraction") == 2
    assert sound(lost, f"what was said holds it: {lost}") == lost


ADVERSARIAL: dict[str, Callable[[int], str]] = {
    "quotes": lambda n: '{"facts":["' + 'a"b' * (n // 3),
    "closings": lambda n: '{"facts":["' + '"]' * (n // 2),
    "apostrophes": lambda n: "{'facts':['" + "it's " * (n // 5),
    "escapes": lambda n: '{"facts":["' + "\\'" * (n // 2),
    "blanks": lambda n: '{"facts":["a"' + " " * n + "x",
    "fences": lambda n: "```" * (n // 3) + "{'a",
    "comments": lambda n: '{"facts":[' + "#\n " * (n // 3),
    "prose": lambda n: "{a} " * (n // 4),
    "numbers": lambda n: "[1," * 30 + "1," * (n // 2),
    "keys": lambda n: "{" + "'a': 1 " * (n // 7),
    "debris": lambda n: json.dumps({"facts": ['"]' * (n // 2) + "x"]}),
    "brackets": lambda n: json.dumps({"facts": ["]" * n + "x"]}),
}


@pytest.mark.parametrize("shape", ADVERSARIAL)
@pytest.mark.parametrize("read", [facts_in, decisions_in])
def test_reading_is_linear(shape: str, read: Callable[[str], object]) -> None:
    def spent(n: int) -> float:
        answer = ADVERSARIAL[shape](n)
        started = time.process_time()
        with contextlib.suppress(Unparseable):
            read(answer)
        return time.process_time() - started

    small = min(spent(20_000) for _ in range(3))
    assert spent(160_000) < 40 * small + 0.5, "eight times the text; json_repair took 64 times as long, from 7 s"
