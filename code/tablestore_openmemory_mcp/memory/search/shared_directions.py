"""What the memories of a scope have in common, turned down in a query's vector before its cosines are taken.

The memories of a scope share one of two languages, a speaker or a way of talking, and their vectors vary most along
such directions. A query's cosine then tells which memories are in its language, say, rather than which answer it. So
what the query has along each of the widest directions is divided by sqrt(1 + v), where v is how many times as much the
memories vary along it as along a direction on average. That is half of what whitening would do, which divides by the
deviation itself. It costs one matrix product of a sample per snapshot, and none per memory.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLE = 100  # memories looked at in a scope; more find the same directions
_DIRECTIONS = 20  # the widest; along the others memories vary hardly more than on average

Vector = NDArray[np.float32]


class SharedDirections(NamedTuple):
    """`mean`: d; `directions`: r x d, orthonormal; `kept`: r, how much of a query stays along each, 0 to 1."""

    mean: Vector
    directions: NDArray[np.float32]
    kept: Vector

    @property
    def nbytes(self) -> int:
        return self.mean.nbytes + self.directions.nbytes + self.kept.nbytes


def shared_directions(vectors: NDArray[np.float32]) -> SharedDirections | None:
    """Of a fair sample of a scope's vectors, n x d. None if they are fewer than two, or all the same."""
    n, dimension = vectors.shape
    if n < 2:
        return None
    mean = vectors.mean(axis=0)
    apart = vectors - mean
    lengths, within = np.linalg.eigh((apart @ apart.T).astype(np.float64))  # the small side of a singular value
    if lengths[-1] <= np.finfo(np.float32).eps:
        return None
    widest = np.flatnonzero(lengths > 1e-6 * lengths[-1])[::-1][:_DIRECTIONS]
    variances = lengths[widest]
    average = lengths[lengths > 0].sum() / min(n, dimension)
    directions = (within[:, widest].T @ apart) / np.sqrt(variances)[:, None]
    kept = 1 / np.sqrt(1 + variances / average)
    return SharedDirections(mean, directions.astype(np.float32), kept.astype(np.float32))


def turned_down(query: Vector, shared: SharedDirections | None) -> Vector:
    """`query`, d, without most of what all memories have in common. Its products with their vectors compare with each
    other only: they are no cosines."""
    if shared is None:
        return query
    own = query - shared.mean
    return np.asarray(own + ((shared.kept - 1) * (shared.directions @ own)) @ shared.directions, np.float32)
