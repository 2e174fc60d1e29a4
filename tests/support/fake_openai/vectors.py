"""Deterministic vectors that are near when texts mean something near: hashed words, characters and concepts."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from . import lexicon

_SPREAD = 6  # non-zero entries of one feature's direction


def embed(texts: Iterable[str], dimensions: int, topics: Mapping[str, str] | None = None) -> NDArray[np.float32]:
    """One L2-normalised row of `dimensions` numbers per text. `topics`: texts that are about the same, by a name."""
    return np.stack([_embed(text, dimensions, (topics or {}).get(text)) for text in texts])


def similarity(a: str, b: str, dimensions: int = 1024) -> float:
    """Cosine of the two texts' vectors."""
    return float(_embed(a, dimensions) @ _embed(b, dimensions))


@lru_cache(maxsize=4096)
def _embed(text: str, dimensions: int, topic: str | None = None) -> NDArray[np.float32]:
    vector = np.zeros(dimensions, np.float64)
    counts: Counter[tuple[str, float]] = Counter(_features(text))
    if topic:
        counts[f"topic {topic}", 2.5] += 1
    for (feature, weight), n in counts.items():
        places, signs = _direction(feature, dimensions)
        np.add.at(vector, places, signs * weight * (1 + math.log(n)))
    norm = float(np.linalg.norm(vector))
    if norm == 0:  # cancelled out, possible with very few dimensions
        vector[0] = norm = 1.0
    return (vector / norm).astype(np.float32)


def _features(text: str) -> Iterator[tuple[str, float]]:
    yield "text", 0.8  # all texts have a little in common, as with real embedders
    lowered = text.lower()
    for concept in lexicon.concepts(lowered):
        yield f"concept {concept}", 0.7 if concept in lexicon.LIGHT else 2.0
    for match in lexicon.WORD.finditer(lowered):
        if match[0] not in lexicon.STOP_WORDS:
            yield f"word {lexicon.stem(match[0])}", 1.2
    chinese = [c if lexicon.is_chinese(c) else " " for c in lowered]
    for first, second in zip(chinese, [*chinese[1:], " "], strict=True):
        if first != " ":
            yield f"character {first}", 0.4
        if first != " " and second != " ":
            yield f"pair {first}{second}", 0.6


@lru_cache(maxsize=65536)
def _direction(feature: str, dimensions: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    digest = np.frombuffer(hashlib.blake2b(feature.encode(), digest_size=_SPREAD * 5).digest(), np.uint8)
    places = digest[: _SPREAD * 4].view(np.uint32).astype(np.int64) % dimensions
    signs = np.where(digest[_SPREAD * 4 :] % 2, 1.0, -1.0) / math.sqrt(_SPREAD)
    return places, signs
