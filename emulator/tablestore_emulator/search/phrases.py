"""How often a phrase stands in a text."""

from collections.abc import Iterable

import numpy as np

from .analysis import FUZZY_LIMIT
from .fields import TextField
from .schema import Analyzer

_WIDTH = 4  # bytes of a token's number in a sequence


def frequencies(field: TextField, docs: Iterable[int], tokens: list[str], slop: int) -> list[int]:
    """For each of `docs`, which hold all `tokens`: occurrences of the tokens as a phrase."""
    numbers = [field.number(token) for token in tokens]
    if None in numbers:
        return [0 for _ in docs]
    if slop > 0:
        return [_sloppy(field.sequence(doc), numbers, slop) for doc in docs]
    needle = np.array(numbers, np.uint32).tobytes()
    return [_exact(field.sequence(doc), needle) for doc in docs]


def grams(analyzer: Analyzer, text: str) -> list[str]:
    """The grams of a fuzzy field that every text with `text` in it must hold; none if it is too short to be found."""
    text = text if analyzer.case_sensitive else text.lower()
    size = min(len(text), analyzer.max_chars)
    if size < max(analyzer.min_chars, 1):
        return []
    return [text[i : i + size] for i in range(len(text) - size + 1)]


def occurrences(analyzer: Analyzer, value: str, text: str) -> int:
    """How often a fuzzy field's `value` holds `text`."""
    if not analyzer.case_sensitive:
        value, text = value.lower(), text.lower()
    return value[:FUZZY_LIMIT].count(text)


def _exact(sequence: bytes, needle: bytes) -> int:
    found, at = 0, sequence.find(needle)
    while at >= 0:
        found += at % _WIDTH == 0
        at = sequence.find(needle, at + 1)
    return found


def _sloppy(sequence: bytes, numbers: list[int | None], slop: int) -> int:
    """Occurrences where the tokens' places, each less its place in the phrase, differ by at most `slop`."""
    places = np.frombuffer(sequence, np.uint32)
    shifted = sorted((int(p) - i, i) for i, number in enumerate(numbers) for p in np.flatnonzero(places == number))
    found, start, seen = 0, 0, [0] * len(numbers)
    for place, which in shifted:
        seen[which] += 1
        while place - shifted[start][0] > slop:
            seen[shifted[start][1]] -= 1
            start += 1
        if all(seen):
            found += 1
            seen[shifted[start][1]] -= 1
            start += 1
    return found
