"""How often a phrase stands in a sequence of token numbers (uint32, as bytes)."""

from collections.abc import Sequence

import numpy as np

_WIDTH = 4  # bytes of a number
_LONG = 64 * _WIDTH  # of a longer needle each comparison may be long


def exact(sequence: bytes, needle: bytes) -> int:
    """Occurrences of the sequence `needle`, overlapping ones too."""
    if len(needle) > _LONG:
        return _exact_long(memoryview(sequence).cast("I"), memoryview(needle).cast("I"))
    found, at = 0, sequence.find(needle)
    while at >= 0:
        found += at % _WIDTH == 0
        at = sequence.find(needle, at + 1)
    return found


def _exact_long(sequence: Sequence[int], needle: Sequence[int]) -> int:
    """By Knuth, Morris and Pratt: what was compared is never compared again."""
    borders, k = [0] * len(needle), 0
    for i in range(1, len(needle)):
        while k and needle[i] != needle[k]:
            k = borders[k - 1]
        k += needle[i] == needle[k]
        borders[i] = k
    found = k = 0
    for number in sequence:
        while k and (k == len(needle) or number != needle[k]):
            k = borders[k - 1]
        k += number == needle[k]
        found += k == len(needle)
    return found


def sloppy(sequence: bytes, numbers: list[int], slop: int) -> int:
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
