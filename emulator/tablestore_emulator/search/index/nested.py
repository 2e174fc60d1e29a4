"""NESTED fields: each object of a row's JSON array is a document of an index of its own."""

import json
from collections.abc import Iterable
from typing import Any

from ..schema import FieldSpec
from ..values import Key, Row, Value
from .documents import Documents
from .fields import Field
from .postings import Renumbering


class NestedField(Field):
    """The inner index knows its fields by their whole path ("tags.name"), so that queries need no rewriting."""

    def __init__(self, spec: FieldSpec, inner: Documents) -> None:
        super().__init__(spec)
        self.inner = inner
        self._children: dict[int, list[Key]] = {}  # by document
        self._parents: dict[Key, int] = {}
        self._made = 0

    def parents(self, children: Iterable[int]) -> list[int]:
        """For each inner document, the document that it belongs to."""
        return [self._parents[self.inner.key(child)] for child in children]

    def _index(self, doc: int, values: list[Any]) -> bool:
        objects = _objects(values[0])
        for columns in objects:
            key = self._made.to_bytes(8, "big")
            self._made += 1
            self.inner.apply(key, Row(columns))
            self._children.setdefault(doc, []).append(key)
            self._parents[key] = doc
        return bool(objects)

    def remove(self, doc: int) -> None:
        for key in self._children.pop(doc, []):
            self.inner.apply(key, None)
            del self._parents[key]

    def remap(self, renumbering: Renumbering) -> None:
        super().remap(renumbering)
        self._children = {int(renumbering[doc]): keys for doc, keys in self._children.items()}
        self._parents = {key: doc for doc, keys in self._children.items() for key in keys}


def _objects(value: Any) -> list[dict[str, Value]]:
    """The objects of a JSON array (or a single one); their arrays as the JSON text that array fields take."""
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return []
    objects = found if isinstance(found, list) else [found]
    return [{k: _column(v) for k, v in each.items() if v is not None} for each in objects if isinstance(each, dict)]


def _column(value: Any) -> Value:
    found: Value = json.dumps(value) if isinstance(value, list | dict) else value
    return found
