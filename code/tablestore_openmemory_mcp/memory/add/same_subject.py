"""What texts prove about each other: whether a fact is about a memory; what a text says, keeps and adds.

A small model's decision names the wrong memory often enough that it is not obeyed without evidence. The evidence is in
the words and in the vectors; benchmarks/evidence.py measures both on pairs of both languages. Every function is linear
in the texts.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt

from ...unicode_normalization import normalized
from ..search.tokenizer import tokens

_PER_SHARED_WORDS = 15.0  # standard deviations that full likeness in words is worth
_MOST_MEANING = 5.0  # standard deviations; a higher cosine proves no more

# Terms that say how somebody stands to a thing, not what the thing is: any two memories of a person may share them.
_ATTITUDES = frozenset(
    tokens("like likes love loves prefer prefers enjoy enjoys want wants use uses using used need needs wish wishes")
    + tokens("favorite favourite user 喜欢喜爱想要使用需要希望用户")
)
# Terms that change nothing about what is said.
_FILLERS = frozenset(
    tokens("really usually generally currently now also still very quite always user")
    + tokens("用户现在目前平时通常一般经常一直非常还很")
)
# Terms that say when, how often or how many: they tell what a memory says, but not what it is about.
_TIMES = frozenset(
    tokens("last next new old ago since until first second time today tomorrow yesterday daily weekly monthly")
    + tokens("year years month months week weeks day days every morning evening afternoon night noon")
    + tokens("monday tuesday wednesday thursday friday saturday sunday january february march april may june july")
    + tokens("august september october november december one two three four five six seven eight nine ten")
    + tokens("一二三四五六七八九十两几个只条每天年月日周上下今明昨早晚前后午点时候里中家大小多少去来到说做放打看")
)
_NEGATION = re.compile(
    r"\b(?:not|no|never|without|cannot|nothing|none|stop|stopped|stops|quit|hates?|hated|dislikes?|disliked|avoids?"
    r"|avoided|former|formerly)\b|n['’]t\b|[不没沒無无别勿未非]|讨厌|討厭|停止|戒",
    re.IGNORECASE,
)
# --- what says the same in other words, see `restates`
_ENDS = " \t\n\"'“”‘’「」.,;:!。，、；：！…~"  # no question mark: a question states nothing
_SPACE_IN_CHINESE = re.compile("(?<=[\u3400-\u9fff]) | (?=[\u3400-\u9fff])")
_ASKING = re.compile(
    r"^(?:please (?:remember|note)(?: that)?|remember(?: this:| that|:)|note(?: this:|:))[:,]? (?!to )"
    r"|^(?:(?:请你?|麻烦你?|帮我)+(?:记住|记下|记一下)[：:，,]?|记住[：:，,])",
    re.IGNORECASE,
)
_CALLED = re.compile(r"^(?:(?:the )?user|i)(?= )|^(?:用户|本人|我(?!们))", re.IGNORECASE)
_SPELLED_OUT: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("am", "is", "are"), ("be",)),
    **dict.fromkeys(("isn't", "aren't"), ("be", "not")),
    **dict.fromkeys(("don't", "doesn't"), ("do", "not")),
    **dict.fromkeys(("hasn't", "haven't"), ("have", "not")),
    **dict.fromkeys(("can't", "cannot"), ("can", "not")),
    **{"does": ("do",), "has": ("have",), "i'm": ("i", "be"), "i've": ("i", "have"), "i'll": ("i", "will")},
}
_ARTICLES = frozenset({"a", "an", "the"})
_NO_NOUN = frozenset({None, "few", "little", "lot"})  # "a few" is not "few"
_EMPTY = frozenset({"really", "very", "truly", "currently", "now", "still"})
_EMPTY_CHINESE = re.compile("非常|真的|其实|目前|现在|很(?![多少久])")
_SAYING_LITTLE = _ATTITUDES | _FILLERS | _TIMES
_CJK_RUN = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")
_NUMBER = re.compile(r"\d+")
_CLAUSE_END = re.compile(r"[;；。！？!?\n]|\.\s")

Terms = frozenset[str]


def strength(fact: str, memory: str, deviations: float | None) -> float:
    """How strongly `fact` seems to be about `memory`, in standard deviations above unrelated texts.

    `deviations`: how far their cosine is above that of unrelated texts (see Spread); None if one has no vector.
    """
    return min(deviations or 0.0, _MOST_MEANING) + _PER_SHARED_WORDS * likeness(fact, memory)


def likeness(a: str, b: str) -> float:
    """How far two texts are about the same things by their words, 0 to 1. Chinese characters count alone and in pairs:
    single ones are shared by chance, and pairs miss much."""
    one, other = _subject(a), _subject(b)
    return (_ochiai(one[0], other[0]) + _ochiai(one[1], other[1])) / 2


def carries(text: str, fact: str, memory: str, least: float = 0.6) -> bool:
    """Whether `text`, a rewritten `memory`, says what `fact` adds to it: `least` of its new terms, and every number."""
    said, known = terms(fact), terms(memory)
    added = said - known or said
    return _share(added, terms(text)) >= least and _numbers(fact) <= _numbers(text)


def covers(text: str, other: str) -> bool:
    """Whether `text` says nearly all that `other` says."""
    return _share(terms(other), terms(text)) >= 0.8 and _numbers(other) <= _numbers(text)


def invents(text: str, *sources: str) -> bool:
    """Whether `text` says more than its `sources`: a number that none of them holds, or a third of its terms."""
    known = Terms().union(*map(terms, sources))
    numbers = set[str]().union(*map(_numbers, sources))
    return not _numbers(text) <= numbers or _share(terms(text), known) < 0.66


def loses(text: str, memory: str, fact: str) -> bool:
    """Whether a clause of `memory`, which has several, is neither in `text`, its replacement, nor about `fact`."""
    clauses = [c for c in _CLAUSE_END.split(memory) if terms(c)]
    kept, concerned = terms(text), terms(fact)
    return len(clauses) > 1 and any(_share(terms(c), kept) < 0.5 and not terms(c) & concerned for c in clauses)


def reduces(text: str, memory: str, fact: str) -> bool:
    """Whether `text` is `memory` without something that `fact` speaks of, and says nothing else."""
    rest, whole = terms(text), terms(memory)
    return bool(rest) and rest < whole and bool((whole - rest) & terms(fact)) and not loses(text, memory, fact)


def says_nothing_new(fact: str, memory: str) -> bool:
    """Whether every word of `fact` that says anything is in `memory`, denied in both or in neither."""
    said = frozenset(tokens(fact)) - _FILLERS
    return bool(said) and said <= frozenset(tokens(memory)) and agrees(fact, memory)


def adds_nothing(fact: str, memory: str) -> bool:
    """As `says_nothing_new`, but however somebody stands to it, as long as that is not denied in one of the two."""
    return terms(fact) <= frozenset(tokens(memory)) and agrees(fact, memory)


def touches(fact: str, memory: str) -> bool:
    """Whether `fact` names one thing among others that `memory` speaks of, and nothing else: "Has a cat" and "Allergic
    to cat hair"."""
    said, known = terms(fact), terms(memory)
    return len(said) == 1 and said <= known and len(known) > 2


def rewords(text: str, memory: str, fact: str) -> bool:
    """Whether `text` is mostly made of what `memory` says, of which less than half is in `fact` too: where one thing in
    it has become another, half is."""
    return _share(terms(text), terms(memory)) >= 0.5 and _share(terms(memory), terms(fact)) < 0.5


def agrees(fact: str, memory: str) -> bool:
    """Whether `fact` holds no number that `memory` lacks, and both deny something or neither does."""
    return _numbers(fact) <= _numbers(memory) and denies(fact) == denies(memory)


def restates(text: str, memory: str) -> bool:
    """Whether both say the same, word for word but for words that say nothing: articles, "really", "please remember
    that", and who the user is called ("I live", "User lives", "Lives").

    No embedder can tell this: "in 2019" and "in 2021", likes and dislikes, mother and father are as near to each other
    as paraphrases are. So any other difference counts, tense and order too.
    """
    named, (one, *rest) = _statement(text)
    also_named, (other, *others) = _statement(memory)
    if rest != others or not one:
        return False
    by_person = (named or also_named) and (_third_person(one) == other or one == _third_person(other))
    return one == other or by_person


def denies(text: str) -> bool:
    """Whether `text` says that something is not, or is no more."""
    return bool(_NEGATION.search(text))


def terms(text: str) -> Terms:
    """The terms of `text` that say something; all of its terms if none does."""
    every = frozenset(tokens(text))
    return every - _ATTITUDES - _FILLERS or every


def _statement(text: str) -> tuple[bool, list[str]]:
    """Whether `text` names the user as its subject; and the other words that `restates` compares, one at least, which
    may be empty. Where the user is the subject, the first one is the verb."""
    said = _ASKING.sub("", _SPACE_IN_CHINESE.sub("", " ".join(normalized("NFKC", text).split())).strip(_ENDS))
    words = [w for word in said.split() for w in _SPELLED_OUT.get(word.lower().replace("’", "'"), (word,))]
    rest, named = _CALLED.subn("", " ".join(words))
    words = rest.split()
    bare = " ".join(word for n, word in enumerate(words) if not _is_empty(words, n))
    bare = _EMPTY_CHINESE.sub("", bare)
    words = (rest if denies(bare) else bare).split()  # "not very" is not "not"
    return bool(named), [word.lower() if word.istitle() else word for word in words] or [""]


def _is_empty(words: Sequence[str], n: int) -> bool:
    """Whether the n-th of `words` says nothing. An article stands before something, and is no name: vitamin A."""
    if words[n] in _EMPTY:
        return True
    following = words[n + 1] if n + 1 < len(words) else None
    article = words[n] in _ARTICLES or (n == 0 and words[n].lower() in _ARTICLES)
    return article and following not in _NO_NOUN


def _third_person(verb: str) -> str:
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if re.search("[^aeiou]y$", verb) else f"{verb}s"


def _subject(text: str) -> tuple[Terms, Terms]:
    """The terms that tell what `text` is about; and the same with CJK characters in pairs."""
    alone = terms(text) - _TIMES or frozenset(tokens(text))
    pairs = (a + b for run in _CJK_RUN.findall(text) for a, b in pairwise(run) if not {a, b} <= _SAYING_LITTLE)
    return alone, frozenset([*pairs, *(t for t in alone if not _CJK_RUN.fullmatch(t))]) or alone


def _ochiai(a: Terms, b: Terms) -> float:
    return len(a & b) / sqrt(len(a) * len(b)) if a and b else 0.0


def _share(part: Terms, whole: Terms) -> float:
    return len(part & whole) / len(part) if part else 1.0


def _numbers(text: str) -> set[str]:
    return set(_NUMBER.findall(normalized("NFKC", text)))
