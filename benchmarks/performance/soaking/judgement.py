"""What a soak has shown: what was lost, what grew, and which error had which cause."""

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from measuring import percentile
from soaking.clients import CLIENT, Acknowledged, Failure, Soaking
from soaking.processes import Fleet, Sample

from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.model import HistoryEntry
from tablestore_openmemory_mcp.store.store import TablestoreStore

JUDGED_FROM = 240.0  # seconds; a shorter run has no time to become steady
WARM = 0.4  # of the run, after which nothing may grow
MEMORY_GROWTH, DESCRIPTOR_GROWTH = 16 * 1024 * 1024, 16
AFTER_A_KILL = 20.0  # seconds: the restart, and what the relay waits for a holder that is gone

# What the server says when a service has failed it, in its own words.
SERVICES = {
    "a fault of the LLM": re.compile(r"\bLLM\b|embedder", re.IGNORECASE),
    "a fault of Tablestore": re.compile(r"Tablestore", re.IGNORECASE),
    "other sessions, which changed the same memory at the same time": re.compile(r"Others kept|Too many writers"),
}
# The relay's answer when the holder of a stream did not take a message in time: it was not run. The holder says so too.
NOT_TAKEN, TOO_SLOW = "Could not find session", "this instance was too slow to take its message"


@dataclass(slots=True)
class Judgement:
    seconds: float
    figures: dict[str, Any]
    lost: list[str]
    explained: Counter[str]
    unexplained: list[Failure]
    growth: dict[str, int]  # of the process that lives, from the end of the warm-up to the end
    samples: Sequence[Sample] = field(default_factory=list)

    @property
    def steady(self) -> bool:
        few = self.seconds < JUDGED_FROM
        return few or (self.growth["memory"] <= MEMORY_GROWTH and self.growth["descriptors"] <= DESCRIPTOR_GROWTH)

    @property
    def good(self) -> bool:
        return not self.lost and not self.unexplained and self.steady

    def document(self) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            **self.figures,
            "lost": self.lost,
            "explained": dict(self.explained),
            "unexplained": [f"{f.tool}: {f.text}" for f in self.unexplained],
            "growth": self.growth,
        }

    def text(self) -> str:
        lines = [f"{name.replace('_', ' ')}: {value}" for name, value in self.figures.items()]
        lines.append(f"acknowledged changes that are lost: {len(self.lost)}")
        lines += [f"    {what}" for what in self.lost[:10]]
        lines += [f"errors explained by {cause}: {count}" for cause, count in self.explained.most_common()]
        lines.append(f"errors without an explanation: {len(self.unexplained)}")
        lines += [f"    {f.tool} after {f.at - f.began:.1f} s: {f.text[:200]}" for f in self.unexplained[:10]]
        judged = "" if self.seconds >= JUDGED_FROM else " (too short a run to be judged)"
        lines.append(
            f"the process that lives, after warm-up: {self.growth['memory'] / 1e6:+.1f} MB, "
            f"{self.growth['descriptors']:+d} descriptors, {self.growth['threads']:+d} threads{judged}"
        )
        return "\n".join(lines)


def judge(
    variables: Mapping[str, str],
    soaking: Soaking,
    fleet: Fleet,
    seconds: float,
    calls: Mapping[str, int],
    log: str,
) -> Judgement:
    """Reads the store without a server. The faults must be over."""
    explained: Counter[str] = Counter()
    unexplained = []
    for failure in soaking.failures:
        cause = _cause(failure, fleet.kills, overloaded=TOO_SLOW in log)
        if cause:
            explained[cause] += 1
        else:
            unexplained.append(failure)
    answered = sum(map(len, soaking.latencies.values()))
    figures: dict[str, Any] = {
        "calls_answered": answered,
        "calls_per_second": round(answered / soaking.elapsed, 1),
        "sessions_opened": soaking.sessions_opened,
        "changes_acknowledged": len(soaking.acknowledged),
        "processes_killed": len(fleet.kills),
        "restart_seconds": round(statistics.median(fleet.restarts), 2) if fleet.restarts else None,
        "tablestore_calls": calls["all"],
        "index_searches": calls["search"],
        "tablestore_calls_throttled": calls["throttled"],
        "streams_cut_by_a_busy_process": log.count(TOO_SLOW),
        "memory_mb_of_the_one_that_lives": round(fleet.samples[-1].memory / 1e6) if fleet.samples else None,
    }
    for tool, took in sorted(soaking.latencies.items()):
        figures[f"{tool}_p50_p95_p99_ms"] = [round(1e3 * percentile(took, share)) for share in (0.5, 0.95, 0.99)]
    lost = _lost(variables, soaking.acknowledged)
    return Judgement(seconds, figures, lost, explained, unexplained, _growth(fleet.samples), fleet.samples)


def _cause(failure: Failure, kills: Iterable[float], *, overloaded: bool) -> str | None:
    near_a_kill = any(kill - 1 <= failure.at and failure.began <= kill + AFTER_A_KILL for kill in kills)
    if failure.refused:
        return next((cause for cause, words in SERVICES.items() if words.search(failure.text)), None)
    if near_a_kill:
        return "a process that was killed"
    return "a process too busy to take a message" if overloaded and NOT_TAKEN in failure.text else None


def _lost(variables: Mapping[str, str], acknowledged: Sequence[Acknowledged]) -> list[str]:
    """Acknowledged changes that the history does not hold, and memories (of failed calls too) that are not as their
    history ends."""
    lost = []
    store = TablestoreStore.open(Settings.load(variables))
    try:
        for user in sorted({a.user for a in acknowledged}):
            scope = store.scope(Scope(user, CLIENT))
            memories = scope.snapshot().memories
            mine = [a for a in acknowledged if a.user == user]
            for ident in sorted({a.memory for a in mine} | memories.keys()):
                history = scope.history(ident)
                texts = {a.text for a in mine if a.memory == ident}
                lost += _missing(ident, texts, history, memories[ident].text if ident in memories else None)
    finally:
        store.close()
    return lost


def _missing(ident: str, texts: set[str], history: Sequence[HistoryEntry], now: str | None) -> list[str]:
    missing = [f"{ident}: {text!r} is not in its history" for text in texts - {entry.new_text for entry in history}]
    last = history[-1].new_text if history else None
    if now != last:
        missing.append(f"{ident} is {now!r}; its history ends with {last!r}")
    return missing


def _growth(samples: Sequence[Sample]) -> dict[str, int]:
    """Medians of the last fifth of the run less those of the first fifth after the warm-up."""
    steady = samples[int(WARM * len(samples)) :]
    size = max(1, len(steady) // 3)
    return {
        name: int(
            statistics.median(getattr(s, name) for s in steady[-size:])
            - statistics.median(getattr(s, name) for s in steady[:size])
        )
        if steady
        else 0
        for name in ("memory", "descriptors", "threads")
    }
