"""One spelling for what is written in several ways, so that a word is found however it was typed. Linear in the text.

Width, accents (café, Zürich, Nguyễn, Ёлка), letters that stand for two (Straße), traditional Chinese characters, and
1,299 for 1299. Case is kept: it tells where the parts of an identifier begin. Marks that make another letter in their
own language stay: those of kana, Korean and Indian scripts, and й.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache

from ...unicode_normalization import normalized

_GROUPED = re.compile(r"(?<=[0-9])[,'’](?=[0-9]{3}(?![0-9]))")  # 1,299 and 1'299; not 1,29 nor 3,14159
_INVISIBLE = "\u00ad\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # of hyphenation and emoji
# Combining accents; Hebrew and Arabic vowels, which few write.
_MARKS = [*range(0x300, 0x370), *range(0x591, 0x5BE), 0x5BF, 0x5C1, 0x5C2, 0x640, *range(0x64B, 0x653), 0x670]
_SPELLED = {
    **dict(zip("đĐðÐøØłŁħĦŧŦıĸŋŊς", "dDdDoOlLhHtTiknNσ", strict=True)),
    **{"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "TH"},
    **{"Ё": "Е", "ё": "е", "‐": "-", "‑": "-", "–": "-"},
}
_CHINESE = re.compile("[\u4e00-\u9fff]")


def fold(text: str) -> str:
    """`text` in that spelling; the same again if it is folded already."""
    if not text.isascii():
        text = normalized("NFKC", text).translate(_letters())
        if _CHINESE.search(text):
            text = text.translate(_simplified())
    return _GROUPED.sub("", text)


@cache
def _letters() -> Mapping[int, str | None]:
    """For str.translate; made at the first text that is not ASCII, in two milliseconds."""
    table: dict[int, str | None] = dict.fromkeys([*map(ord, _INVISIBLE), *_MARKS])
    for code in [*range(0xC0, 0x250), *range(0x386, 0x3CF), *range(0x1E00, 0x2000)]:
        base = "".join(c for c in unicodedata.normalize("NFKD", chr(code)) if not unicodedata.combining(c))
        if base != chr(code) and base.isalpha():
            table[code] = base
    return table | {ord(letter): spelled for letter, spelled in _SPELLED.items()}


@cache
def _simplified() -> Mapping[int, str]:
    from .simplified_chinese import SIMPLIFIED, TRADITIONAL

    return dict(zip(map(ord, TRADITIONAL), SIMPLIFIED, strict=True))
