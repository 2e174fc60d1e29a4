"""How the cosines of unrelated texts spread, which is what a cosine has to be compared with.

Embedders differ: of two unrelated sentences multilingual-e5 says 0.7 to 0.95, all-MiniLM 0.07 in English and 0.5 in
Chinese, which it cannot read. So the spread is learnt from the memories themselves, by model and kind of script: most
pairs of a scope's memories have nothing to do with each other. For a young scope, in a process that has seen no grown
one, sentences of our own travel with the first adds' texts, in the same request. benchmarks/nearness.py shows it for
three embedders.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

Script = Literal["cjk", "other"]
SCRIPTS: Sequence[Script] = get_args(Script)

# Sentences of one kind that have nothing to do with each other.
UNRELATED: Mapping[Script, Sequence[str]] = {
    "other": (
        "Lives in Lisbon",
        "Allergic to peanuts",
        "Uses tabs for indentation",
        "Plays the violin on Sundays",
        "Drives an old red van",
        "Her brother is a dentist",
        "Prefers PostgreSQL for new projects",
        "Afraid of spiders",
        "The rent is due on the fifth",
        "Wants to climb Kilimanjaro",
    ),
    "cjk": (
        "住在里斯本",
        "对花生过敏",
        "代码缩进用制表符",
        "星期天拉小提琴",
        "开一辆红色旧面包车",
        "她的哥哥是牙医",
        "新项目首选PostgreSQL",
        "害怕蜘蛛",
        "每月五号交房租",
        "想去爬乞力马扎罗山",
    ),
}
LEAST = 20  # memories whose pairs tell the spread: 190 of them
SAMPLE = 200  # memories looked at in a scope: 19,900 pairs
_NARROWEST = 0.005  # a third of what multilingual-e5 has; narrower is what a scope of near-copies gives
_BELOW = 15.87  # the percentile that lies one deviation below the median of a normal distribution
_MOST_MODELS = 64
_ENOUGH = 6  # of UNRELATED, whose 15 pairs tell enough
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of the cosines between unrelated texts. `learnt`: from texts, not assumed."""

    mean: float
    deviation: float
    learnt: bool = True

    @overload
    def z(self, cosine: float) -> float: ...
    @overload
    def z(self, cosine: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def z(self, cosine: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
        """By how many deviations `cosine` is above what unrelated texts have; NaN for NaN."""
        return (cosine - self.mean) / self.deviation


ASSUMED = Spread(0.13, 0.06, learnt=False)  # where nothing was learnt yet: about what most embedders give


def spread_among(vectors: NDArray[np.float32]) -> Spread:
    """The spread of the pairs of `vectors` (n x d, L2-normalised; at least two).

    Median and lower half alone: what lies far above is related.
    """
    chosen = vectors[evenly(len(vectors), SAMPLE)]
    pairs = (chosen @ chosen.T)[np.triu_indices(len(chosen), 1)]
    median, below = np.percentile(pairs, [50, _BELOW])
    return Spread(float(median), max(_NARROWEST, float(median - below)))


def spread_of_unrelated(vectors: NDArray[np.float32]) -> Spread:
    """As `spread_among`, of few texts that are known to be unrelated: nothing is left out."""
    pairs = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return Spread(float(pairs.mean()), max(_NARROWEST, float(pairs.std())))


def evenly(n: int, most: int) -> list[int]:
    """At most `most` of the indices below `n`, evenly apart; the same ones each time."""
    return list(range(n)) if n <= most else [i * n // most for i in range(most)]


def script(text: str) -> Script:
    """What `text` is mostly written in. A CJK character counts as much as three others, as it says as much."""
    return "cjk" if 3 * len(_CJK.findall(text)) >= len(text) / 2 else "other"


class Spreads:
    """What was learnt for each model in any scope of this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._learnt: OrderedDict[tuple[str, Script], tuple[int, Spread]] = OrderedDict()
        self._told: OrderedDict[tuple[str, Script], dict[str, NDArray[np.float32]]] = OrderedDict()

    def learn(self, model: str, written: Script, vectors: NDArray[np.float32]) -> Spread:
        """The spread among `vectors`; what was learnt from the most there ever were is kept for other scopes."""
        return self._keep(model, written, len(vectors), spread_among(vectors))

    def _keep(self, model: str, written: Script, texts: int, spread: Spread) -> Spread:
        with self._lock:
            if texts > self._learnt.get((model, written), (0, ASSUMED))[0]:
                self._learnt[model, written] = texts, spread
                while len(self._learnt) > _MOST_MODELS:
                    self._learnt.popitem(last=False)
        return spread

    def known(self, model: str, written: Script) -> Spread:
        """What was learnt so far, else what is assumed of any model."""
        with self._lock:
            return self._learnt.get((model, written), (0, ASSUMED))[1]

    def wanted(self, model: str, written: Script, most: int) -> Sequence[str]:
        """At most `most` of UNRELATED whose vectors would tell what is not known of `model` yet; none if it is."""
        with self._lock:
            if (model, written) in self._learnt:
                return ()
            had = self._told.get((model, written), {})
            return [text for text in UNRELATED[written] if text not in had][:most]

    def told(self, model: str, written: Script, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Take what the embedder made of `texts`, which were `wanted`: n x d, L2-normalised; NaN for a refused one."""
        with self._lock:
            had = self._told.setdefault((model, written), {})
            had.update((text, v) for text, v in zip(texts, vectors, strict=True) if not np.isnan(v).any())
            while len(self._told) > _MOST_MODELS:
                self._told.popitem(last=False)
            rows = list(had.values())
        if len(rows) >= _ENOUGH:
            self._keep(model, written, len(rows), spread_of_unrelated(np.stack(rows)))
            with self._lock:
                self._told.pop((model, written), None)
