"""Unit vectors of a scope's memories, kept from one snapshot to the next."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model import Memory, Vector


@dataclass(frozen=True, slots=True, eq=False)
class UnitVectors:
    """Row i of `matrix` (n x d, read-only) is `sources[i]`, the vector of memory `ids[i]`, at length 1."""

    ids: Sequence[str]
    sources: Sequence[Vector]
    matrix: NDArray[np.float32]

    def is_mostly_of(self, memories: Mapping[str, Memory]) -> bool:
        """Whether it pays to keep for a scope of these: what it knows of others nobody counts."""
        known = sum(
            (memory := memories.get(id_)) is not None and memory.vector is source
            for id_, source in zip(self.ids, self.sources, strict=True)
        )
        return known * 5 >= len(self.ids) * 4 and known > 0


def normalised(memories: Iterable[Memory], model: str, known: UnitVectors | None = None) -> UnitVectors:
    """The vectors that `model` made, in the order of `memories`; those that `known` has are copied from there.

    After a change of the dimension under the same model's name, those of the newest memory's dimension.
    """
    mine = [(m.id, m.vector) for m in memories if m.vector is not None and m.vector_model == model]
    size = mine[-1][1].size if mine else 0
    mine = [(id_, vector) for id_, vector in mine if vector.size == size]
    matrix = np.empty((len(mine), size), np.float32)
    places = {id_: i for i, id_ in enumerate(known.ids)} if known and known.matrix.shape[1] == size else {}
    reused = [
        (i, places[id_])
        for i, (id_, vector) in enumerate(mine)
        if known and id_ in places and known.sources[places[id_]] is vector
    ]
    if known and reused:
        to, at = zip(*reused, strict=True)
        matrix[list(to)] = known.matrix[list(at)]
    for i in set(range(len(mine))) - {to for to, _ in reused}:
        matrix[i] = unit(mine[i][1])
    matrix.flags.writeable = False
    return UnitVectors([id_ for id_, _ in mine], [vector for _, vector in mine], matrix)


def unit(vector: Vector) -> Vector:
    """`vector` at length 1; zeros stay zeros."""
    norm = float(np.linalg.norm(vector))
    return vector / np.float32(norm) if norm > 0 else np.zeros_like(vector)
