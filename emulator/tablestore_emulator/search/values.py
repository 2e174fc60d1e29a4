"""The values that pass between the row store and the search index."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..protocol.plainbuffer import Value as Value

# A row's primary key as bytes that sort in Tablestore's order (see keys.encode_key).
Key = bytes

Columns = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as the index takes it in. `columns`: the newest version of every column, primary key included."""

    columns: Columns
    head: tuple[bytes, ...] = ()  # the primary key's cells in wire form, only carried along
    at: int = 0  # milliseconds since the epoch: the version of the columns that the index itself returns
