"""The set of everyday facts keeps what it promises of itself: its figures rest on that."""

import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest
from question_sets import EVERYDAY, Conversation, Question, everyday

from tablestore_openmemory_mcp.memory.search.tokenizer import tokens
from tablestore_openmemory_mcp.memory.search.unicode_folding import fold

SET = json.loads(EVERYDAY.read_text("utf-8"))
KINDS = {"same", "paraphrase", "disjoint", "inference", "cross"}
HALVES = ("choose", "report")
_HAN = re.compile("[\u3400-\u9fff]")


def asked(kind: str | None = None) -> Iterator[tuple[Question, list[str]]]:
    """Each question, and the texts that answer it."""
    for person in everyday():
        for question in person.questions:
            if kind in (None, question.kind):
                yield question, [person.memories[i] for i in sorted(question.evidence)]


def chinese(text: str) -> bool:
    return bool(_HAN.search(text))


def shared(question: Question, answer: str) -> set[str]:
    return set(tokens(question.text)) & set(tokens(answer))


def kinds(people: list[Conversation]) -> Counter[str]:
    return Counter(question.kind for person in people for question in person.questions)


def test_it_is_large_enough() -> None:
    people = everyday()
    assert len(people) >= 8
    assert sum(len(p.memories) for p in people) >= 290
    assert min(len(p.memories) for p in people) >= 30
    assert sum(len(p.questions) for p in people) >= 250
    assert kinds(people).keys() == KINDS == SET["kinds"].keys()
    assert min(kinds(people).values()) >= 40


def test_half_of_the_people_are_kept_for_reporting_with_as_many_questions_of_each_kind() -> None:
    choose, report = everyday("choose"), everyday("report")
    assert len(choose) == len(report) == 4
    assert not {p.name for p in choose} & {p.name for p in report}
    assert [p.name for p in choose + report] == [p.name for p in everyday()]
    assert SET["uses"].keys() == set(HALVES)
    for kind in KINDS:
        assert abs(kinds(choose)[kind] - kinds(report)[kind]) <= 3


@pytest.mark.parametrize("half", HALVES)
def test_each_half_has_people_of_one_language_and_of_both(half: str) -> None:
    people = [user for user in SET["users"] if user["use"] == half]
    assert {user["language"] for user in people} == {"zh", "en", "mixed"}
    for user in people:
        share = sum(chinese(m["text"]) for m in user["memories"]) / len(user["memories"])
        low, high = {"zh": (1, 1), "en": (0, 0), "mixed": (0.4, 0.6)}[user["language"]]
        assert low <= share <= high, user["id"]


def test_every_id_is_there_once_and_no_text_twice() -> None:
    ids = [item["id"] for user in SET["users"] for item in user["memories"] + user["questions"]]
    assert len(ids) == len(set(ids))
    facts = [fold(m["text"]).lower() for user in SET["users"] for m in user["memories"]]
    assert len(facts) == len(set(facts))
    for user in SET["users"]:
        asked_here = [fold(q["text"]).lower() for q in user["questions"]]
        assert len(asked_here) == len(set(asked_here))
        for question in user["questions"]:
            assert question["evidence"]
            assert len(question["evidence"]) == len(set(question["evidence"])) <= 3
            assert set(question["evidence"]) <= {m["id"] for m in user["memories"]}, question["id"]


def test_facts_are_short() -> None:
    for person in everyday():
        for text in person.memories.values():
            length = len(_HAN.findall(text)) if chinese(text) else len(text.split())
            assert (5 if chinese(text) else 4) <= length <= (40 if chinese(text) else 25), text


def test_questions_of_the_same_words_share_one_with_each_answer() -> None:
    assert not [q.text for q, answers in asked("same") if not all(shared(q, a) for a in answers)]


def test_disjoint_questions_share_no_term_with_any_answer() -> None:
    assert not [(q.text, found) for q, answers in asked("disjoint") for a in answers if (found := shared(q, a))]


def test_only_cross_questions_are_in_another_script_than_their_answers() -> None:
    for question, answers in asked():
        for answer in answers:
            assert (chinese(question.text) != chinese(answer)) == (question.kind == "cross"), question.text
    directions = Counter(chinese(q.text) for q, _ in asked("cross"))
    assert min(directions.values()) >= 20
