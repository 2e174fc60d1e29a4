"""The index against a model that knows nothing of inverted lists, ranks or cursors: Python's own filter and sort."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tablestore_emulator.search.query.queries import (
    Bool,
    Exists,
    FieldSort,
    KeySort,
    Knn,
    Match,
    MatchAll,
    MatchPhrase,
    Prefix,
    Query,
    Range,
    Request,
    ScoreSort,
    Sorter,
    Terms,
)
from tablestore_emulator.search.schema import FieldSpec, FieldType, IndexSpec
from tablestore_emulator.search.search_index import SearchIndex
from tablestore_emulator.search.values import Row

SPEC = IndexSpec.of(
    ("id",),
    FieldSpec("k", FieldType.KEYWORD),
    FieldSpec("n", FieldType.LONG),
    FieldSpec("t", FieldType.TEXT),
    FieldSpec("v", FieldType.VECTOR, dimension=2),
)
Columns = dict[str, Any]
LETTERS = "abc"

keys = st.integers(0, 30).map(lambda n: f"{n:02}".encode())
texts = st.lists(st.sampled_from(LETTERS), max_size=6).map(" ".join)
columns = st.fixed_dictionaries(
    {},
    optional={
        "k": st.text(LETTERS, max_size=2),
        "n": st.integers(-3, 3),
        "t": texts,
        # Directions that float32 tells apart, so that the model need not know how ties at the k-th place fall.
        "v": st.integers(0, 40).map(lambda n: np.array([math.cos(n / 16), math.sin(n / 16)], "<f4").tobytes()),
    },
)
writes = st.lists(st.tuples(keys, st.none() | columns), max_size=60)

leaves = st.one_of(
    st.just(MatchAll()),
    st.builds(Match, st.just("t"), texts, st.booleans(), st.sampled_from(["1", "2", "-1", "50%"])),
    st.builds(MatchPhrase, st.just("t"), texts),
    st.builds(Terms, st.just("k"), st.lists(st.text(LETTERS, max_size=2), min_size=1, max_size=2).map(tuple)),
    st.builds(Terms, st.just("n"), st.tuples(st.integers(-3, 3))),
    st.builds(
        Range, st.just("n"), st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3), *[st.booleans()] * 2
    ),
    st.builds(Range, st.just("k"), st.none() | st.text(LETTERS, max_size=2), st.none(), *[st.booleans()] * 2),
    st.builds(Prefix, st.just("k"), st.text(LETTERS, max_size=1)),
    st.builds(Exists, st.sampled_from(["k", "n", "t", "v"])),
)


def groups(inner: st.SearchStrategy[Query]) -> st.SearchStrategy[Query]:
    some = st.lists(inner, max_size=2).map(tuple)
    return st.builds(Bool, some, some, some, some, st.none() | st.sampled_from(["0", "1", "2"]))


queries = st.recursive(leaves, groups, max_leaves=4)
sorts = st.lists(
    st.one_of(
        st.builds(KeySort, st.booleans()),
        st.builds(FieldSort, st.sampled_from(["k", "n"]), st.booleans()),
        st.builds(ScoreSort, st.booleans()),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
relaxed = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def filled(changes: list[tuple[bytes, Columns | None]]) -> tuple[SearchIndex, dict[bytes, Columns]]:
    index = SearchIndex(SPEC, compact_from=3)  # compacts many times on the way
    rows: dict[bytes, Columns] = {}
    for key, row in changes:
        index.apply(key, None if row is None else Row(row))
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
    return index, rows


def matches(row: Columns, query: Query) -> bool:
    match query:
        case MatchAll():
            return True
        case Match():
            words, has = query.text.split(), row.get("t", "").split()
            held = sum(word in has for word in words)
            return bool(words) and held >= (len(words) if query.every else max(least(query.minimum, len(words)), 1))
        case MatchPhrase():
            words, has = query.text.split(), row.get("t", "").split()
            return bool(words) and any(has[i : i + len(words)] == words for i in range(len(has)))
        case Terms():
            return row.get(query.field) in query.values
        case Range():
            return query.field in row and within(row[query.field], query)
        case Prefix():
            return query.field in row and row[query.field].startswith(query.prefix)
        case Exists():
            return query.field in row
        case Bool():
            should = sum(matches(row, part) for part in query.should)
            wanted = int(query.minimum or ("0" if query.must or query.filter else "1"))
            return (
                all(matches(row, part) for part in (*query.must, *query.filter))
                and not any(matches(row, part) for part in query.must_not)
                and should >= min(wanted, len(query.should))
            )
    raise AssertionError(query)


def least(form: str, clauses: int) -> int:
    return {"1": min(1, clauses), "2": min(2, clauses), "-1": max(clauses - 1, 0), "50%": clauses // 2}[form]


def within(value: Any, query: Range) -> bool:
    low, high = query.low, query.high
    above = low is None or value > low or (query.include_low and value == low)
    below = high is None or value < high or (query.include_high and value == high)
    return above and below


def ordered(rows: dict[bytes, Columns], sort: tuple[Sorter, ...], scores: Callable[[bytes], float]) -> list[bytes]:
    """Stable sorts, the last sorter first."""
    found = sorted(rows)
    for sorter in reversed(sort):
        if isinstance(sorter, KeySort):
            found.sort(reverse=sorter.descending)
        elif isinstance(sorter, ScoreSort):
            found.sort(key=scores, reverse=sorter.descending)
        else:
            has = [key for key in found if sorter.field in rows[key]]
            field = sorter.field
            has.sort(key=lambda key: rows[key][field], reverse=sorter.descending)
            found = has + [key for key in found if field not in rows[key]]
    return found


def pages(index: SearchIndex, request: Request) -> Iterator[list[bytes]]:
    while True:
        page = index.search(request)
        yield [hit.key for hit in page.hits]
        if page.next_token is None:
            return
        request = replace(request, token=page.next_token)


@relaxed
@given(writes, queries)
def test_what_matches(changes: list[tuple[bytes, Columns | None]], query: Query) -> None:
    index, rows = filled(changes)
    page = index.search(Request(query, limit=100))
    assert [hit.key for hit in page.hits] == sorted(key for key, row in rows.items() if matches(row, query))
    assert page.total == len(page.hits)


@relaxed
@given(writes, queries, sorts, st.integers(1, 7), st.integers(0, 9))
def test_orders_pages_and_offsets(
    changes: list[tuple[bytes, Columns | None]], query: Query, sort: tuple[Sorter, ...], limit: int, offset: int
) -> None:
    index, rows = filled(changes)
    chosen = {key: row for key, row in rows.items() if matches(row, query)}
    scores = {hit.key: hit.score or 0.0 for hit in index.search(Request(query, (ScoreSort(),), limit=100)).hits}
    expected = ordered(chosen, sort, scores.__getitem__)
    found = [key for page in pages(index, Request(query, sort, limit=limit)) for key in page]
    assert found == expected
    page = index.search(Request(query, sort, offset=offset, limit=limit))
    assert [hit.key for hit in page.hits] == expected[offset : offset + limit]


@relaxed
@given(writes, st.none() | leaves, st.integers(0, 40), st.integers(1, 8))
def test_nearest_neighbours(
    changes: list[tuple[bytes, Columns | None]], query: Query | None, angle: int, k: int
) -> None:
    index, rows = filled(changes)
    vector = (math.cos(angle / 16), math.sin(angle / 16))
    cosines = {
        key: float(np.frombuffer(row["v"], "<f4").astype(float) @ np.array(vector))
        for key, row in rows.items()
        if "v" in row and (query is None or matches(row, query))
    }
    page = index.search(Request(Knn("v", vector, k, query), (ScoreSort(),), limit=100))
    best = sorted(cosines.values(), reverse=True)[:k]
    assert np.allclose([hit.score or 0 for hit in page.hits], [(1 + cosine) / 2 for cosine in best], atol=1e-6)
    assert {hit.key for hit in page.hits} <= cosines.keys()


@relaxed
@given(writes)
def test_bm25_of_one_token(changes: list[tuple[bytes, Columns | None]]) -> None:
    index, rows = filled(changes)
    texts = {key: row["t"].split() for key, row in rows.items() if "t" in row}
    holding = {key: words.count("a") for key, words in texts.items() if "a" in words}
    mean = max(sum(map(len, texts.values())) / max(len(texts), 1), 1)
    rarity = math.log(1 + (len(texts) - len(holding) + 0.5) / (len(holding) + 0.5))
    expected = {
        key: rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(texts[key]) / mean))
        for key, count in holding.items()
    }
    page = index.search(Request(Match("t", "a"), (ScoreSort(),), limit=100))
    found = {hit.key: hit.score or 0.0 for hit in page.hits}
    assert found.keys() == expected.keys()
    assert all(math.isclose(found[key], expected[key]) for key in found)
