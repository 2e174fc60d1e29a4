"""What says the same as a memory is not stored twice; what differs in one word that matters always is."""

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tablestore_openmemory_mcp.memory.add.llm_decisions import Fact
from tablestore_openmemory_mcp.memory.add.same_subject import restates
from tablestore_openmemory_mcp.memory.add.verbatim import Comparison
from tablestore_openmemory_mcp.memory.context import AddContext
from tablestore_openmemory_mcp.memory.validation import likeness_key
from tablestore_openmemory_mcp.store.model import Memory

ROOT = Path(__file__).parents[2]
PERSONS = ("Anna", "Hanna", "Tom", "Tim", "Martina", "Oliver", "李伟", "李薇", "小明", "小红")

# Frames, and what stands in their gaps: any two different fillings of one gap are two facts.
GAPS: dict[str, Sequence[str]] = {
    "year": ("2019", "2021", "2012", "1999"),
    "n": ("2", "3", "13", "30", "3.5", "35"),
    "person": PERSONS,
    "place": ("Berlin", "Bern", "Munich", "Rome", "上海", "上饶", "北京"),
    "relative": ("mother", "father", "sister", "brother", "wife", "boss"),
    "food": ("meat", "fish", "peanuts", "cilantro", "a walnut", "walnuts"),
    "stand": ("like", "dislike", "love", "hate", "do not like", "don't love", "liked", "used to like", "will like"),
    "verb": ("eat", "do not eat", "ate", "never eat", "no longer eat", "can eat", "cannot eat", "only eat", "may eat"),
    "when": ("before", "after", "during", "without"),
    "often": ("daily", "weekly", "seldom", "always", "not always", "on Mondays", "on Sundays"),
    "style": ("snake_case", "camelCase", "UPPER_CASE", "upper_case", "C", "C++", "C#"),
    "亲人": ("妈妈", "爸爸", "姐姐", "妹妹", "老婆", "老板"),
    "食物": ("香菜", "猪肉", "羊肉", "花生", "核桃"),
    "态度": ("喜欢", "不喜欢", "讨厌", "爱", "不爱", "以前喜欢", "曾经喜欢", "最喜欢", "喜欢过"),
    "吃": ("吃", "不吃", "吃过", "没吃过", "只吃", "不再吃", "少吃", "能吃", "不能吃", "别吃"),
    "时候": ("早上", "晚上", "周一", "周日", "饭前", "饭后"),
    "数": ("两", "三", "2", "3", "12", "20"),
}
FRAMES = (
    "I moved to {place} in {year}",
    "I {stand} {food}",
    "I {verb} {food}",
    "My {relative} {person} lives in {place}",
    "{person} is my {relative}",
    "{person} likes {person}",
    "I take {n} pills {when} breakfast",
    "I run {n} km {often}",
    "I write variables in {style}",
    "我{year}年搬到{place}",
    "我{态度}{食物}",
    "我{吃}{食物}",
    "我{亲人}叫{person}，住在{place}",
    "{person}是我{亲人}",
    "{person}喜欢{person}",
    "我{时候}吃{数}片药",
    "变量名用{style}",
)
DRESSINGS = (
    "{}",
    "{}.",
    " {} !",
    "Please remember that {}",
    "Remember: {}",
    "请记住：{}",
    "请帮我记住{}。",
    "「{}」",
)
SUBJECTS = (("I ", ("I ", "User ", "The user ", "the user ")), ("我", ("我", "用户", "本人")))


def dressed(text: str, dressing: str, subject: int) -> str:
    for plain, others in SUBJECTS:
        if text.startswith(plain):
            text = others[subject % len(others)] + text[len(plain) :]
    return dressing.format(text)


@st.composite
def minimal_pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two texts that differ in one filling, each dressed in words that say nothing."""
    frame = draw(st.sampled_from(FRAMES))
    gaps = re.findall(r"\{(\w+)\}", frame)
    filled = [draw(st.sampled_from(GAPS[gap])) for gap in gaps]
    n = draw(st.integers(0, len(gaps) - 1))
    other = draw(st.sampled_from([text for text in GAPS[gaps[n]] if text != filled[n]]))
    varied = [*filled[:n], other, *filled[n + 1 :]]
    one, two = (
        dressed(written(frame, parts), draw(st.sampled_from(DRESSINGS)), draw(st.integers(0, 3)))
        for parts in (filled, varied)
    )
    return one, two


def written(frame: str, parts: Sequence[str]) -> str:
    filling = iter(parts)
    return re.sub(r"\{\w+\}", lambda _: next(filling), frame)


def is_taken_for_known(text: str, memory: str) -> bool:
    """By an add that has the worst embedder there can be: to it all texts are one."""
    known = Memory("known", memory, 0, 0)
    fact = Fact(text, None, [known], {known.id: 1000.0}, {known.id: 1.0})
    return not Comparison().decide([fact], AddContext(0, lambda _: None)).operations


@given(minimal_pairs())
def test_one_word_that_matters_is_never_overlooked(pair: tuple[str, str]) -> None:
    one, other = pair
    assert not is_taken_for_known(one, other)
    assert not is_taken_for_known(other, one)


@cache
def sentences() -> list[str]:
    """Everything of the data that people may say."""
    pairs = json.loads((ROOT / "benchmarks/data/contradictions.json").read_text("utf-8"))
    fields = json.loads((ROOT / "tests/memory/data/fields_of_life.json").read_text("utf-8"))
    texts = [p[side] for language in ("en", "zh") for kind in pairs[language].values() for p in kind for side in p]
    texts += [text for language in ("en", "zh") for field in fields[language].values() for text in field]
    return list(dict.fromkeys(texts))


# Words that may come, go or change without a difference in what is said.
EMPTY = {
    "a",
    "an",
    "the",
    "really",
    "very",
    "truly",
    "currently",
    "now",
    "still",
    "i",
    "user",
    "please",
    "note",
    "that",
}
EMPTY |= {
    "am",
    "is",
    "are",
    "has",
    "have",
    "do",
    "does",
    "remember",
    "so",
    *"非常真的其实目前现在很我用户本人请你帮麻烦记住下一",
}


@given(st.data())
def test_a_word_taken_away_added_or_put_elsewhere_is_noticed(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(sentences()))
    words = re.findall(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+", text)
    n = data.draw(st.integers(0, len(words) - 1))
    other = data.draw(st.sampled_from(re.findall(r"[\u3400-\u9fff]|\w+", data.draw(st.sampled_from(sentences())))))
    how = data.draw(st.sampled_from(["without", "replaced", "added", "swapped"]))
    assume(words[n].lower() not in EMPTY and other.lower() not in EMPTY and re.search(r"\w", words[n]))
    m = data.draw(st.integers(0, len(words) - 1))
    assume(words[m].lower() not in EMPTY)
    changed = {
        "without": [*words[:n], *words[n + 1 :]],
        "replaced": [*words[:n], other, *words[n + 1 :]],
        "added": [*words[:n], other, *words[n:]],
        "swapped": [words[m] if i == n else words[n] if i == m else word for i, word in enumerate(words)],
    }[how]
    varied = " ".join(changed)
    plain = [re.sub(r"\s", "", likeness_key(said)).lower() for said in (text, varied)]
    assume(plain[0] != plain[1])
    assume(how != "replaced" or words[0].rstrip("es") != changed[0].rstrip("es") or n > 0)  # the verb's person
    assert not restates(varied, text)
    assert not restates(text, varied)


def test_no_two_sentences_of_the_data_say_the_same() -> None:
    texts = sentences()[::3]
    assert len(texts) > 300
    assert [(a, b) for n, a in enumerate(texts) for b in texts[:n] if restates(a, b)] == []


SAME = [
    ("I live in Berlin", "User lives in Berlin"),
    ("I live in Berlin", "The user lives in Berlin."),
    ("Lives in Berlin", "i live in Berlin"),
    ("I'm a vegetarian", "User is vegetarian"),
    ("I don’t eat meat", "The user does not eat meat"),
    ("I cannot swim", "User can't swim"),
    ("I have a dog", "User has a dog"),
    ("I've been to Rome", "User has been to Rome"),
    ("I prefer dark mode", "User really prefers the dark mode"),
    ("Please remember that I like tea", "I like tea"),
    ("I study law", "Studies law"),
    ("I watch films", "User watches films"),
    ("我住在上海", "用户住在上海"),
    ("我住在上海", "现在住在上海。"),
    ("请记住：我喜欢喝绿茶", "用户非常喜欢喝绿茶"),
    ("我用 Python 写代码", "用户用Python写代码"),
    ("我不吃香菜！", "用户不吃香菜"),
]


@pytest.mark.parametrize(("text", "memory"), SAME)
def test_what_is_said_again_in_words_that_change_nothing_is_known(text: str, memory: str) -> None:
    assert is_taken_for_known(text, memory)
    assert is_taken_for_known(memory, text)


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("I don't really like it", "I don't like it"),  # "really" says something beside a negation
        ("我不很喜欢", "我不喜欢"),
        ("I have a few friends", "I have few friends"),
        ("Takes vitamin A", "Takes vitamin"),
        ("Dogs died", "Dog died"),
        ("Anna's dogs", "Anna's dog"),
        ("我们住在上海", "我住在上海"),
        ("养了很多猫", "养了多猫"),
        ("Please remember to buy milk", "Buy milk"),
        ("记得吃药", "吃药"),
        ("Do I like tea?", "Do like tea"),
        ("我", "用户"),
        ("I", "User"),
        ("?", "!"),
    ],
)
def test_what_looks_empty_and_is_not(text: str, memory: str) -> None:
    assert not is_taken_for_known(text, memory)
    assert not is_taken_for_known(memory, text)


def test_the_embedder_may_object() -> None:
    """To what looks the same by its words; where one has no vector, the words decide."""
    (text, memory), known = SAME[0], Memory("known", SAME[0][1], 0, 0)
    for deviations, added in (({known.id: 4.9}, 1), ({known.id: 5.0}, 0), ({}, 0)):
        fact = Fact(text, None, [known], deviations)
        assert len(Comparison().decide([fact], AddContext(0, lambda _: None)).operations) == added
    assert restates(text, memory)


@pytest.mark.parametrize(
    ("memory_until", "until", "known"),
    [
        (None, None, True),
        (None, 2_000, True),
        (2_000, 2_000, True),
        (2_000, 1_000, True),
        (2_000, 3_000, False),
        (2_000, None, False),
    ],
)
def test_what_is_said_for_longer_is_not_known(memory_until: int | None, until: int | None, known: bool) -> None:
    memory = Memory("known", SAME[0][1], 0, 0, expires_at=memory_until)
    context = AddContext(0, lambda _: None, expires_at=until)
    assert bool(Comparison().decide([Fact(SAME[0][0], None, [memory])], context).operations) != known
