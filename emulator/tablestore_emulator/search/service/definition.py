"""An index's definition: checked when it is made, described with the service's defaults filled in."""

import re
from typing import Any

from tablestore.protobuf import search_pb2 as pb

from ...errors import invalid
from ..index.analysis import known_analyzer
from ..index.dates import check_format
from ..limits import DIMENSION, FIELDS, VECTOR_FIELDS
from .wire import analyzer, sorters

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_ANALYZED = pb.TEXT
_GRAM_SIZES = range(1, 8)  # of a fuzzy analyzer


def complete(request: Any, key_names: tuple[str, ...], created: int) -> Any:
    """The DescribeSearchIndexResponse, without its live parts, of the index that a CreateSearchIndexRequest asks for.

    `created`: seconds since the epoch. Raises OTSParameterInvalid.
    """
    if not _NAME.fullmatch(request.index_name):
        raise invalid(f"the index name [{request.index_name}] is invalid")
    described = pb.DescribeSearchIndexResponse(schema=request.schema, create_time=created)
    described.time_to_live = request.time_to_live if request.HasField("time_to_live") else -1
    fields = described.schema.field_schemas
    if not 1 <= len(fields) <= FIELDS:
        raise invalid(f"the number of fields should be in [1, {FIELDS}], but it is [{len(fields)}]")
    names = [f.field_name for f in fields]
    if len(set(names)) < len(names):
        raise invalid("the field names are not unique")
    if sum(f.field_type == pb.VECTOR for f in fields) > VECTOR_FIELDS:
        raise invalid(f"the number of vector fields exceeds the limit [{VECTOR_FIELDS}]")
    for field in fields:
        _complete_field(field)
    _complete_setting(described.schema, key_names)
    sorters(described.schema.index_sort)
    return described


def _complete_field(field: Any) -> None:
    name, kind = field.field_name, field.field_type
    if not name or not field.HasField("field_type"):
        raise invalid("a field needs a name and a type")
    if field.is_virtual_field and len(field.source_field_names) != 1:
        raise invalid(f"the virtual field [{name}] needs one source field")
    if kind == _ANALYZED:
        field.analyzer = field.analyzer or "single_word"
        _check_analyzer(field)
    if kind == pb.VECTOR:
        _check_vector(field)
    for pattern in field.date_formats:
        check_format(pattern)
    if kind == pb.NESTED:
        for sub in field.field_schemas:
            _complete_field(sub)
    elif not field.HasField("index"):
        field.index = True


def _check_analyzer(field: Any) -> None:
    if not known_analyzer(field.analyzer):
        raise invalid(f"the analyzer [{field.analyzer}] of field [{field.field_name}] is invalid")
    found = analyzer(field)
    if found.min_chars not in _GRAM_SIZES or found.max_chars not in _GRAM_SIZES or found.min_chars > found.max_chars:
        raise invalid(f"min_chars and max_chars of field [{field.field_name}] should be in [1, 7]")


def _check_vector(field: Any) -> None:
    options = field.vector_options
    if not 1 <= options.dimension <= DIMENSION:
        raise invalid(f"the dimension of field [{field.field_name}] should be in [1, {DIMENSION}]")
    if not options.HasField("metric_type"):
        raise invalid(f"the metric type of field [{field.field_name}] is missing")
    if field.is_array:
        raise invalid(f"the vector field [{field.field_name}] cannot be an array")


def _complete_setting(schema: Any, key_names: tuple[str, ...]) -> None:
    schema.index_setting.number_of_shards = 1
    for name in schema.index_setting.routing_fields:
        if name not in key_names:
            raise invalid(f"the routing field [{name}] is not a primary key column")
    nested = any(f.field_type == pb.NESTED for f in schema.field_schemas)
    if schema.index_sort.sorter and nested:
        raise invalid("an index with nested fields cannot have an index sort")
    if not schema.index_sort.sorter and not nested:
        schema.index_sort.sorter.add().pk_sort.order = pb.SORT_ORDER_ASC
