"""One search index, or one replica of it: rows go in, ordered pages of hits come out."""

from dataclasses import dataclass

from .index.documents import COMPACT_FROM, Documents
from .index.kinds import make_field
from .index.vectors import VectorField
from .query.evaluate import Evaluator
from .query.ordering import Cursor, arrange, cursor
from .query.queries import Request, ScoreSort
from .schema import IndexSpec
from .values import Key, Row, Value


@dataclass(frozen=True, slots=True)
class Hit:
    """`row.columns` lacks vectors: see `SearchIndex.columns`. `doc` is good until the next write."""

    key: Key
    row: Row
    score: float | None  # None unless a sorter asked for it
    doc: int


@dataclass(frozen=True, slots=True)
class Page:
    hits: list[Hit]
    total: int
    next_token: bytes | None


class SearchIndex:
    """Not thread-safe: its owner lets one caller in at a time."""

    def __init__(self, spec: IndexSpec, *, compact_from: int = COMPACT_FROM) -> None:
        """Dead documents are swept out once there are `compact_from` of them and they outnumber the living."""
        self.spec = spec
        self.documents = Documents(spec, make_field, compact_from=compact_from)

    def __len__(self) -> int:
        return len(self.documents)

    def apply(self, key: Key, row: Row | None) -> None:
        """The row at `key` is now `row`; None: it is gone."""
        self.documents.apply(key, row)

    def search(self, request: Request) -> Page:
        """One page. Raises OtsError for what the request gets wrong."""
        evaluator = Evaluator(self.documents)
        matches = evaluator.run(request.query)
        after = Cursor.of(request.token) if request.token else None
        sort = after.sort if after else request.sort
        offset = 0 if after else request.offset
        ordered = arrange(self.documents, matches, sort, after)
        page = ordered[offset : offset + request.limit]
        scored = any(isinstance(sorter, ScoreSort) for sorter in sort)
        hits = [self._hit(int(doc), float(matches.scores[doc]) if scored else None) for doc in page]
        # A full page of neighbours has a token even when they are all there are: there might be more of them in other
        # partitions. The official SDK's own KNN test expects it.
        more = len(ordered) > offset + len(page) or (evaluator.cut and len(page) == request.limit)
        # Without any sort, as in an index with nested fields, there is nothing to go on from.
        token = cursor(self.documents, matches, sort, int(page[-1])).token() if sort and len(page) and more else None
        return Page(hits, int(matches.mask.sum()), token)

    def columns(self, hit: Hit) -> dict[str, Value]:
        """What the index itself can return of a hit, in the state that it knows; primary key columns left out."""
        found: dict[str, Value] = {}
        for name in self.spec.returnable():
            field = self.documents.fields.get(name)
            stored = hit.row.columns.get(name)
            value = field.column(hit.doc) if isinstance(field, VectorField) else stored
            if value is not None:
                found[name] = value
        return found

    def _hit(self, doc: int, score: float | None) -> Hit:
        document = self.documents.document(doc)
        return Hit(document.key, document.row, score, doc)
