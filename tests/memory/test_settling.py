"""Whatever a model writes: only what was shown is touched, no fact is lost, every answer is understood or refused."""

import contextlib
import json
import time
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tablestore_openmemory_mcp.memory.add import llm_decisions
from tablestore_openmemory_mcp.memory.add.forget_commands import is_forgetting
from tablestore_openmemory_mcp.memory.add.llm_decisions import Fact, settle
from tablestore_openmemory_mcp.memory.models.answer_parsing import (
    Decision,
    Unparseable,
    cut_at,
    decisions_in,
    entries_in,
    facts_in,
)
from tablestore_openmemory_mcp.memory.validation import likeness_key
from tablestore_openmemory_mcp.store.model import Memory

PHRASES = (
    "住在上海", "住在北京", "喜欢吃辣的东西", "不再吃辣", "忘掉我喜欢吃辣的东西", "Lives in Boston", "Moved to Seattle",
    "Likes cheese pizza", "Dislikes cheese pizza", "Forget that I like pizza", "Name is John", "常量用 FOO_BAR", "",
)  # fmt: skip

phrases = st.sampled_from(PHRASES)
decisions = st.builds(
    Decision,
    id=st.none() | st.sampled_from(["0", "1", "2", "3", "7", "mem_0"]),
    text=phrases,
    event=st.sampled_from(["ADD", "UPDATE", "DELETE", "NONE"]),
    old_text=st.none() | phrases,
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Fact], dict[str, Memory], list[Decision], int]:
    olds = draw(st.lists(phrases.filter(bool), max_size=4, unique=True))
    memories = [Memory(f"id{n}", text, 0, 0) for n, text in enumerate(olds)]
    # A fact that is known word for word never gets as far as this.
    texts = draw(st.lists(phrases.filter(lambda p: p and p not in olds), min_size=1, max_size=4, unique=True))
    facts = [
        Fact(text, near=draw(st.lists(st.sampled_from(memories), unique=True)) if memories else ()) for text in texts
    ]
    near = {m.id: m for f in facts for m in f.near}
    shown = {str(n): m for n, m in enumerate(near.values())}
    return facts, shown, draw(st.lists(decisions, max_size=6)), draw(st.integers(0, 2))


@settings(max_examples=400, deadline=None)
@given(situations())
def test_what_is_settled_keeps_to_what_was_shown_and_loses_nothing(
    situation: tuple[list[Fact], dict[str, Memory], list[Decision], int],
) -> None:
    facts, shown, answer, bound = situation
    done = settle(facts, shown, answer, bound)
    by_id = {m.id: m for m in shown.values()}
    touched = [o.memory_id for o in done.operations if o.memory_id]
    assert set(touched) <= set(by_id)
    assert len(touched) == len(set(touched))
    assert all((o.memory_id is None) == (o.event == "ADD") for o in done.operations)
    assert all(bool(o.text) == (o.event != "DELETE") for o in done.operations)
    assert sum(o.event == "DELETE" for o in done.operations) <= bound
    assert all(likeness_key(o.text) != likeness_key(by_id[o.memory_id].text) for o in done.operations if o.memory_id)
    if not answer:
        wanted = [f.text for f in facts if not is_forgetting(f.text)]
        assert [o.text for o in done.operations] == wanted
        assert {o.event for o in done.operations} <= {"ADD"}


def test_each_memory_that_was_shown_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not once more for each decision."""
    read: list[str] = []

    def counting(text: str) -> str:
        read.append(text)
        return likeness_key(text)

    monkeypatch.setattr(llm_decisions, "likeness_key", counting)
    memories = [Memory(f"id{n}", f"Likes dish number {n}", 0, 0) for n in range(40)]
    answer = [Decision(str(n), f"Likes dish number {n}", "NONE") for n in range(40)]
    settle([Fact("Likes dish number 99", near=memories)], {str(n): m for n, m in enumerate(memories)}, answer, 5)
    assert {read.count(m.text) for m in memories} <= {1, 2, 3, 4}


def test_a_contradiction_supersedes_in_place_instead_of_deleting() -> None:
    """mem0 #4536: the old memory went and nothing came."""
    old = Memory("m", "Loves cheese pizza", 0, 0)
    [done] = settle(
        [Fact("Dislikes cheese pizza", near=[old])], {"0": old}, [Decision("0", "", "DELETE")], 5
    ).operations
    assert (done.event, done.memory_id, done.text) == ("UPDATE", "m", "Dislikes cheese pizza")


def test_an_update_that_gives_the_old_text_back_takes_the_fact() -> None:
    """mem0 #3733."""
    old = Memory("m", "Loves cheese pizza", 0, 0)
    answer = [Decision("0", "Loves cheese pizza", "UPDATE", "Dislikes cheese pizza")]
    [done] = settle([Fact("Dislikes cheese pizza", near=[old])], {"0": old}, answer, 5).operations
    assert (done.event, done.text) == ("UPDATE", "Dislikes cheese pizza")


def test_an_update_in_another_language_keeps_the_person_s_words() -> None:
    old = Memory("m", "住在上海", 0, 0)
    answer = [Decision("0", "User lives in Beijing", "UPDATE", "住在上海")]
    [done] = settle([Fact("现在住在北京", near=[old], deviations={"m": 5.0})], {"0": old}, answer, 5).operations
    assert (done.event, done.text) == ("UPDATE", "现在住在北京")


@pytest.mark.parametrize("event", ["UPDATE", "DELETE"])
def test_a_wrong_id_does_not_outweigh_the_text_that_it_is_said_to_have(event: Literal["UPDATE", "DELETE"]) -> None:
    """A model that counts from one, or confuses two lines."""
    home, food = Memory("home", "住在上海", 0, 0), Memory("food", "喜欢吃辣的东西", 0, 0)
    answer = [Decision("1", "现在住在北京" if event == "UPDATE" else "住在上海", event, "住在上海")]
    fact = Fact("现在住在北京", near=[home, food])
    [done] = settle([fact], {"0": home, "1": food}, answer, 5).operations
    assert (done.event, done.memory_id, done.text) == ("UPDATE", "home", "现在住在北京")


def test_deletions_are_bounded_and_the_rest_is_told() -> None:
    olds = [Memory(f"m{n}", f"喜欢吃辣的东西 {n}", 0, 0) for n in range(5)]
    shown = {str(n): m for n, m in enumerate(olds)}
    answer = [Decision(str(n), "", "DELETE") for n in range(5)]
    done = settle([Fact("忘掉我喜欢吃辣的东西", near=olds)], shown, answer, 2)
    assert [(o.event, o.memory_id) for o in done.operations] == [("DELETE", "m0"), ("DELETE", "m1")]
    assert done.withheld == 3


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='{}[]",:\\ abe真`\n<>/think0', max_size=80) | st.text(max_size=60))
def test_any_answer_is_understood_or_refused(answer: str) -> None:
    for read in (facts_in, decisions_in, entries_in):
        with contextlib.suppress(Unparseable):
            read(answer)
    cut_at(answer)


@pytest.mark.parametrize(
    "answer", ["[" * 100_000, '{"facts":' * 20_000, '{"a":[' * 30_000 + "]}" * 30_000, "{}" * 50_000, "```" * 50_000]
)
def test_a_hostile_answer_ends_soon(answer: str) -> None:
    started = time.process_time()
    for read in (facts_in, decisions_in):
        with contextlib.suppress(Unparseable):
            read(answer)
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('{"Facts": ["a", "a", " b "]}', ["a", "b"]),
        ('{"facts": "a"}', ["a"]),
        ('{"facts": null}', []),
        ('{"facts": []}', []),
        ('{"facts": {"1": "a", "2": "b"}}', ["a", "b"]),
        (
            '{"facts": [{"content": "a"}, {"text": {"text": "b"}}, {"x": "c", "y": 1}, 4]}',
            ["a", "b", "x: c, y: 1", "4"],
        ),
        ('{"memories": [{"memory": "a"}]}', ["a"]),
        ('Example: {"x": 1}. Answer: {"facts": ["a"]}', ["a"]),
        ("{'facts': ['it\\'s a']}", ["it's a"]),
        ('\ufeff{"facts": ["a\\u0000b"]}', ["ab"]),
        (json.dumps({"facts": ["🙂"]}), ["🙂"]),
        ('{"facts": {"name": "John", "fact_2": "b"}}', ["name: John", "b"]),
        ('{"facts": "[\\"a\\", \\"b\\"]"}', ["a", "b"]),
        ('{"facts"：["a"，"b"]}', ["a", "b"]),
        ("{“facts”： [“a”， “b”]}", ["a", "b"]),
        ('{"facts": [{"fact": "a"}, "b", {"fact": "c"},]}', ["a", "b", "c"]),
        ('{"name": "answer", "arguments": "{\\"facts\\": [\\"a\\"]}"}', ["a"]),
        ('{"tool_calls": [{"function": {"name": "f", "arguments": {"facts": ["a"]}}}]}', ["a"]),
        ('{"status": "ok", "data": {"facts": ["a"]}, "confidence": NaN}', ["a"]),
        ('{"facts": ["a"]}\n{"facts": ["b"]}', ["a", "b"]),
        ('{"facts": ["draft"]}\n\nOn reflection:\n```json\n{"facts": ["a"]}\n```', ["a"]),
        ('{"facts": ["a"]}\nHad there been nothing, it were {"facts": []}.', ["a"]),
        ("<think>{\"facts\": [\"no\"]}</think>\n{'facts': ['a'],}", ["a"]),
        ('<think>so it is {"facts": ["a"]}</think>', ["a"]),
        ('<think>or {"facts": ["no"]}? No:\n{"facts": ["a"]}', ["a"]),
        ('{"facts": ["writes </think> in templates"]}', ["writes </think> in templates"]),
    ],
)
def test_shapes_of_facts(answer: str, facts: list[str]) -> None:
    assert facts_in(answer) == facts


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        ("<thinking>", "</thinking>"),
        ("<reasoning>", "</Reasoning>"),
        ("<seed:think>", "</seed:think>"),
        ("◁think▷", "◁/think▷"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_thoughts_are_not_taken_for_the_answer(begins: str, ends: str) -> None:
    thought = 'Perhaps {"facts": ["no"]} and {"memory": [{"id": "0", "event": "DELETE"}]}?'
    assert facts_in(f"{begins}{thought}{ends}\n{{'facts': ['a']}}") == ["a"]
    [decided] = decisions_in(f"{begins}{thought}{ends}\n{{'memory': [{{'id': '1', 'event': 'NONE'}}]}}")
    assert (decided.id, decided.event) == ("1", "NONE")


@pytest.mark.parametrize("answer", ['<think>Perhaps {"facts": ["no"]}, or', '{"place": ["a"], "food": ["b"]}'])
def test_what_may_not_be_the_whole_answer_is_asked_for_again(answer: str) -> None:
    with pytest.raises(Unparseable):
        facts_in(answer)


ENTRIES = [{"id": "0", "text": "b", "event": "UPDATE", "old_memory": "a"}, {"id": "1", "text": "c", "event": "ADD"}]


@pytest.mark.parametrize(
    "answer",
    [
        "\n".join(json.dumps(e) for e in ENTRIES),
        json.dumps({"memory": ENTRIES})[:-2] + ",]}",
        json.dumps(ENTRIES)[:-1] + ",]",
        json.dumps({"memory": ENTRIES}).replace("[", "[ # the list\n"),
        json.dumps({"memory": {"memory": ENTRIES}}),
        json.dumps({"memory": {"1": ENTRIES[0], "2": ENTRIES[1]}}),
        json.dumps({"memory": [json.dumps(e) for e in ENTRIES]}),
        json.dumps({"result": {"operations": ENTRIES}}),
        json.dumps(
            {"memory": [{"id": {"id": 0}, "new_memory": "b", "action": "Updated", "old_memory": "a"}, ENTRIES[1]]}
        ),
        json.dumps({"memory": [{**ENTRIES[0], "id": "#0", "event": "更新记忆"}, {**ENTRIES[1], "event": "ADD (new)"}]}),
    ],
)
def test_shapes_of_decisions(answer: str) -> None:
    assert decisions_in(answer) == [Decision("0", "b", "UPDATE", "a"), Decision("1", "c", "ADD")]


def test_an_id_below_zero_is_none_that_was_shown() -> None:
    assert decisions_in('[{"id": -1, "text": "a", "event": "UPDATE"}]') == [Decision("-1", "a", "UPDATE")]
