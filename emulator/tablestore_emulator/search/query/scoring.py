"""BM25 as Lucene 7 computes it (with the factor k1 + 1), which is what the official SDK's test expects of the service:
its scores of three titles (53, 11 and 9 after a field's factor) cannot be reached without that factor.
"""

import math

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75

Scores = NDArray[np.float64]


def rarity(documents: int, holding: int) -> float:
    """The weight of a term that `holding` of `documents` documents hold."""
    return math.log(1 + (documents - holding + 0.5) / (holding + 0.5))


def saturation(counts: NDArray[np.float64], lengths: NDArray[np.float64], mean_length: float) -> Scores:
    """How much `counts` occurrences in texts of `lengths` tokens weigh: 1 at about one in a text of mean length."""
    return counts * (K1 + 1) / (counts + K1 * (1 - B + B * lengths / mean_length))
