"""Cutting text into tokens, as the five analyzers of a TEXT field do.

min_word and max_word are dictionary segmenters in the cloud. Here they are approximated without a dictionary: a run of
Chinese characters becomes its overlapping pairs, which cover every two-character word. So a query for a word of two
characters or more finds what the cloud finds, but a query whose own words meet ("饮用花茶") holds a pair across the
boundary, which matters for the AND operator and for scores.
"""

import re
from collections.abc import Callable

from ..schema import Analyzer

FUZZY_LIMIT = 1024  # characters of a value that the fuzzy analyzer looks at

_CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUNS = re.compile(f"(?P<cjk>[{_CJK}]+)|[^\\W{_CJK}]+")
_LETTERS_OR_DIGITS = re.compile(r"\d+|[^\W\d]+")


def tokens(analyzer: Analyzer, text: str) -> list[str]:
    """The tokens of `text`, in order, repeats included. Raises KeyError for an unknown analyzer name."""
    if not analyzer.case_sensitive:
        text = text.lower()
    return _ANALYZERS[analyzer.name](analyzer, text)


def known_analyzer(name: str) -> bool:
    return name in _ANALYZERS


def _single_word(analyzer: Analyzer, text: str) -> list[str]:
    found: list[str] = []
    for run in _RUNS.finditer(text):
        if run["cjk"]:
            found.extend(run.group())
        elif analyzer.delimit_word:
            found.extend(_LETTERS_OR_DIGITS.findall(run.group()))
        else:
            found.append(run.group())
    return found


def _word_pairs(_analyzer: Analyzer, text: str) -> list[str]:
    found: list[str] = []
    for run in _RUNS.finditer(text):
        word = run.group()
        if run["cjk"] and len(word) > 1:
            found.extend(word[i : i + 2] for i in range(len(word) - 1))
        else:
            found.append(word)
    return found


def _split(analyzer: Analyzer, text: str) -> list[str]:
    # The default delimiter is white space of any kind; a custom one is literal, written with a backslash if special.
    parts = text.split() if not analyzer.delimiter.strip() else text.split(analyzer.delimiter.replace("\\", "", 1))
    return [part for part in parts if part]


def _fuzzy(analyzer: Analyzer, text: str) -> list[str]:
    text = text[:FUZZY_LIMIT]
    return [
        text[start : start + size]
        for size in range(analyzer.min_chars, analyzer.max_chars + 1)
        for start in range(len(text) - size + 1)
    ]


_ANALYZERS: dict[str, Callable[[Analyzer, str], list[str]]] = {
    "single_word": _single_word,
    "split": _split,
    "min_word": _word_pairs,
    "max_word": _word_pairs,
    "fuzzy": _fuzzy,
}
