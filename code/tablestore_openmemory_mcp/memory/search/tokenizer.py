"""What lexical search compares: single CJK characters, emoji, and Latin words with a light English stem."""

import re
from functools import lru_cache
from itertools import chain

from .unicode_folding import fold

_CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_EMOJI = "\u2600-\u27bf\U0001f300-\U0001faff"
_LETTER = rf"[^\W_{_CJK}]"
_TOKEN = re.compile(rf"[{_CJK}{_EMOJI}]|{_LETTER}+(?:[-_]{_LETTER}+)*")
_ASCII = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*")  # what _TOKEN finds in ASCII, in a third of the time
# max|Retries, HTTP|Server, Python|3, 72|kg
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\dA-Za-z_]+|[A-Z]|\d+")
_MOST_PARTS = 8  # of one word; what has more is a key or a hash, and found whole
_LONGEST_JOINED = 8  # letters of parts that are one word too: Wi-Fi, e-mail; what is longer is found by its parts
_LONGEST = 64  # letters of a term; longer words are told apart by as many
_REMEMBERED = 24  # letters of a word whose terms are kept; with as many words as below they take 10 MB at most
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
    """The terms of `text`, in order, stop words left out. A word of several parts gives them and the whole: GitHub,
    maxRetries, Wi-Fi, Python3."""
    folded = fold(text)
    words = (_ASCII if folded.isascii() else _TOKEN).findall(folded)
    return list(chain.from_iterable(_terms(word) if len(word) <= _REMEMBERED else _made(word) for word in words))


@lru_cache(maxsize=8192)
def _terms(word: str) -> tuple[str, ...]:
    return _made(word)


def _made(word: str) -> tuple[str, ...]:
    """Linear in the word."""
    pieces = re.split("[-_]", word)
    made = [term for piece in pieces for term in _parts(piece)]
    if len(pieces) > 1 and len(word) - len(pieces) < _LONGEST_JOINED:
        made.append("".join(pieces))
    terms = (stem(term[:_LONGEST].lower().replace("ς", "σ")) for term in made)
    return tuple(dict.fromkeys(t for t in terms if t not in _STOP_WORDS and t not in _STOP_CHARACTERS))


def _parts(piece: str) -> list[str]:
    """The parts that an identifier's capitals and digits mark, and the whole of it."""
    if piece.isalpha() and (piece.islower() or piece.isupper() or piece.istitle()):
        return [piece]
    parts = _PART.findall(piece)
    return [*parts, piece] if 1 < len(parts) <= _MOST_PARTS else [piece]


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
