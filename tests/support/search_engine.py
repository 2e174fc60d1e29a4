"""Short words for the search index as a library."""

from tablestore_emulator.search.query.queries import (
    KeySort,
    Query,
    Request,
    ScoreSort,
    Sorter,
)
from tablestore_emulator.search.schema import FieldSpec, IndexSpec
from tablestore_emulator.search.search_index import Page, SearchIndex
from tablestore_emulator.search.values import Row, Value

BY_SCORE = (ScoreSort(),)


def index_of(*fields: FieldSpec) -> SearchIndex:
    return SearchIndex(IndexSpec.of(("id",), *fields))


def put(index: SearchIndex, key: str, **columns: Value) -> None:
    index.apply(key.encode(), Row({"id": key, **columns}))


def delete(index: SearchIndex, key: str) -> None:
    index.apply(key.encode(), None)


def ask(index: SearchIndex, query: Query, *sort: Sorter, limit: int = 100, offset: int = 0) -> Page:
    return index.search(Request(query, sort or (KeySort(),), offset, limit))


def found(index: SearchIndex, query: Query, *sort: Sorter) -> str:
    return " ".join(hit.key.decode() for hit in ask(index, query, *sort).hits)


def scores(index: SearchIndex, query: Query) -> dict[str, float | None]:
    return {hit.key.decode(): hit.score for hit in ask(index, query, ScoreSort()).hits}
