"""The ranking on the set of everyday facts, with the vectors of two embedders: never far below the better half.

benchmarks/retrieval.py --write makes the vectors; docs/measured.md has the figures of more sets and embedders.
"""

from collections.abc import Sequence

import numpy as np
import pytest
from question_sets import everyday
from retrieval import OURS, Asked, asked, written

BOUND = 0.025  # below the better of dense and BM25
SLACK = 0.005  # int8 vectors

Questions = dict[str, Sequence[Asked]]


@pytest.fixture(scope="module")
def questions() -> Questions:
    return {
        model: [a for person in everyday() for a in asked(person, written(model), written(model), k=5)]
        for model in ("minilm", "use")
    }


def recall(questions: Sequence[Asked], rule: str) -> float:
    return float(np.mean([q.recall[rule] for q in questions]))


@pytest.mark.parametrize("model", ["minilm", "use"])
@pytest.mark.parametrize("rule", OURS)
def test_recall_stays_by_the_better_of_meaning_and_words(questions: Questions, model: str, rule: str) -> None:
    better = max(recall(questions[model], "dense only"), recall(questions[model], "BM25 only"))
    assert recall(questions[model], rule) >= better - BOUND


@pytest.mark.parametrize(("model", "least"), [("minilm", 0.700), ("use", 0.925)])
def test_recall_is_what_was_measured(questions: Questions, model: str, least: float) -> None:
    assert recall(questions[model], "this project") >= least - SLACK


def test_a_multilingual_embedder_finds_answers_in_the_other_language(questions: Questions) -> None:
    cross = [q for q in questions["use"] if q.kind == "cross"]
    assert recall(cross, "BM25 only") < 0.05
    assert recall(cross, "this project") >= 0.9


def test_a_question_in_the_words_of_its_answer_finds_it_with_any_embedder(questions: Questions) -> None:
    for model in questions:
        assert recall([q for q in questions[model] if q.kind == "same"], "this project") >= 0.98
