"""Protobuf to plain values: schemas and search requests. Whatever is left out or wrong raises an OtsError."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from tablestore.protobuf import search_pb2 as pb

from ...errors import invalid, unsupported
from ...protocol.plainbuffer import Value, check_variant, from_variant
from ...protocol.protobufs import parse
from ..limits import DEPTH, SUB_QUERIES, TERMS, TOP_K, WILDCARD
from ..query import queries as q
from ..schema import Analyzer, FieldSpec, FieldType, IndexSpec, Metric

_MODES = {pb.SORT_MODE_MIN: "min", pb.SORT_MODE_MAX: "max", pb.SORT_MODE_AVG: "avg"}


def whole(message: Any) -> Any:
    """`message`, if its protocol file (the Python SDK's) names all its fields. Newer SDKs can say more, and to ignore
    a part of a query or a sort would give a wrong answer instead of none."""
    for unknown in UnknownFieldSet(message):
        raise unsupported(f"Field {unknown.field_number} of {message.DESCRIPTOR.name}")
    return message


# -- schema


def index_spec(key_names: tuple[str, ...], schema: Any) -> IndexSpec:
    """From an IndexSchema that `definitions` has checked."""
    return IndexSpec.of(key_names, *[_field_spec(f) for f in schema.field_schemas])


def _field_spec(field: Any, path: str = "") -> FieldSpec:
    options, name = field.vector_options, path + field.field_name
    nested = field.field_type == pb.NESTED
    return FieldSpec(
        name=name,
        type=FieldType(field.field_type),
        source=field.source_field_names[0] if field.is_virtual_field else field.field_name,
        is_array=field.is_array and not nested,
        indexed=field.index or nested,
        stored=field.store or not field.HasField("store"),
        analyzer=analyzer(field),
        date_formats=tuple(field.date_formats),
        dimension=options.dimension,
        metric=Metric(options.metric_type),
        parts=tuple(_field_spec(part, f"{name}.") for part in field.field_schemas),
    )


def analyzer(field: Any) -> Analyzer:
    """The analyzer of a FieldSchema, with the service's defaults."""
    name, options = field.analyzer or "single_word", field.analyzer_parameter
    if name == "single_word":
        single = parse(pb.SingleWordAnalyzerParameter, options)
        return Analyzer(name, case_sensitive=single.case_sensitive, delimit_word=single.delimit_word)
    if name == "split":
        split = parse(pb.SplitAnalyzerParameter, options)
        return Analyzer(name, case_sensitive=_flag(split, 2), delimiter=split.delimiter or " ")
    if name == "fuzzy":
        fuzzy = parse(pb.FuzzyAnalyzerParameter, options)
        sizes = fuzzy.min_chars or 1, fuzzy.max_chars or 7
        return Analyzer(name, case_sensitive=_flag(fuzzy, 3), min_chars=sizes[0], max_chars=sizes[1])
    return Analyzer(name)


def _flag(message: Any, number: int) -> bool:
    """case_sensitive, which is documented but missing in the Python SDK's protocol file (6.4.8)."""
    return any(unknown.field_number == number and bool(unknown.data) for unknown in UnknownFieldSet(message))


# -- search request


def request(search: Any, index_sort: Any) -> q.Request:
    """From a SearchQuery. `index_sort`: the index's own Sort, which holds when the request has none."""
    for part in ("collapse", "highlight"):
        if whole(search).HasField(part):
            raise unsupported(f"Search with {part}")
    if search.aggs.aggs or search.group_bys.group_bys:
        raise unsupported("Search with aggregations")
    limit = search.limit if search.HasField("limit") else 10
    given = search.sort if search.sort.sorter else index_sort
    found = QueryReader(limit).read(search.query) if search.HasField("query") else q.MatchAll()
    return q.Request(
        found,
        sorters(given),
        search.offset,
        limit,
        search.token or None,
    )


def sorters(sort: Any) -> tuple[q.Sorter, ...]:
    """From a Sort."""
    return tuple(_sorter(whole(sorter)) for sorter in sort.sorter)


def _sorter(sorter: Any) -> q.Sorter:
    if sorter.HasField("score_sort"):
        order = sorter.score_sort
        return q.ScoreSort(order.order == pb.SORT_ORDER_DESC or not order.HasField("order"))
    if sorter.HasField("pk_sort"):
        return q.KeySort(sorter.pk_sort.order == pb.SORT_ORDER_DESC)
    if sorter.HasField("doc_sort"):
        return q.KeySort(sorter.doc_sort.order == pb.SORT_ORDER_DESC)
    if not sorter.HasField("field_sort"):
        raise unsupported("A sort by distance")
    field = whole(sorter.field_sort)
    if field.HasField("nested_filter"):
        raise unsupported("A sort with a nested filter")
    mode = _MODES[field.mode] if field.HasField("mode") else None
    return q.FieldSort(field.field_name, field.order == pb.SORT_ORDER_DESC, mode)


class QueryReader:
    """Reads one query tree; `limit` is the page's, which a KNN query's top_k is never below."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._depth = 0
        self._readers: dict[int, tuple[type[Message], Callable[[Any], q.Query]]] = {
            pb.MATCH_ALL_QUERY: (pb.MatchAllQuery, lambda _: q.MatchAll()),
            pb.MATCH_QUERY: (pb.MatchQuery, self._match),
            pb.MATCH_PHRASE_QUERY: (pb.MatchPhraseQuery, self._phrase),
            pb.TERM_QUERY: (pb.TermQuery, self._term),
            pb.TERMS_QUERY: (pb.TermsQuery, self._terms),
            pb.RANGE_QUERY: (pb.RangeQuery, self._range),
            pb.PREFIX_QUERY: (pb.PrefixQuery, lambda m: q.Prefix(m.field_name, m.prefix, _weight(m))),
            pb.WILDCARD_QUERY: (pb.WildcardQuery, self._wildcard),
            pb.EXISTS_QUERY: (pb.ExistsQuery, lambda m: q.Exists(m.field_name)),
            pb.GEO_DISTANCE_QUERY: (
                pb.GeoDistanceQuery,
                lambda m: q.GeoDistance(m.field_name, m.center_point, m.distance),
            ),
            pb.GEO_BOUNDING_BOX_QUERY: (
                pb.GeoBoundingBoxQuery,
                lambda m: q.GeoBox(m.field_name, m.top_left, m.bottom_right),
            ),
            pb.GEO_POLYGON_QUERY: (pb.GeoPolygonQuery, self._polygon),
            pb.NESTED_QUERY: (pb.NestedQuery, self._nested),
            pb.BOOL_QUERY: (pb.BoolQuery, self._bool),
            pb.CONST_SCORE_QUERY: (pb.ConstScoreQuery, lambda m: q.ConstScore(self.read(m.filter))),
            pb.FUNCTION_SCORE_QUERY: (
                pb.FunctionScoreQuery,
                lambda m: q.FunctionScore(self.read(m.query), m.field_value_factor.field_name),
            ),
            pb.KNN_VECTOR_QUERY: (pb.KnnVectorQuery, self._knn),
        }

    def read(self, message: Any) -> q.Query:
        """From a Query message."""
        self._count += 1
        if self._count > SUB_QUERIES:
            raise invalid(f"the number of sub-queries exceeds the limit [{SUB_QUERIES}]")
        # A type that the protocol file does not know looks like none.
        if not message.HasField("type") or message.type not in self._readers:
            raise unsupported(pb.QueryType.Name(message.type) if message.HasField("type") else "This type of query")
        if self._depth == DEPTH:
            raise invalid(f"the depth of queries exceeds the limit [{DEPTH}]")
        kind, reader = self._readers[message.type]
        self._depth += 1
        found = reader(whole(parse(kind, message.query)))
        self._depth -= 1
        return found

    def _match(self, message: Any) -> q.Match:
        every = message.operator == pb.AND and message.HasField("operator")
        return q.Match(message.field_name, message.text, every, _minimum(message) or "1", _weight(message))

    def _phrase(self, message: Any) -> q.MatchPhrase:
        return q.MatchPhrase(message.field_name, message.text, message.slop, _weight(message))

    def _term(self, message: Any) -> q.Terms:
        return q.Terms(message.field_name, (_value(message.term),), scored=True, weight=_weight(message))

    def _terms(self, message: Any) -> q.Terms:
        if not 1 <= len(message.terms) <= TERMS:
            raise invalid(f"the number of terms should be in [1, {TERMS}], but it is [{len(message.terms)}]")
        return q.Terms(message.field_name, tuple(_value(t) for t in message.terms), weight=_weight(message))

    def _wildcard(self, message: Any) -> q.Wildcard:
        if len(message.value) > WILDCARD:
            raise invalid(f"length of field value is longer than {WILDCARD} for the [WILDCARD_QUERY] query")
        return q.Wildcard(message.field_name, message.value, _weight(message))

    def _range(self, message: Any) -> q.Range:
        return q.Range(
            message.field_name,
            _value(message.range_from) if message.range_from else None,
            _value(message.range_to) if message.range_to else None,
            message.include_lower,
            message.include_upper,
        )

    def _polygon(self, message: Any) -> q.GeoPolygon:
        if len(message.points) < 3:
            raise invalid("a polygon needs three points")
        return q.GeoPolygon(message.field_name, tuple(message.points))

    def _nested(self, message: Any) -> q.Nested:
        if message.HasField("inner_hits"):
            raise unsupported("NestedQuery with inner hits")
        mode = pb.ScoreMode.Name(message.score_mode).removeprefix("SCORE_MODE_").lower()
        return q.Nested(message.path, self.read(message.query), mode, _weight(message))

    def _bool(self, message: Any) -> q.Bool:
        return q.Bool(
            must=self._all(message.must_queries),
            must_not=self._all(message.must_not_queries),
            filter=self._all(message.filter_queries),
            should=self._all(message.should_queries),
            minimum=_minimum(message),
            weight=_weight(message),
        )

    def _all(self, messages: Any) -> tuple[q.Query, ...]:
        return tuple(self.read(m) for m in messages)

    def _knn(self, message: Any) -> q.Knn:
        if message.HasField("top_k") and not 1 <= message.top_k <= TOP_K:
            raise invalid(f"the top_k should be in [1, {TOP_K}], but it is [{message.top_k}]")
        return q.Knn(
            message.field_name,
            tuple(message.float32_query_vector),
            max(message.top_k, self._limit, 1),
            self.read(message.filter) if message.HasField("filter") else None,
            message.min_score if message.HasField("min_score") else None,
            _weight(message),
        )


def _weight(message: Any) -> float:
    return float(message.weight) if message.HasField("weight") else 1.0


def _minimum(message: Any) -> str | None:
    if message.HasField("new_minimum_should_match"):
        return str(message.new_minimum_should_match)
    return str(message.minimum_should_match) if message.HasField("minimum_should_match") else None


def _value(data: bytes) -> Value:
    return from_variant(check_variant(data))
