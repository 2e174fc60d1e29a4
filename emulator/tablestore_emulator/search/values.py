"""The values that pass between the row store and the search index."""

from collections.abc import Mapping

from ..plainbuffer import Value as Value

KeyValue = int | str | bytes

# A row's primary key: the values in the table's order. Tuples of one table compare as Tablestore orders them
# (a str by code point is the same order as its UTF-8 bytes).
Key = tuple[KeyValue, ...]

# The latest version of every attribute column.
Columns = Mapping[str, Value]
