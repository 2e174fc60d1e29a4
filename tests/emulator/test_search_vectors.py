"""The index as a library: vectors, their scores and their filters."""

import json

import numpy as np
import pytest

from support.search_engine import BY_SCORE, ask, delete, found, index_of, put, scores
from tablestore_emulator.errors import OtsError
from tablestore_emulator.search.query.queries import (
    Bool,
    Exists,
    Knn,
    MatchAll,
    Request,
    ScoreSort,
    Terms,
)
from tablestore_emulator.search.schema import FieldSpec, FieldType, Metric
from tablestore_emulator.search.search_index import SearchIndex
from tablestore_emulator.search.values import Value


def vectors(metric: Metric, dimension: int = 2) -> SearchIndex:
    return index_of(
        FieldSpec("v", FieldType.VECTOR, dimension=dimension, metric=metric), FieldSpec("k", FieldType.KEYWORD)
    )


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (Metric.COSINE, {"same": 1.0, "far": 1.0, "across": 0.5, "against": 0.0}),
        (Metric.DOT_PRODUCT, {"far": 1.5, "same": 1.0, "across": 0.5, "against": 0.0}),
        (Metric.EUCLIDEAN, {"same": 1.0, "far": 0.5, "across": 1 / 3, "against": 0.2}),
    ],
)
def test_the_score_of_each_metric(metric: Metric, expected: dict[str, float]) -> None:
    index = vectors(metric)
    for key, vector in {"same": [1, 0], "far": [2, 0], "across": [0, 1], "against": [-1, 0]}.items():
        put(index, key, v=np.array(vector, "<f4").tobytes())
    page = ask(index, Knn("v", (1.0, 0.0), 10), ScoreSort())
    assert {hit.key.decode(): hit.score for hit in page.hits} == pytest.approx(expected)
    assert [hit.score for hit in page.hits] == sorted(expected.values(), reverse=True)


def test_vectors_come_as_bytes_or_json_and_what_is_neither_is_left_out() -> None:
    index = vectors(Metric.COSINE)
    put(index, "bytes", v=np.array([1, 0], "<f4").tobytes())
    put(index, "json", v="[0.1, 0.2]")
    wrong: list[Value] = [
        "[1]",
        b"\0" * 12,
        b"\0" * 7,
        "x",
        "[NaN, 1]",
        '["1", "2"]',
        f"[1{'0' * 400}, 1]",
        "[" * 100_000,
        "{}",
        5,
    ]
    for n, value in enumerate(wrong):
        put(index, f"w{n}", v=value, k="here")
    assert found(index, Knn("v", (1.0, 0.0), 10)) == "bytes json"
    assert len(ask(index, Exists("k")).hits) == len(wrong)
    hits = {hit.key.decode(): index.columns(hit) for hit in ask(index, Exists("v")).hits}
    assert hits["bytes"] == {"v": np.array([1, 0], "<f4").tobytes()}
    assert json.loads(str(hits["json"]["v"])) == [0.1, 0.2]


def test_the_filter_of_a_knn_comes_before_its_k() -> None:
    index = vectors(Metric.COSINE)
    for n in range(20):
        put(index, f"{n:02}", v=f"[{n}, 1]", k="few" if n < 3 else "many")
    assert found(index, Knn("v", (1.0, 0.0), 2, Terms("k", ("few",))), *BY_SCORE) == "02 01"
    assert found(index, Knn("v", (1.0, 0.0), 2, Terms("k", ("many",))), *BY_SCORE) == "19 18"


def test_min_score_is_exclusive() -> None:
    index = vectors(Metric.COSINE)
    put(index, "same", v="[1, 0]")
    put(index, "across", v="[0, 1]")
    assert found(index, Knn("v", (1.0, 0.0), 5, min_score=0.5)) == "same"
    assert found(index, Knn("v", (1.0, 0.0), 5, min_score=0.4999)) == "across same"


def test_a_query_vector_of_another_dimension_is_refused() -> None:
    with pytest.raises(OtsError, match=r"should have \[2\] finite numbers"):
        ask(vectors(Metric.COSINE), Knn("v", (1.0, 0.0, 0.0), 1))


def test_knn_inside_a_bool_adds_its_score() -> None:
    index = vectors(Metric.COSINE)
    put(index, "a", v="[1, 0]", k="x")
    assert scores(index, Bool(must=(Knn("v", (1.0, 0.0), 1, weight=2.0), Terms("k", ("x",))))) == {"a": 3.0}


def test_a_rewritten_row_is_found_by_what_it_is_now_and_vector_memory_is_used_again() -> None:
    index = vectors(Metric.COSINE)
    for n in range(10_000):  # dead documents outnumber the living many times over: compaction happens on the way
        put(index, f"{n % 7}", v=f"[1, {n // 7 + n % 7}]", k=f"k{n}")
    assert found(index, MatchAll()) == "0 1 2 3 4 5 6"
    assert found(index, Terms("k", ("k9999", "k1"))) == str(9999 % 7)
    assert index.documents.size < 10_000
    blocks = index.documents.field("v")._blocks  # type: ignore[attr-defined]  # the memory is the point of this test
    assert sum(block.nbytes for block in blocks) == 4096 * 2 * 4
    put(index, "5", v="[1, 0]")
    assert found(index, Knn("v", (1.0, 0.0), 1), *BY_SCORE) == "5"
    for n in range(7):
        delete(index, str(n))
    assert found(index, MatchAll()) == ""
    assert found(index, Knn("v", (1.0, 0.0), 1)) == ""
    delete(index, "never there")


def test_a_full_page_of_neighbours_has_a_token() -> None:
    index = vectors(Metric.COSINE)
    for n in range(5):
        put(index, f"{n}", v=f"[{n}, 1]")
    first = index.search(Request(Knn("v", (1.0, 0.0), 3), BY_SCORE, limit=3))
    assert len(first.hits) == 3
    assert first.next_token
    second = index.search(Request(Knn("v", (1.0, 0.0), 3), BY_SCORE, limit=3, token=first.next_token))
    assert (second.hits, second.next_token) == ([], None)
