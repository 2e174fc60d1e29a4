"""Whether a text says a fact. Weak models invent facts, and repeat the examples of the prompt as if they were facts.

Words or vectors may prove a fact; one proof is enough, and in doubt a fact is kept. No cosine means the same for two
embedders, so each is asked, once in the life of a process, about PAIRS: of sentences and of the facts in them, in both
languages. What it says of a sentence and another's fact is what an invented fact looks like. Where it cannot tell the
two apart (an English model and Chinese, say), its cosines prove and disprove nothing.
"""

import json
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ..models.embedder import Embedder
from ..search.cosine_spread import Script, script
from ..search.tokenizer import tokens
from ..validation import likeness_key

logger = logging.getLogger(__name__)


# What was said, and a fact in it that shares no word with it. All of them are about different things.
PAIRS: Mapping[Script, Sequence[tuple[str, str]]] = {
    "other": (
        ("I can't stand the taste of meat any more", "Is a vegetarian"),
        ("We tied the knot last summer", "Got married a year ago"),
        ("Peanuts send me straight to the hospital", "Has a severe nut allergy"),
        ("My boy turned three yesterday", "Has a son aged 3"),
        ("I commute by bicycle to the hospital where I treat children", "Works as a pediatrician"),
        ("Guitar practice keeps me up at night", "Plays a musical instrument"),
        ("Our flat is on the banks of the Seine", "Lives in Paris, France"),
        ("I switched my laptop from Windows to Ubuntu", "Uses Linux on the computer"),
    ),
    "cjk": (
        ("我再也受不了荤腥的味道", "是素食者"),
        ("去年夏天我们领了证", "一年前结婚"),
        ("一碰花生就得送急诊", "对坚果严重过敏"),
        ("小家伙昨天满三岁", "有个3岁的儿子"),
        ("每天骑车去医院给孩子看病", "职业为儿科大夫"),
        ("晚上总在练吉他", "会弹奏乐器"),
        ("家就在塞纳河边上", "住巴黎"),
        ("笔记本从Windows换成了Ubuntu", "电脑使用Linux系统"),
    ),
}

_SAYS = 0.5  # share of a fact's words in the text that proves it
_SAME = 0.75  # share of a fact's words in an example of the prompt, and the other way round, that makes it the example
_SURE = 0.8  # how often a sentence's own fact must be nearer than another's, if an embedder's cosines mean anything
# A fact is invented whose cosine is not so many deviations above the mean of other sentences' facts: the second where
# the least of a sentence's own is well above that.
_DEVIATIONS = (1.0, 2.0)
_PIECE, _MOST_PIECES = 300, 8  # characters of a long text that are compared at once; so many pieces at most
_SUBJECT = re.compile(r"^\s*(?:the\s+)?(?:user(?:'s)?|用户|使用者)\s*(?:的)?\s*", re.IGNORECASE)
_EXAMPLES = re.compile(r'"facts"\s*:\s*(\[[^\[\]]*\])')


class Bounds(NamedTuple):
    """Cosines of a fact with what says it: `least` of any, and what leaves little doubt."""

    least: float
    sure: float


class Grounding:
    """Judges the facts that are extracted with one prompt. Thread-safe: one for the process."""

    def __init__(self, prompt: str) -> None:
        """`prompt`: all that the model reads besides the text."""
        self._examples = [tokens_of(example) for example in examples_in(prompt)]
        self._prompt = " ".join(tokens(prompt))
        self._least: dict[str, Mapping[tuple[Script, Script], Bounds | None]] = {}
        self._lock = threading.Lock()

    def invented(self, facts: Sequence[str], text: str, embedder: Embedder | None, deadline: float) -> set[str]:
        """Those of `facts` that `text` does not say. The embedder is asked only where words leave a doubt."""
        said = set(tokens(text))
        copied = {fact for fact in facts if self._is_copied(fact, said)}
        foreign = {fact for fact in copied if script(fact) != script(text)}  # may be translated, by chance
        doubtful = [fact for fact in facts if fact in foreign or (fact not in copied and not _is_said(fact, said))]
        if not doubtful or embedder is None:
            return copied
        try:
            bounds, nearest = self._cosines(facts, text, embedder, deadline)
        except ModelError as e:  # whether it takes the facts is for the add to find out
            logger.info("facts are judged by their words alone: %s", e)
            return copied
        far = {fact for fact in doubtful if not _is_near(nearest[fact], bounds[fact], fact in copied)}
        return copied - foreign | far

    def _is_copied(self, fact: str, said: set[str]) -> bool:
        """Whether `fact` is one of the prompt's own sentences, and not all of its words were said."""
        terms = tokens_of(fact)
        if not terms or terms <= said:
            return False
        if len(terms) > 1 and f" {' '.join(tokens(_SUBJECT.sub('', fact)))} " in f" {self._prompt} ":
            return True
        return any(len(terms & e) >= _SAME * max(len(terms), len(e)) for e in self._examples)

    def _cosines(
        self, facts: Sequence[str], text: str, embedder: Embedder, deadline: float
    ) -> tuple[Mapping[str, Bounds | None], Mapping[str, float]]:
        """For each fact the cosines that prove it (None: none does), and its own with what it is nearest to."""
        pieces = _pieces(text)
        made = embedder.embed_each([*facts, *pieces], deadline=deadline).vectors  # the facts are needed anyway
        own, others = made[: len(facts)], made[len(facts) :]
        nearest = dict(zip(facts, np.nan_to_num(own @ others.T, nan=-1.0).max(axis=1).tolist(), strict=True))
        least = self._least_of(embedder, deadline)
        blind = bool(np.isnan(others).all())  # the text is refused
        unknown = {fact for fact, vector in zip(facts, own, strict=True) if blind or np.isnan(vector).any()}
        bounds = {fact: None if fact in unknown else least[script(fact), script(text)] for fact in facts}
        return bounds, nearest

    def _least_of(self, embedder: Embedder, deadline: float) -> Mapping[tuple[Script, Script], Bounds | None]:
        """By what a fact and what says it are written in; None: the embedder cannot tell."""
        with self._lock:
            known = self._least.get(embedder.model)
        if known is None:
            known = learnt(embedder, deadline)
            with self._lock:
                self._least[embedder.model] = known
        return known


def learnt(embedder: Embedder, deadline: float) -> Mapping[tuple[Script, Script], Bounds | None]:
    """See Grounding._least_of. Raises a ModelError."""
    order: Sequence[Script] = ("other", "cjk")
    texts = [side for s in order for pair in PAIRS[s] for side in pair]
    vectors = embedder.embed(texts, deadline=deadline).reshape(len(order), -1, 2, embedder.dimension)
    said, facts = vectors[:, :, 0], vectors[:, :, 1]
    return {
        (of_fact, of_text): _least(facts[i] @ said[j].T)
        for i, of_fact in enumerate(order)
        for j, of_text in enumerate(order)
    }


def _least(cosines: NDArray[np.float32]) -> Bounds | None:
    """From the cosines of facts (rows) with sentences (columns), of which the diagonal belongs together."""
    own = np.diag(cosines)
    others = cosines[~np.eye(len(own), dtype=bool)].reshape(len(own), -1)
    if (own[:, None] > others).mean() < _SURE:
        return None
    mean = float(others.mean())
    low, high = (mean + n * float(others.std()) for n in _DEVIATIONS)
    median = float(np.median(own))
    least = max(min(low, median), min(high, (mean + float(own.min())) / 2))
    return Bounds(least, max(least, (mean + median) / 2))


def _is_near(cosine: float, bounds: Bounds | None, copied: bool) -> bool:
    """In doubt a fact is kept, and a copy of the prompt is not."""
    if bounds is None:
        return not copied
    return cosine >= (bounds.sure if copied else bounds.least)


def examples_in(prompt: str) -> list[str]:
    """The facts that `prompt` gives as examples of an answer."""
    found: list[str] = []
    for match in _EXAMPLES.finditer(prompt):
        try:
            found += [fact for fact in json.loads(match[1]) if isinstance(fact, str)]
        except ValueError:
            continue
    return found


def tokens_of(fact: str) -> set[str]:
    """The words of `fact` without whom it is about: "User likes tea" is said by "I like tea"."""
    return set(tokens(_SUBJECT.sub("", fact)))


def _is_said(fact: str, said: set[str]) -> bool:
    terms = tokens_of(fact)
    if not terms:
        return not likeness_key(fact)
    return len(terms & said) >= _SAYS * len(terms)


def _pieces(text: str) -> list[str]:
    """`text`, or pieces of it that overlap a little: of a long text, a fact is seldom about the whole."""
    if len(text) <= _PIECE:
        return [text]
    size = max(_PIECE, len(text) // _MOST_PIECES + 1)
    return [text[max(0, i - size // 10) : i + size] for i in range(0, len(text), size)]
