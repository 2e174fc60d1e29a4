"""What lexical search compares: single CJK characters, and Latin words with a light English stem."""

import re
from functools import lru_cache
from itertools import chain

from ..normalization import normalized

_CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_ASCII = re.compile(r"[A-Za-z0-9]+")  # what _TOKEN finds in ASCII, in a third of the time
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_STOP_WORDS = frozenset(
    """
    a about after all also am an and any are as at be because been before being but by can could did do
    does doing for from had has have having he her hers him his how i if in into is it its just me my no
    not of on or our ours out she so some such than that the their theirs them then there these they
    this those to too up us very was we were what when where which while who whom whose why will with
    would you your yours
    """.split()  # noqa: SIM905 - a hundred quoted words read no better
)
_STOP_CHARACTERS = frozenset("的了是我你他她它们吗呢吧啊呀哦这那么和与或就都也在有个什被把给对于从而且但之其所以及")


def tokens(text: str) -> list[str]:
    """The terms of `text`, in order, stop words left out. An identifier such as maxRetries gives its parts."""
    words = _ASCII.findall(text) if text.isascii() else _TOKEN.findall(normalized("NFKC", text))
    return list(chain.from_iterable(map(_terms, words)))


@lru_cache(maxsize=65536)
def _terms(word: str) -> tuple[str, ...]:
    parts = _HUMP.sub(" ", word).split(" ")
    terms = (stem(p.lower()) if len(p) > 1 else p.lower() for p in parts)
    return tuple(t for t in terms if t not in _STOP_WORDS and t not in _STOP_CHARACTERS)


def stem(word: str) -> str:
    """An English word without its commonest endings; a stop word or a short word stays as it is."""
    if word in _STOP_WORDS or len(word) < 4 or not word.isascii():
        return word
    for ending, least in (("ing", 3), ("edly", 3), ("ed", 3), ("ies", 2), ("es", 3), ("s", 3), ("ly", 4)):
        if word.endswith(ending) and len(word) - len(ending) >= least and not word.endswith("ss"):
            root = word[: -len(ending)] + ("y" if ending == "ies" else "")
            if len(root) > 3 and root[-1] == root[-2] and root[-1] not in "lsz" and ending in ("ing", "ed"):
                root = root[:-1]
            return root.removesuffix("e")
    return word.removesuffix("e")


def containment(part: str, whole: str) -> float:
    """The share, 0 to 1, of the different terms of `part` that `whole` has; 0 if `part` has none."""
    wanted = set(tokens(part))
    return len(wanted & set(tokens(whole))) / len(wanted) if wanted else 0.0
