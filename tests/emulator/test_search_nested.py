"""The index as a library: nested objects match one by one."""

import pytest

from support.search_engine import ask, found, index_of, put
from tablestore_emulator.errors import OtsError
from tablestore_emulator.search.query.queries import (
    Bool,
    Exists,
    Nested,
    Range,
    ScoreSort,
    Terms,
)
from tablestore_emulator.search.schema import FieldSpec, FieldType
from tablestore_emulator.search.search_index import SearchIndex


def nested() -> SearchIndex:
    parts = FieldSpec("tags.name", FieldType.KEYWORD, source="name"), FieldSpec("tags.n", FieldType.LONG, source="n")
    index = index_of(FieldSpec("tags", FieldType.NESTED, parts=parts), FieldSpec("k", FieldType.KEYWORD))
    put(index, "a", tags='[{"name": "red", "n": 1}, {"name": "blue", "n": 2}]', k="x")
    put(index, "b", tags='{"name": "red", "n": 2}', k="y")
    put(index, "c", tags="not json")
    return index


def test_nested_objects_match_one_by_one() -> None:
    index = nested()
    both = Bool(must=(Terms("tags.name", ("red",)), Terms("tags.n", (2,))))
    assert found(index, Nested("tags", both)) == "b"
    assert found(index, Nested("tags", Range("tags.n", low=0))) == "a b"
    assert found(index, Bool(must=(Nested("tags", Exists("tags.name")),), filter=(Terms("k", ("x",)),))) == "a"
    assert found(index, Exists("tags")) == "a b"
    put(index, "a", tags='[{"name": "green"}]')
    assert found(index, Nested("tags", Terms("tags.name", ("blue", "green")))) == "a"
    with pytest.raises(OtsError, match=r"field \[tags.name\] does not exist"):
        found(index, Terms("tags.name", ("red",)))  # only inside


@pytest.mark.parametrize(("mode", "score"), [("none", 0), ("avg", 1.5), ("max", 2), ("min", 1), ("total", 3)])
def test_one_score_from_those_of_the_objects(mode: str, score: float) -> None:
    one, two = Range("tags.n", low=0), Bool(must=(Range("tags.n", low=1),))
    page = ask(nested(), Nested("tags", Bool(should=(one, two)), mode), ScoreSort())
    assert {hit.key: hit.score for hit in page.hits}[b"a"] == score


def test_nested_objects_survive_compaction() -> None:
    index = nested()
    for n in range(9000):
        put(index, f"n{n % 3}", tags=f'[{{"name": "t{n}"}}]')
    assert index.documents.size < 9000
    assert found(index, Nested("tags", Terms("tags.name", ("t8999", "t1", "red")))) == f"a b n{8999 % 3}"
