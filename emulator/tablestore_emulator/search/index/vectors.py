"""VECTOR fields: float32 rows in blocks, so that growing never copies and memory stays near the vectors' own size."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..schema import FieldSpec, Metric
from ..values import Value
from .fields import Field
from .postings import Docs, Mask, Renumbering

BLOCK = 4096  # vectors
FEW = 8  # below one in FEW, allowed vectors are picked out instead of masked afterwards
NOBODY = -1

Floats = NDArray[np.float32]


def parse_vector(value: Value | Sequence[float], dimension: int) -> Floats | None:
    """float32 of shape (dimension,) from little-endian bytes, JSON text or numbers; None if it is no such vector."""
    try:
        numbers = json.loads(value) if isinstance(value, str) else value
        if isinstance(numbers, bytes):
            found = np.frombuffer(numbers, "<f4").astype(np.float32)
        elif isinstance(numbers, Sequence) and all(type(n) in (int, float) for n in numbers):
            with np.errstate(over="ignore"):
                found = np.array(numbers, np.float32)
        else:
            return None
    except (ValueError, OverflowError, RecursionError):
        return None
    return found if found.shape == (dimension,) and bool(np.isfinite(found).all()) else None


class VectorField(Field):
    """Vectors in slots; a slot is given back when its document dies, so that rewriting rows does not grow memory."""

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self._blocks: list[Floats] = []
        self._norms: list[Floats] = []  # of each vector; of a block's shape
        self._owners: NDArray[np.int64] = np.empty(0, np.int64)  # by slot: its document, or NOBODY
        self._slots: dict[int, int] = {}  # by document
        self._free: list[int] = []
        self._textual: set[int] = set()  # documents whose column was JSON text
        self._used = 0  # slots ever handed out

    def vector(self, doc: int) -> Floats | None:
        slot = self._slots.get(doc)
        return None if slot is None else self._blocks[slot // BLOCK][slot % BLOCK]

    def column(self, doc: int) -> Value | None:
        """The vector in the form in which it was written; text has float32's shortest digits."""
        found = self.vector(doc)
        if found is None:
            return None
        if doc in self._textual:
            return "[" + ", ".join(found.astype(str)) + "]"
        return found.astype("<f4").tobytes()

    def nearest(self, query: Floats, k: int, allowed: Mask) -> tuple[Docs, NDArray[np.float64]]:
        """The k best of the allowed documents with their scores, best first; ties go to the older document."""
        slots, dots, norms = self._dots(query, allowed)
        if not len(slots):
            return np.empty(0, np.uint32), np.empty(0)
        best = top_k(self._closeness(query, dots, norms), k)
        scores = self._scores(query, slots[best])
        docs = self._owners[slots[best]]
        order = np.lexsort((docs, -scores))
        return docs[order].astype(np.uint32), scores[order]

    def _dots(self, query: Floats, allowed: Mask) -> tuple[NDArray[np.int64], Floats, Floats]:
        owners = self._owners[: self._used]
        usable = owners != NOBODY
        usable[usable] = allowed[owners[usable]]
        slots = np.flatnonzero(usable)
        dots, norms = [], []
        for number, block in enumerate(self._blocks):
            start = number * BLOCK
            size = min(BLOCK, self._used - start)
            inside = slots[np.searchsorted(slots, start) : np.searchsorted(slots, start + size)] - start
            if len(inside) * FEW < size:
                dots.append(inner(block[inside], query))
            else:
                dots.append(inner(block[:size], query)[inside])
            norms.append(self._norms[number][inside])
        if not dots:
            return slots, np.empty(0, np.float32), np.empty(0, np.float32)
        return slots, np.concatenate(dots), np.concatenate(norms)

    def _closeness(self, query: Floats, dots: Floats, norms: Floats) -> Floats:
        """Larger is nearer; only the order counts."""
        match self.spec.metric:
            case Metric.COSINE:
                return np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
            case Metric.EUCLIDEAN:
                return 2 * dots - norms**2
        return dots

    def _scores(self, query: Floats, slots: NDArray[np.int64]) -> NDArray[np.float64]:
        """The documented score of the chosen few, in double precision."""
        wide = query.astype(np.float64)
        rows = np.array([self._blocks[s // BLOCK][s % BLOCK] for s in slots], np.float64)
        match self.spec.metric:
            case Metric.COSINE:
                sizes = np.linalg.norm(rows, axis=1) * np.linalg.norm(wide)
                cosine = np.divide(inner(rows, wide), sizes, out=np.zeros(len(rows)), where=sizes > 0)
                scores = (1 + np.clip(cosine, -1, 1)) / 2
            case Metric.EUCLIDEAN:
                scores = 1 / (1 + ((rows - wide) ** 2).sum(axis=1))
            case Metric.DOT_PRODUCT:
                scores = (1 + inner(rows, wide)) / 2
        return np.asarray(scores, np.float64)

    def _index(self, doc: int, values: list[Any]) -> bool:
        found = parse_vector(values[0], self.spec.dimension)
        if found is None:
            return False
        slot = self._take_slot()
        self._blocks[slot // BLOCK][slot % BLOCK] = found
        self._norms[slot // BLOCK][slot % BLOCK] = np.linalg.norm(found)
        self._owners[slot] = doc
        self._slots[doc] = slot
        if isinstance(values[0], str):
            self._textual.add(doc)
        return True

    def _take_slot(self) -> int:
        if self._free:
            return self._free.pop()
        if self._used == len(self._blocks) * BLOCK:
            # Zeroed pages come from the kernel on first touch, so a half-used block costs half.
            self._blocks.append(np.zeros((BLOCK, self.spec.dimension), np.float32))
            self._norms.append(np.zeros(BLOCK, np.float32))
            self._owners = np.concatenate([self._owners, np.full(BLOCK, NOBODY)])
        self._used += 1
        return self._used - 1

    def remove(self, doc: int) -> None:
        slot = self._slots.pop(doc, None)
        if slot is not None:
            self._owners[slot] = NOBODY
            self._free.append(slot)
            self._textual.discard(doc)

    def remap(self, renumbering: Renumbering) -> None:
        super().remap(renumbering)
        self._slots = {int(renumbering[doc]): slot for doc, slot in self._slots.items()}
        self._textual = {int(renumbering[doc]) for doc in self._textual}
        for doc, slot in self._slots.items():
            self._owners[slot] = doc


def inner(rows: NDArray[Any], vector: NDArray[Any]) -> NDArray[Any]:
    """The inner product of each row with `vector`.

    Not `rows @ vector`: BLAS splits that over all cores, and on a machine with other work waits for its descheduled
    helpers (measured on 2 busy cores: three times slower than one core alone, and eight times at worst).
    """
    return np.asarray(np.einsum("ij,j->i", rows, vector))


def top_k(closeness: Floats, k: int) -> NDArray[np.int64]:
    """Positions of the k largest, in position order; of equals at the border, the first."""
    if len(closeness) <= k:
        return np.arange(len(closeness))
    border = np.partition(closeness, len(closeness) - k)[len(closeness) - k]
    above = np.flatnonzero(closeness > border)
    equal = np.flatnonzero(closeness == border)[: k - len(above)]
    return np.sort(np.concatenate([above, equal]))
