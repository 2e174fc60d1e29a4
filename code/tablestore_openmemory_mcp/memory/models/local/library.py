"""What a library of embeddings must offer to be the local embedder."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# len(texts) x dimension, L2-normalised rows, in order. Called by several threads at once; takes any text.
Encode = Callable[[Sequence[str]], NDArray[np.float32]]


class Library(Protocol):
    """One model of one library. To put another in its place, write another module like
    universal_sentence_encoder.py and name it in MemoryService.from_settings and in settings.LOCAL_DIMENSION."""

    @property
    def model(self) -> str:
        """Its name, which is kept with each vector: vectors of two names are never compared."""
        ...

    @property
    def dimension(self) -> int: ...

    def load(self) -> Encode:
        """Import the library and read its weights. Blocks; may raise anything."""
        ...
